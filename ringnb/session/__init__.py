"""A running session: kernel, checkpoint manager and the threads between them, wired.

Start with `ringnb.session.session`: `Session` is what a notebook holds, and its sections are a table of
contents of this package. The way of one snapshot::

    Session.snapshot > snapshot.take_snapshot    asks the manager for a request, and waits
      service.enqueue                            puts it into the backlog of its lane
      service.turn > transport.send              service thread: the command, onto the H2K ring
      service.turn > transport.pump, take        service thread: the reply, off the K2H ring
      service.complete > transport.respond       writer thread: arrays that view the staging buffer
      service.complete                           writer thread: the manager commits them

Without a service thread the caller of `Session.snapshot` does all of it; `Session.send`,
`Session.receive` and `crank` do it step by step. `step_schedule` and `change_tracking` decide what the
service requests by itself, `failures` what it says of failures. A restored state goes through `restore`.

It imports `ringnb.checkpoint`, `ringnb.kernel` and what lies below them; never panels, figures or
commands. Panels are found by an entry point, and subscribe to `Session.on_displaced`.
"""

from __future__ import annotations

from ringnb.session.session import Session

__all__ = ["Session"]
