"""`launch`, `decompose`, `attach`, `runs`: from an address and a name to a session that lives there."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import cloudpickle
from distributed import Client

from ringnb._support.checks import check_bool, check_int, check_name, check_seconds
from ringnb.actors.base import MAX_REACH, Actor
from ringnb.actors.link import Link, check_links
from ringnb.actors.locality import locality_of
from ringnb.checkpoint.config import CheckpointConfig
from ringnb.cluster.connection import Connection, answered, connect, connected
from ringnb.cluster.division import MAX_HALO, divide
from ringnb.cluster.glance import Division, RunSpec
from ringnb.cluster.keeper import RunKeeper
from ringnb.cluster.part_host import PartHost
from ringnb.cluster.remote_session import RemoteSession
from ringnb.cluster.run_info import RunInfo
from ringnb.cluster.task import host_run
from ringnb.errors import ClusterUnavailable, RunExists, RunLost
from ringnb.session.launching import kernel_ids_of, population_of

__all__ = ["attach", "decompose", "launch", "ready", "runs"]


def ready(client: Client) -> None:
    """Have the scheduler know what runs are. Idempotent."""
    client.register_plugin(RunKeeper())


def launch(
    actor: Actor | Sequence[Actor],
    name: str,
    *,
    address: str | Client,
    config: CheckpointConfig,
    actors: int | None = None,
    kernel_ids: Sequence[str] | None = None,
    backend: str = "auto",
    lanes: int | None = 1,
    supervise: bool = False,
    links: Link | Sequence[Link] = (),
    restore: str | None = "latest",
    running: bool = False,
    give_up: tuple[int, float] = (5, 600.0),
    timeout: float = 120.0,
) -> RemoteSession:
    """Open a session in another process, where it outlives this one.

    Parameters
    ----------
    actor : Actor or sequence of Actor
        As for `Session`. Functions of a notebook's cells are taken along.
    name : str
        The run's name, by which `attach` finds it: as a checkpoint's prefix.
    address : str or distributed.Client
        Of a host of this machine, as `start` has returned it; or a cluster of Dask's. A client must
        not be asynchronous.
    config : CheckpointConfig
        As for `Session`. Its path is one that the worker can write, and this process can read.
    actors, kernel_ids, backend, lanes, supervise, links : object
        As for `Session`.
    restore : str or None, default "latest"
        What every actor begins with: its newest checkpoint, or its start state if it has none;
        ``"latest-good"``; or with None always the start state. Linked actors begin with their newest
        cut, see `Session.snapshot_all`.
    running : bool, default False
        Whether the actors run at once. Else they are paused, as those of a new session.
    give_up : tuple of (int, float), default (5, 600.0)
        A run that loses its worker goes on from its newest checkpoint with another one; after more than
        so many losses within so many seconds it has failed.
    timeout : float, default 120.0
        Seconds to wait until the session is open; the first one compiles.

    Returns
    -------
    RemoteSession
        The session, with a checkpoint of every actor.

    Raises
    ------
    RunExists
        If the cluster has a run of that name, or one that writes this store.
    ClusterUnavailable
        If the cluster does not answer, or has no place in time: the run is then withdrawn.
    RunLost
        If the session could not be opened: the message says why.
    TypeError, ValueError
        If an argument is not allowed.
    """
    population = population_of(actor, actors)
    options: dict[str, Any] = {"backend": backend, "lanes": lanes}
    options["supervise"] = check_bool(supervise, "supervise")
    options["links"] = check_links(links, population)
    options["kernel_ids"] = kernel_ids_of(population, kernel_ids)
    running = check_bool(running, "running")
    spec = RunSpec(tuple(population), config, options, restore, running)
    return _open(spec, name, address, give_up, timeout)


def decompose(
    actor: Actor,
    name: str,
    *,
    address: str | Client,
    parts: int,
    config: CheckpointConfig,
    halo: int | None = None,
    reach: int | None = None,
    restore: str | None = "latest",
    running: bool = False,
    give_up: tuple[int, float] = (5, 600.0),
    timeout: float = 120.0,
) -> RemoteSession:
    """Open a session of one actor that several workers step, each some of its rows.

    Parameters
    ----------
    actor : Actor
        The actor. It is divided along its first axis.
    name : str
        As for `launch`.
    address : str or distributed.Client
        As for `launch`.
    parts : int
        How many parts there are. Each has a worker of its own, where there are as many; parts that are
        on one machine share its cores.
    config : CheckpointConfig
        As for `launch`.
    halo : int, optional
        How many steps parts take from one exchange of rows with their neighbours to the next. What is
        best is measured when the session is opened, if it is left out. The results do not depend on it.
    reach : int, optional
        How many rows away an update reads, at most; in each stage, if there are several. By default the
        actor's own `reach`, or what is found when the update is followed on some cells.
    restore, running, give_up, timeout : object
        As for `launch`. The loss of a part counts as that of a worker.

    Returns
    -------
    RemoteSession
        The session, with a checkpoint of the actor.

    Raises
    ------
    NotDecomposable
        If the actor cannot be divided, or not into so many parts: the message has the reason, and the
        cell at which it was found.
    RunExists, ClusterUnavailable, RunLost
        As `launch`.
    TypeError, ValueError
        If an argument is not allowed.

    Notes
    -----
    All is as if the actor were not divided, to the bit: calls, checkpoints, which a plain session
    restores as well as any number of parts. One of the workers has the session, and memory for the whole
    state. The rows go from worker to worker on connections of their own, which are not encrypted.
    """
    if not isinstance(actor, Actor):
        msg = f"actor must be an Actor, got {actor!r}: decompose divides one, launch takes several"
        raise TypeError(msg)
    parts = check_int(parts, "parts", 1, 1024)
    steps = None if halo is None else check_int(halo, "halo", 1, MAX_HALO, why="steps")
    rows = None if reach is None else check_int(reach, "reach", 0, MAX_REACH, why="rows")
    locality = locality_of(actor, rows)
    divide(actor, locality, parts, steps or 1)
    options: dict[str, Any] = {"kernel_ids": kernel_ids_of([actor], None)}
    running = check_bool(running, "running")
    division = Division(parts, steps, locality)
    spec = RunSpec((actor,), config, options, restore, running, division)
    return _open(spec, name, address, give_up, timeout)


def _open(
    spec: RunSpec,
    name: str,
    address: str | Client,
    give_up: tuple[int, float],
    timeout: float,
) -> RemoteSession:
    """Have a cluster open a run; raises as `launch`."""
    check_name(name, "name")
    config = spec.config
    limit_s = check_seconds(timeout, "timeout")
    losses, window_s = (
        check_int(give_up[0], "give_up[0]", 0),
        check_seconds(give_up[1], "give_up[1]"),
    )
    if not isinstance(config, CheckpointConfig):
        msg = f"config must be a CheckpointConfig, got {config!r} ({type(config).__name__})"
        raise TypeError(msg)
    store = str(config.storage_path)
    if store.startswith("memory:"):
        msg = (
            f"the store {store!r} would end with its worker, and cannot be read from here: use a "
            "directory, or s3://"
        )
        raise ValueError(msg)
    # So long it also tries to find a scheduler again that is lost; what waits for the session is below.
    client = connect(address, min(limit_s, 10.0))
    try:
        with answered(client):
            ready(client)
            if spec.division is not None:
                client.register_plugin(PartHost())
            key = f"ringnb-{name}-{uuid.uuid4().hex[:8]}"
            scheduler = client.scheduler
            other = client.sync(
                scheduler.ringnb_claim, run=name, key=key, store=store, give_up=(losses, window_s)
            )
            if other == name:
                msg = f"there is a run {name!r}: attach to it, end it, or choose another name"
                raise RunExists(msg)
            if other:
                msg = f"the run {other!r} writes the store {store}: end it, or use another storage_path"
                raise RunExists(msg)
            pickled = cloudpickle.dumps(spec)
            future = client.submit(host_run, name, key, pickled, key=key, pure=False)
            found = client.sync(scheduler.ringnb_wait, run=name, seconds=limit_s)
            if found["state"] != "running":
                future.cancel(force=True)
                msg = f"the run {name!r} did not start: {found['why'] or found['state']}"
                raise RunLost(msg) if found["state"] == "failed" else ClusterUnavailable(msg)
            # The scheduler wants the task itself now. A client that did would have it done again, if its
            # worker went after the end.
            future.release()
            return RemoteSession(Connection(client, name, own=client is not address))
    except BaseException:
        if client is not address:
            client.close()
        raise


def attach(address: str | Client, name: str, *, timeout: float = 10.0) -> RemoteSession:
    """Return the session of a run that lives in another process.

    Parameters
    ----------
    address : str or distributed.Client
        As for `launch`.
    name : str
        The run's.
    timeout : float, default 10.0
        Seconds to wait for the cluster, and for a run that is just being opened.

    Returns
    -------
    RemoteSession
        Any number of processes may be attached at a time.

    Raises
    ------
    RunNotFound
        If the cluster has no run of that name.
    ClusterUnavailable
        If the cluster does not answer, or the run is not open in time.
    RunLost, KernelStopped
        If the run has failed; if it was ended.
    """
    limit_s = check_seconds(timeout, "timeout")
    client = connect(address, limit_s)
    try:
        with answered(client):
            ready(client)
            return RemoteSession(
                Connection(client, name, own=client is not address), patience_s=limit_s
            )
    except BaseException:
        if client is not address:
            client.close()
        raise


def runs(address: str | Client) -> tuple[RunInfo, ...]:
    """Return the runs of a cluster.

    Parameters
    ----------
    address : str or distributed.Client
        As for `launch`.

    Returns
    -------
    tuple of RunInfo
        Oldest first, also those that were ended or have failed.

    Raises
    ------
    ClusterUnavailable
        If the cluster does not answer.
    """
    with connected(address) as client, answered(client):
        ready(client)
        found = client.sync(client.scheduler.ringnb_runs)
    return tuple(map(RunInfo.of, found))
