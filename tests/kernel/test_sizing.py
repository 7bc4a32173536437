"""How many threads step an actor, by a clock of the tests: what a step costs is told, not measured."""

from __future__ import annotations

import numpy as np
import pytest

from ringnb.kernel import layout, rules
from ringnb.kernel.cpu import sizing

MS = 1_000_000
SECOND = 1000 * MS
BARRIER_NS = 300


class Leader:
    """Steps one actor, in slices, on a team of `width`; `cost(now, size)` is what a step takes.

    `held_up(begin, end, size)` is how much longer a slice takes; `size`: do not choose, but take this.
    """

    def __init__(self, width, cost, held_up=lambda begin, end, size: 0, size=None):
        self.width, self.cost, self.held_up, self.size = width, cost, held_up, size
        self.table = np.zeros((1, layout.TABLE_COLUMNS), np.int64)
        for column in ("EXISTS", "STAGES", "TEAM", "FREE"):
            self.table[0, getattr(layout, f"C_{column}")] = 1
        self.now = 1
        self.sizes = []

    def slice(self):
        count, _ = rules.plan_slice(self.table, 0, self.now, MS)
        chosen = sizing.team_size(self.table, 0, count, self.now, self.width)
        size = self.size or int(chosen)
        cost = self.cost(self.now, size)
        # A team that is held up ends the slice.
        done = count if size == 1 else max(1, min(count, int(4 * MS / cost)))
        end = self.now + int(done * cost)
        end += int(self.held_up(self.now, end, size))
        late = self.now + 4 * max(MS, count * int(self.table[0, layout.C_STEP_NS]))
        sizing.record_size(self.table, 0, count, done, size, self.now, end, end > late)
        rules.record_steps(self.table, 0, done)
        rules.record_time(self.table, 0, done, end - self.now)
        self.now = end
        self.sizes.append(size)

    def rate(self, until):
        """Step until then; return steps per second."""
        step, began = int(self.table[0, layout.C_STEP]), self.now
        while self.now < until:
            self.slice()
        return (int(self.table[0, layout.C_STEP]) - step) / (self.now - began) * SECOND


def shared(step_ns):
    """Return the cost of a step that can be shared out, with a barrier for all but one thread."""
    return lambda now, size: step_ns / size + BARRIER_NS * (size > 1)


@pytest.mark.parametrize("width", [2, 3, 16])
@pytest.mark.parametrize("step_ns", [100, 250, 700, 4_000, 60_000, 10 * MS])
def test_the_rate_is_that_of_the_best_number_of_threads(width, step_ns):
    cost = shared(step_ns)
    leader = Leader(width, cost)
    leader.rate(SECOND)
    best = max(SECOND / cost(0, size) for size in (1, 2, 4, 8, 16, width) if size <= width)
    assert leader.rate(3 * SECOND) >= 0.95 * best


def test_a_team_without_one_of_its_cores_gives_way_and_comes_back():
    def cost(now, size):
        stolen = SECOND <= now < 3 * SECOND
        return shared(50_000)(now, size) * (4 if stolen and size > 1 else 1)

    leader = Leader(2, cost)
    leader.rate(SECOND)
    assert leader.rate(3 * SECOND) >= 0.9 * SECOND / 50_000  # one thread's rate
    leader.rate(3 * SECOND + SECOND // 2)
    assert leader.rate(5 * SECOND) >= 0.95 * 2 * SECOND / 50_600


@pytest.mark.parametrize("width", [2, 3, 16])
def test_a_team_that_is_held_up_at_every_barrier_is_one_thread_soon(width):
    def cost(now, size):
        return 300 + (now > SECOND and size > 1) * 45 * MS

    leader = Leader(width, cost)
    leader.table[0, layout.C_TEAM] = width
    leader.rate(SECOND)
    leader.rate(SECOND + 200 * MS)
    assert leader.rate(3 * SECOND) >= 0.9 * SECOND / 300


@pytest.mark.parametrize("step_ns", [80, 200, 850, 50_000])
def test_what_is_slower_for_good_is_learnt_and_no_more_is_tried_than_usual(step_ns):
    def cost(now, size):
        return (2 * step_ns if size == 1 else step_ns) * (1.7 if now > SECOND else 1)

    leader = Leader(2, cost)
    leader.rate(SECOND + 200 * MS)
    leader.sizes.clear()
    leader.rate(3 * SECOND)
    assert leader.sizes.count(2) > 0.97 * len(leader.sizes)


def test_a_core_that_is_taken_now_and_then_for_a_moment_costs_little():
    def cost(now, size):
        stolen = now % (100 * MS) < 4 * MS
        return shared(50_000)(now, size) * (4 if stolen and size > 1 else 1)

    leader = Leader(2, cost)
    leader.rate(SECOND)
    assert leader.rate(5 * SECOND) >= 0.85 * 2 * SECOND / 50_600


@pytest.mark.parametrize("only_teams", [False, True], ids=["any", "teams"])
@pytest.mark.parametrize("every_ms", [10, 30, 100])
def test_interruptions_at_random_leave_the_rate_near_the_best(every_ms, only_teams):
    def rate(size):
        rng = np.random.default_rng(5)
        times = np.cumsum(rng.exponential(every_ms * MS, 3000))
        lengths = rng.uniform(2, 5, len(times)) * MS

        def held_up(begin, end, size):
            met = (begin <= times) & (times < end)
            return 0 if only_teams and size == 1 else lengths[met].sum()

        leader = Leader(2, lambda now, size: 1400 if size == 1 else 850, held_up, size)
        leader.rate(SECOND)
        return leader.rate(6 * SECOND)

    assert rate(None) >= 0.93 * max(rate(1), rate(2))


def test_a_lucky_or_an_unlucky_measurement_decides_nothing():
    rng = np.random.default_rng(3)

    def cost(now, size):
        return shared(60_000)(now, size) * rng.lognormal(0, 0.4)

    leader = Leader(2, cost)
    leader.rate(SECOND)
    leader.sizes.clear()
    leader.rate(6 * SECOND)
    assert leader.sizes.count(2) >= 0.65 * len(leader.sizes)


def test_a_core_that_is_shared_all_the_time_seldom_delays_a_command():
    rng = np.random.default_rng(7)

    def cost(now, size):
        # Another program holds up one of two threads in every fourth slice; one thread it leaves alone.
        held_up = size > 1 and rng.random() < 0.25
        return shared(50_000)(now, size) + held_up * rng.uniform(1, 4) * MS / 20

    leader = Leader(2, cost)
    leader.rate(SECOND)
    late, began = 0, leader.now
    while leader.now < 6 * SECOND:
        before = leader.now
        leader.slice()
        late += max(0, leader.now - before - 2 * MS)  # a command that came then waits longer
    assert late <= 0.15 * (leader.now - began)


def test_a_job_of_a_few_microseconds_wakes_nobody():
    leader = Leader(4, shared(10_000))
    leader.table[0, layout.C_FREE] = 0
    for _ in range(1000):
        leader.table[0, layout.C_BUDGET] = 3
        leader.slice()
        leader.now += MS
    assert set(leader.sizes) == {1}


def test_the_first_step_of_all_is_the_leaders_alone():
    leader = Leader(8, shared(20 * MS))
    leader.slice()
    assert leader.sizes == [1]
