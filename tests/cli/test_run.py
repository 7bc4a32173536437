"""`ringnb run`: a script ends in time with its last state saved, says so, and goes on the next time."""

from __future__ import annotations

import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace

import numpy as np
import pytest
from commands import assert_one_line, ringnb_here

import ringnb as rn
from ringnb._support.children import run_python
from ringnb.cli import run as running
from ringnb.cli.run import RUN_AGAIN
from ringnb.cli.run_limit import (
    CommitTimes,
    end_of,
    margin_of,
    parse_until,
    parse_walltime,
    process_began,
    slowdown_since,
    stop_at,
)
from ringnb.messages.events import Event, EventLog
from ringnb.testing import MemoryStorage

SCRIPT = """
import sys
import ringnb as rn

config = rn.CheckpointConfig(storage_path=sys.argv[1], interval=3600)
total = int(sys.argv[2])
steps = int(sys.argv[3])  # after which `sys.argv[4]` is done
with rn.Session(rn.actors.Life((16, 16)), config=config) as s:
    if s.current_step(0) == 0:
        s.inject(0, at=(5, 5))
    try:
        while s.current_step(0) < total:
            s.run_steps(0, min(steps, total - s.current_step(0)))
            exec(sys.argv[4])
    finally:
        print("at step", s.current_step(0))
"""


END = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def job(tmp_path, capfd):
    """Run a script in this process; return its status, output and errors."""

    def call(source, *arguments, **options):
        script = tmp_path / "job.py"
        script.write_text(source)
        status = running.run(str(script), arguments, **options)
        return status, *capfd.readouterr()

    return call


def limited(mark):
    """Options of a run whose time is up as soon as there is a file."""

    def clock():
        return END.timestamp() - (150 if mark.exists() else 3600)

    return {"until": END.isoformat(), "margin_s": 200, "clock": clock}


def test_a_run_ends_in_time_and_goes_on_where_it_was(job, tmp_path):
    store, mark = tmp_path / "s.zarr", tmp_path / "mark"
    before, argv, path = signal.getsignal(signal.SIGTERM), sys.argv, list(sys.path)
    late = f"open({str(mark)!r}, 'w').close(); s.run_steps(0, 2**40)"
    status, out, err = job(SCRIPT, str(store), "1500", "500", late, **limited(mark))
    assert status == RUN_AGAIN == 85
    assert err == (
        "ringnb run: the time is up; what was computed is saved. Run the same command again to go on "
        "(exit status 85)\n"
    )
    step = rn.ZarrStorage(store).history("checkpoint", "life_0")[-1].step
    assert out == f"at step {step}\n"
    assert step > 500
    assert (signal.getsignal(signal.SIGTERM), sys.argv, sys.path) == (before, argv, path)
    total = step + 100
    status, out, err = job(SCRIPT, str(store), str(total), "500", "")
    assert (status, out) == (0, f"at step {total}\n")
    assert err == f"ringnb run: actor 'life_0' goes on from step {step:,}\n"
    assert job(SCRIPT, str(store), str(total), "1", "")[:2] == (0, f"at step {total}\n")
    with rn.Session(
        rn.actors.Life((16, 16)), config=rn.CheckpointConfig(enabled=False), storage=MemoryStorage()
    ) as s:
        s.inject(0, at=(5, 5))
        s.run_steps(0, total)
        expected = s.snapshot(0).numpy()
    found = rn.ZarrStorage(store).load(f"checkpoint_0_step_{total}").numpy()
    np.testing.assert_equal(found, expected)


