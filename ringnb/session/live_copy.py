"""A copy of a live actor's state, of one step boundary, which nobody commits.

It takes the way of a snapshot as far as the staging buffer: what the kernel is asked for, and what that
costs the actor, is the same.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy.typing as npt

from ringnb._support.off_main import check_interrupted
from ringnb.actors.base import Actor
from ringnb.checkpoint.state import State
from ringnb.errors import CommandRefused, SnapshotFailed, SnapshotTimeout, Status
from ringnb.kernel.base import QueueFull, SnapshotFacts
from ringnb.kernel.client import KernelClient, PendingCommand
from ringnb.messages.simulated_time import SimulatedTime
from ringnb.session.staging import StagingLoan, fields_of
from ringnb.session.transport import SnapshotTransport

__all__ = ["LiveCopy", "copy_state", "copy_states", "make_state"]

_LOOK_AGAIN_S = 0.005


class LiveCopy(NamedTuple):
    """What was in a staging buffer, copied."""

    fields: dict[str, npt.NDArray[Any]]
    params: dict[str, float]
    reduced: dict[str, float]
    facts: SnapshotFacts
    clock: SimulatedTime | None


def make_state(copied: LiveCopy, actor: Actor, slot: int, kernel_id: str) -> State:
    """Return a copy with all that is known of its actor."""
    return State(
        copied.fields,
        kernel_id=kernel_id,
        kernel_type=actor.kernel_type,
        actor_slot=slot,
        step=copied.facts.step,
        params=copied.params,
        reduced=copied.reduced,
        field_attrs=actor.field_attrs,
        clock=copied.clock,
    )


def copy_state(
    client: KernelClient,
    transport: SnapshotTransport,
    slot: int,
    timeout_s: float,
    *,
    held: int = 0,
    at: int = 0,
) -> LiveCopy:
    """Have an actor's state captured at its next step boundary, and copy it. Any thread.

    `held` is the number of a wait of the actor that ends with the capture, `at` the step of a hold that
    does. SnapshotTimeout if that is not done in time, SnapshotFailed if the copy is not what was
    captured; KernelStopped and CommandRefused as `KernelClient.call`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        loan = _capture(client, transport, slot, deadline, timeout_s, (held, at))
        if loan is not None:
            return _take(client, transport, slot, loan)


def copy_states(
    client: KernelClient,
    transport: SnapshotTransport,
    wanted: Iterable[tuple[int, int]],
    timeout_s: float,
) -> Iterator[LiveCopy]:
    """Copy the states of several actors, in order; errors as `copy_state`.

    `wanted` has a slot and an `at` for each. As many are captured at a time as there are staging
    buffers.
    """
    deadline = time.monotonic() + timeout_s
    left, begun = deque(wanted), deque[tuple[int, int, StagingLoan, PendingCommand]]()
    while left or begun:
        while left:
            slot, at = left[0]
            loan, command = transport.new_loan(slot)
            send = partial(client.send, command, (0, at), timeout_s=0)
            if not _try(transport, loan.lane, send):
                break
            begun.append((slot, at, loan, command))
            left.popleft()
        if begun:
            slot, at, loan, command = begun.popleft()
            if _answered(client, command, slot, deadline, timeout_s):
                yield _take(client, transport, slot, loan)
                continue
        else:
            slot, at = left.popleft()
        yield copy_state(client, transport, slot, max(0.0, deadline - time.monotonic()), at=at)


def _take(
    client: KernelClient, transport: SnapshotTransport, slot: int, loan: StagingLoan
) -> LiveCopy:
    """Copy what was captured, and give the buffer back."""
    try:
        kernel, index, actor = client.kernel, loan.index, client.kernel.actors[slot]
        assert index is not None  # it was captured
        state, facts = kernel.staged(loan.lane, index, slot)
        fields = {name: view.copy() for name, view in fields_of(actor, state).items()}
        params = kernel.staged_params(loan.lane, index, slot)
        reduced = kernel.staged_reductions(loan.lane, index, slot)
        if kernel.staged_checksum(loan.lane, index, slot) != facts.checksum:
            msg = (
                f"the live state of slot {slot} is not what the kernel captured (checksum mismatch): "
                "something wrote to the staging buffer; ask again"
            )
            raise SnapshotFailed(msg)
        transport.note_reduced(slot, facts, reduced)
        return LiveCopy(fields, params, reduced, facts, loan.clock)
    finally:
        loan.free()


def _capture(
    client: KernelClient,
    transport: SnapshotTransport,
    slot: int,
    deadline: float,
    timeout_s: float,
    arguments: tuple[int, int],
) -> StagingLoan | None:
    """Return a captured state; None if another has taken the buffer that was free."""
    loan, command = transport.new_loan(slot)
    # The lane's senders wait for each other, and the service must be able to go on: nothing is waited
    # for in here.
    send = partial(client.send, command, arguments, timeout_s=0)
    while not _try(transport, loan.lane, send):
        check_interrupted()
        client.kernel.check_alive()
        left = deadline - time.monotonic()
        if left <= 0:
            msg = (
                f"the live state of slot {slot} was not copied within {timeout_s:g} s: the staging "
                "buffers of its lane hold snapshots that are not written yet, or its H2K ring is full. "
                "Wait, or complete the responses that receive() has given out"
            )
            raise SnapshotTimeout(msg)
        client.pump(min(_LOOK_AGAIN_S, left))
    return loan if _answered(client, command, slot, deadline, timeout_s) else None


def _try(transport: SnapshotTransport, lane: int, send: Callable[[], object]) -> bool:
    """Send a command if there is a staging buffer for it, and room on the ring; return whether."""
    try:
        return transport.send_into_free(lane, send)
    except QueueFull:
        return False


def _answered(
    client: KernelClient, command: PendingCommand, slot: int, deadline: float, timeout_s: float
) -> bool:
    """Wait for the capture; return False if no buffer was free after all: a request by hand took it."""
    try:
        client.wait_reply(command, max(0.0, deadline - time.monotonic()))
    except CommandRefused as refused:
        if refused.status == Status.STAGING_BUSY:
            return False
        raise
    except TimeoutError as late:
        msg = f"the live state of slot {slot} was not copied within {timeout_s:g} s: {late}"
        raise SnapshotTimeout(msg) from late
    return True
