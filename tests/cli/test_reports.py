"""`ringnb report`: recorded numbers in words, as a table and as CSV."""

from __future__ import annotations

import csv
import io

import pytest

import ringnb as rn
from ringnb.checkpoint.report import ReportOrigin, reports_beside
from ringnb.checkpoint.report_writer import ReportWriter
from ringnb.cli import command_line as cli


def fill(line, steps, factor):
    for step in steps:
        line.append(step, step / 100, [factor * step, float("nan")])
    line.flush()


@pytest.fixture
def store(tmp_path):
    """One actor that was restored from step 20 at step 40, and another."""
    store = tmp_path / "waves.zarr"
    writer = ReportWriter(reports_beside(store))
    first = writer.begin("wave_0", ["energy", "odd"], step=0, every=10, origin=None)
    fill(first, range(0, 50, 10), 0.1)
    origin = ReportOrigin(20, line=1)
    second = writer.begin("wave_0", ["energy", "odd"], step=20, every=10, origin=origin)
    fill(second, range(30, 60, 10), 0.3)
    names = ["mass", "count"]
    fill(writer.begin("wave_1", names, step=0, every=1000, origin=None), [0, 1000], 1.5)
    return str(store)


def table(text):
    return list(csv.reader(io.StringIO(text)))


def test_a_line_for_each_actor(store, capsys):
    assert cli.main(["report", store]) == 0
    header, one, two = capsys.readouterr().out.splitlines()
    assert header.split() == ["actor", "every", "rows", "steps", "abandoned", "newest"]
    assert one.split() == ["wave_0", "10", "6", "0", "to", "50", "2", "energy", "15,", "odd", "nan"]
    assert two.split()[:3] == ["wave_1", "1,000", "2"]


def test_the_newest_rows_of_one(store, capsys):
    assert cli.main(["report", store, "wave_0"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["step", "time", "(s)", "energy", "odd"]
    assert rows[-1] == ["50", "0.5", "15", "nan"]
    assert cli.main(["report", store, "wave_0", "--all"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[-2:] for row in rows[1:]] == [["1", "1"]] * 3 + [["1", "0"]] * 2 + [["2", "1"]] * 3


def test_csv_has_every_row_and_digit(store, capsys):
    assert cli.main(["report", store, "wave_0", "--csv"]) == 0
    rows = table(capsys.readouterr().out)
    assert rows[0] == ["step", "time", "energy", "odd"]
    assert [float(row[2]) for row in rows[1:]] == [0.1 * n for n in (0, 10, 20)] + [
        0.3 * n for n in (30, 40, 50)
    ]
    assert cli.main(["report", store, "--csv", "--all"]) == 0
    rows = table(capsys.readouterr().out)
    names = ["energy", "odd", "mass", "count"]
    assert rows[0] == ["actor", "step", "time", *names, "line", "current"]
    assert len(rows) == 1 + 8 + 2
    assert rows[-1] == ["wave_1", "1000", "10.0", "nan", "nan", "1500.0", "nan", "1", "1"]
    assert cli.main(["report", store, "--csv"]) == 0
    rows = table(capsys.readouterr().out)
    assert rows[0] == ["actor", "step", "time", *names]
    assert len(rows) == 1 + 6 + 2
    assert rows[-1] == ["wave_1", "1000", "10.0", "nan", "nan", "1500.0", "nan"]


def test_what_is_not_there_is_said_in_a_line(store, tmp_path, capsys):
    for arguments, words in (
        (["report", store, "wave_7"], "no report of actor 'wave_7'"),
        (["report", str(tmp_path / "other.zarr")], "no report in"),
        (["report", "s3://bucket/waves"], "is not a directory"),
    ):
        assert cli.main(arguments) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert words in said
    with pytest.raises(rn.CheckpointNotFound):
        rn.Report.open_all(tmp_path / "other.zarr")
    assert list(rn.Report.open_all(store)) == ["wave_0", "wave_1"]
