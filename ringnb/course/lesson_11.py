"""Lesson 11: actors that exchange something, their common cut, and how far back others must go.

`tanks` are actors for the lesson's links. `Depots` have no common step: a marker on each road, as
Chandy and Lamport have it, counts them all the same. `roll_back` does with real checkpoints what
`check_11` asks of the learner for any history of messages. The figures are in `ringnb.course.figures`.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, final

import numpy as np

from ringnb._support.text import counted
from ringnb.actors import CellActor
from ringnb.checkpoint import Checkpoint
from ringnb.checkpoint.state import State
from ringnb.course.checks import CheckFailed, Passed, learners_code, learners_loops, require

__all__ = [
    "Attempt",
    "Count",
    "Depots",
    "Message",
    "Trip",
    "check_11",
    "dye",
    "is_torn",
    "roll_back",
    "tanks",
]

_ROWS, _COLUMNS = 24, 48
_TOTAL = 100.0
_SAME = 1e-6  # of the dye: rounding errors are a million times smaller
_HISTORIES = 300
# Minutes on the road, by where it begins and ends: no truck overtakes another one.
_ROADS = {
    ("A", "B"): 7.0,
    ("B", "A"): 5.0,
    ("B", "C"): 9.0,
    ("C", "B"): 6.0,
    ("A", "C"): 18.0,  # longer than by way of B, whose marker then comes first
    ("C", "A"): 8.0,
}
_PARCELS = {"A": 40, "B": 30, "C": 30}


# -- two tanks -----------------------------------------------------------------------------------------


def _flow(now: Any, next: Any, params: Any, _step: int, y: int, x: int) -> None:  # noqa: A002 - the public name
    away = (2.0 * y + 1.0) / now.shape[1] - 1.0  # -1 at one wall, 1 at the other
    part = params[0] * (1.0 - params[1] * away * away)
    # Column 0 is written by a link: what arrives from the other tank.
    next[0, y, x] = now[0, y, x] + (part * (now[0, y, x - 1] - now[0, y, x]) if x > 0 else 0.0)


def tanks() -> tuple[CellActor, CellActor]:
    """Return two tanks, each with half of a ring in which water flows to the right.

    Returns
    -------
    tuple of CellActor
        Of shape (24, 49). Column 0 is for what arrives from the other tank, and belongs to that one.
        The other columns of both hold 100 units of dye, float64; most of it is in the first tank.
    """
    along = 2 * np.pi * (np.arange(2 * _COLUMNS) + 0.5) / (2 * _COLUMNS)
    around = np.tile(1 + np.sin(along), (_ROWS, 1))
    around *= _TOTAL / around.sum()
    halves = np.split(around, 2, axis=1)
    left, right = (
        CellActor(
            _flow,
            (_ROWS, _COLUMNS + 1),
            fields={"dye": "float64"},
            params={"speed": 0.6, "slower": 0.2},
            start={"dye": np.hstack([before[:, -1:], half])},
            kernel_type="tank",
        )
        for before, half in zip(reversed(halves), halves, strict=True)
    )
    return left, right


def dye(*tanks: Checkpoint | State) -> float:
    """Return how much dye is in some tanks together.

    Parameters
    ----------
    *tanks : Checkpoint or State
        Of each tank one.

    Returns
    -------
    float
        Of 100 units; column 0, which belongs to the other tank, is not counted.
    """
    return sum(float(tank.numpy()["dye"][:, 1:].sum()) for tank in tanks)


class Attempt(NamedTuple):
    """One try to put two checkpoints together."""

    left: int  # step of the first tank's
    right: int
    amount: float  # of dye


def roll_back(
    left: Mapping[int, Checkpoint], right: Mapping[int, Checkpoint]
) -> tuple[Attempt, ...]:
    """Go back from the newest checkpoints of two tanks until the amount of dye is right.

    The tanks exchange dye in every step. So what the later one has taken in, or given away, the other
    one does not know: the later one goes back to its checkpoint before.

    Parameters
    ----------
    left, right : mapping of int to Checkpoint
        Those of each tank, by their steps.

    Returns
    -------
    tuple of Attempt
        All that were tried, in order; the last one holds 100 units, or nothing is left to try.
    """
    steps = sorted(left), sorted(right)
    attempts: list[Attempt] = []
    while all(steps):
        at, other = steps[0][-1], steps[1][-1]
        attempts.append(Attempt(at, other, dye(left[at], right[other])))
        if abs(attempts[-1].amount - _TOTAL) < _SAME:
            break
        steps[0 if at > other else 1].pop()
    return tuple(attempts)


# -- depots: nothing happens at the same time ----------------------------------------------------------


class Trip(NamedTuple):
    """A truck with parcels."""

    source: str
    sent: float  # minutes
    target: str
    received: float  # minutes
    parcels: int


@dataclass(frozen=True)
class Count:
    """How many parcels were counted.

    Attributes
    ----------
    times : dict of str to float
        When each depot counted its own, minutes.
    stock : dict of str to int
        What each found.
    roads : dict of (str, str) to int
        What was noted as on its way, by where the road begins and ends; empty if nobody did.
    """

    times: dict[str, float]
    stock: dict[str, int]
    roads: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All parcels that were counted."""
        return sum(self.stock.values()) + sum(self.roads.values())

    def __str__(self) -> str:
        """Write the sum."""
        depots = " + ".join(f"{name} {n}" for name, n in self.stock.items())
        roads = f" + on the roads {sum(self.roads.values())}" if self.roads else ""
        return f"{depots}{roads} = {self.total}"


