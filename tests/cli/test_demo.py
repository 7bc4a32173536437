"""`ringnb demo` with real processes and a real kill, and the parts that it is made of."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from commands import ringnb_here
from waiting import until

import ringnb as rn
from ringnb._support.children import child_environment
from ringnb.cli import command_line as cli
from ringnb.cli.demo import story
from ringnb.cli.demo.narration import Narration
from ringnb.cli.demo.output_directory import MARKER, ForeignDirectory, OutputDirectory
from ringnb.cli.demo.process import DemoFailed, Job, Worker
from ringnb.messages.events import Event

QUICK = ("--size", "48", "--steps", "9000")


def start(out, *arguments):
    env = child_environment(MPLBACKEND="Agg")
    env.pop("RINGNB_DEBUG", None)
    return subprocess.Popen(
        [sys.executable, "-m", "ringnb.cli", "demo", "--out", str(out), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
    )


def child_at_work(demo):
    """Read until the first checkpoint is committed; return the child's process id."""
    pid = None
    for line in demo.stdout:
        pid = pid or re.match(r"1\. Process (\d+) runs", line)
        if "committed" in line and pid:
            return int(pid[1])
    raise AssertionError(demo.stderr.read())


def wait_until_gone(pid):
    def gone():
        stat = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            # An orphan that nobody has reaped yet is dead all the same.
            return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (ProcessLookupError, FileNotFoundError):
            return True

    until(gone)


# -- the whole story --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    done = ringnb_here("demo", "--out", out, *QUICK)
    return out, done.returncode, done.stdout, done.stderr


def test_the_demo_ends_bit_identical(told):
    out, status, stdout, stderr = told
    assert (status, stderr) == (0, ""), stdout
    assert stdout.splitlines()[-1].startswith(
        "The restored run is bit-identical to the uninterrupted one"
    )
    assert (out / "processes.log").read_text() == ""


def test_the_demo_kills_a_process_that_writes(told):
    _, _, stdout, _ = told
    kill = re.search(r"SIGKILL to process (\d+) after (\d+) commits: .* was being written", stdout)
    assert kill, stdout
    assert int(kill[2]) >= 16
    assert f"1. Process {kill[1]} runs" in stdout
    others = re.findall(r"^   process (\d+):", stdout, re.MULTILINE)
    assert len({kill[1], *others}) == 3, "three different processes"
    for pid in (kill[1], *others):
        wait_until_gone(int(pid))


def test_what_is_lost_is_counted_from_the_furthest_step_told(told):
    _, _, stdout, _ = told
    seen = {}
    for actor, step in re.findall(r"^ +\d+\.\d{3}  (\S+) +(\d+)  captured", stdout, re.MULTILINE):
        seen.setdefault(actor, []).append(int(step))
    flying, at = re.search(r"the snapshot of (\S+) at step (\d+) was being", stdout).groups()
    assert int(at) in seen[flying]
    rows = re.findall(
        r"(\S+): .* newest at step (\d+); step (\d+) was seen: ([\d,]+) steps? lost", stdout
    )
    assert len(rows) == 2
    for actor, newest, reached, gone in rows:
        assert int(reached) - int(newest) == int(gone.replace(",", "")) >= 0
        if actor == flying:
            assert int(reached) >= int(at)


def test_the_furthest_step_is_the_newest_told_of_either_kind():
    narration = Narration(hello(2), 100, quiet=True)
    narration.add({"kind": "steps", "steps": [40, 50]})
    narration.add(event("captured", 1, 1_000_000, step=47))
    narration.add({"kind": "steps", "steps": [45, 52]})  # read before the capture, told after it
    narration.add(event("committed", 1, 1_000_000, step=47, name="c_0_step_47"))
    assert narration.steps == [47, 52]


def test_the_demo_shows_a_table_of_measured_events(told):
    _, _, stdout, _ = told
    head = next(x for x in stdout.splitlines() if "time s" in x)
    rows = [x for x in stdout.splitlines() if re.match(r" +\d+\.\d{3}  ", x)]
    assert {row.split()[3] for row in rows} == {"captured", "committed", "retired", "restored"}
    for row in rows:
        assert row.index(row.split()[3]) == head.index("stage"), row
    first_life = [float(row.split()[0]) for row in rows if row.split()[3] == "committed"]
    assert min(first_life) > 0


