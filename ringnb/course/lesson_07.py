"""Lesson 7: how to find state that a checkpoint does not hold: run twice from it, compare the bits."""

from __future__ import annotations

from collections.abc import Callable

from ringnb.actors import Wave2D
from ringnb.checkpoint import Checkpoint
from ringnb.course.checks import Passed, ask_number, require, trial_session
from ringnb.session.session import Session

__all__ = ["check_07", "same_bits", "shake"]

_SEED, _TURNS = 7, 6
_REPEATS = 0.05  # fraction of numbers that may occur twice: noise with few digits is still noise


def same_bits(a: Checkpoint, b: Checkpoint) -> bool:
    """Return whether two checkpoints hold the same fields, bit for bit.

    Parameters
    ----------
    a, b : Checkpoint
        The checkpoints to compare.

    Returns
    -------
    bool
        Whether names, types, shapes and bytes are the same.
    """
    one, other = a.numpy(), b.numpy()
    return one.keys() == other.keys() and all(
        one[k].dtype == other[k].dtype
        and one[k].shape == other[k].shape
        and one[k].tobytes() == other[k].tobytes()
        for k in one
    )


def shake(session: Session, slot: int, noise: Callable[[int], float], turns: int = 10) -> None:
    """Drive an actor from the host: inject noise into the middle cell, take 20 steps, repeat.

    Parameters
    ----------
    session : Session
        The session.
    slot : int
        The actor.
    noise : callable
        ``noise(step)`` returns an amplitude.
    turns : int, default 10
        How often.
    """
    middle = tuple(n // 2 for n in session.actors[slot].shape)
    for _ in range(turns):
        session.inject(slot, middle, noise(session.current_step(slot)))
        session.run_steps(slot, 20)


def check_07(noise: Callable[[int, int], object]) -> Passed:
    """Check a noise function that gives the same numbers after a restore.

    Parameters
    ----------
    noise : callable
        ``noise(seed, step)`` returns a number.

    Returns
    -------
    Passed
        What was compared.

    Raises
    ------
    CheckFailed
        If two runs from one checkpoint differ, or the numbers are not noise.
    """
    hint = "make a new generator in each call, from what a checkpoint holds: (seed, step)"

    def draw(seed: int, step: int) -> float:
        """Call the learner's function."""
        return ask_number("noise", noise, seed, step, unit="a number", hint=hint)

    values = {draw(seed, step) for seed in (_SEED, 8) for step in range(0, 2000, 20)}
    require(
        len(values) > 190,
        f"200 calls with different seeds and steps gave {len(values)} different numbers",
        "it must still be noise: another number for every step and every seed",
    )
    small = range(1, 17)
    pairs = [(a, b) for a in small for b in (*small, *range(100, 2000, 100))]
    drawn: dict[float, tuple[int, int]] = {}
    first_drawn = [drawn.setdefault(draw(*pair), pair) for pair in pairs]
    repeats = [both for both in zip(first_drawn, pairs, strict=True) if both[0] != both[1]]
    require(
        len(repeats) <= _REPEATS * len(pairs),
        "noise{} and noise{} are the same number".format(*(repeats[0] if repeats else ("", ""))),
        "do not combine seed and step into one number: give default_rng both, as a sequence",
    )
    with trial_session(Wave2D((48, 48))) as session:
        shake(session, 0, lambda step: draw(_SEED, step), _TURNS)
        fork = session.snapshot(0)
        ends = []
        for _ in range(2):
            session.restore(0, fork)
            shake(session, 0, lambda step: draw(_SEED, step), _TURNS)
            ends.append(session.snapshot(0))
        require(
            same_bits(*ends),
            f"two runs from {fork.name!r} end differently",
            "your generator remembers how often it was called, and no checkpoint holds that: "
            + hint,
        )
    return Passed(f"two runs from step {fork.step} to step {ends[0].step} agree in every bit")
