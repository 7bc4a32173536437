"""One consistent cut of a session's actors: all held at one step, captured, committed as one; and back.

`take_cut` chooses a step a little ahead of the fastest actor that runs, has the kernel hold each there,
and captures them once all have come. If one was past the step already, it tries again with a later one.
The states are copied out of the staging buffers, of which a lane has two: a cut takes as much memory as
all states together, for as long as it is written.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, final

from ringnb._support.checks import check_json, check_label, check_seconds
from ringnb._support.off_main import check_interrupted, warn_caller
from ringnb._support.text import counted
from ringnb.checkpoint.history import newest_of
from ringnb.checkpoint.notices import warn
from ringnb.checkpoint.runs import Lineage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.cut_record import part_name
from ringnb.errors import (
    CheckpointCorrupt,
    CheckpointNotFound,
    CheckpointWarning,
    CommandRefused,
    KernelStopped,
    SnapshotTimeout,
    Status,
)
from ringnb.kernel.base import ActorCounters
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command
from ringnb.messages.snapshots import SnapshotResponse, StagedFields
from ringnb.session.change_tracking import ChangeTracker, StateVersion
from ringnb.session.live_copy import copy_states
from ringnb.session.live_state import LiveState
from ringnb.session.restore import Restore, find_newest_cut, prepare_restore
from ringnb.session.service import SnapshotService
from ringnb.session.step_holds import Hold
from ringnb.session.transport import RequestStatus

__all__ = ["CutWish", "cut_group", "load_cut", "prepare_cut", "take_cut"]

_AHEAD_S = 0.005  # how far ahead of the fastest the step is chosen at first
_AHEAD_PER_ACTOR_S = 0.00005  # what it takes to have an actor held
_MEASURE_S = 0.002
_FURTHER = 4  # times as far, at each further try
_LOOK_S = 0.02


class CutWish(NamedTuple):
    """What a user wants of a cut, checked."""

    label: str | None
    limit_s: float
    attrs: Mapping[str, Any] | None

    @classmethod
    def of(cls, label: str | None, timeout: object, attrs: object) -> CutWish:
        """Check what a user has given; TypeError or ValueError."""
        if label is not None:
            check_label(label)
        checked = None if attrs is None else check_json(attrs, "attrs")
        return cls(label, check_seconds(timeout, "timeout"), checked)


class _Part(NamedTuple):
    """The captured state of one actor."""

    response: SnapshotResponse
    version: StateVersion
    begin_ns: int


@final
class _Cutter:
    """Takes one cut, of all actors or of those of one group."""

    def __init__(
        self,
        service: SnapshotService,
        client: KernelClient,
        changes: ChangeTracker,
        check: Callable[[], None],
        limit_s: float,
        group: Sequence[int] = (),
    ) -> None:
        self._group = group
        # By slot, of the requests that a group's cut answers.
        self.statuses: dict[int, RequestStatus] = {}
        self._service, self._client, self._kernel = service, client, client.kernel
        self._changes, self._check = changes, check
        self._limit_s, self._deadline = limit_s, time.monotonic() + limit_s

    def take(self, attrs: Mapping[str, Any] | None) -> str:
        """Return the name of the committed cut."""
        manager, factor = self._service.manager, 1
        while True:
            slots = [s for s in sorted(manager.registered) if not self._group or s in self._group]
            parents = {slot: manager.lineage(slot) for slot in slots}
            epochs = {slot: self._kernel.counters(slot).epoch for slot in slots}
            parts = self._capture_together(slots, factor)
            if parts is not None and all(
                p.version.epoch == epochs[p.response.actor_slot] for p in parts
            ):
                return self._commit(parts, parents, attrs)
            for status in self.statuses.values():
                if status.stage == "sent":  # the step schedule may still say where it is held
                    status.stage = "requested"
            factor *= _FURTHER

    def collect(self) -> dict[int, RequestStatus]:
        """Return the group's requests that no one has sent, by slot."""
        group, service = self._group, self._service
        requests = [r for r in service.manager.pending if r.actor_slot in group] if group else []
        statuses = {r.actor_slot: service.transport.open_status(r) for r in requests}
        return {slot: s for slot, s in statuses.items() if s.stage == "requested"}

    def _is_held(self) -> bool:
        """Return whether the group waits at a step at which it is to be captured."""
        # Nothing but the capture ends that: another step cannot be waited for.
        held = self._service.holds.is_held_at
        return any(held(slot, s.at) for slot, s in self.collect().items() if s.at)

    def _commit(
        self,
        parts: list[_Part],
        parents: Mapping[int, Lineage | None],
        attrs: Mapping[str, Any] | None,
    ) -> str:
        service = self._service
        versions = {p.response.actor_slot: p.version for p in parts}
        with self._changes.saving(versions):
            for part in parts:
                if (status := self.statuses.get(part.response.actor_slot)) is not None:
                    status.version, status.captured_ns = part.version, part.begin_ns
                    status.in_cut = True  # only now: the group goes on, and is being saved
            if self.statuses:
                self._kernel.wake()  # the service releases what the step schedule holds
            service.reporter.settle_before(versions)
            name = service.manager.commit_cut([p.response for p in parts], parents, attrs)
            for slot, version in versions.items():
                self._changes.mark_saved(slot, version)
        for slot, lineage in ((s, service.manager.lineage(s)) for s in versions):
            if lineage is not None:
                service.reporter.note_commit(slot, versions[slot].epoch, lineage.name)
        return name

    # -- all at one step ---------------------------------------------------------------------------

    def _capture_together(self, slots: list[int], factor: int) -> list[_Part] | None:
        """Capture all at the step at which they meet; None if one did not come there."""
        holds: dict[int, Hold] = {}
        # Whatever interrupts one release, the others come all the same.
        with contextlib.ExitStack() as stack:
            meeting = {} if self._is_held() else self._meeting(slots, factor)
            for slot, at in meeting.items():
                hold = holds[slot] = self._service.holds.ask(slot, at)
                stack.callback(self._service.holds.release, hold)
            if not self._wait(holds):
                return None
            return self._capture(slots, holds)

    def _meeting(self, slots: list[int], factor: int) -> dict[int, int]:
        """Return at which step each actor that runs is to be held: a common one, if it gets there.

        This is the one place that decides which actors must be at one step: all that run. Those that
        are paused stay as they are.
        """
        before = {slot: c.step for slot, c in self._running(slots).items()}
        begin_s = time.monotonic()
        if before:  # see how fast they are
            self._client.wait_until(lambda: False, _MEASURE_S)
        looks = factor * (_AHEAD_S + len(slots) * _AHEAD_PER_ACTOR_S)
        looks /= max(_MEASURE_S, time.monotonic() - begin_s)
        running = self._running(slots)
        taken = {slot: c.step - before.get(slot, c.step) for slot, c in running.items()}
        at = max((c.step + 1 + int(looks * taken[slot]) for slot, c in running.items()), default=0)
        # Of linked actors one is held: none of them steps without it, whatever their steps are.
        held: dict[int, int] = {}
        for slot in running:
            held.setdefault(self._kernel.deal.group_of[slot][0], slot)
        # A budget that ends before: the actor is captured where it ends.
        ends = {slot: running[slot].step + running[slot].budget for slot in held.values()}
        return {slot: min(at, end) if running[slot].budget else at for slot, end in ends.items()}

    def _running(self, slots: list[int]) -> dict[int, ActorCounters]:
        counters = {slot: self._kernel.counters(slot) for slot in slots}
        return {slot: c for slot, c in counters.items() if c.running}

    def _wait(self, holds: dict[int, Hold]) -> bool:
        """Wait until all are held; return False if one was past its step. One paused is let go."""
        service, waiting = self._service, dict(holds)

        def all_answered() -> bool:
            """Look at those that have not come yet, each once it has."""
            while waiting:
                hold = waiting[next(reversed(waiting))]
                if not (hold.held or hold.passed):
                    return False
                waiting.popitem()
            return True

        while not self._client.wait_until(all_answered, min(_LOOK_S, self._left(holds))):
            self._check()
            if self._is_held():
                return False
            for slot, hold in list(waiting.items()):
                c = self._kernel.counters(slot)
                if not c.running and c.step != hold.at:  # paused meanwhile: it stays as it is
                    service.holds.release(hold)
                    del waiting[slot], holds[slot]
                elif service.holds.is_void(hold):
                    return False
        return not any(service.holds.is_void(hold) for hold in holds.values())

    def _left(self, holds: Mapping[int, Hold]) -> float:
        left = self._deadline - time.monotonic()
        if left > 0:
            return left
        if not holds:
            msg = f"the actors were not captured within {self._limit_s:g} s; allow a longer timeout"
            raise SnapshotTimeout(msg)
        steps = {slot: self._kernel.counters(slot).step for slot in holds}
        late = {slot: step for slot, step in steps.items() if step < holds[slot].at}
        slot = min(late or steps, key=lambda s: steps[s])
        msg = (
            f"the actors did not all come to step {holds[slot].at} within {self._limit_s:g} s: "
            f"{counted(len(late), 'actor')} did not, slot {slot} is at {steps[slot]}. "
            "Allow a longer timeout; or pause() them first, and they are captured as they are"
        )
        raise SnapshotTimeout(msg)

    def _capture(self, slots: list[int], holds: Mapping[int, Hold]) -> list[_Part] | None:
        """Capture each at the step at which it is held, or as it is; None if one was restored since."""
        # Before the capture: a change that comes meanwhile is taken for one that is not saved.
        modifications = [self._changes.modifications(slot) for slot in slots]
        linked = {
            slot: self._kernel.counters(slot).step
            for slot in slots
            if len(self._kernel.deal.group_of[slot]) > 1
        }
        self.statuses = self.collect()
        for status in self.statuses.values():
            status.stage = "sent"
        is_sole = self._service.holds.is_sole_at
        # One that is held for this cut, and for no actor but itself, steps on at its capture.
        ats = {
            slot: hold.at
            for slot, hold in holds.items()
            if is_sole(slot, hold.at) and len(self._kernel.deal.group_of[slot]) == 1
        }
        wanted = [(slot, ats.get(slot, 0)) for slot in slots]
        left, parts = self._left(holds), []
        copies = copy_states(self._client, self._service.transport, wanted, left)
        try:
            for slot, n, (fields, params, reduced, facts, clock) in zip(
                slots, modifications, copies, strict=True
            ):
                if slot in holds and facts.step != holds[slot].at:
                    return None
                if facts.step != linked.get(slot, facts.step):
                    return None  # resumed in between: its group is not at one step
                data = StagedFields(fields, params, None, clock, reduced)
                request_id = self.statuses[slot].request.request_id if slot in self.statuses else 0
                response = SnapshotResponse(request_id, slot, True, data, facts.step)
                version = StateVersion(facts.step, facts.epoch, n)
                parts.append(_Part(response, version, facts.begin_ns))
        except CommandRefused as refused:
            if refused.status != Status.STEP_PASSED:
                raise
            return None
        return parts


