"""Every case of `ringnb bench --gpu` on a simulated card.

No figure of the simulator means anything. That there is one for every promise does, and that ours and
the baseline do the same work.
"""

from __future__ import annotations

import numpy as np
import pytest
from simulated_card import PROMISED, TINY

import ringnb as rn
from ringnb.cli.bench import gpu
from ringnb.cli.bench.gpu import bandwidth, snapshots, stepping
from ringnb.cli.bench.gpu.budget import Budget
from ringnb.cli.bench.measuring import Scale
from ringnb.messages.commands import Command
from ringnb.testing.kernels import captured, running

pytest.importorskip("numba_cuda")


def measured(card, name, tmp_path):
    """Run a case with no time to spare: every loop makes its smallest number of turns."""
    return {row.key: row for row in gpu.CASES[name].measure(card, Scale(True, tmp_path), Budget(0))}


def test_the_ceiling_is_bytes_read_and_written_of_the_faster_copy(card):
    monkeypatch_times = iter([1.0, *[2e-6, 1e-6] * 5])
    card.time_s = lambda work: (work(), next(monkeypatch_times))[1]
    found = bandwidth.bandwidth(card, Budget(0))
    assert found.driver == pytest.approx([2 * 512 / 2e-6 / 1e9] * 5)
    assert found.ceiling == pytest.approx(2 * 512 / 1e-6 / 1e9)
    assert bandwidth.bandwidth(card, Budget(0)) is found  # measured once


def test_both_copies_copy(card):
    from ringnb.cli.bench.gpu import kernels

    source, target = card.words(np.arange(64)), card.empty(64)
    card.launcher(card.compile(kernels.copy, kernels.COPY_SIGNATURE), 64)(source, target)
    np.testing.assert_array_equal(np.asarray(target), np.arange(64))


@pytest.mark.parametrize("shape", [(4, 5), (3, 4, 5)])
def test_the_baselines_make_the_steps_that_the_kernel_makes(card, shape):
    wave = stepping.noise(shape)
    states = []
    words = card.words
    card.words = lambda content: states.append(words(content)) or states[-1]
    launched, replayed = stepping._one_launch_per_step(card, wave)
    state = np.asarray(states[0])
    launched(4)
    replayed(6)  # three replays of two
    kernel = card.kernel([wave])
    with running(kernel) as client:
        client.call(0, Command.RUN_STEPS, (2 + 4 + 6,))  # two to warm up
        assert client.wait_until(lambda: kernel.counters(0).step == 12, 60)
        levels, _ = captured(client, 0)
    half = len(state) // 2
    for i in range(2):
        theirs = state[i * half :].view(np.float32)[: levels[i].size]
        np.testing.assert_array_equal(theirs, levels[i].reshape(-1))


def test_waves_are_measured_against_ceiling_launches_and_graphs(card, tmp_path, monkeypatch):
    rows = measured(card, "waves", tmp_path)
    assert set(rows) == {
        f"gpu_{wave}{suffix}" for wave in TINY.waves for suffix in ("", "_launch", "_graph")
    }
    assert all(sample > 0 for row in rows.values() for sample in row.samples)
    assert all(len(row.samples) >= 2 for row in rows.values())


def test_rates_are_cells_per_second_and_bytes_of_the_ceiling(card, tmp_path, monkeypatch):
    card.measured["bandwidth"] = bandwidth.Bandwidth([3000.0], [3350.0])
    monkeypatch.setattr(
        stepping, "_one_launch_per_step", lambda *_: (lambda n: 2e-3, lambda n: 1e-3)
    )
    monkeypatch.setattr(stepping, "_persistent", lambda *_: [0.5e-3, 0.5e-3])
    monkeypatch.setattr(stepping, "noise", lambda shape: rn.actors.Wave3D((3, 3, 3)))
    rows = {
        row.key: row
        for row in stepping._wave(
            card, Scale(False, tmp_path), Budget(0), "wave_3d", (512, 512, 512), 3350.0
        )
    }
    rate = 512**3 / 0.5e-3 / 1e9
    assert rows["gpu_wave_3d"].median == pytest.approx(rate)
    assert rows["gpu_wave_3d_ceiling"].median == pytest.approx(12 * rate / 3350.0)
    assert rows["gpu_wave_3d_launch"].samples == pytest.approx([4.0, 4.0])
    assert rows["gpu_wave_3d_graph"].samples == pytest.approx([2.0, 2.0])
    for key in ("gpu_wave_3d", "gpu_wave_3d_ceiling"):
        assert (rows[key].limit, rows[key].target) == PROMISED[key]


