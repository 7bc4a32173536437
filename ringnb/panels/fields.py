"""The field view and the comparison: pictures of stored checkpoints, drawn on the desk's drawer."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from ipywidgets import BoundedIntText, Checkbox, Dropdown, Widget

from ringnb import plots
from ringnb.checkpoint.storage.checkpoint import Checkpoint
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.checkpoint_choices import items_of
from ringnb.panels.core.panel import Panel, row
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import Picture
from ringnb.plots.style import pick_field

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ComparePanel", "FieldPanel", "describe"]

_FOLLOW_S = 2.0
_MAPS = ("as fits the values", "viridis", "cividis", "PuOr_r", "gray")


def describe(checkpoint: Checkpoint, name: str) -> str:
    """Say in words what a field looks like.

    Parameters
    ----------
    checkpoint : Checkpoint
        Whose.
    name : str
        The field.

    Returns
    -------
    str
        Size, range, mean, and where it is largest; the same values give the same words.
    """
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


def _png(figure: Figure, most_bytes: int) -> bytes:
    data = b""
    for dpi in (90, 66, 48, 34):
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=dpi)
        data = buffer.getvalue()
        if len(data) <= most_bytes:
            break
    return data


class _Drawing(Panel):
    """A panel with one picture that is drawn anew when what it shows changes."""

    _drawn: tuple[Any, ...] | None = None
    _drawn_at = 0.0

    def build_picture(self) -> Picture:
        """Make the picture."""
        self.picture = Picture(caption="Nothing drawn yet.")
        return self.picture

    def draw_when_new(
        self,
        what: tuple[Any, ...],
        draw: Callable[[], tuple[Figure, str, str]],
        *,
        following: bool,
    ) -> None:
        """Have it drawn unless it shows this already; what cannot be drawn marks the old as stale.

        A picture that follows the newest checkpoint is drawn every other second at most: drawing
        takes a fifth of a second of a core that the kernel may want.
        """
        now = time.monotonic()
        if what == self._drawn or (following and now - self._drawn_at < _FOLLOW_S):
            return
        self._drawn, self._drawn_at = what, now
        most = self._desk.profile.picture_bytes

        def job() -> None:
            """On the drawer's thread."""
            try:
                figure, alt, caption = draw()
                self.put(
                    self.picture, png=_png(figure, most), alt=alt, caption=caption, stale=False
                )
            except CheckpointCorrupt as error:
                for name in what[:2]:
                    if repr(name) in str(error):  # which of them it is about
                        self._desk.verdicts[str(name)] = f"damaged: {error}"
                self.put(
                    self.picture, stale=True, caption=f"Not drawn, this is an old picture: {error}"
                )
            except (CheckpointNotFound, ValueError, KeyError, OSError) as error:
                self.put(
                    self.picture,
                    stale=True,
                    caption=f"Not drawn, this is an old picture: {error}",
                )
            except Exception as error:  # noqa: BLE001 - it must not end the drawer
                self.tell(alert=f"Drawing: {error!r}")
            self._desk.pump.poke()

        self._desk.drawer.ask(self.key, job)

    def load(self, name: str) -> Checkpoint:
        """Open a checkpoint."""
        return self._desk.session.storage.load(name)


