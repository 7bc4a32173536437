"""`ringnb docs`: a reference of the public names that a person can read, built from the docstrings."""

from __future__ import annotations

import re
import sys

import pytest
from commands import ringnb_here

import ringnb as rn
from ringnb.cli import command_line as cli
from ringnb.cli import docs

pytest.importorskip("pdoc")


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("docs") / "pages"
    return out, ringnb_here("docs", "--no-browser", "--out", out)


def text_of(html):
    """Return what a reader sees, white space folded."""
    html = re.sub(r"<(style|script).*?</\1>", "", html, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]+>", "", html).split())


def page(built, name):
    return (built[0] / f"{name.replace('.', '/')}.html").read_text(encoding="utf-8")


def test_it_builds_a_page_of_every_public_module_without_a_complaint(built):
    out, done = built
    assert (done.returncode, done.stderr) == (0, "")
    said = f"{len(docs.PUBLIC_MODULES)} modules described in {out / 'index.html'}\n"
    assert done.stdout == said, "nothing is left out where all extras are installed"
    for name in docs.PUBLIC_MODULES:
        assert '<h1 class="modulename">' in page(built, name)
    assert 'url=./ringnb.html"' in (out / "index.html").read_text()
    assert "run_steps" in (out / "search.js").read_text()


def test_a_session_is_shown_with_its_signature_and_sections(built):
    shown = text_of(page(built, "ringnb.session"))
    assert "class Session" in shown
    assert re.search(r"Session\( ?actor: ringnb\.actors\.Actor \| Sequence", shown)
    assert re.search(r"backend: str = .{1,5}auto", shown)
    assert "-------" not in shown, "an underlined title was not taken for a section's"
    assert re.search(r"Parameters actor \(Actor or sequence of Actor\):", shown)
    assert re.search(r"Raises BackendUnavailable:", shown)


def test_every_public_name_is_shown_and_no_private_one(built):
    anchors = set(re.findall(r'id="([\w.]+)"', page(built, "ringnb")))
    assert set(rn.__all__) - {"actors", "plots", "retention"} <= anchors
    for name in docs.PUBLIC_MODULES:
        for anchor in re.findall(r'id="([\w.]+)"', page(built, name)):
            for part in anchor.split("."):
                assert not part.startswith("_") or part in ("__init__", "__version__"), anchor


def test_modules_are_linked_and_links_lead_somewhere(built):
    out, _ = built
    front = page(built, "ringnb")
    for module in ("session", "checkpoint", "plots", "panels", "testing", "course"):
        assert f'href="ringnb/{module}.html"' in front
    assert 'href="../ringnb.html#CheckpointConfig"' in page(built, "ringnb.session")
    for name in docs.PUBLIC_MODULES:
        folder = (out / f"{name.replace('.', '/')}.html").parent
        for target in re.findall(r'href="([^"#:]+\.html)', page(built, name)):
            assert (folder / target).resolve().exists(), (name, target)


def test_marks_of_code_blocks_are_not_shown(built):
    assert "::" not in text_of(page(built, "ringnb"))


def test_a_module_whose_extra_is_missing_is_left_out_with_a_note(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(docs, "PUBLIC_MODULES", ("ringnb", "ringnb.errors", "ringnb.panels"))
    monkeypatch.setitem(sys.modules, "ringnb.panels", None)
    assert cli.main(["docs", "--no-browser", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "ringnb.panels is left out: " in said
    assert "pip install 'ringnb[widgets]'" in said
    assert not (tmp_path / "ringnb" / "panels.html").exists()
    assert (tmp_path / "ringnb" / "errors.html").exists()


def test_the_note_on_a_missing_extra_says_once_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(docs, "PUBLIC_MODULES", ("ringnb", "ringnb.errors", "ringnb.panels"))
    for name in [name for name in sys.modules if name.startswith("ringnb.panels")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "anywidget", None)
    assert cli.main(["docs", "--no-browser", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "ringnb.panels is left out: panels need ipywidgets and anywidget" in said
    assert said.count("pip install 'ringnb[widgets]'") == 1


def test_without_pdoc_it_says_how_to_get_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "pdoc", None)
    assert cli.main(["docs", "--out", str(tmp_path)]) == 1
    said = "ringnb: the reference is built with pdoc: pip install 'ringnb[docs]'\n"
    assert capsys.readouterr() == ("", said)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def one_page(monkeypatch):
    monkeypatch.setattr(docs, "PUBLIC_MODULES", ("ringnb.errors",))


def test_it_opens_the_first_page_or_says_where_it_is(one_page, monkeypatch, tmp_path, capsys):
    opened = []
    monkeypatch.setattr(docs.webbrowser, "open", lambda url: opened.append(url) or len(opened) < 2)
    out = tmp_path / "a b"
    assert cli.main(["docs", "--out", str(out)]) == 0
    assert opened == [(out / "index.html").as_uri()]
    assert "no browser" not in capsys.readouterr().out
    assert cli.main(["docs", "--out", str(out)]) == 0, "its own pages are replaced"
    assert "no browser could be started" in capsys.readouterr().out


def test_it_builds_into_the_user_s_cache(one_page, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(docs.sys, "platform", "linux")
    assert cli.main(["docs", "--no-browser"]) == 0
    assert (tmp_path / "ringnb" / f"docs-{rn.__version__}" / "index.html").exists()


def test_a_directory_of_other_files_is_left_alone(tmp_path, capsys):
    (tmp_path / "index.html").write_text("mine")
    assert cli.main(["docs", "--no-browser", "--out", str(tmp_path)]) == 1
    assert "holds other files" in capsys.readouterr().err
    assert (tmp_path / "index.html").read_text() == "mine"
