"""What a very large ensemble costs: measured constants, and a queue with one server."""

from __future__ import annotations

import math

import pytest
from distributed.scheduler import heartbeat_interval

from ringnb.cluster import scale

COSTS = scale.Costs(
    submit_s=0.01,
    note_s=0.002,
    heartbeat_s=0.001,
    runs_s=1e-5,
    spec_bytes=10_000,
    commit_s=0.1,
    commit_bytes=1 << 20,
    files=5.0,
    document_s=0.01,
    look_s=0.001,
    open_s=0.01,
)


def test_a_scheduler_is_as_busy_as_what_arrives_and_messages_queue_when_that_is_too_much():
    load = scale.simulate(COSTS, 100, 10.0, 300.0, 0)
    expected = 100 * (COSTS.note_s / 10.0 + COSTS.heartbeat_s / heartbeat_interval(100))
    assert load.busy == pytest.approx(expected, rel=0.05)
    assert load.median_s < load.p99_s < 0.05
    more = scale.simulate(COSTS, 100, 0.15, 60.0, 0)  # 133 % of the time by notes alone
    assert more.busy > 0.99
    assert more.p99_s > 5.0  # it never comes to an end


def test_the_shortest_interval_is_where_the_scheduler_has_a_third_of_its_time_left():
    shortest = scale.shortest_interval_s(COSTS, 100)
    assert scale.simulate(COSTS, 100, shortest, 100.0, 0).busy == pytest.approx(0.7, rel=0.05)
    slow = COSTS._replace(heartbeat_s=0.1)
    assert scale.shortest_interval_s(slow, 100) == math.inf


@pytest.mark.slow
def test_what_is_measured_is_there_and_the_table_is_printed(tmp_path, monkeypatch, capsys):
    costs = scale.measure(tmp_path, tasks=3, messages=40)
    assert all(0 < value < math.inf for value in costs)
    assert costs.files < 10  # a cut of 64 members is one array a field
    assert costs.commit_bytes > 64 * 2 * 64 * 64 * 4  # their states
    monkeypatch.setattr(scale, "measure", lambda _folder: costs)
    assert scale.main(["--workers", "20", "--members", "5000"]) == 0
    printed = capsys.readouterr().out
    assert "| tasks | 79 | 5 |" in printed
    assert "open_ensemble of 5 checkpoints" in printed
