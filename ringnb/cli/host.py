"""`ringnb host`: processes of this machine in which runs live."""

from __future__ import annotations

from ringnb import cluster
from ringnb._support.text import counted, format_table, say
from ringnb.errors import ClusterError, ClusterUnavailable

__all__ = ["run"]


def run(
    task: str, *, workers: int = 2, address: str | None = None, idle_s: int | None = None
) -> int:
    """Start a host, list hosts and their runs, or stop one, or the only one."""
    if task == "start":
        say(cluster.start(workers, idle_timeout=idle_s))
        return 0
    there = cluster.hosts()
    if task == "ls":
        for host in there:
            say(f"{host.address}  {counted(host.workers, 'worker')}, process {host.pid}")
            try:
                runs = cluster.runs(host.address)
            except ClusterUnavailable:  # the others are shown all the same
                say(f"  does not answer: ringnb host stop {host.address} ends it")
                continue
            rows = [
                (f"  {r.name}", r.state, counted(len(r.losses), "loss", "losses"), r.store, r.why)
                for r in runs
            ]
            for line in format_table(("  run", "state", "workers lost", "store", ""), rows):
                say(line.rstrip())
        if not there:
            say("no host runs: ringnb host start")
        return 0
    if address is None:
        if not there:
            raise ClusterError("no host runs here, so there is none to stop")
        if len(there) != 1:
            msg = f"{len(there)} hosts run here: name the one to stop, see ringnb host ls"
            raise ClusterError(msg)
        address = there[0].address
    cluster.stop(address)
    return 0
