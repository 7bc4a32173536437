"""The `ringnb` command.

Start with `ringnb.cli.command_line`: `main` parses the arguments, imports the module of the command that
was given, and turns an exception into one line and an exit status. `stores` has the commands on a store,
`doctor`, `docs` and `lab` one each; ``demo`` and ``bench`` are packages.

It may import everything; nothing imports it.
"""

from __future__ import annotations

from ringnb.cli.command_line import main

__all__ = ["main"]
