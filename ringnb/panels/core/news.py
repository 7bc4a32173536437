"""What a session says by itself: commits, failures in the background, the end of its kernel."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, final

from ringnb._support.text import counted, format_bytes, name_actors, said_by
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import RingnbError
from ringnb.messages.events import Event
from ringnb.panels.core.histories import when_it_went_bad
from ringnb.panels.core.messages import Action, Kind, MessageLog
from ringnb.panels.core.requests import commit_ms
from ringnb.panels.core.state import ActorState, SessionState, StoreTrouble
from ringnb.panels.core.watched import Watched, has_kernel

__all__ = ["News", "next_of", "snapshot_key", "trouble_key"]

_MOST_LOOKED_AT = 1000  # actors, for how many steps are lost
_DISK_FULL = "disk-full"
_SNAPSHOT = ":snapshot"
_IF_CHANGED = "It is tried again only if the actor has changed since its newest checkpoint"
_AGAIN = "It is tried again"  # the page adds when, see `Message.again`
_FULL = [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
_RESTART = ("live.restart", "Restart from the newest checkpoints")
_MAKE_ROOM = ("page.tab", "Make room", {"tab": "keep"})
_TRY_NOW = ("look.again", "Try now")


def snapshot_key(slot: int) -> str:
    """Return the key of what goes wrong with an actor's snapshots."""
    return f"{slot}{_SNAPSHOT}"


def trouble_key(key: str, why: str) -> str:
    """Return the key of a problem: snapshots that a full disk fails are one, whichever actors'."""
    return _DISK_FULL if key.endswith(_SNAPSHOT) and any(t in why for t in _FULL) else key


