"""What every panel is: a box with a frame at its head, controls that only enqueue, displays.

`Panel` is a thin view: it holds no state of the session, and every action is one call through
`Desk.do`. A saved notebook shows `summary` where no kernel runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from ipywidgets import HTML, Box, VBox, Widget

from ringnb._support.text import counted, facts_table
from ringnb.panels.core.controller import Desk
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.widgets import (
    Actions,
    Chooser,
    Frame,
    pushes_reach_the_page,
    serve_beside_cells,
)
from ringnb.session.session import Session

__all__ = ["ONLY_ONE", "Panel", "resting", "row"]

ONLY_ONE = "This session has only one actor"

_REFRESH = "refresh"


def row(*widgets: Widget) -> Box:
    """Put widgets side by side, wrapping on a narrow page.

    Parameters
    ----------
    *widgets : Widget
        From left to right.

    Returns
    -------
    Box
        The row.
    """
    box = Box(widgets)
    box.add_class("ringnb-row")
    return box


def resting(rests: bool, why: str, **flags: Any) -> dict[str, Any]:
    """Return the flags of a button that says why, when it cannot be used.

    Parameters
    ----------
    rests : bool
        Whether it cannot be used now.
    why : str
        The reason, shown in the place of its help and when it is pressed all the same.
    **flags : object
        Others of its flags.

    Returns
    -------
    dict
        For `Panel.flags`.
    """
    return {"disabled": rests, **({"why": why.rstrip(".")} if rests else {}), **flags}


class Panel(VBox):
    """A view over one session.

    Parameters
    ----------
    desk : Desk
        What it shares with the session's other panels.

    Attributes
    ----------
    key, title : str
        Its name, as ``session.panel(name)`` takes it, and its heading.
    frame : Frame
        Its head.

    Notes
    -----
    `build` and the constructor run on the thread that asked for the panel, `show` on the pump's.
    """

    key: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._said = {"status": "", "alert": "", "detail": ""}
        kinds = ", ".join(sorted({a.kernel_type for a in desk.state.actors}))
        self.frame = Frame(name=self.key, title=self.title, region=f"{self.title}: {kinds}")
        body = self.build()
        picker = [desk.picker] if len(desk.state.actors) > 1 else []
        if not pushes_reach_the_page():
            help_ = "This notebook shows changes only when it is asked"
            body = [self.actions("Refresh", (_REFRESH, "Refresh", help_)), *body]
        super().__init__([self.frame, *picker, *body])
        self.add_class("ringnb-panel")

    def build(self) -> Sequence[Widget]:
        """Make the widgets below the frame.

        Returns
        -------
        sequence of Widget
            From top to bottom.
        """
        raise NotImplementedError

    def show(self, state: SessionState) -> None:
        """Put what is to be shown. On the pump's thread.

        Parameters
        ----------
        state : SessionState
            The session now.
        """

    def facts(self, state: SessionState) -> Mapping[str, object]:
        """Return what a reader without a kernel should know.

        Parameters
        ----------
        state : SessionState
            The session now.

        Returns
        -------
        mapping of str to object
            Names and values.
        """
        h = state.histories
        return {
            "session": f"{counted(len(state.actors), 'actor')} on {state.backend}",
            "state": state.life,
            **{
                f"actor {a.slot}": f"{a.kernel_id}, step {a.step:,}, "
                + counted(len(h[a.slot]) if a.slot < len(h) else 0, "checkpoint")
                for a in state.actors[:8]
            },
        }

    @property
    def session(self) -> Session:
        """The session that this panel steers: another one after a restart."""
        return self._desk.session

    # -- for panels ------------------------------------------------------------------------------

    def control(self, widget: Any, handler: Callable[[Any], None] | None = None) -> Any:
        """Enqueue what a control's new values bring about, while a cell runs too.

        Parameters
        ----------
        widget : Widget
            Of ipywidgets, with a ``value``.
        handler : callable, optional
            Gets each new value, on Jupyter's thread: it only enqueues.

        Returns
        -------
        Widget
            The same.
        """
        if handler is not None:
            widget.observe(lambda change: handler(change["new"]), "value")
        serve_beside_cells(widget)
        return widget

    def actions(self, label: str, *actions: tuple[str, str, str]) -> Actions:
        """Make a row of buttons, each served by `on_action`.

        Parameters
        ----------
        label : str
            The row's accessible name.
        *actions : (str, str, str)
            Id, label and help of each.

        Returns
        -------
        Actions
            The row.
        """
        bar = Actions(label=label, actions=[list(a) for a in actions], frame=self.frame)
        bar.on_action(self._act, self._desk.hear)
        return bar

    def chooser(
        self, key: str, label: str, *, scrub: bool = False, follow: str = "the newest (follow)"
    ) -> Chooser:
        """Make a chooser of checkpoints.

        Parameters
        ----------
        key : str
            Which choice of the desk.
        label : str
            Its accessible name.
        scrub : bool, default False
            With a slider.
        follow : str, default "the newest (follow)"
            The option that chooses none in particular.

        Returns
        -------
        Chooser
            It is served by the desk.
        """
        chooser = Chooser(key=key, label=label, scrub=scrub, follow=follow, frame=self.frame)
        chooser.on_choice(self._desk.choose, self._desk.hear)
        return chooser

    def _act(self, action: str) -> None:
        try:
            if action == _REFRESH:
                self._desk.pump.resend()
            else:
                self.on_action(action)
        except Exception as error:  # noqa: BLE001 - a handler's error would go nowhere
            self.tell(alert=f"{action}: {error}")
            self._desk.pump.poke()

    def on_action(self, action: str) -> None:
        """Enqueue what a button stands for. On Jupyter's thread.

        Parameters
        ----------
        action : str
            Its id.
        """

    def tell(self, **said: str) -> None:
        """Say something in this panel, and in the cockpit around it.

        Parameters
        ----------
        **said : str
            Any of ``status``, ``alert``, ``detail``. Any thread. An alert takes the place of what was
            said before. Other panels are silent about what they did earlier: of several lines in a
            cockpit nobody could tell the newest.
        """
        if said.get("alert"):
            said = {"status": "", "detail": "", **said}
        speakers = {self, self._desk.panels.get("cockpit", self)}
        for panel in list(self._desk.panels.values()):
            panel._said = {**panel._said, **(said if panel in speakers else {"status": ""})}
        self._said = {**self._said, **said}  # also before the desk knows it

    def frame_shows(self, state: SessionState, beat: int, trouble: str) -> None:
        """Put what the frame shows. On the pump's thread.

        Parameters
        ----------
        state : SessionState
            The session now.
        beat : int
            The heartbeat.
        trouble : str
            What went wrong in the background.
        """
        said = self._said
        self._desk.pump.put(
            self.frame,
            beat=beat,
            state=state.life,
            status=said["status"],
            alert=said["alert"],
            detail=said["detail"],
            trouble=trouble,
            chosen=dict(self._desk.chosen),
            heard=list(self._desk.heard),
        )

    def flags(self, **flags: Mapping[str, Any]) -> None:
        """Say which buttons can be used and how they stand. On the pump's thread.

        Parameters
        ----------
        **flags : mapping
            By action: ``disabled``, ``pressed``, ``label``, ``why`` (in the place of its help).
        """
        self._desk.pump.put(self.frame, flags={k: dict(v) for k, v in flags.items()})

    def display(self) -> HTML:
        """Make an empty display for a table or a paragraph."""
        return HTML()

    def put(self, widget: Widget, **traits: Any) -> None:
        """Show values on a display at the next flush. Any thread."""
        self._desk.pump.put(widget, **traits)

    # -- notebooks -------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data = super()._repr_mimebundle_(**kwargs)
        if isinstance(data, dict):
            facts = self.facts(self._desk.state)
            text = "; ".join(f"{k}: {v}" for k, v in facts.items())
            data["text/plain"] = f"<ringnb panel {self.key!r}: {text}>"
            table = facts_table(f"{self.title} (as it was when it was saved)", facts)
            data["text/html"] = f"<div class='ringnb-summary'>{table}</div>"
        return data

    def _ipython_display_(self) -> None:
        """Show words and widget as two outputs: JupyterLab would prefer a widget that is gone.

        The frame hides the words for as long as it lives.
        """
        from IPython.display import display  # noqa: PLC0415 - there is one whoever calls this

        data = self._repr_mimebundle_()
        words = {"text/html": data.pop("text/html"), "text/plain": data["text/plain"]}
        for one in (words, data):
            display(one, raw=True)  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        """Name the panel."""
        return f"<{type(self).__name__} {self.key!r}>"

    def dispose(self) -> None:
        """Close every widget of this panel. Any thread."""
        close_all(self)


def close_all(widget: Widget) -> None:
    """Close a widget, all below it, and the widgets that hold their looks.

    Parameters
    ----------
    widget : Widget
        The topmost.
    """
    for child in getattr(widget, "children", ()):
        close_all(child)
    for looks in (getattr(widget, "layout", None), getattr(widget, "style", None)):
        if isinstance(looks, Widget):
            looks.close()
    widget.close()
