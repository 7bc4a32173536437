"""Runs an update that never ends until Ctrl-C, and leaves another one to the exit."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import warnings

import ringnb as rn

left_open = []


def spin(now, following, params, step, y, x):
    value = now[0, y, x]
    while params[0] > 0.0:
        value = value * 0.5 + 1.0
        if value < 0.0:
            break
    following[0, y, x] = value


def spinning(store):
    actor = rn.actors.CellActor(spin, (4, 4), params={"spin": 0.0})
    config = rn.CheckpointConfig(enabled=False, on_close_timeout=0.2, storage_path=store)
    s = rn.Session(actor, config=config)
    s.kernel.patience_s = 0.3
    s.run_steps(0, 1)
    s.set_params(0, spin=1.0)
    return s


def main(folder):
    signal.signal(signal.SIGINT, signal.default_int_handler)
    warnings.simplefilter("always")
    first, second = spinning(folder + "/first.zarr"), spinning(folder + "/second.zarr")
    pressed = []

    def press():
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Timer(0.2, press).start()
    try:
        first.run_steps(0, 1)
    except KeyboardInterrupt:
        print("interrupted", time.monotonic() - pressed[0])
    began = time.monotonic()
    first.close()
    print("closed", time.monotonic() - began)
    print(first, flush=True)
    left_open.append(second)
    second.resume()
    time.sleep(0.05)
    print("exits", time.monotonic(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
