"""Run by test_restore_process.py in processes of their own; prints one line of JSON."""

from __future__ import annotations

import hashlib
import json
import sys

import ringnb as rn

ACTORS = {
    "fdtd_2d": lambda: rn.actors.Wave2D((48, 40), damping=0.001),
    "fdtd_3d": lambda: rn.actors.Wave3D((12, 14, 16)),
    "heat_2d": lambda: rn.actors.Heat2D((48, 40)),
    "gray_scott": lambda: rn.actors.GrayScott((48, 40)),
    "life": lambda: rn.actors.Life((48, 40)),
    "ising_2d": lambda: rn.actors.Ising2D((48, 40)),
}
BEFORE, AFTER = 37, 64


def digest(checkpoint):
    fields = checkpoint.numpy()
    sha = hashlib.sha256()
    for name in sorted(fields):
        sha.update(name.encode() + fields[name].tobytes())
    return sha.hexdigest()


def main(role, store, width):
    population = [make() for make in ACTORS.values()]
    slots = range(len(population))
    config = rn.CheckpointConfig(
        storage_path=store, interval=3600.0, enabled=False, max_snapshots=0
    )
    with rn.Session(population, config=config, width=int(width)) as s:
        if role == "reference":
            for slot in slots:
                s.run_steps(slot, BEFORE + AFTER)
        elif role == "killed":
            for slot in slots:
                s.run_steps(slot, BEFORE)
                s.snapshot(slot)
            s.resume()  # runs freely, and checkpoints, when it is killed
            print("snapshots committed", flush=True)
            while True:
                for slot in slots:
                    s.snapshot(slot)
        elif role == "restored":
            for slot in slots:
                at = [c for c in s.manager.list_checkpoints(slot) if c.endswith(f"_step_{BEFORE}")]
                assert s.restore(slot, at[0]) == BEFORE
                s.run_steps(slot, AFTER)
        print(
            json.dumps({population[slot].kernel_type: digest(s.snapshot(slot)) for slot in slots})
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
