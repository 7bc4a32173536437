"""What panels know of each actor's checkpoints, from one look at the catalogue."""

from __future__ import annotations

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.core.histories import Histories


def info(name, kernel_id, slot, sequence, **more):
    return CheckpointInfo(name, "sim", kernel_id, "model", slot, 7, sequence, nbytes=10, **more)


def test_a_cut_is_in_the_history_of_each_actor_and_is_counted_once():
    parts = tuple(info(f"sim_cut_step_7:{slot}", f"a{slot}", slot, 2) for slot in range(2))
    cut = info("sim_cut_step_7", "cut", 0, 2, parts=parts)._replace(nbytes=20)
    damaged = CheckpointInfo("sim_cut_step_8", damaged=True)
    catalogue = [info("sim_0_step_1", "a0", 0, 1), cut, damaged]
    found = Histories(catalogue, "sim", 2, lambda slot: f"a{slot}")
    assert [[e.name for e in found[slot]] for slot in range(2)] == [
        ["sim_cut_step_8", "sim_0_step_1", "sim_cut_step_7:0"],
        ["sim_cut_step_8", "sim_cut_step_7:1"],
    ]
    assert found.newest() == {0: parts[0], 1: parts[1]}
    assert found.totals == (2, 30)
