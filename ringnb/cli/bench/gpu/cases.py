"""Which cases there are, and how long each may take: six minutes in all.

A whole run is to end within ten. The rest is for cases whose least number of repetitions takes longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from ringnb.cli.bench.gpu import bandwidth, rings, snapshots, stepping
from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.gpu.card import QUICK, Card, Sizes
from ringnb.cli.bench.measuring import Row, Scale

__all__ = ["CASES", "Case", "open_card", "timed"]


class Case(NamedTuple):
    """A case and its seconds, compiling included; it makes its least repetitions even after them."""

    measure: Callable[[Card, Scale, Budget], Iterator[Row]]
    seconds: float


CASES: dict[str, Case] = {
    "copy": Case(bandwidth.copying, 15),
    "waves": Case(stepping.waves, 90),
    "commands": Case(rings.commands, 40),
    "stages": Case(snapshots.stages, 120),
    "checkpoints": Case(snapshots.checkpoints, 60),
    "reference": Case(bandwidth.reference, 20),
}


def open_card(*, quick: bool) -> Card:
    """Return the device, with small sizes if `quick`; raise `BackendUnavailable` if there is none."""
    return Card(QUICK if quick else Sizes())


def timed(case: Case, card: Card) -> Callable[[Scale], Iterator[Row]]:
    """Return a case as `ringnb bench` calls it: it measures within the case's time."""

    def measure(scale: Scale) -> Iterator[Row]:
        """Measure within the case's time."""
        seconds = case.seconds / 4 if scale.quick else case.seconds
        yield from case.measure(card, scale, Budget(seconds))

    return measure
