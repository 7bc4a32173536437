"""The cache of compiled code never stops work: what goes wrong with it costs time and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import time
from pathlib import Path

import numba
import pytest
from processes import elsewhere

from ringnb._support.children import run_python
from ringnb.kernel import caching

TREE = Path(caching.__file__).parents[1]
# An entry point is enough to meet trouble.
PROGRAM = """
import logging
logging.basicConfig(format="WARNING %(message)s")
import numpy as np
from ringnb.kernel import caching
from ringnb.kernel.ring import load_word
{before}
load_word(np.zeros(8, np.int64), 0)
{after}
hits = sum(load_word.stats.cache_hits.values())
print(caching.find_cache()[0], hits)
"""
# An actor's two functions are cached in another way.
WITH_AN_ACTOR = """
from ringnb.actors import Heat2D
from ringnb.kernel.cpu.compile import compile_actor
compile_actor(Heat2D((8, 8)))
"""


def python(where, *arguments, **environment):
    # Not in the tree: PYTHONPATH says which copy of the package is run.
    env = os.environ | {"PYTHONPATH": str(TREE.parent)} | environment
    return run_python(*arguments, cwd=where, env=env)


def run(cache, before="", after="", **environment):
    """Run the program in a process of its own: a new one where the package is a copy."""
    program = PROGRAM.format(before=before, after=after)
    if "PYTHONPATH" in environment:
        done = python("/", "-c", program, NUMBA_CACHE_DIR=str(cache), **environment)
        assert done.returncode == 0, done.stderr
        out, errors = done.stdout, done.stderr
    else:
        out, errors = elsewhere(call, program, {"NUMBA_CACHE_DIR": str(cache), **environment})
    assert "Traceback" not in errors
    place, hits = out.split()
    return place, int(hits), errors


def call(program, environment):
    os.environ.update(environment)
    numba.config.reload_config()
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as errors,
    ):
        exec(program, {})
    return out.getvalue(), errors.getvalue()


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a cache that a process has filled."""
    cache = tmp_path_factory.mktemp("cache")
    place, hits, errors = run(cache, after=WITH_AN_ACTOR)
    assert (Path(place).parent, hits, errors) == (cache / "ringnb", 0, "")
    return cache


@pytest.fixture
def cache(filled, tmp_path):
    return Path(shutil.copytree(filled, tmp_path / "cache"))


def files(cache):
    return sorted(path for path in cache.rglob("*") if path.is_file())


def test_the_next_process_finds_the_code(cache):
    before = {path: path.read_bytes() for path in files(cache)}
    assert len(before) == 3
    assert run(cache, after=WITH_AN_ACTOR)[1:] == (1, "")
    assert {path: path.read_bytes() for path in files(cache)} == before


def whole(path):
    content = path.read_bytes()
    return hashlib.sha256(content[32:]).digest() == content[:32]


