"""The table of a report: rows come back, other tools read it, and a crash leaves it whole."""

from __future__ import annotations

import os

import numpy as np
import pytest
import zarr

import ringnb as rn
from ringnb.checkpoint.report import Report, ReportOrigin, reports_beside
from ringnb.checkpoint.report_writer import ReportWriter
from ringnb.checkpoint.storage.directory.files import interposing


@pytest.fixture
def root(tmp_path):
    return reports_beside(tmp_path / "waves.zarr")


def begin(root, **changes):
    options = {"step": 0, "every": 10, "origin": None, **changes}
    return ReportWriter(root).begin(options.pop("kernel_id", "wave_0"), ["energy"], **options)


def fill(line, steps, factor=1.0):
    for step in steps:
        line.append(step, step / 100, [factor * step])


def test_stores_whose_names_begin_alike_have_reports_of_their_own(tmp_path):
    stores = [tmp_path / "waves", tmp_path / "waves.zarr", tmp_path / "waves.old"]
    roots = [reports_beside(store) for store in stores]
    assert len(set(roots)) == 3
    assert [reports_beside(root) for root in roots] == roots
    for number, root in enumerate(roots):
        line = begin(root)
        fill(line, [number])
        line.flush()
    assert [Report.open(store).steps.tolist() for store in stores] == [[0], [1], [2]]


def test_reports_of_an_earlier_version_are_found(tmp_path):
    old = tmp_path / "waves.reports.zarr"
    line = begin(old)
    fill(line, [10])
    line.flush()
    assert Report.open(tmp_path / "waves").steps.tolist() == [10]
    (tmp_path / "waves.zarr").mkdir()  # whose they are now
    assert reports_beside(tmp_path / "waves") == tmp_path / "waves.reports"


def test_rows_come_back_over_many_chunks_and_flushes(root):
    line = begin(root)
    steps = list(range(0, 26000, 10))
    for start in range(0, len(steps), 700):
        fill(line, steps[start : start + 700])
        line.flush()
    report = Report.open(root)
    assert report.steps.tolist() == steps
    assert report["energy"].tolist() == [float(s) for s in steps]
    assert report.times.tolist() == [s / 100 for s in steps]


def test_other_tools_read_it(root):
    xarray = pytest.importorskip("xarray")
    line = begin(root, step=2**62)
    line.append(2**62 + 10, None, [0.5])
    line.flush()
    folder = root / "wave_0" / "000001"
    group = zarr.open_group(root, mode="r")["wave_0/000001"]
    assert group["step"][:].tolist() == [2**62 + 10]
    with xarray.open_zarr(folder) as dataset:
        assert dataset["energy"].dims == ("row",)
        assert dataset["energy"].values.tolist() == [0.5]
        assert np.isnan(dataset["time"].values).all()


@pytest.mark.parametrize(
    "stride", [pytest.param(7, marks=pytest.mark.part), pytest.param(1, marks=pytest.mark.slow)]
)
def test_a_crash_at_any_moment_leaves_the_rows_of_before_or_these_too(root, stride):
    class Crash(BaseException):
        pass

    fill(line := begin(root), range(0, 10500, 10))  # a full chunk, and some of the next
    line.flush()
    before = Report.open(root).steps.tolist()
    fill(line, range(10500, 20500, 10))
    for moment in range(0, 1000, stride):
        left = moment

        def crash(name, arguments, call):
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return call()

        try:
            with interposing(crash):
                line.flush()
        except Crash:
            found = Report.open(root)
            after = found.steps.tolist()
            assert after in (before, list(range(0, 20500, 10)))
            assert found["energy"].tolist() == [float(s) for s in after]
        else:
            break
    assert moment > 20
    assert Report.open(root).steps.tolist() == list(range(0, 20500, 10))
    assert not [p for p in root.rglob(".*") if p.is_file()]


def test_a_flipped_bit_is_found(root):
    fill(line := begin(root), range(0, 50, 10))
    line.flush()
    chunk = root / "wave_0" / "000001" / "energy" / "c.0"
    data = bytearray(chunk.read_bytes())
    data[9] ^= 4
    chunk.write_bytes(data)
    with pytest.raises(rn.CheckpointCorrupt, match=r"000001.*damaged"):
        Report.open(root)


