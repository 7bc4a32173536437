"""Actors that links join: parts of a grid are the whole, bit for bit, and run as one."""

from __future__ import annotations

import numpy as np
import pytest
from waiting import until

import ringnb as rn
from ringnb.actors import Heat2D, Life, Wave2D
from ringnb.session.restore import restore_together
from ringnb.testing import MemoryStorage

QUIET = rn.CheckpointConfig(enabled=False, on_close=False)


def divided(whole, rows, depth=1, *, torus=False):
    """Cut an actor before these rows; return the parts, links, and each part's own rows in it."""
    start, ny = whole.start(), whole.shape[0]
    ends = (*rows[1:], ny)
    lows = [a - depth if a > 0 or torus else a for a in rows]
    highs = [b + depth if b < ny or torus else b for b in ends]
    parts = [
        type(whole)(
            (high - low, whole.shape[1]), start=start[:, np.arange(low, high) % ny].squeeze()
        )
        for low, high in zip(lows, highs, strict=True)
    ]
    links, n = [], len(rows)
    # The level before is of use where a halo is stepped, too.
    for field in whole.stored_fields if depth > 1 else whole.fields:
        for here in range(n):
            before, after = (here - 1) % n, (here + 1) % n
            if lows[here] < rows[here]:
                last = ends[before] - lows[before]
                there = rn.Region(field, slice(last - depth, last))
                links.append(rn.Link(before, there, here, rn.Region(field, slice(depth)), depth))
            if highs[here] > ends[here]:
                first, mine = rows[after] - lows[after], ends[here] - lows[here]
                there = rn.Region(field, slice(first, first + depth))
                into = rn.Region(field, slice(mine, mine + depth))
                links.append(rn.Link(after, there, here, into, depth))
    own = [slice(a - low, b - low) for a, b, low in zip(rows, ends, lows, strict=True)]
    return parts, links, own


def opened(parts, links=(), **options):
    return rn.Session(parts, links=links, config=QUIET, storage=MemoryStorage(), **options)


def joined(session, own, field):
    return np.concatenate([session.state(i)[field][rows] for i, rows in enumerate(own)])


def stepped_alone(actor, steps):
    with opened(actor) as session:
        if steps:
            session.run_steps(0, steps)
        return session.state(0).numpy()


def pair(**options):
    parts, links, own = divided(Wave2D((20, 15)), (0, 9))
    return opened(parts, links, **options), links, own


@pytest.mark.parametrize(
    ("model", "shape", "rows", "torus"),
    [
        (Wave2D, (37, 29), (0, 17), False),
        (Heat2D, (25, 30), (0, 7, 14), False),
        (Life, (31, 24), (0, 11, 20), True),  # a ring of three
    ],
)
@pytest.mark.parametrize(
    ("depth", "options"),
    [(1, {}), (1, {"width": 1}), (1, {"width": 3}), (3, {"width": 2}), (4, {})],
)
def test_parts_that_are_joined_at_their_edges_are_the_whole(
    model, shape, rows, torus, depth, options
):
    whole = model(shape)
    there = stepped_alone(whole, 500)
    parts, links, own = divided(whole, rows, depth, torus=torus)
    with opened(parts, links, **options) as session:
        assert session.run_steps(len(rows) - 1, 300) == 300
        session.run_steps(0, 200)
        for field in there:
            np.testing.assert_array_equal(joined(session, own, field), there[field])


def test_columns_are_joined_as_well():
    whole = Wave2D((13, 22))
    start = whole.start()
    parts = [Wave2D((13, 12), start=start[:, :, :12]), Wave2D((13, 12), start=start[:, :, 10:])]
    column = [rn.Region("pressure", *np.s_[:, x : x + 1]) for x in range(12)]
    links = [rn.Link(0, column[10], 1, column[0]), rn.Link(1, column[1], 0, column[11])]
    with opened(parts, links) as session:
        session.run_steps(0, 120)
        found = [session.state(0)["pressure"][:, :11], session.state(1)["pressure"][:, 1:]]
    np.testing.assert_array_equal(np.hstack(found), stepped_alone(whole, 120)["pressure"])


def test_an_actor_may_be_linked_with_itself():
    """Its left edge with its right one: a ring."""
    left, right = rn.Region("temperature", *np.s_[:, :1]), rn.Region("temperature", *np.s_[:, 8:9])
    with opened(Heat2D((6, 10)), rn.Link(0, right, 0, left)) as session:
        session.run_steps(0, 50)
        np.testing.assert_array_equal(session.read_region(0, left), session.read_region(0, right))


