"""What notebooks/README.md says of the course is so."""

from __future__ import annotations

import json
import re

import matplotlib.image
from lessons import LESSONS

FOLDER = LESSONS[0].parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_lesson_has_its_row():
    assert re.findall(r"^\| .*\((0\w+\.ipynb)\) \|", README, re.M) == [p.name for p in LESSONS]


def test_reaction_times_are_those_recorded():
    recorded = json.loads((FOLDER.parent / "ringnb/cli/bench/results/reaction.json").read_text())
    said = README[README.index("JupyterLab, on two cores") : README.index("results/reaction.json")]
    times = [recorded[what] for what in ("click_to_actor_ms", "click_to_page_ms")]
    assert [int(ms) for ms in re.findall(r"([0-9]+)\s+ms", said)] == [
        round(one[which]) for one in times for which in ("median", "p99")
    ]


def test_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        assert "://" in target or (FOLDER / target).exists(), target
    for text, target in re.findall(r"!\[([^\]]+)\]\(([^)\s]+)\)", README):
        assert len(text) > 40, "a picture needs words for those who cannot see it"
        assert matplotlib.image.imread(FOLDER / target).size > 0
