"""`ringnb bench --peers`: whatever peers are there are measured, the others are rows that say so."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ringnb.cli import command_line as cli
from ringnb.cli.bench import peers, report
from ringnb.cli.bench.measuring import Row
from ringnb.cli.bench.peers import environment, stepping, storage
from ringnb.cli.bench.peers.peer import Peer, PeerFailed
from ringnb.cli.bench.peers.rounds import in_turn

ROOT = Path(__file__).parents[2]


def run(tmp_path, *arguments):
    """Measure with the peers of this very environment."""
    document = tmp_path / "p.json"
    fixed = ["--peers", "--peers-env", sys.prefix, "--quick", "--dir", str(tmp_path)]
    assert cli.main(["bench", *fixed, "--json", str(document), *arguments]) == 0
    document = json.loads(document.read_text())
    return document, {row["key"]: row for row in document["rows"]}


def test_waves_are_compared_then_measured_in_turn(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stepping, "_STEPS", {16: 4})
    monkeypatch.setattr(stepping, "_REACTION_STEPS", {})
    monkeypatch.setattr(stepping, "_PEERS", {"numpy": "NumPy", "nobody": "Nobody"})
    document, rows = run(tmp_path, "--only", "stepping")
    measured, absent = rows["peer_wave_16_numpy"], rows["peer_wave_16_nobody"]
    assert len(measured["samples"]) == 3
    assert "Gcells/s" in measured["note"]
    assert document["peers"] == {"numpy": np.__version__}
    assert (absent["samples"], absent["median"], absent["note"]) == ([], None, "KeyError: 'nobody'")
    out = capsys.readouterr().out
    assert all(row["what"] in out and row["note"] in out for row in rows.values())
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]


def test_an_array_is_stored_and_loaded_in_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_SHAPE", (2, 16, 16))
    monkeypatch.setattr(storage, "_PEERS", {"numpy": "np.save", "nobody": "nobody.save"})
    _, rows = run(tmp_path, "--only", "storage")
    for key in ("save_ringnb", "load_ringnb", "fill_ringnb", "save_numpy", "load_numpy"):
        assert len(rows[f"peer_{key}"]["samples"]) == 3
        assert "raw" in rows[f"peer_{key}"]["note"]
    assert (
        rows["peer_save_nobody"]["note"] == rows["peer_load_nobody"]["note"] == "KeyError: 'nobody'"
    )
    assert len(rows) == 7


@pytest.mark.slow
def test_all_peers_that_are_here_take_part(tmp_path, monkeypatch):
    monkeypatch.setattr(stepping, "_STEPS", {16: 4})
    monkeypatch.setattr(stepping, "_REACTION_STEPS", {})
    monkeypatch.setattr(storage, "_SHAPE", (2, 16, 16))
    document, rows = run(tmp_path)
    for name in ("wave_16_numpy", "wave_16_prange", "save_zarr", "load_zarr"):
        assert rows[f"peer_{name}"]["samples"], rows[f"peer_{name}"]["note"]
    assert set(document["peers"]) >= {"numpy", "numba", "zarr"}
    assert all(row["samples"] or row["note"] for row in rows.values())


@pytest.mark.slow
def test_a_wave_that_is_another_one_is_not_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(stepping, "_STEPS", {16: 4})
    monkeypatch.setattr(stepping, "_REACTION_STEPS", {})
    monkeypatch.setattr(stepping, "_PEERS", {"numpy": "NumPy"})
    monkeypatch.setattr(stepping, "COURANT2", 0.1)
    _, rows = run(tmp_path, "--only", "stepping")
    assert "its wave is another one" in rows["peer_wave_16_numpy"]["note"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler, cc")
def test_a_reaction_in_c_is_that_of_ringnb(tmp_path, monkeypatch):
    monkeypatch.setattr(stepping, "_STEPS", {})
    monkeypatch.setattr(stepping, "_REACTION_STEPS", {20: 6})
    _, rows = run(tmp_path, "--only", "stepping")
    (row,) = rows.values()
    assert row["key"] == "peer_reaction_20_openmp"
    assert row["what"] == "stepping Gray and Scott's reaction of 20 x 20, ringnb / C with OpenMP"
    assert len(row["samples"]) == 3
    assert re.search(r"results (of the same bits|at most \de-0[678] apart)$", row["note"])


def test_a_peer_that_fails_says_why_in_one_line(tmp_path):
    env = environment.Environment(Path(sys.executable), {}, {})
    settings = {"model": "wave", "n": 4, "steps": 2, "scratch": ""}
    with pytest.raises(PeerFailed, match="KeyError: 'nobody'"):
        Peer(env, "stepping", "nobody", tmp_path / "log", **settings).__enter__()


def test_another_one_begins_each_round_and_who_fails_drops_out():
    calls, absent = [], {}

    def measure(name):
        calls.append(name)
        if name == "b" and len(calls) > 4:
            raise PeerFailed("gone")
        return (float(len(calls)),)

    samples = in_turn({name: lambda name=name: measure(name) for name in "abc"}, 3, absent)
    assert "".join(calls) == "cab" + "abc" + "ca" + "ac"
    assert absent == {"b": "gone"}
    assert set(samples) == {"a", "c"}
    assert len(samples["a"]) == len(samples["c"]) == 3


def test_an_environment_is_built_with_what_can_be_had(tmp_path, capsys, monkeypatch):
    asked = []

    def pip(command, **_):
        arguments = command[3:]  # behind `python -m pip`
        asked.append(arguments)
        (requirement,) = {r for r in environment.PACKAGES.values() if r in arguments} or {""}
        names = ["torch", "nvidia-cublas"] if "torch" in requirement else [requirement]
        out = json.dumps({"install": [{"metadata": {"name": name}} for name in names]})
        error = (
            "ERROR: No matching distribution found for taichi\n" if "taichi" in requirement else ""
        )
        return subprocess.CompletedProcess(arguments, int(bool(error)), out, error)

    monkeypatch.setattr(environment.subprocess, "run", pip)
    monkeypatch.setattr(environment.venv, "create", lambda where, with_pip: where.mkdir())
    with environment.open_environment(str(tmp_path / "env"), {}) as env:
        assert env.python == tmp_path / "env" / "bin" / "python"
        assert env.refused == {
            "taichi": "No matching distribution found for taichi",
            "torch": "the index offers it for NVIDIA GPUs only, which takes gigabytes",
        }
    assert f"numpy=={np.__version__}" in asked[0]
    assert all(f"numpy=={np.__version__}" in arguments for arguments in asked)


def test_what_is_no_environment_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with (
        pytest.raises(environment.EnvironmentFailed, match="neither an environment nor empty"),
        environment.open_environment(str(tmp_path), {}),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_extra_names_what_is_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = set(project["optional-dependencies"]["peers"])
    assert extra == set(environment.PACKAGES.values()) - {environment.PACKAGES["torch"]}


def test_the_cases_are_listed(capsys):
    assert cli.main(["bench", "--peers", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in peers.CASES)
    assert cli.main(["bench", "--peers", "--gpu"]) == 2


def test_a_row_without_samples_is_shown():
    (line,) = report.as_markdown([Row("a", "ours / theirs", (), "x", note="no compiler")])[2:]
    assert line == "| ours / theirs<br><sub>no compiler</sub> | not measured |  |  |"
    assert "not measured" in report.as_table([Row("a", "b", (), "x")])[1]
    assert report.as_document([Row("a", "b", (), "x")], quick=True)["rows"][0]["median"] is None
