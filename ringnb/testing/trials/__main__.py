"""``python -m ringnb.testing.trials``."""

from __future__ import annotations

import sys

from ringnb.testing.trials.program import main

if __name__ == "__main__":
    sys.exit(main())
