"""`ringnb bench`: what is claimed, measured, each figure beside its baseline in one run.

``measuring`` takes samples and makes rows of them, ``report`` prints them; the other modules each
hold the cases of one subject. A ratio is taken per repetition, ours and the baseline one right after
the other in alternating order, so that a noisy machine disturbs both alike.
"""

from __future__ import annotations

from ringnb.cli.bench.command import run

__all__ = ["run"]
