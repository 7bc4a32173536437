"""Which checkpoints of an actor stay: small policies that compose.

A policy is a pure function from a history to the names it wants to keep. ``a | b`` keeps what either
keeps; ``a & b`` keeps what `b` keeps of what `a` keeps::

    from ringnb.checkpoint.retention import keep_every, keep_last, keep_within

    policy = (keep_last(3) | keep_every(1000)) & keep_within(2 << 30)
    config = CheckpointConfig(retention=policy)

`choose` turns what a policy says into what may be deleted. Whatever the policy, a user's own included:
nothing pinned, damaged or protected goes, the newest checkpoint stays, and choosing again from what is
left chooses nothing. This module touches no storage; a metric reads the checkpoints that it is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Literal, final

from ringnb._support.checks import check_int, check_seconds
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound

if TYPE_CHECKING:
    from ringnb.checkpoint.storage.checkpoint import Checkpoint

__all__ = [
    "History",
    "Load",
    "Policy",
    "choose",
    "keep_all",
    "keep_best",
    "keep_every",
    "keep_last",
    "keep_spaced",
    "keep_thinning",
    "keep_within",
]


def keep_all() -> Policy:
    """Keep everything.

    Returns
    -------
    Policy
        The policy.
    """
    return Policy(lambda history, _: _names(history), "keep_all()")


def keep_last(count: int) -> Policy:
    """Keep the newest few.

    Parameters
    ----------
    count : int
        How many, at least 1.

    Returns
    -------
    Policy
        The policy. Pinned checkpoints stay beside them: they are not counted.

    Raises
    ------
    TypeError, ValueError
        If the count is none.
    """
    count = check_int(count, "count", 1)
    return Policy(lambda history, _: _names(history[-count:]), f"keep_last({count})")


def keep_every(steps: int) -> Policy:
    """Keep one for every so many steps: that at each multiple, or the first after it.

    Parameters
    ----------
    steps : int
        How many, at least 1.

    Returns
    -------
    Policy
        The policy. Steps are cut into windows that begin at 0, `steps`, twice `steps` and so on; each
        keeps the checkpoint of its smallest step, and if several have that step, as they may after a
        restore, all of these.

    Raises
    ------
    TypeError, ValueError
        If the number is none.

    Notes
    -----
    So it keeps what ``Session.snapshot_every(steps)`` takes, which comes soon after each multiple.
    """
    steps = check_int(steps, "steps", 1)

    def wanted(history: History, _: Load) -> list[str]:
        """Compare within each window."""
        first: dict[int, int] = {}
        for e in history:
            first[e.step // steps] = min(first.get(e.step // steps, e.step), e.step)
        return _names(e for e in history if e.step == first[e.step // steps])

    return Policy(wanted, f"keep_every({steps})")


def keep_spaced(seconds: float) -> Policy:
    """Keep the oldest, and then each that was committed long enough after the last one kept.

    Parameters
    ----------
    seconds : float
        The least distance, finite and greater than 0.

    Returns
    -------
    Policy
        The policy. A checkpoint that does not say when it was committed is kept.

    Raises
    ------
    TypeError, ValueError
        If that is no duration.
    """
    gap = check_seconds(seconds, "seconds")

    def wanted(history: History, _: Load) -> list[str]:
        """Go from the oldest to the newest."""
        names, last = [], -math.inf
        for e in history:
            at = _time(e)
            # A clock that was set back starts a new row, or nothing would be kept until it caught up.
            if at is None or at - last >= gap or at < last:
                names.append(e.name)
                last = last if at is None else at
        return names

    return Policy(wanted, f"keep_spaced({gap:g})")


def keep_thinning(seconds: float, count: int = 2) -> Policy:
    """Keep recent checkpoints dense and old ones sparse: the distance doubles with the age.

    Time is cut into slots of `seconds`, of twice that, of four times that, and so on. Of each length
    the newest `count` slots that hold a checkpoint keep their oldest one. So about
    ``count * log2(age / seconds)`` remain, and what was kept once is replaced only by what is in turn
    kept longer, because every slot begins where a shorter one begins.

    Parameters
    ----------
    seconds : float
        The shortest slot, finite and greater than 0: about the interval between checkpoints.
    count : int, default 2
        Checkpoints per length, at least 2. The newest `count` checkpoints stay in any case.

    Returns
    -------
    Policy
        The policy. A checkpoint that does not say when it was committed is kept.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.
    """
    slot = check_seconds(seconds, "seconds")
    count = check_int(count, "count", 2)

    def wanted(history: History, _: Load) -> set[str]:
        """Collect over all lengths."""
        timed = [(at, e.name) for e in history if (at := _time(e)) is not None]
        names = {e.name for e in history if _time(e) is None} | set(_names(history[-count:]))
        length = slot
        while True:
            first: dict[int, tuple[float, str]] = {}
            for at, name in timed:
                key = math.floor(at / length)
                first[key] = min(first.get(key, (at, name)), (at, name))
            newest = sorted(first)[-count:]
            names.update(first[key][1] for key in newest)
            if len(first) <= 1 or length > 2**62:
                return names
            length *= 2

    return Policy(wanted, f"keep_thinning({slot:g}, {count})")


def keep_best(
    count: int,
    metric: Callable[[Checkpoint], float],
    *,
    best: Literal["largest", "smallest"] = "largest",
) -> Policy:
    """Keep those of which a function of the state is largest, or smallest.

    Parameters
    ----------
    count : int
        How many, at least 1; of equal ones the newer.
    metric : callable
        Takes a `Checkpoint`, returns a number. It is called once per checkpoint (what it returned is
        remembered as long as the policy lives), on the thread that commits, so it should read no more
        than it needs.
    best : {"largest", "smallest"}
        Which end of the scale.

    Returns
    -------
    Policy
        The policy. A checkpoint that is damaged, or of which the metric is NaN, is the worst.

    Raises
    ------
    TypeError, ValueError
        If an argument is out of range.

    Examples
    --------
    >>> keep_best(3, lambda c: float(abs(c["pressure"][:]).max()))
    keep_best(3, <lambda>)
    """
    count = check_int(count, "count", 1)
    if not callable(metric):
        msg = f"metric must be callable, got {metric!r}"
        raise TypeError(msg)
    if best not in ("largest", "smallest"):
        msg = f"best must be 'largest' or 'smallest', got {best!r}"
        raise ValueError(msg)
    sign = 1.0 if best == "largest" else -1.0
    known: dict[tuple[str, int], float] = {}  # a sequence number is never given twice

    def value(e: CheckpointInfo, load: Load) -> float:
        """Return how good a checkpoint is."""
        key = (e.name, e.sequence)
        if key not in known:
            try:
                measured = sign * float(metric(load(e.name)))
            except (CheckpointCorrupt, CheckpointNotFound):
                measured = math.nan
            known[key] = -math.inf if math.isnan(measured) else measured
        return known[key]

    def wanted(history: History, load: Load) -> list[str]:
        """Rank them."""
        ranked = sorted((value(e, load), e.sequence, e.name) for e in history)
        return [name for _, _, name in ranked[-count:]]

    named = getattr(metric, "__name__", repr(metric))
    end = "" if best == "largest" else ", best='smallest'"
    return Policy(wanted, f"keep_best({count}, {named}{end})")


def keep_within(nbytes: int) -> Policy:
    """Keep the newest ones that fit into a number of bytes together.

    Parameters
    ----------
    nbytes : int
        The budget per actor, at least 1: logical bytes of the fields, whatever checkpoints share.

    Returns
    -------
    Policy
        The policy. The newest stays even if it is larger.

    Raises
    ------
    TypeError, ValueError
        If the budget is none.
    """
    nbytes = check_int(nbytes, "nbytes", 1)

    def wanted(history: History, _: Load) -> list[str]:
        """Go from the newest to the oldest."""
        names, total = [], 0
        for e in reversed(history):
            total += e.nbytes
            if total > nbytes:
                break
            names.append(e.name)
        return names

    return Policy(wanted, f"keep_within({nbytes})")


def _names(entries: Iterable[CheckpointInfo]) -> list[str]:
    return [e.name for e in entries]


def _time(e: CheckpointInfo) -> float | None:
    return None if e.created_at is None else e.created_at.timestamp()


History = Sequence[CheckpointInfo]
Load = Callable[[str], "Checkpoint"]


@final
class Policy:
    """What to keep of one actor's history.

    Parameters
    ----------
    wanted : callable
        ``wanted(history, load)`` returns the names to keep. ``history`` is a sequence of
        `CheckpointInfo`, oldest commit first, without those that are pinned or damaged;
        ``load(name)`` opens a checkpoint, for the few policies that must look inside.
    text : str
        How it is written, for ``repr``.

    Notes
    -----
    Immutable, any thread. It runs on the thread that commits, outside the manager's lock.
    """

    __slots__ = ("_text", "_wanted")

    def __init__(self, wanted: Callable[[History, Load], Collection[str]], text: str) -> None:
        self._wanted = wanted
        self._text = text

    def __call__(self, history: History, load: Load) -> frozenset[str]:
        """Return the names to keep.

        Parameters
        ----------
        history : sequence of CheckpointInfo
            Oldest commit first.
        load : callable
            Opens a checkpoint by name.

        Returns
        -------
        frozenset of str
            Some of the history's names.
        """
        return frozenset(self._wanted(history, load))

    def __or__(self, other: Policy) -> Policy:
        """Keep what either keeps."""
        if not isinstance(other, Policy):
            return NotImplemented
        return Policy(lambda h, load: self(h, load) | other(h, load), f"({self!r} | {other!r})")

    def __and__(self, other: Policy) -> Policy:
        """Keep what the right one keeps of what the left one keeps."""
        if not isinstance(other, Policy):
            return NotImplemented

        def wanted(history: History, load: Load) -> frozenset[str]:
            """Ask one after the other."""
            left = self(history, load)
            return other([e for e in history if e.name in left], load)

        return Policy(wanted, f"({self!r} & {other!r})")

    def __repr__(self) -> str:
        """Return it as it was written."""
        return self._text


def choose(
    history: Iterable[CheckpointInfo],
    policy: Policy,
    load: Load,
    *,
    protect: Collection[str] = (),
) -> list[CheckpointInfo]:
    """Choose what a policy lets go.

    Parameters
    ----------
    history : iterable of CheckpointInfo
        One actor's checkpoints in any order; `CheckpointInfo.sequence` decides which is newer.
    policy : Policy
        What to keep.
    load : callable
        Opens a checkpoint by name.
    protect : collection of str, optional
        Names that stay whatever the policy says.

    Returns
    -------
    list of CheckpointInfo
        What to delete, oldest first. Never one that is pinned, damaged (nothing but its name is
        known, so it may be somebody else's) or protected, and never the newest of the others.
    """
    ordered = sorted((e for e in history if not e.damaged), key=lambda e: e.sequence)
    left = [e for e in ordered if e.pin is None]
    always = {*protect, *(e.name for e in left[-1:])}
    # Again until nothing changes: deleting what is chosen must not make the next choice differ.
    while True:
        wanted = policy(left, load) | always
        kept = [e for e in left if e.name in wanted]
        if len(kept) == len(left):
            break
        left = kept
    stay = {e.name for e in left}
    return [e for e in ordered if e.pin is None and e.name not in stay]