def take_cut(
    service: SnapshotService,
    client: KernelClient,
    changes: ChangeTracker,
    check: Callable[[], None],
    wish: CutWish,
) -> Checkpoint:
    """Return a committed cut of all registered actors; raises as ``Session.snapshot_all``."""
    deadline = time.monotonic() + wish.limit_s
    while not service.cutting.acquire(timeout=max(0.0, min(_LOOK_S, deadline - time.monotonic()))):
        check_interrupted()
        check()
        if time.monotonic() >= deadline:
            msg = f"another cut was not committed within {wish.limit_s:g} s; ask again"
            raise SnapshotTimeout(msg)
    try:
        name = _Cutter(service, client, changes, check, wish.limit_s).take(wish.attrs)
    finally:
        service.cutting.release()
    cut = service.manager.storage.load(name)
    if wish.label is not None:
        cut.pin(wish.label)
    return cut


def cut_group(service: SnapshotService, group: Sequence[int], limit_s: float) -> None:
    """Take what is requested of linked actors as one cut of them, and end the requests. Any thread.

    Of a group one actor is held, at one step, and nothing else is waited for: it needs not be the only
    cut that is taken at the time.
    """
    client, changes = service.client, service.changes
    cutter = _Cutter(service, client, changes, service.check_going_on, limit_s, group)
    if not cutter.collect():
        return  # an earlier cut had all
    try:
        name = cutter.take(None)
    except BaseException as error:
        statuses = {**cutter.collect(), **cutter.statuses}
        for status in statuses.values():
            status.end(error)
        if isinstance(error, KernelStopped) or not isinstance(error, Exception):
            raise
        if statuses:  # else all were cancelled meanwhile, or have expired
            service.manager.complete_snapshots(
                SnapshotResponse(s.request.request_id, slot, False, None, 0, str(error))
                for slot, s in statuses.items()
            )
            service.tell([*statuses.values()], error)
        return
    for slot, status in cutter.statuses.items():
        status.name = part_name(name, slot)
        status.end(None)
    service.tell([*cutter.statuses.values()], name)


