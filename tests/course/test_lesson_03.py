"""Lesson 3: files and bytes of a checkpoint."""

from __future__ import annotations

import pytest
from lessons import refuse

from ringnb import course

WRONG = [
    (4 << 20, "4,194,308 bytes"),
    (1024, "8195 files"),
    (5, "chunk_bytes must lie in"),
    (True, "not a number of bytes"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_chunk_size_is_told_what_is_wrong(answer, fact):
    refuse(course.check_03, answer, fact=fact)


def test_another_right_chunk_size_passes():
    assert "67 files" in course.check_03(128 << 10)


def test_reads_are_counted_in_chunks(tmp_path):
    place = course.save_wave(tmp_path / "w.zarr", 256 << 10, side=256)
    assert course.files_of(place)["pressure/c.0.0"] == 256 * 256 * 4 + 4
    reads = course.count_reads(place, lambda group: group["pressure"][0])
    assert (reads.keys, reads.nbytes) == (["pressure/c.0.0"], 256 * 256 * 4 + 4)
