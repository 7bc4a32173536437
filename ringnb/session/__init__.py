"""A running session: kernel, checkpoint manager and the threads between them, wired.

Start with `ringnb.session.session`: `Session` is what a notebook holds. A snapshot goes through
`snapshot` (the wait), `service` (the background threads, or the caller's crank) and `transport` (to
the kernel and back) to the manager; a restored state goes through `restore`.

It imports `ringnb.checkpoint` and `ringnb.kernel` and all below them, and never a panel, a figure or a
command.
"""

from __future__ import annotations

from ringnb.session.session import Session

__all__ = ["Session"]
