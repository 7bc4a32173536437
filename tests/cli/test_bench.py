"""`ringnb bench`: it measures, prints what it measured, and says what it missed. No time is judged."""

from __future__ import annotations

import json
import re
import runpy
import statistics
from pathlib import Path

import pytest

from ringnb.cli import command_line as cli
from ringnb.cli.bench import command, report, round_trip, scheduling, stores
from ringnb.cli.bench.measuring import Row, Scale, interleaved, percentile, ratios

BENCH = Path(__file__).parents[2] / "ringnb" / "cli" / "bench"

# A figure for every row of the table of promises.
PROMISED = {
    "ring_median": 2.0,
    "ring_p99": 20.0,
    "busy_p99": 2.0,
    "idle_cpu": 2.0,
    "wake": 2.0,
    "loop": 0.97,
    "memory": 0.9,
    "stall": 1.2,
    "rate": 0.98,
    "rate_persisting": 0.8,
    "heartbeat": 10.0,
    "commit_4KiB": 5.0,
    "commit_16MiB": 2.2,
    "commit_128MiB": 2.0,
    "commit_512MiB": 1.7,
    "restore": 1.5,
    "open_1000": 50.0,
    "list_1000": 1.0,
    "delete": 1.0,
    "commit_long": 1.2,
    "open_many": 1.0,
    "list_many": 20.0,
    "incremental_wave": 1.0,
    "memory_array_save": 64.0,
    "memory_array_load": 64.0,
    "memory_array_verify": 64.0,
    "memory_slabs_save": 64.0,
    "memory_slabs_load": 64.0,
    "memory_slabs_verify": 64.0,
    "poll": 20.0,
    "poll_pending": 20.0,
    "import": 0.7,
    "first_cached": 1.0,
    "first_cold": 10.0,
}
ROWS = [
    Row("a", "first / baseline", [2.0, 1.0, 4.0], "x", "<=", 3.0, "2 ms, raw 1 ms"),
    Row("b", "second", [300.0, 100.0], "us", ">=", 250.0),
    Row("c", "third", [0.5], "s"),
]


def run(tmp_path, *arguments):
    return cli.main(
        ["bench", "--dir", str(tmp_path), "--json", str(tmp_path / "b.json"), *arguments]
    )


