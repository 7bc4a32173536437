"""The contact sheet: what a tile says, and what a page lacks."""

from __future__ import annotations

from datetime import UTC, datetime

from ringnb.checkpoint.storage.records import CheckpointInfo
from ringnb.panels.keep.sheet import SheetLog, tiles_of


def tiles(*infos, going=(), unsound=()):
    return tiles_of(
        infos, {"a": 1}, going, lambda e: e.name not in unsound, lambda _name, _unread: "damaged: x"
    )


def info(i, **more):
    return CheckpointInfo(f"c{i}", sequence=i, step=10 * i, run="a", **more)


def test_a_tile_says_what_will_become_of_a_checkpoint():
    found = tiles(
        *(info(1, pin="why"), info(2, good=False), info(3), info(4), info(5)),
        CheckpointInfo("c6", damaged=True),
        going=["c3"],
        unsound=["c4"],
    )
    fates = [tile[3] for tile in found.values()]
    assert fates == ["pinned", "bad", "goes", "damaged", "", "damaged"]
    assert "pinned: why" in found["c1", 1][4]
    assert found["c4", 4][4].endswith("damaged: x")


def test_a_tile_has_the_time_of_day_at_which_it_was_made():
    made = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    assert [tile[5] for tile in tiles(info(1, created_at=made), info(2)).values()] == [
        "03:02:01",
        "",
    ]


def test_a_page_gets_what_it_lacks_and_a_new_one_all():
    log = SheetLog()
    first = log.update(tiles(info(1), info(2)))
    assert [tile[2] for tile in first["add"]] == ["c1", "c2"]
    assert log.update(tiles(info(1), info(2))) is None
    change = log.update(tiles(info(2, pin="p"), info(3)))
    assert (change["from"], change["v"], change["gone"]) == (1, 2, [first["add"][0][0]])
    assert [tile[2] for tile in change["add"]] == ["c2", "c3"]
    assert [tile[2] for tile in log.whole()["add"]] == ["c2", "c3"]
    assert log.name_of(change["add"][1][0]) == "c3"
    assert log.name_of(first["add"][0][0]) is None


def test_a_tile_says_the_simulated_time_of_its_step():
    (tile,) = tiles(info(1, time=0.0025, params=(("dt", 0.00025),))).values()
    assert "t = 2.5 ms" in tile[4]
    (tile,) = tiles(info(1, time=12.0, params=(("dt", 1.0),))).values()
    assert "t = 12;" in f"{tile[4]};"  # a model in units of its own
    (tile,) = tiles(info(1)).values()
    assert "t =" not in tile[4]
