"""What a checkpoint records of the machine and of the user's repository: found, or left out."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess

import numba
import numpy as np
import pytest

from ringnb._support.environment import environment, git_commit
from ringnb._support.version import VERSION


def test_the_versions_that_results_depend_on():
    found = environment()
    assert (found["ringnb"], found["python"]) == (VERSION, platform.python_version())
    assert (found["numpy"], found["numba"]) == (np.__version__, numba.__version__)
    assert found["llvm"].split(".")[0].isdigit()
    assert found["cpu"]


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with two commits and a program, and a function that runs git in it."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    monkeypatch.chdir(tmp_path)  # which is in no repository
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "program.py").touch()

    def git(*arguments, cwd=root):
        who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
        who += ["-c", "protocol.file.allow=always"]
        done = subprocess.run(["git", *who, *arguments], cwd=cwd, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    return root, git


def test_the_commit_of_a_program_in_a_repository(project, tmp_path):
    root, git = project
    program = str(root / "src" / "program.py")
    first = git("rev-parse", "HEAD")
    assert git_commit(program) == first
    git("commit", "-qm", "second", "--allow-empty")
    assert git_commit(program) == git("rev-parse", "HEAD") != first
    git("pack-refs", "--all")
    assert git_commit(program) == git("rev-parse", "HEAD")
    git("checkout", "-q", first)  # detached
    assert git_commit(program) == first
    git("worktree", "add", "-q", "-b", "other", str(tmp_path / "tree"))
    git("commit", "-qm", "third", "--allow-empty", cwd=tmp_path / "tree")
    there = git("rev-parse", "other")
    assert git_commit(str(tmp_path / "tree" / "src" / "program.py")) == there != first
    git("submodule", "add", "-q", str(root / ".git"), "part")
    assert git_commit(str(root / "part" / "src" / "program.py")) == git(
        "rev-parse", "HEAD", cwd=root / "part"
    )


def test_a_cell_of_a_notebook_is_of_the_repository_it_runs_in(project, monkeypatch):
    root, git = project
    monkeypatch.setattr("__main__.__file__", None, raising=False)
    assert git_commit("<ipython-input-1>") is None
    monkeypatch.chdir(root / "src")
    assert git_commit("<ipython-input-1>") == git("rev-parse", "HEAD")


def test_no_repository_or_a_broken_one_is_no_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("__main__.__file__", None, raising=False)
    program = tmp_path / "program.py"
    program.touch()
    assert git_commit(str(program)) is None
    git = tmp_path / ".git"
    git.write_bytes(b"gitdir: nowhere")
    assert git_commit(str(program)) is None
    git.write_bytes(b"\xff")
    assert git_commit(str(program)) is None
    git.unlink()
    git.mkdir()
    assert git_commit(str(program)) is None
    for head in (
        b"",
        b"ref: refs/heads/main\n",
        b"ref: ../../../\n",
        b"ref: \0",
        b"\xff",
        b"a" * 39,
    ):
        (git / "HEAD").write_bytes(head)
        assert git_commit(str(program)) is None
    (git / "HEAD").write_bytes(b"a" * 64 + b"\n")  # a repository of SHA-256
    assert git_commit(str(program)) == "a" * 64
    (git / "HEAD").unlink()
    (git / "HEAD").mkdir()
    assert git_commit(str(program)) is None