@final
class Depots:
    """Three depots that send each other parcels. There are 100, and each road takes a time of its own.

    Parameters
    ----------
    seed : int, default 2
        Decides when which truck leaves, and with how many parcels.
    until : float, default 60.0
        Minutes.

    Attributes
    ----------
    trips : tuple of Trip
        In the order in which they begin.
    """

    def __init__(self, seed: int = 2, until: float = 60.0) -> None:
        rng, stock = random.Random(seed), dict(_PARCELS)  # noqa: S311 - repeatable, no secret
        # A number in front of what is to happen: no two are compared by anything else.
        order = itertools.count()
        events: list[tuple[float, int, str, Trip | None]] = []
        for name in stock:
            heapq.heappush(events, (rng.uniform(0, 4), next(order), name, None))
        trips: list[Trip] = []
        while events and events[0][0] < until:
            now, _, name, arrived = heapq.heappop(events)
            if arrived is not None:
                stock[name] += arrived.parcels
                continue
            target = rng.choice([other for other in stock if other != name])
            if parcels := min(stock[name], rng.randint(2, 9)):
                stock[name] -= parcels
                trips.append(Trip(name, now, target, now + _ROADS[name, target], parcels))
                heapq.heappush(events, (trips[-1].received, next(order), target, trips[-1]))
            heapq.heappush(events, (now + rng.uniform(3, 7), next(order), name, None))
        self.trips = tuple(trips)

    def count(self, times: Mapping[str, float]) -> Count:
        """Have each depot count what it has, at a time of its own. Nobody looks at the roads.

        Parameters
        ----------
        times : mapping of str to float
            By depot, minutes.

        Returns
        -------
        Count
            What they found.
        """
        stock = {
            name: parcels
            + sum(t.parcels for t in self.trips if t.target == name and t.received <= times[name])
            - sum(t.parcels for t in self.trips if t.source == name and t.sent <= times[name])
            for name, parcels in _PARCELS.items()
        }
        return Count(dict(times), stock)

    def count_with_markers(self, first: str, at: float) -> Count:
        """Have all count by the rule of Chandy and Lamport (1985).

        A depot that counts sends a marker along each road that leaves it, between two trucks. One that
        gets its first marker counts, at once. From when it has counted it notes what arrives on each
        road, until the marker of that road comes. No clock is read.

        Parameters
        ----------
        first : str
            The depot that begins.
        at : float
            When, minutes.

        Returns
        -------
        Count
            With what was on the roads.
        """
        order = itertools.count()
        events: list[tuple[float, int, Callable[[float], None]]] = []
        stock, found, times = dict(_PARCELS), dict[str, int](), dict[str, float]()
        open_roads: set[tuple[str, str]] = set()
        roads: dict[tuple[str, str], int] = {}

        def plan(when: float, what: Callable[[float], None]) -> None:
            """Have something happen at a time."""
            heapq.heappush(events, (when, next(order), what))

        def leave(trip: Trip, _now: float) -> None:
            """Send a truck."""
            stock[trip.source] -= trip.parcels

        def arrive(trip: Trip, _now: float) -> None:
            """Take a truck in, and note it on a road that is watched."""
            stock[trip.target] += trip.parcels
            if (trip.source, trip.target) in open_roads:
                roads[trip.source, trip.target] += trip.parcels

        def count(name: str, now: float) -> None:
            """Count a depot's parcels, send its markers, watch its roads."""
            found[name], times[name] = stock[name], now
            for other in stock:
                if other != name:
                    open_roads.add((other, name))
                    roads[other, name] = 0
                    plan(now + _ROADS[name, other], partial(marker, name, other))

        def marker(source: str, target: str, now: float) -> None:
            """Take a marker in: what comes behind it was sent after the count."""
            if target not in found:
                count(target, now)
            open_roads.discard((source, target))

        for trip in self.trips:
            plan(trip.sent, partial(leave, trip))
            plan(trip.received, partial(arrive, trip))
        plan(at, partial(count, first))
        while events:
            when, _, happen = heapq.heappop(events)
            happen(when)
        return Count({n: times[n] for n in stock}, {n: found[n] for n in stock}, roads)


