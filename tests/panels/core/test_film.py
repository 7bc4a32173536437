"""Small pictures: what they hold, and who gets them."""

from __future__ import annotations

import zlib
from functools import partial

import numpy as np
import pytest
import zarr
from front_end import unpacked

import ringnb as rn
from ringnb.panels.core.film import Film, Small, Wish, small_picture
from ringnb.panels.core.pixels import range_of
from ringnb.panels.stage.pictures import View, draw
from ringnb.testing.storages import make_snapshot

SMALL = Small(2, 3, b"picture", -1.0, 0.5, 2.0, 0, "diverging")


def stored(**fields):
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    storage.save("a", make_snapshot(fields=fields))
    return storage.load("a")


def wish(key, name, *, picture=True):
    return Wish(key, rn.checkpoint.CheckpointInfo(name, sequence=key), picture)


def test_a_small_picture_has_at_most_64_pixels_a_side_and_the_values_of_all_cells():
    field = np.linspace(-1.0, 3.0, 200 * 100).reshape(200, 100)
    small = small_picture(stored(u=field), None)
    assert (small.rows, small.columns) == (50, 25)
    assert (small.low, small.high, small.bad, small.kind) == (-1.0, 3.0, 0, "diverging")
    assert small.mean == pytest.approx(1.0)
    assert len(zlib.decompress(small.packed)) == 50 * 25


def test_a_picture_by_itself_has_the_range_that_the_stage_has():
    noise = np.linspace(-1e-37, 1e-37, 64, dtype=np.float32).reshape(8, 8)
    for field, extent in ((noise, None), (np.abs(noise), None), (1e7 * noise, (0.0, 0.4))):
        view = View("u")
        stage = draw(stored(u=field), view, extent)[0]
        small = small_picture(stored(u=field), None, partial(range_of, extent=extent))
        data = [unpacked(packed, (8, 8)) for packed in (stage.pixels, small.packed)]
        assert np.array_equal(*data)
        assert np.unique(data[0]).size == 1  # what has died out is flat, and no wild pattern
        assert small.kind == stage.info["kind"]


def test_what_is_not_finite_is_counted_and_no_number_that_json_lacks_goes_to_the_page():
    field = np.full((8, 8), np.nan)
    small = small_picture(stored(u=field), "u")
    assert small[2:] == (b"", None, None, None, 64, "")


def test_a_line_a_cube_and_what_cannot_be_drawn():
    assert small_picture(stored(u=np.arange(100.0)), None)[:2] == (1, 50)
    assert small_picture(stored(u=np.zeros((4, 6, 8))), None)[:2] == (6, 8)
    assert small_picture(stored(u=np.zeros((4, 6), complex)), None).packed == b""


def test_a_wish_is_read_once_and_given_again_from_what_was_made():
    film = Film()
    assert film.wish([wish(1, "a"), wish(2, "b", picture=False)])
    first, field = film.next()
    film.add(first, field, SMALL)
    second, field = film.next()
    film.add(second, field, SMALL)
    assert film.next() is None
    batch = film.take()
    assert batch["items"] == [
        [1, 2, 3, 7, -1.0, 0.5, 2.0, 0, "diverging"],
        [2, 2, 3, 0, -1.0, 0.5, 2.0, 0, "diverging"],
    ]
    assert batch["px"] == b"picture"
    assert film.take() is None
    assert not film.wish(
        [wish(9, "b")._replace(info=second.info)]
    )  # by another key, with the picture
    assert film.take()["items"][0][:4] == [9, 2, 3, 7]


def test_only_the_newest_wishes_are_read_and_another_fields_picture_is_not_shown():
    film = Film()
    film.wish([wish(1, "a"), wish(2, "b")])
    under_way, field = film.next()
    film.wish([wish(3, "c")])
    film.add(under_way, field, SMALL)  # it was read already: it is given
    assert [item[0] for item in film.take()["items"]] == [1]
    assert film.next()[0].key == 3
    assert film.next() is None
    film.wish([wish(4, "d")])
    late, field = film.next()
    film.show_field("v")
    film.add(late, field, SMALL)
    assert film.take() is None
