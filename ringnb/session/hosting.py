"""The half of a session that drives actors: step, pause, disturb, change parameters.

`ActorHost` owns a kernel and its client and knows nothing of checkpoints.
`ringnb.session.session.Session` adds those.

Every method may be called from any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ringnb._support.checks import MAX_STEP, check_number, check_seconds, check_step
from ringnb.actors.base import Actor
from ringnb.kernel.base import AbstractKernel, ActorCounters
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command
from ringnb.session.change_tracking import SavedStates
from ringnb.session.launching import check_cell, check_pace

__all__ = [
    "ActorHost",
]


class ActorHost:
    """Actors in a kernel, without checkpoints.

    Parameters
    ----------
    kernel : AbstractKernel
        The kernel; `launch` it before anything is asked.
    """

    def __init__(self, kernel: AbstractKernel) -> None:
        self._kernel = kernel
        self._client = KernelClient(kernel)
        self._params = [one.start_params(slot) for slot, one in enumerate(kernel.actors)]
        self._states = SavedStates()
        self._paces: list[float | None] = [None] * len(kernel.actors)

    def _check(self) -> None:
        self._kernel.check_alive()

    def _slot(self, slot: object) -> int:
        if isinstance(slot, bool) or not isinstance(slot, int | np.integer):
            msg = f"slot must be an integer, got {slot!r} ({type(slot).__name__})"
            raise TypeError(msg)
        n = len(self._kernel.actors)
        if not 0 <= slot < n:
            msg = f"slot {slot} does not exist: this session has slots 0..{n - 1}"
            raise ValueError(msg)
        return int(slot)

    def _slots(self, slot: int | None) -> list[int]:
        return list(range(len(self._kernel.actors))) if slot is None else [self._slot(slot)]

    # -- stepping --------------------------------------------------------------------------------

    def run_steps(
        self, slot: int, steps: int, wait: bool = True, timeout: float | None = None
    ) -> int:
        """Add steps to an actor's budget.

        Parameters
        ----------
        slot : int
            The actor.
        steps : int
            How many, >= 1.
        wait : bool, default True
            Block until they are done, or until `pause` or `restore` has cleared the budget.
        timeout : float, optional
            Seconds to block at most; the steps go on afterwards.

        Returns
        -------
        int
            The actor's step on return.

        Raises
        ------
        TimeoutError
            If they are not done in time.
        KernelStopped
            If the session is closed, or closes meanwhile.

        Notes
        -----
        A `KeyboardInterrupt` while it blocks pauses the actor before it is raised.
        """
        slot = self._slot(slot)
        steps = check_step(steps, "steps")
        if steps < 1:
            msg = "steps must be at least 1, got 0"
            raise ValueError(msg)
        limit = None if timeout is None else check_seconds(timeout, "timeout")
        self._check()
        if steps > MAX_STEP - self.current_step(slot):
            msg = f"steps={steps} would count beyond 2**63 - 1 from step {self.current_step(slot)}"
            raise ValueError(msg)
        epoch = self._kernel.counters(slot).epoch
        try:
            target = self._client.call(slot, Command.RUN_STEPS, (steps,)).value

            def done() -> bool:
                c = self._kernel.counters(slot)
                return c.step >= target or c.budget == 0 or c.epoch != epoch

            if wait and not self._client.wait_until(done, limit):
                msg = (
                    f"slot {slot} is at step {self.current_step(slot)} of {target} after "
                    f"{timeout:g} s; it goes on. Call pause({slot}) to stop it"
                )
                raise TimeoutError(msg)
        except KeyboardInterrupt:
            self._client.call(slot, Command.PAUSE)
            raise
        return self.current_step(slot)

    def resume(self, slot: int | None = None) -> None:
        """Let actors run freely.

        Parameters
        ----------
        slot : int, optional
            The actor; all by default.
        """
        self._each(slot, Command.RESUME)

    def pause(self, slot: int | None = None) -> None:
        """Stop actors at a step boundary and clear their step budgets.

        Parameters
        ----------
        slot : int, optional
            The actor; all by default.

        Notes
        -----
        On return the actors stand.
        """
        self._each(slot, Command.PAUSE)

    def _each(self, slot: int | None, command: Command, arguments: Sequence[int] = ()) -> None:
        slots = self._slots(slot)
        self._check()
        tickets = [self._client.submit(s, command, arguments) for s in slots]
        for ticket in tickets:
            self._client.wait_reply(ticket)

    def set_pace(self, max_steps_per_second: float | None, slot: int | None = None) -> None:
        """Limit how fast actors step.

        Parameters
        ----------
        max_steps_per_second : float or None
            Steps per second of wall clock; None lifts the limit.
        slot : int, optional
            The actor; all by default.
        """
        self._each(slot, Command.SET_PACE, (check_pace(max_steps_per_second),))
        for one in self._slots(slot):
            self._paces[one] = max_steps_per_second

    def pace(self, slot: int) -> float | None:
        """Return the limit of an actor's steps per second, as `set_pace` has set it.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        float or None
            None if there is no limit.
        """
        return self._paces[self._slot(slot)]

    def current_step(self, slot: int) -> int:
        """Return an actor's step, as the kernel last published it.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        int
            Steps since the start; a restore sets it back.
        """
        slot = self._slot(slot)
        self._check()
        return self._kernel.counters(slot).step

    def inject(self, slot: int, at: Sequence[int] | int, amplitude: float = 1.0) -> None:
        """Disturb one cell between two steps.

        Parameters
        ----------
        slot : int
            The actor.
        at : sequence of int
            Grid indices in the order of the actor's shape, ``(y, x)`` in two dimensions.
        amplitude : float, default 1.0
            How much; what it means is the actor's affair, see its ``inject``.
        """
        slot = self._slot(slot)
        shape = self._kernel.actors[slot].shape
        cell = check_cell(at, shape)
        amplitude = check_number(amplitude, "amplitude")
        self._check()
        bits = int(np.float64(amplitude).view(np.int64))
        try:
            self._client.call(slot, Command.INJECT, (*cell, bits))
        finally:
            self._states.touch(slot)

    def set_params(self, slot: int, **changes: float) -> dict[str, float]:
        """Change parameters of a live actor between two steps.

        Parameters
        ----------
        slot : int
            The actor.
        **changes : float
            New values by name.

        Returns
        -------
        dict of str to float
            All parameters as they are now.

        Raises
        ------
        ValueError
            If a name is unknown or a value breaks a limit of the scheme. Nothing is changed then.
        """
        slot = self._slot(slot)
        actor = self._kernel.actors[slot]
        self._check()
        with self._client.loading(self._kernel.lane_of(slot)) as load:
            params = actor.change_params(self._params[slot], changes)
            buffer = self._kernel.params_buffer(slot)
            buffer[: len(params)] = list(params.values())
            try:
                load(slot, Command.SET_PARAMS)
            finally:
                self._states.touch(slot)
            self._params[slot] = params
        return dict(params)

    def params(self, slot: int) -> dict[str, float]:
        """Return the live parameters of an actor.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        dict of str to float
            Name and value.
        """
        slot = self._slot(slot)
        self._check()
        return dict(self._params[slot])

    @property
    def actors(self) -> tuple[Actor, ...]:
        """The actor of every slot."""
        return self._kernel.actors

    @property
    def kernel(self) -> AbstractKernel:
        """The kernel that hosts the actors."""
        return self._kernel

    @property
    def backend(self) -> str:
        """Where the kernel runs."""
        return self._kernel.name

    def counters(self, slot: int) -> ActorCounters:
        """Return an actor's counters, as the kernel last published them.

        Parameters
        ----------
        slot : int
            The actor.

        Returns
        -------
        ActorCounters
            Step, budget, running, epoch, snapshots, last stall, time spent stepping.
        """
        slot = self._slot(slot)
        self._check()
        return self._kernel.counters(slot)
