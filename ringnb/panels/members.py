"""The panel of an ensemble: each member's newest checkpoint as a picture, how far it is, what is wrong.

Two threads. One looks at the stores and asks the cluster, which may take as long as it likes; the
display loop shows what was found last, and that it lives.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol, TypeAlias, final, runtime_checkable

import numpy as np
import traitlets
from ipywidgets import Layout, VBox, Widget, widget_serialization

from ringnb._support.text import counted, said_by
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointError, ClusterError
from ringnb.kernel.base import Progress
from ringnb.panels.core.display_loop import DisplayLoop
from ringnb.panels.core.film import small_picture
from ringnb.panels.core.pixels import range_of
from ringnb.panels.core.switchboard import Switchboard
from ringnb.panels.core.widgets import Say, View, close_all
from ringnb.panels.core.workers import BackgroundThread
from ringnb.panels.dots import MOST_CARDS, SHOWN, Newest, dots_of

__all__ = ["EnsemblePanel", "MembersLike"]

_PERIOD_S, _BEAT_S = 0.5, 1.0
_LOOK_S = 1.0  # between two looks; one that takes longer is followed by a rest as long
_ANSWER_S = 2.0  # so long the cluster is waited for
_SLOW_S = 0.25  # from here on it is said how slow it is
_DRAW_S = 0.3  # of each look
# The page knows by how it begins that nothing comes any more: see `silence` in ``common.js``.
_OVER = "The ensemble has ended: every member has come to its last step, has failed or was stopped"


TaskState: TypeAlias = tuple[
    str, str, tuple[str, ...]
]  # its state, the reason, the workers it lost
_UNKNOWN: TaskState = ("", "", ())


@runtime_checkable
class MembersLike(Protocol):
    """What the panel needs of an ensemble. Any thread."""

    title: str

    def look(self) -> MembersSeen:
        """Return how far all members are, from the stores."""

    def connect(self, timeout: float) -> Any:
        """Return a client of the cluster; None if there is no cluster."""

    def task_states(self, client: Any, timeout: float) -> Mapping[str, TaskState]:
        """Return what the cluster says of the task of each member."""

    def load(self, info: CheckpointInfo) -> Checkpoint:
        """Open what `look` has found."""

    def close(self) -> None:
        """Close the connection, which is made again when it is needed."""


class MembersSeen(Protocol):
    """How far the members are."""

    newest: Mapping[str, CheckpointInfo | None]  # by member, in order
    failed: Mapping[str, str]
    last: int


class _Newest(NamedTuple):
    """A member's newest checkpoint, as dots take it: a member that has failed is in trouble."""

    good: bool
    created_at: datetime | None


class CardPicture(Widget):
    """A card's picture, by itself: when one changes, the others are not sent again."""

    picture = traitlets.Dict().tag(sync=True)  # slot, and see `film.Small.card`


class Members(View):
    """The cards of members, or their map; see `EnsemblePanel`."""

    shows = traitlets.Unicode("members").tag(sync=True)
    count = traitlets.Int().tag(sync=True)
    words = traitlets.Unicode().tag(sync=True)  # how far it is
    part = traitlets.Float().tag(sync=True)  # of all steps that is done
    cards: Any = traitlets.List().tag(sync=True)  # slot, name, state, step, part, bad
    pictures: Any = traitlets.List(traitlets.Instance(CardPicture)).tag(
        sync=True, **widget_serialization
    )
    choices = traitlets.Dict({k: SHOWN[k] for k in ("behind", "state", "age")}).tag(sync=True)
    dots = traitlets.Dict().tag(sync=True)  # see `dots_of`; with more members than cards


