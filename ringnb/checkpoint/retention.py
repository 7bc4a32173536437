"""Which checkpoints of an actor stay: small policies that compose.

A policy is a pure function from a history to the names it wants to keep. ``a | b`` keeps what either
keeps; ``a & b`` keeps what `b` keeps of what `a` keeps::

    from ringnb.checkpoint.retention import keep_every, keep_last, keep_within

    policy = (keep_last(3) | keep_every(1000)) & keep_within(2 << 30)
    config = CheckpointConfig(retention=policy)

`choose` turns what a policy says into what may be deleted. Whatever the policy, a user's own included:
nothing pinned, damaged or protected is deleted, the newest checkpoint stays, and choosing again from
what is left chooses nothing. This module touches no storage; a metric reads the checkpoints that it is
given.
"""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Literal, TypeAlias, final

import numpy as np

from ringnb._support.checks import check_int, check_seconds
from ringnb._support.text import counted, quote_names, rows_table
from ringnb.checkpoint.notices import describe_error, warn
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointError, CheckpointNotFound

__all__ = [
    "History",
    "Load",
    "Policy",
    "RetentionPreview",
    "choose",
    "keep_all",
    "keep_best",
    "keep_every",
    "keep_last",
    "keep_spaced",
    "keep_thinning",
    "keep_within",
]

logger = logging.getLogger("ringnb.checkpoint")

