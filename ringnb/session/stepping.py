"""Steps that a caller waits for."""

from __future__ import annotations

from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command
from ringnb.session.live_state import LiveState

__all__ = ["run_budget"]


def run_budget(
    client: KernelClient,
    live: LiveState,
    slot: int,
    steps: int,
    limit_s: float | None,
    *,
    wait: bool,
) -> None:
    """Add to an actor's budget, and wait for its end. Raises as `Session.run_steps`."""
    kernel = client.kernel
    epoch = kernel.counters(slot).epoch
    try:
        target = client.call(slot, Command.RUN_STEPS, (steps,)).value

        def done() -> bool:
            c = kernel.counters(slot)
            return c.step >= target or c.budget == 0 or c.epoch != epoch

        if wait and not client.wait_until(done, limit_s):
            msg = (
                f"slot {slot} is at step {kernel.counters(slot).step} of {target} after "
                f"{limit_s:g} s; it goes on. Call pause({slot}) to stop it"
            )
            raise TimeoutError(msg)
    except KeyboardInterrupt:
        live.pause_interrupted(slot)
        raise
