"""Sizes for people, tables for terminals."""

from __future__ import annotations

import pytest

from ringnb._support.text import format_bytes, format_table, said_by


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


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("slot 3 is at step 5", "actor 3 is at step 5"),
        ("no slot 7: there are slots 0..3", "no actor 7: there are actors 0..3"),
        ("snapshot of actor 'wave_0' (slot 0) failed", "snapshot of actor 0 ('wave_0') failed"),
        ("snapshot of actor 'wave_0' in slot 0 failed", "snapshot of actor 0 ('wave_0') failed"),
        ("no actor is registered in slot 2", "no actor is registered as actor 2"),
        ("restore(slot, ...) of 64 slots each", "restore(slot, ...) of 64 slots each"),
        ("", "ValueError"),
    ],
)
def test_panels_say_an_actors_number_where_the_api_says_its_slot(said, shown):
    assert said_by(ValueError(said)) == shown


def test_tables_align():
    lines = format_table(("a", "n"), [("x", "1"), ("long", "22")], right=("n",))
    assert lines == ["a      n", "x      1", "long  22"]