# -- the exercise --------------------------------------------------------------------------------------


class Message(NamedTuple):
    """Something that one process has sent to another."""

    source: str
    sent: int
    target: str
    received: int

    def __str__(self) -> str:
        """Say who sent it to whom, and when."""
        return f"from {self.source} (sent at {self.sent}) to {self.target} (received at {self.received})"


_History = tuple[dict[str, list[int]], list[Message]]
_Line = dict[str, int]

_ROUND = (
    "each round must send one process farther back: print the line in each. Whoever is sent to where it "
    "already was is the wrong one, or the time is"
)
# The small ones come first: their facts are the easiest to follow.
_SMALL: tuple[_History, ...] = (
    ({"A": [0, 10], "B": [0, 10]}, [Message("A", 3, "B", 5)]),
    ({"A": [0, 10], "B": [0, 20]}, [Message("A", 13, "B", 15)]),
    ({"A": [0, 20], "B": [0, 10]}, [Message("A", 13, "B", 15)]),
    ({"A": [0, 20], "B": [0, 10, 16]}, [Message("A", 13, "B", 25)]),
    ({"A": [0, 10, 30], "B": [0, 20]}, [Message("A", 13, "B", 17), Message("B", 23, "A", 27)]),
    (
        {"A": [0, 10], "B": [0, 20], "C": [0, 30]},
        [Message("B", 21, "C", 25), Message("A", 11, "B", 15)],
    ),
)


def _random_history(rng: random.Random) -> _History:
    """Return checkpoints at even times, and messages at odd ones: never both at once."""
    names = "ABCD"[: rng.randint(2, 4)]
    checkpoints = {n: [0, *sorted(rng.sample(range(2, 60, 2), rng.randint(1, 5)))] for n in names}
    messages = []
    for _ in range(rng.randint(0, 9)):
        source, target = rng.sample(names, 2)
        sent = rng.randrange(1, 55, 2)
        messages.append(Message(source, sent, target, rng.randrange(sent + 2, 61, 2)))
    return checkpoints, messages


