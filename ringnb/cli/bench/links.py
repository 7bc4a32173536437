"""The case about linked actors: what it costs that they step together."""

from __future__ import annotations

from collections.abc import Iterator

from ringnb import actors
from ringnb.actors.link import Link
from ringnb.actors.region import Region
from ringnb.cli.bench.measuring import Row, Scale, interleaved, ratio_row
from ringnb.cli.bench.teams import free_rate
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.testing.mixer import running

__all__ = ["links"]

_N = 512


def links(scale: Scale) -> Iterator[Row]:
    """Two waves that are joined at an edge, against two that are not."""
    for every in (1, 8)[: scale.times(2, 1)]:
        pair = [actors.Wave2D((_N, _N))] * 2
        with (
            running(CpuKernel(pair, links=_joined(every))) as linked,
            running(CpuKernel(pair)) as apart,
        ):
            pairs = interleaved(
                lambda client=linked: free_rate(client, scale),  # type: ignore[misc]  # bound here
                lambda client=apart: free_rate(client, scale),  # type: ignore[misc]  # bound here
                scale.times(11, 2),
            )
        how = "" if every == 1 else f" every {every} steps, {every} rows deep,"
        yield ratio_row(
            f"links_{every}",
            f"two waves of {_N} x {_N} that are linked at an edge{how} / not linked, all cores",
            pairs,
            ("not linked", 1, "Gcells/s"),
        )


def _joined(depth: int) -> list[Link]:
    """Link the last rows of each with what is behind the edge of the other; both levels if several."""
    last, first = slice(_N - 2 * depth, _N - depth), slice(depth, 2 * depth)
    above, below = slice(depth), slice(_N - depth, _N)
    fields = ("pressure", "pressure_previous")[: 1 if depth == 1 else 2]
    return [
        link
        for name in fields
        for link in (
            Link(0, Region(name, last), 1, Region(name, above), depth),
            Link(1, Region(name, first), 0, Region(name, below), depth),
        )
    ]
