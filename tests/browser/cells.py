"""Cells that the tests' notebooks are made of."""

from __future__ import annotations

__all__ = ["AS_NEW", "BEGUN", "BUSY", "END", "STORED", "WATCH", "many", "session"]

BEGUN = "the busy cell has begun"  # files beside the notebook
END = "end the busy cell"


def session(*, interval: float = 0.5, enabled: bool = True, pace: int | None = 2000) -> str:
    """Return a cell that makes a session of two waves; run again, it makes the same one again."""
    return f"""
import tempfile
from pathlib import Path
import ringnb as rn
store = globals().get("store") or Path(tempfile.mkdtemp()) / "waves.zarr"
config = rn.CheckpointConfig(
    interval={interval}, enabled={enabled}, max_snapshots=8, storage_path=store
)
wave = rn.actors.Wave2D((96, 96))
session = rn.Session(wave, actors=2, config=config, max_steps_per_second={pace})
session.inject(0, at=(30, 30), amplitude=1.0)
"""


def many(count: int, bad: int) -> str:
    """Return a cell that makes a session of very many small waves, of which one is not finite."""
    return f"""
import tempfile
import warnings
from pathlib import Path
import ringnb as rn
config = rn.CheckpointConfig(enabled=False, storage_path=Path(tempfile.mkdtemp()) / "many.zarr")
session = rn.Session(rn.actors.Wave2D((8, 8)), actors={count}, config=config)
session.inject({bad}, at=(3, 3), amplitude=1e39)
session.run_steps({bad}, 3)
with warnings.catch_warnings():
    warnings.simplefilter("ignore", rn.CheckpointWarning)
    session.snapshot({bad})
"""


# Three checkpoints of actor 0, at steps 100, 200 and 300.
STORED = """
stored = []
for _ in range(3):
    session.run_steps(0, 100)
    stored.append(session.snapshot(0))
"""

# Notes when actor 0 starts and stops, by the clock that the browser has as well.
WATCH = """
import contextlib, threading, time
seen = []
def watch():
    was = None
    with contextlib.suppress(rn.KernelStopped):
        while True:
            running = session.statistics().actors[0].running
            if running != was:
                seen.append((time.time() * 1e3, running))
                was = running
            time.sleep(0.001)
threading.Thread(target=watch, daemon=True).start()
"""

# Runs until `Notebook.end_busy`, so that a test finishes meanwhile on any machine.
BUSY = f"""
import time
Path({BEGUN!r}).touch()
while not Path({END!r}).exists():
    time.sleep(0.01)
ended = time.time() * 1e3
"""

# Makes the kernel as good as new, and prints what keeps it from that. What was imported stays: modules,
# compiled code, threads of libraries.
AS_NEW = """
def as_new(shell):
    import gc, os, sys, threading, time
    from comm import get_comm_manager
    if "ringnb" in sys.modules:
        sys.modules["ringnb"].session.live.close_all()
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
    os.environ.pop("RINGNB_PROFILE", None)
    shell.reset()
    own = lambda t: getattr(getattr(t, "_target", None), "__module__", "") == "__main__"
    late = time.monotonic() + 5
    while True:
        gc.collect()
        threads = [t.name for t in threading.enumerate() if t.name.startswith("ringnb") or own(t)]
        if not threads and "ipywidgets" in sys.modules:
            try:
                sys.modules["ipywidgets"].Widget.close_all()
            except AttributeError:  # a subshell's thread closes the same one
                continue
        left = [*threads, *get_comm_manager().comms]
        if not left or time.monotonic() > late:
            return left
        time.sleep(0.02)
print(*as_new(get_ipython()))
"""
