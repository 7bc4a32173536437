"""The display loop: the newest value wins."""

from __future__ import annotations

from ringnb.panels.core.display_loop import DisplayLoop
from ringnb.panels.core.widgets import Board


def test_the_display_loop_shows_the_newest_of_a_flood_and_says_it_once():
    sent = []
    board = Board()
    board.observe(lambda change: sent.append(change["new"]), "life")
    loop = DisplayLoop(lambda: True, 0.01)
    for i in range(5000):
        loop.put(board, life=str(i))
    loop.flush()
    assert sent == ["4999"]
