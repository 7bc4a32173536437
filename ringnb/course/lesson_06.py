"""Lesson 6: which checkpoints a retention policy keeps, computed without a disk.

`replay` calls `ringnb.checkpoint.retention.choose`, as the manager does after every commit.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from ringnb.checkpoint import Checkpoint
from ringnb.checkpoint.retention import Policy, choose
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.course.checks import CheckFailed, Passed, learners_code

__all__ = ["check_06", "disk_use", "replay"]

_NBYTES = 1 << 20
_LIMIT_MIB = 6
_START = datetime(2026, 1, 1, tzinfo=UTC)
_HISTORIES = 200


def replay(
    policy: Policy,
    steps: Iterable[int],
    *,
    pins: Mapping[int, str] | None = None,
    interval_s: float = 60.0,
) -> list[CheckpointInfo]:
    """Apply a policy to a history of imaginary checkpoints, after each commit.

    Parameters
    ----------
    policy : Policy
        What to keep.
    steps : iterable of int
        Step of each commit, in commit order; after a restore a step may occur again.
    pins : mapping of int to str, optional
        Labels by position in the order of commits (the first is 0): pinned as soon as committed.
    interval_s : float, default 60.0
        Seconds between commits.

    Returns
    -------
    list of CheckpointInfo
        What is left, oldest first. Each counts 1 MiB.
    """
    history: list[CheckpointInfo] = []
    for _, history in _histories(policy, steps, pins or {}, interval_s, _NBYTES):  # noqa: B007 - the last
        pass
    return history


def disk_use(
    policy: Policy, nbytes: int, *, every_s: float, duration_s: float, steps: int = 1000
) -> list[int]:
    """Return how many bytes are on the disk at each commit of a long run, before older ones go.

    Parameters
    ----------
    policy : Policy
        What to keep.
    nbytes : int
        Bytes of a checkpoint.
    every_s : float
        Seconds between two commits.
    duration_s : float
        Seconds of the whole run.
    steps : int, default 1000
        Steps between two commits.

    Returns
    -------
    list of int
        One for each commit. The new checkpoint is written before an older one is deleted.
    """
    commits = int(duration_s // every_s)
    every = _histories(policy, range(steps, steps * commits + 1, steps), {}, every_s, nbytes)
    return [nbytes * len(before) for before, _ in every]


def _histories(
    policy: Policy, steps: Iterable[int], pins: Mapping[int, str], interval_s: float, nbytes: int
) -> Iterator[tuple[list[CheckpointInfo], list[CheckpointInfo]]]:
    """Yield what is there at each commit, before and after the policy has been applied."""
    asked: list[str] = []

    def load(name: str) -> Checkpoint:
        """Note that a checkpoint was to be opened."""
        asked.append(name)
        raise LookupError(name)

    history: list[CheckpointInfo] = []
    for index, step in enumerate(steps):
        new = CheckpointInfo(
            f"checkpoint_0_step_{step}#{index}",
            "checkpoint",
            "fdtd_2d_0",
            "fdtd_2d",
            0,
            step,
            index + 1,
            created_at=_START + timedelta(seconds=interval_s * index),
            nbytes=nbytes,
            pin=pins.get(index),
        )
        history.append(new)
        before = list(history)
        retired = set(choose(history, policy, load, protect=(new.name,)))
        if asked:  # a policy may keep what it cannot look into, and go on
            msg = f"{asked[0]!r} is imaginary: a policy that looks inside checkpoints cannot be replayed"
            raise LookupError(msg)
        history = [one for one in history if one not in retired]
        yield before, history


def check_06(policy: object) -> Passed:
    """Check a policy against a model in plain Python, over random histories.

    Parameters
    ----------
    policy : Policy
        Should keep the newest 2 and the first of every 500 steps; of these, the newest within 6 MiB.

    Returns
    -------
    Passed
        What was tried.

    Raises
    ------
    CheckFailed
        At the first history for which policy and model differ.
    """
    if not isinstance(policy, Policy):
        fact = f"policy is {policy!r}, not a retention policy"
        build = "build it from keep.keep_last, keep.keep_every and keep.keep_within"
        raise CheckFailed(fact, build)
    draw = random.Random(6)  # noqa: S311 - histories, not secrets
    commits = 0
    # Shortest first, so that a learner sees a history that can be followed by hand.
    for steps, pins in sorted((_history(draw) for _ in range(_HISTORIES)), key=lambda h: len(h[0])):
        commits += len(steps)
        with learners_code("a policy of keep_last, keep_every and keep_within is enough"):
            left = [one.sequence - 1 for one in replay(policy, steps, pins=pins)]
        wanted = _model(steps, pins)
        if left != wanted:
            raise CheckFailed(
                f"after commits at steps {steps} these should be left: "
                f"{_shown(steps, wanted, pins)}; your policy leaves {_shown(steps, left, pins)}",
                _hint(steps, left, wanted, pins),
            )
    return Passed(
        f"{_HISTORIES} random histories, {commits:,} commits, no difference from the model"
    )


def _shown(steps: list[int], left: list[int], pins: Mapping[int, str]) -> str:
    """Return the steps that are left, and the size of those that are not pinned."""
    shown = ", ".join(f"{steps[i]}{' (pinned)' if i in pins else ''}" for i in left)
    return f"{shown or 'none'} ({_mib(left, pins)} MiB without pins)"


def _mib(left: list[int], pins: Mapping[int, str]) -> int:
    return sum(i not in pins for i in left)


def _hint(steps: list[int], left: list[int], wanted: list[int], pins: Mapping[int, str]) -> str:
    """Return what the first difference between a policy and the model says about the policy."""
    newest = [i for i in range(len(steps)) if i not in pins][-2:]
    missing = [i for i in wanted if i not in left]
    extra = [i for i in left if i not in wanted]
    if any(i in newest for i in missing):
        return f"step {steps[max(missing)]} is one of the newest two: which policy keeps these?"
    if _mib(left, pins) > _LIMIT_MIB:
        return (
            f"{_mib(left, pins)} MiB are left and not pinned, more than {_LIMIT_MIB}: keep_within "
            "limits what policies before it have kept, all of it. Which one is last?"
        )
    if missing:
        step, begin = steps[missing[-1]], steps[missing[-1]] // 500 * 500
        first = f"step {step} is the first of the steps {begin} to {begin + 499}"
        if _mib([*range(len(steps))], pins) <= _LIMIT_MIB:
            return f"{first}: which policy keeps it?"
        return (
            f"{first}, and with it {_mib(wanted, pins)} MiB are left, of {_LIMIT_MIB} that are "
            "allowed: is the limit too small, or applied before the choice? a & b keeps what b keeps "
            "of what a has kept"
        )
    return (
        f"step {steps[extra[-1]]} is neither one of the newest two nor the first of its 500 steps"
    )


def _history(draw: random.Random) -> tuple[list[int], dict[int, str]]:
    """Draw the steps of up to 40 commits, and the labels of those that are pinned."""
    steps: list[int] = []
    step = 0
    for _ in range(draw.randint(1, 40)):
        step += draw.choice((50, 100, 250))
        if steps and draw.random() < 0.1:
            step = draw.choice(steps)  # a restore; the run continues from there
        steps.append(step)
    pinned = [i for i in range(len(steps)) if draw.random() < 0.1]
    return steps, dict.fromkeys(pinned, "kept by hand")


def _model(steps: list[int], pins: Mapping[int, str]) -> list[int]:
    """Return the positions of what is left, from the words of the exercise, without policy code."""
    left: list[int] = []
    for index in range(len(steps)):
        left.append(index)
        free = [i for i in left if i not in pins]
        first = [
            i
            for i in free
            if steps[i] == min(steps[j] for j in free if steps[j] // 500 == steps[i] // 500)
        ]
        kept = [i for i in free if i in free[-2:] or i in first][-_LIMIT_MIB:]
        left = [i for i in left if i in pins or i in kept]
    return left
