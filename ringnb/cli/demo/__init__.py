"""`ringnb demo`: run, kill, restore and compare, with real processes and a real SIGKILL.

Start with `ringnb.cli.demo.story`, which the command line calls: it claims an `output_directory`, starts
workers (`process` is what it sees of one, `worker` what runs in it), shows their messages (`narration`),
and draws with `figures` at the end. Only the command line uses this package.
"""

from __future__ import annotations

from ringnb.cli.demo.story import run

__all__ = ["run"]