def test_linked_actors_run_as_one_and_others_by_themselves():
    parts, links, _ = divided(Wave2D((20, 15)), (0, 9))
    with opened([parts[0], Life((8, 8)), parts[1]], [moved(link) for link in links]) as session:
        assert session.kernel.lane_of(0) == session.kernel.lane_of(2)
        session.resume(2)
        session.run_steps(1, 5)
        session.kernel.check_alive()
        session.pause(0)
        steps = [session.current_step(slot) for slot in range(3)]
        assert steps[0] == steps[2]
        assert steps[1] == 5
        assert not any(session.counters(slot).running for slot in range(3))
        assert session.run_steps(0, 70) == session.current_step(2) == steps[0] + 70
        session.set_pace(1e6, 2)
        assert [session.pace(slot) for slot in range(3)] == [1e6, None, 1e6]


def moved(link):
    """The same link, between the slots 0 and 2."""
    return rn.Link(2 * link.source, link.region, 2 * link.target, link.into, link.every)


def test_a_group_goes_on_from_checkpoints_of_one_step_bit_for_bit():
    session, _, _ = pair()
    with session:
        session.run_steps(0, 101)
        checkpoints = [session.snapshot(slot) for slot in range(2)]
        session.run_steps(1, 60)
        there = [session.state(slot)["pressure"] for slot in range(2)]
        session.resume(0)
        session.pause(1)
        for slot, checkpoint in enumerate(checkpoints):
            assert session.restore(slot, checkpoint) == 101
        session.run_steps(0, 60)
        for slot in range(2):
            np.testing.assert_array_equal(session.state(slot)["pressure"], there[slot])


def test_a_cut_of_a_group_that_runs_is_of_one_step_and_goes_on_bit_for_bit():
    session, _, own = pair()
    with session:
        session.resume(0)
        cut = session.snapshot_all()
        session.pause(1)
        (step,) = {cut.part(slot).step for slot in cut.parts}
        assert session.restore_all(cut) == step
        session.run_steps(1, 40)
        found = joined(session, own, "pressure")
    there = stepped_alone(Wave2D((20, 15)), step + 40)["pressure"]
    np.testing.assert_array_equal(found, there)


def test_one_that_is_reported_holds_its_group_at_each_multiple():
    session, _, own = pair()
    there = [stepped_alone(Wave2D((20, 15)), steps)["pressure"] for steps in (0, 10, 20)]
    with session:
        session.report(10, 1, sum=lambda s: float(s["pressure"][own[1]].sum()))
        session.run_steps(0, 25)
        rows = session.reported(1)["sum"]
    assert list(np.asarray(rows)) == [float(p[9:].sum()) for p in there]


def test_a_link_is_cut_and_joined_while_its_actors_run():
    session, (first, second), _ = pair()
    with session:
        session.resume()
        session.cut(first)
        assert session.links == session.statistics().links == {first: False, second: True}
        session.pause(0)
        before = session.read_region(0, first.region if first.source == 0 else second.region)
        assert before.shape == (1, 15)
        session.inject(first.source, at=(0, 0), amplitude=1.0)
        session.run_steps(0, 51)
        assert not same(session, first)
        assert same(session, second)
        session.resume()
        session.join(first)
        session.pause()
        session.run_steps(0, 1)
        assert same(session, first)
        assert all(session.links.values())
        told = [event.detail for event in session.events if event.stage == "adjusted"]
        assert told == [f"link cut: {first}", f"link joined: {first}"]
        with pytest.raises(ValueError, match="has no link"):
            session.cut(rn.Link(0, first.region, 1, first.into, 7))


def same(session, link):
    there = session.read_region(link.source, link.region)
    return np.array_equal(session.read_region(link.target, link.into), there)


def test_a_session_that_is_made_again_has_the_same_links():
    session, (first, second), _ = pair()
    session.cut(second)
    with session.remake() as new:
        assert new.links == {first: True, second: False}


def test_a_fault_of_one_ends_the_kernel_before_its_steps_are_shown():
    def breaks(now, after, params, step, x):
        if step == 7:
            raise ValueError
        after[0, x] = now[0, x] + 1

    def counts(now, after, params, step, x):
        after[0, x] = now[0, x] + 1

    actors = [
        rn.actors.CellActor(f, (8,), fields=["u"], boundscheck=f is breaks)
        for f in (counts, breaks)
    ]
    link = rn.Link(0, rn.Region("u", slice(1)), 1, rn.Region("u", slice(1)))
    with opened(actors, [link]) as session, pytest.raises(rn.KernelStopped, match="slot 1"):
        session.run_steps(0, 20)


