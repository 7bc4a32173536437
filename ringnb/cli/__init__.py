"""The `ringnb` command."""

from __future__ import annotations

from ringnb.cli.command_line import main

__all__ = ["main"]