@final
class News:
    """Turns the events of a session, or a recorder, into messages. Any thread may call any method."""

    def __init__(self, watched: Watched, messages: MessageLog, epoch_s: float = 0.0) -> None:
        self._messages = messages
        self._epoch_s = epoch_s  # when the board's beat was 0, by `time.monotonic`
        self._lock = threading.Lock()  # the loop reads, and a worker that has just failed
        self._seen = watched.events.appended
        self._taking: Counter[int] = Counter()  # by slot, snapshots that a user waits for
        self._answers: set[str] = set()  # the names that these have got
        self._commits: list[Event] = []  # that are not told yet
        self._met: set[int] = set()  # the slots whose snapshots the full disk has failed
        self._began = False  # whether it was said what is stored
        self._trouble: tuple[str, float | None] = "", None  # with the connection, as it was said
        self._unread: StoreTrouble | None = None  # with the store, as it was said

    def answering(self, slot: int, take: Callable[[], Checkpoint]) -> Checkpoint:
        """Take a snapshot that a user asks for: its commit, and no other, is told as the answer.

        Which one that is, its name says, which is known at the end: none of the actor is told before.
        """
        with self._lock:
            self._taking[slot] += 1
        try:
            made = take()
            with self._lock:
                self._answers.add(made.name)
            return made
        finally:
            with self._lock:
                self._taking[slot] -= 1

    def read(self, watched: Watched, actors: Sequence[ActorState]) -> None:
        """Say what has happened since."""
        with self._lock:
            new, self._seen = watched.events.since(self._seen)
            self._commits += [e for e in new if e.stage == "committed"]
            for event in new:
                key = snapshot_key(event.actor_slot)
                if event.stage in ("failed", "expired"):
                    self._say_failure(watched, event, key, runs=actors[event.actor_slot].running)
                elif event.stage == "committed":
                    self._met.clear()
                    for one in (key, _DISK_FULL):
                        self._messages.settle(one, str(event.name))
                elif event.stage == "bad":
                    self._say_bad(watched, event)
                elif event.stage == "restored":
                    self._messages.settle(f"{event.actor_slot}:guard", "the restore")
            # By names: a cut of linked actors is a commit of each.
            held = {e.name for e in self._commits if self._taking[e.actor_slot]}
            answers = [e for e in self._commits if e.name in self._answers and e.name not in held]
            others = [e for e in self._commits if e.name not in self._answers | held]
            self._commits = [e for e in self._commits if e.name in held]
            self._say_commits(watched, others, by_itself=True)
            self._say_commits(watched, answers, by_itself=False)
            self._answers.difference_update(str(e.name) for e in answers)

    def look(self, watched: Watched, state: SessionState) -> None:
        """Say how the session is: what is stored, what stopped a background thread, why nothing runs."""
        if state.store_is_known and not self._began:
            self._began = True
            if not (state.histories.totals[0] and self._messages.newest()):
                key = None if state.histories.newest() else "first"  # the page counts that one down
                self._messages.say("note", _stored(state), key=key, by_itself=True)
        self._look_at_connection(watched)
        self._look_at_store(state.store_trouble)
        failure = watched.failure
        if failure is None:
            self._messages.settle("background", "being raised in a cell")
        elif not self._messages.is_open("background"):
            text = f"In the background: {said_by(failure)}"
            self._messages.say("problem", text, key="background")
        if not state.ended or self._messages.knows("kernel"):
            return
        if watched.closed:
            self._messages.say("note", state.life, key="kernel")
            return
        text = f"{state.life} {_kept_and_lost(state)}"
        self._messages.say("problem", text, key="kernel", actions=[_RESTART])

    def _look_at_connection(self, watched: Watched) -> None:
        """Say what is wrong with the connection to a session of another process."""
        text = name_actors(getattr(watched, "connection", ""))
        again_at = getattr(watched, "again_at", None)
        before, self._trouble = self._trouble, (text, again_at)
        if self._trouble == before:
            return
        if not text:
            self._messages.settle("connection", "an answer in time")
        elif again_at is None:  # it answers, but slowly
            self._messages.say("problem", text, key="connection", by_itself=True)
        else:
            anew = text != before[0] or before[1] is None
            self._say_outage("connection", f"{text}.", again_at, anew=anew)

    def _look_at_store(self, trouble: StoreTrouble | None) -> None:
        """Say that the store cannot be read, or that it can be again."""
        before, self._unread = self._unread, trouble
        if trouble == before:
            return
        if trouble is None:
            self._messages.settle("store", "reading it")
            return
        text = f"The store cannot be read: {trouble.why}. What is shown of it is old."
        anew = before is None or before.why != trouble.why
        self._say_outage("store", text, trouble.again_at, anew=anew)

    def _say_outage(self, key: str, text: str, again_at: float, *, anew: bool) -> None:
        """Say what is tried again by itself; each try that fails in the same way only counts."""
        again = again_at - self._epoch_s
        if anew:
            text, actions = f"{text} {_AGAIN}", [_TRY_NOW]
            self._messages.say(
                "problem", text, key=key, actions=actions, by_itself=True, again=again
            )
        else:
            self._messages.note_retry(key, again)

    def _when_again(self, watched: Watched, slot: int) -> tuple[str, float | None]:
        """Say whether an actor's snapshot is tried again by itself, and return when."""
        if not watched.service_runs:
            return "It is due again later", None
        try:
            if not watched.manager.config.enabled:
                return "It is not tried again by itself", None
            if has_kernel(watched) and watched.is_saved(slot):
                return _IF_CHANGED, None
            due_s = watched.manager.seconds_until_next(slot)
        except (RingnbError, OSError):
            due_s = None  # closed meanwhile, or a session of another process is silent
        return _AGAIN, None if due_s is None else time.monotonic() + due_s - self._epoch_s

    def _say_failure(self, watched: Watched, event: Event, key: str, *, runs: bool) -> None:
        slot = event.actor_slot
        # A loop of one's own ends with the failure, which its next call raises.
        steps_on = ", the actor steps on" if runs and has_kernel(watched) else ""
        again, again_at = self._when_again(watched, slot)
        now: Action = ("live.snapshot", "Try now", {"slot": slot})
        if event.stage == "expired":
            text = f"Snapshot of actor {slot} timed out: {name_actors(event.detail)}{steps_on}. {again}"
            self._messages.say(
                "warning", text, key=key, actions=[now], by_itself=True, again=again_at
            )
            return
        key = trouble_key(key, event.detail)
        whose, why = f"Snapshot of actor {slot} failed", name_actors(event.detail)
        actions = [now]
        if key == _DISK_FULL:
            self._met.add(slot)
            actions.insert(0, _MAKE_ROOM)
            # Without the path of a staging file, which "Every stage" has.
            why = next((words for words in _FULL if words in why), why)
            if len(self._met) > 1:
                whose = f"Snapshots of {len(self._met):,} actors failed, the last of actor {slot}"
        text = f"{whose}: {why}. Older checkpoints are untouched{steps_on}. {again}"
        self._messages.say(
            "problem", text, key=key, actions=actions, by_itself=True, again=again_at
        )

    def _say_bad(self, watched: Watched, event: Event) -> None:
        slot, live = event.actor_slot, has_kernel(watched)
        # A loop of one's own ends with an exception instead, which `look` shows too.
        paused = live and watched.manager.config.state_guard.mode == "pause"
        what = f"Guard paused actor {slot}" if paused else f"Actor {slot} is not good"
        actions: list[Action] = [("look.to", "Show it", {"name": event.name})]
        if live:
            actions.append(("live.restore_good", "Restore the last good", {"slot": slot}))
        history = [e for e in watched.manager.history(slot) if not e.damaged]
        found = next((i for i, e in enumerate(history) if e.name == event.name), None)
        text = f"{what} at step {event.step or 0:,}: {name_actors(event.detail)}"
        if found is not None:  # else it was deleted meanwhile
            run = history[found].run
            text += f". {when_it_went_bad([e for e in history[: found + 1] if e.run == run])}"
        kind: Kind = "problem" if paused else "warning"
        self._messages.say(kind, text, key=f"{slot}:guard", actions=actions, by_itself=True)

    def _say_commits(self, watched: Watched, committed: list[Event], *, by_itself: bool) -> None:
        if not committed:
            return
        last = committed[-1]
        own = [e for e in watched.events if e.request_id == last.request_id]
        text = f"Committed {last.name}: {commit_ms(own):,.1f} ms from request to safe on disk"
        if len(committed) > 1:
            text += f" (and {len(committed) - 1} before it)"
        self._messages.say("done", text, by_itself=by_itself)


