"""Parts of an actor compute what the whole computes, bit for bit. The parts are threads here."""

from __future__ import annotations

import contextlib
import socket
import threading

import numpy as np
import pytest
import waiting
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import ringnb as rn
from ringnb.actors.locality import Locality, locality_of
from ringnb.actors.torus import wrap
from ringnb.cluster.division import best_halo, divide, largest_halo, stretches
from ringnb.cluster.part import serve_part
from ringnb.cluster.parts import Parts
from ringnb.cluster.wire import accept, connect, listen
from ringnb.errors import ClusterUnavailable, NotDecomposable
from ringnb.kernel.stepper import Stepper


def forth(now, then, params, step, y, x):
    ny = now.shape[1]
    then[0, y, x] = now[0, wrap(y - 2, ny), x] * 0.5 + now[0, y, x] * 0.25
    then[1, y, x] = now[1, wrap(y + 1, ny), x]


def back(now, then, params, step, y, x):
    then[0, y, x] = now[0, wrap(y + 1, now.shape[1]), x] + then[0, y, x] * 0.125
    then[1, y, x] = now[1, y, x] + (1 if now[0, y, x] > params[0] else step % 3)


RNG = np.random.default_rng(0)
MODELS = {
    "wave": rn.actors.Wave2D((40, 24)),
    "wave3": rn.actors.Wave3D((36, 8, 8)),
    "heat": rn.actors.Heat2D((37, 24)),
    "gray_scott": rn.actors.GrayScott((38, 24)),
    "life": rn.actors.Life((35, 24)),
    "ising": rn.actors.Ising2D((38, 24), field=0.25, seed=3),
    "two_stages": rn.actors.CellActor(
        stages=[forth, back],
        shape=(100, 6),
        fields={"a": "float64", "b": "int32"},
        params={"least": 0.5},
        start={"a": RNG.random((100, 6)), "b": RNG.integers(0, 9, (100, 6))},
    ),
}


class Threads:
    """The parts of an actor, on threads of this process; the threads can be looked at."""

    def __init__(self, actor, parts, halo):
        self.actor, self.threads = actor, []
        self.stepper = Parts(self, parts, locality_of(actor), halo)
        self.lost = threading.Event()  # set: all parts end

    def __call__(self, parts, secret):
        places = []
        for _ in range(parts):
            listener = listen("127.0.0.1")
            places.append(listener.getsockname())
            arguments = (listener, secret, self.actor, 1, self.lost.is_set)
            thread = threading.Thread(target=serve_part, args=arguments, daemon=True)
            thread.start()
            self.threads.append(thread)
        return places

    def join(self):
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()


class Timed:
    """A wire to a part that says of each block of 8 steps what an exchange and they have taken."""

    def __init__(self, exchanges):
        self.exchanges, self.told = iter(exchanges), {}

    def send(self, message, _arrays=()):
        self.told = message

    def receive(self):
        if self.told["do"] == "step":
            return {"exchange_ns": next(self.exchanges), "step_ns": 8 * 512_000}
        return {}


def test_halos_are_as_deep_as_the_usual_exchange_wants_them():
    """Few are quick where parts share cores: those would have parts wait for each other often."""
    actor = rn.actors.Wave2D((1024, 4))
    parts = Parts(lambda *_: (), 2, locality_of(actor))
    parts._actor = actor
    slow, quick = 1_600_000, 1_000
    for exchanges, halo in (
        ([0, *[slow, quick, slow, slow] * 8], 40),
        ([0, *[quick, slow, quick, quick] * 8], 1),
    ):
        parts._wires = [Timed(exchanges), Timed(exchanges)]
        levels = np.zeros((2, 1, *actor.shape), np.float32)
        assert parts._measured(64, levels, np.zeros(8)) == halo


def config(folder):
    return rn.CheckpointConfig(storage_path=folder / "s.zarr", enabled=False, on_close=False)


@contextlib.contextmanager
def divided(actor, folder, parts, halo=None):
    """A session of an actor in parts, and the threads of these: all have ended after the block."""
    threads = Threads(actor, parts, halo)
    with rn.Session(actor, backend=threads.stepper, config=config(folder)) as session:
        yield session, threads
    threads.join()


