"""`ringnb bench --gpu`: the CUDA kernel on a device, each figure beside its baseline in one run.

Start with `cases`: which there are, and how long each may take. ``card`` is the device as the cases
see it while no kernel runs on it, ``kernels`` what is launched for comparison, ``budget`` the clock
that keeps a case to its time; the other modules hold the cases of one subject each. The kernel
takes the whole card, so a baseline is measured before it is launched or after it has ended: ours
and the baseline alternate by halves, not by turns.

Not yet run on a device. In the tests the cases run with a card of the simulator, and compiled on a
card in software.
"""

from __future__ import annotations

from ringnb.cli.bench.gpu.cases import CASES, open_card, timed

__all__ = ["CASES", "open_card", "timed"]
