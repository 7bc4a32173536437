"""What notebooks/README.md says of the course is so."""

from __future__ import annotations

import json
import re

import matplotlib.image
import nbformat
from lessons import LESSONS

FOLDER = LESSONS[0].parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_every_lesson_has_its_row_with_its_minutes():
    rows = dict(re.findall(r"^\| .*\((\d\d_\w+\.ipynb)\) \| (\d+) \|", README, re.M))
    assert sorted(rows) == [p.name for p in LESSONS]
    for path in LESSONS:
        first = nbformat.read(path, as_version=4).cells[0].source
        assert f"**Time.** {rows[path.name]} minutes" in first, path.name


def test_every_question_has_its_answer_and_its_lesson():
    part = README[README.index("### Twenty-four questions") : README.index("### Glossary")]
    questions = re.findall(r"^\d+\. (.+?)(?=^\d+\. |\Z)", part, re.M | re.S)
    assert len(questions) == 24
    for question in questions:
        assert re.search(r"\?\s.*\*[^*]+\*\s\((\d\d)(, \d\d)?\)", question, re.S), question


def test_the_glossary_is_in_order():
    part = README[README.index("### Glossary") : README.index("## The cockpit")]
    words = re.findall(r"^\| ([^|]+?) \|", part, re.M)[1:]
    assert len(words) > 20
    assert words == sorted(words, key=str.lower)


def test_reaction_times_are_those_recorded():
    recorded = json.loads((FOLDER.parent / "ringnb/cli/bench/results/browser.json").read_text())
    said = README[README.index("JupyterLab, on two cores") : README.index("results/browser.json")]
    times = [recorded["reaction"][what] for what in ("click_to_actor_ms", "click_to_page_ms")]
    assert [int(ms) for ms in re.findall(r"([0-9]+)\s+ms", said)] == [
        round(one[which]) for one in times for which in ("median", "p99")
    ]


def test_pictures_and_links_are_there():
    for target in re.findall(r"\]\(([^)\s]+)\)", README):
        assert "://" in target or (FOLDER / target).exists(), target
    for text, target in re.findall(r"!\[([^\]]+)\]\(([^)\s]+)\)", README):
        assert len(text) > 40, "a picture needs words for those who cannot see it"
        if "://" not in target:
            assert matplotlib.image.imread(FOLDER / target).size > 0
