"""The half of a session that turns the crank by hand: send requests, receive answers, break things.

`ManualCrank` adds the way of a snapshot to `ringnb.session.hosting.ActorHost`, up to the answer.
`ringnb.session.session.Session` adds what is done with it. Every method may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringnb._support.checks import check_seconds
from ringnb.checkpoint.manager import CheckpointManager
from ringnb.messages.snapshots import SnapshotRequest, SnapshotResponse
from ringnb.session.fault_injection import Faults
from ringnb.session.hosting import ActorHost
from ringnb.session.service import SnapshotService

__all__ = ["ManualCrank"]


class ManualCrank(ActorHost):
    """Actors in a kernel whose snapshots are asked for and answered."""

    _service: SnapshotService
    _manager: CheckpointManager
    _faults: Faults | None = None

    def send(self, request: SnapshotRequest) -> None:
        """Push the SNAPSHOT command for a request onto the H2K ring.

        Parameters
        ----------
        request : SnapshotRequest
            From the manager. Sending it twice does nothing.
        """
        if not isinstance(request, SnapshotRequest):
            msg = f"request must be a SnapshotRequest, got {request!r} ({type(request).__name__})"
            raise TypeError(msg)
        self._slot(request.actor_slot)
        self._check()
        self._service.send(request)

    def receive(self, timeout: float = 0.0) -> list[SnapshotResponse]:
        """Take answers off the K2H rings.

        Parameters
        ----------
        timeout : float, default 0.0
            Seconds to wait for the first one.

        Returns
        -------
        list of SnapshotResponse
            Their data views staging buffers until they are completed or dropped. An actor's lane
            has two, so a third request while two are held is answered with a failure.

        Raises
        ------
        ValueError
            With ``service=True``: the service thread receives.
        """
        limit = check_seconds(timeout, "timeout", zero=True)
        self._check()
        if self._service.running:
            msg = (
                "receive() is the manual crank, but this session's service thread takes the "
                "answers; open it with service=False to turn the crank yourself"
            )
            raise ValueError(msg)
        self._client.pump(0.0)
        if limit > 0:
            self._client.wait_until(lambda: self._service.answers_waiting > 0, limit)
        return list(self._answers())

    def _answers(self) -> Iterator[SnapshotResponse]:
        while (answer := self._service.take()) is not None:
            yield self._service.respond(answer)

    @property
    def service_runs(self) -> bool:
        """Whether background threads turn the crank."""
        return self._service.running

    @property
    def faults(self) -> Faults:
        """Switches that break this session on purpose: lost answers, slow and full disks, and so on."""
        if self._faults is None:
            self._faults = Faults(self._kernel, self._service, self._manager.storage)
        return self._faults
