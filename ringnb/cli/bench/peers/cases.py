"""Which cases there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ringnb.cli.bench.measuring import Row, Scale
from ringnb.cli.bench.peers.environment import Environment
from ringnb.cli.bench.peers.stepping import stepping
from ringnb.cli.bench.peers.storage import storage

__all__ = ["CASES"]

CASES: dict[str, Callable[[Scale, Environment], Iterator[Row]]] = {
    "stepping": stepping,
    "storage": storage,
}
