"""How long very many actors, and a long history, take to open: the session, and its cockpit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np

from ringnb import actors
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.checkpoint.storage.records import Snapshot
from ringnb.checkpoint.storage.zarr_storage import ZarrStorage
from ringnb.cli.bench.cockpit import FrontEnd
from ringnb.cli.bench.measuring import Row, Scale, time_s
from ringnb.panels import close_panels
from ringnb.panels.core.library import library
from ringnb.session.session import Session

__all__ = ["openings"]

_ACTORS, _CHECKPOINTS = 100_000, 10_000


def openings(scale: Scale) -> Iterator[Row]:
    """A session of 100,000 actors, and one over 10,000 checkpoints: made, shown, closed."""
    with mock.patch("comm.create_comm", FrontEnd):
        yield from _of_many_actors(scale)
        yield from _of_a_long_history(scale)


def _shown(session: Session, repetitions: int) -> tuple[list[float], list[float], list[float]]:
    """Return the seconds that a cockpit takes, to make and until it shows what is stored; and its kB."""
    made, fed, sent = [], [], []
    for _ in range(repetitions):
        library().close()  # as in a new kernel
        FrontEnd.sent = 0
        began = time.perf_counter()
        cockpit = session.panel()
        made.append(time.perf_counter() - began)
        board = cockpit.line.board
        while not board.messages or not board.actor:
            time.sleep(0.0005)
        fed.append(time.perf_counter() - began)
        sent.append(FrontEnd.sent / 1e3)
        close_panels(session)
    return made, fed, sent


def _of_many_actors(scale: Scale) -> Iterator[Row]:
    count = _ACTORS // 100 if scale.quick else _ACTORS
    config = CheckpointConfig(enabled=False, storage_path=scale.directory / "many_actors.zarr")
    opened, closed = [], []
    Session(actors.Life((16, 16)), actors=1, config=config).close()  # what is compiled once
    for _ in range(scale.times(3, 1)):
        began = time.perf_counter()
        session = Session(actors.Life((16, 16)), actors=count, config=config)
        opened.append(time.perf_counter() - began)
        session.run_steps(count - 1, 10)
        session.snapshot(count - 1)
        made, _, sent = _shown(session, scale.times(7, 3))
        closed.append(time_s(session.close))
    yield Row("open_actors", f"make a session of {count:,} actors", opened, "s", "<=", 10.0)
    what = f"session.panel() of {count:,} actors"
    yield Row("panel_actors", what, [1e3 * s for s in made], "ms", "<=", 100.0)
    what = f"what a page gets of it, scripts and styles included, {count:,} actors"
    yield Row("panel_bytes", what, sent, "kB", "<=", 300.0)
    yield Row("close_actors", f"close a session of {count:,} actors", closed, "s", "<=", 5.0)


def _of_a_long_history(scale: Scale) -> Iterator[Row]:
    count = _CHECKPOINTS // 10 if scale.quick else _CHECKPOINTS
    path = scale.directory / "long_history.zarr"
    _write(path, count)
    config = CheckpointConfig(enabled=False, max_snapshots=0, storage_path=path)
    fed = []
    for _ in range(scale.times(5, 2)):
        # The store is read anew each time: what a process knows of one goes with its last storage.
        with Session(actors.Life((16, 16)), config=config) as session:
            fed += _shown(session, 1)[1]
    what = f"session.panel() over {count:,} checkpoints, until it says what is stored"
    yield Row("panel_history", what, fed, "s", "<=", 1.0)


def _write(path: Path, count: int) -> None:
    """Write checkpoints of one actor, without waiting for the disk."""
    cells = {"cells": np.zeros((16, 16), np.uint8)}
    with ZarrStorage(path, durable=False) as storage:
        for step in range(count):
            snapshot = Snapshot(cells, "checkpoint", "life_0", "life", 0, step, step + 1)
            storage.save(f"checkpoint_0_step_{step}", snapshot)
