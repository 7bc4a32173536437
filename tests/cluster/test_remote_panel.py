"""Panels over a session of another process."""

from __future__ import annotations

import dataclasses
import os
import platform
import signal
import threading
import time
from types import SimpleNamespace

import pytest
import waiting

import ringnb as rn
from ringnb import cluster
from ringnb._support.off_main import placed
from ringnb.cluster import remote_session
from ringnb.cluster.connection import connected
from ringnb.panels import close_panels
from ringnb.panels.cockpit import _controller_of
from ringnb.session.statistics import SessionStatistics

pytest.importorskip("ipywidgets")


@pytest.fixture
def session(address, config):
    life = rn.actors.Life((32, 32))
    with cluster.launch(life, "shown", address=address, config=config) as session:
        yield session
        close_panels(session)
        if not session.closed:
            session.end()


def said(controller):
    return [m.text for m in controller._messages.newest()]


def test_the_cockpit_steers_a_session_of_another_process(address, session):
    asked = []
    ask = session._connection.ask
    session._connection.ask = lambda method, *a, **k: asked.append(method) or ask(method, *a, **k)
    panel = session.panel()
    assert session.panel() is panel
    controller = _controller_of(session)
    controller.do("live.step", n=25)
    waiting.until(lambda: controller.state.actors[0].step == 25)
    controller.do("live.snapshot", label="kept")
    waiting.until(lambda: "checkpoint_0_step_25" in [e.name for e in controller.state.histories[0]])
    waiting.until(lambda: session.storage.load("checkpoint_0_step_25").pinned == "kept")
    waiting.until(
        lambda: any("Committed checkpoint_0_step_25" in text for text in said(controller))
    )

    asked.clear()
    waiting.until(lambda: asked.count("glance") > 2)
    assert set(asked) <= {"glance", "manager.lineage", "pace", "params"}

    waiting.until(
        lambda: controller.board.backend.startswith(f"cpu \N{MIDDLE DOT} {platform.node()} ")
    )
    assert not controller.board.unheard

    # The worker is lost, and the message line says so until another one has the run.
    with connected(address) as client:
        pid = client.run(os.getpid)[session.record().worker]
    with pytest.warns(rn.ClusterWarning):
        os.kill(pid, signal.SIGSTOP)
        try:
            waiting.until(lambda: any("has not answered since" in t for t in said(controller)), 60)
            board, beats = controller.board, []
            waiting.until(lambda: board.unheard and board.backend.endswith("no answer"), 60)
            board.observe(lambda _: beats.append(time.monotonic()), "beat")
            waiting.until(lambda: len(beats) > 3, 60)
            # A glance takes two seconds. The rests between were four times as long: a page that hears
            # nothing for three takes the notebook's kernel for dead.
            assert beats[-1] - beats[0] < 30
            assert not [text for text in said(controller) if "Showing" in text]  # it is said once
            (text,) = (text for text in said(controller) if "has not answered since" in text)
            assert text.count("answer") == 1
            assert "has not answered since" in board.flags["live.run"]["why"]  # and all that acts
        finally:
            os.kill(pid, signal.SIGKILL)
        waiting.until(lambda: session.record().losses, 60)
        waiting.until(lambda: session.connection == "", 120)
        waiting.until(lambda: not controller._messages.is_open("connection"))
        waiting.until(lambda: not board.unheard and not board.flags["live.run"]["disabled"])
    session.end()
    waiting.until(lambda: controller.state.ended)


class Line:
    """The way to a run, which a test cuts; notes what is asked, and has a clock that stands."""

    def __init__(self, session, monkeypatch):
        self.cut, self.asked, self.now = None, [], time.monotonic()
        self._ask = session._connection.ask
        clock = SimpleNamespace(monotonic=lambda: self.now, monotonic_ns=time.monotonic_ns)
        monkeypatch.setattr(remote_session, "time", clock)
        monkeypatch.setattr(session._connection, "ask", self.ask)

    def ask(self, method, *args, **options):
        self.asked.append(method)
        if self.cut:
            raise self.cut
        return self._ask(method, *args, **options)

    def after(self, seconds):
        self.now += seconds
        self.asked.clear()


def for_a_panel(read):
    """Read on a thread of the package's own, as panels do; return or raise what comes of it."""
    found = []

    def body():
        try:
            found.append((read(), None))
        except rn.RingnbError as error:
            found.append((None, error))

    thread = threading.Thread(target=placed(body))
    thread.start()
    thread.join()
    ((value, error),) = found
    if error is not None:
        raise error
    return value


