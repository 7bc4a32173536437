"""`Ensemble`: many members, each to the same step, with checkpoints at the same steps."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import cloudpickle
from distributed import Client

from ringnb._support.checks import MAX_STEP, check_int, check_name, check_seconds
from ringnb._support.panel_opener import find_panel_opener
from ringnb._support.text import counted, rows_table
from ringnb.actors.base import Actor
from ringnb.cluster.connection import answered, connected
from ringnb.cluster.ensemble_data import open_ensemble
from ringnb.cluster.ensemble_files import EnsembleFiles
from ringnb.cluster.ensemble_members import EnsembleMembers
from ringnb.cluster.launching import ready
from ringnb.cluster.member_task import TaskOptions, submit_task
from ringnb.cluster.run_info import RunInfo
from ringnb.errors import RunExists, RunLost, RunNotFound

if TYPE_CHECKING:
    import xarray

__all__ = ["Ensemble", "EnsembleStatus"]

_TASKS, _LEAST_PER_TASK, _MOST_PER_TASK = 16, 4, 64
_LOOK_S, _MOST_LOOK_S = 0.1, 10.0
_LOOK_PART = 0.1  # of the time that a wait takes, looks may take so much


@final
@dataclass(frozen=True, slots=True)
class EnsembleStatus:
    """How far an ensemble has come.

    Attributes
    ----------
    steps : mapping of str to int
        The step of each member's newest checkpoint; -1 if it has none.
    failed : mapping of str to str
        Why a member goes on no more.
    done : bool
        Whether every member has come to the last step, or has failed.
    losses : int
        How often a task has lost its worker; 0 if no cluster was asked.
    last : int
        The step that every member goes to.
    """

    steps: Mapping[str, int]
    failed: Mapping[str, str]
    done: bool
    losses: int
    last: int

    def _repr_html_(self) -> str:
        """Show a row per member."""
        rows = [(name, step, self._state_of(name)) for name, step in self.steps.items()]
        there = sum(step >= self.last for step in self.steps.values())
        caption = (
            f"Ensemble: {there:,} of {counted(len(rows), 'member')} at step {self.last:,}, "
            f"{len(self.failed):,} failed; a task has lost its worker {counted(self.losses, 'time')}"
        )
        return rows_table(caption, ("member", "step", "state"), rows)

    def _state_of(self, name: str) -> str:
        if name in self.failed:
            return f"failed: {self.failed[name]}"
        step = self.steps[name]
        return "done" if step >= self.last else "on its way" if step >= 0 else "no checkpoint yet"


@final
class Ensemble:
    """Members that are taken to the same step, several at a time in one kernel.

    Parameters
    ----------
    members : mapping of str to Actor
        By name: ASCII letters, digits, ``.``, ``_``, ``-``.
    root : str or os.PathLike
        A directory that all workers see at the same path; a store for each task is made in it.
    steps : int
        The step that every member goes to.
    every : int
        At each multiple of so many steps a member is checkpointed, exactly; and at the last step.
    per_task : int, optional
        How many members have one kernel, and one store. By default what `root` has already; in a new
        one so many that there are 16 tasks, but at least 4 and at most 64.
    keep : int, default 0
        How many checkpoints of each member stay; 0 keeps all.

    Raises
    ------
    TypeError, ValueError
        If an argument is not allowed.

    Notes
    -----
    The members of a task are committed together, as one cut: a checkpoint of many small members is one
    array. A member starts as in the slot that is its place among the members, as in a session of them
    all. What it does depends on nothing but itself: where it runs, how often its worker is lost and
    what others do changes no bit. A lost worker costs each of its members at most one interval. A task
    that loses ten workers and comes to no new checkpoint between has failed: more would gain nothing.
    """

    def __init__(
        self,
        members: Mapping[str, Actor],
        root: str | os.PathLike[str],
        *,
        steps: int,
        every: int,
        per_task: int | None = None,
        keep: int = 0,
    ) -> None:
        if not members:
            msg = f"members must not be empty, got {members!r}"
            raise ValueError(msg)
        for name in members:
            check_name(name, "a member's name")
        self._members = dict(members)
        self._files = EnsembleFiles(root)
        self.steps = check_int(steps, "steps", 1, MAX_STEP)
        self.every = check_int(every, "every", 1, MAX_STEP)
        self.keep = check_int(keep, "keep", 0)
        self._tasks = self._divide(list(members), per_task)
        self._address: str | Client | None = None
        self._panel: Any = None

    def _divide(self, names: list[str], per_task: int | None) -> list[list[str]]:
        """Return the members of each task."""
        if per_task is None:
            there = (self._files.about or {"tasks": []})["tasks"]
            if [name for task in there for name in task] == names:
                return list(there)
            per_task = min(_MOST_PER_TASK, max(_LEAST_PER_TASK, -(-len(names) // _TASKS)))
        per_task = check_int(per_task, "per_task", 1, 1024)
        return [names[i : i + per_task] for i in range(0, len(names), per_task)]

    @property
    def root(self) -> Path:
        """The directory with a store for each task."""
        return self._files.root

    def launch(self, address: str | Client) -> None:
        """Have all members go on from where they are; this process may go.

        Parameters
        ----------
        address : str or distributed.Client
            As for `ringnb.cluster.launch`.

        Raises
        ------
        RunExists
            If it is on its way already.
        ValueError
            If `root` holds another ensemble.
        """
        found = self._files.about
        if found is not None and found["tasks"] != self._tasks:
            msg = f"{self.root} holds another ensemble: choose another root, or the same members"
            raise ValueError(msg)
        with connected(address) as client:
            with answered(client):
                ready(client)
            self._address = address  # that of a cluster which answers
            about = {"steps": self.steps, "every": self.every, "tasks": self._tasks}
            self._files.write_about(about)
            self._files.stop(wanted=False)
            for i, names in enumerate(self._tasks):
                self._submit(client, i, names)
        if self._panel is not None:
            self._panel.resume()

    def _submit(self, client: Client, task: int, names: list[str]) -> None:
        run = self._run(task)
        key, store = f"ringnb-{run}-{uuid.uuid4().hex[:8]}", str(self._files.store(task))
        options = TaskOptions(
            self._files, task, self.steps, self.every, self.keep, len(self._tasks)
        )
        places = {name: place for place, name in enumerate(self._members)}
        members = {name: (self._members[name], places[name]) for name in names}
        spec = cloudpickle.dumps((members, options))
        with answered(client):
            is_new = submit_task(client, run, key, store, spec)
        if not is_new:
            msg = f"the ensemble in {self.root} is on its way already: wait for it, or end it"
            raise RunExists(msg)

    def _run(self, task: int) -> str:
        # Of the place, so that a process that comes later finds it.
        place = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        return f"ensemble-{place}-{task:04d}"

    def status(self, address: str | Client | None = None) -> EnsembleStatus:
        """Return how far it has come, from the stores; no cluster is needed.

        Parameters
        ----------
        address : str or distributed.Client, optional
            Of the cluster, to count the losses.

        Returns
        -------
        EnsembleStatus
            At this moment.
        """
        newest, failed = self._files.newest(range(len(self._tasks))), self._files.failed()
        steps = {name: newest[name].step if name in newest else -1 for name in self._members}
        done = all(at >= self.steps or name in failed for name, at in steps.items())
        losses = 0 if address is None else sum(len(run.losses) for run in self.runs(address))
        return EnsembleStatus(steps, failed, done, losses, self.steps)

    def wait(self, timeout: float | None = None) -> EnsembleStatus:
        """Wait until every member has come to the last step, or has failed.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most.

        Returns
        -------
        EnsembleStatus
            The last one: not `done` if `end` has stopped it.

        Raises
        ------
        RunNotFound
            If it was never launched.
        TimeoutError
            If it takes longer; it goes on.
        RunLost
            If a task has failed, as a whole.
        """
        if self._files.about is None:
            msg = f"there is no ensemble in {self.root}: launch it before you wait for it"
            raise RunNotFound(msg)
        limit_s = float("inf") if timeout is None else check_seconds(timeout, "timeout")
        deadline = time.monotonic() + limit_s
        with contextlib.ExitStack() as held:  # one connection for all looks
            client, began = None, time.monotonic()
            while not (now := self.status()).done:
                if client is None and self._address is not None:
                    client = held.enter_context(connected(self._address))
                runs = self.runs(client)
                for run in runs:
                    if run.state == "failed":
                        msg = (
                            f"the task {run.name!r} has failed: {run.why}. Checkpoints: {run.store}"
                        )
                        raise RunLost(msg)
                if runs and all(run.state == "ended" for run in runs):
                    return self.status()
                now_s = time.monotonic()
                if now_s >= deadline:
                    msg = (
                        f"not every member is at step {self.steps} after {timeout:g} s; it goes on"
                    )
                    raise TimeoutError(msg)
                look_s = min(_MOST_LOOK_S, max(_LOOK_S, (now_s - began) / _LOOK_PART))
                time.sleep(min(look_s, deadline - now_s))
                began = time.monotonic()
            return now

    def end(self) -> None:
        """Have every member stop at its next checkpoint; `launch` goes on from there."""
        self._files.stop()

    def open(self) -> xarray.Dataset:
        """Return all checkpoints as one dataset, see `open_ensemble`.

        Returns
        -------
        xarray.Dataset
            Lazy.
        """
        return open_ensemble(self.root)

    def runs(
        self, address: str | Client | None = None, *, timeout: float = 10.0
    ) -> tuple[RunInfo, ...]:
        """Return what the cluster says of the tasks.

        Parameters
        ----------
        address : str or distributed.Client, optional
            Of the cluster; by default the one that it was launched on from here.
        timeout : float, default 10.0
            Seconds to wait for an answer.

        Returns
        -------
        tuple of RunInfo
            A run for each task that the cluster knows, in order; empty if no cluster is known.

        Raises
        ------
        ClusterUnavailable
            If the cluster does not answer.
        """
        address = self._address if address is None else address
        if address is None:
            return ()
        limit_s = check_seconds(timeout, "timeout")
        with connected(address, limit_s) as client:
            return tuple(self._known_runs(client, limit_s).values())

    def _known_runs(self, client: Client, limit_s: float) -> dict[int, RunInfo]:
        """Return what a cluster knows of the tasks, by their numbers."""
        with answered(client):
            ready(client)
            found = client.sync(client.scheduler.ringnb_runs, callback_timeout=limit_s)
        known = {run["name"]: RunInfo.of(run) for run in found}
        names = {task: self._run(task) for task in range(len(self._tasks))}
        return {task: known[name] for task, name in names.items() if name in known}

    def panel(self) -> Any:
        """Return a panel over its members, for a notebook to display.

        Returns
        -------
        EnsemblePanel
            Each member's newest checkpoint, how far it is, what is wrong. The same one at every call,
            until its ``close()``, which ends its threads and its connection to the cluster.

        Raises
        ------
        ImportError
            If the widgets are missing.
        """
        if self._panel is not None and not self._panel.closed:
            self._panel.resume()
        else:
            tasks, files = self._tasks, self._files
            title = f"Ensemble {self.root.name}"
            members = EnsembleMembers(
                title, files, tasks, self.steps, self._known_runs, lambda: self._address
            )
            self._panel = find_panel_opener()(members)
        return self._panel

    def __repr__(self) -> str:
        """Say how much it is, and where."""
        members = counted(len(self._members), "member")
        return f"<Ensemble: {members} to step {self.steps:,} in {str(self.root)!r}>"
