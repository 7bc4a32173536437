"""A notebook's kernel that is shut down, as a notebook server does it, leaves a last checkpoint."""

from __future__ import annotations

import os
import time

import pytest
from waiting import until

import ringnb as rn
from ringnb._support.children import child_environment

manager = pytest.importorskip("jupyter_client.manager")

CELL = """
import ringnb as rn
config = rn.CheckpointConfig(enabled=False, storage_path={store!r})
s = rn.Session(rn.actors.Life((8, 8)), config=config)
s.run_steps(0, 7)
open({mark!r}, "w").close()
{rest}
"""
DEAF = """
while True:
    try:
        s.run_steps(0, 2**40)
    except KeyboardInterrupt:
        pass
"""


@pytest.mark.parametrize(
    ("rest", "step"),
    [
        pytest.param("", 7, id="idle"),
        # It hears neither the interrupt nor the request to end, and gets SIGTERM.
        pytest.param(DEAF, None, id="busy", marks=pytest.mark.slow),
    ],
)
def test_a_kernel_that_is_shut_down_leaves_a_checkpoint(rest, step, tmp_path):
    store, mark = tmp_path / "s.zarr", tmp_path / "mark"
    kernel = manager.KernelManager()
    kernel.start_kernel(env=child_environment(), cwd=str(tmp_path))
    try:
        client = kernel.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        client.execute(CELL.format(store=str(store), mark=str(mark), rest=rest))
        until(lambda: os.path.exists(mark), 60)
        time.sleep(0.2)
        began = time.monotonic()
        kernel.shutdown_wait_time = 20.0  # half of it until SIGTERM
        kernel.shutdown_kernel()
        assert time.monotonic() - began < 20  # else it was killed
    finally:
        kernel.shutdown_kernel(now=True)
        client.stop_channels()
    last = rn.ZarrStorage(store).history("checkpoint", "life_0")[-1]
    assert last.step == step if step is not None else last.step > 7