def test_the_demo_leaves_a_sound_store(told):
    out, _, stdout, _ = told
    storage = rn.ZarrStorage(out / "checkpoints.zarr")
    names = storage.list()
    for name in names:
        storage.load(name).verify()
    finals = [storage.load(name) for name in names[-2:]]
    assert [c.step for c in finals] == [9000, 9000]
    for c in finals:
        assert storage.load(c.parent).step < 9000, "it continues from a restored checkpoint"
    # The printed verdict, checked again without the demo's own comparison.
    reference = rn.ZarrStorage(out / "uninterrupted.zarr")
    for c, name in zip(finals, reference.list(), strict=False):
        uninterrupted = reference.load(name).numpy()
        for field, array in c.numpy().items():
            assert array.tobytes() == uninterrupted[field].tobytes()
            assert np.ptp(array) > 0, "a flat field would prove nothing"


def test_the_demo_draws_figures_that_open(told):
    out, _, stdout, _ = told
    figures = sorted(out.glob("*.png"))
    assert len(figures) >= 5
    for path in figures:
        assert str(path) in stdout
        pixels = matplotlib.image.imread(path)
        assert min(pixels.shape[:2]) >= 200
        assert pixels[..., :3].std() > 0.01, f"{path} is blank"


# -- ends -------------------------------------------------------------------------------------------


def test_ctrl_c_ends_the_child_as_well(tmp_path):
    with start(tmp_path / "out", *QUICK) as demo:
        pid = child_at_work(demo)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        _, stderr = demo.communicate(timeout=60)
    assert (demo.returncode, stderr) == (130, "ringnb: interrupted\n")
    wait_until_gone(pid)
    assert (tmp_path / "out" / "processes.log").read_text() == "", "the child was not interrupted"


def test_a_killed_parent_leaves_no_orphan(tmp_path):
    with start(tmp_path / "out", *QUICK) as demo:
        pid = child_at_work(demo)
        demo.kill()
        demo.communicate(timeout=60)
    wait_until_gone(pid)


def test_a_child_ends_with_its_parent_even_if_it_has_nothing_to_say(tmp_path):
    one = job(tmp_path, interval_s=3600.0)
    with (tmp_path / "words").open("w") as words:
        child = subprocess.Popen(
            [sys.executable, "-m", "ringnb.cli.demo.worker", one.dump()],
            stdin=subprocess.PIPE,
            stdout=words,  # never a broken pipe
            env=child_environment(),
        )
    child.stdin.close()
    assert child.wait(60) == 1


