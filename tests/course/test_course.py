"""The course: every exercise's solution passes its check, every stub fails it with a hint."""

from __future__ import annotations

import ast
import math
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import zarr
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import ringnb as rn
from ringnb import course
from ringnb.course import lesson_08 as gpu
from ringnb.course.exercises import BEGIN, END, stub, stub_source
from ringnb.messages.commands import Command

NOTEBOOKS = sorted(Path(__file__).parents[2].joinpath("notebooks").glob("0[0-9]_*.ipynb"))
LESSONS = NOTEBOOKS[1:]  # after the quick start
HEADINGS = [
    "## Goal",
    "## Predict",
    "## Run",
    "## Change one thing",
    "## Check",
    "## What none of this protects you from",
]
keep = rn.retention

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
each_lesson = pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)


def made_up_sweep(best: float = 0.1, cost: float = 0.01, mtbf: float = 0.5) -> course.Sweep:
    """A sweep whose valley is where it is wanted; for testing the check, not for the course."""
    trials = []
    for factor in (0.25, 0.5, 1.0, 2.0, 4.0):
        wasted = 0.2 + 0.05 * math.log2(factor) ** 2
        trials.append(course.Trial(best * factor, 1.0, 1 - wasted, (cost,), 7))
    return course.Sweep(tuple(trials), mtbf)


