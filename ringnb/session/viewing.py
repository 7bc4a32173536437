"""What can be seen of a session: its parts, its counters, its panels, and how a notebook shows it.

`ringnb.session.session.Session` derives from `SessionView`. Nothing here changes anything. Every
method may be called from any thread.
"""

from __future__ import annotations

from typing import Any, Self

from ringnb._support.text import counted, rows_table
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.checkpoint.storage.base import CheckpointStorage
from ringnb.messages.events import EventLog
from ringnb.session.manual import ManualCrank
from ringnb.session.panel_opener import find_panel_opener
from ringnb.session.statistics import SessionStatistics

__all__ = ["SessionView"]


class SessionView(ManualCrank):
    """A session without a life of its own: see `ringnb.session.session.Session`."""

    _events: EventLog
    _closed: bool
    _successor: Self | None = None

    @property
    def manager(self) -> CheckpointManager:
        """The checkpoint manager."""
        return self._manager

    @property
    def storage(self) -> CheckpointStorage:
        """Where checkpoints are kept."""
        return self._manager.storage

    @property
    def events(self) -> EventLog:
        """The lifecycle log."""
        return self._events

    @property
    def closed(self) -> bool:
        """Whether the session was closed."""
        return self._closed

    @property
    def successor(self) -> Self | None:
        """The newest session that `Session.remake`, or *Restart* in a panel, has put in its place.

        None if there is none. A session holds its successor: the successor's kernel runs for as long
        as somebody holds either of them, or until either is closed.
        """
        return self._successor

    @property
    def itself(self) -> Self:
        """The session, also when it is asked for through a weak proxy."""
        return self

    @property
    def failure(self) -> BaseException | None:
        """What a background thread stumbled over, and the next call raises."""
        return self._service.failure

    def keep_failure(self, error: BaseException) -> None:
        """Let the next call raise a failure that was caught by somebody who only shows it.

        Parameters
        ----------
        error : BaseException
            The failure.
        """
        self._service.keep_failure(error)

    def snapshots_every(self, slot: int) -> int | None:
        """Return the steps between two checkpoints of an actor, as `Session.snapshot_every` has set.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        int or None
            None if it is not checkpointed by its step count.
        """
        return self._service.stepwise.every(self._slot(slot))

    def statistics(self) -> SessionStatistics:
        """Return counters and queue depths.

        Returns
        -------
        SessionStatistics
            A frozen copy.
        """
        self._check()
        return self.glance()

    def glance(self) -> SessionStatistics:
        """Return what `statistics` returns, also of a session that is closed or whose kernel is dead.

        Returns
        -------
        SessionStatistics
            A frozen copy. A failure of the background stays for the next call to raise.
        """
        backlog, with_kernel, writing = self._service.depths()
        return SessionStatistics(
            kernel=self._kernel.statistics(),
            actors=tuple(self._kernel.counters(s) for s in range(len(self._kernel.actors))),
            pending=self._manager.pending_count,
            completed=self._manager.total_completed,
            failed=self._manager.total_failed,
            waiting_to_send=backlog,
            with_kernel=with_kernel,
            being_written=writing,
            replies=self._client.replies,
            events=self._events.appended,
        )

    def panel(self, name: str | None = None) -> Any:
        """Return a panel over this session, for a notebook to display.

        Parameters
        ----------
        name : str, optional
            One of ``ringnb.panels.PANELS``, such as "retention"; the whole cockpit by default.

        Returns
        -------
        Panel
            The same one at every call. It follows the session and closes with it.

        Raises
        ------
        ImportError
            If the widgets are not installed.
        ValueError
            If there is no such panel.
        """
        return find_panel_opener()(self, name)

    def _repr_html_(self) -> str:
        """Show actors and counters as a table."""
        rows = []
        for slot, actor in enumerate(self._kernel.actors):
            c = self._kernel.counters(slot)
            rows.append((slot, actor.kernel_type, c.step, "running" if c.running else "standing"))
        state = "closed" if self._closed else self._kernel.stopped_because or "running"
        # A caption is as narrow as its table, and breaks: not within these two.
        where, stored = (
            text.replace(" ", "\N{NO-BREAK SPACE}")
            for text in (
                f"Session on {self.backend}:",
                counted(self._manager.total_completed, "checkpoint"),
            )
        )
        return rows_table(
            f"{where} {state}, {stored}",
            ("slot", "model", "step", "state"),
            rows,
        )

    def __repr__(self) -> str:
        """Name the actors, the backend and the state."""
        kinds = ", ".join(sorted({a.kernel_type for a in self._kernel.actors}))
        state = "closed" if self._closed else "stopped" if not self._kernel.alive else "running"
        return (
            f"<Session: {len(self._kernel.actors)} x {kinds} on {self.backend}, "
            f"{counted(self._manager.total_completed, 'checkpoint')}, {state}>"
        )