DEAF = """
import datetime, os, sys, time
from ringnb.cli import run
mark, end = sys.argv[1], datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
run.run(*sys.argv[2:3], sys.argv[3:], until=end.isoformat(), margin_s=12,
        clock=lambda: end.timestamp() - (10 if os.path.exists(mark) else 3600))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "sleep",
    [
        "import signal; signal.signal(15, signal.SIG_IGN); s.resume(); time.sleep(60)",
        "s.resume()\ntry: time.sleep(60)\nexcept BaseException: time.sleep(60)",
    ],
    ids=["ignores the signal", "catches SystemExit"],
)
def test_a_script_that_does_not_end_does_not_keep_the_run_from_ending(tmp_path, sleep):
    mark, store, script = tmp_path / "mark", tmp_path / "s.zarr", tmp_path / "job.py"
    script.write_text(SCRIPT)
    sleep = f"import time; open({str(mark)!r}, 'w'); {sleep}"
    done = run_python("-c", DEAF, mark, script, store, "1500", "500", sleep, timeout=100)
    assert done.returncode == RUN_AGAIN, done.stderr
    assert "the time is up; what was computed is saved" in done.stderr
    assert rn.ZarrStorage(store).history("checkpoint", "life_0")[-1].step > 500


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda n: n.name)
def test_a_signal_ends_it_as_well(job, tmp_path, number):
    kill = f"import os; os.kill(os.getpid(), {int(number)}); s.run_steps(0, 2**40)"
    status, out, err = job(SCRIPT, str(tmp_path / "s.zarr"), "1000000", "500", kill)
    assert status == RUN_AGAIN
    assert err.startswith(f"ringnb run: {number.name} was received; what was computed is saved")
    assert out.startswith("at step ")


def test_a_run_whose_time_is_up_before_there_is_a_session_says_so_and_does_not_ask_to_be_repeated(
    job,
):
    over = {"until": END.isoformat(), "clock": END.timestamp}
    status, _, err = job("import time; time.sleep(60)", **over)
    assert status == 1
    assert err.startswith(
        "ringnb run: the time is up, and the script had made no session. The same command would come no "
        "further: give it more than "
    )
    assert err.endswith("(exit status 1)\n")


ENDS = {
    "time": "open(sys.argv[3], 'w').close(); time.sleep(60)",
    "signal": "signal.raise_signal(signal.SIGUSR1)",
}


@pytest.mark.parametrize(
    ("end", "left_s", "status"),
    [
        ("time", 3600, 1),
        ("signal", 100, 1),
        ("signal", 3600, RUN_AGAIN),
        ("signal", None, RUN_AGAIN),
    ],
    ids=[
        "at its limit",
        "signal near the limit",
        "signal long before it",
        "signal without a limit",
    ],
)
def test_a_run_that_got_no_step_further_asks_to_be_repeated_only_if_it_had_no_time(
    job, tmp_path, end, left_s, status
):
    """At a limit the same command would do the same again, for ever."""
    store, mark = tmp_path / "s.zarr", tmp_path / "mark"
    config = rn.CheckpointConfig(storage_path=store, interval=3600)
    with rn.Session(rn.actors.Life((16, 16)), config=config) as s:
        s.inject(0, at=(5, 5))
        s.run_steps(0, 500)
        s.snapshot(0)
    source = """
import signal, sys, time
import ringnb as rn
with rn.Session(rn.actors.Life((16, 16)), config=rn.CheckpointConfig(storage_path=sys.argv[1])) as s:
    s.inject(0, at=(7, 7))  # what has changed is saved, and is no step
    exec(sys.argv[2])
    exec(sys.argv[4])
"""
    options = {} if left_s is None else limited(mark)
    if end == "signal" and left_s is not None:
        options |= {"margin_s": 2, "clock": lambda: END.timestamp() - left_s}
    for steps, expected in (("", status), ("s.run_steps(0, 1)", RUN_AGAIN)):
        mark.unlink(missing_ok=True)
        found, _, err = job(source, str(store), steps, str(mark), ENDS[end], **options)
        assert found == expected, err
        assert "goes on from step 50" in err
        assert ("no actor is further than when the run began" in err) == (expected == 1)
    assert rn.ZarrStorage(store).history("checkpoint", "life_0")[-1].step == 501


def test_a_limit_that_goes_to_the_script_is_told(job):
    status, out, err = job("import sys; print(sys.argv[1:])", "--walltime", "1h")
    assert (status, out) == (0, "['--walltime', '1h']\n")
    assert "the run has no limit: to give it one, write ringnb run --walltime T " in err
    assert job("", "--walltime", "1h", walltime="2h")[2] == ""
    assert job("", "walltime")[2] == ""


def test_what_the_run_itself_has_written_is_not_continued(job, tmp_path):
    source = """
import sys, ringnb as rn
for n in range(2):
    with rn.Session(rn.actors.Life((16, 16)), config=rn.CheckpointConfig(storage_path=sys.argv[1])) as s:
        print(s.run_steps(0, 5))
"""
    assert job(source, str(tmp_path / "s.zarr"))[:2] == (0, "5\n5\n")


def test_without_room_on_the_disk_nobody_is_told_to_go_on(job, tmp_path):
    source = """
import signal
import ringnb as rn
from ringnb.testing import MemoryStorage
class Full(MemoryStorage):
    def save(self, name, snapshot):
        raise OSError(28, "No space left on device")
config = rn.CheckpointConfig(enabled=False)
with rn.Session(rn.actors.Life((16, 16)), config=config, storage=Full()) as s:
    s.run_steps(0, 100)
    signal.raise_signal(signal.SIGTERM)