def exercise(path: Path) -> tuple[str, str]:
    """The cell to complete and the cell that checks it."""
    cells = [c.source for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    (task,) = [source for source in cells if BEGIN in source]
    (check,) = [source for source in cells if "course.check_" in source]
    return task, check


def solve(task: str, check: str) -> object:
    """Run both cells as the notebook would, where what they need has been imported."""
    names = {"rn": rn, "np": np, "math": math, "course": course, "keep": keep}
    names["sweep"] = made_up_sweep()
    exec(task, names)
    return eval(check, names)


# -- the notebooks -----------------------------------------------------------------------------------


def test_there_are_a_quick_start_and_eight_lessons():
    assert [p.name[:2] for p in NOTEBOOKS] == [f"0{n}" for n in range(9)]


@each_notebook
def test_a_notebook_begins_with_a_prediction(path):
    cells = nbformat.read(path, as_version=4).cells
    cards = [i for i, c in enumerate(cells) if "course.predict(" in c.source]
    assert cards
    assert cards[-1] < next(i for i, c in enumerate(cells) if "course.check_" in c.source) / 2


@each_lesson
def test_a_lesson_has_the_sections_of_all_lessons(path):
    notebook = nbformat.read(path, as_version=4)
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown").splitlines()
    assert [line for line in prose if line.startswith("## ")] == HEADINGS
    assert sum(line.startswith("# ") for line in prose) == 1


@each_lesson
def test_a_lesson_ends_by_closing_what_it_opened(path):
    last = nbformat.read(path, as_version=4).cells[-1].source
    assert ".close()" in last
    assert "scratch.cleanup()" in last


@each_notebook
def test_the_solution_passes_and_the_stub_fails_with_a_hint(path):
    task, check = exercise(path)
    *_, last = ast.parse(stub_source(task)).body
    assert not isinstance(last, ast.Expr), "a notebook would show its value"
    assert isinstance(solve(task, check), course.Passed)
    with pytest.raises(course.CheckFailed, match=r"(?s)Not yet: .+\nHint: ."):
        solve(stub_source(task), check)


@pytest.mark.filterwarnings("default")  # those of Jupyter's own parts are not ours
def test_a_learner_who_runs_the_stub_is_stopped_at_the_check(tmp_path):
    path = next(p for p in NOTEBOOKS if p.name.startswith("06"))
    notebook = nbformat.reads(stub(path.read_text(encoding="utf-8")), as_version=4)
    nbformat.validate(notebook)
    with pytest.raises(CellExecutionError) as failure:
        execute(notebook, tmp_path)
    assert failure.value.ename == "CheckFailed"
    (output,) = [
        o for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "error"
    ]
    assert [line.split(":")[0] for line in output.traceback] == ["Not yet", "Hint"]


@pytest.mark.filterwarnings("default")
def test_a_background_thread_that_dies_makes_the_notebook_fail(tmp_path):
    path = next(p for p in NOTEBOOKS if p.name.startswith("06"))
    notebook = nbformat.read(path, as_version=4)
    opens = next(i for i, c in enumerate(notebook.cells) if "session = rn.Session(" in c.source)
    opened, last = notebook.cells[: opens + 1], notebook.cells[-1]
    sabotage = nbformat.v4.new_code_cell(
        "import time\n"
        "def broken(**_):\n    raise ZeroDivisionError('in the background')\n"
        "session.manager.poll_due_snapshots = broken\n"
        "session.manager.reconfigure(enabled=True, interval=0.01)\n"
        "time.sleep(1)"
    )
    notebook.cells = [*opened, sabotage, last]
    with pytest.raises(CellExecutionError, match="in the background") as failure:
        execute(notebook, tmp_path)
    assert failure.value.ename == "ZeroDivisionError"
    assert last.outputs[-1].output_type == "error", "the closing cell is the one that failed"


def execute(notebook, folder):
    NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()


def test_a_card_reveals_what_the_lesson_has_measured_since():
    pytest.importorskip("anywidget")
    card = course.predict("How many?", lambda: measured, unit="files")  # noqa: F821
    card.prediction = 12.0
    card.reveal()
    assert "nothing is measured yet" in card._frame.alert
    card = course.predict("How many?", lambda: 11, unit="files")
    card.prediction = 12.0
    card.reveal()
    assert "11 files" in card._out.value
    card = course.predict("How long?", lambda: 138.00704, unit="ms")
    card.prediction = 12.0
    card.reveal()
    assert "<strong>138 ms</strong>" in card._out.value


def test_lessons_do_without_widgets(monkeypatch, wave):
    monkeypatch.setitem(sys.modules, "ringnb.panels", None)
    assert repr(course.predict("Which?", lambda: 1, options=["a", "b"])) == "Which? (a / b)"
    assert "No panel here" in repr(course.panel(wave, "actor"))


def test_the_cell_that_damages_a_checkpoint_may_be_run_again(tmp_path, capsys):
    (path,) = [p for p in NOTEBOOKS if p.name.startswith("05")]
    (cell,) = [
        c.source for c in nbformat.read(path, as_version=4).cells if "faults.corrupt(" in c.source
    ]
    config = rn.CheckpointConfig(enabled=False, storage_path=tmp_path / "s.zarr")
    with rn.Session(rn.actors.Heat2D((32, 32)), config=config) as session:
        for _ in range(2):
            session.run_steps(0, 10)
            session.snapshot(0)
        for _ in range(3):
            exec(cell, {"rn": rn, "session": session})
            assert "restores step 10 instead\n" in capsys.readouterr().out


# -- stubs -------------------------------------------------------------------------------------------


def test_a_stub_keeps_all_but_the_solution_and_its_indentation():
    source = f"def f():\n    {BEGIN}\n    x = 1\n    return x\n    {END}\ny = 2"
    assert stub_source(source) == "def f():\n    ...  # your code here\ny = 2"


def test_a_stub_outside_of_a_block_is_a_comment_that_shows_nothing():
    assert stub_source(f"x = ...\n{BEGIN}\nx = 1\n{END}") == "x = ...\n# your code here"


@pytest.mark.parametrize("source", [f"{BEGIN}\n1", f"1\n{END}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_markers_without_a_partner_are_refused(source):
    with pytest.raises(ValueError, match=r"SOLUTION"):
        stub_source(source)


def test_a_notebook_without_exercises_is_left_alone():
    text = '{"cells": [] }'
    assert stub(text) is text


# -- wrong answers, and right ones of another kind ------------------------------------------------------


def clap_elsewhere(session, slot, steps):
    session.inject(slot, (1, 1), 1.0)
    session.run_steps(slot, steps, wait=False)


def clap_and_wait(session, slot, steps):
    session.inject(slot, (32, 24), 1.0)
    session.run_steps(slot, steps)


def clap_for_one_length(session, slot, steps):
    session.inject(slot, (32, 24), 1.0)
    session.run_steps(slot, 50, wait=False)


def clap_for_one_slot(session, slot, steps):
    session.inject(0, (32, 24), 1.0)
    session.run_steps(0, steps, wait=False)


def cut_and_stand(session, slot):
    session.pause(slot)
    return course.copy_live(session, slot)


def cut_and_hope(session, slot):
    session.pause(slot)
    cut = course.copy_live(session, slot)
    session.resume(slot)
    return cut


def back_and_silent(session, slot):
    session.restore(slot, session.manager.list_checkpoints(slot)[0])


def back_by_hand(session, slot):
    session.restore(slot, "latest")
    return 30


_memory = np.random.default_rng(3)

WRONG = [
    ("00", lambda s, slot: s.restore(slot, "latest"), "stands at step 70"),
    ("00", lambda s, slot: s.restore(slot, s.storage.list()[0]), "stands at step 10"),
    ("00", lambda s, slot: s.restore(0, s.storage.list()[1]), "slot 0 went to step 30"),
    ("00", back_and_silent, "returned None"),
    ("00", back_by_hand, "stands at step 70"),
    ("00", lambda s, slot: 1 / 0, "ZeroDivisionError"),
    ("01", clap_and_wait, "as long as the steps"),
    ("01", clap_elsewhere, "not the one"),
    ("01", clap_for_one_length, "the actor went from step 50 to 100"),
    ("01", clap_for_one_slot, "slot 0 went to step"),
    ("01", lambda s, slot, n: s.run_steps(slot, n + 1, wait=False), "went from step 0 to 51"),
    ("01", lambda s, slot, n: 1 / 0, "ZeroDivisionError"),
    ("02", lambda s, slot: course.copy_live(s, slot, slabs=8), "rows of steps"),
    ("02", lambda s, slot: course.copy_live(s, slot, slabs=1), "by luck"),
    ("02", cut_and_stand, "stands still after the copy"),
    ("02", cut_and_hope, "stands still after a copy that failed"),
    ("02", lambda s, slot: 1 / 0, "ZeroDivisionError"),
    ("03", 4 << 20, "4,194,308 bytes"),
    ("03", 1024, "8195 files"),
    ("03", 5, "chunk_bytes must lie in"),
    ("03", True, "not a number of bytes"),
    ("05", lambda storage: (storage.list() or [None])[-1], "damaged it is"),
    ("05", lambda storage: storage.list()[-1], "that is asked about is empty"),
    ("06", keep.keep_last(2) | keep.keep_every(500), "should be left"),
    (
        "06",
        keep.keep_within(6 << 20) & (keep.keep_last(2) | keep.keep_every(500)),
        "should be left",
    ),
    (
        "06",
        keep.keep_last(2) | (keep.keep_every(500) & keep.keep_within(6 << 20)),
        "should be left",
    ),
    ("06", keep.keep_best(1, lambda checkpoint: 1.0), "exists on paper only"),
    ("07", lambda seed, step: _memory.normal(), "end differently"),
    ("07", lambda seed, step: 1.0, "1 different numbers"),
    ("07", lambda seed, step: np.random.default_rng(seed).normal(), "2 different numbers"),
    (
        "07",
        lambda seed, step: np.random.default_rng(seed + step).normal(),
        "noise(1, 2) and noise(2, 1)",
    ),
    ("07", lambda seed, step: np.random.default_rng(seed ^ step).normal(), "same number"),
    ("07", lambda seed, step: np.random.default_rng(seed * step).normal(), "different numbers"),
    ("07", lambda seed, step: 1 / 0, "ZeroDivisionError"),
    ("08", lambda h, t, n: range(t % n, h % n), "unread(4, 0, 4) should be [0, 1, 2, 3]"),
    ("08", lambda h, t, n: range(t, h), "returned [1, 2, 3, 4]"),
    ("08", lambda h, t, n: [i % n for i in range(h - 1, t - 1, -1)], "returned [1, 0]"),
    ("08", lambda h, t, n: [i % n for i in range(t, h)] if h < 2**32 else [], "[]"),
    ("08", lambda h, t, n: h - t, "not a list of slots"),
    ("08", lambda h, t, n: [0.5], "not a list of slots"),
    ("08", lambda h, t, n: 1 / 0, "ZeroDivisionError"),
]


@pytest.mark.parametrize(("lesson", "answer", "fact"), WRONG)
def test_a_wrong_answer_is_told_what_is_wrong(lesson, answer, fact):
    with pytest.raises(course.CheckFailed) as failure:
        getattr(course, f"check_{lesson}")(answer)
    assert fact in str(failure.value)
    assert failure.value.hint


@pytest.mark.parametrize(
    ("answer", "fact"),
    [
        (lambda cost, mtbf: math.sqrt(cost * mtbf) / 10, "your formula says"),
        (lambda cost, mtbf: 0.1, "here it fits"),
        (lambda cost, mtbf: None, "not seconds"),
        (lambda cost, mtbf: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_wrong_formula_is_told_what_is_wrong(answer, fact):
    with pytest.raises(course.CheckFailed) as failure:
        course.check_04(answer, made_up_sweep())
    assert fact in failure.value.fact


def test_a_sweep_without_a_valley_is_no_evidence():
    hill = course.Sweep(
        tuple(
            course.Trial(t.interval_s, 1.0, 1.2 - t.kept_s, t.costs_s, 7)
            for t in made_up_sweep().trials
        ),
        0.5,
    )
    with pytest.raises(course.CheckFailed, match="no valley"):
        course.check_04(lambda cost, mtbf: math.sqrt(2 * cost * mtbf), hill)


def test_another_right_answer_passes():
    def with_a_barrier(session, slot):
        return course.copy_paused(session, slot)

    assert "three cuts" in course.check_02(with_a_barrier)
    assert "three cuts" in course.check_02(course.copy_snapshot)
    assert "every bit" in course.check_07(
        lambda seed, step: np.random.default_rng([step, seed]).integers(2**16) / 2.0**16
    )
    assert "67 files" in course.check_03(128 << 10)
    assert "every command found" in course.check_08(lambda h, t, n: (i % n for i in range(t, h)))


# -- the experiments -----------------------------------------------------------------------------------


@pytest.fixture
def wave():
    config = rn.CheckpointConfig(enabled=False)
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    with rn.Session(
        rn.actors.Wave2D((96, 96)), config=config, storage=storage, max_steps_per_second=4000
    ) as session:
        session.run_steps(0, 101)  # odd: the buffers have swapped roles
        yield session


def test_live_memory_is_the_state_while_the_actor_stands(wave):
    cut, snapshot = course.copy_live(wave, 0, slabs=5), course.copy_snapshot(wave, 0)
    for name, array in snapshot.fields.items():
        assert np.array_equal(cut.fields[name], array), name
    wave.restore(0, "latest")  # exchanges the blocks that hold the levels
    again = course.copy_live(wave, 0)
    assert all(np.array_equal(again.fields[k], a) for k, a in snapshot.fields.items())


def test_live_memory_cannot_be_written_through_the_view(wave):
    with pytest.raises(ValueError, match="read-only"):
        wave.kernel.live_levels(0)[0][:] = 0


def test_a_copy_of_a_running_wave_is_torn_and_its_energy_shows_it(wave):
    energy = course.copy_paused(wave, 0).energy
    wave.resume(0)
    torn = course.copy_live(wave, 0, slabs=8, let_step=6)
    assert torn.steps[1] - torn.steps[0] >= 7 * 6
    assert course.energy_error(torn, energy) > 1e-3
    assert course.energy_error(course.copy_paused(wave, 0), energy) < 1e-5
    assert course.energy_error(course.copy_snapshot(wave, 0), energy) < 1e-5


def test_reads_are_counted_in_chunks(tmp_path):
    place = course.save_wave(tmp_path / "w.zarr", 256 << 10, side=256)
    assert course.files_of(place)["pressure/c.0.0"] == 256 * 256 * 4 + 4
    reads = course.count_reads(place, lambda group: group["pressure"][0])
    assert (reads.keys, reads.nbytes) == (["pressure/c.0.0"], 256 * 256 * 4 + 4)


def test_lifetimes_are_seeded_and_exponential():
    lives = course.lifetimes(2000, 0.5, seed=3)
    assert lives == course.lifetimes(2000, 0.5, seed=3) != course.lifetimes(2000, 0.5, seed=4)
    assert np.mean(lives) == pytest.approx(0.5, rel=0.02)
    assert np.mean(np.array(lives) > 0.5) == pytest.approx(math.exp(-1), abs=0.005)


def test_the_lowest_point_of_a_sweep_is_found():
    assert made_up_sweep(best=0.3).best_s == pytest.approx(0.3)


def test_a_sweep_counts_only_what_survived_the_kills(tmp_path):
    told = []
    sweep = course.sweep(tmp_path, [30.0, 0.05], [0.4, 0.4], told=told.append)
    often, never = sweep.trials
    assert told == [1, 2, 3, 4]
    assert (often.interval_s, never.interval_s) == (0.05, 30.0)
    assert never.kept_s == 0, "a child that is killed before its first checkpoint leaves nothing"
    assert never.wasted == 1
    assert 0 < often.kept_s < often.alive_s
    assert often.kills == 2
    assert often.costs_s
    assert not never.costs_s


def test_a_killed_writer_leaves_chunks_and_no_name(tmp_path):
    store = tmp_path / "w.zarr"
    wreck = course.kill_while_writing(store, commits=1, side=2048)
    assert wreck.status == -9
    assert any("/c." in name for name in wreck.staged)
    with rn.ZarrStorage(store) as storage:
        assert wreck.writing not in storage.list()
        assert set(wreck.committed) <= set(storage.list())


def test_a_replay_leaves_what_real_commits_leave():
    policy = keep.keep_last(2) | keep.keep_every(30)
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    config = rn.CheckpointConfig(enabled=False, retention=policy)
    with rn.Session(rn.actors.Life((8, 8)), config=config, storage=storage) as session:
        for index in range(8):
            session.run_steps(0, 10)
            checkpoint = session.snapshot(0)
            if index == 1:
                checkpoint.pin("by hand")
        real = [storage.load(name).step for name in session.manager.list_checkpoints(0)]
    paper = [one.step for one in course.replay(policy, range(10, 90, 10), pins={1: "by hand"})]
    assert real == paper == [10, 20, 30, 60, 70, 80]


@pytest.fixture
def bare():
    pytest.importorskip("numba_cuda")
    kernel = course.bare_kernel("cudasim", rn.actors.Life((5, 7)), capacity=2, lease_s=0.5)
    yield kernel
    kernel.stop()


def test_a_bare_kernel_gives_way_to_the_next(bare):
    course.bare_kernel("cudasim", rn.actors.Life((5, 7))).stop()
    assert not bare.alive


def test_the_words_of_a_bare_kernel_are_the_live_ones_and_outlive_it(bare):
    kernel = bare
    before = course.words(kernel)
    kernel.push_nowait(0, Command.RUN_STEPS, 9, 0, (3,))
    course.seconds_until(lambda: course.words(kernel)["K2H_HEAD"] == 2)
    assert kernel.shared(0).h2k[0, :4].tolist() == [Command.RUN_STEPS, 9, 0, 3]
    assert kernel.shared(0).k2h[:, 0].tolist() == [Command.RUN_STEPS, Command.BUDGET_DONE]
    for view in kernel.shared(0):
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0
    kernel.stop_heartbeat()
    course.seconds_until(lambda: course.words(kernel)["STATE"] == 2)
    after = course.words(kernel, since=before)
    moved = {name for name in after if after[name] != before[name]}
    assert moved - {"LOOPS", "HEARTBEAT"} == {
        *("H2K_HEAD", "H2K_TAIL", "K2H_HEAD", "W_STEP", "STATE", "STATE_REASON")
    }
    assert (after["W_STEP"], after["STATE_REASON"]) == (3, 3)
    assert "<td style='text-align:right'>0</td><td style='text-align:right'>3</td>" in (
        after._repr_html_()
    )
    assert "W_STEP        kernel      0       3" in repr(after)
    kernel.stop()
    assert course.words(kernel) == {**after, "STOP": 1}


def test_words_are_those_of_a_cuda_kernel():
    with pytest.raises(TypeError, match="backend='cudasim'"):
        course.words(object())


def answer(stdout="", stderr="", status=0):
    return lambda *arguments: subprocess.CompletedProcess(arguments, status, stdout, stderr)


def test_the_backend_of_the_lesson_is_the_gpu_only_where_one_can_be_used(monkeypatch):
    pytest.importorskip("numba_cuda")
    loaded = []
    monkeypatch.setattr(gpu, "load", lambda *, simulate: loaded.append(simulate))
    monkeypatch.delitem(sys.modules, "numba.cuda", raising=False)
    monkeypatch.setattr(gpu, "driver_present", lambda: False)
    assert course.gpu_or_simulator() == (
        "cudasim",
        "the kernel runs in Numba's simulator: no NVIDIA driver is loaded here",
    )
    monkeypatch.setattr(gpu, "driver_present", lambda: True)
    monkeypatch.setattr(gpu, "_python", answer("\n"))
    assert course.gpu_or_simulator()[0] == "cuda"
    monkeypatch.setattr(gpu, "_python", answer("the toolkit is missing\n"))
    assert course.gpu_or_simulator()[1].endswith("the toolkit is missing")
    monkeypatch.setattr(gpu, "_python", answer("", "Traceback\nImportError: no\n", 1))
    assert course.gpu_or_simulator()[1].endswith("ImportError: no")
    assert loaded == [True, True, True]


def test_without_the_package_the_lesson_says_in_one_line_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, "numba.cuda", raising=False)
    monkeypatch.setattr(gpu, "driver_present", lambda: False)
    monkeypatch.setattr("ringnb.kernel.cuda.availability._numba_cuda_installed", lambda: False)
    with pytest.raises(rn.BackendUnavailable, match="pip install 'numba-cuda") as failure:
        course.gpu_or_simulator()
    (line,) = failure.value._render_traceback_()
    assert "backend='cpu'" not in line


def test_a_process_with_the_other_numba_cuda_is_told_what_to_do(monkeypatch):
    pytest.importorskip("numba_cuda")
    import numba.cuda

    assert course.gpu_or_simulator()[1].endswith("this process has the simulator's numba.cuda")
    monkeypatch.setattr(numba.config, "ENABLE_CUDASIM", 0)
    monkeypatch.setattr(gpu, "driver_present", lambda: False)
    with pytest.raises(rn.BackendUnavailable, match=r"the GPU's numba\.cuda.*Start a new one"):
        course.gpu_or_simulator()


def test_a_kernel_that_cannot_be_compiled_is_said_so(monkeypatch):
    monkeypatch.setattr(gpu, "_python", answer("", "Traceback\nNvvmSupportError: no libnvvm\n", 1))
    with pytest.raises(rn.BackendUnavailable, match=r"^NvvmSupportError: no libnvvm\. pip install"):
        course.wave_ptx().result()


def test_the_barrier_is_cut_out_of_the_machine_code():
    before, after = "bar.sync 0;\n\nret;\n", "\n\n\tbar.sync 3;"
    ptx = f"{before}\tbar.sync 1;\n// asm\n\tld.relaxed.gpu.b64 %a;\n bar.sync 2;{after}"
    assert course.barrier_in(ptx) == "    bar.sync 1;\n    ld.relaxed.gpu.b64 %a;\n bar.sync 2;"