def _histories() -> Iterator[_History]:
    rng = random.Random(11)  # noqa: S311 - repeatable, no secret
    return itertools.chain(_SMALL, (_random_history(rng) for _ in range(_HISTORIES)))


def is_torn(message: Message, line: Mapping[str, Any]) -> bool:
    """Return whether a message is sent on one side of a line of checkpoints and received on the other.

    Parameters
    ----------
    message : Message
        The message.
    line : mapping of str to int
        For each process the time of a checkpoint.

    Returns
    -------
    bool
        True if it is in flight, and so lost, or if it will be sent again.
    """
    return bool(
        (message.sent <= line[message.source]) != (message.received <= line[message.target])
    )


def _first_torn(line: Mapping[str, Any], messages: Sequence[Message]) -> Message | None:
    return next((m for m in messages if is_torn(m, line)), None)


def _newest(checkpoints: Mapping[str, Sequence[int]], messages: Sequence[Message]) -> _Line:
    """Return the newest line of checkpoints that tears no message."""
    line = {name: times[-1] for name, times in checkpoints.items()}
    while (torn := _first_torn(line, messages)) is not None:
        sent = torn.sent <= line[torn.source]
        name, at = (torn.source, torn.sent) if sent else (torn.target, torn.received)
        line[name] = max(time for time in checkpoints[name] if time < at)
    return line


def _said(line: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} at {time}" for name, time in line.items())


def check_11(recovery_line: Callable[..., object]) -> Passed:
    """Check a function that finds to which checkpoints processes must go back.

    Parameters
    ----------
    recovery_line : callable
        ``recovery_line(checkpoints, messages)`` of a mapping from each process to the times of its
        checkpoints and a list of `Message` returns a mapping from each process to one of these times.

    Returns
    -------
    Passed
        How many histories were tried.

    Raises
    ------
    CheckFailed
        At the first history in which a message is torn, a process goes back too far, or the function
        does not come to an end.
    """
    tried = back = fell = 0
    for checkpoints, messages in _histories():
        # Copies: what the learner's code does to them does not matter.
        given = {name: list(times) for name, times in checkpoints.items()}
        told = f"with checkpoints {checkpoints} and {counted(len(messages), 'message')}"
        with (
            learners_loops(f"{told}, recovery_line goes round for ever", _ROUND),
            learners_code("try it with two processes and one message, by hand, on paper"),
        ):
            answer = recovery_line(given, list(messages))
        if not isinstance(answer, Mapping) or set(answer) != set(checkpoints):
            fact = f"recovery_line returned {answer!r}, not a time for each of {', '.join(checkpoints)}"
            raise CheckFailed(
                fact, "return a dictionary: the time of a checkpoint for each process"
            )
        line = {name: answer[name] for name in checkpoints}
        for name, time in line.items():
            require(
                any(time is not None and time == own for own in checkpoints[name]),
                f"{told}, {name} goes back to {time!r}, where it has no checkpoint",
                "between two checkpoints there is nothing to go back to",
            )
        if (torn := _first_torn(line, messages)) is not None:
            twice = torn.received <= line[torn.target]
            raise CheckFailed(
                f"{told}, with {_said(line)}: the message {torn} is in "
                + ("the receiver, and will be sent again" if twice else "neither: it is lost"),
                f"{torn.target if twice else torn.source} goes back to a checkpoint before it was "
                f"{'received' if twice else 'sent'}; then look at all messages again",
            )
        best = _newest(checkpoints, messages)
        require(
            line == best,
            f"{told}, with {_said(line)} no message is torn, but neither is one with {_said(best)}",
            "begin with the newest, and send back only the process that must, no farther than it must",
        )
        tried += 1
        back += best != {name: times[-1] for name, times in checkpoints.items()}
        fell += not any(best.values())
    return Passed(
        f"{tried} histories, the right line in each: in {back} somebody had to go back, in {fell} "
        "all of them to the start"
    )
