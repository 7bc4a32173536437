"""Explore, visualise and teach the checkpointing of persistent kernels.

A `Session` hosts simulation actors in a kernel that runs for the whole session, asks it for snapshots,
commits them as Zarr checkpoints, keeps as many as you want, and restores any of them into a live actor::

    import ringnb as rn

    with rn.Session(rn.actors.Wave2D((256, 256)), actors=2) as s:
        s.run_steps(0, 1000)
        checkpoint = s.snapshot(0)
        s.run_steps(0, 500)
        s.restore(0, checkpoint)

A `Recorder` does the same for a loop of your own, in NumPy or whatever gives arrays.
`ringnb.plots` draws stored checkpoints; ``ringnb.testing`` helps to test code built on this.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ringnb._support.panel_opener import set_default_opener
from ringnb._support.version import VERSION
from ringnb.checkpoint import (
    Checkpoint,
    CheckpointConfig,
    CheckpointManager,
    CheckpointStorage,
    Snapshot,
    ZarrStorage,
    retention,
)
from ringnb.checkpoint.report import Report
from ringnb.errors import (
    BackendUnavailable,
    CheckpointCorrupt,
    CheckpointError,
    CheckpointNotFound,
    CheckpointWarning,
    ClusterError,
    ClusterUnavailable,
    ClusterWarning,
    CommandRefused,
    KernelStopped,
    NotDecomposable,
    RingnbError,
    RunExists,
    RunLost,
    RunNotFound,
    RunSilent,
    SnapshotFailed,
    SnapshotTimeout,
    StoreLocked,
    StoreNotShared,
)
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse

if TYPE_CHECKING:
    from ringnb import actors, plots
    from ringnb import cluster as cluster  # not in __all__: it needs an extra
    from ringnb import panels as panels  # likewise
    from ringnb.actors.link import Link
    from ringnb.actors.region import Region
    from ringnb.session.recorder import Recorder
    from ringnb.session.session import Session
    from ringnb.session.signals import checkpoint_on_signal

__version__ = VERSION

__all__ = [
    "BackendUnavailable",
    "Checkpoint",
    "CheckpointConfig",
    "CheckpointCorrupt",
    "CheckpointError",
    "CheckpointManager",
    "CheckpointNotFound",
    "CheckpointStorage",
    "CheckpointWarning",
    "ClusterError",
    "ClusterUnavailable",
    "ClusterWarning",
    "CommandRefused",
    "KernelStopped",
    "Link",
    "NotDecomposable",
    "Recorder",
    "Region",
    "Report",
    "RingnbError",
    "RunExists",
    "RunLost",
    "RunNotFound",
    "RunSilent",
    "Session",
    "Snapshot",
    "SnapshotFailed",
    "SnapshotRequest",
    "SnapshotResponse",
    "SnapshotTimeout",
    "StoreLocked",
    "StoreNotShared",
    "ZarrStorage",
    "__version__",
    "actors",
    "checkpoint_on_signal",
    "plots",
    "retention",
]


def _open_panel(session: Session, name: str | None = None, **options: Any) -> Any:
    from ringnb.panels import open_panel  # noqa: PLC0415 - needs an extra: imported when used

    return open_panel(session, name, **options)


# `Session.panel` finds it through an entry point; a source tree that is not installed has none.
set_default_opener(_open_panel)


def __getattr__(name: str) -> Any:
    """Import what brings in Numba, matplotlib or widgets when it is first used."""
    if name == "Session":
        from ringnb.session import session  # noqa: PLC0415 - brings in Numba

        value: Any = session.Session
    elif name in ("Link", "Region"):
        from ringnb.actors import link  # noqa: PLC0415 - the models bring in Numba

        value = getattr(link, name)
    elif name == "Recorder":
        from ringnb.session import recorder  # noqa: PLC0415 - likewise

        value = recorder.Recorder
    elif name == "checkpoint_on_signal":
        from ringnb.session import signals  # noqa: PLC0415 - brings in Numba, as all of ringnb.session

        value = signals.checkpoint_on_signal
    elif name in ("actors", "plots", "panels", "cluster"):
        value = importlib.import_module(f"ringnb.{name}")
    else:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Show what is public: a notebook completes ``rn.`` with it."""
    return sorted(__all__)