def test_reads_of_panels_end_the_trouble_and_one_glance_waits_for_many(session, monkeypatch):
    line = Line(session, monkeypatch)
    waiting.until(lambda: session.glance() and not session.unheard)  # a panel is open

    def read():
        return for_a_panel(lambda: session.current_step(0))

    line.cut = rn.ClusterUnavailable("it was cut")
    with pytest.raises(rn.ClusterUnavailable, match="it was cut"):
        read()
    for seconds, asked in ((0.5, []), (5.0, ["glance"]), (1.0, [])):
        line.after(seconds)
        for _ in range(3):
            with pytest.raises(rn.ClusterUnavailable, match="has not answered since"):
                read()
        assert session.manager.config.interval_s == 3600
        assert line.asked == asked
    line.cut = rn.RunLost("five workers were lost")
    line.after(5.0)
    with pytest.raises(rn.RunLost, match="five workers were lost"):
        read()
    assert "five workers were lost" in session.connection
    line.cut = None

    def is_back():
        """Whether a read was answered: on a slow machine a glance may take too long."""
        line.after(5.0)
        try:
            return read() == 0
        except rn.ClusterUnavailable:
            return False

    waiting.until(is_back)
    assert line.asked == ["glance", "current_step"]
    assert session.connection == ""


def test_a_read_from_a_cell_is_tried_whatever_panels_have_found(session, monkeypatch):
    line = Line(session, monkeypatch)
    waiting.until(lambda: session.glance() and not session.unheard)
    line.cut = rn.ClusterUnavailable("it was cut")
    session.glance()
    assert session.unheard
    line.asked.clear()
    with pytest.raises(rn.ClusterUnavailable, match="it was cut"):
        session.current_step(0)
    assert line.asked == ["current_step"]
    line.cut = None  # it is back, and no panel has looked yet
    # On a slow machine the glance that ends the trouble may take too long.
    waiting.until(lambda: session.current_step(0) == 0 and session.connection == "")


def test_panels_ask_a_run_that_does_not_answer_ever_later_or_when_they_are_told(
    session, monkeypatch
):
    line = Line(session, monkeypatch)
    waiting.until(lambda: session.glance() and not session.unheard)
    assert session.again_at is None
    line.cut = rn.ClusterUnavailable("it was cut")
    session.glance()
    for rest_s in (1, 2, 4, 8, 16, 30, 30):
        assert session.again_at == pytest.approx(line.now + rest_s)
        line.after(rest_s - 0.1)
        session.glance()
        assert line.asked == []
        line.after(0.2)
        session.glance()
        assert line.asked == ["glance"]
    line.cut = None

    def is_back():
        """Whether a glance was answered: on a slow machine one may take too long."""
        session.try_now()
        session.glance()
        return session.again_at is None

    waiting.until(is_back)
    assert session.connection == ""


class Hanging(Line):
    """A way on which a glance hangs until a test lets it go, and then fails."""

    def __init__(self, session, monkeypatch):
        super().__init__(session, monkeypatch)
        self.let_go = threading.Event()
        self.came = threading.Semaphore(0)

    def ask(self, method, *args, **options):
        self.asked.append(method)
        self.came.release()
        assert self.let_go.wait(60)
        raise rn.ClusterUnavailable("it was cut")


