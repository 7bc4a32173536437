"""Run the command as a module: ``python -m ringnb.cli``."""

from __future__ import annotations

import sys

from ringnb.cli.command_line import main

if __name__ == "__main__":
    sys.exit(main())
