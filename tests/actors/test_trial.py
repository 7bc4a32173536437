"""Updates are read and tried when an actor is made: what is wrong is refused, with its line."""

# ruff: noqa: A001, A002, A006, F841, NPY002, RET501, RET503 - what users write

from __future__ import annotations

import gc
import inspect
import random
import re
import sys
import time
import types
from random import random as drawn

import numba
import numpy as np
import pytest

import ringnb as rn
from ringnb.actors import random as counter_based
from ringnb.actors.random import uniform
from ringnb.actors.trial import _Trial, explain, try_update
from ringnb.actors.update_rules import check_references, check_text
from ringnb.testing.mixer import Mixer

A = rn.actors
SHAPE = (8, 9)
GENERATOR = np.random.default_rng(1)

# -- what is refused: the faulty line ends with a mark ------------------------------------------------


def writes_now(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    if now[0, y, x] > 1e9:
        now[0, y, x] = 0  # here


def writes_a_view_of_now(now, next, params, step, y, x):
    level = now[0]
    next[0, y, x] = now[0, y, x]
    level[y, x] = 0  # here


def fills_now(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    now[0].fill(0)  # here


def writes_params(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    params[0] += 1  # here


def writes_another_cell(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    if now[0, y, x] > 1e9:
        next[0, y, x - 1] = 0  # here


def writes_a_computed_cell(now, next, params, step, y, x):
    left = x - 1
    next[0, y, x] = now[0, y, x]
    next[0, y, left] = 0  # here


def writes_a_row(now, next, params, step, y, x):
    next[0, y] = now[0, y, x]  # here


@numba.njit
def put(next, y, x, value):
    next[0, y, x - 1] = value  # here


def writes_through_a_helper(now, next, params, step, y, x):
    put(next, y, x, now[0, y, x])


HELPERS = types.ModuleType("helpers")
HELPERS.put = put


def writes_through_a_module(now, next, params, step, y, x):
    HELPERS.put(next, y, x, now[0, y, x])


def returns(now, next, params, step, y, x):
    if now[0, y, x] > 1e9:
        return now[0, y, x]  # here
    next[0, y, x] = now[0, y, x]


def returns_what_it_calls(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    return abs(now[0, y, x])  # here


def never_writes(now, next, params, step, y, x):  # here
    _ = 2 * now[0, y, x] - next[0, y, x]


def renames(now, next, params, step, y, x):  # here
    next = now[0, y, x]


def swaps_indices(now, next, params, step, y, x):
    next[0, x, y] = now[0, y, x]  # here


def leaves_the_next_but_one(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x + 2 if x < now.shape[2] - 1 else 0]  # here


def leaves_by_a_value(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, int(now[0, y, x])]  # here


def leaves_in_the_second_step(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x + 100 * step]  # here


def keeps_its_walls(now, next, params, step, y, x):  # here
    if 0 < x < now.shape[2] - 1:
        next[0, y, x] = now[0, y, x]


def keeps_where_nothing_is(now, next, params, step, y, x):  # here
    if now[0, y, x] > 5:
        next[0, y, x] = now[0, y, x]


def reads_next(now, next, params, step, y, x):
    next[0, y, x] = 2 * now[0, y, x] - next[0, y, x]  # here


def reads_next_through_a_view(now, next, params, step, y, x):
    level = next[0]
    value = level[y, x]  # here
    next[0, y, x] = now[0, y, x] + value


def reads_next_of_another(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + next[0, y - 1, x]  # here


def draws(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + np.random.rand()  # here


def draws_with_python(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + random.random()  # here


def draws_by_another_name(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + drawn()  # here


def draws_from_a_generator(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + GENERATOR.random()  # here


@numba.njit
def noise(value):
    return value * np.random.normal(0, 1)  # here


def draws_in_a_helper(now, next, params, step, y, x):
    next[0, y, x] = noise(now[0, y, x])


def reads_a_clock(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] + time.time()  # here


WRONG = [
    (writes_now, "writes now.*Write next"),
    (writes_a_view_of_now, "writes now"),
    (fills_now, "writes now"),
    (writes_params, "writes params.*set_params"),
    (writes_another_cell, "writes next of another cell.*Write next"),
    (writes_a_computed_cell, "writes next of another cell"),
    (writes_a_row, "writes next of another cell"),
    (writes_through_a_helper, "writes next of another cell"),
    (writes_through_a_module, "writes next of another cell"),
    (returns, r"returns a value.*Write next\[field, y, x\]"),
    (returns_what_it_calls, "returns a value"),
    (never_writes, "never writes next"),
    (swaps_indices, "leaves its arrays"),
    (leaves_the_next_but_one, "leaves its arrays in step 0, at the cell y = 4, x = 7: index 9"),
    (leaves_by_a_value, "leaves its arrays in step 0, .*index 63"),
    (leaves_in_the_second_step, "leaves its arrays in step 1,"),
]
HIDDEN = [
    (renames, r"does not write next\[0, y, x\]"),
    (keeps_its_walls, r"does not write next\[0, y, x\] in step 0, at the cell y = 0, x = 0"),
    (keeps_where_nothing_is, r"does not write next\[0, y, x\].* = now\[0, y, x\] where nothing"),
    (reads_next, "before it has written it.*Pass levels=2"),
    (reads_next_through_a_view, "before it has written it"),
    (reads_next_of_another, "uses next of another cell.*Read now"),
    (draws, r"draws random numbers.*ringnb.actors.random.uniform.*y \* now.shape\[2\] \+ x"),
    (draws_with_python, "draws random numbers"),
    (draws_by_another_name, "draws random numbers"),
    (draws_from_a_generator, "draws random numbers"),
    (draws_in_a_helper, "draws random numbers"),
    (reads_a_clock, "reads a clock.*step times"),
]


def marked_line(update):
    """Return the number of the line with the mark, in the function or in the helper that it calls."""
    helpers = {
        writes_through_a_helper: put.py_func,
        writes_through_a_module: put.py_func,
        draws_in_a_helper: noise.py_func,
    }
    lines, first = inspect.getsourcelines(helpers.get(update, update))
    return next(number for number, line in enumerate(lines, first) if "# here" in line)


def name_of(value):
    return getattr(value, "__name__", "")


def make(update, **options):
    start = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    params = {"a": 1} if update is writes_params else {}
    return A.CellActor(update, SHAPE, start=start, params=params, **options)


@pytest.mark.parametrize(("update", "message"), [*WRONG, *HIDDEN], ids=name_of)
def test_a_faulty_update_is_refused_with_its_line_and_the_remedy(update, message):
    with pytest.raises(ValueError, match=f"(?s)^function {update.__name__} .*{message}") as raised:
        make(update)
    assert f"{__file__}:{marked_line(update)}: `" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("update", [update for update, _ in HIDDEN])
def test_what_is_not_replayable_is_let_in_if_that_is_said(update):
    actor = make(update, replayable=False)
    assert actor.replayable is False
    assert repr(actor) == "CellActor((8, 9), replayable=False)"


@pytest.mark.parametrize("update", [update for update, _ in WRONG])
def test_what_is_wrong_is_not_let_in_by_that(update):
    with pytest.raises(ValueError, match=update.__name__):
        make(update, replayable=False)


def test_with_two_levels_a_checkpoint_holds_what_next_holds():
    for update in (reads_next, keeps_its_walls, reads_next_through_a_view):
        assert make(update, levels=2).replayable
    with pytest.raises(ValueError, match="another cell"):  # whose order is as uncertain
        make(reads_next_of_another, levels=2)


def test_without_its_text_a_function_is_tried_all_the_same():
    names = {}
    exec("def f(u, v, p, n, i, j):\n    v[0, i, j] = u[0, i, j]\n    u[0, i, j] = 1", names)
    with pytest.raises(
        ValueError, match=r"function f writes u, .*\(line 3\). Write v\[field, i, j\]"
    ):
        A.CellActor(names["f"], SHAPE)
    exec("def g(u, v, p, n, i, j):\n    v[0, i, j] = u[0, i, j]\n    p[0] = 1", names)
    with pytest.raises(ValueError, match=r"function g writes p, .*\(line 3\)"):
        A.CellActor(names["g"], SHAPE, params={"a": 1})
    with pytest.raises(ValueError, match="returns a value"):
        A.CellActor(lambda now, next, params, step, y, x: now[0, y, x], SHAPE)


def test_a_text_that_was_edited_since_is_not_believed(tmp_path):
    good = "def f(now, next, params, step, x):\n    next[0, x] = now[0, x] + 1\n"
    file = tmp_path / "edited.py"
    file.write_text(good)
    names = {}
    exec(compile(good, str(file), "exec"), names)
    file.write_text(good.replace("next[0, x] =", "now[0, x] ="))
    A.CellActor(names["f"], (8,))


def test_a_start_that_is_called_is_tried_when_it_is_first_called():
    """It may draw from a generator: a call more would change what the next one returns."""
    calls = []

    def start(slot):
        calls.append(slot)
        return np.full((1, *SHAPE), 3.0)

    actor = A.CellActor(leaves_by_a_value, SHAPE, start=start)
    assert (actor.start(1) == 3).all()
    assert calls == [1]
    actor = A.CellActor(leaves_by_a_value, SHAPE, start=lambda _: np.full((1, *SHAPE), 30.0))
    with pytest.raises(ValueError, match="leaves its arrays"):
        actor.start()
    with pytest.raises(ValueError, match="writes next of another cell"):
        A.CellActor(writes_a_computed_cell, SHAPE, start=start)
    actor = A.CellActor(keeps_where_nothing_is, SHAPE, start=lambda _: np.full((1, *SHAPE), 9.0))
    actor.start()


# -- what is sound -----------------------------------------------------------------------------------


def names_of_its_own(now, next, params, step, y, x):
    params = np.zeros(2)
    params[0] = 1
    row = now[0, y].copy()
    row[x] += params[0]
    next[0, y, x] = row[x]


def writes_a_view(now, next, params, step, y, x):
    level = next[0]
    level[y, x] = now[0, y, x]


def writes_all_fields(now, next, params, step, y, x):
    next[:, y, x] = 2 * now[:, y, x]


def writes_part_by_part(now, next, params, step, y, x):
    next[0, y, x] = 0
    for other in range(now.shape[2]):
        next[0, y, x] += now[0, y, other]


def writes_a_wall_by_its_number(now, next, params, step, y, x):
    if x == 0:
        next[0, y, 0] = 1
    else:
        next[0, y, x : x + 1] = now[0, y, x - 1]


def returns_nothing(now, next, params, step, y, x):
    if x == 0:
        next[0, y, x] = 0
        return
    next[0, y, x], _ = now[0, y, x], 1
    return None


def reads_next_in_vain(now, next, params, step, y, x):
    before = next[0, y, x]
    next[0, y, x] = now[0, y, x] + 0 * abs(before)


@numba.njit
def store(next, y, x, value):
    next[0, y, x] = value


def writes_its_cell_through_a_helper(now, next, params, step, y, x):
    store(next, y, x, now[0, y, x])


@numba.vectorize
def doubled(value):
    return 2 * value


def calls_a_vectorised_helper(now, next, params, step, y, x):
    next[0, y, x] = doubled(now[0, y, x])


def draws_from_the_counter(now, next, params, step, y, x):
    next[0, y, x] = uniform(3, step, y * now.shape[2] + x) + counter_based.uniform(4, step, x)


def prints(now, next, params, step, y, x):
    print(x)
    next[0, y, x] = now[0, y, x]


def catches_its_own(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    try:
        if now[0, y, x] > 1000:
            raise ValueError
    except Exception:
        next[0, y, x] = 0


def recursive(now, next, params, step, y, x):
    next[0, y, x] = power(now[0, y, x], 3)


@numba.njit
def power(value, n):
    return value if n == 1 else value * power(value, n - 1)


def counts_beyond_eight_bits(now, next, params, step, y, x):
    left = now[0, y, x] % 9 - 1
    next[0, y, x] = now[0, y, left] + 300 if left >= 0 else -1


def never_ends(now, next, params, step, y, x):
    while now[0, 0, 0] >= 0:
        pass
    next[0, y, x] = now[0, y, x]


class Strange:
    """Asked for anything, it raises."""

    def __getattr__(self, name):
        raise ImportError(name)


STRANGE = Strange()


def refers_to_something_strange(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x] if now[0, y, x] < 1000 else STRANGE.value


SOUND = [
    refers_to_something_strange,
    names_of_its_own,
    writes_a_view,
    writes_all_fields,
    writes_part_by_part,
    writes_a_wall_by_its_number,
    returns_nothing,
    reads_next_in_vain,
    writes_its_cell_through_a_helper,
    calls_a_vectorised_helper,
    draws_from_the_counter,
    prints,
    catches_its_own,
    recursive,
    counts_beyond_eight_bits,
    never_ends,
]


@pytest.mark.parametrize("update", SOUND, ids=lambda f: f.__name__)
def test_a_sound_update_is_taken(update, capsys):
    began = time.thread_time()
    A.CellActor(update, SHAPE, start=np.arange(72).reshape(SHAPE), dtype="uint8")
    assert time.thread_time() - began < 0.5
    assert capsys.readouterr().out == ""
    assert sys.gettrace() is None


@pytest.mark.parametrize(
    "actor",
    [
        A.Wave2D((31, 32)),
        A.Wave3D((5, 6, 7)),
        A.Heat2D((16, 16)),
        A.GrayScott((3, 9)),
        A.Life((16, 16)),
        A.Ising2D((16, 16)),
        Mixer((16, 17)),
    ],
    ids=lambda actor: actor.kernel_type,
)
def test_the_models_of_the_package_are_sound_and_every_cell_could_be_tried(actor, monkeypatch):
    cells = []
    run = _Trial.run
    monkeypatch.setattr("ringnb.actors.trial._LIMIT_S", 5.0)  # a busy machine is slow
    monkeypatch.setattr(_Trial, "run", lambda *given: cells.append(run(*given)) or cells[-1])
    check_references(actor.update)
    check_text(actor.update)
    try_update(actor, actor.update, actor.start())
    assert len(cells) >= 15
    assert None not in cells
    if actor.levels == 2:  # which they need: the trial sees that
        actor.levels = 1
        with pytest.raises(ValueError, match="before it has written it"):
            try_update(actor, actor.update, actor.start()[: len(actor.fields)])


def test_a_trial_costs_no_memory_of_the_grids_size():
    A.CellActor(writes_a_view, (2**19, 2**19))


def raises_far_off(now, next, params, step, y, x):
    next[0, y, x] = now[0, y, x]
    if step > 10**6:
        raise ValueError(step)


def test_an_exception_is_let_in_only_where_it_stops_the_kernel():
    with pytest.raises(ValueError, match=r"raises an exception.*test_trial.*boundscheck=True"):
        rn.actors.CellActor(raises_far_off, (8, 8))
    rn.actors.CellActor(raises_far_off, (8, 8), boundscheck=True)


# -- what compiled code has met, computed again ----------------------------------------------------


@numba.njit
def _picky(value):
    if value > 2.5:
        raise ValueError("too much")
    return value


def raises_in_a_helper(now, next, params, step, y, x):
    next[0, y, x] = _picky(now[0, y, x]) if step else 0


def raises_without_a_word(now, next, params, step, y, x):
    if step == 4:
        raise RuntimeError
    next[0, y, x] = 0


def cannot_be_tried(now, next, params, step, y, x):
    next[0, y, x] = "" if step else 0


@pytest.mark.parametrize(
    ("update", "told"),
    [
        (raises_in_a_helper, r"ValueError: too much \(.*test_trial.py:\d+: `raise ValueError\("),
        (raises_without_a_word, r"RuntimeError \(.*test_trial.py:\d+: `raise RuntimeError`"),
        (cannot_be_tried, None),  # the arrays of the trial refuse that, not the function
    ],
)
def test_what_an_update_raised_is_named_with_its_line(update, told):
    actor = A.CellActor(update, SHAPE, boundscheck=True)
    now = np.full((1, *SHAPE), 3, np.float32)
    said = explain(actor, 0, now, now, np.zeros(0), 4, (2, 5))
    if told is None:
        assert said == ""
    else:
        assert re.search(told, said)
        assert f"function {update.__name__} raised in step 4, at the cell y = 2, x = 5" in said


def test_the_end_of_a_trial_cuts_no_finaliser_short():
    ended = []

    class Costly:
        def __del__(self):
            until = time.thread_time() + 0.06  # beyond the limit of a trial
            while time.thread_time() < until:
                pass
            ended.append(True)

    garbage = [Costly()]

    def update(now, before, params, step, y, x):
        garbage.clear()  # as the garbage collector may, at any point
        before[0, y, x] = now[0, y, x]

    A.CellActor(update, (8, 8), replayable=False)
    assert ended == [True]


def test_no_collection_of_garbage_cuts_in():
    """What one calls, such as Numba's callbacks of weak references, would be left half done."""
    called = []
    before = gc.get_threshold()

    def note(phase, _):
        called.append(phase)

    def update(now, before, params, step, y, x):
        cycle = []
        cycle.append(cycle)
        before[0, y, x] = now[0, y, x]
        called.append("a cell")

    A.CellActor(
        update, (8, 8), replayable=False
    )  # else modules that it needs are yet to be imported
    called.clear()
    gc.callbacks.append(note)
    gc.set_threshold(1, 1, 1)
    try:
        A.CellActor(update, (8, 8), replayable=False)
    finally:
        gc.set_threshold(*before)
        gc.callbacks.remove(note)
    cells = [i for i, what in enumerate(called) if what == "a cell"]
    assert "stop" in called[: cells[0]] + called[cells[-1] :]
    assert set(called[cells[0] : cells[-1]]) == {"a cell"}
    assert gc.isenabled()
