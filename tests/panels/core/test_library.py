"""What a page gets when panels open: scripts and styles once, and of the rest little."""

from __future__ import annotations

import json
import re
import zlib

import comm.base_comm
import pytest
from javascript import needs_node, run_node
from waiting import until

import ringnb as rn
from ringnb.panels import Panel, close_panels
from ringnb.panels.core.library import Library, library
from ringnb.panels.core.widgets import View

MOST_KB = 300  # of an opened cockpit, with Jupyter's own share
OWN_KB = 0.7  # of each message: Jupyter's


@pytest.fixture
def sent(monkeypatch):
    """The messages that a page gets: of each the kind, the model or script, and the bytes."""
    messages = []

    class Comm(comm.base_comm.BaseComm):
        def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **_):
            state = (data or {}).get("state", {})
            size = len(json.dumps([data, metadata])) + sum(len(bytes(b)) for b in buffers or ())
            messages.append((msg_type, state.get("shows") or state.get("_model_name"), size))

    monkeypatch.setattr("comm.create_comm", Comm)
    return messages


def sent_script():
    return json.loads(zlib.decompress(library().packed))["script"]


def test_a_cockpit_opens_with_little_and_scripts_come_once(tmp_path, sent):
    library().close()  # as in a new kernel
    for which in ("first", "second"):
        storage = rn.ZarrStorage(tmp_path / f"{which}.zarr")
        with rn.Session(rn.actors.Life((8, 8)), actors=2, storage=storage) as session:
            session.snapshot(0)
            sent.clear()
            cockpit = session.panel()
            until(lambda cockpit=cockpit: cockpit.line.board.messages)
            opened = list(sent)
            close_panels(session)
        scripts = max(size for _, _, size in opened)
        assert (scripts > 30_000) is (which == "first")
        whole = sum(size for *_, size in opened) / 1000 + OWN_KB * len(opened)
        assert whole < (MOST_KB if which == "first" else MOST_KB - 60)
        assert len(opened) < 130


def test_a_library_that_was_closed_is_made_anew():
    first = library()
    assert library() is first
    first.close()
    assert isinstance(library(), Library)
    assert library() is not first


def test_every_view_has_a_script():
    def kinds(kind):
        return {kind, *(one for below in kind.__subclasses__() for one in kinds(below))}

    assert Panel  # all views are imported
    script = sent_script()
    shown = {kind.shows.default_value for kind in kinds(View)} - {""}
    assert len(shown) > 15
    assert [name for name in shown if f"\nVIEWS.{name} = render;" not in script] == []


def test_panels_are_headed_by_h2_and_their_parts_by_h3():
    made = re.findall(r'make\("h(\d)"', sent_script())
    assert set(made) == {"2", "3"}


@needs_node
def test_the_scripts_are_one_module_in_which_no_name_is_given_twice(tmp_path):
    module = tmp_path / "library.mjs"
    module.write_text(sent_script(), encoding="utf-8")
    run_node("--check", module)