# -- and back ----------------------------------------------------------------------------------------


def _find(service: SnapshotService, wanted: object) -> Checkpoint:
    """Return a cut that is given as such, by its name, or as ``"latest"``; with all its bytes in memory.

    Raises as ``Session.restore_all``.
    """
    storage = service.manager.storage
    if isinstance(wanted, str) and wanted != "latest":
        wanted = storage.load(wanted)
    if isinstance(wanted, Checkpoint):
        if not wanted.parts:
            msg = (
                f"checkpoint {wanted.name!r} is of one actor: restore it with restore(slot, ...), or "
                "name a cut, which snapshot_all takes"
            )
            raise ValueError(msg)
        wanted.read_parts()
        return wanted
    if wanted != "latest":
        msg = f"checkpoint must be a cut, its name or 'latest', got {wanted!r}"
        raise TypeError(msg)
    ids = {actor.kernel_id for actor in service.manager.registered.values()}
    cut, damaged = find_newest_cut(service.manager, ids)
    if cut is not None:
        if damaged:
            what = f"passed over newer cuts, which are damaged: {', '.join(damaged)}; took {cut.name!r}"
            warn_caller(what, CheckpointWarning)
        return cut
    msg = (
        f"there is no cut of these {counted(len(ids), 'actor')} in {storage!r}: take one with "
        "snapshot_all(), or check storage_path and name_prefix"
    )
    if damaged:
        msg = f"no cut of these actors verifies ({', '.join(damaged)}): take another with snapshot_all()"
        raise CheckpointCorrupt(msg)
    raise CheckpointNotFound(msg)


