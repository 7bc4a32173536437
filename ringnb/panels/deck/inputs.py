"""What a user has done to a live actor: disturbances and changes of parameters, and to which run.

They are known from the session's events, so those of earlier sessions are not. Pure, one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, final

from ringnb.messages.events import Event

__all__ = ["Input", "Inputs"]

_REST_NS = 1_000_000_000  # changes of a parameter that follow each other sooner are one
_MOST = 2000  # per actor; the oldest are forgotten first


@dataclass(slots=True)
class Input:
    """One disturbance, or what a slider was drawn to."""

    kind: Literal["disturbed", "adjusted"]
    step: int
    words: str
    t_ns: int
    # The checkpoints before and after it say to which run it belongs; None if there is none, and `after`
    # is "" while it is the live state's: nothing was committed since.
    before: str | None = None
    after: str | None = ""
    id: int = 0
    # Once it was known: both checkpoints may be retired, while others of the run stay.
    run: str = ""


@final
class Inputs:
    """The inputs of each actor, by its slot."""

    def __init__(self) -> None:
        self._inputs: dict[int, list[Input]] = {}
        self._base: dict[int, str | None] = {}  # the checkpoint that the live state continues from
        self._count = 0

    def feed(self, events: Iterable[Event]) -> None:
        """Take in events, oldest first, each once."""
        for e in events:
            if e.stage == "committed":
                self._settle(e.actor_slot, e.step, e.name)
                self._base[e.actor_slot] = e.name
            elif (
                e.stage == "restored"
            ):  # what was done since the last commit is of a line that was left
                self._settle(e.actor_slot, None, None)
                self._base[e.actor_slot] = e.name
            elif e.stage in ("disturbed", "adjusted"):
                self._add(e)

    def begin_session(self) -> None:
        """Note that another session runs: what was done to the one before is not of its live state."""
        for slot in self._inputs:
            self._settle(slot, None, None)
        self._base.clear()

    def _settle(self, slot: int, step: int | None, after: str | None) -> None:
        """Note what came after the inputs that are still of the live state."""
        for one in self._inputs.get(slot, ()):
            # What was done after the capture, before the commit, is of the live state still.
            if one.after == "" and (step is None or one.step <= step):
                one.after = after

    def _add(self, e: Event) -> None:
        assert e.step is not None
        found = self._inputs.setdefault(e.actor_slot, [])
        last = found[-1] if found else None
        if (
            e.stage == "adjusted"
            and last is not None
            and last.kind == "adjusted"
            and last.after == ""
            and e.t_ns - last.t_ns < _REST_NS
        ):
            last.step, last.t_ns = e.step, e.t_ns
            last.words = _joined(last.words, e.detail)
            return
        self._count += 1
        before = self._base.get(e.actor_slot)
        kind: Literal["disturbed", "adjusted"] = (
            "disturbed" if e.stage == "disturbed" else "adjusted"
        )
        found.append(Input(kind, e.step, e.detail, e.t_ns, before, id=self._count))
        del found[:-_MOST]

    def of(self, slot: int, runs: Mapping[str, str]) -> list[tuple[Input, str | None]]:
        """Return an actor's inputs, each with the id of its run; None for the live state's.

        `runs` says of which run each checkpoint is, by its name. What belongs to none is left out.
        """
        found: list[tuple[Input, str | None]] = []
        kept = set(runs.values())
        for one in self._inputs.get(slot, ()):
            if one.after == "":
                found.append((one, None))
            else:
                name = next((n for n in (one.after, one.before) if n and n in runs), None)
                if name is not None and not one.run:  # names are used again
                    one.run = runs[name]
                if one.run in kept:
                    found.append((one, one.run))
        return found


def _joined(first: str, second: str) -> str:
    """Put two changes, as the event says them, into one: a 1 → 2 and a 2 → 3 are a 1 → 3."""
    ends: dict[str, tuple[str, str]] = {}
    for change in (*first.split(", "), *second.split(", ")):
        name, _, values = change.partition(" ")
        was, _, now = values.partition(" → ")
        ends[name] = (ends.get(name, (was, ""))[0], now)
    return ", ".join(f"{name} {was} → {now}" for name, (was, now) in ends.items())
