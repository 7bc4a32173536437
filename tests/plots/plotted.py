"""Things to draw, and what is found in a drawn figure."""

from __future__ import annotations

import numpy as np

from ringnb.messages.events import Event

PARAMS = {"dx": 0.5, "dt": 0.002, "c": 343.0}


STAGES = ("due", "requested", "sent", "captured", "received", "written", "committed")


def wave(amplitude=1.0, shape=(6, 9)):
    rng = np.random.default_rng(3)
    return (amplitude * rng.standard_normal(shape)).astype(np.float32)


def image(ax):
    return ax.images[0]


def bar_label(figure):
    return next(a.get_ylabel() for a in figure.axes if a.get_label() == "<colorbar>")


def life(slot, request_id, begin_ms, stages=STAGES):
    return [
        Event(stage, slot, request_id, t_ns=int(1e9 + (begin_ms + i * 2) * 1e6))
        for i, stage in enumerate(stages)
    ]
