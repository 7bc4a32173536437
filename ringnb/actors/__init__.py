"""What runs in a kernel: six models to start with, and `CellActor` for your own."""

from __future__ import annotations

from ringnb.actors.base import Actor, FieldSpec
from ringnb.actors.custom import CellActor
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
]
