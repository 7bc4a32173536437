"""Contract tests for kernels: what a session relies on, for every backend.

Subclass `KernelTests` in a pytest module and override `KernelTests.make`. The actor used, and its
reference, are those of `ringnb.testing.mixer`, to be had from here as well.
"""

from __future__ import annotations

import time
from collections.abc import Sized
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import Any

import numpy as np
import pytest

from ringnb.actors.base import Actor
from ringnb.actors.link import Link
from ringnb.actors.region import Region
from ringnb.errors import CommandRefused, KernelStopped, Status
from ringnb.kernel.base import AbstractKernel, Gate, QueueFull
from ringnb.kernel.client import KernelClient
from ringnb.kernel.regions import region_words
from ringnb.messages.commands import Command, Reply
from ringnb.testing.mixer import Mixer, advance, captured, restored, running

__all__ = ["KernelTests", "Mixer", "advance", "captured", "restored", "running"]


class KernelTests:
    """Contract of `AbstractKernel`; subclass and override `make`."""

    shape = (11, 13)

    def make(self, actors: list[Actor], **options: Any) -> AbstractKernel:
        """Return a kernel, not launched.

        Parameters
        ----------
        actors : list of Actor
            One per slot.
        **options
            ``lanes``, ``width``, ``capacity``.
        """
        raise NotImplementedError

    def running(self, n: int = 1, **options: Any) -> AbstractContextManager[KernelClient]:
        """Yield a client of a launched kernel that hosts mixers.

        Parameters
        ----------
        n : int, default 1
            How many.
        **options : object
            Passed to `make`.
        """
        return running(self.make([Mixer(self.shape)] * n, **options))

    def run(self, client: KernelClient, slot: int, steps: int) -> None:
        """Run a budget to its end.

        Parameters
        ----------
        client : KernelClient
            The kernel's.
        slot : int
            The actor.
        steps : int
            The budget.
        """
        target = client.call(slot, Command.RUN_STEPS, (steps,)).value
        assert client.wait_until(lambda: client.kernel.counters(slot).step >= target, 30)

    def test_steps_match_an_independent_reference(self) -> None:
        with self.running(3, lanes=2) as client:
            for slot in range(3):
                self.run(client, slot, 20 + slot)
                self.run(client, slot, 1)
                state, reply = captured(client, slot)
                start = Mixer(self.shape).start(slot)
                np.testing.assert_array_equal(state, advance(start, 0, 21 + slot))
                assert reply.step == 21 + slot

    @pytest.mark.parametrize("width", [1, 2, 3, 16])
    def test_result_does_not_depend_on_the_team(self, width: int) -> None:
        with self.running(1, width=width) as client:
            self.run(client, 0, 57)
            state, _ = captured(client, 0)
        np.testing.assert_array_equal(state, advance(Mixer(self.shape).start(0), 0, 57))

    def test_restore_continues_bit_for_bit(self) -> None:
        with self.running(2, lanes=1) as client:
            kernel = client.kernel
            self.run(client, 0, 15)
            saved, reply = captured(client, 0)
            kernel.restore_buffer(1)[...] = saved.reshape(2, 1, *self.shape)
            kernel.params_buffer(1)[:1] = 7
            restored = client.call(1, Command.RESTORE, (reply.step,))
            assert (restored.step, restored.epoch) == (15, 1)
            self.run(client, 0, 15)
            self.run(client, 1, 15)
            np.testing.assert_array_equal(captured(client, 0)[0], captured(client, 1)[0])

    def test_it_begins_at_the_step_of_the_start_state(self) -> None:
        kernel = self.make([Mixer(self.shape, start_step=500)])
        assert kernel.counters(0).step == 500
        with running(kernel) as client:
            self.run(client, 0, 7)
            state, reply = captured(client, 0)
        assert reply.step == 507
        np.testing.assert_array_equal(state, advance(Mixer(self.shape).start(0), 500, 7))

    def test_budget_counts_down_and_adds_up(self) -> None:
        with self.running() as client:
            first = client.call(0, Command.RUN_STEPS, (300,)).value
            second = client.call(0, Command.RUN_STEPS, (150,)).value
            assert (first, second) == (300, 450)
            assert client.wait_until(lambda: client.kernel.counters(0).step == 450, 30)
            counters = client.kernel.counters(0)
            assert (counters.budget, counters.running) == (0, False)

    def test_free_running_until_paused(self) -> None:
        with self.running() as client:
            client.call(0, Command.RESUME)
            assert client.wait_until(lambda: client.kernel.counters(0).step > 10, 30)
            step = client.call(0, Command.PAUSE).step
            assert client.call(0, Command.HEARTBEAT).step == step
            state, _ = captured(client, 0)
            np.testing.assert_array_equal(state, advance(Mixer(self.shape).start(0), 0, step))

    def test_the_progress_of_all_is_what_their_counters_say(self) -> None:
        with self.running(3, lanes=2) as client:
            for slot in range(3):
                self.run(client, slot, 10 * slot + 1)
            steps, epochs, running = client.kernel.progress()
            assert (steps.tolist(), running.tolist()) == ([1, 11, 21], [False] * 3)
            assert epochs.tolist() == [client.kernel.counters(slot).epoch for slot in range(3)]
            client.call(1, Command.RESUME)
            assert client.kernel.progress().running.tolist() == [False, True, False]

    def test_an_actor_waits_at_every_multiple_until_it_is_released(self) -> None:
        held: list[Reply] = []
        with self.running(2, lanes=1) as client:
            client.on_held = held.append
            client.call(0, Command.HOLD_EVERY, (20,))
            for slot in range(2):
                client.call(slot, Command.RUN_STEPS, (50,))
            for number, step in enumerate((0, 20, 40), 1):
                assert client.wait_until(partial(_has, held, number), 30)
                reply = held[-1]
                assert (reply.actor_slot, reply.step, reply.value) == (0, step, number)
                early, _ = captured(client, 0)  # with the number of no wait: it goes on waiting
                state, at = captured(client, 0, reply.value)
                assert at.step == step
                np.testing.assert_array_equal(early, state)
                np.testing.assert_array_equal(state, advance(Mixer(self.shape).start(0), 0, step))
            assert client.wait_until(lambda: client.kernel.counters(0).step == 50, 30)
            # The other actor of the lane did not wait.
            assert client.wait_until(lambda: client.kernel.counters(1).step == 50, 30)
            assert len(held) == 3

    def test_an_actor_waits_at_a_step_until_it_was_captured_there(self) -> None:
        held: list[Reply] = []
        with self.running(2, lanes=1) as client:
            client.on_held_at = held.append
            ahead = 30
            client.call(0, Command.HOLD_AT, (ahead,))
            for slot in range(2):
                client.call(slot, Command.RESUME)
            assert client.wait_until(partial(_has, held, 1), 30)
            assert (held[0].actor_slot, held[0].step) == (0, ahead)
            state, at = captured(client, 0)  # of no step in particular: it goes on waiting
            assert at.step == client.call(0, Command.HEARTBEAT).step == ahead
            np.testing.assert_array_equal(state, advance(Mixer(self.shape).start(0), 0, ahead))
            for step in (ahead - 1, ahead + 1):
                with pytest.raises(CommandRefused, match="past that step"):
                    captured(client, 0, 0, step)
            other = client.kernel.counters(1).step  # it did not wait
            assert client.wait_until(lambda: client.kernel.counters(1).step > other, 30)
            again, at = captured(client, 0, 0, ahead)
            assert at.step == ahead
            np.testing.assert_array_equal(again, state)
            assert client.wait_until(lambda: client.kernel.counters(0).step > ahead, 30)
            with pytest.raises(CommandRefused, match="past that step"):
                client.call(0, Command.HOLD_AT, (ahead,))
            # One that is withdrawn, or of before a load, holds nobody.
            client.call(0, Command.PAUSE)
            now = client.call(0, Command.HEARTBEAT).step
            client.call(0, Command.HOLD_AT, (now + 1,))
            client.call(0, Command.HOLD_AT, (-1,))
            self.run(client, 0, 3)
            client.call(0, Command.HOLD_AT, (now + 4,))
            restored(client, 0, state, now + 3, 7.0)
            self.run(client, 0, 3)
            assert len(held) == 1

    def test_parameters_change_between_steps(self) -> None:
        with self.running() as client:
            self.run(client, 0, 4)
            client.kernel.params_buffer(0)[0] = 100
            client.call(0, Command.SET_PARAMS)
            self.run(client, 0, 4)
            state, _ = captured(client, 0)
            halfway = advance(Mixer(self.shape).start(0), 0, 4)
            np.testing.assert_array_equal(state, advance(halfway, 4, 4, add=100))

    def test_inject_changes_one_cell(self) -> None:
        with self.running() as client:
            before, _ = captured(client, 0)
            bits = int(np.float64(5.0).view(np.int64))
            client.call(0, Command.INJECT, (0, 3, 4, bits))
            after, _ = captured(client, 0)
            assert after[0, 3, 4] == before[0, 3, 4] + 5
            after[0, 3, 4] -= 5
            np.testing.assert_array_equal(after, before)

    @pytest.mark.parametrize("cell", [(0, -1, 0), (0, 0, 13), (1, 0, 0), (0, 11, 0)])
    def test_inject_outside_the_grid_is_refused(self, cell: tuple[int, int, int]) -> None:
        with self.running() as client, pytest.raises(CommandRefused, match="out of range"):
            client.call(0, Command.INJECT, (*cell, 0))

    def test_a_region_is_read_and_written_and_the_rest_stays(self) -> None:
        with self.running(2, lanes=1) as client:
            self.run(client, 1, 3)  # an odd step: the levels have changed places
            state, _ = captured(client, 1)
            for level, field in enumerate(("u", "u_previous")):
                region = Region(field, slice(2, 5), slice(3, None))
                found = state[level, 2:5, 3:]
                np.testing.assert_array_equal(_read(client, 1, region), found)
                _write(client, 1, region, -found)
                np.testing.assert_array_equal(_read(client, 1, region), -found)
                found *= -1
            after, reply = captured(client, 1)
            np.testing.assert_array_equal(after, state)
            self.run(client, 1, 4)
            expected = advance(state, reply.step, 4)
            np.testing.assert_array_equal(captured(client, 1)[0], expected)

    def test_a_region_outside_the_grid_is_refused(self) -> None:
        with self.running() as client:
            place = Region("u", slice(2, None)).place_in(client.kernel.actors[0])
            what, z, y, x = region_words(client.kernel.actors[0], place)
            for words in (
                (what, z, y + 1, x),
                (what, z, y, x + (1 << 32)),
                (what, 0, y, x),
                (what + 256 * 4, z, y, x),
                (-1, z, y, x),
            ):
                with pytest.raises(CommandRefused, match="out of range"):
                    client.call(0, Command.READ_REGION, words)

    @pytest.mark.parametrize("depth", [1, 3])
    def test_linked_actors_are_one(self, depth: int) -> None:
        """A grid in two halves, with the last rows of each before the first of the other."""
        nx, whole = self.shape[1], Mixer((10, self.shape[1])).start(5)
        links = [
            Link(source, Region(field, slice(5, 5 + depth)), 1 - source, into, depth)
            for source in range(2)
            for field, into in (
                ("u", Region("u", slice(depth))),
                ("u_previous", Region("u_previous", slice(depth))),
            )
        ]
        kernel = self.make([Mixer((5 + depth, nx))] * 2, links=links, lanes=1)
        with running(kernel) as client:
            for slot in range(2):
                rows = np.arange(5 * slot - depth, 5 * slot + 5) % 10
                restored(client, slot, whole[:, rows], 0, 7)
            self.run(client, 1, 7)
            self.run(client, 0, 10)
            client.call(0, Command.RESUME)
            assert client.wait_until(lambda: kernel.counters(1).step >= 25, 30)
            step = client.call(1, Command.PAUSE).step
            halves = []
            for slot in range(2):
                state, reply = captured(client, slot)
                assert (reply.step, kernel.counters(slot).running) == (step, False)
                halves.append(state[:, depth:])
            np.testing.assert_array_equal(np.concatenate(halves, 1), advance(whole, 0, step))
            client.call(1, Command.SET_LINK, (0, 0))
            client.call(1, Command.SET_LINK, (1, 0))
            self.run(client, 0, depth + 1)
            after = np.concatenate([captured(client, slot)[0][:, depth:] for slot in range(2)], 1)
            assert not np.array_equal(after, advance(whole, 0, step + depth + 1))
            with pytest.raises(CommandRefused, match="out of range"):
                client.call(1, Command.SET_LINK, (4, 0))

    def test_a_third_snapshot_while_two_are_held_is_refused_with_a_reason(self) -> None:
        with self.running() as client:
            kernel = client.kernel
            held = [client.call(0, Command.SNAPSHOT).value for _ in range(2)]
            assert sorted(held) == [0, 1]
            with pytest.raises(CommandRefused, match="no free staging buffer") as caught:
                client.call(0, Command.SNAPSHOT)
            assert caught.value.status == Status.STAGING_BUSY
            assert kernel.staging_taken(0) == 2
            kernel.release_staging(0, held[0])
            assert kernel.staging_taken(0) == 1
            assert client.call(0, Command.SNAPSHOT).value == held[0]

    def test_staged_state_stays_while_the_actor_steps_on(self) -> None:
        with self.running() as client:
            client.call(0, Command.RESUME)
            reply = client.call(0, Command.SNAPSHOT)
            view, facts = client.kernel.staged(0, reply.value, 0)
            then = facts.step + 50
            assert client.wait_until(lambda: client.kernel.counters(0).step > then, 30)
            expected = advance(Mixer(self.shape).start(0), 0, facts.step)
            np.testing.assert_array_equal(view.reshape(2, *self.shape), expected)
            assert client.kernel.staged_checksum(0, reply.value, 0) == facts.checksum

    def test_unknown_command_and_bad_slot_are_answered(self) -> None:
        with self.running() as client:
            with pytest.raises(CommandRefused, match="does not know") as caught:
                client.call(0, 77)
            assert caught.value.status == Status.UNKNOWN_COMMAND
            with pytest.raises(CommandRefused, match="slot") as caught:
                client.call(9, Command.HEARTBEAT)
            assert caught.value.status == Status.BAD_SLOT

    def test_a_bad_step_count_is_refused(self) -> None:
        with self.running() as client:
            for count in (0, -1, -(2**63)):
                with pytest.raises(CommandRefused, match="out of range"):
                    client.call(0, Command.RUN_STEPS, (count,))
            client.call(0, Command.RUN_STEPS, (1,))
            with pytest.raises(CommandRefused, match="out of range"):
                client.call(0, Command.RUN_STEPS, (2**63 - 1,))

    def test_destroy_create_restart(self) -> None:
        with self.running() as client:
            kernel = client.kernel
            with pytest.raises(CommandRefused, match="already holds"):
                client.call(0, Command.CREATE_ACTOR, (0,))
            self.run(client, 0, 5)
            client.call(0, Command.DESTROY_ACTOR)
            assert not kernel.counters(0).exists
            with pytest.raises(CommandRefused, match="no actor"):
                client.call(0, Command.RUN_STEPS, (1,))
            start = Mixer(self.shape).start(3)
            for command in (Command.CREATE_ACTOR, Command.RESTART_ACTOR):
                kernel.restore_buffer(0)[...] = start.reshape(2, 1, *self.shape)
                kernel.params_buffer(0)[0] = 7
                assert client.call(0, command, (0,)).step == 0
                self.run(client, 0, 6)
                np.testing.assert_array_equal(captured(client, 0)[0], advance(start, 0, 6))

    def test_a_full_ring_is_refused_then_drains_and_nothing_is_lost(self) -> None:
        with self.running(capacity=4) as client:
            kernel = client.kernel
            sent = 0
            # Nobody takes replies: 4 fill the K2H ring, after which commands fill the H2K ring.
            deadline = time.monotonic() + 10
            while sent < 8 and time.monotonic() < deadline:
                with suppress(QueueFull):
                    kernel.push_nowait(0, Command.HEARTBEAT, 1000 + sent, 0)
                    sent += 1
            assert sent == 8
            with pytest.raises(QueueFull, match="4 of 4"):
                kernel.push_nowait(0, Command.HEARTBEAT, 1, 0)
            ids: list[int] = []
            while len(ids) < 8 and time.monotonic() < deadline:
                if (reply := kernel.peek(0)) is not None:
                    ids.append(reply.command_id)
                    kernel.advance(0)
                else:
                    kernel.wait(0.1)
            assert ids == list(range(1000, 1008))
            assert client.call(0, Command.HEARTBEAT).ok

    def test_the_client_gets_through_a_small_ring(self) -> None:
        with self.running(capacity=2) as client:
            tickets = [client.submit(0, Command.HEARTBEAT) for _ in range(50)]
            assert all(client.wait_reply(t).ok for t in tickets)
            assert client.outstanding == 0

    def test_pace_limits_the_rate(self) -> None:
        with self.running() as client:
            client.call(0, Command.SET_PACE, (2_000_000,))
            begin = time.monotonic()
            self.run(client, 0, 50)
            assert time.monotonic() - begin >= 0.049 * 2 * 0.9
            client.call(0, Command.SET_PACE, (40_000_000,))
            client.call(0, Command.SET_PACE, (0,))
            begin = time.monotonic()
            self.run(client, 0, 200)  # 8 s at the pace that was lifted
            assert time.monotonic() - begin < 5

    def test_a_shut_gate_keeps_commands_on_the_ring_and_actors_step_on(self) -> None:
        with self.running(2, lanes=2) as client:
            kernel = client.kernel
            for slot in range(2):
                client.call(slot, Command.RESUME)
            kernel.set_gate(0, Gate.COMMANDS)
            assert [kernel.gate(lane) for lane in (0, 1)] == [Gate.COMMANDS, Gate.OPEN]
            pending = client.submit(0, Command.PAUSE)
            then = kernel.counters(0).step + 10
            assert client.wait_until(lambda: kernel.counters(0).step > then, 30)
            assert pending.reply is None
            assert kernel.statistics().h2k_depth == (1, 0)
            assert client.call(1, Command.PAUSE).ok  # the other lane's gate is open
            kernel.set_gate(0, Gate.OPEN)
            client.wait_reply(pending)
            assert not kernel.counters(0).running

    def test_a_shut_gate_keeps_a_snapshots_answer_and_the_lane_waits(self) -> None:
        with self.running(3, lanes=2) as client:  # slots 0 and 2 are on lane 0
            kernel = client.kernel
            for slot in range(3):
                client.call(slot, Command.SET_PACE, (500_000,))
                client.call(slot, Command.RESUME)
            kernel.set_gate(0, Gate.ANSWERS)
            pending = client.submit(0, Command.SNAPSHOT)
            later = client.submit(2, Command.HEARTBEAT)
            assert client.wait_until(lambda: kernel.staging_taken(0) == 1, 30)
            assert kernel.statistics().staging_taken == (1, 0)
            at_gate = [kernel.counters(slot).step for slot in (0, 2)]
            then = kernel.counters(1).step + 10
            assert client.wait_until(lambda: kernel.counters(1).step > then, 30)
            assert [kernel.counters(slot).step for slot in (0, 2)] == at_gate
            assert pending.reply is None
            assert later.reply is None
            kernel.set_gate(0, Gate.COMMANDS)  # answers pass, further commands do not
            reply = client.wait_reply(pending)
            assert reply.step == at_gate[0]
            expected = advance(Mixer(self.shape).start(0), 0, reply.step)
            view, _ = kernel.staged(0, reply.value, 0)
            np.testing.assert_array_equal(view.reshape(2, *self.shape), expected)
            kernel.release_staging(0, reply.value)
            assert client.wait_until(lambda: kernel.counters(0).step > at_gate[0], 30)
            assert later.reply is None
            kernel.set_gate(0, Gate.OPEN)
            assert client.wait_reply(later).ok

    @pytest.mark.parametrize("gate", [Gate.COMMANDS, Gate.ANSWERS])
    def test_stop_reaches_a_lane_that_waits_at_a_gate(self, gate: Gate) -> None:
        kernel = self.make([Mixer(self.shape)])
        kernel.launch()
        client = KernelClient(kernel)
        kernel.set_gate(0, gate)
        client.submit(0, Command.SNAPSHOT)
        began = time.monotonic()
        kernel.stop("pulled the plug")
        assert time.monotonic() - began < 5
        assert kernel.stopped_because == "pulled the plug"

    def test_terminate_ends_the_lane_and_close_is_idempotent(self) -> None:
        kernel = self.make([Mixer(self.shape)])
        kernel.launch()
        client = KernelClient(kernel)
        assert kernel.alive
        assert client.call(0, Command.TERMINATE).ok
        kernel.stop("first")
        kernel.stop("second")
        assert not kernel.alive
        with pytest.raises(KernelStopped, match=r"first.*Start a new Session"):
            client.call(0, Command.HEARTBEAT)

    def test_stop_reaches_a_busy_kernel_and_a_waiting_caller(self) -> None:
        kernel = self.make([Mixer(self.shape)])
        kernel.launch()
        client = KernelClient(kernel)
        client.call(0, Command.RUN_STEPS, (2**40,))
        kernel.stop("pulled the plug")
        with pytest.raises(KernelStopped, match="pulled the plug"):
            client.wait_until(lambda: False, None)

    def test_many_threads_may_call_at_once(self) -> None:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - of one test

        with self.running(4, lanes=2) as client, ThreadPoolExecutor(6) as pool:
            slots = [i % 4 for i in range(300)]
            replies = list(pool.map(lambda s: client.call(s, Command.HEARTBEAT), slots))
            assert [r.actor_slot for r in replies] == slots
            assert len({(r.actor_slot % 2, r.command_id) for r in replies}) == len(slots)
            assert client.outstanding == 0


def _read(client: KernelClient, slot: int, region: Region) -> Any:
    """Return a region's values."""
    place = region.place_in(client.kernel.actors[slot])
    words = region_words(client.kernel.actors[slot], place)
    buffer = client.kernel.region_buffer(slot, place.shape, place.dtype)
    assert client.load(slot, Command.READ_REGION, lambda: (words, None)).value == place.nbytes
    return buffer.copy()


def _write(client: KernelClient, slot: int, region: Region, values: Any) -> None:
    """Set a region's values."""
    place = region.place_in(client.kernel.actors[slot])
    words = region_words(client.kernel.actors[slot], place)
    client.kernel.region_buffer(slot, place.shape, place.dtype)[...] = values
    client.load(slot, Command.WRITE_REGION, lambda: (words, None))


def _has(items: Sized, count: int) -> bool:
    return len(items) == count
