"""What runs is what is written: a session never computes with code or constants of before an edit.

Each test edits what an update function refers to, between two processes that share one cache, or
between two sessions of a process, and looks at what the second one computes.
"""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import shutil
import sys
import types

import numba
import numpy as np
import pytest
from processes import elsewhere

import ringnb as rn
from ringnb.kernel.caching import all_it_reads, find_cache
from ringnb.kernel.cpu.compile import compile_actor
from ringnb.testing import MemoryStorage

HELPERS = """
import math
import numba
import numpy as np
K = {v}.0
TABLE = np.full(5000, 1.0)
TABLE[2500] = K
TABLES = (TABLE, np.zeros(3))

@numba.njit
def helper(x):
    return x * {v}

@numba.njit
def other(x, by={v}):
    return x * by

@numba.vectorize
def vectorised(x):
    return x * {v}

@numba.njit(fastmath={fast})
def residue(x):
    return {v} * x + ((x + 1e300) - 1e300)
"""
KEPT = """
import numba
import helpers

@numba.njit(cache=True)
def kept(x):
    return x * helpers.K
"""
PROGRAM = """
import helpers, kept, numba, sys
import numpy as np
import ringnb as rn
from helpers import K as SCALE, TABLE as T, TABLES as TS, other as o, residue as r, vectorised as v
from ringnb.testing import MemoryStorage

def constant_of_a_module(now, next, params, step, x):
    next[0, x] = now[0, x] * helpers.K

def function_of_a_module(now, next, params, step, x):
    next[0, x] = helpers.helper(now[0, x])

def constant_in_an_inner_function(now, next, params, step, x):
    def scaled(value):
        return value * SCALE
    next[0, x] = scaled(now[0, x])

def constant_in_a_comprehension(now, next, params, step, x):
    next[0, x] = sum([now[0, x] * SCALE for _ in range(1)])

def table(now, next, params, step, x):
    next[0, x] = now[0, x] * T[2500]

def table_in_a_tuple(now, next, params, step, x):
    next[0, x] = now[0, x] * TS[0][2500]

def default_of_a_helper(now, next, params, step, x):
    next[0, x] = o(now[0, x])

def vectorised_helper(now, next, params, step, x):
    next[0, x] = v(now[0, x])

def helper_that_numba_caches(now, next, params, step, x):
    next[0, x] = kept.kept(now[0, x])

def options_of_a_helper(now, next, params, step, x):
    next[0, x] = r(now[0, x])

updates = [u for u in list(globals().values()) if getattr(u, "__module__", "") == "__main__"]
assert len(updates) == 10
updates = [u for u in updates if u.__name__ in sys.argv[1:] or not sys.argv[1:]]
actors = [rn.actors.CellActor(u, (4,), start=np.ones((1, 4)), dtype=float) for u in updates]
with rn.Session(actors, storage=MemoryStorage(), lanes=1) as session:
    for slot, update in enumerate(updates):
        session.run_steps(slot, 1, timeout=100)
        print(update.__name__, session.snapshot(slot, timeout=100).numpy()["u"][0])
"""


def run(project, cache, value, *names, fast=False):
    """Run the program in a new process; return what each of its actors computed from a one.

    The names are those of its actors, if not all.
    """
    project.mkdir(exist_ok=True)
    (project / "helpers.py").write_text(HELPERS.format(v=value, fast=fast))
    (project / "kept.py").write_text(KEPT)
    (project / "program.py").write_text(PROGRAM)
    said = elsewhere(call, project, cache, names)
    assert isinstance(said, str), said
    return {name: float(found) for name, found in map(str.split, said.splitlines())}


def call(project, cache, names):
    # Python takes an edit within one second that leaves a file's length for no edit.
    sys.dont_write_bytecode = True
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
    numba.config.reload_config()
    os.chdir(project)
    sys.path.insert(0, str(project))
    sys.argv[1:] = names
    with contextlib.redirect_stdout(io.StringIO()) as out:
        runpy.run_path("program.py", run_name="__main__")
    return out.getvalue()