History: TypeAlias = Sequence[CheckpointInfo]
Load: TypeAlias = Callable[[str], Checkpoint]


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
    made_by : tuple, optional
        A function, and the arguments with which it returns this policy: what `pickle` and `copy` take
        in place of `wanted`.

    Notes
    -----
    Immutable, any thread. It runs on the thread that commits, outside the manager's lock.
    """

    __slots__ = ("_made_by", "_text", "_wanted")

    def __init__(
        self,
        wanted: Callable[[History, Load], Collection[str]],
        text: str,
        made_by: tuple[Any, ...] | None = None,
    ) -> None:
        self._wanted = wanted
        self._text = text
        self._made_by = (Policy, wanted, text) if made_by is None else made_by

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        """Return the function and the arguments that make it again."""
        return self._made_by[0], self._made_by[1:]

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
        return Policy(
            lambda h, load: self(h, load) | other(h, load),
            f"({self!r} | {other!r})",
            (operator.or_, self, other),
        )

    def __and__(self, other: Policy) -> Policy:
        """Keep what the right one keeps of what the left one keeps."""
        if not isinstance(other, Policy):
            return NotImplemented

        def wanted(history: History, load: Load) -> frozenset[str]:
            left = self(history, load)
            return other([e for e in history if e.name in left], load)

        return Policy(wanted, f"({self!r} & {other!r})", (operator.and_, self, other))

    def __repr__(self) -> str:
        """Return it as it was written."""
        return self._text


def check_policy(value: object, what: str) -> Policy:
    """Return a policy, or raise TypeError."""
    if not isinstance(value, Policy):
        msg = (
            f"{what} must be a policy such as ringnb.retention.keep_last(5), or None, "
            f"got {value!r} ({type(value).__name__})"
        )
        raise TypeError(msg)
    return value


def keep_all() -> Policy:
    """Keep everything.

    Returns
    -------
    Policy
        The policy.
    """
    return Policy(lambda history, _: [e.name for e in history], "keep_all()", (keep_all,))


def keep_last(count: int) -> Policy:
    """Keep the newest checkpoints.

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
        If `count` is not an integer >= 1.
    """
    count = check_int(count, "count", 1)
    return Policy(
        lambda history, _: [e.name for e in history[-count:]],
        f"keep_last({count})",
        (keep_last, count),
    )


def keep_every(steps: int) -> Policy:
    """Keep one checkpoint per `steps` steps: the one at each multiple, or the first after it.

    Parameters
    ----------
    steps : int
        How many, at least 1.

    Returns
    -------
    Policy
        The policy. Steps are cut into windows that begin at 0, `steps`, twice `steps` and so on; each
        keeps the checkpoint with its smallest step. If several have that step, as they may after a
        restore, it keeps them all.

    Raises
    ------
    TypeError, ValueError
        If `steps` is not an integer >= 1.

    Notes
    -----
    So it keeps what ``Session.snapshot_every(steps)`` takes, at multiples.
    """
    steps = check_int(steps, "steps", 1)

    def wanted(history: History, _: Load) -> list[str]:
        first: dict[int, int] = {}
        for e in history:
            first[e.step // steps] = min(first.get(e.step // steps, e.step), e.step)
        return [e.name for e in history if e.step == first[e.step // steps]]

    return Policy(wanted, f"keep_every({steps})", (keep_every, steps))


def keep_spaced(seconds: float) -> Policy:
    """Keep the oldest, and then each that was committed `seconds` or more after the last one kept.

    Parameters
    ----------
    seconds : float
        The least distance in time, finite and greater than 0.

    Returns
    -------
    Policy
        The policy. A checkpoint that does not say when it was committed is kept.

    Raises
    ------
    TypeError, ValueError
        If `seconds` is not a finite number > 0.
    """
    gap = check_seconds(seconds, "seconds")

    def wanted(history: History, _: Load) -> list[str]:
        names, last = [], -math.inf
        for e in history:
            at = _time_s(e)
            # Where the clock was set back, spacing begins anew: otherwise nothing would be kept until
            # the clock has reached its old time again.
            if at is None or at - last >= gap or at < last:
                names.append(e.name)
                last = last if at is None else at
        return names

    return Policy(wanted, f"keep_spaced({gap:g})", (keep_spaced, gap))


def keep_thinning(seconds: float, count: int = 2) -> Policy:
    """Keep recent checkpoints dense and old ones sparse: the distance doubles with the age.

    Time is cut into slots of `seconds`, of twice that, of four times that, and so on. Of each length
    the newest `count` slots that hold a checkpoint keep their oldest one. So about
    ``count * log2(age / seconds)`` remain. Every slot begins where a shorter one begins, so what thins
    out step by step, commit after commit, still holds the checkpoints that the long slots need.

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
        If `seconds` is not a finite number > 0, or `count` is not an integer >= 2.
    """
    slot = check_seconds(seconds, "seconds")
    count = check_int(count, "count", 2)

    def wanted(history: History, _: Load) -> set[str]:
        timed = [(at, e.name) for e in history if (at := _time_s(e)) is not None]
        names = {e.name for e in history if e.created_at is None}
        names.update(e.name for e in history[-count:])
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

    return Policy(wanted, f"keep_thinning({slot:g}, {count})", (keep_thinning, slot, count))


def keep_best(
    count: int,
    metric: Callable[[Checkpoint], float],
    *,
    best: Literal["largest", "smallest"] = "largest",
) -> Policy:
    """Keep the checkpoints with the largest, or the smallest, values of a metric.

    Parameters
    ----------
    count : int
        How many, at least 1; of equal ones the newer.
    metric : callable
        Takes a `Checkpoint`, returns a real number. It is called once per checkpoint (what it returned
        is remembered as long as the policy lives), on the thread that commits, so it should read no
        more than it needs.
    best : {"largest", "smallest"}
        Which end of the scale.

    Returns
    -------
    Policy
        The policy. A checkpoint that is damaged, or of which the metric is NaN, is the worst. One for
        which the metric raises, or returns no number, is kept beside the best.

    Raises
    ------
    TypeError, ValueError
        If `count` is not an integer >= 1, `metric` is not callable, or `best` is another word.

    Warns
    -----
    CheckpointWarning
        When a commit meets the first checkpoint for which the metric raises or returns no number.

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
    told: list[str] = []
    known: dict[
        tuple[str, int], float | None
    ] = {}  # names are used again, sequence numbers are not
    named = getattr(metric, "__name__", repr(metric))

    def value(e: CheckpointInfo, load: Load) -> float | None:
        """Return the larger the better; None if the metric failed."""
        key = (e.name, e.sequence)
        if key not in known:
            try:
                measured = sign * _as_number(metric(load(e.name)))
            except (CheckpointCorrupt, CheckpointNotFound):
                measured = math.nan
            except OSError as error:  # of the store: the next commit may have more luck
                tell(e, error)
                return None
            except Exception as error:  # noqa: BLE001 - told: a bug in a metric stops no retention
                tell(e, error)
                known[key] = None
                return None
            known[key] = -math.inf if math.isnan(measured) else measured
        return known[key]

    def tell(e: CheckpointInfo, error: Exception) -> None:
        logger.warning("the metric %s failed for %r, which is kept", named, e.name, exc_info=error)
        if not told:
            told.append(e.name)
            warn(
                f"the metric {named} of keep_best failed for checkpoint {e.name!r} "
                f"({describe_error(error)}): it is kept, and so are others for which it fails. Mend it "
                "and set the policy anew with reconfigure(retention=...)"
            )

    def wanted(history: History, load: Load) -> list[str]:
        values = [(value(e, load), e.sequence, e.name) for e in history]
        ranked = sorted((v, sequence, name) for v, sequence, name in values if v is not None)
        unknown = [name for v, _, name in values if v is None]
        return unknown + [name for _, _, name in ranked[-count:]]

    end = "" if best == "largest" else ", best='smallest'"
    made_by = partial(keep_best, best=best), count, metric
    return Policy(wanted, f"keep_best({count}, {named}{end})", made_by)


