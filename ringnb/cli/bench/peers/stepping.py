"""The same models, stepped by ringnb and by peers, all cores: results compared, then rates in turn."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ringnb import actors
from ringnb.actors.base import Actor
from ringnb.cli.bench.measuring import Row, Scale, ratio_row, run_steps, time_s
from ringnb.cli.bench.peers.child.steppers import (
    COURANT2,
    DAMPING,
    REACTION,
    start_level,
    start_reaction,
)
from ringnb.cli.bench.peers.environment import Environment
from ringnb.cli.bench.peers.peer import Peer
from ringnb.cli.bench.peers.rounds import in_turn, start_peers
from ringnb.kernel.client import KernelClient
from ringnb.kernel.cpu.kernel import CpuKernel
from ringnb.messages.commands import Command
from ringnb.testing.mixer import running

__all__ = ["stepping"]

_PEERS = {
    "openmp": "C with OpenMP",
    "prange": "Numba prange",
    "jax": "JAX",
    "taichi": "Taichi",
    "numpy": "NumPy",
}
_STEPS = {512: 1000, 2048: 60}  # of a call, an even number, by the cells along a side
_REACTION_PEERS = {"openmp": "C with OpenMP"}
_REACTION_STEPS = {512: 400}
_TOLERANCE = 1e-2  # of the largest pressure: other roundings drift apart
_REST_S = 0.02  # threads of the one before spin for a while when their work is done


def stepping(scale: Scale, env: Environment) -> Iterator[Row]:
    """Waves of 512 x 512 and 2048 x 2048, a reaction of 512 x 512: ringnb against other ways."""
    for n, steps in _STEPS.items():
        wave = actors.Wave2D((n, n), COURANT2, DAMPING, start=start_level(n))
        with contextlib.ExitStack() as stack:
            yield from _compared(scale, env, stack, (wave, "wave", "a wave"), steps, _PEERS)
    for n, steps in _REACTION_STEPS.items():
        reaction = actors.GrayScott((n, n), **REACTION, start=start_reaction(n))
        hosted = reaction, "reaction", "Gray and Scott's reaction"
        with contextlib.ExitStack() as stack:
            yield from _compared(scale, env, stack, hosted, steps, _REACTION_PEERS)


def _compared(
    scale: Scale,
    env: Environment,
    stack: contextlib.ExitStack,
    hosted: tuple[Actor, str, str],
    steps: int,
    titles: Mapping[str, str],
) -> Iterator[Row]:
    actor, model, words = hosted
    n = actor.shape[0]
    client = stack.enter_context(running(CpuKernel([actor])))
    settings = {"model": model, "n": n, "steps": steps, "scratch": str(scale.directory)}
    peers, absent = start_peers(stack, env, "stepping", titles, scale.directory, **settings)
    run_steps(client, steps)
    level, kept = _level(client), str(scale.directory / "level.npy")
    apart = {}
    for name, peer in list(peers.items()):
        peer.ask()
        peer.ask(save=kept)
        apart[name] = float(np.abs(np.load(kept) - level).max() / np.abs(level).max())
        if not apart[name] <= _TOLERANCE:
            far = f"{apart[name]:.2g} of the largest value apart"
            absent[name] = f"its {model} is another one: {far}"
            del peers[name]

    def rate(peer: Peer | None) -> tuple[float]:
        """Return cells per nanosecond of a call of a peer, or of ringnb's."""
        time.sleep(_REST_S)
        took = time_s(lambda: run_steps(client, steps)) if peer is None else peer.ask()
        return (n * n * steps / took / 1e9,)

    measures = {"ringnb": functools.partial(rate, None)}
    measures |= {name: functools.partial(rate, peer) for name, peer in peers.items()}
    samples = in_turn(measures, scale.times(15, 3), absent)
    for name, title in titles.items():
        key, what = f"peer_{model}_{n}_{name}", f"stepping {words} of {n} x {n}, ringnb / {title}"
        if name in absent:
            yield Row(key, what, (), "x", note=absent[name])
            continue
        pairs = [(a[0], b[0]) for a, b in zip(samples["ringnb"], samples[name], strict=True)]
        agree = f"at most {apart[name]:.1g} apart" if apart[name] else "of the same bits"
        note = f"; {peers[name].remark}; results {agree}"
        yield ratio_row(key, what, pairs, (title, 1, "Gcells/s"), note=note)


def _level(client: KernelClient) -> Any:
    """Return a copy of the first field of actor 0."""
    kernel = client.kernel
    index = client.call(0, Command.SNAPSHOT).value
    state, _ = kernel.staged(0, index, 0)
    level = np.array(state[0, 0])
    kernel.release_staging(0, index)
    return level
