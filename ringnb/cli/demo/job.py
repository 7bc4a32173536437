"""What a process of the demo is asked to do, and the actors that all of them run.

The parent writes a `Job`, the child reads it. Every process must build the very same actors and
disturb them in the very same way: the comparison at the end stands on that.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from ringnb import actors
from ringnb.actors.base import Actor
from ringnb.session.session import Session

__all__ = ["Job", "disturb", "population"]


@dataclass(frozen=True, slots=True)
class Job:
    """One process's work.

    Attributes
    ----------
    role : {"endless", "restored", "reference"}
        Run until killed; restore the newest checkpoints and run on; start anew and run through.
    store : str
        The store's directory.
    backend : str
        Where the kernel runs.
    size : int
        Cells along each side of both grids.
    steps : int
        The step at which "restored" and "reference" stop.
    interval_s : float
        Seconds between automatic checkpoints of "endless".
    keep : int
        Checkpoints kept per actor; 0 keeps all.
    steps_per_second : float
        Pace of "endless", so that its checkpoints are spread over the run on any machine.
    """

    role: Literal["endless", "restored", "reference"]
    store: str
    backend: str
    size: int
    steps: int
    interval_s: float = 0.25
    keep: int = 5
    steps_per_second: float = 3000.0

    def dump(self) -> str:
        """Return this as one line of JSON.

        Returns
        -------
        str
            What `load` reads.
        """
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Job:
        """Read what `dump` wrote.

        Parameters
        ----------
        text : str
            JSON.

        Returns
        -------
        Job
            The same job.
        """
        return cls(**json.loads(text))


def population(size: int) -> list[Actor]:
    """Return the actors of the demo, by slot.

    Parameters
    ----------
    size : int
        Cells along each side.

    Returns
    -------
    list of Actor
        A damped wave and a reaction of two substances.
    """
    return [
        actors.Wave2D((size, size), damping=0.0005),
        actors.GrayScott((size, size)),
    ]


def disturb(session: Session) -> None:
    """Drop a few stones into the wave's pond before its first step.

    Parameters
    ----------
    session : Session
        Its actors stand at step 0.
    """
    ny, nx = session.actors[0].shape
    for y, x, amplitude in ((0.30, 0.35, 1.0), (0.65, 0.25, -0.8), (0.55, 0.70, 0.9)):
        session.inject(0, at=(int(ny * y), int(nx * x)), amplitude=amplitude)