def test_a_damaged_file_is_compiled_and_written_anew(cache):
    torn, garbage, flipped = files(cache)
    torn.write_bytes(torn.read_bytes()[:1000])
    garbage.write_bytes(b"\x80" * 1000)
    content = bytearray(flipped.read_bytes())
    content[len(content) // 2] ^= 1
    flipped.write_bytes(content)
    assert not any(map(whole, files(cache)))
    assert run(cache, after=WITH_AN_ACTOR)[1:] == (0, "")
    assert all(map(whole, files(cache)))


def test_a_directory_in_the_place_of_a_file_is_passed_over(cache):
    for path in files(cache):
        path.unlink()
        path.mkdir()
    place, hits, errors = run(cache, after=WITH_AN_ACTOR)
    assert (Path(place).parent, hits) == (cache / "ringnb", 0)
    assert (errors.count("\n"), errors.count("compiled code is not kept")) == (1, 1), errors


def nowhere(tmp_path):
    """Return an environment, and a copy of the package, in which no place can be written."""
    blocked = tmp_path / "blocked"
    blocked.write_text("a file in the place of a directory: it stops root as well")
    without = shutil.ignore_patterns("__pycache__")
    copy = shutil.copytree(TREE, tmp_path / "site" / "ringnb", ignore=without)
    (copy / "__pycache__").write_text("")
    return {
        "NUMBA_CACHE_DIR": str(blocked),
        "XDG_CACHE_HOME": str(blocked),
        "PYTHONPATH": str(copy.parent),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def test_a_place_that_cannot_be_written_is_passed_over(tmp_path):
    environment = nowhere(tmp_path) | {"XDG_CACHE_HOME": str(tmp_path / "home")}
    place, _, errors = run(environment.pop("NUMBA_CACHE_DIR"), **environment)
    assert (Path(place).parent, errors) == (tmp_path / "home" / "ringnb", "")


def test_without_any_place_all_is_compiled_and_one_line_says_so(tmp_path):
    environment = nowhere(tmp_path)
    place, hits, errors = run(environment.pop("NUMBA_CACHE_DIR"), **environment)
    assert (place, hits) == ("None", 0)
    assert (errors.count("\n"), errors.count("NUMBA_CACHE_DIR")) == (1, 1), errors


def test_a_directory_of_another_user_is_not_trusted(cache, monkeypatch):
    """Who can write it decides what this process runs."""
    (place,) = (cache / "ringnb").iterdir()
    if os.geteuid():
        pytest.skip("only root can give a directory away")
    os.chown(place, 12345, 12345)
    elsewhere, hits, _ = run(cache, XDG_CACHE_HOME=str(cache / "home"))
    assert elsewhere != str(place)
    assert hits == 0 or "__pycache__" in elsewhere


def test_a_full_disk_costs_time_and_one_line(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        place, hits, errors = run(disk)
        assert (Path(place).parent, hits) == (disk / "ringnb", 0)
        assert (errors.count("\n"), "No space left" in errors) == (1, True), errors
        assert not [path for path in files(disk) if path.name.startswith(".")]  # no drafts
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_what_former_sources_left_is_deleted_but_for_the_last_used(tmp_path):
    place = tmp_path / "ringnb"
    for age in range(12):
        left = place / f"compiled-{age:016x}"
        left.mkdir(parents=True)
        (left / "code").write_bytes(b"")
        os.utime(left, (time.time() - 1000 * age - 1000,) * 2)
    (place / "something else").mkdir()
    now, _, errors = run(tmp_path)
    kept = {f"compiled-{age:016x}" for age in range(7)}
    assert {path.name for path in place.iterdir()} == {*kept, "something else", Path(now).name}
    assert errors == ""


def test_what_versions_before_left_in_the_package_is_deleted(tmp_path):
    environment = nowhere(tmp_path)
    former = tmp_path / "site" / "ringnb" / "kernel" / "__pycache__"
    former.mkdir()
    for name in ("ring.push-1.py311.nbi", "ring.push-1.py311.1.nbc", "ring.cpython-311.pyc"):
        (former / name).write_bytes(b"")
    run(tmp_path / "new", PYTHONPATH=environment["PYTHONPATH"])
    # The process, of whatever Python, may write its own byte code there.
    assert "ring.cpython-311.pyc" in {path.name for path in former.glob("ring.*")}
    assert list(former.glob("*.nb?")) == []


def test_a_directory_that_vanishes_under_a_process_is_made_anew(tmp_path):
    vanish = "import shutil; shutil.rmtree(caching.find_cache()[0])"
    place, _, errors = run(tmp_path, before=vanish)
    assert (len(list(Path(place).iterdir())), errors) == (1, "")


WITHOUT_A_COMPILER = """
import ringnb as rn
from ringnb import cli
from ringnb.testing import MemoryStorage
try:
    rn.Session(rn.actors.Heat2D((8, 8)), storage=MemoryStorage())
except rn.RingnbError as error:
    print(type(error).__name__, str(error).count("\\n"), str(error))
print("status", cli.main(["doctor"]))
"""


def test_without_a_compiler_a_session_says_what_to_do_and_the_doctor_lives(tmp_path):
    done = python(tmp_path, "-c", WITHOUT_A_COMPILER, NUMBA_DISABLE_JIT="1")
    assert done.stdout.startswith("BackendUnavailable 0 NUMBA_DISABLE_JIT is set"), done.stderr
    assert "unset it" in done.stdout.splitlines()[0]
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.endswith("status 1\n")
    assert "BackendUnavailable: NUMBA_DISABLE_JIT is set" in done.stdout


@pytest.mark.slow
def test_without_any_place_the_doctor_lives(tmp_path):
    done = python(tmp_path, "-m", "ringnb.cli", "doctor", **nowhere(tmp_path))
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
    assert "is not kept" in done.stdout
