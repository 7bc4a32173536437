"""`ringnb bench`: what is claimed, measured, each figure beside its baseline in one run.

Start with `ringnb.cli.bench.command`: it runs the cases that were asked for. A case is a function of a
`measuring.Scale` that yields `measuring.Row`; each module holds the cases of one subject, those on a GPU
lie in `ringnb.cli.bench.gpu`. `report` prints the rows and writes them down. A ratio is taken per
repetition, ours and the baseline one right after the other in alternating order, so that a noisy machine
disturbs both alike.

Only the command line uses this package; it may import all of ringnb. README.md beside it shows the
recorded figures.
"""

from __future__ import annotations

from ringnb.cli.bench.command import run

__all__ = ["run"]
