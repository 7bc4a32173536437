"""`ringnb demo`: the whole promise, shown with real processes and a real kill.

``story`` tells it (the parent process), ``process`` holds the children, ``worker`` is what runs in
them, ``figures`` draws, ``place`` finds a directory where nothing is overwritten. Only the command
line calls this package.
"""

from __future__ import annotations

from ringnb.cli.demo.story import run

__all__ = ["run"]
