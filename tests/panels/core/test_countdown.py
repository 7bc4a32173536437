"""When something is due: read as a moment, and counted down by the page, whose clock may be another."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

from javascript import needs_node, printed

from ringnb.panels import core
from ringnb.panels.core.controller import _moment
from ringnb.panels.core.state import StateReader

COMMON = Path(core.__file__).parent / "static" / "common.js"

PAGE = """
let ms = 1000;  // the page's clock; what the day's time is, it must not ask
Object.defineProperty(globalThis, "performance", { value: { now: () => ms } });
Date.now = () => { throw new Error("a browser's clock may be wrong"); };
const values = { due_at: 112.5, beat: 100, life: "running" };
const board = { get: (name) => values[name] };
const said = [dueIn(board)];
const later = (seconds) => { ms += 1000 * seconds; said.push(dueIn(board)); };
later(4);  // no beat came
values.beat = 111; later(0.5);  // time has passed in which the page was asleep: the kernel's counts
later(1.2);
later(1);
values.due_at = null; later(0);
console.log(JSON.stringify(said));
"""


@needs_node
def test_the_page_counts_down_by_the_kernels_clock():
    said = printed(COMMON.read_text(encoding="utf-8") + PAGE)
    assert said == ["in 13 s", "in 9 s", "in 2 s", "within 1 s", "now", ""]


def test_what_is_due_is_read_as_a_moment_that_does_not_depend_on_when_it_is_shown(session):
    session.snapshot(0), session.snapshot(1)
    session.inject(0, at=(1, 1))
    session.manager.reconfigure(enabled=True, interval=3600)
    # No earlier than this, whatever keeps the thread waiting between the two; and no later than below.
    not_before = time.monotonic() + session.manager.seconds_until_next()
    earliest, latest = (state := StateReader().read(session)).due_between
    not_after = session.manager.seconds_until_next() + time.monotonic()
    assert earliest <= not_after + 1e-6
    assert latest >= not_before - 1e-6
    assert latest - earliest < 60
    controller = session.panel("checkpoint")._controller
    began = controller._began
    thousandth = replace(state, due_between=(began + 1000, began + 1000))  # read when it may be
    assert controller._due_at(thousandth) == 1000
    session.manager.reconfigure(enabled=False)
    assert StateReader().read(session).due_between is None


def test_a_moment_is_said_anew_only_if_it_cannot_be_the_one_that_was_said():
    assert _moment(None, 9.9, 10.001) == 10
    assert _moment(10, 9.5, 12) == 10  # the thread that reads it was kept waiting
    assert _moment(10, 10.4, 12) == 12
    assert _moment(10, 5, 9.6) == 9.6
    # What is due already, as while nothing polls, was so at any moment before.
    shown = _moment(None, -math.inf, 10)
    assert [_moment(shown, -math.inf, now) for now in (15, 500)] == [10, 10]
    assert _moment(3600, -math.inf, 20) == 20  # it was far away, and is due now