def test_it_measures_and_writes_what_it_prints(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(scheduling, "_ACTORS", 100)
    monkeypatch.setattr(stores, "_COUNT", 50)
    assert run(tmp_path, "--quick", "--only", "polls,many") == 0
    out = capsys.readouterr().out
    document = json.loads((tmp_path / "b.json").read_text())
    assert document["format"] == 1
    assert document["quick"] is True
    assert document["machine"]["cores"] >= 1
    assert set(document["versions"]) >= {"python", "ringnb", "numba", "numpy", "zarr"}
    rows = {row["key"]: row for row in document["rows"]}
    assert set(rows) == {"poll", "poll_pending", "open_1000", "list_1000", "delete"}
    for row in rows.values():
        assert row["what"] in out
        assert row["median"] == statistics.median(row["samples"])
        assert (row["min"], row["max"]) == (min(row["samples"]), max(row["samples"]))
        assert all(value > 0 for value in row["samples"])
        assert row["target"] == PROMISED[row["key"]]
    assert [p.name for p in tmp_path.iterdir()] == ["b.json"]  # the scratch data are gone


def test_a_case_gets_an_absolute_directory(tmp_path, monkeypatch, capsys):
    seen = []
    monkeypatch.setitem(command.CASES, "polls", lambda scale: seen.append(scale.directory) or [])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--only", "polls", "--quick"]) == 0
    assert seen[0].parent == tmp_path
    assert "target" not in capsys.readouterr().out.splitlines()[-1]  # there was none to meet


def recorded(kind="cpu"):
    """Return the figures that came with ringnb: the full benchmark, as the command wrote it."""
    return json.loads((BENCH / "results" / f"{kind}.json").read_text())


def test_the_recorded_figures_cover_every_promise():
    document = recorded()
    assert document["quick"] is False
    rows = {row["key"]: row for row in document["rows"]}
    assert {key: rows[key]["target"] for key in PROMISED} == PROMISED
    for row in rows.values():
        assert row["median"] == statistics.median(row["samples"])
        reached = {"<=": row["median"] <= (row["target"] or 0)}.get(
            row["limit"], row["median"] >= (row["target"] or 0)
        )
        assert row["met"] is (None if row["target"] is None else reached)


SECTIONS = {
    "cpu": "On a CPU",
    "cluster": "In other processes",
    "peers": "Beside other libraries",
    "gpu": "On an NVIDIA GPU",
}


@pytest.mark.parametrize("kind", SECTIONS)
def test_the_readme_shows_the_recorded_figures_and_no_others(kind):
    readme = (BENCH / "README.md").read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {SECTIONS[kind]}$(.*?)(?:^## |\Z)", readme, re.M | re.S)
    shown = re.findall(r"^\| what \| measured.*?(?:\n\n|\Z)", section, re.M | re.S)
    if not (BENCH / "results" / f"{kind}.json").exists():
        assert shown == []  # figures that nobody has measured
        return
    document = recorded(kind)
    assert document["quick"] is False
    keys = ("key", "what", "samples", "unit", "limit", "target", "note")
    rows = [Row(**{key: row[key] for key in keys}) for row in document["rows"]]
    assert [table.strip().splitlines() for table in shown] == [report.as_markdown(rows)]


def test_a_table_of_figures_goes_where_its_section_is():
    figures = runpy.run_path(str(BENCH.parents[2] / ".ci" / "figures.py"))
    assert figures["SECTIONS"] == SECTIONS
    page = (BENCH / "README.md").read_text(encoding="utf-8")
    table = report.as_markdown(ROWS)
    for heading in SECTIONS.values():
        first = figures["with_table"](page, heading, "\n".join(table))
        again = figures["with_table"](first, heading, "\n".join(table[:3]))
        assert first.count("\n".join(table)) == 1
        assert len(again.splitlines()) == len(first.splitlines()) - 2
        section = _section(again, heading)
        assert "\n".join(["", *table[:3], ""]) in section
        assert again.replace(section, "") == page.replace(_section(page, heading), "")


def test_figures_that_are_not_all_replace_nothing(tmp_path):
    main = runpy.run_path(str(BENCH.parents[2] / ".ci" / "figures.py"))["main"]
    (tmp_path / "results").mkdir()
    (tmp_path / "README.md").write_text("\n\n".join(f"## {h}\n\nWords." for h in SECTIONS.values()))
    main.__globals__["BENCH"] = tmp_path
    whole = report.as_document(ROWS, quick=False)
    kept, given = tmp_path / "results" / "peers.json", tmp_path / "given.json"
    given.write_text(json.dumps(whole))
    main("peers", str(given))
    before = kept.read_bytes(), (tmp_path / "README.md").read_bytes()
    assert before[0] == given.read_bytes()
    assert "\n".join(report.as_markdown(ROWS)).encode() in before[1]
    for wrong in ({"quick": True}, {"failed": {"copy": "why"}}):
        given.write_text(json.dumps({**whole, "rows": whole["rows"][:1], **wrong}))
        with pytest.raises(SystemExit, match="record all of it"):
            main("peers", str(given))
    given.write_text(json.dumps(whole))
    for wrong in (["card", str(given)], [str(given)], ["peers"]):
        with pytest.raises(SystemExit, match="give one of cpu, cluster, peers, gpu, and a file"):
            main(*wrong)
    assert (kept.read_bytes(), (tmp_path / "README.md").read_bytes()) == before


def _section(page, heading):
    return page.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def test_the_readme_s_reaction_times_are_those_recorded():
    document = json.loads((BENCH / "results" / "browser.json").read_text())["reaction"]
    readme = (BENCH / "README.md").read_text(encoding="utf-8")
    said = readme.partition("## In a real browser")[2].partition("\n## ")[0]
    times = [document[what] for what in ("click_to_actor_ms", "click_to_page_ms")]
    assert [int(ms) for ms in re.findall(r"([0-9]+)\s+ms", said)] == [
        round(one[which]) for one in times for which in ("median", "p99")
    ]


def test_it_lists_its_cases(capsys):
    assert cli.main(["bench", "--list"]) == 0
    out = capsys.readouterr().out
    for name in command.CASES:
        assert name in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--only", "nothing"], 1, "no such case; there are idle-answers"),
        (["--only", ","], 1, "no such case"),
        (["--frobnicate"], 2, "unrecognized arguments"),
        (["--json", "/nonexistent/x.json", "--only", "polls"], 1, "/nonexistent/x.json: No such"),
        (["--dir", "/nonexistent", "--only", "polls"], 1, "/nonexistent: No such"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, monkeypatch, capsys, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", *arguments]) == status
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_too_small_a_disk_is_said_before_anything_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command.shutil, "disk_usage", lambda _: type("U", (), {"free": 5 << 20})())
    assert run(tmp_path, "--only", "polls") == 1
    assert "has 5.0 MiB free, the benchmark writes up to 10.0 GiB" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_target_is_met_by_the_median():
    met = [row.met for row in ROWS]
    assert met == [True, False, None]
    assert ROWS[0].median == 2.0


def test_the_table_says_what_was_missed():
    lines = report.as_table(ROWS)
    assert lines[1].split("  ")[0] == "first / baseline"
    assert "<= 3" in lines[1]
    assert "yes" in lines[1]
    assert "2 ms, raw 1 ms" in lines[1]
    assert "NO" in lines[2]
    assert "200 us" in lines[2]


def test_the_markdown_table_has_four_columns():
    lines = report.as_markdown(ROWS)
    assert lines[1] == "|---|---|---|---|"
    assert all(line.count("|") == 5 for line in lines)
    assert "≥ 250 us" in lines[3]
    assert "**no**" in lines[3]


def test_ours_and_the_baseline_take_turns():
    calls = []

    def measure(name, value):
        calls.append(name)
        return value

    pairs = interleaved(lambda: measure("a", 3.0), lambda: measure("b", 2.0), 3)
    assert "".join(calls) == "ab" + "ab" + "ba" + "ab"
    assert ratios(pairs) == [1.5, 1.5, 1.5]


def test_percentiles():
    assert percentile(range(100), 99) == 99
    assert percentile(range(100), 50) == 50
    assert percentile([7.0], 99) == 7.0


def test_quick_takes_fewer_repetitions(tmp_path):
    assert Scale(True, tmp_path).times(9, 2) == 2
    assert Scale(False, tmp_path).times(9, 2) == 9


@pytest.mark.slow
def test_sessions_in_other_processes_are_measured(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run(tmp_path, "--quick", "--only", "cluster") == 0
    rows = {row["key"]: row for row in json.loads((tmp_path / "b.json").read_text())["rows"]}
    one = {f"cluster_{what}_{which}" for what in ("call", "glance") for which in ("median", "p99")}
    assert set(rows) == one | {
        *(
            "cluster_attach",
            "cluster_echo",
            "divided",
            "divided_snapshot",
            "ensemble",
            "ensemble_open",
        )
    }
    assert all(row["min"] > 0 for row in rows.values())
    assert len(list((tmp_path / "state").rglob("host.json"))) == 0  # its host has gone


@pytest.mark.slow
def test_the_parts_of_a_round_trip_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(round_trip, "_TURNS", 20)
    assert run(tmp_path, "--quick", "--only", "round-trip") == 0
    rows = json.loads((tmp_path / "b.json").read_text())["rows"]
    parts = ["line", "python", "push", "peek", "advance"]
    assert [row["key"] for row in rows] == [f"ring_{part}" for part in parts]
    assert all(row["min"] > 0 for row in rows)