def _as_number(value: Any) -> float:
    """Return what a metric returned; TypeError if it is not a real number."""
    if isinstance(value, str | bytes | bytearray) or np.ndim(value) or np.iscomplexobj(value):
        msg = f"it must return one real number, got {type(value).__name__}"
        raise TypeError(msg)
    return float(value)


def keep_within(nbytes: int) -> Policy:
    """Keep the newest checkpoints of each actor that together fit into a number of bytes.

    Parameters
    ----------
    nbytes : int
        The budget per actor, not for the store, at least 1: logical bytes of the fields, whatever
        checkpoints share. Pinned ones, and those of earlier runs, stay beside it and are not counted.

    Returns
    -------
    Policy
        The policy. The newest stays even if it is larger. ``CheckpointConfig(store_budget=...)`` is
        the budget for a whole store.

    Raises
    ------
    TypeError, ValueError
        If `nbytes` is not an integer >= 1.
    """
    nbytes = check_int(nbytes, "nbytes", 1)

    def wanted(history: History, _: Load) -> list[str]:
        names, total = [], 0
        for e in reversed(history):
            total += e.nbytes
            if total > nbytes:
                break
            names.append(e.name)
        return names

    return Policy(wanted, f"keep_within({nbytes})", (keep_within, nbytes))


def _time_s(e: CheckpointInfo) -> float | None:
    return None if e.created_at is None else e.created_at.timestamp()


def choose(
    history: Iterable[CheckpointInfo],
    policy: Policy,
    load: Load,
    *,
    protect: Collection[str] = (),
) -> list[CheckpointInfo]:
    """Choose what to delete.

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
        known, so it may be another actor's) or protected, and never the newest of the others, nor the
        newest that is good. One whose state is not good takes no place from those that are.
    """
    sound = [e for e in history if not e.damaged and e.pin is None]
    ordered = sorted(sound, key=attrgetter("sequence"))
    good = [e for e in ordered if e.good]
    if len(good) == len(ordered):
        return _not_wanted(ordered, policy, load, protect)
    stay = {e.name for e in good} - {e.name for e in _not_wanted(good, policy, load, protect)}
    return [
        e
        for e in _not_wanted(ordered, policy, load, {*protect, *stay})
        if not e.good or e.name not in stay
    ]


def _not_wanted(
    ordered: list[CheckpointInfo], policy: Policy, load: Load, protect: Collection[str]
) -> list[CheckpointInfo]:
    always = {*protect, ordered[-1].name} if ordered else set()
    left = ordered
    # Again until nothing changes: deleting what is chosen must not make the next choice differ.
    while True:
        wanted = policy(left, load) | always
        kept = [e for e in left if e.name in wanted]
        if len(kept) == len(left):
            break
        left = kept
    stay = {e.name for e in left}
    return [e for e in ordered if e.name not in stay]


