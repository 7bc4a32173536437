"""Many things measured in turn: peers that start, peers that drop out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ringnb.cli.bench.peers.environment import Environment
from ringnb.cli.bench.peers.peer import Peer, PeerFailed

__all__ = ["Measure", "in_turn", "start_peers"]

Measure = Callable[[], tuple[float, ...]]


def start_peers(
    stack: contextlib.ExitStack,
    env: Environment,
    kind: str,
    titles: Mapping[str, str],
    directory: Path,
    **settings: Any,
) -> tuple[dict[str, Peer], dict[str, str]]:
    """Start peers that live as long as the stack; return them, and why others are not there, by name."""
    peers, absent = {}, {}
    for name in titles:
        peer = Peer(env, kind, name, directory / f"{kind}-{name}.log", **settings)
        try:
            peers[name] = stack.enter_context(peer)
        except PeerFailed as error:
            absent[name] = env.refused.get(name) or str(error)
    return peers, absent


def in_turn(
    measures: Mapping[str, Measure], repetitions: int, absent: dict[str, str]
) -> dict[str, list[tuple[float, ...]]]:
    """Measure each of them in turn, another one first every time, after a round that does not count.

    A peer that fails drops out, and goes to `absent` with the reason.
    """
    samples: dict[str, list[tuple[float, ...]]] = {name: [] for name in measures}
    for turn in range(-1, repetitions):
        names = list(samples)
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            try:
                sample = measures[name]()
            except PeerFailed as error:
                absent[name] = str(error)
                del samples[name]
            else:
                samples[name] += [sample] if turn >= 0 else []
    return samples
