"""What a worker does with a call when the scheduler does not answer it any more."""

from __future__ import annotations

import pytest
import waiting
from distributed import Client, LocalCluster
from distributed.comm import CommClosedError

import ringnb as rn
from ringnb import cluster

LIFE = rn.actors.Life((16, 16))


def test_a_lost_scheduler_is_told_in_words_and_keeps_no_session_open(config):
    local = LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        protocol="inproc",
        dashboard_address=":0",  # another test may have the usual port, also without a dashboard
        scheduler_kwargs={"dashboard": False},
    )
    with local, Client(local) as client:
        session = cluster.launch(LIFE, "left", address=client, config=config)
        session.run_steps(0, 3)
        note = local.scheduler.handlers["ringnb_note"]

        def lost(*_args, **_given):
            """Fail as a connection does whose other end was killed."""
            msg = "in <rpc of ringnb_note>: Stream is closed"
            raise CommClosedError(msg)

        local.scheduler.handlers["ringnb_note"] = lost
        with pytest.raises(rn.ClusterUnavailable, match="does not answer its worker"):
            session.resume()
        waiting.until(lambda: session.current_step(0) > 3)  # what was asked is done
        with pytest.raises(rn.ClusterUnavailable, match="does not answer its worker"):
            session.end()
        waiting.until(lambda: not client.processing()[next(iter(local.scheduler.workers))])
        local.scheduler.handlers["ringnb_note"] = note
        assert rn.ZarrStorage(config.storage_path).list()[-1] != "checkpoint_0_step_0"
        session.detach()