def test_an_edit_in_any_place_is_computed_by_the_next_process(tmp_path):
    cache = tmp_path / "cache"
    ours, _ = find_cache()  # the kernel's own code need not be compiled for this
    if ours is not None:
        shutil.copytree(ours, cache / "ringnb" / ours.name)
    before = run(tmp_path / "a", cache, 2, fast=True)
    assert before.pop("options_of_a_helper") == 3  # fast arithmetic cancels the large number
    assert set(before.values()) == {2}
    after = run(tmp_path / "a", cache, 5)
    assert after == dict.fromkeys([*before, "options_of_a_helper"], 5)
    # The same names in another project.
    names = "constant_of_a_module", "function_of_a_module", "helper_that_numba_caches"
    assert run(tmp_path / "b", cache, 7, *names) == dict.fromkeys(names, 7)


def first_values(actors):
    with rn.Session(actors, storage=MemoryStorage(), lanes=1) as session:
        for slot in range(len(actors)):
            session.run_steps(slot, 1)
        return [float(session.snapshot(slot).numpy()["u"][0]) for slot in range(len(actors))]


def test_what_a_notebook_defines_anew_is_computed_by_the_next_session():
    table = np.full(5000, 2.0)
    cells = {"np": np, "njit": numba.njit, "K": 2.0, "TABLE": table}

    def define(value):
        exec(f"@njit\ndef helper(x): return x * {value}", cells)

    define(2)
    exec("@njit\ndef outer(x): return helper(x)", cells)
    exec("@njit\ndef scaled(x): return x * K", cells)
    exec("def constant(now, next, params, step, x): next[0, x] = now[0, x] * K", cells)
    exec("def table(now, next, params, step, x): next[0, x] = now[0, x] * TABLE[2500]", cells)
    exec("def helped(now, next, params, step, x): next[0, x] = helper(now[0, x])", cells)
    exec("def nested(now, next, params, step, x): next[0, x] = outer(now[0, x])", cells)
    exec("def through(now, next, params, step, x): next[0, x] = scaled(now[0, x])", cells)
    names = ["constant", "table", "helped", "nested", "through"]
    actors = [
        rn.actors.CellActor(cells[name], (4,), start=np.ones((1, 4)), dtype=float) for name in names
    ]
    assert first_values(actors) == [2] * 5
    cells["K"] = 3.0
    table[2500] = 3.0  # in place
    define(3)
    assert first_values(actors) == [3] * 5


NUMBER = "def f(now, next, params, step, x): next[0, x] = np.sqrt(now[0, x]) * K"
CLOSURE = f"def g(K):\n    {NUMBER}\n    return f\nf = g(K)"
MODULE = """
mod = types.ModuleType("mod")
mod.K = K
def f(now, next, params, step, x): next[0, x] = getattr(mod, "K") + mod.K
"""
HELPER = """
@numba.njit
def power(x, n):
    return 1.0 if n < 1 else x * power(x, n - 1)
def f(now, next, params, step, x): next[0, x] = power(now[0, x] * K, 3)
"""


@pytest.mark.parametrize("text", [NUMBER, CLOSURE])
def test_a_process_compiles_the_same_function_once(text):
    """A session is opened again and again in a notebook: that costs neither time nor memory."""

    def step_address(k):
        namespace = {"K": k, "np": np}
        exec(text, namespace)
        return compile_actor(rn.actors.CellActor(namespace["f"], (4,))).step_addresses

    first, same, other, almost = map(step_address, (2.0, 2.0, 3.0, 2))
    assert first == same
    assert len({first, other, almost}) == 3


@pytest.mark.parametrize("text", [MODULE, HELPER])
def test_a_function_is_compiled_once_until_what_it_refers_to_changes(text):
    namespace = {"K": 2.0, "numba": numba, "types": types}
    exec(text, namespace)
    actor = rn.actors.CellActor(namespace["f"], (4,))
    first = compile_actor(actor).step_addresses
    assert compile_actor(actor).step_addresses == first
    namespace["K"] = 3.0
    if "mod" in namespace:
        namespace["mod"].K = 3.0
    assert compile_actor(actor).step_addresses != first


def test_what_may_change_unseen_equals_nothing():
    namespace = {"numba": numba, "made": dict}
    exec("def f(x): return made(x)", namespace)
    assert all_it_reads(namespace["f"]) != all_it_reads(namespace["f"])