def prepare_cut(
    service: SnapshotService,
    client: KernelClient,
    wanted: object,
    params: object,
    present: Callable[[int], dict[str, float]],
) -> dict[int, Restore]:
    """Return what each actor is to be loaded with, by slot; nothing changes.

    Raises, and warns, as ``Session.restore_all``.
    """
    cut = _find(service, wanted)
    slots = {e["kernel_id"]: e["actor_slot"] for e in cut.document.record["cut"]["parts"]}
    actors = service.manager.registered
    newest = newest_of(service.manager.storage, list(actors.values()))
    prepared = {}
    for (slot, actor), last in zip(actors.items(), newest, strict=True):
        if actor.kernel_id not in slots:
            msg = (
                f"cut {cut.name!r} cannot be restored: it has no state of actor "
                f"{slot}, {actor.kernel_id!r}. It has those of {sorted(slots)}; restore(slot, ...) "
                "takes one of them"
            )
            raise ValueError(msg)
        part = cut.part(slots[actor.kernel_id])
        model = client.kernel.actors[slot]
        prepared[slot] = prepare_restore(service.manager, slot, model, part, params, present, last)
    for remark in {remark: None for one in prepared.values() for remark in one.remarks}:
        warn_caller(remark, CheckpointWarning)
    return prepared


def load_cut(client: KernelClient, live: LiveState, prepared: Mapping[int, Restore]) -> int:
    """Load all actors, paused meanwhile; return the largest step. Those that ran free run on.

    If that is ended half way, all stay paused: they would go on from states that do not fit together.
    """
    counters = {slot: client.kernel.counters(slot) for slot in prepared}
    free = [slot for slot, c in counters.items() if c.running and c.budget == 0]
    begun, steps = False, list[int]()
    try:
        client.call_each(list(prepared), Command.PAUSE)
        for slot, restore in prepared.items():
            begun = True
            steps.append(live.restore(slot, restore))
    except BaseException as error:
        # What is interrupted, or not answered in time, may still be loaded.
        if begun and (steps or isinstance(error, KeyboardInterrupt | TimeoutError)):
            what = (
                f"restore_all has ended half way: {len(steps)} of {counted(len(prepared), 'actor')} "
                "were loaded, and all stay paused; call it again before you resume them"
            )
            warn(what)
        elif client.kernel.alive:
            client.call_each(free, Command.RESUME)
        raise
    client.call_each(free, Command.RESUME)
    return max(steps)
