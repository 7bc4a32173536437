"""What stores an array without ringnb, as one does it with each library. Runs in a process of its own.

What a library does not make durable by itself is synced afterwards, within the time that is measured.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Saver", "make", "sample", "sync_tree"]


_Made = tuple[Callable[[Path, Any], object], Callable[[Path], Any], str, dict[str, str]]
"""What saves an array at a path, what loads it into a new one, a remark, and versions."""


@dataclass(frozen=True, slots=True)
class Saver:
    """A library that saves and loads one array; `remark`: how it is used."""

    save: Callable[[Path, Any], object]
    load: Callable[[Path], Any]
    remark: str
    versions: dict[str, str]
    array: Any

    def serve(
        self, *, save: str | None = None, load: str | None = None, check: bool = False
    ) -> float:
        """Save at a path, or load from it, and return the seconds; `check` compares what was loaded."""
        began = time.perf_counter()
        if save is not None:
            self.save(Path(save), self.array)
            return time.perf_counter() - began
        loaded = self.load(Path(load or ""))
        took = time.perf_counter() - began
        if check and not np.array_equal(np.asarray(loaded), self.array):
            msg = "what it loaded is not what it saved"
            raise ValueError(msg)
        return took


def make(name: str, settings: dict[str, Any]) -> Saver:
    """Return the saver of that name; `settings`: the shape of the array."""
    makers = {
        "numpy": _numpy,
        "tensorstore": _tensorstore,
        "zarr": _zarr,
        "h5py": _h5py,
        "orbax": _orbax,
        "torch": _torch,
    }
    return Saver(*makers[name](), sample(tuple(settings["shape"])))


def sample(shape: tuple[int, ...]) -> Any:
    """Return the array that all store: noise, which nothing makes smaller."""
    return np.random.default_rng(7).random(shape, np.float32)


def chunks_of(array: Any) -> tuple[int, ...]:
    """Return the shape of a chunk, an eighth of the array: 16 MiB of the one that is measured."""
    return (1, max(1, array.shape[1] // 4), *array.shape[2:])


def sync_tree(path: Path) -> None:
    """Make a file, or all files and directories below a path, and their name, durable."""
    below = sorted(path.rglob("*"), reverse=True) if path.is_dir() else []
    for each in (*below, path, path.parent):
        fd = os.open(each, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _durably(save: Callable[[Path, Any], object]) -> Callable[[Path, Any], None]:
    """Return a save that is made durable by us."""

    def both(path: Path, array: Any) -> None:
        """Save, and sync."""
        save(path, array)
        sync_tree(path)

    return both


def _version(name: str) -> dict[str, str]:
    return {name: importlib.metadata.version(name)}


def _numpy() -> _Made:
    def save(path: Path, array: Any) -> None:
        with path.open("wb") as file:  # np.save would add a suffix to the name
            np.save(file, array)

    return (_durably(save), np.load, "synced by us", _version("numpy"))


def _zarr() -> _Made:
    import zarr

    def save(path: Path, array: Any) -> None:
        zarr.create_array(store=path, data=array, chunks=chunks_of(array), compressors=None)

    remark = "16 MiB chunks, uncompressed, synced by us"
    return (
        _durably(save),
        lambda path: zarr.open_array(path, mode="r")[...],
        remark,
        _version("zarr"),
    )


def _tensorstore() -> _Made:
    import tensorstore

    def spec(path: Path) -> dict[str, Any]:
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}

    def save(path: Path, array: Any) -> None:
        chunks = {"name": "regular", "configuration": {"chunk_shape": chunks_of(array)}}
        metadata = {"shape": array.shape, "data_type": "float32", "chunk_grid": chunks}
        metadata["codecs"] = [{"name": "bytes"}]
        store = tensorstore.open(spec(path) | {"metadata": metadata}, create=True).result()
        store.write(array).result()

    def load(path: Path) -> Any:
        return tensorstore.open(spec(path)).result().read().result()

    remark = "zarr3, 16 MiB chunks, uncompressed, syncs files and their directories by itself"
    return (save, load, remark, _version("tensorstore"))


def _h5py() -> _Made:
    import h5py

    def save(path: Path, array: Any) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("u", data=array)

    def load(path: Path) -> Any:
        with h5py.File(path, "r") as file:
            return file["u"][...]

    return (_durably(save), load, "contiguous, synced by us", _version("h5py"))


def _orbax() -> _Made:
    os.environ["JAX_PLATFORMS"] = "cpu"
    from orbax import checkpoint

    asyncio.set_event_loop(asyncio.new_event_loop())
    checkpointer = checkpoint.StandardCheckpointer()

    def save(path: Path, array: Any) -> None:
        checkpointer.save(path, {"u": array})
        checkpointer.wait_until_finished()

    def load(path: Path) -> Any:
        return checkpointer.restore(path)["u"]

    remark = "StandardCheckpointer, waited for, syncs by itself, the last rename by us"
    return (_durably(save), load, remark, _version("orbax-checkpoint") | _version("jax"))


def _torch() -> _Made:
    import torch

    def save(path: Path, array: Any) -> None:
        torch.save(torch.from_numpy(array), path)

    return (
        _durably(save),
        lambda path: torch.load(path).numpy(),
        "synced by us",
        _version("torch"),
    )
