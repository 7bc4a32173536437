"""What a picture for a panel costs, against the same field as a figure. Needs the widgets extra."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator

from ringnb import actors, plots
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.cli.bench import measuring
from ringnb.cli.bench.measuring import Row, Scale
from ringnb.panels.stage.pictures import View, draw
from ringnb.session.session import Session

__all__ = ["pictures"]


def pictures(scale: Scale) -> Iterator[Row]:
    """A picture of a stored field as bytes, and as a figure: time and size."""
    config = CheckpointConfig(enabled=False, storage_path=scale.directory / "pictures.zarr")
    with Session(actors.Wave2D((512, 512)), config=config) as session:
        session.inject(0, at=(100, 200))
        session.run_steps(0, 400)
        checkpoint = session.snapshot(0)
    sizes = {"bytes": 0, "figure": 0}

    def as_bytes() -> float:
        """Time ours."""
        began = time.perf_counter()
        drawn, _ = draw(checkpoint, View("pressure"))
        taken = time.perf_counter() - began
        sizes["bytes"] = len(drawn.pixels)
        return taken

    def as_figure() -> float:
        """Time the figure."""
        began = time.perf_counter()
        figure = plots.field(checkpoint).get_figure(root=True)
        assert figure is not None
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=90)
        taken = time.perf_counter() - began
        sizes["figure"] = len(png.getvalue())
        return taken

    pairs = measuring.interleaved(as_bytes, as_figure, scale.times(15, 3))
    yield measuring.ratio_row(
        "picture",
        "a stored field of 512 x 512 as one byte per cell / as a figure: time",
        pairs,
        ("figure", 1e3, "ms"),
        at_most=0.1,
        note=", read and checked, ready to be sent",
    )
    ratio = sizes["bytes"] / sizes["figure"]
    note = f"{sizes['bytes'] / 1e3:.0f} kB, figure {sizes['figure'] / 1e3:.0f} kB"
    yield Row("picture_size", "the same: size", [ratio], "x", "<=", 1.0, note)