def test_several_actors_and_strange_names(root):
    for kernel_id in ("wave_0", ".hidden", "a/b", "a b"):
        fill(line := begin(root, kernel_id=kernel_id), [0, 10])
        line.flush()
    for kernel_id in ("wave_0", ".hidden", "a/b", "a b"):
        assert len(Report.open(root, kernel_id)) == 2
    with pytest.raises(
        rn.CheckpointNotFound, match=r"'\.hidden', 'a b', 'a/b', 'wave_0': say which"
    ):
        Report.open(root)
    with pytest.raises(rn.CheckpointNotFound, match=r"no report in .*session\.report"):
        Report.open(root.with_name("other.zarr"))
    with pytest.raises(rn.CheckpointNotFound, match=r"no report of actor 'other'.*'wave_0'"):
        Report.open(root, "other")


def test_lines_are_numbered_though_two_begin_at_the_same_moment(root, monkeypatch):
    begin(root).flush()
    taken = iter([True])
    make = os.mkdir

    def race(path, *mode):
        if str(path).endswith("000002") and next(taken, False):
            make(path)
        return make(path, *mode)

    monkeypatch.setattr("ringnb.checkpoint.storage.directory.files.make_directory", race)
    assert begin(root).number == 3


def test_the_current_line_goes_back_through_every_restore(root):
    # 1: 0..50 of run a. 2: restored at 20, run b, 20..60. 3: restored at 40 of run b, run c, 40..70.
    fill(first := begin(root), range(0, 60, 10))
    first.set_run("a" * 16)
    second = begin(root, step=20, origin=ReportOrigin(20, None, "1" * 16, "a" * 16))
    fill(second, range(20, 70, 10), factor=2)
    second.set_run("b" * 16)
    third = begin(root, step=40, origin=ReportOrigin(40, None, "2" * 16, "b" * 16))
    fill(third, range(40, 80, 10), factor=3)
    for line in (first, second, third):
        line.flush()
    report = Report.open(root)
    assert report.steps.tolist() == [0, 10, 20, 30, 40, 50, 60, 70]
    assert report["energy"].tolist() == [0, 10, 40, 60, 120, 150, 180, 210]
    assert report.abandoned == 3 + 2
    data = report.to_xarray()
    assert data["current"].values.sum() == 8
    assert data.sizes["row"] == 15
    assert "5 abandoned" in repr(report)
    assert "wave_0" in report._repr_html_()


def test_a_line_whose_run_was_not_noted_in_time_is_found_by_when_it_began(root):
    """Commits 1 to 3 are of the lines 1, 2 and 4; all but the first were killed right after them."""
    fill(first := begin(root), range(0, 60, 10))
    first.set_run("a" * 16)
    origin = ReportOrigin(20, None, "1" * 16, "a" * 16, 1)
    fill(second := begin(root, step=20, origin=origin, after=1), range(20, 50, 10), factor=2)
    fill(left := begin(root, step=20, origin=origin, after=2), range(20, 90, 10), factor=9)
    origin = ReportOrigin(40, None, "2" * 16, "a" * 16, 2)
    fill(fourth := begin(root, step=40, origin=origin, after=2), range(50, 70, 10), factor=4)
    origin = ReportOrigin(60, None, "3" * 16, "a" * 16, 3)
    fill(fifth := begin(root, step=60, origin=origin, after=3), range(70, 80, 10), factor=5)
    for line in (first, second, left, fourth, fifth):
        line.flush()
    report = Report.open(root)
    assert report.steps.tolist() == list(range(0, 80, 10))
    assert report["energy"].tolist() == [0, 10, 40, 60, 80, 200, 240, 350]


def test_a_checkpoint_that_was_imported_is_found_by_its_run(root):
    fill(first := begin(root, after=7), range(0, 60, 10))
    first.set_run("a" * 16)
    origin = ReportOrigin(20, None, "1" * 16, "a" * 16, -3)
    fill(second := begin(root, step=20, origin=origin, after=9), range(30, 50, 10))
    first.flush()
    second.flush()
    assert Report.open(root).steps.tolist() == [0, 10, 20, 30, 40]
