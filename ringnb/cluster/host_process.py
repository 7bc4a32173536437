"""The process of a host: ``python -m ringnb.cluster.host_process``, started by `local_hosts.start`."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import dask
from distributed import Client, LocalCluster

from ringnb.cluster import local_hosts
from ringnb.cluster.connection import Connection
from ringnb.cluster.launching import ready

__all__ = ["main"]

_LOOK_S = 0.5
_SETTINGS = {
    # A worker that dies is started again, however long that takes on a busy machine: else it would be
    # given up after 15 s, with its place.
    "distributed.deploy.lost-worker-timeout": "100 days",
    # Each looks at its process tens of times a second, and takes a core from what is stepped there.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "200ms",
}


def main(arguments: Sequence[str]) -> None:
    """Run a host in a directory until it is idle for too long, or SIGTERM ends it."""
    place, workers, threads, idle_s = (
        Path(arguments[0]),
        *map(int, arguments[1:3]),
        float(arguments[3]),
    )
    told = threading.Event()

    def note(_number: int, _frame: FrameType | None) -> None:
        """End it soon."""
        told.set()

    signal.signal(signal.SIGTERM, note)
    with (
        dask.config.set(_SETTINGS),
        local_hosts.lock(place),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            memory_limit=0,  # one that kills a worker would take all its runs
            dashboard_address=":0",  # its port may be taken, also where there is no dashboard
            security=local_hosts.make_security(place),
            scheduler_kwargs={"dashboard": False} | ({"idle_timeout": idle_s} if idle_s else {}),
        ) as cluster,
        Client(cluster) as client,
    ):
        ready(client)
        local_hosts.record(place, cluster.scheduler_address, workers, threads)
        while not told.wait(_LOOK_S) and cluster.scheduler.status.name == "running":
            pass
        if told.is_set():
            _end_runs(client)


def _end_runs(client: Client) -> None:
    """End every run, each with a last checkpoint."""
    for run in client.sync(client.scheduler.ringnb_runs):
        if run["state"] == "running":
            with contextlib.suppress(Exception):  # one that cannot be saved keeps no other from it
                Connection(client, run["name"], own=False).ask("end", ((), {"snapshot": True}))


if __name__ == "__main__":
    main(sys.argv[1:])
