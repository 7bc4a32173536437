"""What every panel is: a box with a message line at its head, controls that only enqueue, displays.

`Panel` is a thin view: it holds no state of the session, and every action is one call through
`Panel.submit`. A saved notebook shows `Panel.facts` where no kernel runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal, NoReturn

from ipywidgets import Layout, VBox, Widget

from ringnb._support.checks import refuse_pickle
from ringnb._support.text import counted, facts_table
from ringnb.panels.core.controller import Controller
from ringnb.panels.core.library import library
from ringnb.panels.core.state import SessionState
from ringnb.panels.core.watched import SessionLike, Watched
from ringnb.panels.core.widgets import (
    LIVE_CONTROL,
    Actions,
    Bounded,
    Chooser,
    Say,
    close_all,
    pushes_reach_the_page,
    serve_beside_cells,
)

__all__ = ["Panel"]

_MOST_NAMED = 32  # actors, for the kinds in a panel's name
_REFRESH = "refresh"


class Panel(VBox):
    """A view over one session, or one recorder.

    Parameters
    ----------
    controller : Controller
        What it shares with the session's other panels.

    Attributes
    ----------
    key, title : str
        Its name, as ``session.panel(name)`` takes it, and its heading.
    needs_kernel : bool
        Whether it is about what a kernel does, so that a recorder has none.
    line : Say
        Its head and message line, made when it is asked for: in a cockpit only the cockpit has one.

    Notes
    -----
    `build` and the constructor run on the thread that asked for the panel, `show` on the display
    loop's.
    """

    key: ClassVar[str]
    title: ClassVar[str]
    classes: ClassVar[tuple[str, ...]] = ("ringnb-panel",)  # of its root, for styles
    children: Any  # ipywidgets has no types
    needs_kernel: ClassVar[bool] = False

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._line: Say | None = None
        self.alone = False  # whether it was completed, to be shown by itself
        controller.on_do(self.key, lambda action, _: self._act(action))
        self._in_force: dict[Any, Any] = {}  # by a control: what the session had
        self._reflecting: tuple[Any, int] | None = None  # the control, and the thread that sets it
        self.tabs: tuple[str, ...] = ()  # of the cockpit, in which this panel is seen
        self.body: list[Widget] = list(self.build())
        self.aside: list[Widget] = list(self.side())
        if not pushes_reach_the_page():
            help_ = "This notebook shows changes only when it is asked"
            self.body.insert(0, self.actions("Refresh", (_REFRESH, "Refresh", help_)))
        super().__init__(_dom_classes=self.classes, layout=library().layout)

    def complete(self) -> None:
        """Take in what the panel consists of, before it is shown by itself; idempotent."""
        if not self.alone:
            self.layout = Layout()  # a user may set it
            self.alone, self.children = True, self.arrange()

    @property
    def line(self) -> Say:
        """Its head and message line."""
        if self._line is None:
            actors = self._controller.state.actors
            kinds = ", ".join(sorted({a.kernel_type for a in actors[:_MOST_NAMED]}))
            self._line = Say(
                name=self.key,
                title=self.title,
                region=f"{self.title}: {kinds}",
                board=self._controller.board,
                hand=self._controller.hand,
            )
        return self._line

    def build(self) -> Sequence[Widget]:
        """Make the widgets that show something, and their controls.

        Returns
        -------
        sequence of Widget
            From top to bottom.
        """
        raise NotImplementedError

    def side(self) -> Sequence[Widget]:
        """Make the widgets that stand in the cockpit's side; alone, below the others.

        Returns
        -------
        sequence of Widget
            From top to bottom.
        """
        return ()

    def arrange(self) -> list[Widget]:
        """Return the panel's children, when it is alone; make those that it has only then.

        Returns
        -------
        list of Widget
            From top to bottom.
        """
        several = len(self._controller.state.actors) > 1
        picker = [self._controller.picker] if several else []
        return [self.line, *picker, *self.body, *self.aside]

    @property
    def seen(self) -> bool:
        """Whether a page shows it, so that it needs what `show` puts."""
        return self._controller.sees(self.key, self.tabs, alone=self.alone)

    @property
    def seen_alone(self) -> bool:
        """Whether a page shows it by itself, not in a cockpit."""
        return self._controller.sees(self.key, (), alone=self.alone)

    def show(self, state: SessionState) -> None:
        """Put what is to be shown. On the display loop's thread.

        Parameters
        ----------
        state : SessionState
            The session now.
        """

    def on_action(self, action: str) -> None:
        """Enqueue what a button does. On Jupyter's thread.

        Parameters
        ----------
        action : str
            Its id.
        """

    def still(self) -> str:
        """Return a picture for a reader without a kernel.

        Returns
        -------
        str
            HTML; "" for none.
        """
        return ""

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
        what = f"{counted(len(state.actors), 'actor')} on {state.backend}"
        return {
            **({"session": what} if state.has_kernel else {"recorder": state.actors[0].kernel_id}),
            "state": state.life if state.ended or state.any_running else "standing",
            **{
                f"actor {a.slot}": ", ".join(
                    part
                    for part in (
                        f"{a.kernel_id}, step {a.step:,}",
                        a.time,
                        counted(len(state.histories[a.slot]), "checkpoint"),
                        "" if a.reduced is None else str(a.reduced),
                    )
                    if part
                )
                for a in state.actors[:8]
            },
        }

    @property
    def watched(self) -> Watched:
        """The session or recorder that this panel is about: another one after a restart."""
        return self._controller.watched

    @property
    def session(self) -> SessionLike:
        """The session that this panel steers; `NoKernel` if it is about a recorder."""
        return self._controller.session

    # -- controls --------------------------------------------------------------------------------

    def control(
        self, widget: Any, handler: Callable[[Any], None] | None = None, *, live: bool = False
    ) -> Any:
        """Let a control of ipywidgets work while a cell runs too.

        Parameters
        ----------
        widget : Widget
            It has a ``value``.
        handler : callable, optional
            Gets each new value, on Jupyter's thread: it only enqueues.
        live : bool, default False
            Whether it is for what runs, so that the page refuses it once nothing does.

        Returns
        -------
        Widget
            The same.
        """
        if live:
            widget.add_class(LIVE_CONTROL)
        if isinstance(widget, Bounded):
            name = getattr(widget, "description", "")
            widget.refused = lambda why: self.refuse(f"{name}: {why}")
        if handler is not None:

            def changed(change: Any) -> None:
                """Pass on what a user has set; not what `reflect` shows, on its own thread."""
                # A value that a page has set and that was refused is told as if it were a change.
                if change["new"] != change["old"] and (
                    self._reflecting != (widget, threading.get_ident())
                ):
                    handler(change["new"])

            widget.observe(changed, "value")
        self._in_force[widget] = widget.value  # a cell may set another one before it is seen
        serve_beside_cells(widget)
        return widget

    def reflect(self, control: Any, value: Any) -> None:
        """Show in a control what a cell has set since. On the display loop's thread.

        Parameters
        ----------
        control : Widget
            What `control` returned.
        value : object
            What is in force in the session. While that stays the same the control is the user's.
        """
        before = self._in_force[control]
        self._in_force[control] = value
        if value in (before, control.value):
            return
        self.set_control(control, value)

    def set_control(self, control: Any, value: Any) -> None:
        """Show a value in a control whose handler it does not concern. Any thread.

        Parameters
        ----------
        control : Widget
            What `control` returned.
        value : object
            What it is to show.
        """
        if isinstance(control, Bounded):
            control.in_force = value
        self._reflecting = control, threading.get_ident()
        try:
            control.value = value
        finally:
            self._reflecting = None

    def actions(self, label: str, *actions: tuple[str, str, str]) -> Actions:
        """Make a row of buttons.

        Parameters
        ----------
        label : str
            The row's accessible name.
        *actions : (str, str, str)
            Name, label and help of each. A name without a dot, such as ``"pin"``, is served by
            `on_action`; one with a dot, such as ``"live.run"``, by what serves that.

        Returns
        -------
        Actions
            The row.
        """
        named = [(n if "." in n else f"{self.key}.{n}", *more) for n, *more in actions]
        board, hand = self._controller.board, self._controller.hand
        return Actions(label=label, actions=named, board=board, hand=hand)

    def chooser(self, key: str, label: str) -> Chooser:
        """Make a chooser of checkpoints, served by the controller.

        Parameters
        ----------
        key : str
            Which of the session's choices it makes.
        label : str
            Its accessible name.

        Returns
        -------
        Chooser
            The widget.
        """
        board, hand = self._controller.board, self._controller.hand
        return Chooser(key=key, label=label, board=board, hand=hand)

    def _act(self, action: str) -> None:
        if action == _REFRESH:
            self._controller.display.resend()
        else:
            self.on_action(action)

    def submit(
        self,
        what: str,
        work: Callable[[Watched], object],
        *,
        done: str | None = None,
        worker: Literal["commands", "storage"] = "commands",
        key: str = "",
    ) -> None:
        """Have something done on a worker thread, and say what came of it. Any thread.

        Parameters
        ----------
        what : str
            The action, in words.
        work : callable
            Gets the session or recorder; may return what to say.
        done : str, optional
            What to say then, instead of what `work` returns; "" to say nothing.
        worker : {"commands", "storage"}
            Whether it takes microseconds or a disk.
        key : str, optional
            That of the problem which this may have, and settles; by default the actor's and `what`.
        """
        self._controller.submit(what, work, done=done, worker=worker, key=key)

    def steer(
        self,
        what: str,
        work: Callable[[SessionLike], object],
        *,
        slots: Iterable[int] = (),
        **options: Any,
    ) -> None:
        """Have something done that needs a kernel, as by `submit`. Any thread.

        Parameters
        ----------
        what : str
            The action, in words.
        work : callable
            Gets the session; may return what to say.
        slots : iterable of int, optional
            The actors that the kernel is asked about: if a crank has stopped one, it is refused.
        **options : object
            As `submit` takes them.
        """
        self._controller.steer(what, work, slots=slots, **options)

    def refuse(self, why: str) -> None:
        """Say why what was asked for is not done. Any thread.

        Parameters
        ----------
        why : str
            A sentence.
        """
        self._controller.say("note", why)

    # -- displays --------------------------------------------------------------------------------

    def put(self, widget: Widget, **traits: Any) -> None:
        """Show values on a display at the next flush. Any thread.

        Parameters
        ----------
        widget : ipywidgets.Widget
            The display.
        **traits : object
            The values, by the names of its traits.
        """
        self._controller.display.put(widget, **traits)

    def flags(self, **flags: Mapping[str, Any]) -> None:
        """Set the state of buttons. Any thread.

        Parameters
        ----------
        **flags : mapping
            By action, as `actions` names them, what `widgets.button_state` returns.
        """
        self._controller.set_flags({f"{self.key}.{k}": v for k, v in flags.items()})

    def show_history(self, part: str, rows: list[dict[str, Any]]) -> None:
        """Put what the history shows. On the display loop's thread.

        Parameters
        ----------
        part : str
            One of `history_rows.PARTS`, or "" if it is closed.
        rows : list of dict
            Newest first.
        """
        if self._line is not None:
            self.put(self._line, part=part, rows=rows)

    # -- notebooks -------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        data = super()._repr_mimebundle_(**kwargs)
        if isinstance(data, dict):
            facts = self.facts(self._controller.state)
            text = "; ".join(f"{k}: {v}" for k, v in facts.items())
            data["text/plain"] = f"<ringnb panel {self.key!r}: {text}>"
            table = facts_table(f"{self.title} (as it was when it was saved)", facts)
            data["text/html"] = f"<div class='ringnb-summary'>{self.still()}{table}</div>"
        return data

    def _ipython_display_(self) -> None:
        """Show words and widget as two outputs: JupyterLab would prefer a widget that is gone.

        The message line hides the words for as long as it lives.
        """
        from IPython.display import display  # noqa: PLC0415 - only IPython calls this

        data = self._repr_mimebundle_()
        words = {"text/html": data.pop("text/html"), "text/plain": data["text/plain"]}
        for one in (words, data):
            display(one, raw=True)  # type: ignore[no-untyped-call]  # IPython has no types for it

    def __reduce__(self) -> NoReturn:
        """Refuse: TypeError."""
        refuse_pickle("a panel", "call session.panel() for another one")

    def __repr__(self) -> str:
        """Name the panel."""
        return f"<{type(self).__name__} {self.key!r}>"

    def dispose(self) -> None:
        """Close every widget of this panel. Any thread."""
        for widget in (*self.body, *self.aside, self):
            close_all(widget)