"""
    with pytest.warns(rn.CheckpointWarning, match="not saved"):
        status, _, err = job(source)
    assert status == 1
    assert (
        "SIGTERM was received, and the last state of actor 'life_0' (slot 0) was not saved" in err
    )


@pytest.mark.parametrize(
    ("source", "status", "words"),
    [
        ("import sys\nsys.exit(3)", 3, ""),
        ("raise SystemExit('no input')", 1, "no input\n"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("def f(:", 1, "SyntaxError"),
        ("print(__name__, __file__[-6:])", 0, ""),
    ],
)
def test_a_script_that_ends_by_itself_keeps_its_status(job, source, status, words):
    found, _, err = job(source)
    assert found == status
    assert words in err
    assert "ringnb/cli" not in err
    assert "runpy" not in err


def test_the_command_says_what_is_wrong():
    for arguments, words in [
        (("no.py",), "no.py: no such file"),
        (("--walltime", "soon", __file__), "'soon' is not a time limit"),
        (("--until", "2001-01-01", __file__), "is over"),
    ]:
        assert_one_line(ringnb_here("run", *arguments), 1, words)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1:30:00", 5400), ("2-12:00:00", 216_000), ("90m", 5400), ("1h30m", 5400), ("0.5d", 43_200)],
)
def test_time_limits_are_read(text, seconds):
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["90", "", "0s", "1:30", "-5m", "m", "1h 30m"])
def test_what_is_no_time_limit_is_refused(text):
    with pytest.raises(ValueError, match="not a time limit"):
        parse_walltime(text)


def test_ends_are_read_and_the_earliest_counts():
    now = datetime(2026, 11, 29, 17, 0, tzinfo=timezone(timedelta(hours=1)))
    at = now.timestamp()
    assert parse_until("18:00", now) == at + 3600
    assert parse_until("16:59:30", now) == at + 86_400 - 30
    assert parse_until("2026-12-01T17:00", now) == at + 2 * 86_400
    for text in ("25:00", "tomorrow", "2026-11-29T16:00"):
        with pytest.raises(ValueError, match=text):
            parse_until(text, now)
    assert end_of(None, None, at, {}) is None
    assert end_of(60, None, at, {"SLURM_JOB_END_TIME": ""}) == at + 60
    assert end_of(60, at + 30, at, {"SLURM_JOB_END_TIME": str(int(at) + 20)}) == int(at) + 20
    assert 0 < time.time() - process_began() < 86_400
    assert margin_of(10) == 2
    assert margin_of(100 * 3600) == 30
    # On a machine that is shared, it takes longer to end; but two thirds of the time are for computing.
    assert margin_of(600, slowdown=20.0) == margin_of(120, slowdown=15.0) == 30
    assert margin_of(24, slowdown=3.0) == 6
    assert margin_of(24, slowdown=20.0) == 8
    now = time.time()
    assert slowdown_since(now - 3 * time.process_time()) == pytest.approx(3, rel=0.1)
    assert slowdown_since(now) == 1


def test_commits_are_measured_without_the_wait_for_each_other():
    log = EventLog()
    actor = SimpleNamespace(shape=(1000, 1000), fields=("a", "b"), levels=1, dtype=np.dtype("f8"))
    times = CommitTimes(log, [actor] * 3)
    first = times.seconds()
    assert first > 3 * 16e6 / 20e6  # nothing is known but the size
    ms = 1_000_000
    for request, (slot, committed) in enumerate([(0, 50), (1, 90)], 1):
        for stage, at in (("sent", 0), ("captured", 4), ("received", 10), ("committed", committed)):
            log.append(Event(stage, slot, request, t_ns=at * ms))
    # Captured in 4 ms; 40 ms each, one after the other; the third like the slowest of the others.
    assert times.seconds() == pytest.approx(1.5 * (0.004 + 0.040 + 0.040 + 0.040))
    assert stop_at(100.0, 2.0, 0.5) == 97.5


def test_the_last_commits_fit_into_the_time_that_is_kept_for_them():
    rng = random.Random(3)
    ms = 1_000_000
    for _ in range(200):
        log, slots, base = EventLog(), rng.randint(1, 8), rng.uniform(0.01, 5)
        actor = SimpleNamespace(shape=(100,), fields=("a",), levels=1, dtype=np.dtype("f8"))
        times = CommitTimes(log, [actor] * slots)
        request, now = 0, 0.0
        for slot in rng.choices(range(slots), k=rng.randint(1, 30)):
            request, began, now = request + 1, now, now + rng.uniform(0.7, 1) * base
            for stage, at in (("sent", began), ("captured", began), ("received", began)):
                log.append(Event(stage, slot, request, t_ns=round(at * 1e3) * ms))
            log.append(Event("committed", slot, request, t_ns=round(now * 1e3) * ms))
        last = sum(rng.uniform(0.7, 1) * base for _ in range(slots))
        begin = stop_at(100.0, 2.0, times.seconds())
        assert begin + last <= 98.0  # the margin is for the rest
        assert times.seconds() < 2 * slots * base + 1  # and not much more than is needed


RECORDED = """
import sys
import numpy as np
import ringnb as rn

config = rn.CheckpointConfig(storage_path=sys.argv[1], interval=3600)
end, late = int(sys.argv[2]), sys.argv[3]
def last(rec):
    rec.save(step, u=u)
with rn.Recorder(config, name="loop", last=last) as rec:
    step, state = rec.latest() or (0, {"u": np.zeros(3)})
    u = state["u"]
    print("from", step)
    while step < end:
        step, u = step + 1, u + 1
        if rec.due(step):
            rec.save(step, u=u)
        exec(late)
print("at", step, u[0])
"""


def test_a_loop_of_ones_own_ends_in_time_and_goes_on_where_it_was(job, tmp_path):
    store = tmp_path / "loop.zarr"
    late = "if step == 40: import os, signal; os.kill(os.getpid(), signal.SIGUSR1)"
    assert job(RECORDED, str(store), "100", late)[:2] == (RUN_AGAIN, "from 0\n")
    assert job(RECORDED, str(store), "100", "")[:2] == (0, "from 40\nat 100 100.0\n")