def test_a_backend_that_is_not_there_is_one_line_and_leaves_nothing(tmp_path):
    done = ringnb_here("demo", "--out", tmp_path / "out", "--backend", "cuda")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)  # it had said that it starts
    assert re.fullmatch(r"ringnb: .*backend 'cuda'.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


def test_a_different_result_is_status_1(monkeypatch, tmp_path, capsys):
    class Fake:
        step = 7
        kernel_id = "k"

        def __init__(self, value):
            self.value = value

        def numpy(self):
            return {"u": np.array([0.0, self.value])}

    assert story._compare([Fake(1.0)], [Fake(1.0)]) == []
    assert story._compare([Fake(1.0)], [Fake(2.0)]) == ["k: u differs in 1 of 2 cells"]
    assert "DIFFERENT" in capsys.readouterr().out


# -- comparing --------------------------------------------------------------------------------------


def test_bits_are_compared_not_values():
    def differing(a, b):
        return story.differing({"u": np.array(a)}, {"u": np.array(b)})

    assert differing([0.0, np.nan], [0.0, np.nan]) == []
    assert differing([0.0, 1.0], [-0.0, 1.0]) == ["u differs in 1 of 2 cells"]
    assert differing([1.0], [1]) == ["u is (1,) float64 against (1,) int64"]
    assert story.differing({"u": np.zeros(1)}, {"v": np.zeros(1)}) == ["fields ['u'] against ['v']"]


# -- the output directory ---------------------------------------------------------------------------


def test_a_second_run_gets_a_directory_of_its_own(tmp_path):
    first = OutputDirectory(str(tmp_path / "out"))
    first.store.mkdir()
    (tmp_path / "out" / "run-2").mkdir()  # somebody's, whatever it is
    second, third = OutputDirectory(str(tmp_path / "out")), OutputDirectory(str(tmp_path / "out"))
    assert first.path == tmp_path / "out"
    assert second.path == tmp_path / "out" / "run-3"
    assert third.path == tmp_path / "out" / "run-4"
    assert list((tmp_path / "out" / "run-2").iterdir()) == []


@pytest.mark.parametrize("marker", [None, "", "[]", '"ringnb_demo"', "{}"])
def test_a_foreign_directory_is_refused_and_left_alone(marker, tmp_path, capsys):
    (tmp_path / "thesis.txt").write_text("years of work")
    if marker is not None:
        (tmp_path / MARKER).write_text(marker)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ForeignDirectory, match="not empty"):
        OutputDirectory(str(tmp_path))
    assert cli.main(["demo", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ForeignDirectory, match="is a file"):
        OutputDirectory(str(tmp_path / "out"))


def test_an_empty_directory_is_claimed_and_left_empty(tmp_path):
    output = OutputDirectory(str(tmp_path))
    assert (tmp_path / MARKER).exists()
    output.remove_if_unused()
    assert list(tmp_path.iterdir()) == []


def test_an_output_directory_in_use_is_kept(tmp_path):
    output = OutputDirectory(str(tmp_path / "out"))
    output.store.mkdir()
    output.remove_if_unused()
    assert output.store.is_dir()


# -- children and their words -----------------------------------------------------------------------


def job(tmp_path, **changes):
    return Job(
        "endless", str(tmp_path / "s.zarr"), changes.pop("backend", "cpu"), 32, 10, **changes
    )


def test_a_job_survives_the_command_line(tmp_path):
    one = job(tmp_path, interval_s=0.5)
    assert Job.load(one.dump()) == one


def test_what_a_child_gives_up_on_is_raised_in_the_parent(tmp_path):
    with (
        Worker(job(tmp_path, backend="cuda"), tmp_path / "log") as worker,
        pytest.raises(DemoFailed, match="backend 'cuda'"),
    ):
        list(worker.messages())
    wait_until_gone(worker.pid)


def test_a_child_that_breaks_is_reported_with_its_log(tmp_path):
    with (
        Worker(job(tmp_path, interval_s="soon"), tmp_path / "log") as worker,
        pytest.raises(DemoFailed, match="interval"),
    ):
        list(worker.messages())


def hello(n=1):
    actors = [{"kernel_id": f"k{i}", "kernel_type": "k", "nbytes": 2048} for i in range(n)]
    return {"kind": "hello", "t_ns": 0, "backend": "cpu", "actors": actors}


def event(stage, request, t_ns, step=None, name=None, slot=0, detail=""):
    one = Event(stage, slot, request, step, name, detail, t_ns)
    return {"kind": "event", "event": asdict(one)}


def test_rows_show_step_size_and_time_since_the_request(capsys):
    narration = Narration(hello(), 100)
    narration.add(event("requested", 1, 1_000_000))
    narration.add(event("captured", 1, 2_500_000, step=7))
    assert narration.in_flight is not None
    narration.add(event("committed", 1, 4_000_000, step=7, name="c_0_step_7"))
    assert (narration.in_flight, narration.fewest_commits) == (None, 1)
    narration.add(event("due", 2, 4_000_000))
    narration.add(event("requested", 2, 4_000_000))
    narration.add(event("captured", 2, 4_500_000, step=9))
    narration.add(event("retired", None, 5_000_000, name="c_0_step_7"))
    narration.add(event("failed", 2, 6_000_000, detail="disk full"))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows == [
        ["0.003", "k0", "7", "captured", "2.0", "KiB", "1.50", "by", "hand"],
        ["0.004", "k0", "7", "committed", "2.0", "KiB", "3.00"],
        ["0.004", "k0", "9", "captured", "2.0", "KiB", "0.50"],
        ["0.005", "k0", "7", "retired", "-", "-"],
        ["0.006", "k0", "-", "failed", "-", "2.00", "disk", "full"],
    ]


def test_the_bar_is_gone_after_an_error(capsys):
    narration = Narration(hello(2), 100)
    with contextlib.suppress(KeyError), narration:
        narration.add({"kind": "steps", "steps": [40, 50]})
        raise KeyError
    assert narration.steps == [40, 50]
    assert capsys.readouterr().err == "", "no terminal, no bar"
