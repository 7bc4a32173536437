"""`ringnb doctor`: it finds what works, what is missing and what does not answer."""

from __future__ import annotations

import pytest
from commands import ringnb

import ringnb as rn
from ringnb.cli import doctor


def test_doctor_finds_a_working_installation(tmp_path):
    done = ringnb("doctor", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for word in (rn.__version__, "numba", "CPU cores", "compiled code", "fsync", "backend 'cuda'"):
        assert word in done.stdout
    assert "50 steps after the restore are bit-identical" in done.stdout
    assert "FAIL" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_doctor_fails_where_a_session_fails(monkeypatch, capsys, tmp_path):
    def refuse(*_, **__):
        raise OSError("no memory\nfor a kernel")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ringnb.session.session.Session", refuse)
    assert doctor.run() == 1
    out = capsys.readouterr().out
    assert "OSError: no memory for a kernel" in out
    assert "1 of the checks failed" in out


def test_doctor_names_what_is_missing_and_how_to_get_it(monkeypatch):
    real = doctor.installed_version
    gone = {"jupyterlab", "zarr"}
    monkeypatch.setattr(
        doctor, "installed_version", lambda name: None if name in gone else real(name)
    )
    findings = {f.what: f for f in doctor._versions()}
    assert findings["jupyterlab"].mark == "--"
    assert "pip install 'ringnb[lab]'" in findings["jupyterlab"].found
    assert (findings["zarr"].mark, findings["numpy"].mark) == ("FAIL", "ok")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("echo 'GPU 0: Abacus (UUID: GPU-1)'", "GPU 0: Abacus"),
        ("echo 'driver not loaded' >&2; exit 9", "status 9: driver not loaded"),
        ("exec sleep 60", "did not answer"),
    ],
)
def test_doctor_asks_the_driver_without_hanging(body, word, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "_DRIVER_LIMIT_S", 0.2)
    assert word in doctor._ask_driver(str(program))