def test_commands_are_sent_and_answered(card, tmp_path):
    rows = measured(card, "commands", tmp_path)
    names = ("submit", "ring", "client")
    assert set(rows) == {"gpu_clock"} | {
        f"gpu{busy}_{name}_{word}"
        for busy in ("", "_busy")
        for name in names
        for word in ("median", "p99")
    }
    assert {k: (r.limit, r.target) for k, r in rows.items() if r.target} == {
        "gpu_ring_median": PROMISED["gpu_ring_median"]
    }
    assert rows["gpu_clock"].median > 0


def test_snapshots_are_timed_stage_by_stage(card, tmp_path):
    rows = measured(card, "stages", tmp_path)
    stages = ("acknowledged", "copied", "published", "way", "received", "stall")
    assert set(rows) == {
        f"gpu{busy}_snapshot_{size}_{stage}"
        for busy in ("", "_busy")
        for size in TINY.snapshots
        for stage in stages
    }
    key = "gpu_snapshot_1024_acknowledged"
    assert (rows[key].limit, rows[key].target) == PROMISED[key]
    for one in zip(
        *(rows[f"gpu_snapshot_1024_{stage}"].samples for stage in stages[:5]), strict=True
    ):
        acknowledged, copied, published, way, received = one
        assert acknowledged == pytest.approx(copied + published + way)
        assert received >= acknowledged > 0
        assert copied >= 0 <= published


def test_targets_of_the_sizes_are_the_promised_ones():
    some = [snapshots._Stages(20.0, 30.0, 9.0, 1.0)] * 3
    for size in (1 << 10, 1 << 16, 1 << 20, 1 << 24, 1 << 30):
        for busy in (False, True):
            for row in snapshots._rows(size, some, [10.0] * 3, busy=busy):
                assert PROMISED.get(row.key, (row.limit, row.target)) == (row.limit, row.target)
                assert row.target in (None, 10.3, 1.2)
                if row.key.endswith("_stall"):
                    assert row.median == pytest.approx(0.9)


def test_a_torn_snapshot_ends_the_measurement(card, monkeypatch):
    kernel = card.kernel([snapshots.counter((4, 4))])
    with running(kernel) as client:
        kernel.restore_buffer(0)[...] = 5
        client.call(0, Command.RESTORE, (4,))
        with pytest.raises(AssertionError):
            snapshots._one(kernel, 2000)


@pytest.mark.slow
def test_checkpoints_are_weighed(card, tmp_path):
    row = measured(card, "checkpoints", tmp_path)["gpu_rate"]
    assert (row.limit, row.target) == PROMISED["gpu_rate"]
    assert len(row.samples) == 4
    assert row.median > 0


def test_the_reference_s_three_calls_are_made_in_its_order(card, tmp_path):
    rows = measured(card, "reference", tmp_path)
    assert list(rows) == [f"gpu_reference_{x}_1024" for x in ("capture", "copy", "ack", "total")]
    names = [name for name, _ in card._driver.calls]
    assert names[:5] == [
        "cuEventCreate",
        "cuMemcpyHtoDAsync",
        "cuMemcpyDtoDAsync",
        "cuEventRecord",
        "cuEventSynchronize",
    ]
    assert len(names) == 1 + 4 * (1 + 3 * 3)
    assert [a[2] for n, a in card._driver.calls if n.startswith("cuMemcpy")][:2] == [4, 1024]