@final
class EnsemblePanel(VBox):
    """Shows the members of an ensemble, and goes on while it does; made by ``Ensemble.panel``."""

    closed = False
    _started = False

    def __init__(self, ensemble: MembersLike, clock: Callable[[], float] = time.monotonic) -> None:
        seen = ensemble.look()  # which may raise: nothing is made yet
        self._ensemble, self._clock = ensemble, clock
        self._display = DisplayLoop(self._refresh, _PERIOD_S)
        self._switchboard = board = Switchboard(self._display.poke)
        self._chosen, self._shown = 0, "behind"
        self._beat_at = 0.0
        self._states: dict[str, TaskState] = {}  # what the cluster has said last
        self._drawn: dict[int, int] = {}  # by slot: of which checkpoint it has the picture
        self._slow = self._lost_at = self._how_far = ""
        # Whether all members have ended; whether all is drawn, too; whether the last look has failed.
        self._done = self._over = self._failing = False
        self._again = threading.Event()
        board.on_do("members", self._act)
        count = len(seen.newest)
        self._view = Members(
            board=board.board,
            hand=board.hand,
            count=count,
            pictures=[CardPicture() for _ in range(count if count <= MOST_CARDS else 1)],
        )
        self.line = Say(
            name="ensemble",
            title=ensemble.title,
            region=ensemble.title,
            board=board.board,
            hand=board.hand,
        )
        super().__init__(
            [self.line, self._view],
            _dom_classes=("ringnb-panel", "rn-cockpit", "rn-ensemble"),
            layout=Layout(),
        )
        self._take(seen, self._ends(seen))
        self._switchboard.say("note", f"Members go to step {seen.last:,}")
        self._looker = _Looker(self._look, ensemble.close, clock)
        self._started = True
        self._display.start()
        self._looker.start()

    def close(self) -> None:
        """End the threads, and close what is shown and the connection. Idempotent, any thread."""
        self.closed = True
        if self._started:
            # The looking thread may wait for the cluster. It writes no widget; it closes the connection.
            self._looker.stop()
            self._display.stop()
            self._display.join(1.0)
            for child in (*self._view.pictures, *self.children):
                close_all(child)
            self.layout.close()
            self._switchboard.close()
        super().close()

    def resume(self) -> None:
        """Ask the cluster again, although all had ended: it may go on by now. Any thread."""
        self._again.set()
        self._looker.poke()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data = super()._repr_mimebundle_(**kwargs)
        if isinstance(data, dict):
            data["text/plain"] = (
                f"<ringnb panel 'ensemble': {self._ensemble.title}; {self._how_far}>"
            )
        return data

    # -- what the page asks for ------------------------------------------------------------------

    def _act(self, action: str, args: Mapping[str, Any]) -> None:
        if action == "choose":
            self._chosen = max(0, min(self._view.count - 1, int(args.get("slot", 0))))
        elif action == "show" and args.get("shown") in self._view.choices:
            self._shown = str(args["shown"])
        self._looker.poke()

    # -- the display loop's thread ---------------------------------------------------------------

    def _refresh(self) -> bool:
        now = self._clock()
        if now - self._beat_at >= _BEAT_S:
            self._beat_at = now
        over = self._over
        self._display.put(
            self._switchboard.board,
            beat=round(self._beat_at, 2),
            life=_OVER if over else "running",
            actor={"slot": self._chosen},
            **self._switchboard.traits(),
        )
        return not over

    # -- the looking thread ----------------------------------------------------------------------

    def _look(self) -> bool:
        """Look, and say it if that fails; return whether something may still come."""
        try:
            self._over = self._look_once()
        except Exception as error:  # noqa: BLE001 - told, whatever it is: the next look may succeed
            self._over = False
            if not self._failing:
                self._failing = True
                text = (
                    f"The members cannot be looked at ({type(error).__name__}: {said_by(error)}): what "
                    "is shown is old, and it is tried again"
                )
                detail = "".join(traceback.format_exception(error))
                self._switchboard.say("problem", text, key="look", detail=detail, by_itself=True)
        else:
            if self._failing:
                self._failing = False
                self._switchboard.settle("look", "a later look")
        self._display.poke()
        return not self._over

    def _look_once(self) -> bool:
        """Find what is new; return whether nothing comes any more."""
        asks = self._again.is_set() or not self._done
        self._again.clear()  # before the cluster is asked: what is wanted meanwhile counts
        states = self._ask() if asks else None
        seen = self._ensemble.look()
        before = self._states
        if states is not None:
            self._states = dict(states)
        ends = self._ends(seen)
        self._tell_losses(before, ends, seen)
        self._take(seen, ends)
        drawn = self._draw(seen)
        told, self._done = self._done, all(ends.values())
        if self._done and not told:
            self._switchboard.say("done", f"Every member has ended: {self._how_far}")
        if self._done and asks:
            self._ensemble.close()
        return self._done and drawn

    def _ask(self) -> Mapping[str, TaskState] | None:
        """Return what the cluster says; None if there is none, or it does not answer, which is told."""
        try:
            client = self._ensemble.connect(_ANSWER_S)
            if client is None:
                return None
            began = self._clock()
            states = self._ensemble.task_states(client, _ANSWER_S)
        except ClusterError as error:
            self._note_lost(error)
            return None
        self._note_answer(self._clock() - began)
        return states

    def _note_lost(self, error: ClusterError) -> None:
        if not self._lost_at:
            self._lost_at = f"{datetime.now(UTC):%H:%M:%S}"
            text = (
                f"The cluster has not answered since {self._lost_at} UTC; what is shown is what the "
                f"stores hold: {said_by(error)}"
            )
            self._switchboard.say("problem", text, key="connection", by_itself=True)

    def _note_answer(self, took_s: float) -> None:
        if self._lost_at:
            self._lost_at = ""
            self._switchboard.settle("connection", "an answer of the cluster")
        slow = f"The cluster answers slowly: within {took_s:.1g} s" if took_s > _SLOW_S else ""
        if slow and slow != self._slow:
            self._switchboard.say("warning", slow, key="slow", by_itself=True)
        elif not slow and self._slow:
            self._switchboard.settle("slow", "a faster answer")
        self._slow = slow

    def _ends(self, seen: MembersSeen) -> dict[str, str]:
        """Return how each member has ended: "failed", "done", "ended"; "" while more may come."""
        ends = {}
        for name, e in seen.newest.items():
            state, _, _ = self._states.get(name, _UNKNOWN)
            if name in seen.failed:
                ends[name] = "failed"
            elif e is not None and e.step >= seen.last:
                ends[name] = "done"
            else:
                ends[name] = state if state in ("failed", "ended") else ""
        return ends

    def _tell_losses(
        self, before: Mapping[str, TaskState], ends: Mapping[str, str], seen: MembersSeen
    ) -> None:
        """Say which workers were lost since the last answer, and from where their members go on."""
        lost: dict[str, list[str]] = {}
        for name, (_, _, losses) in self._states.items():
            # What was lost when a task is first heard of may be long ago.
            known = before[name][2] if name in before else losses
            again = losses[: len(known)] != known  # it was launched again
            for worker in losses if again else losses[len(known) :]:
                lost.setdefault(worker, []).append(name)
        for worker, names in lost.items():
            going = [name for name in names if not ends[name]]
            steps = {e.step for n in going if (e := seen.newest[n]) is not None}
            where = f"step {min(steps):,}" if steps else "their start"
            whose = counted(len(going or names), "member")
            what = f"go on from {where} with another one" if going else "do not go on"
            text = f"The worker {worker} was lost with {whose}, which {what}"
            self._switchboard.say("note", text, by_itself=True)

    def _take(self, seen: MembersSeen, ends: Mapping[str, str]) -> None:
        """Put the cards, or the map and the chosen one's card."""
        names, many = list(seen.newest), len(seen.newest) > MOST_CARDS
        shown = [self._chosen] if many else range(len(names))
        steps = [-1 if e is None else e.step for e in seen.newest.values()]
        cards = [
            {
                "slot": slot,
                "name": names[slot],
                "state": self._state_of(names[slot], steps[slot], seen),
                "step": steps[slot],
                "part": max(0, steps[slot]) / seen.last,
                "bad": ends[names[slot]] == "failed",
            }
            for slot in shown
        ]
        there = sum(step >= seen.last for step in steps)
        words = f"{there:,} of {len(names):,} at step {seen.last:,}"
        for end, word in (("failed", "failed"), ("ended", "stopped")):
            if count := sum(one == end for one in ends.values()):
                words += f", {count:,} {word}"
        self._how_far = words
        part = float(np.mean([min(1.0, max(0, step) / seen.last) for step in steps]))
        self._display.put(self._view, cards=cards, words=words, part=part)
        if many:
            self._display.put(self._view, dots=self._dots(seen, ends, steps))

    def _state_of(self, name: str, step: int, seen: MembersSeen) -> str:
        if name in seen.failed:
            return f"failed: {seen.failed[name]}"
        if step >= seen.last:
            return "done"
        state, why, _ = self._states.get(name, _UNKNOWN)
        word = {"ended": "stopped", "": "on its way" if step >= 0 else "no checkpoint yet"}
        return f"{word.get(state, state)}{f': {why}' if why else ''}"

    def _dots(self, seen: MembersSeen, ends: Mapping[str, str], steps: list[int]) -> dict[str, Any]:
        newest: dict[int, Newest] = {
            slot: _Newest(ends[name] != "failed", None if e is None else e.created_at)
            for slot, (name, e) in enumerate(seen.newest.items())
            if e is not None or ends[name] == "failed"
        }
        running = [
            not end and self._states.get(name, ("running",))[0] == "running"
            for name, end in ends.items()
        ]
        at = np.maximum(0, steps)
        progress = Progress(at, np.zeros_like(at), np.array(running))
        stored = [e.nbytes for e in seen.newest.values() if e is not None]
        return dots_of(progress, newest, (len(stored), sum(stored)), self._shown)

    def _draw(self, seen: MembersSeen) -> bool:
        """Make pictures of what is new, for a moment; return whether none is left to be made."""
        end = self._clock() + _DRAW_S
        shown = list(enumerate(seen.newest.values()))
        if len(shown) > MOST_CARDS:
            shown = shown[self._chosen : self._chosen + 1]
        there = {slot: e for slot, e in shown if e is not None}
        self._drawn = {slot: n for slot, n in self._drawn.items() if slot in there}
        # Those that wait for the longest first: a store that is slow hides no member for ever.
        wanted = [slot for slot, e in there.items() if self._drawn.get(slot) != e.sequence]
        wanted.sort(key=lambda slot: self._drawn.get(slot, -1))
        left = len(wanted)
        for slot in wanted:
            e = there[slot]
            with contextlib.suppress(CheckpointError, OSError, LookupError, ValueError):
                small = small_picture(self._ensemble.load(e), None, range_of)
                if small.rows:
                    pictures = self._view.pictures
                    shows = pictures[slot % len(pictures)]  # of a map the only one
                    self._display.put(shows, picture={"slot": slot, **small.card()})
            self._drawn[slot] = e.sequence
            left -= 1
            if self._clock() > end:
                break
        return left == 0


@final
class _Looker(BackgroundThread):
    """The thread that looks, until nothing may come any more; a poke has it look at once."""

    def __init__(
        self, look: Callable[[], bool], end: Callable[[], None], clock: Callable[[], float]
    ) -> None:
        super().__init__("ringnb-members")
        self._look, self._end, self._clock = look, end, clock
        self._poked = threading.Event()
        self._stopping = False

    def poke(self) -> None:
        """Look soon."""
        self._poked.set()

    def stop(self) -> None:
        """End the thread, and close what it has looked through."""
        self._stopping = True
        self._poked.set()

    def _run(self) -> None:
        while not self._stopping:
            began = self._clock()
            more = self._look()
            took_s = self._clock() - began
            self._poked.wait(max(_LOOK_S, took_s) if more else None)
            self._poked.clear()
        with contextlib.suppress(Exception):  # a cluster that is gone: nobody is left to be told
            self._end()
