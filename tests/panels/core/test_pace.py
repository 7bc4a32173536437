"""One picture is on its way, if there is a page that tells; none waits for a page that does not."""

from __future__ import annotations

import threading

import pytest

from ringnb.panels.core.pace import Pace
from ringnb.testing import ManualClock


def waiting_for(pace):
    thread = threading.Thread(target=pace.wait)
    thread.start()
    return thread


def test_the_next_picture_waits_until_the_page_has_the_one_before():
    pace = Pace(0.0, patience_s=60.0)
    pace.wait()
    pace.note_arrival(pace.begin())
    pace.wait()  # it has come
    number = pace.begin()
    next_one = waiting_for(pace)
    pace.note_arrival(number - 1)  # told again, say by a second page
    next_one.join(0.05)
    assert next_one.is_alive()
    pace.note_arrival(number)
    next_one.join()


def test_a_page_that_tells_nothing_any_more_is_waited_for_once():
    slept = []
    pace = Pace(0.0, patience_s=0.05, sleep=slept.append)
    pace.begin()
    pace.wait()  # no page has told anything yet
    pace.note_arrival(pace.begin())
    pace.begin()
    pace.wait()  # it gives up
    pace.begin()
    pace.wait()
    assert slept == [0.0] * 3


@pytest.mark.parametrize("tells", [False, True])
def test_so_many_a_second(tells):
    clock, slept = ManualClock(), []
    pace = Pace(0.125, clock=clock, sleep=slept.append)
    number = pace.begin()
    if tells:
        pace.note_arrival(number)
    clock.advance(0.025)
    pace.wait()
    clock.advance(1.0)
    pace.wait()
    assert slept == [pytest.approx(0.1), 0.0]
