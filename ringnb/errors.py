"""Exceptions and warnings, and the sentence behind every status code a kernel returns.

The tree::

    RingnbError
    ├── SnapshotFailed          the kernel answered a snapshot request with a failure
    ├── SnapshotTimeout         a manual snapshot was not committed in time   (also TimeoutError)
    ├── CheckpointError         storage refused or failed
    │   ├── CheckpointNotFound  no checkpoint of that name                    (also KeyError)
    │   ├── CheckpointCorrupt   stored bytes do not match their digests
    │   └── StoreLocked         another process is writing this store
    ├── KernelStopped           the kernel was closed, or died
    ├── CommandRefused          the kernel answered a command with an error status
    ├── BackendUnavailable      this machine cannot run the backend asked for
    ├── NotDecomposable         an actor cannot be divided over workers        (also ValueError)
    └── ClusterError            a run that lives in another process, see `ringnb.cluster`
        ├── ClusterUnavailable  the cluster, or the run's worker, does not answer
        ├── RunNotFound         the cluster has no run of that name               (also KeyError)
        ├── RunExists           a run of that name is there already
        ├── RunLost             the run has failed, or was given up
        └── StoreNotShared      its checkpoints cannot be read from here
    CheckpointWarning (UserWarning)   something failed in the background and is being retried
    ClusterWarning (UserWarning)      a run has lost its worker and goes on from a checkpoint

Wrong arguments stay ``TypeError`` and ``ValueError``. A message states the fact, the value and the
remedy. Compiled kernels cannot raise: they return a `Status`, and this module owns the sentence.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

__all__ = [
    "BackendUnavailable",
    "CheckpointCorrupt",
    "CheckpointError",
    "CheckpointNotFound",
    "CheckpointWarning",
    "ClusterError",
    "ClusterUnavailable",
    "ClusterWarning",
    "CommandRefused",
    "KernelStopped",
    "NotDecomposable",
    "RingnbError",
    "RunExists",
    "RunLost",
    "RunNotFound",
    "SnapshotFailed",
    "SnapshotTimeout",
    "Status",
    "StoreLocked",
    "StoreNotShared",
]


class RingnbError(Exception):
    """Base of every exception that ringnb raises on its own account."""


class SnapshotFailed(RingnbError):
    """A snapshot request was answered with a failure, or its actor is gone."""


class SnapshotTimeout(RingnbError, TimeoutError):
    """A manual snapshot was not committed within the time given."""


class CheckpointError(RingnbError):
    """Storage refused an operation or failed in it."""


class CheckpointNotFound(CheckpointError, KeyError):
    """No checkpoint of that name is in the store (any more)."""

    def __str__(self) -> str:
        """Return the message; ``KeyError`` would show its ``repr``."""
        return Exception.__str__(self)


class CheckpointCorrupt(CheckpointError):
    """Stored bytes do not match the digests recorded when they were committed."""


class StoreLocked(CheckpointError):
    """Another process holds the store's write lock."""


class KernelStopped(RingnbError):
    """The kernel was closed or died; nothing can be asked of it any more."""


class CommandRefused(RingnbError):
    """The kernel answered a command with an error status.

    Parameters
    ----------
    message : str
        The fact, the value and the remedy.
    status : Status
        The code that the kernel returned.
    """

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        """Return both arguments: `pickle` would take the first alone."""
        return type(self), (*self.args, self.status)


class BackendUnavailable(RingnbError):
    """This machine, or this installation, cannot run the requested backend."""


class NotDecomposable(RingnbError, ValueError):
    """An actor cannot be divided over workers: the message has the cell and the reason."""


class CheckpointWarning(UserWarning):
    """A background checkpoint failed and is retried, or a damaged one was skipped."""


class ClusterError(RingnbError):
    """Something failed with a run that lives in another process."""


class ClusterUnavailable(ClusterError):
    """The cluster does not answer, or the worker that held the run was lost."""


class RunSilent(ClusterUnavailable):
    """The worker that holds the run gave no answer in time; the run may go on."""


class RunNotFound(ClusterError, KeyError):
    """The cluster has no run of that name."""

    def __str__(self) -> str:
        """Return the message; ``KeyError`` would show its ``repr``."""
        return Exception.__str__(self)


class RunExists(ClusterError):
    """The cluster has a run of that name already."""


class RunLost(ClusterError):
    """A run has failed, or has lost too many workers; its checkpoints are there."""


class StoreNotShared(ClusterError):
    """The store of a run is not the one that this process finds at the same place."""


class ClusterWarning(UserWarning):
    """A run has lost its worker, and goes on from its newest checkpoint with another one."""


class Status(IntEnum):
    """What a kernel says about a command it has read. Zero is success."""

    OK = 0
    UNKNOWN_COMMAND = 1
    BAD_SLOT = 2
    NO_ACTOR = 3
    STAGING_BUSY = 4
    BAD_ARGUMENT = 5
    ACTOR_EXISTS = 6
    STEP_PASSED = 7

    @property
    def sentence(self) -> str:
        """The sentence that explains this status to a user."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.OK: "the command was carried out",
    Status.UNKNOWN_COMMAND: "the kernel does not know this command; see ringnb.messages.Command",
    Status.BAD_SLOT: "the slot is not hosted by the lane that was asked; slots are 0..actors-1",
    Status.NO_ACTOR: "the slot holds no actor (it was destroyed); create it again first",
    Status.STAGING_BUSY: (
        "no free staging buffer: both hold snapshots that were received but not yet completed; "
        "complete or drop an earlier SnapshotResponse, then ask again"
    ),
    Status.BAD_ARGUMENT: "an argument of the command is out of range",
    Status.ACTOR_EXISTS: "the slot already holds an actor; destroy it first or restart it",
    Status.STEP_PASSED: "the actor is past that step, or was restored; name a step ahead of it",
}
