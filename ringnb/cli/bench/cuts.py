"""Cases about cuts: many small actors captured and committed as one, and put back."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import ringnb as rn
from ringnb.cli.bench.measuring import Row, Scale, interleaved, ratio_row, time_s

__all__ = ["cuts"]


def cuts(scale: Scale) -> Iterator[Row]:
    """One cut of many small actors, against a checkpoint of each, in groups; and back."""
    count = 100 if scale.quick else 1000
    config = rn.CheckpointConfig(
        interval=3600.0, enabled=False, on_close=False, max_snapshots=0, guard="off"
    )
    with (
        tempfile.TemporaryDirectory(dir=scale.directory) as folder,
        rn.ZarrStorage(Path(folder, "cuts.zarr")) as storage,
        rn.Session(
            rn.actors.Life((64, 64)), actors=count, backend="cpu", config=config, storage=storage
        ) as s,
    ):

        def stepped(save: str) -> float:
            """Step all, so that there is something to save, and time how that is done."""
            for slot in range(count):
                s.run_steps(slot, 1)
            return time_s(lambda: getattr(s, save)(timeout=300.0))

        pairs = interleaved(
            lambda: stepped("snapshot_all"), lambda: stepped("save_changes"), scale.times(5, 2)
        )
        cut = s.snapshot_all(timeout=300.0)
        singles = [s.manager.storage.load(_newest_single(s, slot)) for slot in range(count)]

        def one_by_one() -> None:
            """Restore each from its own checkpoint."""
            for slot, checkpoint in enumerate(singles):
                s.restore(slot, checkpoint)

        back = interleaved(
            lambda: time_s(lambda: s.restore_all(cut)),
            lambda: time_s(one_by_one),
            scale.times(3, 1),
        )
    what = f"one cut of {count:,} actors of 4 KiB, captured and committed / a checkpoint of each"
    yield ratio_row("cuts", what, pairs, ("each", 1.0, "s"))
    what = f"all {count:,} restored from the cut / each from its own checkpoint"
    yield ratio_row("cuts-back", what, back, ("each", 1.0, "s"))


def _newest_single(session: rn.Session, slot: int) -> str:
    """Return the name of an actor's newest checkpoint that is not a part of a cut."""
    return [name for name in session.manager.list_checkpoints(slot) if ":" not in name][-1]
