"""The retention panel: every checkpoint, what a policy would delete of them, and how the disk fills."""

from __future__ import annotations

import itertools
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

from ipywidgets import Widget

from ringnb._support.text import counted, format_bytes, name_actors, said_by
from ringnb.checkpoint import ZarrStorage, retention
from ringnb.checkpoint.drawable import simulated
from ringnb.checkpoint.pruning import PrunedRun
from ringnb.checkpoint.retention import Policy, PreviewOutdated, RetentionPreview
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointError, RingnbError
from ringnb.panels.core.controller import SessionGone
from ringnb.panels.core.film import Wish
from ringnb.panels.core.film_reader import FilmReader
from ringnb.panels.core.messages import Note
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import Watched
from ringnb.panels.core.widgets import box, button_state, dropdown, integer_field
from ringnb.panels.keep.forecast import Cadence, forecast
from ringnb.panels.keep.sheet import SheetLog, tiles_of
from ringnb.panels.keep.widgets import Sheet, WhatStays

__all__ = ["RetentionPanel"]

_AT_ONCE = 240  # tiles that a page gets at first
_NEWEST, _ALL, _IN_FORCE = "the newest N", "all", "as in force"
_POLICIES: dict[str, Callable[[int], Policy]] = {
    _NEWEST: retention.keep_last,
    "one per N steps and the newest": lambda n: retention.keep_every(n) | retention.keep_last(1),
    "thinned out with age, from N seconds on": lambda n: retention.keep_thinning(float(n)),
    "what fits into N MiB": lambda n: retention.keep_within(n << 20),
    _ALL: lambda _: retention.keep_all(),
}
_LOOK_S = 0.3  # between two looks at what a policy would delete
_DISK_S = 5.0  # between two looks at the disk
_RATE_S = 60.0  # over which the growth is measured
_REMEMBERED = 8  # previews that a page may still show


