"""Sizes for people, tables for terminals."""

from __future__ import annotations

import pytest

from ringnb._support.text import format_bytes, format_table


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (3 * 2**29, "1.5 GiB"),
    ],
)
def test_sizes_for_people(nbytes, text):
    assert format_bytes(nbytes) == text


def test_tables_align():
    lines = format_table(("a", "n"), [("x", "1"), ("long", "22")], right=("n",))
    assert lines == ["a      n", "x      1", "long  22"]
