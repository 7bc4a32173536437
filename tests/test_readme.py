"""What the README tells a newcomer to do works as written."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import matplotlib.image
import pytest

import ringnb as rn
from ringnb.cli import command_line as cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md"]
for below in (".github", "notebooks", "ringnb", "tests"):
    PAGES += sorted((ROOT / below).rglob("*.md"))


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_its_python_runs_and_ends_where_it_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("python"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(source, "README.md", "exec"), {"__name__": "readme"})
    assert "<Checkpoint 'checkpoint_0_step_200" in capsys.readouterr().out
    assert (tmp_path / "waves.zarr" / "checkpoint_0_step_1000" / "zarr.json").exists()


def test_its_commands_exist(capsys):
    named = set(re.findall(r"`ringnb (\w+)", README))
    assert named == {
        *("demo", "lab", "ls", "verify", "bench", "doctor"),
        *("pin", "unpin", "export", "import"),
    }
    cli.main(["--help"])
    offered = capsys.readouterr().out
    assert all(name in offered for name in named)


def test_its_actors_are_those_there_are():
    table = README.partition("| actor | model |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == {
        name for name in rn.actors.__all__ if name not in ("Actor", "FieldSpec")
    }


def test_its_map_of_the_course_has_every_lesson_in_order():
    lessons = sorted(path.name for path in ROOT.glob("notebooks/0*.ipynb"))
    assert re.findall(r"\(notebooks/(0\w+\.ipynb)\) \|", README) == lessons


def test_its_test_command_is_what_is_checked():
    (command,) = [b for b in blocks("bash") if "pytest" in b]
    assert "python -m pytest -q" in command
    run, all_tests = ((ROOT / ".ci" / name).read_text() for name in ("run", "test"))
    assert "python -m pytest -q" in run
    assert ".ci/test" in run
    assert "-m pytest -q --all" in all_tests


def test_its_reaction_times_are_those_recorded():
    recorded = json.loads((ROOT / "ringnb/cli/bench/results/reaction.json").read_text())
    said = README[README.index("In a real JupyterLab") : README.index("results/reaction.json")]
    times = [recorded[what] for what in ("click_to_actor_ms", "click_to_page_ms")]
    assert [int(ms) for ms in re.findall(r"([0-9]+)\s+ms", said)] == [
        round(one[which]) for one in times for which in ("median", "p99")
    ]


def test_its_pictures_have_words_for_those_who_cannot_see_them():
    for text, target in re.findall(r"!\[([^\]]+)\]\(([^)\s]+)\)", README):
        assert len(text) > 40
        assert matplotlib.image.imread(ROOT / target).size > 0


def anchors(text):
    """Return the fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_or_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, fragment = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if fragment:
            assert fragment in anchors(linked.read_text(encoding="utf-8")), target
    for name in re.findall(r"`((?:ringnb|tests|notebooks|binder|\.ci|\.github)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name
