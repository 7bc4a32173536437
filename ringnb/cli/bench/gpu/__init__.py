"""`ringnb bench --gpu`: the CUDA kernel on a device, each figure beside its baseline in one run.

``card`` is the device as the cases see it while no kernel lives on it, ``kernels`` what is launched for
comparison, ``budget`` the clock that keeps a case to its time; the others hold the cases of one
subject. The kernel takes the whole card, so a baseline is measured before it is launched or after it has
ended: ours and the baseline alternate by halves, not by turns.

Not yet run on a device. The cases run in the tests with a card of the simulator, and compiled on a card
in software.
"""

from __future__ import annotations

from ringnb.cli.bench.gpu.cases import CASES, open_card, timed

__all__ = ["CASES", "open_card", "timed"]
