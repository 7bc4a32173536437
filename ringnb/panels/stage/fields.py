"""The field view and the comparison: pictures of stored checkpoints, drawn on the drawer's thread."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, final

import numpy as np
from ipywidgets import BoundedIntText, Checkbox, Widget
from matplotlib.axes import Axes

from ringnb import plots
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.panel import Panel
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import dropdown, integer_field, row
from ringnb.panels.stage.picture import Picture
from ringnb.plots.style import pick_field

__all__ = ["ComparePanel", "FieldPanel", "describe"]

_FOLLOW_S = 2.0
_MAPS = ("automatic", "viridis", "cividis", "PuOr_r", "gray")


def describe(checkpoint: Checkpoint, name: str) -> str:
    """Say in words what a field looks like; the same values give the same words."""
    values = np.asarray(checkpoint[name])
    shape = " by ".join(map(str, values.shape))
    head = f"{name} of {checkpoint.kernel_id} at step {checkpoint.step:,}: {shape} values"
    finite = np.isfinite(values)
    if not finite.any():
        return f"{head}, none of them finite"
    shown = np.where(finite, values, 0).astype(np.float64)
    peak = np.unravel_index(int(np.abs(shown).argmax()), values.shape)
    where = ", ".join(f"{d} = {i}" for d, i in zip(checkpoint[name].dims, peak, strict=True))
    bad = int(values.size - finite.sum())
    return (
        f"{head} from {shown.min():.4g} to {shown.max():.4g}, mean {shown.mean():.4g}; largest in "
        f"magnitude at {where}" + (f"; {bad:,} are not finite" if bad else "")
    )


class _Illustration(NamedTuple):
    """A figure, its alternative text and its caption."""

    axes: Axes
    alt: str
    caption: str


def _png(axes: Axes, most_bytes: int) -> bytes:
    """Render a figure, at a lower resolution if it is too large."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    data = b""
    for dpi in (90, 66, 48, 34):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
        data = buffer.getvalue()
        if len(data) <= most_bytes:
            break
    return data


class _PicturePanel(Panel):
    """A panel with one picture that is drawn again when what it shows changes."""

    # What was asked for last: names and sequence numbers of the checkpoints, and the settings.
    _asked: tuple[tuple[tuple[str, int], ...], tuple[Any, ...]] | None = None
    _asked_at = 0.0

    def build_picture(self) -> Picture:
        """Make the picture."""
        self.picture = Picture(caption="Nothing drawn yet.")
        return self.picture

    def draw_when_new(
        self,
        checkpoints: Sequence[CheckpointInfo],
        settings: tuple[Any, ...],
        draw: Callable[[], _Illustration],
        *,
        following: bool,
    ) -> None:
        """Have it drawn unless that was asked for already; if it fails, mark the old one as stale."""
        now, asked = time.monotonic(), (tuple((e.name, e.sequence) for e in checkpoints), settings)
        if asked == self._asked:
            return
        # Drawing takes a fifth of a second of a core that the kernel may want: what follows the newest
        # checkpoint waits, what the user has just set does not.
        same_settings = self._asked is not None and settings == self._asked[1]
        if following and same_settings and now - self._asked_at < _FOLLOW_S:
            return
        self._asked, self._asked_at = asked, now
        most_bytes = self._controller.profile.picture_bytes

        def job() -> None:
            """On the drawer's thread, which nothing that it raises may end."""
            try:
                axes, alt, caption = draw()
                png = _png(axes, most_bytes)
                self.put(self.picture, png=png, alt=alt, caption=caption, stale=False)
            except (CheckpointCorrupt, CheckpointNotFound, ValueError, KeyError, OSError) as error:
                if isinstance(error, CheckpointCorrupt):
                    for e in checkpoints:
                        if repr(e.name) in str(error):  # which of them it is about
                            self._controller.choices.note_verdict(e.name, f"damaged: {error}")
                caption = f"Not drawn, this is an old picture: {error}"
                self.put(self.picture, stale=True, caption=caption)
            except Exception as error:  # noqa: BLE001 - shown, whatever it is
                self._controller.say("problem", f"Drawing: {error!r}", key=f"draw:{self.key}")
            else:
                self._controller.settle(f"draw:{self.key}", "the next picture")
            self._controller.display.poke()

        self._controller.drawer.submit(self.key, job)


