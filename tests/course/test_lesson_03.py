"""Lesson 3: files and bytes of a checkpoint."""

from __future__ import annotations

import numpy as np
import pytest
from lessons import refuse

from ringnb import course

WRONG = [
    (4 << 20, "4,194,308 bytes"),
    (1 << 20, "1,048,580 bytes"),
    (256 << 10, "262,148 bytes"),
    (32 << 10, "256 files or more"),
    (1024, "8,192 files or more"),
    (1.0e5, "100000.0, not a whole number"),
    (5, "chunk_bytes must lie in"),
    (0, "chunk_bytes must lie in"),
    (-65536, "chunk_bytes must lie in"),
    (2**31, "chunk_bytes must lie in"),
    ("64 KiB", "not a whole number of bytes"),
    (..., "chunk_bytes is Ellipsis"),
    (True, "not a whole number of bytes"),
]


@pytest.mark.parametrize(("answer", "fact"), WRONG)
def test_a_wrong_chunk_size_is_told_what_is_wrong(answer, fact):
    refuse(course.check_03, answer, fact=fact)


@pytest.mark.parametrize(
    ("answer", "files"), [(128 << 10, 67), (np.int64(65536), 131), (100_000, 89), (4096 * 47, 47)]
)
def test_another_right_chunk_size_passes(answer, files):
    assert f"{files} files" in course.check_03(answer)


def test_reads_are_counted_in_chunks(tmp_path):
    place = course.save_wave(tmp_path / "w.zarr", 256 << 10, side=256)
    assert course.files_of(place)["pressure/c.0.0"] == 256 * 256 * 4 + 4
    reads = course.count_reads(place, lambda group: group["pressure"][0])
    assert (reads.keys, reads.nbytes) == (["pressure/c.0.0"], 256 * 256 * 4 + 4)
