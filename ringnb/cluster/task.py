"""The task that owns a run's session. The scheduler imports this module, too: it brings in no Numba."""

from __future__ import annotations

__all__ = ["host_run"]


def host_run(run: str, key: str, spec: bytes) -> None:
    """Open the session of a run, and hold it until it is ended."""
    from ringnb.cluster.hosted_run import HostedRun  # noqa: PLC0415 - brings in Numba

    HostedRun(run, key, spec).hold()