def _stored(state: SessionState) -> str:
    """Say what there is when the first panel opens."""
    count, nbytes = state.histories.totals
    newest = max(state.histories.newest().values(), key=lambda e: e.sequence, default=None)
    if newest is not None:
        made = "" if newest.created_at is None else f", made at {newest.created_at:%H:%M:%S} UTC"
        stored = f"{counted(count, 'checkpoint')} stored, {format_bytes(nbytes)}"
        anew = state.has_kernel and newest.step and not any(a.step for a in state.actors)
        hint = "This begins at step 0: restore one to go on from it. " if anew else ""
        return f"{hint}{stored}; the newest is {newest.name}{made}"
    first = next_of(state, 0)
    words = f"{first['words']} {state.due}" if first["counts"] else first["words"]
    return f"Nothing is stored yet: {words}" if words else "Nothing is stored yet"


def next_of(state: SessionState, slot: int) -> dict[str, Any]:
    """Say when an actor's next checkpoint, and so its next picture, is due.

    ``words`` are for after a colon; if it ``counts``, the page adds when that is. ``none`` is whether
    none can be read yet.
    """
    none = all(e.damaged for e in state.histories[slot])
    which = "next" if state.histories.newest() else "first"
    counts = False
    if state.ended or not state.store_is_known:
        words = ""
    elif (steps := state.actors[slot].every) is not None:
        words = f"a checkpoint is made every {steps:,} steps"
    elif not state.config.enabled:
        words = "checkpoints are made only when asked for"
    elif state.due_s is not None:
        words, counts = f"the {which} checkpoint is due", True
    elif state.statistics.pending and not state.actors[slot].calm:
        words = f"the {which} checkpoint is being made"
    else:
        steps_again = "an actor steps" if state.has_kernel else "the loop goes on"
        words = f"a checkpoint is made once {steps_again}" if none else ""
    return {"words": words, "counts": counts, "none": none}


def _kept_and_lost(state: SessionState) -> str:
    """Say what a dead kernel leaves."""
    stored = sum(not e.damaged for h in state.histories for e in h)
    if not stored:
        return "No checkpoint was committed"
    unsaved = [a for a in state.actors[:_MOST_LOOKED_AT] if not a.saved]
    lost = []
    for a in unsaved:
        sound = [e for e in state.histories[a.slot] if not e.damaged]
        # Of one that was restored, and not committed since, it is another run's.
        lost.append(a.step - max(sound, key=lambda e: e.sequence).step if sound else a.step)
    gone = "what an actor did after its newest one is lost"
    if len(state.actors) <= _MOST_LOOKED_AT:
        if not unsaved:
            gone = "no step is lost"
        elif min(lost) > 0:
            gone = f"since its newest one no actor has lost more than {counted(max(lost), 'step')}"
    return f"All {stored:,} committed checkpoints are still there; {gone}"
