"""From a name to a panel: one desk per session, one panel per name."""

from __future__ import annotations

import threading
import weakref

from ringnb.panels.base import Panel
from ringnb.panels.cockpit import PARTS, Cockpit
from ringnb.panels.desk import Desk
from ringnb.session import Session

__all__ = ["PANELS", "open_panel"]

PANELS: tuple[str, ...] = tuple(PARTS)

_desks: weakref.WeakKeyDictionary[Session, Desk] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def open_panel(session: Session, name: str | None = None) -> Panel:
    """Return a panel over a session; see ``Session.panel``.

    Parameters
    ----------
    session : Session
        Open or closed.
    name : str, optional
        One of `PANELS`; the cockpit by default.

    Returns
    -------
    Panel
        The same one at every call.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if name is not None and name not in PARTS:
        msg = f"there is no panel {name!r}: use one of {', '.join(PANELS)}, or none for the cockpit"
        raise ValueError(msg)
    with _lock:
        desk = _desks.get(session)
        if desk is None:
            desk = _desks[session] = Desk(session)
        wanted = tuple(PARTS) if name is None else (name,)
        for one in wanted:
            if one not in desk.panels:
                desk.panels[one] = PARTS[one](desk)
        if name is not None:
            return desk.panels[name]
        if "cockpit" not in desk.panels:
            desk.panels["cockpit"] = Cockpit(desk)
        desk.pump.poke()
        return desk.panels["cockpit"]
