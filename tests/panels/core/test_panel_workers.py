"""The threads that do what panels ask for."""

from __future__ import annotations

import threading

from waiting import until

from ringnb.panels.core.workers import Drawer


def test_the_drawer_does_only_the_newest_job_of_a_kind():
    drawer, begun, go, drawn = Drawer("test-drawer"), threading.Event(), threading.Event(), []
    drawer.start()
    drawer.submit("field", lambda: (begun.set(), go.wait(60)))
    assert begun.wait(60)
    for i in range(50):
        drawer.submit("field", lambda i=i: drawn.append(i))
    go.set()
    until(lambda: drawn)
    drawer.stop()
    drawer.join(60)
    assert drawn == [49]
