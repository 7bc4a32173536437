"""Which actors can be divided, how far they reach, and what is said of the others."""

from __future__ import annotations

import numpy as np
import pytest

import ringnb as rn
from ringnb.actors.locality import locality_of
from ringnb.actors.random import uniform
from ringnb.actors.torus import wrap
from ringnb.errors import NotDecomposable


def model(update, shape=(64, 48), **options):
    start = np.random.default_rng(0).random(shape)
    return rn.actors.CellActor(update, shape, start=start, **options)


def two_up(now, then, params, step, y, x):
    ny = now.shape[1]
    then[0, y, x] = now[0, wrap(y - 2, ny), x] + now[0, (y + 1) % ny, x]


def clamped(now, then, params, step, y, x):
    ny = now.shape[1]
    then[0, y, x] = now[0, max(y - 1, 0), x] + now[0, min(y + 1, ny - 1), x]


def sponge(now, then, params, step, y, x):
    factor = 0.9 if y < 5 or y >= now.shape[1] - 4 else 1.0
    then[0, y, x] = factor * now[0, y, x]


def own(now, then, params, step, y, x):
    then[0, y, x] = 2 * now[0, y, x]


def from_table(now, then, params, step, y, x, table):
    then[0, y, x] = now[0, y, x] * table[2]


def line(now, then, params, step, x):
    then[0, x] = now[0, x - 1] if x > 0 else 0.0


@pytest.mark.parametrize(
    ("actor", "reach", "joined"),
    [
        (rn.actors.Wave2D((64, 48)), 1, False),
        (rn.actors.Wave3D((16, 8, 8)), 1, False),
        (rn.actors.Heat2D((64, 48)), 1, False),
        (rn.actors.GrayScott((64, 48)), 1, True),
        (rn.actors.Life((33, 48)), 1, True),
        (rn.actors.Ising2D((64, 48)), 1, True),  # whose parts know their place
        (model(two_up), 2, True),
        (model(clamped), 1, False),
        (model(sponge), 5, False),
        (model(own), 0, False),
        (model(own, reach=3), 3, False),
        (model(from_table, arrays={"table": np.ones(4)}), 0, False),
        (model(line, (64,)), 1, False),
        (model(None, stages=[two_up, own, two_up]), 4, True),
    ],
    ids=lambda value: getattr(value, "kernel_type", None),
)
def test_what_parts_need_of_each_other(actor, reach, joined):
    found = locality_of(actor)
    assert (found.reach, found.joined, len(found.reaches)) == (reach, joined, len(actor.stages))


def first_cell(now, then, params, step, y, x):
    then[0, y, x] = now[0, y, x] + now[0, 0, 0]


def numbered(now, then, params, step, y, x):
    then[0, y, x] = uniform(params[0], step, y * now.shape[2] + x)


def checkered(now, then, params, step, y, x):
    then[0, y, x] = now[0, y, x] if (y + step) % 2 else 0.0


def floating(now, then, params, step, y, x):
    then[0, y, x] = now[0, y, x] * np.float32(y)


def by_length(now, then, params, step, y, x):
    then[0, y, x] = now[0, y, x] / now.shape[1]


def upper_half(now, then, params, step, y, x):
    then[0, y, x] = now[0, y, x] if y < now.shape[1] // 2 else 0.0


def far_source(now, then, params, step, y, x):
    then[0, y, x] = now[0, y, x] + (1.0 if step == 77 and x == 17 and y == 70 else 0.0)


def mean_of_all(now, then, params, step, y, x):
    then[0, y, x] = now[0].mean()


def one_edge(now, then, params, step, y, x):
    then[0, y, x] = now[0, wrap(y - 1, now.shape[1]), x] + (1.0 if y == 0 else 0.0)


def of_array(now, then, params, step, y, x, depth):
    then[0, y, x] = now[0, y, x] * depth[y, x]


def total(now, params, step, y, x):
    return now[0, y, x]


@pytest.mark.parametrize(
    ("actor", "reason"),
    [
        (model(first_cell), r"reads at \[0, 0, 0\], 32 rows away.*cell y = 32"),
        (model(numbered, params={"seed": 1}), "depends on position"),
        (model(checkered), "depends on position"),
        (model(floating), r"depends on position.*`then\[0, y, x\] = .*float32\(y\)`"),
        (model(by_length), "depends on the number of rows"),
        (model(upper_half), "depends on the number of rows"),
        (model(far_source, (200, 48)), "tells row 70 from others"),
        (model(mean_of_all), "more of a level than one value"),
        (model(one_edge), "computes an edge in another way"),
        (model(of_array, arrays={"depth": np.ones((64, 48))}), "reads an array at its row"),
        (model(own, reduce={"mass": total}), r"mass \(reduce\) need all cells"),
        (model(own, replayable=False), "replayable=False"),
        (model(None, stages=[two_up, clamped]), "only some of its stages"),
    ],
    ids=lambda value: getattr(value, "kernel_type", None),
)
def test_what_cannot_be_divided_is_refused_with_its_reason(actor, reason):
    with pytest.raises(NotDecomposable, match=reason) as caught:
        locality_of(actor)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, rn.RingnbError)


def test_a_subclass_with_another_update_is_looked_at_as_any_model():
    class Tilted(rn.actors.Ising2D):
        @staticmethod
        def update(now, next, params, step, y, x):  # noqa: A002 - as in the class
            next[0, y, x] = 1 if y > 3 else -now[0, y, x]

    assert locality_of(Tilted((64, 48))).joined is False


def test_a_reach_that_is_too_short_is_refused():
    with pytest.raises(NotDecomposable, match="need 2 rows"):
        locality_of(model(two_up), reach=1)
    assert locality_of(model(two_up), reach=6).reach == 6
