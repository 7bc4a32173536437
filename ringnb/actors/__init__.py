"""What runs in a kernel: six models to start with, and `CellActor` for your own.

Start with `ringnb.actors.base`: an `Actor` has fields on a grid and a function, `Actor.update`, that
computes the next state of one cell. A kernel compiles that function and calls it for every cell at each
step. `life` is the shortest model, `custom` takes a user's function, which `update_rules` reads and
`trial` tries; `reductions` are numbers over all cells. For updates of one's own, `random` draws numbers
that a restored run draws again, and `torus` finds neighbours across an edge. `locality` says whether a
grid can be divided; `fingerprint` says what a function and all that it refers to are, for a checkpoint
to record.

It imports `ringnb.messages`, `ringnb.errors` and `ringnb._support` only: a model does not know where it
runs.
"""

from __future__ import annotations

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.custom import CellActor, from_arrays
from ringnb.actors.gray_scott import GrayScott
from ringnb.actors.heat import Heat2D
from ringnb.actors.ising import Ising2D
from ringnb.actors.life import Life
from ringnb.actors.wave import Wave2D, Wave3D

__all__ = [
    "Actor",
    "CellActor",
    "FieldSpec",
    "GrayScott",
    "Heat2D",
    "Ising2D",
    "Life",
    "Wave2D",
    "Wave3D",
    "from_arrays",
]
