"""Where warnings are shown: at the user's line, or nowhere. The calls are tested with the session's."""

from __future__ import annotations

import contextlib
import threading
from functools import partial

import pytest

from ringnb._support.off_main import placed, warn_caller

warn = partial(warn_caller, "Told", UserWarning)


def on_a_thread(body):
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def test_the_line_that_began_a_block_or_a_thread_is_the_users():
    with pytest.warns(UserWarning, match="Told") as told:
        with contextlib.ExitStack() as stack:
            stack.callback(warn)
        on_a_thread(lambda: warn())
        on_a_thread(placed(warn))
    assert [w.filename for w in told] == [__file__] * 3
    assert len({w.lineno for w in told}) == 3


def test_where_nothing_is_the_users_no_line_of_a_library_is_shown():
    with pytest.warns(UserWarning, match="Told") as told:
        on_a_thread(warn)
    assert [(w.filename, w.lineno) for w in told] == [("<ringnb>", 1)]
