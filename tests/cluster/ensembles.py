"""A small ensemble, and what its members are without one."""

from __future__ import annotations

import numpy as np

import ringnb as rn


def members():
    return {f"m{n}": rn.actors.GrayScott((24, 24), feed=0.03 + 0.004 * n) for n in range(3)}


def assert_as_if_alone(data, step):
    """See that the members of an opened ensemble are bit-equal to those of a session of their own."""
    config = rn.CheckpointConfig(storage_path="memory://alone", enabled=False, on_close=False)
    with rn.Session(list(members().values()), config=config) as alone:
        for slot, name in enumerate(members()):
            alone.run_steps(slot, step)
            for field, values in alone.state(slot).numpy().items():
                here = data[field].sel(member=name, step=step)
                np.testing.assert_array_equal(here.to_numpy(), values)
