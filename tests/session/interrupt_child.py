"""Run by test_interrupts.py in a process of its own: a session under Ctrl-C, hundreds of times a second.

Prints one line of JSON: how often it was interrupted, and how often session, manager and kernel
disagreed. What is true is read off the states: every line of states is told from the others by what was
injected where it began, so a checkpoint's parent can be checked by computing the checkpoint from it.
"""

from __future__ import annotations

import collections
import json
import os
import random
import signal
import sys
import threading
import time

import numpy as np
import zarr

import ringnb as rn

SHAPE, LINES = (12, 12), 6


class Storm:
    """Sends this process SIGINT again and again while it is on; every call is then made with `try_`."""

    def __init__(self, rng, per_second):
        self.rng, self.per_second = rng, per_second
        self.interrupts, self.on, self.over = 0, threading.Event(), False
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self):
        while not self.over:
            self.on.wait()
            time.sleep(2 * self.rng.random() / self.per_second)
            if self.on.is_set():
                os.kill(os.getpid(), signal.SIGINT)

    def __enter__(self):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.on.set()

    def __exit__(self, *error):
        # An interrupt in here is one of the storm's: whoever calls this is over it then.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.on.clear()

    def try_(self, call, *args, **changes):
        """Make a call within the storm; return its result, or None if it was interrupted."""
        done = None
        try:
            with self:
                done = call(*args, **changes)
        except KeyboardInterrupt:
            self.interrupts += 1
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            self.on.clear()
            done = None
        return done


def same_bits(a, b):
    a, b = a.numpy(), b.numpy()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def snapshot_by_hand(s, slot):
    request = s.manager.request_snapshot(slot)
    s.send(request)
    for response in s.receive(timeout=60):
        s.manager.complete_snapshot(response)


def main(seconds, per_second, seed, service):
    rng = random.Random(int(seed))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    found = collections.Counter(wrong_parents=0, wrong_bits=0, stale_params=0)
    config = rn.CheckpointConfig(interval=3600.0, enabled=False, max_snapshots=0)
    storage = rn.ZarrStorage(zarr.storage.MemoryStore())
    actor = rn.actors.GrayScott(SHAPE)
    with rn.Session(
        actor, actors=2, config=config, storage=storage, lanes=1, service=service == "service"
    ) as s:
        bases = []
        for line in range(LINES):
            s.inject(0, at=(line, 2 * line), amplitude=0.1 + 0.1 * line)
            s.run_steps(0, 3)
            bases.append(s.snapshot(0))
            s.run_steps(0, 1)
        known = {b.name for b in bases}
        storm = Storm(random.Random(int(seed) + 1), float(per_second))
        until = time.monotonic() + float(seconds)
        calls = 0
        while time.monotonic() < until:
            calls += 1
            # Lines and bits, in slot 0.
            base = rng.choice(bases)
            restored = storm.try_(s.restore, 0, base)
            if rng.random() < 0.5:
                storm.try_(s.run_steps, 0, rng.randint(1, 4))
                restored = None
            if service == "service" or rng.random() < 0.5:
                storm.try_(s.snapshot, 0)
            else:
                storm.try_(snapshot_by_hand, s, 0)
            if restored is not None and not same_bits(s.snapshot(0), base):
                found["wrong_bits"] += 1
            # Parameters, in slot 1: one is changed, then the other.
            storm.try_(s.set_params, 1, feed=rng.uniform(0.02, 0.06))
            claimed = s.params(1)
            if s.snapshot(1).params != claimed:
                found["stale_params"] += 1
            before = s.snapshot(1).params
            storm.try_(s.set_params, 1, kill=rng.uniform(0.05, 0.07))
            after = s.snapshot(1).params
            if {**after, "kill": 0} != {**before, "kill": 0}:
                found["stale_params"] += 1
        storm.over = True
        kernel, manager = s.kernel, s.manager
        s.pause()
        for request in manager.pending:  # an answer may wait to be taken
            s.snapshot(request.actor_slot)
        found["staging_taken"] = sum(kernel.statistics().staging_taken)
        found["unanswered"] = s.statistics().with_kernel
        found["pending"] = manager.pending_count
        # Every checkpoint of a line can be computed from its parent.
        made = [e.name for e in manager.history(0) if e.name not in known]
        for name in made:
            child = storage.load(name)
            parent = storage.load(child.parent)
            s.restore(0, parent)
            if child.step > parent.step:
                s.run_steps(0, child.step - parent.step)
            if child.step < parent.step or not same_bits(s.snapshot(0), child):
                found["wrong_parents"] += 1
    print(
        json.dumps({**found, "checked": len(made), "interrupts": storm.interrupts, "calls": calls})
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
