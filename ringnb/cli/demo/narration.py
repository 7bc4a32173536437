"""What the demo's parent shows and keeps of a worker's messages: a live table, a progress bar, a record.

Rows go to standard output, the bar to standard error and only to a terminal: so both a screen and a file
read well.
"""

from __future__ import annotations

import sys
from typing import Self, final

from tqdm import tqdm

from ringnb._support.text import format_bytes, say
from ringnb.cli.demo.process import Message
from ringnb.messages.events import Event

__all__ = ["Narration"]

_SHOWN = ("captured", "committed", "retired", "failed", "expired", "cancelled", "restored")


@final
class Narration:
    """One worker's messages so far: what they say, shown as rows (unless `quiet`) and a progress bar.

    `hello` is its first message, `goal` the step at which the bar is full. `steps` holds the furthest
    step known of every actor, `names` the final checkpoints once it has finished, `in_flight` the newest
    capture that is not committed yet, `killed_ns` when the parent killed it. Stamps of `events` compare
    with this process's: both are the system's monotonic clock.
    """

    def __init__(self, hello: Message, goal: int, *, quiet: bool = False) -> None:
        self.backend: str = hello["backend"]
        self.kernel_ids: list[str] = [a["kernel_id"] for a in hello["actors"]]
        self.events: list[Event] = []
        self.steps = [0] * len(self.kernel_ids)
        self.names: list[str] = []
        self.in_flight: Event | None = None
        self.killed_ns = 0
        self._nbytes: list[int] = [a["nbytes"] for a in hello["actors"]]
        self._start_ns: int = hello["t_ns"]  # until the first event, which may be older
        self._requested_ns: dict[int, int] = {}
        self._scheduled: set[int | None] = {None}  # requests that came due, rather than by hand
        self._step_of: dict[str, int] = {}
        self._commits = [0] * len(self.kernel_ids)
        self._quiet = quiet
        self._goal = goal
        self._bar: tqdm[object] | None = None

    @property
    def fewest_commits(self) -> int:
        """Checkpoints committed of the actor that has fewest."""
        return min(self._commits)

    @property
    def commits(self) -> int:
        """Checkpoints committed."""
        return sum(self._commits)

    def __enter__(self) -> Self:
        """Show the progress bar."""
        self._bar = tqdm(
            total=self._goal * len(self.steps),
            desc="   both actors",
            unit="step",
            unit_scale=True,
            leave=False,
            disable=None,  # only where standard error is a terminal
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Take the progress bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def print_header(self) -> None:
        """Print the table's header."""
        self._line("time s", "actor", "step", "stage", "size", "ms since request")

    def add(self, message: Message) -> None:
        """Take one message in, and show it."""
        match message["kind"]:
            case "event":
                event = Event(**message["event"])
                if not self.events:
                    self._start_ns = min(self._start_ns, event.t_ns)
                self.events.append(event)
                self._follow(event)
                if not self._quiet and event.stage in _SHOWN:
                    self._row(event)
            case "steps":
                self.steps = [max(pair) for pair in zip(self.steps, message["steps"], strict=True)]
                if self._bar is not None:
                    self._bar.n = min(sum(self.steps), self._bar.total)
                    self._bar.refresh()
            case "finished":
                self.names = message["names"]

    def _follow(self, event: Event) -> None:
        if event.step is not None and event.name is not None:
            self._step_of[event.name] = event.step
        if event.step is not None:
            slot = event.actor_slot
            self.steps[slot] = max(self.steps[slot], event.step)
        if event.stage == "due":
            self._scheduled.add(event.request_id)
        elif event.stage == "requested" and event.request_id is not None:
            self._requested_ns[event.request_id] = event.t_ns
        elif event.stage == "captured":
            self.in_flight = event
        elif event.stage in ("committed", "failed", "expired", "cancelled"):
            self._commits[event.actor_slot] += event.stage == "committed"
            if self.in_flight is not None and self.in_flight.request_id == event.request_id:
                self.in_flight = None

    def _row(self, event: Event) -> None:
        step = event.step if event.step is not None else self._step_of.get(event.name or "")
        begun = self._requested_ns.get(event.request_id) if event.request_id is not None else None
        by_hand = event.stage == "captured" and event.request_id not in self._scheduled
        self._line(
            f"{(event.t_ns - self._start_ns) / 1e9:.3f}",
            self.kernel_ids[event.actor_slot],
            "-" if step is None else str(step),
            event.stage,
            "-"
            if event.stage not in ("captured", "committed", "restored")
            else format_bytes(self._nbytes[event.actor_slot]),
            "-" if begun is None else f"{(event.t_ns - begun) / 1e6:.2f}",
            event.detail or ("by hand" if by_hand else ""),
        )

    def _line(
        self, time_s: str, actor: str, step: str, stage: str, size: str, ms: str, detail: str = ""
    ) -> None:
        width = max(map(len, self.kernel_ids))
        line = f"   {time_s:>6}  {actor:<{width}}  {step:>6}  {stage:<9}  {size:>9}  {ms:>16}"
        with tqdm.external_write_mode(file=sys.stdout):  # the bar makes way
            say(f"{line}  {detail}".rstrip())
