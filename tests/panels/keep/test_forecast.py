"""How the disk fills under a policy."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ringnb.checkpoint.retention import (
    keep_all,
    keep_best,
    keep_every,
    keep_last,
    keep_thinning,
    keep_within,
)
from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.keep.forecast import Cadence, forecast, growth_of, young_s

LAST = CheckpointInfo(
    "c", step=500, sequence=7, nbytes=1000, created_at=datetime(2026, 1, 1, tzinfo=UTC), run="r"
)
CADENCE = Cadence(60.0, 100.0)  # 10,080 in a week


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        (keep_all(), 10_080),
        (keep_every(1000), 1008),
        (keep_last(12), 12),
        (keep_last(3000), 3000),
        (keep_within(50_500), 50),
    ],
    ids=repr,
)
def test_what_a_policy_keeps_after_a_week_is_what_it_would_keep(policy, kept):
    growth = growth_of(policy, LAST, CADENCE)
    assert growth.kept(10_080) == pytest.approx(kept, rel=0.01)


def test_one_that_thins_out_grows_by_as_much_for_every_doubling():
    growth = growth_of(keep_thinning(60.0), LAST, CADENCE)
    assert growth.kept(4 * 4096) - growth.kept(2 * 4096) < 4
    assert not growth.is_level


def test_the_day_on_which_the_disk_is_full():
    lines = [("in force", keep_all()), ("the newest 12", keep_last(12))]
    usage = 100_000_000, 1440 * 1000 * 3  # three days of one a minute
    found = forecast(lines, LAST, CADENCE, 28, 1, 28_000, usage)
    force, chosen = found["lines"]
    assert force["full_day"] == pytest.approx(3.0, rel=1e-3)
    assert force["words"] == "full in 3.0 days"
    assert (chosen["full_day"], chosen["words"]) == (None, "level, never full")
    assert chosen["points"][-1] == (12 - 28) * 1000  # sixteen go
    assert (force["chosen"], chosen["chosen"]) == (False, True)
    assert found["full"] == usage[0]


def test_of_a_policy_that_looks_at_values_nothing_is_foretold(caplog):
    found = forecast([("best", keep_best(3, len))], LAST, CADENCE, 3, 1, 3000, None)
    assert found["lines"][0]["words"] == "depends on the values"
    assert "full" not in found
    assert not caplog.records


def test_young():
    assert young_s(15e-6) == pytest.approx(1.61, abs=0.01)