@final
class FieldPanel(_Drawing):
    """Draws a field of the chosen checkpoint; see `Panel`."""

    key = "field"
    title = "Field, from a stored checkpoint"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        style = {"description_width": "initial"}
        actor = self._desk.session.actors[0]
        names = list(dict.fromkeys(n for a in self._desk.session.actors for n in a.stored_fields))
        self.field = self.control(
            Dropdown(options=["the main one", *names], description="Field", style=style),
            self._redraw,
        )
        self.colours = self.control(
            Dropdown(options=list(_MAPS), description="Colours", style=style), self._redraw
        )
        self.locked = self.control(
            Checkbox(value=False, description="Keep the colour range", indent=False), self._lock
        )
        self.cut: BoundedIntText | None = None
        if len(actor.shape) == 3:
            self.cut = self.control(
                BoundedIntText(
                    value=actor.shape[0] // 2,
                    min=0,
                    max=max(2, *actor.shape) - 1,
                    description="Slice",
                    style=style,
                ),
                self._redraw,
            )
        self._limits: tuple[float, float] | None = None
        cut = [] if self.cut is None else [self.cut]
        return [
            self.chooser("main", "Checkpoint"),
            row(self.field, self.colours, self.locked, *cut),
            self.build_picture(),
        ]

    def _redraw(self, _: object) -> None:
        self._desk.touch()
        self._desk.pump.poke()

    def _lock(self, on: bool) -> None:
        if not on:
            self._limits = None
        self._redraw(on)

    def show(self, state: SessionState) -> None:
        """Put the checkpoints, and have the chosen one drawn."""
        self._desk.pump.put(self.frame, items=items_of(state, self._desk))
        info = self._desk.resolve("main")
        if info is None:
            if self._drawn is not None and self._desk.chosen.get("main"):
                self.put(self.picture, stale=True, caption="This checkpoint was retired.")
            return
        field = None if self.field.index == 0 else str(self.field.value)
        colours = None if self.colours.index == 0 else str(self.colours.value)
        locked, cut = bool(self.locked.value), 0 if self.cut is None else int(self.cut.value)
        what = (info.name, info.sequence, field, colours, locked, cut)
        self.draw_when_new(
            what,
            lambda: self._draw(info.name, field, colours, locked, cut),
            following=self._drawn is not None
            and what[2:] == self._drawn[2:]
            and not self._desk.chosen.get("main"),
        )

    def _draw(
        self, checkpoint_name: str, field: str | None, colours: str | None, locked: bool, cut: int
    ) -> tuple[Figure, str, str]:
        checkpoint = self.load(checkpoint_name)
        name = pick_field(checkpoint, field)
        if locked and self._limits is None:
            values = np.asarray(checkpoint[name], dtype=np.float64)
            low, high = float(np.nanmin(values)), float(np.nanmax(values))
            self._limits = (low, high) if low < high else (low - 0.5, high + 0.5)
        limits = self._limits if locked else None
        index = cut if checkpoint[name].ndim == 3 else None
        axes = plots.field(checkpoint, name, cmap=colours, limits=limits, index=index)
        figure = axes.get_figure(root=True)
        assert figure is not None
        follows = not self._desk.chosen.get("main")
        caption = f"Stored: {checkpoint.name}, step {checkpoint.step:,}." + (
            f" Follows the newest, every {_FOLLOW_S:g} s."
            if follows
            else " The live actor may have gone on."
        )
        return figure, describe(checkpoint, name), caption


@final
class ComparePanel(_Drawing):
    """Draws the difference of two checkpoints; see `Panel`."""

    key = "compare"
    title = "Compare two stored checkpoints"

    def build(self) -> Sequence[Widget]:
        """Make the widgets."""
        return [
            self.chooser("a", "From", follow="the one before the newest (follow)"),
            self.chooser("b", "To"),
            self.build_picture(),
        ]

    def show(self, state: SessionState) -> None:
        """Put the checkpoints, and have the difference drawn."""
        self._desk.pump.put(self.frame, items=items_of(state, self._desk, every=True))
        a, b = self._desk.resolve("a", back=1), self._desk.resolve("b")
        if a is None or b is None:
            return
        follows = not (self._desk.chosen.get("a") and self._desk.chosen.get("b"))
        self.draw_when_new((a.name, b.name), lambda: self._draw(a.name, b.name), following=follows)

    def _draw(self, first: str, second: str) -> tuple[Figure, str, str]:
        a, b = self.load(first), self.load(second)
        axes = plots.difference(a, b)
        figure = axes.get_figure(root=True)
        assert figure is not None
        verdict = axes.get_title().splitlines()[-1]
        changed = {k for k in {*a.params, *b.params} if a.params.get(k) != b.params.get(k)}
        words = f"parameters differ: {', '.join(sorted(changed))}" if changed else "same parameters"
        return (
            figure,
            f"{b.name} minus {a.name}: {verdict}",
            f"{verdict}; {words}; both are stored.",
        )