def choose_in_run(
    history: Iterable[CheckpointInfo],
    run: str | None,
    policy: Policy,
    load: Load,
    *,
    protect: Collection[str] = (),
    branch_points: Collection[str] = (),
) -> list[CheckpointInfo]:
    """Choose what to delete of one run in an actor's history, as `choose`; None is no run yet.

    Names in `protect` stay whatever the policy says; so do the ids `branch_points`, and those that are
    marked as such.
    """
    # What a user has imported, or adopted, has a number below 1: it is counted and deleted by hand only.
    entries = [e for e in history if e.run == run and e.sequence > 0]
    begins = {e.name for e in entries if e.is_branch_point or e.id in branch_points}
    return choose(entries, policy, load, protect={*protect, *begins})


@final
@dataclass(frozen=True, slots=True)
class RetentionPreview:
    """What a retention policy would do now.

    Attributes
    ----------
    policy : Policy
        The policy.
    keep, delete : tuple of CheckpointInfo
        What would stay, pinned ones included, and what would be deleted; each actor's oldest first.
    freed_bytes : int
        What the deletion would free: files' bytes in a local directory, where a chunk that a kept
        checkpoint shares is not counted.
    for_budget : frozenset of str
        Which of those deleted go because the whole store is over ``store_budget``. They may be other
        actors'.
    """

    policy: Policy
    keep: tuple[CheckpointInfo, ...]
    delete: tuple[CheckpointInfo, ...]
    freed_bytes: int
    for_budget: frozenset[str] = frozenset()

    def __repr__(self) -> str:
        """Say what would be deleted."""
        return (
            f"<RetentionPreview {self.policy!r}: keeps {len(self.keep)}, deletes {len(self.delete)} "
            f"({self.freed_bytes:,} bytes): {quote_names([e.name for e in self.delete]) or 'nothing'}>"
        )

    def _repr_html_(self) -> str:
        """Show a row per checkpoint in a notebook."""
        deleted = {e.name for e in self.delete}
        rows = []
        every = sorted((*self.keep, *self.delete), key=attrgetter("kernel_id", "sequence"))
        for e in every:
            stays = "stays" if e.pin is None else f"stays, pinned: {e.pin}"
            if not e.good:
                stays += " (bad state)"
            goes = "is deleted: store_budget" if e.name in self.for_budget else "is deleted"
            what = goes if e.name in deleted else stays
            rows.append((e.name, e.kernel_id, e.run[:6], e.step, e.nbytes, what))
        return rows_table(
            f"{self.policy!r} would delete {len(deleted)} and free {self.freed_bytes:,} bytes",
            ("checkpoint", "actor", "run", "step", "bytes", "what happens"),
            rows,
            classes=["ringnb-going" if e.name in deleted else "" for e in every],
        )


def preview_runs(
    storage: CheckpointStorage,
    policy: Policy,
    runs: Iterable[tuple[History, str | None, Collection[str]]],
) -> RetentionPreview:
    """Say what a policy does; of each actor: its history, the run it goes on with, names that stay."""
    keep: list[CheckpointInfo] = []
    delete: list[CheckpointInfo] = []
    for history, run, stay in runs:
        going = choose_in_run(history, run, policy, storage.load, protect=stay)
        names = {e.name for e in going}
        keep += [e for e in history if e.name not in names]
        delete += going
    freed = storage.freed_by([e.name for e in delete]) if delete else 0
    return RetentionPreview(policy, tuple(keep), tuple(delete), freed)


class PreviewOutdated(CheckpointError):
    """What a preview has shown is not so any more."""


def check_preview(shown: RetentionPreview, now: RetentionPreview) -> None:
    """Raise PreviewOutdated unless what goes now is exactly what was shown."""
    # By ids too: a name may have been given again.
    then = {(e.name, e.id) for e in shown.delete}
    if then == {(e.name, e.id) for e in now.delete}:
        return
    seen = {e.name for e in (*shown.keep, *shown.delete)}
    there = {e.name for e in (*now.keep, *now.delete)}
    changes = [(len(there - seen), "came"), (len(seen - there), "went")]
    what = " and ".join(f"{counted(n, 'checkpoint')} {verb}" for n, verb in changes if n)
    msg = f"{what or 'what would go has changed'} since; nothing was deleted: look again"
    raise PreviewOutdated(msg)
