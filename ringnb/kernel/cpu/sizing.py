"""How many threads of a lane's team step an actor: chosen by what each number was seen to cost.

A barrier costs a small actor more than a second thread gains, and a core that Python or another process
takes meanwhile holds up the whole team. No rule knows either beforehand. So the leader tries, now and
then, half or twice as many threads for one slice, and goes on with what is faster twice in a row. A
trial that failed is repeated after a pause, twice as long each time; a team that is suddenly slow is
tried with fewer threads at once, and one that was held up with one. The rate of a number is that of the
last 64 ms, or since it was chosen: a slice that was held up is a small part of the time.

Plain Python over the actor table of `ringnb.kernel.layout`, which the leader compiles. What is computed
does not depend on the number.
"""

from __future__ import annotations

from typing import Any

from ringnb.kernel import layout

__all__ = ["record_size", "team_size"]

_WORTH_NS = 100_000  # less is done by the leader alone: a member that sleeps takes as long to come
_SHORTEST_GAP_NS = 4_000_000
_LONGEST_GAP_NS = 256_000_000
_LASTING_NS = 64_000_000  # more threads that are given up sooner were chosen by luck
_GAP_PER_TRIAL = 64  # trials take at most a sixty-fourth of the time
_SHORTEST_MEAN_NS = 4_000_000  # after more threads were chosen, of what two lucky trials have cost
_LONGEST_MEAN_NS = 64_000_000
_ALONE = 2  # what TRY_FEWER says besides no and yes
_FINE = 1024  # costs are in fractions of a nanosecond: the mean of quick steps would not move


def team_size(table: Any, row: int, count: int, begin: int, width: int) -> Any:
    """Return how many of `width` threads are to take an actor through `count` steps now."""
    size = table[row, layout.C_TEAM]
    if count * table[row, layout.C_STEP_NS] < _WORTH_NS:
        return 1
    if table[row, layout.C_TEAM_COST] == 0 or begin < table[row, layout.C_TRY_NS]:
        return size
    if size == 1 or (size < width and table[row, layout.C_TRY_FEWER] == 0):
        return min(2 * size, width)
    return 1 if table[row, layout.C_TRY_FEWER] == _ALONE else (size + 1) // 2


def record_size(
    table: Any, row: int, count: int, done: int, size: int, begin: int, end: int, held_up: bool
) -> None:
    """Record what `done` of `count` steps with so many threads have cost, before `rules.record_time`.

    `held_up`: it took far longer than it was to take.
    """
    if count * table[row, layout.C_STEP_NS] < _WORTH_NS:
        return
    elapsed, known = max(1, end - begin), table[row, layout.C_TEAM_COST]
    cost = max(1, elapsed * _FINE // done)
    if size == table[row, layout.C_TEAM]:
        # A mean of rates, weighted by time: steps that were held up take time, and are few.
        since = min(max(end - table[row, layout.C_GREW_NS], _SHORTEST_MEAN_NS), _LONGEST_MEAN_NS)
        weight = min(elapsed / since, 0.25) if known > 0 else 1.0
        rate = weight / cost + (1.0 - weight) / max(1, known)
        table[row, layout.C_TEAM_COST] = int(1.0 / rate + 0.5)
        # Perhaps somebody has taken a core; of a team that was held up, half may wait for the same one.
        if size > 1 and (held_up or 2 * cost > 3 * known > 0):
            table[row, layout.C_TRY_FEWER] = _ALONE if held_up else 1
            table[row, layout.C_TRY_NS] = end
        return
    fewer = size < table[row, layout.C_TEAM]
    gap = min(max(2 * table[row, layout.C_TRY_GAP_NS], _SHORTEST_GAP_NS), _LONGEST_GAP_NS)
    if cost < known - known // 32:
        if table[row, layout.C_WON_COST] == 0:  # once may be luck
            table[row, layout.C_WON_COST] = cost
            return
        table[row, layout.C_TEAM] = size
        table[row, layout.C_TEAM_COST] = (table[row, layout.C_WON_COST] + cost) // 2
        table[row, layout.C_WON_COST] = table[row, layout.C_TRY_FEWER] = 0
        if not fewer:
            table[row, layout.C_GREW_NS] = table[row, layout.C_TRY_NS] = end
            return
        if begin - table[row, layout.C_GREW_NS] > _LASTING_NS:
            gap = _SHORTEST_GAP_NS  # perhaps a core was taken for a moment only
        table[row, layout.C_TRY_NS] = end + gap
    else:
        table[row, layout.C_WON_COST] = 0
        table[row, layout.C_TRY_FEWER] = 0 if fewer else 1
        table[row, layout.C_TRY_NS] = end + max(gap, _GAP_PER_TRIAL * (end - begin))
    table[row, layout.C_TRY_GAP_NS] = gap
