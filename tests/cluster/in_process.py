"""A cluster in the test's own process, of which a test can reach the scheduler and the workers."""

from __future__ import annotations

from distributed import LocalCluster


def cluster_of(workers):
    """Return a cluster of so many workers with one thread each, to be used as a context."""
    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=False,
        protocol="inproc",
        dashboard_address=":0",  # another test may have the usual port, also without a dashboard
        scheduler_kwargs={"dashboard": False},
    )