@final
class FieldPanel(_PicturePanel):
    """Draws a field of the chosen checkpoint; see `Panel`."""

    key = "field"
    title = "Field, from a stored checkpoint"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        actors = self.session.actors
        names = list(dict.fromkeys(n for a in actors for n in a.stored_fields))
        self.field = self.control(dropdown("Field", ["the main one", *names]), self._redraw)
        self.colours = self.control(dropdown("Colours", _MAPS), self._redraw)
        self.keeps_range = self.control(
            Checkbox(value=False, description="Keep the colour range", indent=False),
            self._keep_range,
        )
        controls = [self.field, self.colours, self.keeps_range]
        self.slice: BoundedIntText | None = None
        if len(actors[0].shape) == 3:
            shape = actors[0].shape
            slices = integer_field("Slice", shape[0] // 2, 0, max(2, *shape) - 1)
            self.slice = self.control(slices, self._redraw)
            controls.append(self.slice)
        self._limits: tuple[float, float] | None = None  # the range that is kept, once drawn
        self.checkpoints = self.chooser("main", "Checkpoint")
        return [self.checkpoints, row(*controls), self.build_picture()]

    def _redraw(self, _: object) -> None:
        self._controller.note_use()

    def _keep_range(self, on: bool) -> None:
        if not on:
            self._limits = None
        self._controller.note_use()

    def show(self, _state: SessionState) -> None:
        """Put the checkpoints, and have the chosen one drawn."""
        choices = self._controller.choices
        self.put(self.checkpoints, items=choices.items())
        info = choices.resolve("main")
        if info is None:
            if self._asked is not None and not choices.follows("main"):
                self.put(self.picture, stale=True, caption="This checkpoint was retired.")
            return
        field = None if self.field.index == 0 else str(self.field.value)
        colours = None if self.colours.index == 0 else str(self.colours.value)
        keep_range = bool(self.keeps_range.value)
        index = 0 if self.slice is None else int(self.slice.value)
        settings = (field, colours, keep_range, index)
        self.draw_when_new(
            [info],
            settings,
            lambda: self._draw(info.name, *settings),
            following=choices.follows("main"),
        )

    def _draw(
        self,
        checkpoint_name: str,
        field: str | None,
        colours: str | None,
        keep_range: bool,
        index: int,
    ) -> _Illustration:
        checkpoint = self.session.storage.load(checkpoint_name)
        name = pick_field(checkpoint, field)
        if keep_range and self._limits is None:
            values = np.asarray(checkpoint[name], dtype=np.float64)
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            self._limits = (low, high) if low < high else (low - 0.5, high + 0.5)
        axes = plots.field(
            checkpoint,
            name,
            cmap=colours,
            limits=self._limits if keep_range else None,
            index=index if checkpoint[name].ndim == 3 else None,
        )
        remark = "The live actor may have gone on."
        if self._controller.choices.follows("main"):
            remark = f"Follows the newest, every {_FOLLOW_S:g} s."
        caption = f"Stored: {checkpoint.name}, step {checkpoint.step:,}. {remark}"
        return _Illustration(axes, describe(checkpoint, name), caption)


@final
class ComparePanel(_PicturePanel):
    """Draws the difference of two checkpoints; see `Panel`."""

    key = "compare"
    title = "Compare two stored checkpoints"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        follow = "the one before the newest (follow)"
        self.choosers = [self.chooser("a", "From", follow=follow), self.chooser("b", "To")]
        return [*self.choosers, self.build_picture()]

    def show(self, _state: SessionState) -> None:
        """Put the checkpoints, and have the difference drawn."""
        choices = self._controller.choices
        for chooser in self.choosers:
            self.put(chooser, items=choices.items(every_actor=True))
        a, b = choices.resolve("a", back=1), choices.resolve("b")
        if a is None or b is None:
            return
        self.draw_when_new(
            [a, b],
            (),
            lambda: self._draw(a.name, b.name),
            following=choices.follows("a", "b"),
        )

    def _draw(self, first: str, second: str) -> _Illustration:
        a, b = self.session.storage.load(first), self.session.storage.load(second)
        axes = plots.difference(a, b)
        verdict = axes.get_title().splitlines()[-1]
        changed = {k for k in {*a.params, *b.params} if a.params.get(k) != b.params.get(k)}
        words = f"parameters differ: {', '.join(sorted(changed))}" if changed else "same parameters"
        alt = f"{b.name} minus {a.name}: {verdict}"
        return _Illustration(axes, alt, f"{verdict}; {words}; both are stored.")
