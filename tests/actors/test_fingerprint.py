"""What a checkpoint records of the code: the same on every Python, and what was edited is named."""

from __future__ import annotations

import itertools
import json
import linecache
import sys
import types

import numba
import numpy as np
import pytest

import ringnb as rn
from ringnb.actors import source
from ringnb.actors.fingerprint import code_of, differences

PHYSICS = '''
"""Constants and helpers."""
import enum
import math
from typing import NamedTuple

import numba
import numpy as np

c = 0.5
TABLE = np.arange(5000) / 4
NAMES = frozenset({"a", "b", "c"})

class Cell(enum.IntEnum):
    DEAD = 0
    ALIVE = 1

class Scheme(NamedTuple):
    order: int
    limit: float

scheme = Scheme(2, 0.25)
single = np.float32(0.1)

@numba.njit
def laplace(x, weight=3.0):
    """Sum neighbours."""
    return weight * c * x + TABLE[3]

@numba.njit(fastmath=True)
def power(x, n):
    return 1.0 if n < 1 else x * power(x, n - 1)

@numba.vectorize
def twice(x):
    return 2 * x

@numba.njit
def half(x):
    return x / 2
'''
PROGRAM = '''
import math
import numpy as np
import physics
import physics as p
from physics import laplace as f
both = (p.twice, p.half)

def make(gain):
    def step(now, next, params, step, y, x):
        """Do a step."""
        value: float = now[0, y, x]  # of this cell
        def scaled(v: float) -> float:
            return v * gain
        total = sum([p.c * value for _ in range(2)])
        if y > 0 and not x:
            total = f(total) + p.power(total, 3) + both[0](1.0)
        total += p.scheme.limit + p.Cell.ALIVE + p.single + len(p.NAMES) + getattr(p, "c") * math.pi
        next[0, y, x] = scaled(np.sqrt(total))
    return step

update = make(0.25)
'''
count = itertools.count()


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Return a function that runs a text as the module of a name, from a file of its own."""

    def run(text, name="program"):
        file = tmp_path / f"{name}{next(count)}.py"
        file.write_text(text)
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        exec(compile(text, str(file), "exec", dont_inherit=True), vars(module))
        module.file = file
        return module

    return run


def described(load, physics=PHYSICS, program=PROGRAM):
    load(physics, "physics")
    return code_of(load(program).update)


def test_it_is_the_same_in_every_process_and_on_every_python(load):
    code = described(load)
    helpers = [f"physics.{name}" for name in ("half", "laplace", "power", "twice")]
    assert sorted(code["functions"]) == ["make.step", *helpers]
    assert code["values"] == {
        "both": "(function twice, function half)",
        "gain": "0.25",
        "options of physics.power": "{'fastmath': True}",
        "physics.Cell.ALIVE": "Cell.ALIVE = 1",
        "physics.NAMES": "{'a', 'b', 'c'}",
        "physics.TABLE": "float64[5000] 6ec4f4c6ce7d0584",
        "physics.c": "0.5",
        "physics.laplace.weight": "3.0",
        "physics.scheme": "Scheme(order=2, limit=0.25)",
        "physics.single": "float32(0.1)",
    }
    golden = "7223430962350008684e8d8a80179f7901c6d10b17789d3b848a2b03634c5179"
    assert code["fingerprint"] == golden


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# of this cell", "# of that cell"),
        ('"""Do a step."""', '"""Do one step.\n\n        Of many.\n        """\n'),
        ("value: float = ", "value = "),
        ("v: float) -> float", "v)"),
        ("now[0, y, x]  #", "now[0,\n  y, x]  #"),
        ("import physics as p", "import physics as p  # the laws\nX = 1"),
        ("def step(", "def advance("),
        ("return step", "return advance"),
    ],
)
def test_what_changes_nothing_does_not_count(load, old, new):
    program = PROGRAM.replace(old, new)
    if "advance" in new:
        program = PROGRAM.replace("def step", "def advance").replace(
            "return step", "return advance"
        )
    assert program != PROGRAM
    code, edited = described(load), described(load, program=program)
    assert edited["fingerprint"] == code["fingerprint"]
    assert differences(code, edited) == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("c = 0.5", "c = 0.7", "`physics.c` was 0.5, is 0.7"),
        ("c = 0.5", "c = 1", "`physics.c` was 0.5, is 1"),
        ("arange(5000)", "arange(4000)", "`physics.TABLE` was float64[5000] "),
        (
            "np.float32(0.1)",
            "np.float64(0.1)",
            "`physics.single` was float32(0.1), is float64(0.1)",
        ),
        ("ALIVE = 1", "ALIVE = 2", "`physics.Cell.ALIVE` was Cell.ALIVE = 1, is Cell.ALIVE = 2"),
        (
            "Scheme(2, 0.25)",
            "Scheme(2, 0.5)",
            "`physics.scheme` was Scheme(order=2, limit=0.25), is ",
        ),
        ("weight=3.0", "weight=4.0", "`physics.laplace.weight` was 3.0, is 4.0"),
        (
            "fastmath=True",
            "parallel=False",
            "`options of physics.power` ({'fastmath': True}) is no ",
        ),
        ("n < 1", "n <= 1", "function `physics.power` differs"),
        ("2 * x", "3 * x", "function `physics.twice` differs"),
        ("x / 2", "x / 3", "function `physics.half` differs"),
        ("make(0.25)", "make(0.5)", "`gain` was 0.25, is 0.5"),
        ("v * gain", "v / gain", "function `make.step` differs"),
        ("y > 0 and not x", "y > 0 or not x", "function `make.step` differs"),
        ("np.sqrt", "math.sqrt", "function `make.step` differs"),
        ("import numpy as np", "import math as np", "function `make.step` differs"),
        ("p.c * value", "value", "function `make.step` differs"),
    ],
)
def test_what_was_edited_is_named(load, old, new, said):
    of_program = old in PROGRAM and "numpy" not in new and (old not in PHYSICS or "math" in new)
    code = described(load)
    if of_program:
        edited = described(load, program=PROGRAM.replace(old, new))
    else:
        edited = described(load, PHYSICS.replace(old, new))
    assert edited["fingerprint"] != code["fingerprint"]
    assert [one for one in differences(code, edited) if one.startswith(said)], differences(
        code, edited
    )
    assert len(differences(code, edited)) == 1
    assert len(differences(edited, code)) == 1


def test_helpers_that_come_go_and_are_renamed_are_named(load):
    code = described(load)
    renamed = described(
        load,
        PHYSICS + "\n@numba.njit\ndef lap(x, weight=3.0):\n    return weight * c * x + TABLE[3]\n",
        PROGRAM.replace("laplace as", "lap as"),
    )
    assert "function `physics.lap` was named `physics.laplace`" in differences(code, renamed)
    gone = described(load, program=PROGRAM.replace("f(total)", "total"))
    assert "function `physics.laplace` is no longer used" in differences(code, gone)
    assert "function `physics.laplace` is new" in differences(gone, code)
    swapped = described(load, program=PROGRAM.replace("laplace as f", "twice as f"))
    assert "function `make.step` differs" in differences(code, swapped)


def test_a_file_that_was_edited_since_it_was_loaded_is_not_taken_for_what_runs(load):
    text = "c = 1\ndef update(now, next, params, step, x):\n    next[0, x] = now[0, x] * c\n"
    module, other = load(text), load(text.replace("* c", "+ c"))
    written = code_of(other.update)
    module.file.write_text(text.replace("* c", "+ c"))
    linecache.checkcache()
    code = code_of(module.update)
    assert code["functions"]["update"].startswith(f"{sys.implementation.cache_tag}:")
    assert code["fingerprint"] != written["fingerprint"]
    assert code["values"] == {"c": "1"}
    # An edit of the file that is then loaded again, while the old text is still remembered.
    exec(compile(module.file.read_text(), str(module.file), "exec"), vars(module))
    assert code_of(module.update) == written


def test_without_source_the_bytecode_counts_on_its_python_only():
    def make(text, **names):
        namespace = {"K": 2.0, **names}
        exec(text, namespace)
        return code_of(namespace["f"])

    text = "def f(now, next, params, step, x):\n    'Doc.'\n    next[0, x] = now[0, x] * K"
    code = make(text)
    assert make(text.replace("Doc", "Other"))["fingerprint"] == code["fingerprint"]
    assert differences(code, make(text.replace("*", "+"))) == ["function `f` differs"]
    assert differences(code, make(text, K=3.0)) == ["`K` was 2.0, is 3.0"]
    elsewhere = json.loads(json.dumps(code).replace(sys.implementation.cache_tag, "cpython-399"))
    elsewhere["fingerprint"] = "0" * 64
    assert differences(elsewhere, make(text.replace("*", "+"))) == []


def test_no_value_of_a_user_is_too_odd():
    class Odd:
        def __getattr__(self, name):
            raise RuntimeError(name)

        def __repr__(self):
            raise RuntimeError

    loop = []
    loop.append(loop)
    objects = np.empty(1, object)
    objects[0] = Odd()
    values = [
        objects,
        Odd(),
        loop,
        Odd,
        "x" * 1000,
        "\ud800",
        b"\0",
        ...,
        None,
        1j,
        float("nan"),
        10**5000,
    ]
    values += [np.zeros((2, 0)), np.array("x"), np.array(1.5), np.dtype("f4,i8")]
    values += [
        np.zeros(2, "f4,i8"),
        numba.float32,
        object(),
        range(3),
        {1: {2}},
        np.datetime64("now"),
    ]
    values += [print, len, "".join, property(), staticmethod(len), lambda: 0, np.random, types]
    names = {f"v{i}": value for i, value in enumerate(values)}
    exec(
        f"def f(now, next, params, step, x): next[0, x] = ({', '.join(names)}, undefined.x)", names
    )
    code = code_of(names["f"])
    assert code == code_of(names["f"]) == json.loads(json.dumps(code))
    assert max(map(len, code["values"].values())) <= 60
    names["f"].__module__, names["f"].__qualname__ = "\ud800\n" * 100, "f" * 1000
    assert all(len(name) <= 80 and name.isprintable() for name in code_of(names["f"])["functions"])


def test_the_record_stays_small_and_the_fingerprint_covers_all():
    names = {f"v{i}": i for i in range(100)}
    exec(f"def f(now, next, params, step, x): next[0, x] = {' + '.join(names)}", names)
    code = code_of(names["f"])
    assert (len(code["values"]), code["more"]) == (32, 68)
    names["v99"] = 0
    assert differences(code, code_of(names["f"])) == [
        "something differs that is not named one by one"
    ]
    names.update(dict.fromkeys(names.keys() - {"f", "__builtins__"}, 7))
    said = differences(code, code_of(names["f"]))
    assert (said[-1], len(said)) == ("24 more", 9)


def test_built_in_models_are_described_by_their_source():
    for name in ("Wave2D", "Wave3D", "Heat2D", "GrayScott", "Life", "Ising2D"):
        code = code_of(getattr(rn.actors, name).update)
        assert code["update"] == f"{name}.update"
        assert not [digest for digest in code["functions"].values() if ":" in digest]
        assert len(json.dumps(code)) < 500


def test_a_checkpoint_of_other_random_numbers_says_so(monkeypatch):
    now = code_of(rn.actors.Ising2D.update)
    monkeypatch.setattr("ringnb.actors.ising.SEQUENCE", 1)
    assert differences(code_of(rn.actors.Ising2D.update), now) == ["`SEQUENCE` was 1, is 2"]


def test_a_parse_that_another_thread_disturbs_is_made_again(monkeypatch):
    parse, left = source.ast.parse, ["once", "twice"]

    def disturbed(text):
        if left:
            left.pop()
            raise SystemError("AST constructor recursion depth mismatch (before=99, after=93)")
        return parse(text)

    monkeypatch.setattr(source.ast, "parse", disturbed)
    text = "def f():\n    return 1\n"
    assert source._parsed(text).body[0].name == "f"
    assert left == []
