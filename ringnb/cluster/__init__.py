"""Runs that outlive the notebook: a session in another process, reached by an address and a name.

Start reading at `launching` (`launch`, `attach`, `runs`), then `remote_session`. The engine is Dask
distributed; on one machine `local_hosts` starts it (``ringnb host start``), elsewhere a cluster that
exists is used. The way of one call::

    notebook   RemoteSession.snapshot > connection   to the worker that has the run
    worker     hosted_run.handle                     on a thread of one of three pools, or at once
    worker     HostedRun.answer > Session.snapshot   the session, which a task of Dask's owns
    notebook   the name of the checkpoint comes back, which is read from the store itself

`ensemble` takes many members to the same step: tasks that need no more than their stores.
A task's calls on workers are `attempt`s, of which one writes a store at a time.
`decompose` has one actor stepped on several workers: the session's kernel has its steps taken by
`parts`, each a `part` on its worker; `division` says which rows it has, `part_host` starts it, and a
`wire` leads there.
On the scheduler a `RunKeeper` knows which runs there are, and what a lost worker's run shall do next.

It imports `ringnb.session` and what lies below; never panels, the course or the command line. Needs
the extra: ``pip install 'ringnb[cluster]'``.
"""

from __future__ import annotations

try:
    import cloudpickle as _cloudpickle  # noqa: F401 - is it there?
    import distributed as _distributed  # noqa: F401 - is it there?
except ImportError as error:
    _MSG = "runs in other processes need distributed and cloudpickle: pip install 'ringnb[cluster]'"
    raise ImportError(_MSG) from error

from ringnb.cluster.ensemble import Ensemble, EnsembleStatus
from ringnb.cluster.ensemble_data import open_ensemble
from ringnb.cluster.launching import attach, decompose, launch, runs
from ringnb.cluster.local_hosts import HostInfo, hosts, start, stop
from ringnb.cluster.remote_session import RemoteSession
from ringnb.cluster.run_info import RunInfo

__all__ = [
    "Ensemble",
    "EnsembleStatus",
    "HostInfo",
    "RemoteSession",
    "RunInfo",
    "attach",
    "decompose",
    "hosts",
    "launch",
    "open_ensemble",
    "runs",
    "start",
    "stop",
]
