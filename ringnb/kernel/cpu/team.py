"""The team of a lane: several threads that step one actor together.

The leader (rank 0) publishes a job and takes part in it; members wait for jobs. A job may be for some
of the team only, those of the lowest ranks. A step is a job, or a run of many steps, with a barrier
after each stage. A capture (copying the state into a staging buffer, with its checksum) is split by
bytes.

A member whose core is taken by somebody else holds up all at every barrier. So a job of many steps ends
before its time when it is late, and the leader decides what becomes of those that are left.

Who waits spins for a while, then yields, and a member without work for `F_HOT_NS` sleeps on a pipe:
other threads share the cores.
"""

from __future__ import annotations

from typing import Any

from ringnb.kernel import layout
from ringnb.kernel.atomics import (
    copy_and_sum,
    copy_bytes,
    cpu_pause,
    fence,
    flush_subnormals,
    load_acquire,
    now_ns,
    poll_fd,
    read_fd,
    store_release,
    write_fd,
    yield_thread,
)
from ringnb.kernel.caching import entry_point, inner
from ringnb.kernel.checksum import checksum_words
from ringnb.kernel.cpu.answers import answer_meanwhile
from ringnb.kernel.cpu.passes import call_rows, step_edges, step_tiles, steps_of_pass
from ringnb.kernel.layout import BLOCK_WORDS

__all__ = ["end_team", "member_at", "run_member", "team_job"]

_SPINS = 512
_NEVER = 2**62
_steps_of_pass = inner(steps_of_pass)


@inner
def member_at(rank: int) -> Any:
    """Return the index of a member's first word in ``team``."""
    return layout.TEAM_MEMBERS + rank * layout.MEMBER_WORDS


@inner
def _barrier(link: Any, scratch: Any, table: Any, team: Any, size: int, rank: int) -> Any:
    """Wait until all have come here; return whether one of them kept this one waiting for long."""
    # A member's ARRIVE counts the barriers that the leader has reached, and so all who had a part in its
    # jobs; the others catch up when they begin one. Each member alone writes its own.
    mine = member_at(rank) + layout.M_ARRIVE
    count = load_acquire(team, mine) + 1
    store_release(team, mine, count)
    long = False
    for other in range(size):
        theirs = member_at(other) + layout.M_ARRIVE
        spins = 0
        while load_acquire(team, theirs) < count:
            spins += 1
            if spins < _SPINS:
                cpu_pause()
            else:
                if rank == 0 and team[layout.J_KIND] == layout.JOB_STEP:
                    answer_meanwhile(link, table, scratch)
                yield_thread()
                long = True
    return long


@inner
def _reduce(
    link: Any,
    scratch: Any,
    table: Any,
    team: Any,
    size: int,
    actor: int,
    now: int,
    step: int,
    span: Any,
    rank: int,
) -> None:
    """Put the actor's reductions of the level `now` behind its parameters, if it has any."""
    count = table[actor, layout.C_REDUCTIONS]
    if count == 0:
        return
    if span[1] > span[0]:
        for k in range(count):
            call_rows(table, actor, layout.C_REDUCE_FNS + k, now, now, step, span)
    # All rows are there, and nobody is in the last step any more, which has read the numbers of before.
    if size > 1:
        _barrier(link, scratch, table, team, size, rank)
    if rank == 0:
        for k in range(count):
            call_rows(table, actor, layout.C_REDUCE_FNS + k, now, now, step, (-1, -1))
    if size > 1:
        _barrier(link, scratch, table, team, size, rank)


@inner
def _span(table: Any, size: int, actor: int, rank: int) -> Any:
    """Return the first of a rank's rows, and the first behind them."""
    rows = table[actor, layout.C_ROWS]
    return rows * rank // size, rows * (rank + 1) // size


