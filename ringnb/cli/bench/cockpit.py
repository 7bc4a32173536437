"""What an open cockpit costs the kernel, and how soon a click is answered. Needs the widgets extra."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, ClassVar
from unittest import mock

import comm.base_comm

from ringnb import actors
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.cli.bench import measuring
from ringnb.cli.bench.measuring import Row, Scale
from ringnb.panels import close_panels
from ringnb.session.session import Session

__all__ = ["FrontEnd", "cockpit"]


class FrontEnd(comm.base_comm.BaseComm):
    """Takes what a kernel sends, packs it as the kernel's socket would, and counts the bytes."""

    sent: ClassVar[int] = 0  # of all of them

    def publish_msg(
        self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **_: Any
    ) -> None:
        """Pack a message; no browser reads it."""
        size = len(json.dumps([msg_type, data, metadata], default=str))
        FrontEnd.sent += size + sum(len(bytes(buffer)) for buffer in buffers or ())


def cockpit(scale: Scale) -> Iterator[Row]:
    """Stepping with the cockpit open against stepping without, and the answer to a click."""
    seconds = scale.times(4, 2)
    config = CheckpointConfig(
        interval=1.0, storage_path=scale.directory / "cockpit.zarr", max_snapshots=5
    )
    with (
        mock.patch("comm.create_comm", FrontEnd),
        Session(actors.Wave2D((512, 512)), actors=2, lanes=1, config=config) as session,
    ):
        session.resume()
        time.sleep(0.5)

        def rate(*, opened: bool) -> float:
            if opened:
                session.panel()
            else:
                close_panels(session)
            time.sleep(0.5)
            return measuring.stepping_rate(session, seconds)

        pairs = measuring.interleaved(
            lambda: rate(opened=True), lambda: rate(opened=False), scale.times(9, 2)
        )
        session.panel()
        panel = session.panel("actor")
        answers = []
        for i in range(scale.times(60, 10)):
            action = "live.run" if i % 2 else "live.pause"
            began = time.perf_counter()
            panel.line.hand._handle_custom_msg({"do": action}, [])
            while not panel.line.board.flags.get(action, {}).get("pressed"):
                time.sleep(0.0005)
            answers.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.05)
    yield measuring.ratio_row(
        "cockpit",
        "stepping 2 actors of 512 x 512, a checkpoint every second: cockpit open / closed",
        pairs,
        ("closed", 1e-3, "ksteps/s each"),
        at_least=0.95,
        note=", messages packed, no browser",
    )
    what = "a click's message to the new state on its way back, cockpit open: p99"
    median = measuring.percentile(answers, 50)
    note = f"median {median:.0f} ms of {len(answers)} clicks"
    yield Row("click", what, [measuring.percentile(answers, 99)], "ms", "<=", 200, note)
