"""The group document: it comes back as it was rendered, and every other is damage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringnb as rn
from ringnb._support.version import VERSION
from ringnb.checkpoint.storage.document import (
    parse_document,
    parse_info,
    render_document,
    revise_document,
)
from ringnb.checkpoint.storage.format import layout_fields
from ringnb.messages.simulated_time import SimulatedTime
from ringnb.testing.storages import make_snapshot

ONE = "checkpoint_0_step_1"


def rendered(snapshot, sequence=3, chunk_bytes=None):
    layouts = layout_fields(snapshot.fields, snapshot.field_attrs, chunk_bytes)
    crcs = {layout.name: list(range(layout.n_chunks)) for layout in layouts}
    raw, info = render_document(
        snapshot, layouts, crcs, sequence, name=ONE, store="0" * 16, version=VERSION
    )
    assert parse_info(ONE, raw, "0" * 16) == info  # which takes its place in a commit
    return raw, layouts, crcs


text = st.text(st.characters(codec="utf-8"), max_size=20)
identities = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    text,
)
finite = st.floats(-1e9, 1e9)
snapshots = st.builds(
    make_snapshot,
    step=st.integers(0, 2**63 - 1),
    name_prefix=st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,20}", fullmatch=True),
    kernel_id=identities,
    kernel_type=identities,
    actor_slot=st.integers(0, 2**31 - 1),
    request_id=st.integers(0, 2**63 - 1),
    params=st.dictionaries(identities, scalars, max_size=4),
    backend=st.none() | identities,
    parent=st.none() | st.just("other_1_step_2"),
    clock=st.none() | st.builds(SimulatedTime, finite, st.integers(0, 2**63 - 1), finite),
    fields=st.dictionaries(
        st.sampled_from(["u", "v", "w.1", "x"]),
        st.sampled_from(
            [np.zeros((30, 40)), np.zeros(300, "i2"), np.array(True), np.zeros((0, 2))]
        ),
        min_size=1,
    ),
    field_attrs=st.just({"u": {"units": "Pa", "long_name": "pressure", "dims": ("a", "b")}}),
)


@given(snapshot=snapshots, sequence=st.integers(1, 2**53), pin=st.none() | identities)
def test_storage_rule_06_what_was_rendered_comes_back(snapshot, sequence, pin):
    raw, layouts, crcs = rendered(snapshot, sequence, chunk_bytes=1024)
    if pin is not None:
        raw = revise_document(raw, pin={"label": pin, "at": "now"})
    document, info = parse_document(ONE, raw), parse_info(ONE, raw)
    for name in ("name_prefix", "kernel_id", "kernel_type", "actor_slot", "step"):
        assert document.record[name] == getattr(snapshot, name) == getattr(info, name)
    for name in ("request_id", "parent", "backend", "params"):
        assert document.record[name] == getattr(snapshot, name)
    assert tuple(document.fields.values()) == layouts
    assert list(document.fields) == list(snapshot.fields)
    assert document.crcs == crcs
    assert document.pin == info.pin == pin
    assert info.sequence == document.record["sequence"] == sequence
    assert info.nbytes == sum(array.nbytes for array in snapshot.fields.values())
    assert (info.name, info.damaged) == (ONE, False)
    assert info.created_at.utcoffset() is not None
    if snapshot.clock is not None:
        assert SimulatedTime.from_record(document.record) == snapshot.clock
        assert document.record["time"] == info.time == snapshot.time
    assert document.keys() >= {"zarr.json", *(f"{name}/zarr.json" for name in snapshot.fields)}


def test_a_document_without_a_time_has_that_of_its_step():
    # As versions wrote it that knew of no time.
    raw, _, _ = rendered(make_snapshot(20, params={"dt": 0.5, "c": 3.0}))
    assert "clock" not in parse_document(ONE, raw).record
    assert parse_info(ONE, raw).time == 10.0
    raw, _, _ = rendered(make_snapshot(20))
    assert parse_info(ONE, raw).time is None


@pytest.mark.parametrize("changes", [{"clock": {"time": 1.0}}, {"clock": 3}, {"time": "late"}])
def test_an_impossible_time_is_corrupt(changes):
    raw, _, _ = rendered(make_snapshot(20))
    for parse in (parse_document, parse_info):
        with pytest.raises(rn.CheckpointCorrupt):
            parse(ONE, revise_document(raw, **changes))


def test_storage_rule_06_every_damaged_byte_is_corrupt():
    raw, _, _ = rendered(make_snapshot(7))
    for position, byte in enumerate(raw):
        for new in {byte ^ 1, byte ^ 0x80, ord("0"), ord('"'), ord("}")} - {byte}:
            damaged = raw[:position] + bytes([new]) + raw[position + 1 :]
            for parse in (parse_document, parse_info):
                with pytest.raises(rn.CheckpointCorrupt, match=ONE):
                    parse(ONE, damaged)


@given(cut=st.data())
def test_storage_rule_06_cut_doubled_or_mixed_up_bytes_are_corrupt(cut):
    raw, _, _ = rendered(make_snapshot(7))
    a, b = sorted(cut.draw(st.integers(0, len(raw))) for _ in range(2))
    for damaged in (raw[:a] + raw[b:], raw[:b] + raw[a:], raw[:a], raw[a:b] + raw[:a] + raw[b:]):
        if damaged == raw:
            continue
        if is_json(damaged) and json.loads(damaged) == json.loads(raw):
            continue  # a piece of a key's value that JSON reads twice: nothing is lost
        for parse in (parse_document, parse_info):
            with pytest.raises(rn.CheckpointCorrupt):
                parse(ONE, damaged)


def is_json(raw):
    try:
        json.loads(raw)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "raw",
    [
        *(b"", b"[]", b"null", b"{", b"NaN", b"\xff\xfe", b"1e999"),
        *(b"{" * 100_000, b"[" * 100_000, b'{"attributes":' * 50_000),
    ],
    ids=lambda raw: repr(raw[:12]),
)
def test_storage_rule_06_what_is_no_document_is_corrupt(raw):
    for parse in (parse_document, parse_info):
        with pytest.raises(rn.CheckpointCorrupt, match="cannot be read"):
            parse(ONE, raw)


def test_a_newer_format_is_named():
    raw, _, _ = rendered(make_snapshot(7))
    newer = raw.replace(b'"format":1', b'"format":2', 1)
    with pytest.raises(rn.CheckpointCorrupt, match=r"format is 2, this version reads 1.*newer"):
        parse_document(ONE, newer)


def test_storage_rule_15_a_revision_changes_what_it_names_and_nothing_else():
    raw, _, _ = rendered(make_snapshot(7))
    pinned = revise_document(raw, pin={"label": "why", "at": "now"})
    assert parse_document(ONE, pinned).identity == parse_document(ONE, raw).identity
    assert revise_document(pinned, pin=None) == raw
    renumbered = json.loads(revise_document(raw, sequence=9))["attributes"]["ringnb"]
    before = json.loads(raw)["attributes"]["ringnb"]
    assert renumbered.pop("sequence") == 9
    assert before.pop("sequence") == 3
    assert renumbered.pop("digests")["document"] != before.pop("digests")["document"]
    assert renumbered == before


def test_storage_rule_06_a_parameter_may_be_called_like_the_digest(storage):
    for value in ("0" * 64, "f" * 64):
        params = {"document": value}
        storage.save(f"a_0_step_{value[0]}", make_snapshot(1, params=params))
        assert storage.load(f"a_0_step_{value[0]}").params == params
