"""What opens a session's panels: an entry point, or what the top of the package has set."""

from __future__ import annotations

import importlib.metadata
import tomllib
from pathlib import Path

import pytest

import ringnb as rn
from ringnb._support import panel_opener
from ringnb._support.panel_opener import PANELS_GROUP, find_panel_opener


def entries(value):
    """Return what stands in for the metadata: one entry point in the group of panels."""

    def entry_points(*, group, name):
        assert (group, name) == (PANELS_GROUP, "open_panel")
        return [importlib.metadata.EntryPoint(name, value, group)]

    return entry_points


def test_an_entry_point_opens_panels():
    opener = find_panel_opener(entries("operator:add"))
    assert opener(1, 2) == 3


def test_the_project_has_the_entry_point():
    project = Path(__file__).parents[2] / "pyproject.toml"
    declared = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["entry-points"]
    panels = pytest.importorskip("ringnb.panels", exc_type=ImportError)
    assert find_panel_opener(entries(declared[PANELS_GROUP]["open_panel"])) is panels.open_panel


def test_panels_open_where_no_distribution_has_an_entry_point():
    """A source tree that is not installed; an editable install older than the entry point."""
    pytest.importorskip("ringnb.panels", exc_type=ImportError)
    opener = find_panel_opener(lambda **_: [])
    with rn.Session(rn.actors.Life((8, 8)), storage=rn.ZarrStorage("memory://opener")) as session:
        panel = opener(session, "events")
        assert panel is session.panel("events")
        draw = print
        assert opener(session, "field", draw=draw).draw is draw
        rn.panels.close_panels(session)


def test_what_nothing_can_open_is_an_import_error(monkeypatch):
    monkeypatch.setattr(panel_opener, "_default", None)
    with pytest.raises(ImportError, match=r"'ringnb\.panels'; import ringnb first"):
        find_panel_opener(lambda **_: [])
