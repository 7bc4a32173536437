"""Run an actor with a report to a step, from its newest checkpoint: STORE STEPS."""

from __future__ import annotations

import contextlib
import sys

import ringnb as rn

store, total = sys.argv[1], int(sys.argv[2])
config = rn.CheckpointConfig(storage_path=store, interval=0.05, max_snapshots=3)
with rn.Session(rn.actors.GrayScott((32, 32)), config=config, max_steps_per_second=4000) as s:
    with contextlib.suppress(rn.CheckpointNotFound):
        s.restore(0, "latest")
    s.report(50, v=lambda state: float(state["v"].sum(dtype="f8")))
    print(s.current_step(0), flush=True)
    if s.current_step(0) < total:
        s.run_steps(0, total - s.current_step(0))
