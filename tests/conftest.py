"""What every test module needs: a headless matplotlib, and a private place for stores."""

from __future__ import annotations

import os

os.environ.setdefault("MPLBACKEND", "Agg")
