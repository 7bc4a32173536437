"""The format: how fields are cut into chunks, encoded and described, and what a name may be."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ringnb.checkpoint.storage.format import (
    EncodedChunk,
    check_checkpoint_name,
    checkpoint_keys,
    crc32c,
    layout_fields,
    looks_like_checkpoint,
    parse_layout,
)


@pytest.mark.parametrize(
    ("shape", "chunks"),
    [
        ((2048, 2048), (256, 2048)),  # 16 MiB in slabs of 2 MiB ... of at most 4
        ((3, 2048, 2048), (1, 512, 2048)),
        ((5, 7), (5, 7)),
        ((0, 7), (1, 7)),
        ((10_000_000,), None),
        ((2, 3_000_000), None),
    ],
)
def test_storage_rule_08_chunks_are_slabs_of_at_most_four_mebibytes(shape, chunks):
    array = np.broadcast_to(np.float32(0), shape)
    (layout,) = layout_fields({"a": array}, {})
    assert layout.chunk_nbytes <= 4 << 20
    cut = [layout.chunk(number) for number in range(layout.n_chunks)]
    covered = sum(chunk.stop - chunk.start for chunk in cut)
    assert covered == array.size
    if array.nbytes > 4 << 20:
        padding = sum(chunk.pad_bytes for chunk in cut)
        assert padding < 0.01 * array.nbytes
    if chunks is not None and shape != (2048, 2048):
        assert layout.chunk_shape[1:] == chunks[1:] or layout.chunk_shape == chunks


arrays = hnp.arrays(
    dtype=st.sampled_from(["<f4", ">f8", "i2", "?", "<c8"]),
    shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9),
)


@given(array=arrays, chunk_bytes=st.integers(1, 400))
def test_chunks_cover_the_array_once_in_order_and_the_document_describes_them(array, chunk_bytes):
    (layout,) = layout_fields({"a": array}, {}, chunk_bytes)
    at = 0
    parts = []
    for chunk in map(layout.chunk, range(layout.n_chunks)):
        assert chunk.start == at
        at = chunk.stop
        encoded = EncodedChunk(array, layout, chunk)
        raw = b"".join(bytes(piece) for piece in encoded)
        crc = encoded.crc
        assert EncodedChunk(array, layout, chunk).whole() == raw
        assert len(raw) == layout.chunk_nbytes + 4
        payload = np.frombuffer(raw[:-4], np.uint8)
        assert int.from_bytes(raw[-4:], "little") == crc == crc32c(payload)
        parts.append(payload[: payload.size - chunk.pad_bytes].tobytes())
    assert at == array.size
    assert b"".join(parts) == array.astype(array.dtype.newbyteorder("<")).tobytes()
    assert len(parts) == layout.n_chunks
    assert len(checkpoint_keys([layout])) == layout.n_chunks + 2
    assert parse_layout("a", layout.raw) == layout


@given(array=arrays, noncontiguous=st.booleans())
def test_the_memory_order_of_an_array_does_not_matter(array, noncontiguous):
    other = np.asfortranarray(array)
    if noncontiguous:
        other = np.stack([array, array], axis=-1)[..., 0]
    (layout,) = layout_fields({"a": array}, {}, 16)
    for chunk in map(layout.chunk, range(layout.n_chunks)):
        first, second = (EncodedChunk(a, layout, chunk) for a in (array, other))
        assert (first.whole(), first.crc) == (second.whole(), second.crc)


@pytest.mark.parametrize("nbytes", [1, 2**19 - 1, 2**19, 2**19 + 1, 2**20, 2**20 + 7])
@pytest.mark.parametrize("padded", [False, True])
def test_a_chunk_of_several_pieces_is_put_together_from_them(nbytes, padded):
    array = np.random.default_rng(nbytes).integers(0, 256, nbytes, np.uint8)
    (layout,) = layout_fields({"a": array}, {})
    chunk = layout.chunk(0)
    pad = bytes(13 if padded else 0)
    encoded = EncodedChunk(array, layout, chunk._replace(pad_bytes=len(pad)))
    sizes, raw = [], b""
    for piece in encoded:
        sizes.append(len(piece))
        raw += bytes(piece)
    assert raw[:-4] == array.tobytes() + pad
    assert int.from_bytes(raw[-4:], "little") == encoded.crc
    assert encoded.crc == crc32c(np.frombuffer(raw[:-4], np.uint8))
    assert encoded.whole() == raw
    assert max(sizes) <= 2**19 + 4


def test_layouts_of_the_same_fields_are_the_same_objects_and_of_others_are_not():
    fields = {"u": np.zeros((3, 4)), "v": np.zeros(5, "i4")}
    attrs = {"u": {"units": "Pa", "dims": ["a", "b"]}}
    first = layout_fields(fields, attrs)
    again = layout_fields({n: np.ones_like(a) for n, a in fields.items()}, attrs)
    assert all(a is b for a, b in zip(first, again, strict=True))
    for other, other_attrs in (
        (fields, {"u": {"units": "m", "dims": ["a", "b"]}}),
        (fields, {"u": {"units": "Pa", "dims": ["a", "c"]}}),
        ({**fields, "u": np.zeros((4, 3))}, attrs),
        ({**fields, "u": np.zeros((3, 4), "f4")}, attrs),
    ):
        assert layout_fields(other, other_attrs) != first
    assert layout_fields(fields, attrs, 16) != first


def test_a_document_that_differs_in_any_value_is_refused():
    (layout,) = layout_fields({"u": np.zeros((30, 4))}, {"u": {"units": "Pa"}}, 128)
    assert parse_layout("u", layout.raw) is parse_layout("u", layout.raw)
    document = json.loads(layout.raw)
    for key in document:
        missing = {k: v for k, v in document.items() if k != key}
        for changed in (missing, {**document, key: None}):
            with pytest.raises((ValueError, LookupError, TypeError, AttributeError)):
                parse_layout("u", json.dumps(changed, separators=(",", ":")).encode())
    with pytest.raises(ValueError, match="stored the way"):
        parse_layout("u", json.dumps(document).encode())  # blanks


@pytest.mark.parametrize(
    "name", ["a", "checkpoint_0_step_1", "A-b.c_d", "x" * 240, "zarr.json.1", "a..b"]
)
def test_names_that_are_allowed(name):
    assert check_checkpoint_name(name) == name


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"]])
def test_storage_rule_04_a_name_is_a_str(name):
    with pytest.raises(TypeError, match="must be a str"):
        check_checkpoint_name(name)


def test_names_that_a_manager_gives_are_known_by_their_form():
    for name in ("checkpoint_0_step_1", "a_b_12_step_340.2"):
        assert looks_like_checkpoint(name)
    for name in ("results", "checkpoint_0_step_", "step_1", "a_0_step_1.x", "a_0_step_1.2.3"):
        assert not looks_like_checkpoint(name)