def bits_of(state):
    return {name: (np.asarray(state[name]).tobytes(), state.step) for name in state}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What each model is after some steps, changes and steps, undivided."""
    found = {}
    for name, actor in MODELS.items():
        folder = tmp_path_factory.mktemp("whole")
        with rn.Session(actor, config=config(folder), lanes=1, width=1) as session:
            found[name] = live_through(session)
    return found


def live_through(session):
    """Take a session through what can be done with it; return what was to be seen of it."""
    actor = session.actors[0]
    seen = []
    for steps in (1, 13, 26):
        session.run_steps(0, steps)
        session.inject(0, tuple(n // 2 for n in actor.shape), 0.25)
        seen.append(bits_of(session.state(0)))
    field, params = actor.stored_fields[0], session.params(0)
    if "dt" not in params and params:
        name, value = next(iter(params.items()))
        session.set_params(0, **{name: value / 2})
    rows = rn.Region(field, slice(1, 3))
    seen.append(session.read_region(0, rows).tobytes())
    session.write_region(0, rows, 0)
    session.run_steps(0, 9)
    kept = session.snapshot(0)
    session.run_steps(0, 7)
    seen.append(bits_of(session.state(0)))
    session.restore(0, kept)
    session.run_steps(0, 7)
    seen.append(bits_of(session.state(0)))
    assert seen[-1] == seen[-2]
    return seen


@settings(max_examples=settings.default.max_examples // 2)
@given(st.sampled_from(sorted(MODELS)), st.integers(1, 4), st.none() | st.integers(1, 8))
def test_parts_are_bit_equal_to_the_whole(whole, tmp_path_factory, name, parts, halo):
    actor = MODELS[name]
    if halo is not None:
        halo = min(halo, largest_halo(actor.shape[0], parts, locality_of(actor).reach))
    with divided(actor, tmp_path_factory.mktemp("parts"), parts, halo) as (session, _):
        assert live_through(session) == whole[name]
        assert session.backend == "cpu"


def test_a_divided_actor_runs_freely_is_held_and_keeps_a_pace(tmp_path):
    with divided(MODELS["heat"], tmp_path, 2, 3) as (session, _):
        session.snapshot_every(50)
        session.resume()
        waiting.until(lambda: session.statistics().completed >= 2)
        session.pause()
        assert all(e.step % 50 == 0 for e in session.manager.history(0))
        session.snapshot_every(None)
        session.set_pace(1000.0)
        first = session.current_step(0)
        assert session.run_steps(0, 20) == first + 20
        assert session.snapshot(0, at=first + 20).step == first + 20


def test_parts_that_are_lost_end_the_kernel_and_say_so(tmp_path):
    with divided(MODELS["heat"], tmp_path, 2, 3) as (session, threads):
        session.run_steps(0, 10)
        kept = session.snapshot(0)
        session.resume()
        threads.lost.set()
        waiting.until(lambda: not session.kernel.alive)
        with pytest.raises(rn.KernelStopped, match="part of the divided actor was lost"):
            session.current_step(0)
        threads.join()
        threads.lost.clear()
        with session.remake() as again:  # other parts
            assert again.restore(0, kept.name) == 10
            assert again.run_steps(0, 10) == 20


def counts_up(now, then, params, step, y, x):
    below = now[0, wrap(y + 1, now.shape[1]), x]
    if now[0, y, x] > 40.0 and below < 0:
        raise ValueError("the marked cell has come so far")
    if now[0, y, x] == 0:
        raise ValueError("no cell is zero")
    then[0, y, x] = now[0, y, x] + (1.0 if now[0, y, x] > 0 else -1.0)


def counting(up=0.5):
    """Return what raises where it has counted far up beside a row that counts down."""
    start = np.full((40, 6), up)
    start[31] = -0.5
    return rn.actors.CellActor(
        counts_up, shape=(40, 6), fields={"n": "float64"}, start={"n": start}, boundscheck=True
    )


def in_turn(now, then, params, step, y, x):
    above, below = now[0, wrap(y - 2, now.shape[1]), x], now[0, wrap(y + 1, now.shape[1]), x]
    if (now[0, y, x] - above) % 40.0 != 2.0 or (below - now[0, y, x]) % 40.0 != 1.0:
        raise ValueError("a row is not beside its neighbours")
    then[0, y, x] = now[0, y, x] + 1.0


def looked_up(now, then, params, step, y, x, table):
    other = now[0, wrap(y - 1, now.shape[1]), x]
    # Far beyond the table, unless the two belong together.
    then[0, y, x] = now[0, y, x] + table[int((now[0, y, x] - other) % 40.0) * 1000 - 1000]


@pytest.mark.parametrize("stages", [[in_turn], [in_turn, in_turn, in_turn]], ids=["one", "three"])
@settings(max_examples=settings.default.max_examples // 4)
@given(st.integers(2, 4), st.integers(1, 5), st.lists(st.integers(1, 12), max_size=5))
def test_no_row_is_computed_whose_neighbours_are_not_right(
    tmp_path_factory, stages, parts, halo, runs
):
    """In the whole no cell raises: then none does in a part, however old its halos are."""
    start = np.repeat(np.arange(40.0)[:, None], 3, axis=1)
    actor = rn.actors.CellActor(
        stages=stages, shape=(40, 3), fields={"n": "float64"}, start={"n": start}, boundscheck=True
    )
    halo = min(halo, largest_halo(40, parts, locality_of(actor).reach))
    assume(halo)
    with divided(actor, tmp_path_factory.mktemp("rows"), parts, halo) as (session, _):
        for steps in runs:
            session.run_steps(0, steps)
        now = session.state(0)["n"]
    np.testing.assert_array_equal(now, start + sum(runs) * len(stages))


def test_an_array_is_read_where_the_whole_reads_it_and_nowhere_else(tmp_path):
    start = np.repeat(np.arange(40.0)[:, None], 3, axis=1)
    actor = rn.actors.CellActor(
        looked_up,
        shape=(40, 3),
        fields={"n": "float64"},
        start={"n": start},
        arrays={"table": np.ones(1)},
        boundscheck=True,  # else nobody would notice
    )
    with divided(actor, tmp_path, 3, 4) as (session, _):
        session.run_steps(0, 30)
        np.testing.assert_array_equal(session.state(0)["n"], start + 30)


@pytest.mark.parametrize("halo", [3, None])
def test_an_update_that_raises_in_a_part_is_no_loss_and_names_the_cell(tmp_path, halo):
    with divided(counting(), tmp_path, 3, halo) as (session, threads):
        assert session.run_steps(0, 39) == 39
        with pytest.raises(rn.KernelStopped, match=r"raised in step 40, at the cell y = 30, x = "):
            session.run_steps(0, 10)
        assert not threads.stepper.lost


def test_halos_are_measured_from_the_start_and_not_of_zeros(tmp_path, monkeypatch):
    measured = []

    def noting(*given):
        measured.append(given)
        return best_halo(*given)

    monkeypatch.setattr("ringnb.cluster.parts.best_halo", noting)
    with divided(counting(up=-100.5), tmp_path, 2) as (session, threads):
        assert len(threads.threads) == 2  # none has raised, and was started again
        assert session.run_steps(0, 10) == 10
    ((*_, exchange_s, step_s),) = measured
    assert min(exchange_s, step_s) > 0  # also the exchange: not of a block that had none


def test_parts_are_waited_for_before_they_wait_for_each_other():
    actor = MODELS["heat"]
    listeners = [listen("127.0.0.1") for _ in range(2)]
    secrets = []

    def places(_parts, secret):
        secrets.append(secret)
        return [one.getsockname() for one in listeners]

    stepper, ended = Parts(places, 2, locality_of(actor), 3), threading.Event()
    failed = []

    def begin():
        try:
            stepper.open(actor, (), (), ended.is_set)
        except ClusterUnavailable as error:
            failed.append(error)

    opening = threading.Thread(target=begin)
    opening.start()
    try:
        waiting.until(lambda: secrets)
        first, second = (accept(one, secrets[0], "coordinator", ended.is_set) for one in listeners)
        for one in (first, second):
            assert one.receive() == {"do": "ready"}
        first.send({})
        second.send({})
        assert [one.receive()["do"] for one in (first, second)] == ["join", "join"]
        first.close()
        second.close()
    finally:
        ended.set()
        opening.join(30)
        for one in listeners:
            one.close()
    assert failed
    assert stepper.lost


class Interrupted(Stepper):
    """Its steps end when it is stopped, with an error."""

    def open(self, actor, levels, params, stopping):
        self.stopping, self.began = stopping, threading.Event()

    def load(self, levels, params, step):
        pass

    def step(self, count):
        self.began.set()
        waiting.until(self.stopping)
        raise ClusterUnavailable("the divided actor was ended")

    def collect(self, levels):
        pass

    def close(self):
        pass


def test_what_was_closed_says_so_though_a_step_was_under_way(tmp_path):
    stepper = Interrupted()
    with rn.Session(MODELS["heat"], backend=stepper, config=config(tmp_path)) as session:
        session.resume()
        assert stepper.began.wait(60)
    assert session.kernel.stopped_because == "the session was closed"


def test_only_who_knows_the_secret_is_let_in():
    listener = listen("127.0.0.1")
    place = listener.getsockname()
    strangers = [connect(place, b"another", "coordinator", lambda: False) for _ in range(2)]
    strangers.append(connect(place, b"secret", "wire 1", lambda: False))
    friend = connect(place, b"secret", "coordinator", lambda: False)
    wire = accept(listener, b"secret", "coordinator", lambda: False)
    friend.send({"hello": 1})
    assert wire.receive() == {"hello": 1}
    friend.close()
    with pytest.raises(ClusterUnavailable, match="hung up"):
        wire.receive()
    for one in (*strangers, wire):
        one.close()
    with pytest.raises(ClusterUnavailable, match="nobody"):
        accept(listener, b"secret", "coordinator", lambda: False, limit=1)
    listener.close()
    with pytest.raises(ClusterUnavailable, match="cannot be reached"):
        connect(place, b"secret", "coordinator", lambda: False)


def test_two_ends_swap_more_than_there_is_room_for_between_them():
    listener = listen("127.0.0.1")
    ends = [connect(listener.getsockname(), b"secret", "wire 0", lambda: False)]
    ends.append(accept(listener, b"secret", "wire 0", lambda: False))
    sent = [np.full(16 << 20, i, np.uint8) for i in (1, 2)]
    got = [np.zeros(len(each), np.uint8) for each in sent]
    swap = threading.Thread(target=ends[1].swap, args=([(sent[1], got[1])],))
    swap.start()
    ends[0].swap([(sent[0], got[0])])
    swap.join(60)
    np.testing.assert_array_equal(got, sent[::-1])
    for one in (*ends, listener):
        one.close()


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has it")
def test_who_acknowledges_nothing_for_long_is_lost(monkeypatch):
    monkeypatch.setattr("ringnb.cluster.wire._UNACKNOWLEDGED_MS", 300)
    listener = listen("127.0.0.1")
    wire = connect(listener.getsockname(), b"secret", "coordinator", lambda: False)
    silent, _ = listener.accept()  # its buffer is soon full
    with pytest.raises(ClusterUnavailable, match="was lost"):
        wire.write(memoryview(bytes(64 << 20)))
    for one in (wire, silent, listener):
        one.close()


@given(st.integers(3, 500), st.integers(1, 9), st.integers(0, 5), st.integers(1, 70), st.booleans())
def test_own_rows_are_all_rows_and_halos_are_a_neighbours(rows, parts, reach, halo, joined):
    actor = rn.actors.Heat2D((rows, 3))
    if halo > largest_halo(rows, parts, reach):
        with pytest.raises(NotDecomposable, match="cannot be divided into"):
            divide(actor, Locality((reach,), joined), parts, halo)
        return
    slabs = divide(actor, Locality((reach,), joined), parts, halo)
    assert [row for s in slabs for row in range(s.first, s.first + s.rows)] == list(range(rows))
    for slab in slabs:
        assert max(slab.above, slab.below) <= min(s.rows for s in slabs) or parts == 1
        held = [
            r for a, b in stretches(slab.first - slab.above, slab.held, rows) for r in range(a, b)
        ]
        assert held == [(slab.first - slab.above + i) % rows for i in range(slab.held)]


def test_the_best_halo_takes_as_long_for_rows_as_for_the_exchange():
    # A part of 500 rows: a row takes 1 us, an exchange 200 us; 14 steps of 13 rows more take as long.
    assert best_halo(1000, 2, 1, 200e-6, 500e-6) == 14
    assert best_halo(1000, 2, 2, 200e-6, 500e-6) == 10
    assert best_halo(16, 2, 1, 1.0, 1e-6) == largest_halo(16, 2, 1) == 8
    assert best_halo(1000, 2, 0, 1.0, 1.0) == largest_halo(1000, 2, 0)


def test_the_last_state_is_collected_where_the_interpreter_starts_no_thread_any_more(
    tmp_path, monkeypatch
):
    actor = MODELS["heat"]
    parts = Threads(actor, 3, 2)

    def refuse(_thread):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    with rn.Session(actor, backend=parts.stepper, config=config(tmp_path)) as session:
        session.run_steps(0, 7)
        with monkeypatch.context() as ending:
            ending.setattr(threading.Thread, "start", refuse)
            found = session.snapshot(0).numpy()
    with rn.Session(actor, config=config(tmp_path / "plain")) as plain:
        plain.run_steps(0, 7)
        for name, values in plain.state(0).numpy().items():
            assert np.array_equal(found[name], values)
