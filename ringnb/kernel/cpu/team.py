"""The team of a lane: several threads that step one actor together.

The leader (rank 0) publishes a job and takes part in it; members wait for jobs. A step is a job, or
a run of many steps with a barrier after each, because the next step reads what the neighbours wrote.
A capture (copying the state into a staging buffer, with its checksum) is split by bytes.

Waiting is bounded spinning, then yielding, and for a member without work for 10 ms sleeping on a
pipe: other threads share the cores.
"""

from __future__ import annotations

from typing import Any

from ringnb.kernel.atomics import (
    call_step,
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
from ringnb.kernel.checksum import _BLOCK_WORDS, checksum_words
from ringnb.kernel.layout import (
    C_A,
    C_B,
    C_CUR,
    C_LEVEL_BYTES,
    C_LEVELS,
    C_NF,
    C_NX,
    C_NY,
    C_NZ,
    C_PARAMS,
    C_ROWS,
    C_STEP,
    C_STEP_FN,
    C_TAIL,
    F_HOT_NS,
    F_WIDTH,
    J_ACTOR,
    J_COUNT,
    J_GO,
    J_KIND,
    J_TARGET,
    JOB_CAPTURE,
    JOB_EXIT,
    JOB_STEP,
    M_ARRIVE,
    M_ASLEEP,
    M_FD,
    M_FD_WRITE,
    M_PARTIAL,
    MEMBER_WORDS,
    TEAM_MEMBERS,
)

__all__ = [
    "publish_job",
    "run_job",
    "run_member",
]


_SPINS = 512


@inner
def _barrier(team: Any, facts: Any, rank: int) -> None:
    # Every member's ARRIVE counts the barriers it has reached; it is written by that member alone.
    mine = TEAM_MEMBERS + rank * MEMBER_WORDS + M_ARRIVE
    count = load_acquire(team, mine) + 1
    store_release(team, mine, count)
    for other in range(facts[F_WIDTH]):
        theirs = TEAM_MEMBERS + other * MEMBER_WORDS + M_ARRIVE
        spins = 0
        while load_acquire(team, theirs) < count:
            spins += 1
            if spins < _SPINS:
                cpu_pause()
            else:
                yield_thread()


@inner
def _step_slab(table: Any, facts: Any, team: Any, actor: int, count: int, rank: int) -> None:
    width = facts[F_WIDTH]
    rows = table[actor, C_ROWS]
    first = rows * rank // width
    last = rows * (rank + 1) // width
    a = table[actor, C_A]
    b = table[actor, C_B]
    if table[actor, C_CUR] != 0:
        a, b = b, a
    step = table[actor, C_STEP]
    for _ in range(count):
        if last > first:
            call_step(
                table[actor, C_STEP_FN],
                a,
                b,
                table[actor, C_PARAMS],
                step,
                table[actor, C_NF],
                table[actor, C_NZ],
                table[actor, C_NY],
                table[actor, C_NX],
                first,
                last,
            )
        step += 1
        a, b = b, a
        if width > 1:
            _barrier(team, facts, rank)


@inner
def _capture_slab(table: Any, facts: Any, actor: int, target: int, rank: int) -> Any:
    """Copy this rank's share of the stored levels to `target`; return its part of the checksum."""
    level_bytes = table[actor, C_LEVEL_BYTES]
    stride = (level_bytes + 63) // 64 * 64
    now = table[actor, C_A]
    before = table[actor, C_B]
    if table[actor, C_CUR] != 0:
        now, before = before, now
    width = facts[F_WIDTH]
    n_words = stride // 8
    total = 0
    for level in range(table[actor, C_LEVELS]):
        # Addresses such that word i of the staging buffer is word i behind `source` too. What lies
        # behind a level in its own buffer is the gap, which is zero: that pads the last words.
        source = (now if level == 0 else before) - level * stride
        # Whole lines of 8 words for every rank.
        at = level * n_words + n_words // 8 * rank // width * 8
        last = level * n_words + n_words // 8 * (rank + 1) // width * 8
        while at < last:
            end = min((at // _BLOCK_WORDS + 1) * _BLOCK_WORDS, last)
            block = copy_and_sum(target + 8 * at, source + 8 * at, 8 * (end - at))
            total += block * (2 * (at // _BLOCK_WORDS) + 1)
            at = end
    fence()  # what went past the caches is there before anybody is told
    if rank == 0:
        tail = table[actor, C_TAIL]
        copy_bytes(target + tail, table[actor, C_PARAMS], 128)
        total += checksum_words(target, tail // 8, tail // 8 + 16)
    return total


@inner
def run_job(
    table: Any, facts: Any, team: Any, kind: int, actor: int, count: int, target: int, rank: int
) -> None:
    """Do one rank's share of a job, up to and including its last barrier."""
    if kind == JOB_STEP:
        _step_slab(table, facts, team, actor, count, rank)
    elif kind == JOB_CAPTURE:
        part = _capture_slab(table, facts, actor, target, rank)
        store_release(team, TEAM_MEMBERS + rank * MEMBER_WORDS + M_PARTIAL, part)
        if facts[F_WIDTH] > 1:
            _barrier(team, facts, rank)


@inner
def publish_job(
    facts: Any, team: Any, scratch: Any, kind: int, actor: int, count: int, target: int
) -> None:
    """Leader: hand a job to the members, and wake those that sleep."""
    team[J_KIND] = kind
    team[J_ACTOR] = actor
    team[J_COUNT] = count
    team[J_TARGET] = target
    store_release(team, J_GO, load_acquire(team, J_GO) + 1)
    fence()
    for rank in range(1, facts[F_WIDTH]):
        member = TEAM_MEMBERS + rank * MEMBER_WORDS
        if load_acquire(team, member + M_ASLEEP) != 0:
            write_fd(scratch, team[member + M_FD_WRITE])


@entry_point(nogil=True)
def run_member(table: Any, facts: Any, team: Any, scratch: Any, rank: int) -> None:
    """Body of a member thread: do jobs until told to exit.

    Members read a job's words after acquiring ``J_GO``; the leader changes them only after the
    job's last barrier, which every member has passed by then.
    """
    member = TEAM_MEMBERS + rank * MEMBER_WORDS
    flush_subnormals()
    seen = 0
    while True:
        idle_since = now_ns(scratch)
        spins = 0
        while load_acquire(team, J_GO) == seen:
            spins += 1
            cpu_pause()
            if spins % _SPINS == 0:
                yield_thread()
                if now_ns(scratch) - idle_since > facts[F_HOT_NS]:
                    store_release(team, member + M_ASLEEP, 1)
                    fence()
                    if load_acquire(team, J_GO) == seen:
                        poll_fd(scratch, team[member + M_FD], 1000)
                        read_fd(scratch, team[member + M_FD])
                    store_release(team, member + M_ASLEEP, 0)
        seen += 1
        kind = team[J_KIND]
        if kind == JOB_EXIT:
            return
        run_job(table, facts, team, kind, team[J_ACTOR], team[J_COUNT], team[J_TARGET], rank)