def test_a_cut_of_linked_actors_that_run_free_is_the_whole_at_one_step():
    whole = Wave2D((20, 15))
    session, _, own = pair()
    with session as s:
        s.set_pace(2_000)
        s.inject(0, at=(4, 5))
        s.resume()
        cut = s.snapshot_all(timeout=60)
        [step] = {cut.part(slot).step for slot in cut.parts}
        s.pause()
        assert s.restore_all(cut) == step
        assert {s.current_step(slot) for slot in range(2)} == {step}
        s.run_steps(0, 30)
        found = joined(s, own, "pressure")
    with opened(whole) as s:
        s.inject(0, at=(4, 5))
        s.run_steps(0, step + 30)
        np.testing.assert_array_equal(found, s.state(0)["pressure"])


def test_linked_actors_at_different_steps_are_captured_between_the_same_two():
    session, _, _ = pair()
    with session as s:
        first = s.snapshot(1)
        s.run_steps(0, 50)
        s.restore(1, first)
        s.set_pace(2_000)
        s.resume()
        cut = s.snapshot_all(timeout=60)
        assert cut.part(0).step == cut.part(1).step + 50


def automatic(parts, links=(), **config):
    """A session with automatic checkpoints, and its store."""
    config = rn.CheckpointConfig(on_close=False, **config)
    return rn.Session(parts, links=links, config=config, storage=MemoryStorage())


def steps_of(session, slot):
    return [info.step for info in session.manager.history(slot)]


def goes_on_as_the_whole(session, own, infos, more=30):
    """Whether parts of a cut, restored, step on as the whole does, from a quiet start."""
    for slot, info in enumerate(infos):
        session.restore(slot, info.name)
    session.run_steps(0, more)
    there = stepped_alone(Wave2D((20, 15)), infos[0].step + more)["pressure"]
    np.testing.assert_array_equal(joined(session, own, "pressure"), there)


def test_automatic_checkpoints_of_linked_actors_are_cuts_of_their_group_only():
    parts, links, own = divided(Wave2D((20, 15)), (0, 9))
    keep = rn.retention.keep_last(4)
    with automatic([*parts, Life((8, 8))], links, interval=0.02, retention=keep) as s:
        s.set_pace(2_000)
        s.resume()
        until(lambda: any(e.stage == "retired" for e in s.events if e.actor_slot == 1))
        s.pause()
        s.manager.reconfigure(enabled=False)
        until(lambda: not s.manager.pending)
        assert steps_of(s, 0) == steps_of(s, 1)
        assert len(steps_of(s, 0)) == len(set(steps_of(s, 0))) == 4
        assert not any(":" in info.name for info in s.manager.history(2))
        goes_on_as_the_whole(s, own, [s.manager.history(slot)[-1] for slot in range(2)])
        with pytest.raises(rn.CheckpointNotFound, match="no cut of these 3 actors"):
            s.restore_all("latest")
        cut = s.snapshot_all()
        s.snapshot(0)
        assert s.restore_all("latest") == cut.step


def test_each_group_keeps_its_own_cuts():
    parts, links, _ = divided(Wave2D((20, 15)), (0, 9))
    others = [rn.Link(k.source + 2, k.region, k.target + 2, k.into) for k in links]
    keep = rn.retention.keep_last(3)
    with automatic([*parts, *parts], [*links, *others], interval=3600.0, retention=keep) as s:
        until(lambda: steps_of(s, 0) == steps_of(s, 2) == [0])
        for slot in (0, 2, 0, 0, 0, 3, 0):
            s.run_steps(slot, 5)
            s.snapshot(slot)
        assert steps_of(s, 0) == steps_of(s, 1) == [15, 20, 25]
        assert steps_of(s, 2) == steps_of(s, 3) == [0, 5, 10]


def test_one_that_is_due_makes_the_cut_of_all_that_are_linked_with_it():
    parts, links, _ = divided(Wave2D((20, 15)), (0, 9))
    with automatic(parts, links, interval=3600.0) as s:
        until(lambda: steps_of(s, 1) == [0] and not s.manager.pending)
        s.run_steps(0, 10)
        s.manager.request_snapshot(1)
        assert s.snapshot(0, attrs={"why": "by hand"}, label="kept").user == {"why": "by hand"}
        assert steps_of(s, 0) == steps_of(s, 1) == [0, 10]
        assert not s.manager.pending
        assert s.manager.seconds_until_next() > 3_000
        assert s.manager.history(1)[-1].pin == "kept"