def test_of_many_threads_that_find_a_run_silent_one_waits_for_a_glance(session, monkeypatch):
    waiting.until(lambda: session.glance() and not session.unheard)
    line = Hanging(session, monkeypatch)
    entered = []

    def glance():
        entered.append(threading.get_ident())
        session.glance()

    def begin():
        threads = [threading.Thread(target=glance, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        return threads

    # At first all wait, as for a run that answers; what the first one has met holds for the others.
    threads = begin()
    assert line.came.acquire(timeout=60)
    waiting.until(lambda: len(entered) == len(threads))
    line.let_go.set()
    for thread in threads:
        thread.join(60)
    assert line.asked == ["glance"]
    assert session.again_at == pytest.approx(line.now + 1)

    line.after(1.5)
    line.let_go.clear()
    threads = begin()
    # Seven of them go on with what is known, before the eighth has an answer.
    waiting.until(lambda: sum(thread.is_alive() for thread in threads) == 1)
    line.let_go.set()
    for thread in threads:
        thread.join(60)
    assert line.asked == ["glance"]
    assert session.again_at == pytest.approx(line.now + 2)


def test_a_glance_does_not_wait_for_a_cell_that_waits_for_the_run(session, monkeypatch):
    waiting.until(lambda: session.glance() and not session.unheard)
    line, raised = Hanging(session, monkeypatch), []

    def cell():
        try:
            session.statistics()
        except rn.ClusterUnavailable as error:
            raised.append(error)

    threads = [threading.Thread(target=each, daemon=True) for each in (cell, session.glance)]
    for thread in threads:
        thread.start()
        assert line.came.acquire(timeout=30)  # both ask at the same time
    line.let_go.set()
    for thread in threads:
        thread.join(60)
    assert raised
    assert session.unheard


def test_an_answer_that_others_outrun_is_given_and_takes_nothing_back(session, monkeypatch):
    waiting.until(lambda: session.statistics().completed)
    ask, wished = session._connection.ask, []

    def outrun(method, *args, **options):
        answer = ask(method, *args, **options)
        if method == "glance" and len(wished) < 3:
            monkeypatch.setattr(session._connection, "ask", ask)
            wished.append(every)
            session.snapshot_every(wished[-1])
            if is_news:
                session.snapshot(0)
                session.statistics()
            monkeypatch.setattr(session._connection, "ask", outrun)
        return answer

    for is_news, every in ((False, 10**9), (True, 10**10)):
        wished.clear()
        completed = session.statistics().completed
        monkeypatch.setattr(session._connection, "ask", outrun)
        assert session.statistics().completed == completed
        monkeypatch.setattr(session._connection, "ask", ask)
        assert len(wished) == 1
        assert session.snapshot_interval_steps(0) == every
    said = [(event.stage, event.t_ns, event.detail) for event in session.events]
    assert len(said) == len(set(said))


def test_reads_of_cells_that_fail_together_are_one_trouble(session, monkeypatch):
    waiting.until(lambda: session.glance() and not session.unheard)  # a panel is open
    line = Hanging(session, monkeypatch)
    line.let_go.set()
    for _ in range(5):
        with pytest.raises(rn.ClusterUnavailable, match="it was cut"):
            session.current_step(0)
    assert session.again_at == pytest.approx(line.now + 1)


def test_when_something_is_due_is_known_while_the_run_does_not_answer(session, monkeypatch):
    line = Line(session, monkeypatch)
    waiting.until(lambda: session.statistics().completed)  # the first; the next in an hour
    session.glance()
    due_s = session.manager.seconds_until_next()
    assert 3000 < due_s <= 3600
    line.cut = rn.ClusterUnavailable("it was cut")
    session.glance()
    line.after(100.0)
    assert session.manager.seconds_until_next() == pytest.approx(due_s - 100, abs=1e-3)
    assert session.manager.seconds_until_next(0) == pytest.approx(due_s - 100, abs=1e-3)
    line.after(7200.0)
    assert session.manager.seconds_until_next() == 0


@pytest.mark.filterwarnings("ignore::ringnb.errors.CheckpointWarning")
def test_of_a_silent_run_each_actor_is_as_it_was_heard_last(address, config, monkeypatch):
    with cluster.launch(
        rn.actors.Life((16, 16)), "three", address=address, config=config, actors=3
    ) as session:
        session.run_steps(1, 5)
        session.run_steps(2, 7)
        waiting.until(lambda: session.statistics().completed >= 3)  # the next are due in an hour
        session.snapshot(2)
        session.faults.fill_disk()
        with pytest.raises(OSError, match="No space"):
            session.snapshot(1)
        session.glance([2])
        session.glance([1])
        monkeypatch.setattr(session, "_try_look", lambda _slots=None: None)
        seen = session.glance([2, 0, 1])
        assert [a.step for a in seen.actors] == [7, 0, 5]
        assert seen.saved == (True, True, False)
        assert [len(of) for of in (seen.times, seen.reduced)] == [3, 3]
        with monkeypatch.context() as patch:  # nor is it asked when an actor is due
            patch.setattr(session, "_ask", None)
            due_s = [session.manager.seconds_until_next(slot) or 0 for slot in range(3)]
        assert [s > 3000 for s in due_s] == [True, False, True]  # one is soon tried again
        # A host of before sends no such flags: for the panels nothing is saved then.
        old = object.__new__(SessionStatistics)
        for field in dataclasses.fields(SessionStatistics):
            if field.name != "saved":
                object.__setattr__(old, field.name, getattr(seen, field.name))
        glanced = session._last._replace(
            statistics=old, due_s=None, now_ns=session._last.now_ns + 1
        )
        with monkeypatch.context() as patch:
            patch.setattr(session._connection, "ask", lambda *_args, **_more: glanced)
            session._look([2, 0, 1], 1.0)
        assert session.glance([1, 2]).saved == (False, False)
        monkeypatch.undo()
        session.end(snapshot=False)