@inner
def _step_slab(
    link: Any, scratch: Any, table: Any, team: Any, size: int, actor: int, count: int, rank: int
) -> Any:
    """Take this rank's rows through up to `count` steps; return how many, which is the same for all."""
    end = _NEVER
    span = _span(table, size, actor, rank)
    now = table[actor, layout.C_A]
    following = table[actor, layout.C_B]
    if table[actor, layout.C_CUR] != 0:
        now, following = following, now
    stages = table[actor, layout.C_STAGES]
    turn = passes = 0
    kept_waiting = False
    while turn < count * stages:
        if size > 1:
            # A member may look here before this word is written, or after: both let it take the next
            # pass. Behind that one's barrier all see it, and nobody looks behind the last barrier of a
            # job, where the next job may be written.
            if (
                rank == 0
                and kept_waiting
                and end == _NEVER
                and now_ns(scratch) > team[layout.J_LATE]
            ):
                store_release(team, layout.J_END, passes + 2)
            end = load_acquire(team, layout.J_END)
        step = table[actor, layout.C_STEP] + turn // stages
        if turn % stages == 0:
            _reduce(link, scratch, table, team, size, actor, now, step, span, rank)
        function = layout.C_STAGE_FNS + turn % stages
        steps = _steps_of_pass(table, actor, size, count * stages - turn)
        step_tiles(link, scratch, table, actor, function, now, following, step, span, steps, rank)
        if size > 1:
            # The next stage reads what the neighbours wrote in this one, and writes what they read.
            kept_waiting = _barrier(link, scratch, table, team, size, rank)
        if steps > 1:
            step_edges(table, actor, function, now, following, step, span[1], steps)
            if size > 1:
                kept_waiting = _barrier(link, scratch, table, team, size, rank) or kept_waiting
        if steps % 2 == 1:
            now, following = following, now
        turn += steps
        passes += 1
        if passes >= end and turn % stages == 0:
            break
    return turn // stages


