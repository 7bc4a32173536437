"""The `ringnb` command.

Start with `ringnb.cli.command_line`: `main` parses the arguments, imports the command's module and
turns an exception into one line and an exit status. A command is a function that prints with `say`
and returns a status: `stores` (ls, verify, pin, unpin, export, import), `doctor`, `docs`, `lab`,
`run`,
and the packages `demo` and `bench`.

It may import everything of ringnb, and nothing imports it. Importing it must stay quick: neither
Numba nor matplotlib is imported before a command needs it.
"""

from __future__ import annotations

from ringnb.cli.command_line import main

__all__ = ["main"]
