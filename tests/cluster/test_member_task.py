"""What is noted of members that fail, whatever becomes of their attempt; without a cluster."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import ringnb as rn

pytest.importorskip("distributed")

from distributed import Reschedule

from ringnb.cluster import member_task
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.errors import ClusterUnavailable

STEPS, EVERY = 30, 10


class Attempt:
    """One that is answered so."""

    leaving = False

    def __init__(self, answer):
        self.answer = answer

    def tell(self, **_):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def files(tmp_path):
    return EnsembleFiles(tmp_path)


def take(files, answer=True):
    """Take two members to the last step, of which the second is bad after some steps."""
    much = np.full((24, 24), 1e30, np.float32)
    actors = [
        rn.actors.GrayScott((24, 24)),
        rn.actors.GrayScott((24, 24), start={"u": much, "v": much}),
    ]
    members = {name: (actor, n) for n, (name, actor) in enumerate(zip("ab", actors, strict=True))}
    options = member_task.TaskOptions(files, 0, STEPS, EVERY, 0)
    member_task._take_each(Attempt(answer), members, options)


def steps(files):
    return {name: e.step for name, e in files.newest([0]).items()}


def take_first(files):
    """Take them to step 0, and let them be."""
    files.stop()
    take(files)
    files.stop(wanted=False)
    assert (steps(files), files.failed()) == ({"a": 0, "b": 0}, {})


@pytest.mark.filterwarnings("ignore::ringnb.CheckpointWarning")
def test_a_bad_member_is_noted_though_the_scheduler_does_not_answer(files):
    take_first(files)
    with pytest.raises(ClusterUnavailable):
        take(files, ClusterUnavailable("a test"))
    assert list(files.failed()) == ["b"]
    assert "not good at step 10: field 'u': 576 values are not finite" in files.failed()["b"]


@pytest.mark.filterwarnings("ignore::ringnb.CheckpointWarning")
def test_a_bad_member_is_found_by_the_next_attempt_and_stops_no_other(files, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    take_first(files)
    with monkeypatch.context() as patch:
        patch.setattr(EnsembleFiles, "fail", killed)
        with pytest.raises(KeyboardInterrupt):
            take(files)
    assert (steps(files), files.failed()) == ({"a": EVERY, "b": EVERY}, {})
    take(files)
    assert steps(files) == {"a": STEPS, "b": EVERY}
    assert list(files.failed()) == ["b"]
    assert "not good at step 10: " in files.failed()["b"]


def test_an_attempt_that_is_not_wanted_any_more_commits_no_more(files):
    take_first(files)
    with pytest.raises(Reschedule):
        take(files, answer=False)
    assert steps(files) == {"a": EVERY, "b": EVERY}


@pytest.mark.parametrize(("threads", "width"), [(1, None), (3, None), (4, 1), (8, 1), (0, None)])
def test_kernels_have_one_thread_where_as_many_tasks_run_as_there_are_cores(
    monkeypatch, threads, width
):
    def workers():
        if not threads:
            raise OSError("the scheduler has gone")
        return ["tcp://here:1", "tcp://here:2", "tcp://there:1", "tcp://there:2"]

    attempt = Attempt(answer=True)
    scheduler = SimpleNamespace(ringnb_workers=workers)
    state = SimpleNamespace(nthreads=threads)
    attempt.worker = SimpleNamespace(
        loop=None, scheduler=scheduler, address="tcp://here:2", state=state
    )
    monkeypatch.setattr(member_task, "sync", lambda _loop, ask: ask())
    monkeypatch.setattr(member_task, "available_cores", lambda: 8)
    assert member_task._width(attempt, 16) == width
    assert member_task._width(attempt, 8) is None