@final
class RetentionPanel(Panel):
    """Steers what is kept; see `Panel`.

    What would go is found on the drawer's thread whenever something has changed. A page names the
    preview that it shows, and the manager deletes exactly that, or nothing.
    """

    key = "retention"
    title = "Retention"

    def build(self) -> Sequence[Widget]:
        """Make the contact sheet."""
        controller = self._controller
        self._sheet_log = SheetLog()
        self._reader = FilmReader(controller, "sheet")
        self._shown_of: tuple[Any, ...] = ()  # what the tiles were made of
        self._infos: dict[str, CheckpointInfo] = {}  # the selected actor's checkpoints, by name
        self._all_wanted = False  # a page has missed a version
        self._most = _AT_ONCE  # tiles
        self._slot = -1
        self._looked: tuple[Any, float] = (None, 0.0)  # for what was looked, and when
        self._number = itertools.count(1)
        self._previews: dict[int, RetentionPreview] = {}  # the newest last
        self._pruned: list[PrunedRun] = []
        self._disk_at = -_DISK_S
        self._usage: tuple[int, int] | None = None  # bytes in all, and free
        self._own: deque[tuple[float, int]] = deque()  # when, and the store's bytes
        self._rate = 0.0  # bytes per second
        self._forecast_of: object = None
        self.sheet = Sheet(board=controller.board, hand=controller.hand)
        for name, handler in (
            ("all", self._want_all),
            ("more", self._want_more),
            ("pictures", self._want_pictures),
            ("adopt", self._adopt),
            ("delete", self._delete),
            ("consider_damaged", self._consider_damaged),
        ):
            controller.on_do(f"{self.key}.{name}", handler)
        return [self.sheet]

    def side(self) -> Sequence[Widget]:
        """Make the choice of a policy, what it does, the disk, and one checkpoint."""
        board, hand = self._controller.board, self._controller.hand
        self.heading = WhatStays(board=board, hand=hand, heads=True)
        config = self._controller.state.config
        kept = config.max_snapshots
        chosen = _IN_FORCE if config.retention is not None else _NEWEST if kept else _ALL
        options = [*_POLICIES, _IN_FORCE]
        self.policy = self.control(dropdown("Keep", options, value=chosen), self._choose)
        self.number = self.control(
            integer_field("N", kept or 12, continuous_update=True), self._choose
        )
        self.stays = WhatStays(board=board, hand=hand)
        choice = box("ringnb-row rn-policy", [self.policy, self.number])
        return [self.heading, choice, self.stays]

    # -- on Jupyter's thread ---------------------------------------------------------------------

    def _choose(self, _: object) -> None:
        self._controller.note_use()

    def _chosen_policy(self) -> Policy:
        make = _POLICIES.get(self.policy.value)
        number = int(self.number.value)
        return self._controller.state.config.policy if make is None else make(number)

    def _want_all(self, _action: str, _args: Mapping[str, Any]) -> None:
        self._all_wanted = True
        self._controller.display.poke()

    def _want_more(self, _action: str, args: Mapping[str, Any]) -> None:
        self._most = max(self._most, int(args.get("most", 0)))
        self._controller.display.poke()

    def _want_pictures(self, _action: str, args: Mapping[str, Any]) -> None:
        """Have the small pictures read that a page would show."""
        most = self._controller.profile.small_pictures
        wishes = []
        for key in list(args.get("keys", ()))[:most]:
            info = self._infos.get(self._sheet_log.name_of(int(key)) or "")
            if info is not None and not info.damaged:
                wishes.append(Wish(int(key), info, True))
        self._reader.wish(wishes)

    def _adopt(self, _action: str, args: Mapping[str, Any]) -> None:
        shown = self._previews.get(int(args.get("shown", -1)))
        if shown is None:
            self._controller.say("warning", "Adopt: what was shown is not so any more; look again")
            return

        def work(watched: Watched) -> None:
            """Adopt it."""
            try:
                deleted = watched.manager.apply_retention(shown=shown)
            except PreviewOutdated as error:
                self._controller.say("warning", f"Adopt: {said_by(error)}", key="adopt")
                return
            finally:
                self._looked = (None, 0.0)
            self._controller.settle("adopt", "a later adoption")
            freed = f", {format_bytes(shown.freed_bytes)} free" if deleted else ""
            text = f"{shown.policy!r} holds from now on; deleted {len(deleted)}{freed}"
            self._controller.say("done", text)

        self.submit("Adopt", work, done="", worker="storage")

    def _delete(self, _action: str, args: Mapping[str, Any]) -> None:
        name, id_ = str(args.get("name", "")), str(args.get("which", ""))

        def work(watched: Watched) -> str:
            """Delete one, if it is still the one that was asked about."""
            if not any(
                e.name == name and e.id == id_
                for slot in watched.manager.registered
                for e in watched.manager.history(slot)
            ):
                self._controller.settle("delete", "its end: it was deleted or retired meanwhile")
                return Note(f"{name} is not there any more: nothing was deleted")
            choices = self._controller.choices
            looked_at = choices.chosen.get("main") == name
            if looked_at:  # before it goes, else a refresh meanwhile would say that it is missing
                self._controller.choose("main", "")
            try:
                freed = watched.manager.discard(name)
            except BaseException:
                if looked_at and not choices.chosen.get("main"):  # nothing else was chosen
                    self._controller.choose("main", name)
                raise
            self._controller.settle("delete", "its deletion")
            return f"{name} is deleted, {format_bytes(freed)} free"

        self.submit("Delete", work, worker="storage")

    def on_action(self, action: str) -> None:
        """Enqueue what a button does."""
        if action == "runs":
            self.submit("Earlier runs", self._ask_runs, done="", worker="storage")
        elif action == "prune":
            self.submit("Earlier runs", self._prune, worker="storage")
        elif action == "consider":
            chosen = self._controller.choices.resolve("main")
            if chosen is None:
                self.refuse(self._controller.choices.why_unresolved("main"))
                return

            self._consider(chosen, "It")

    def _consider_damaged(self, _action: str, args: Mapping[str, Any]) -> None:
        """Ask about a damaged one, which nothing shows and no policy deletes."""
        info = self._infos.get(str(args.get("name", "")))
        if info is not None and info.damaged:  # it is no actor's that the manager knows
            self.refuse(
                f"{info.name} cannot be read, not even whose it is. It takes no part in anything; "
                f"session.storage.delete({info.name!r}) deletes it"
            )
        elif info is not None and not self._controller.choices.sound(info):
            self._consider(info, "It is damaged. Deleting it")

    def _consider(self, info: CheckpointInfo, it: str) -> None:
        def ask(watched: Watched) -> None:
            """Ask whether it may go."""
            freed = watched.manager.discard(info.name, dry_run=True)
            text = f"Delete {info.name}? {it} frees {format_bytes(freed)} and cannot be undone"
            self._ask("delete", text, "it", {"name": info.name, "which": info.id})

        self.submit("Delete", ask, done="", worker="storage")

    def _ask(self, action: str, text: str, what: str, args: Mapping[str, Any]) -> None:
        self._controller.switchboard.messages.dismiss(action)  # the question about another one
        do = (f"{self.key}.{action}", f"Delete {what}", dict(args))
        keep = ("say.dismiss", f"Keep {what}", {"key": action})
        self._controller.say("warning", text, key=action, actions=[do, keep], repeats=False)

    # -- on the storage worker -------------------------------------------------------------------

    def _ask_runs(self, watched: Watched) -> None:
        pruned = watched.manager.prune_runs(dry_run=True)
        self._pruned = pruned
        going = [e for run in pruned for e in run.delete]
        if not going:
            self.refuse("Earlier runs: there is nothing to delete of them")
            return
        size = format_bytes(sum(e.nbytes for e in going))
        text = (
            f"Delete {counted(len(going), 'checkpoint')} of {counted(len(pruned), 'earlier run')}, "
            f"{size}? They are crossed out on the sheet. It cannot be undone"
        )
        self._ask("prune", text, "them", {})

    def _prune(self, watched: Watched) -> str:
        seen, self._pruned = self._pruned, []
        if not seen or watched.manager.prune_runs(dry_run=True) != seen:
            msg = "the earlier runs have changed since; nothing was deleted: look again"
            raise CheckpointError(msg)
        ids = [e.id for run in seen for e in run.delete]
        going = [e for run in watched.manager.prune_runs(only=ids) for e in run.delete]
        self._controller.settle("prune", "their deletion")
        return f"{counted(len(going), 'checkpoint')} of earlier runs deleted"

    # -- on the drawer's thread ------------------------------------------------------------------

    def _look(self, policy: Policy) -> None:
        """Find out what a policy would delete now."""
        try:
            preview = self.watched.manager.preview_retention(policy)
        except SessionGone:
            return
        except (RingnbError, OSError):
            return  # the store says so where it is read or written
        except Exception as error:  # noqa: BLE001 - nothing may end the drawer's thread
            self._controller.say(
                "problem", name_actors(f"Preview: {error!r}"), key="preview", repeats=False
            )
            return
        newest = next(reversed(self._previews.values()), None)
        if newest is None or repr(newest) != repr(preview) or newest != preview:
            previews = {**self._previews, next(self._number): preview}
            self._previews = dict(list(previews.items())[-_REMEMBERED:])
        self._controller.display.poke()

    def _look_at_disk(self) -> None:
        """Ask how full the disk is: that may take long."""
        try:
            storage = self.watched.storage
            folders = storage.folders if isinstance(storage, ZarrStorage) else ()
            usage = shutil.disk_usage(_existing(folders[0])) if folders else None
        except (SessionGone, OSError):
            return
        # In parts of it that can be seen: other programs write all the time.
        part = max(1, usage.total // 10_000) if usage else 1
        self._usage = None if usage is None else (usage.total, usage.free // part * part)
        self._controller.display.poke()

    # -- on the display loop's thread ------------------------------------------------------------

    def show(self, state: SessionState) -> None:
        """Put the sheet, what would go, the disk, and which buttons can be used."""
        controller, choices, now = self._controller, self._controller.choices, time.monotonic()
        policy = self._chosen_policy()
        looks_for = (repr(policy), state.appended, state.histories, choices.damages)
        if looks_for != self._looked[0] and now - self._looked[1] >= _LOOK_S:
            self._looked = looks_for, now
            controller.drawer.submit("retention", lambda: self._look(policy))
        if now - self._disk_at >= _DISK_S:
            self._disk_at = now
            self._measure_growth(state.histories.totals[1], now)
            controller.drawer.submit("disk", self._look_at_disk)
        number, preview = next(reversed(self._previews.items()), (0, None))
        if preview is not None and repr(preview.policy) != repr(policy):
            preview = None  # another one is on its way
        asked = controller.switchboard.messages.is_open("prune")
        if asked:  # no others are crossed out: it is answered by what is
            going = frozenset(e.name for run in self._pruned for e in run.delete)
        else:
            going = frozenset(() if preview is None else (e.name for e in preview.delete))
        controller.show_going(self, going)
        self._show_sheet(state, going)
        self._show_preview(number, preview)
        self._show_disk(state, policy)
        chosen = choices.resolve("main")
        one: dict[str, Any] = {}
        if chosen is not None:
            at = simulated(chosen.time, dict(chosen.params).get("dt"))
            one = {"name": chosen.name, "pin": chosen.pin, "time": at}
        self.put(self.stays, one=one)
        self.put(self.heading, in_force=repr(state.config.policy))
        counts = self.policy.value not in (_ALL, _IN_FORCE)
        self.put(self.number.layout, display=None if counts else "none")
        ended, why = state.ended, state.life
        pinned = chosen is not None and chosen.pin is not None
        off = ended or chosen is None or pinned
        unready = "Crossed out is what is asked about" if asked else "It is looked at"
        unusable = "It is pinned" if pinned else choices.why_unresolved("main")
        self.flags(
            adopt=button_state(ended or asked or preview is None, why if ended else unready),
            runs=button_state(ended, why),
            consider=button_state(off, why if ended else unusable),
        )

    def _show_sheet(self, state: SessionState, going: frozenset[str]) -> None:
        choices = self._controller.choices
        slot = min(self._controller.slot, len(state.actors) - 1)
        history = state.histories[slot]
        if slot != self._slot:
            self._most = _AT_ONCE
        made_of = (history, self._controller.runs, going, choices.damages, self._most)
        change = None
        if made_of != self._shown_of:
            self._shown_of = made_of
            self._infos = {e.name: e for e in history}
            newest = history[-self._most :]
            tiles = tiles_of(newest, self._controller.runs, going, choices.sound, choices.verdict)
            change = self._sheet_log.update(tiles)
        if slot != self._slot or self._all_wanted:
            self._slot, self._all_wanted = slot, False
            change = self._sheet_log.whole()
        if change is not None:
            self.put(self.sheet, tiles=change)
        self._reader.film.show_field(self._controller.shown_field)
        batch = self._reader.film.take()
        if batch is not None:
            self.put(self.sheet, film=batch)
        self.put(
            self.sheet,
            actor=state.actors[slot].kernel_id,
            count=len(history),
            field=self._reader.film.field or "",
        )

    def _show_preview(self, number: int, preview: RetentionPreview | None) -> None:
        if preview is None:
            self.put(self.stays, preview={"id": 0, "going": 0, "words": "Looking …", "more": ""})
            return
        n = len(preview.delete)
        pinned = sum(e.pin is not None for e in preview.keep)
        words = (
            f"{n:,} would go, {format_bytes(preview.freed_bytes)} freed"
            if n
            else "Nothing would go"
        )
        whose = "Of all actors, " if len(self._controller.state.actors) > 1 else ""
        runs = {e.kernel_id: e.run for e in self._controller.state.histories.newest().values()}
        earlier = sum(e.run != runs.get(e.kernel_id, e.run) for e in preview.keep)
        which = f", {earlier:,} of earlier runs" if earlier else ""  # to which no policy applies
        more = f"{whose}{len(preview.keep):,} stay, {pinned:,} pinned{which}"
        self.put(self.stays, preview={"id": number, "going": n, "words": words, "more": more})

    def _measure_growth(self, own: int, now: float) -> None:
        """Find the bytes per second over the last minute: seldom, as each new number is a message."""
        self._own.append((now, own))
        while now - self._own[0][0] > _RATE_S:
            self._own.popleft()
        then, was = self._own[0]
        self._rate = (own - was) / max(1.0, now - then)

    def _show_disk(self, state: SessionState, policy: Policy) -> None:
        own = state.histories.totals[1]
        sign = "+" if self._rate >= 0 else "-"
        disk: dict[str, Any] = {
            "own_words": format_bytes(own),
            "rate": f"{sign}{format_bytes(round(abs(self._rate)))}/s",
        }
        if self._usage is None:
            disk["words"] = "free space not known"
        else:
            total, free = self._usage
            disk |= {"own": own, "free": free, "all": total}
            disk["words"] = f"{format_bytes(free)} of {format_bytes(total)} free"
        self.put(self.stays, disk=disk)
        cadence, slot = self._cadence(state), min(self._controller.slot, len(state.actors) - 1)
        last = next((e for e in reversed(state.histories[slot]) if not e.damaged), None)
        chosen = self.policy.value.replace("N", f"{int(self.number.value):,}")
        stands = state.actors[slot].every is not None and not state.ended  # if none comes
        made_of = (repr(policy), repr(state.config.policy), cadence, self._usage, last, stands)
        if made_of == self._forecast_of:
            return
        self._forecast_of = made_of
        if last is None or cadence is None:
            why = "while the actor stands" if stands else "by itself"
            words = f"No checkpoint comes {why}: the disk stays as it is" if last else None
            self.put(self.sheet, forecast={} if words is None else {"words": words})
            return
        present = sum(e.run == last.run for e in state.histories[slot])
        lines = [("in force", state.config.policy), (chosen, policy)]
        if repr(policy) == repr(state.config.policy):
            lines = lines[1:]
        # On the drawer's thread, as policies are tried on many checkpoints.
        usage, actors = self._usage, len(state.actors)
        self._controller.drawer.submit(
            "forecast",
            lambda: self._put_forecast(lines, last, cadence, present, actors, own, usage),
        )

    def _cadence(self, state: SessionState) -> Cadence | None:
        """Return how checkpoints of the selected actor come from now on; None if none does by itself."""
        a = state.actors[min(self._controller.slot, len(state.actors) - 1)]
        if state.ended:
            return None
        rate = float(f"{a.rate:.1g}")  # so that the forecast does not flicker
        if state.config.enabled:
            return Cadence(state.config.interval_s, rate * state.config.interval_s)
        if a.every is not None and rate > 0:
            return Cadence(a.every / rate, a.every)
        return None

    def _put_forecast(self, *of: Any) -> None:
        """Try the policies and show what comes of it."""
        try:
            found = forecast(*of)
        except Exception as error:  # noqa: BLE001 - a user's policy may raise anything
            found = {"words": f"No forecast: {error!r}"}
        self.put(self.sheet, forecast=found)
        self._controller.display.poke()


def _existing(folder: Path) -> Path:
    """Return a folder, or what of its path is there before the first commit makes it."""
    return next((one for one in (folder, *folder.parents) if one.exists()), folder)
