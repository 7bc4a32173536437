"""The checksum of a snapshot against its definition in `ringnb.kernel.layout`."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringnb.kernel.checksum import checksum_words
from ringnb.kernel.layout import BLOCK_WORDS

# Plain Python warns where 64-bit sums wrap around, as they should.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")


def by_definition(words):
    total = sum(int(w) * (2 * (i // BLOCK_WORDS) + 1) for i, w in enumerate(words))
    return (total + 2**63) % 2**64 - 2**63


def checksum(words, first=0, last=None):
    return checksum_words(words.ctypes.data, first, len(words) if last is None else last)


@pytest.fixture(scope="module")
def words():
    return np.random.default_rng(3).integers(0, 2**64, 2 * BLOCK_WORDS + 77, np.uint64)


def test_it_is_what_the_layout_says(words):
    assert checksum(words) == by_definition(words)
    assert checksum(words[:5]) == by_definition(words[:5])


@given(cuts=st.lists(st.integers(0, 2 * BLOCK_WORDS + 77), max_size=3))
def test_parts_add_up_wherever_they_are_cut(words, cuts):
    edges = [0, *sorted(cuts), len(words)]
    total = sum(int(checksum(words, a, b)) for a, b in itertools.pairwise(edges))
    assert (total - by_definition(words)) % 2**64 == 0


@given(at=st.integers(0, 2 * BLOCK_WORDS + 76), bit=st.integers(0, 63))
def test_any_flipped_bit_changes_it(words, at, bit):
    flipped = words.copy()
    flipped[at] ^= np.uint64(1 << bit)
    assert checksum(flipped) != checksum(words)


def test_equal_words_in_another_block_change_it(words):
    moved = words.copy()
    moved[[5, BLOCK_WORDS + 5]] = moved[[BLOCK_WORDS + 5, 5]]
    assert checksum(moved) != checksum(words)