@inner
def _capture_slab(
    link: Any, scratch: Any, table: Any, team: Any, size: int, actor: int, target: int, rank: int
) -> Any:
    """Copy this rank's share of the stored levels to `target`; return its part of the checksum."""
    level_bytes = table[actor, layout.C_LEVEL_BYTES]
    stride = (level_bytes + 63) // 64 * 64
    now = table[actor, layout.C_A]
    second = table[actor, layout.C_B]
    if table[actor, layout.C_CUR] != 0:
        now, second = second, now
    span = _span(table, size, actor, rank)
    _reduce(link, scratch, table, team, size, actor, now, table[actor, layout.C_STEP], span, rank)
    n_words = stride // 8
    total = 0
    for level in range(table[actor, layout.C_LEVELS]):
        # Addresses such that word i of the staging buffer is word i behind `source` too. What lies
        # behind a level in its own buffer is the gap, which is zero: that pads the last words.
        source = (now if level == 0 else second) - level * stride
        # Whole lines of 8 words for every rank.
        at = level * n_words + n_words // 8 * rank // size * 8
        last = level * n_words + n_words // 8 * (rank + 1) // size * 8
        while at < last:
            end = min((at // BLOCK_WORDS + 1) * BLOCK_WORDS, last)
            block = copy_and_sum(target + 8 * at, source + 8 * at, 8 * (end - at))
            total += block * (2 * (at // BLOCK_WORDS) + 1)
            at = end
    fence()  # the copy goes past the caches: it must have arrived before another thread is told
    if rank == 0:
        tail = table[actor, layout.C_TAIL]
        copy_bytes(target + tail, table[actor, layout.C_PARAMS], 128)
        total += checksum_words(target, tail // 8, tail // 8 + 16)
    return total


@inner
def _run_job(
    link: Any,
    scratch: Any,
    table: Any,
    team: Any,
    kind: int,
    actor: int,
    count: int,
    target: int,
    size: int,
    rank: int,
) -> Any:
    """Do one rank's share of a job, up to and including its last barrier; return the steps taken."""
    # A leader alone lets its ARRIVE be: a member may not have left the last barrier yet.
    if size > 1:
        store_release(team, member_at(rank) + layout.M_ARRIVE, team[layout.J_BASE])
    if kind == layout.JOB_STEP:
        return _step_slab(link, scratch, table, team, size, actor, count, rank)
    if kind == layout.JOB_CAPTURE:
        part = _capture_slab(link, scratch, table, team, size, actor, target, rank)
        store_release(team, member_at(rank) + layout.M_PARTIAL, part)
        if size > 1:
            _barrier(link, scratch, table, team, size, rank)
    return 0


@inner
def _publish_job(
    team: Any, scratch: Any, kind: int, actor: int, count: int, target: int, size: int
) -> None:
    """Leader: hand a job to the first `size` of the team, and wake those of them that sleep."""
    # Members read these words after they acquire their GO. The leader writes them again only after the
    # job's last barrier, which every member that has a part in it has passed by then; the others do
    # not look at them.
    number = team[layout.J_NUMBER] + 1
    team[layout.J_NUMBER] = number
    team[layout.J_KIND] = kind
    team[layout.J_ACTOR] = actor
    team[layout.J_COUNT] = count
    team[layout.J_TARGET] = target
    team[layout.J_SIZE] = size
    team[layout.J_BASE] = load_acquire(team, member_at(0) + layout.M_ARRIVE)
    team[layout.J_END] = _NEVER
    for rank in range(1, size):
        store_release(team, member_at(rank) + layout.M_GO, number)
    fence()  # store, fence, look, as in `ringnb.kernel.ring.push`
    for rank in range(1, size):
        member = member_at(rank)
        if load_acquire(team, member + layout.M_ASLEEP) != 0:
            write_fd(scratch, team[member + layout.M_FD_WRITE])


@inner
def team_job(
    link: Any,
    scratch: Any,
    table: Any,
    team: Any,
    kind: int,
    row: int,
    count: int,
    target: int,
    size: int,
) -> Any:
    """Leader: do a job with the first `size` of the team, itself included; return the steps taken.

    They are fewer than `count` where a member gets no time. `link` is what
    `ringnb.kernel.cpu.answers.answer_meanwhile` takes.
    """
    if size > 1:
        _publish_job(team, scratch, kind, row, count, target, size)
    return _run_job(link, scratch, table, team, kind, row, count, target, size, 0)


@inner
def end_team(facts: Any, team: Any, scratch: Any) -> None:
    """Leader: tell all members to return."""
    _publish_job(team, scratch, layout.JOB_EXIT, 0, 0, 0, facts[layout.F_WIDTH])


@entry_point(nogil=True)
def run_member(
    control: Any,
    h2k: Any,
    k2h: Any,
    table: Any,
    team: Any,
    facts: Any,
    host: Any,
    scratch: Any,
    rank: int,
) -> None:
    """Body of a member thread: do jobs until told to exit, or until the leader is no more."""
    link = control, h2k, k2h, facts, host  # the leader's own, which members do not touch
    member = member_at(rank)
    flush_subnormals()
    store_release(team, member + layout.M_ARRIVE, 0)  # it runs, and the host waits for that
    seen = 0
    while True:
        idle_since = now_ns(scratch)
        spins = 0
        while load_acquire(team, member + layout.M_GO) == seen:
            spins += 1
            cpu_pause()
            if spins % _SPINS == 0:
                yield_thread()
                if now_ns(scratch) - idle_since > facts[layout.F_HOT_NS]:
                    store_release(team, member + layout.M_ASLEEP, 1)
                    fence()
                    if load_acquire(team, member + layout.M_GO) == seen:
                        poll_fd(scratch, team[member + layout.M_FD], 1000)
                        read_fd(scratch, team[member + layout.M_FD])
                        if load_acquire(control, layout.STATE) == layout.LANE_STOPPED:
                            return
                    store_release(team, member + layout.M_ASLEEP, 0)
        seen = load_acquire(team, member + layout.M_GO)
        kind = team[layout.J_KIND]
        if kind == layout.JOB_EXIT:
            return
        _run_job(
            link,
            scratch,
            table,
            team,
            kind,
            team[layout.J_ACTOR],
            team[layout.J_COUNT],
            team[layout.J_TARGET],
            team[layout.J_SIZE],
            rank,
        )
