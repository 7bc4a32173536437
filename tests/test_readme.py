"""What the README and the pages it leads to say is so, and their examples work as written."""

from __future__ import annotations

import importlib
import json
import re
import signal
import statistics
import warnings
from pathlib import Path

import matplotlib.image
import pytest

import ringnb as rn
from ringnb.cli import command_line as cli

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md"]
for below in (".github", "notebooks", "ringnb", "tests"):
    PAGES += sorted((ROOT / below).rglob("*.md"))
PYTHON = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
# It needs a host, which tests/cluster has.
PYTHON = [page for page in PYTHON if page.parent.name != "cluster"]


def blocks(language, page):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def name_of(page):
    return str(page.relative_to(ROOT))


def test_the_readme_fits_one_screen():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 70


def test_figures_beside_other_libraries_are_the_recorded_ones():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("| [beside other libraries]")]
    results = ROOT / "ringnb" / "cli" / "bench" / "results" / "peers.json"
    rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
    found = {row["key"]: statistics.median(row["samples"]) for row in rows}
    waves = [f"peer_wave_2048_{peer}" for peer in ("jax", "taichi", "openmp")]
    stores = [f"peer_{do}_{what}" for what in ("zarr", "orbax") for do in ("save", "load")]
    keys = [*waves, "peer_save_ringnb", "peer_load_ringnb", *stores]
    said = [float(number) for number in re.findall(r"(?<=[ a-z])\d+\.\d+", line)]
    assert said == [pytest.approx(found[key], rel=0.01) for key in keys]


@pytest.fixture
def own_signals():
    """Handlers that a page sets are gone after it."""
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("own_signals")
@pytest.mark.parametrize("page", PYTHON, ids=name_of)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("python", page))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(compile(source, str(page), "exec"), {"__name__": "page"})
    if page.parent == ROOT:
        assert (tmp_path / "waves.zarr" / "checkpoint_0_step_1000" / "zarr.json").exists()
    if page.parent.name == "actors":
        assert "<Checkpoint 'checkpoint_0_step_200" in capsys.readouterr().out


def test_the_table_of_commands_has_them_all(capsys):
    page = (ROOT / "ringnb" / "cli" / "README.md").read_text(encoding="utf-8")
    cli.main(["--help"])
    offered = re.findall(r"^    (\w+)  ", capsys.readouterr().out, re.MULTILINE)
    assert set(re.findall(r"`ringnb (\w+)", page)) == set(offered)


def test_the_table_of_actors_has_them_all():
    page = (ROOT / "ringnb" / "actors" / "README.md").read_text(encoding="utf-8")
    table = page.partition("| actor | model |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`(\w+)`", table)) == {
        name for name in rn.actors.__all__ if name not in ("Actor", "FieldSpec")
    }
    models = [getattr(rn.actors, name) for name in rn.actors.__all__]
    for kernel_type in filter(None, (getattr(model, "kernel_type", None) for model in models)):
        assert re.search(rf"[| ]{kernel_type}\b", table), kernel_type


def test_the_changelog_knows_where_things_are_now():
    page = (ROOT / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")
    moved = re.findall(r"^\| `ringnb.* \| (.*) \|$", page, re.MULTILINE)
    assert moved
    for name in re.findall(r"`(ringnb[\w.]+)`", " ".join(moved)):
        importlib.import_module(name)


def test_its_test_command_is_what_is_checked():
    (command,) = [b for b in blocks("bash", ROOT / "README.md") if "pytest" in b]
    assert "python -m pytest -q" in command
    run, all_tests = ((ROOT / ".ci" / name).read_text() for name in ("run", "test"))
    assert "python -m pytest -q" in run
    assert ".ci/test" in run
    assert "-m pytest -q --all" in all_tests


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pictures_have_words_for_those_who_cannot_see_them(page):
    text = page.read_text(encoding="utf-8")
    for words, target in re.findall(r"!\[([^\]]+)\]\(([^)\s]+)\)", text):
        assert len(words) > 40
        if "://" in target:  # a badge
            continue
        assert matplotlib.image.imread(page.parent / target).size > 0


def anchors(text):
    """Return the fragments of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
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
