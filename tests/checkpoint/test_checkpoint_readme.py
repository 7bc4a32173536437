"""The page about stores and retention is true: its code runs, its rules have tests, its names exist."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import ringnb as rn
from ringnb.cli import command_line as cli
from ringnb.testing.storages import StorageTests

PAGE = Path(rn.checkpoint.__file__).with_name("README.md")
TEXT = PAGE.read_text(encoding="utf-8")


def test_its_python_runs_in_order_and_without_warnings(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
            exec(compile(block, str(PAGE), "exec"), names)
    assert "'checkpoint_0_step_1000']" in capsys.readouterr().out
    assert issubclass(names["TestMine"], StorageTests)


def test_every_rule_has_a_test_of_its_number_and_every_number_is_a_rule():
    rules = [int(n) for n in re.findall(r"^- \*\*S(\d+)\. ", TEXT, re.MULTILINE)]
    assert rules == list(range(1, len(rules) + 1))
    tests = "".join(p.read_text() for p in Path(__file__).parent.glob("storage/test_*.py"))
    assert {int(n) for n in re.findall(r"def test_storage_rule_(\d\d)_", tests)} == set(rules)


def test_its_commands_and_policies_exist(capsys):
    cli.main(["--help"])
    offered = capsys.readouterr().out
    for command in set(re.findall(r"`ringnb (\w+)", TEXT)):
        assert re.search(rf"\b{command}\b", offered), command
    table = TEXT.partition("| policy | keeps |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(keep_\w+)\(", table, re.MULTILINE)) == {
        name for name in rn.retention.__all__ if name.startswith("keep_")
    }


def test_its_record_and_layout_are_what_is_written(tmp_path):
    from ringnb.messages.simulated_time import SimulatedTime
    from ringnb.testing.storages import make_snapshot

    storage = rn.ZarrStorage(tmp_path / "waves.zarr", durable=False)
    more = {"attrs": {"mine": 1}, "code": {"fingerprint": "0"}, "bad": [{"why": "no"}]}
    storage.save("a_0_step_1", make_snapshot(1, clock=SimulatedTime(dt=0.5), **more))
    storage.pin("a_0_step_1", "why")
    paragraph = TEXT.partition("attribute `ringnb` is the checkpoint's record:")[2]
    named = set(re.findall(r"`(\w+)`", paragraph.partition("\n\n")[0]))
    record = storage.load("a_0_step_1").attrs["ringnb"]
    assert named == {*record, *record["clock"]}
    for folder in storage.folders:
        assert f"{folder.name}/" in TEXT
    storage.close()


def _anchors(text):
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^a-z0-9 -]", "", t.lower()).replace(" ", "-") for t in titles}


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", TEXT) if "://" not in link]
    assert links
    for link in links:
        place, _, anchor = link.partition("#")
        page = PAGE.parent / place if place else PAGE
        assert page.exists(), link
        assert not anchor or anchor in _anchors(page.read_text()), link
