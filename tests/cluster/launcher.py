"""Launches a run, lets it run, says so, and waits to be killed: a notebook's kernel."""

from __future__ import annotations

import sys

import ringnb as rn
from ringnb import cluster


def main(address, name, store):
    config = rn.CheckpointConfig(interval=3600.0, storage_path=store)
    session = cluster.launch(rn.actors.Life((32, 32)), name, address=address, config=config)
    session.set_pace(2000.0)
    session.resume()
    print(session.current_step(0), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
