"""All counters of a session, read from the parts that keep them."""

from __future__ import annotations

from collections.abc import Sequence

from ringnb.kernel.client import KernelClient
from ringnb.messages.events import EventLog
from ringnb.session.change_tracking import ChangeTracker
from ringnb.session.linking import Links
from ringnb.session.live_state import LiveState
from ringnb.session.service import SnapshotService
from ringnb.session.statistics import SessionStatistics
from ringnb.session.supervision import Supervisor

__all__ = ["counters_of"]


def counters_of(
    client: KernelClient,
    live: LiveState,
    changes: ChangeTracker,
    service: SnapshotService,
    events: EventLog,
    supervisor: Supervisor,
    links: Links,
    slots: Sequence[int],
) -> SessionStatistics:
    """Return what `Session.glance` does."""
    kernel, manager = client.kernel, service.manager
    backlog, with_kernel, writing = service.depths()
    actors = tuple(map(kernel.counters, slots))
    return SessionStatistics(
        kernel=kernel.statistics(),
        actors=actors,
        # Of the steps above: one that runs takes others meanwhile.
        times=tuple(
            live.time_at(slot, actor.step) for slot, actor in zip(slots, actors, strict=True)
        ),
        reduced=tuple(map(service.transport.reduced.get, slots)),
        saved=tuple(map(changes.is_saved, slots, actors)),
        pending=manager.pending_count,
        completed=manager.total_completed,
        failed=manager.total_failed,
        waiting_to_send=backlog,
        with_kernel=with_kernel,
        being_written=writing,
        replies=client.replies,
        events=events.appended,
        links=dict(links.joined),
        supervision=supervisor.counts,
    )
