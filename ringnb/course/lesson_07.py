"""Lesson 7: what a checkpoint does not hold, and how to find it: run on twice, compare the bits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import zarr

from ringnb.actors import Wave2D
from ringnb.checkpoint import Checkpoint, CheckpointConfig, ZarrStorage
from ringnb.course.checks import CheckFailed, Passed, learners_code, require
from ringnb.session.session import Session

__all__ = ["check_07", "same_bits", "shake"]

_SEED, _TURNS = 7, 6
_CHANCE = 0.05  # of the numbers may come twice: noise with few digits is noise


def same_bits(a: Checkpoint, b: Checkpoint) -> bool:
    """Return whether two checkpoints hold the same fields, bit for bit.

    Parameters
    ----------
    a, b : Checkpoint
        The two.

    Returns
    -------
    bool
        Names, types, shapes and bytes.
    """
    one, other = a.numpy(), b.numpy()
    return one.keys() == other.keys() and all(
        one[k].dtype == other[k].dtype
        and one[k].shape == other[k].shape
        and one[k].tobytes() == other[k].tobytes()
        for k in one
    )


def shake(session: Session, slot: int, noise: Callable[[int], float], turns: int = 10) -> None:
    """Drive an actor from the host: some noise into the middle cell, 20 steps, again.

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
    """Check a source of noise that a restore cannot derail.

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
        If a restored run leaves the path of the first, or the noise is none.
    """
    hint = "let the generator be made anew at each call, from what a checkpoint knows: (seed, step)"

    def draw(seed: int, step: int) -> float:
        """Ask the learner's function."""
        with learners_code(hint):
            value = noise(seed, step)
        if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
            fact = f"noise({seed}, {step}) returned {value!r}, not a number"
            raise CheckFailed(fact, hint)
        return float(value)

    values = {draw(seed, step) for seed in (_SEED, 8) for step in range(0, 2000, 20)}
    require(
        len(values) > 190,
        f"200 calls with different seeds and steps gave {len(values)} different numbers",
        "it still has to be noise, another for every step and every seed",
    )
    small = range(1, 17)
    pairs = [(a, b) for a in small for b in (*small, *range(100, 2000, 100))]
    drawn: dict[float, tuple[int, int]] = {}
    same = [(drawn.setdefault(draw(*pair), pair), pair) for pair in pairs]
    twins = [(first, again) for first, again in same if first != again]
    require(
        len(twins) <= _CHANCE * len(pairs),
        "noise{} and noise{} are the same number".format(*(twins[0] if twins else ("", ""))),
        "two pairs must not come down to one number: give default_rng both, as a sequence",
    )
    storage = ZarrStorage(zarr.storage.MemoryStore())
    config = CheckpointConfig(enabled=False)
    with Session(Wave2D((48, 48)), config=config, storage=storage) as session:
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
            "your generator remembers how often it was asked, and no checkpoint knows that: "
            + hint,
        )
    return Passed(f"two runs from step {fork.step} to step {ends[0].step} agree in every bit")