@pytest.mark.parametrize("slots", [(1,), (None,)])
def test_by_steps_linked_actors_are_cut_once_at_each_multiple(slots):
    session, _, own = pair()
    with session as s:
        for slot in slots:
            s.snapshot_every(50, slot)
        for end in (50, 100):
            s.run_steps(0, 50)
            until(lambda end=end: steps_of(s, 1)[-1:] == [end] and not s.manager.pending)
        s.snapshot_every(None)
        assert steps_of(s, 0) == steps_of(s, 1) == [50, 100]
        goes_on_as_the_whole(s, own, [s.manager.history(slot)[0] for slot in range(2)])


def test_by_steps_and_by_the_clock_and_all_together_do_not_wait_for_each_other():
    parts, links, _ = divided(Wave2D((20, 15)), (0, 9))
    with automatic([*parts, Life((8, 8))], links, interval=0.01) as s:
        s.snapshot_every(20)
        s.set_pace(2_000)
        s.resume()
        for _ in range(5):
            s.snapshot_all()
        s.pause()
        assert steps_of(s, 0) == steps_of(s, 1)
        assert s.statistics().failed == 0


@pytest.mark.parametrize("service", [True, False])
def test_the_last_checkpoint_of_linked_actors_is_one_cut(service):
    session, _, _ = pair(service=service)
    with session as s:
        s.run_steps(0, 30)
        assert s.save_changes()
        assert [s.manager.history(slot)[-1].name for slot in range(2)] == [
            "checkpoint_cut_step_30:0",
            "checkpoint_cut_step_30:1",
        ]
        assert steps_of(s, 0) == [30]
        assert not s.manager.pending


def test_a_cut_that_cannot_be_saved_is_tried_again():
    parts, links, _ = divided(Wave2D((20, 15)), (0, 9))
    with automatic(parts, links, interval=0.05) as s:
        until(lambda: s.manager.history(0) and not s.manager.pending)
        with pytest.warns(rn.CheckpointWarning, match="will be retried"):
            s.storage.fail_save = OSError("no space left")
            s.run_steps(0, 10)
            until(lambda: any(e.stage == "failed" for e in s.events))
            s.storage.fail_save = None
            until(lambda: steps_of(s, 1)[-1] == 10)
        assert steps_of(s, 0) == steps_of(s, 1) == [0, 10]


def test_a_bad_state_pauses_all_that_are_linked_with_it():
    parts, links, _ = divided(Wave2D((20, 15)), (0, 9))
    with automatic(parts, links, interval=0.02, guard="pause") as s:
        with pytest.warns(rn.CheckpointWarning, match="is not good"):
            s.resume()
            s.write_region(
                1, rn.Region("pressure", slice(3, 4)), np.full((1, 15), np.nan, np.float32)
            )
            until(lambda: not s.counters(0).running)
        assert not s.counters(1).running
        assert {e.actor_slot for e in s.events if e.stage == "bad"} == {0, 1}


def test_linked_actors_go_back_together_or_not_at_all(tmp_path):
    parts, links, _ = divided(Wave2D((20, 15)), (0, 9))  # of two shapes: arrays of their own
    storage = rn.ZarrStorage(tmp_path / "s.zarr")
    told = []

    def damage(cut):
        """Change a byte of the second actor's state."""
        name = cut.document.record["cut"]["kinds"][1]["fields"]["pressure"]
        (chunk,) = (tmp_path / "s.zarr" / cut.name / name).glob("c*")
        raw = bytearray(chunk.read_bytes())
        raw[40] ^= 1
        chunk.write_bytes(raw)
        cut.part(0).numpy()
        with pytest.raises(rn.CheckpointCorrupt):
            cut.part(1).numpy()

    with rn.Session(parts, links=links, config=QUIET, storage=storage) as s:
        assert not restore_together(s, [0, 1], good=False, tell=told.append)
        cuts = []
        for _ in range(2):
            s.run_steps(0, 5)
            cuts.append(s.snapshot_all())
        s.run_steps(0, 5)
        damage(cuts[1])
        assert restore_together(s, [0, 1], good=True, tell=told.append)
        assert [s.current_step(slot) for slot in range(2)] == [5, 5]
        s.run_steps(0, 2)
        damage(cuts[0])
        with pytest.raises(rn.CheckpointCorrupt, match="no cut of the linked actors"):
            restore_together(s, [0, 1], good=False, tell=told.append)
        assert [s.current_step(slot) for slot in range(2)] == [7, 7]
        assert [cuts[n].name in text for n, text in zip((1, 1, 0), told, strict=True)] == [True] * 3
