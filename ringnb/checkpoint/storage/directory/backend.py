"""Checkpoints in a local directory: staged beside it, made durable, then renamed into place.

The layout is drawn in ``ringnb/checkpoint/README.md``.

Commit: chunks and documents are written to a staging directory and synced, with its directories; one
``rename`` makes the name visible; the store's directory is synced. A kill, or a power cut, at any
moment leaves the name either absent or complete. Small commits that come together are one group: one
barrier takes the place of the syncs of all their files, one sync of the store's directory makes all
their names durable, and what becomes of one of them is independent of the others. A small commit that
comes alone is a group of one. Removal goes the other way: the rename out of the store is made durable
before the first file is unlinked.

What a killed process left in staging or trash is removed by the next writer when it takes the lock,
after a sync of the store's directory: a rename that was seen but not yet durable must be durable
before anything is built on it. Nothing is ever removed whose name ringnb did not give.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, final

from ringnb._support.machine import available_cores
from ringnb._support.off_main import warn_caller
from ringnb._support.pool import WorkerPool
from ringnb.checkpoint.storage.backend import Backend, Commit, why_foreign
from ringnb.checkpoint.storage.directory import files
from ringnb.checkpoint.storage.directory.array_shelf import DirectoryShelf
from ringnb.checkpoint.storage.directory.barrier import open_barrier
from ringnb.checkpoint.storage.directory.dedup import Dedup
from ringnb.checkpoint.storage.directory.lock import lock_of
from ringnb.checkpoint.storage.directory.work_area import WorkArea, why_unwritable, work_area_of
from ringnb.checkpoint.storage.document import MAX_DOCUMENT_BYTES, parse_info
from ringnb.checkpoint.storage.format import (
    DOCUMENT,
    WORK_AREA,
    FieldLayout,
    free_name,
    is_stray,
    looks_like_checkpoint,
    root_document,
)
from ringnb.checkpoint.storage.permissions import (
    check_lengths,
    explain,
    explained,
    is_shared,
    share_like,
)
from ringnb.checkpoint.storage.records import CheckpointInfo, SaveReceipt, new_id
from ringnb.checkpoint.storage.source import DirectorySource
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound, CheckpointWarning

__all__ = ["DirectoryBackend"]

# Shorter ones fit into any file system, with all that ringnb puts before and behind them.
_SHORT_NAME, _SHORT_PATH = 100, 500
# More writers finish a commit no sooner and take the cores from the kernel (two cores, 128 MiB:
# 8 writers left 0.77 of the stepping rate, 3 leave 0.93).
_WORKERS = min(8, available_cores() + 1)
# Does independent pieces of work, in any order, and raises what one of them raised.
Run = Callable[[Iterable[Callable[[], object]]], None]


@final
class DirectoryBackend(Backend):
    """A store in a directory, which need not exist yet.

    `durable`: fsync before a name becomes visible. `incremental`: link a chunk that the actor's previous
    checkpoint holds as well. `read_only`: refuse to write. Listing and reading take no lock of the
    store; a name that vanishes on the way is passed over.
    """

    group_bytes = 1 << 20  # the others of a group would wait for a larger one

    def __init__(
        self, path: Path, *, durable: bool, incremental: bool = False, read_only: bool = False
    ) -> None:
        self._path = Path(os.path.realpath(path))
        self._document = self._path / DOCUMENT
        self._durable = durable
        self._incremental = incremental
        self._read_only = read_only
        self._lock = lock_of(self._path)
        self._listing = self._lock.listing
        self._checked_root: tuple[int, int] | None = None
        self._store_id: str | None = None
        self._lost: BaseException | None = None  # while writing: the store became another process's
        self._is_shared = False  # while writing: the group may write the store
        self._work_area = WorkArea(self._path)

    @property
    def url(self) -> str:
        """The store's path."""
        return str(self._path)

    @property
    def store_id(self) -> str | None:
        """The id in the root document."""
        return self._store_id

    @property
    def folders(self) -> tuple[Path, ...]:
        """The store and its work area."""
        with explained(self._path):
            return self._path, work_area_of(self._path)

    # -- the store itself ------------------------------------------------------------------------

    def created(self) -> bool:
        """Return whether the store exists; refuse anything else that lies there."""
        with explained(self._path):
            return self._is_created()

    def _is_created(self) -> bool:
        marker = self._document
        try:
            stat = os.stat(marker)
        except (FileNotFoundError, NotADirectoryError):
            if self._path.exists() and not self._path.is_dir():
                raise self.refused("it is a file") from None
            with contextlib.suppress(FileNotFoundError):  # removed between two looks
                if self._path.is_dir() and not all(map(is_stray, os.listdir(self._path))):
                    if marker.exists():  # made by its writer since the first look
                        return self._is_created()
                    raise self.rootless(
                        f"it is a directory without {DOCUMENT} that is not empty"
                    ) from None
            if len(self._path.name) > _SHORT_NAME or len(str(self._path)) > _SHORT_PATH:
                check_lengths(self._path, work_area_of(self._path) / "lock")
            return False
        seen = (stat.st_ino, stat.st_mtime_ns)
        if seen != self._checked_root:
            self._store_id = self.check_marker(marker.read_bytes())
            self._listing.belong_to(self._store_id)
            self._checked_root = seen
        return True

    # -- reading ---------------------------------------------------------------------------------

    def source(self, name: str) -> DirectorySource:
        """Return the files of a checkpoint."""
        return DirectorySource(self._path / name)

    def occupied(self, name: str) -> bool:
        """Return whether anything lies under a name."""
        return self.created() and os.path.lexists(self._path / name)

    def lost_document(self, name: str) -> bool:
        """Look for files of a commit where no group document is."""
        return self.created() and looks_like_checkpoint(name) and bool(self.source(name).remains())

    def foreign(self) -> list[tuple[str, str]]:
        """Look at every name in the directory."""
        if not self.created():
            return []
        ours = {entry.name for entry in self.catalogue()} | {DOCUMENT, WORK_AREA}
        found = []
        for name in sorted(set(os.listdir(self._path)) - ours):
            path = self._path / name
            try:
                raw = self.source(name).read(DOCUMENT, MAX_DOCUMENT_BYTES)
                why = why_foreign(name, raw, is_directory=path.is_dir())
            except (OSError, CheckpointCorrupt):
                why = "it cannot be read"
            found.append((name, why))
        return found

    def catalogue(self) -> list[CheckpointInfo]:
        """List the store; documents are read when they are new."""
        return self.orphans() if self.created() else []

    def orphans(self) -> list[CheckpointInfo]:
        """List the directory."""
        with explained(self._path):
            return self._listing.entries(exclusive=self._lock.held)

    def root(self) -> bytes | None:
        """Read the root document."""
        return self.source("").read(DOCUMENT, MAX_DOCUMENT_BYTES)

    def history(
        self,
        name_prefix: str,
        kernel_id: str,
        others: Collection[str] = (),  # noqa: ARG002 - the listing finds an actor by itself
    ) -> list[CheckpointInfo]:
        """List an actor's checkpoints; the rest of the store is not looked at."""
        self.created()
        with explained(self._path):
            return self._listing.history(name_prefix, kernel_id, exclusive=self._lock.held)

    def parts(self, name_prefix: str, kernel_id: str) -> list[CheckpointInfo]:
        """List an actor's parts of cuts; the rest of the store is not looked at."""
        with explained(self._path):
            return self._listing.parts(name_prefix, kernel_id, exclusive=self._lock.held)

    def freed_by(self, names: Collection[str]) -> int:
        """Add up the files of which no name would be left; a user's stay."""
        links: Counter[tuple[int, int, int]] = Counter()
        for name in names:
            for key in self.source(name).parts():
                with contextlib.suppress(FileNotFoundError):  # retired meanwhile
                    stat = os.lstat(self._path / name / key)
                    links[stat.st_ino, stat.st_nlink, stat.st_size] += 1
        return sum(size for (_, nlink, size), seen in links.items() if seen == nlink)

    @property
    def arrays(self) -> DirectoryShelf:
        """The directory of read-only arrays."""
        return DirectoryShelf(self._path)

    # -- writing ---------------------------------------------------------------------------------

    def why_unwritable(self) -> str | None:
        """Look at the rights of the directories that a commit writes in."""
        return str(self.read_only()) if self._read_only else why_unwritable(self._path)

    @contextlib.contextmanager
    def writing(self, *, adopting: bool = False) -> Iterator[None]:
        """Hold the store's lock; take it from the system at the first time."""
        if self._read_only:
            raise self.read_only()
        with self._lock.mutex, explained(self._path):
            if not adopting:
                self.created()
            area = self._work_area.locate(self._lock.area)
            # Before anything is made.
            fresh = self._lock.acquire_root(self._document, area / "lock")
            if not self._lock.held or not area.is_dir():
                self._make_work_area()
            fresh |= self._lock.acquire(self._work_area.path / "lock", self)
            if fresh:
                self._take_over()
            elif self._work_area.littered:
                self._work_area.sweep()
            # What a user has copied in meanwhile may have a higher number.
            self._lock.sequence = max(self._lock.sequence, self._listing.last_sequence())
            try:
                yield
            finally:
                if self._lost is not None:
                    self._lost = None
                    self._work_area.remove_unused()
                    self._lock.abandon()

    def _take_over(self) -> None:
        """Go on from what the last writer left."""
        try:
            self._settle()
            self._work_area.sweep()
            last = self._listing.last_sequence()
        except BaseException:
            # Without the store's highest number we must not write: ask for it again.
            self._lock.abandon()
            raise
        self._lock.sequence = max(self._lock.sequence, last)

    def _make_work_area(self) -> None:
        parent = self._path.parent
        if parent.exists() and not parent.is_dir():
            raise self.refused(f"{str(parent)!r} is a file")
        self._work_area.make()

    def _settle(self) -> None:
        """Make durable what a killed writer may have renamed and not synced; and the trash.

        A user's files in a checkpoint that is deleted go through the trash: no power cut may take it.
        """
        if self._durable:
            files.sync_directory(self._work_area.path)
        if self._path.is_dir():
            files.sync_directory(self._path)
            with contextlib.suppress(PermissionError):  # it may be passed through, but not read
                files.sync_directory(self._path.parent)

    def _make_root(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._document.exists():
            return
        seen, self._checked_root = self._checked_root, None
        if seen is not None:
            warn_caller(
                f"the store {str(self._path)!r} was removed while it was in use, moved away, or covered "
                "by a mount, and its checkpoints with it; a new store is created",
                CheckpointWarning,
            )
        with contextlib.suppress(FileExistsError):
            files.make_directory(self._path)
        lock = self._work_area.path / "lock"
        with self._staged(root_document(new_id())) as staged:
            # It is locked before it can be seen. Through another mount, where our lock is not seen,
            # another process may make the store at the same moment: the first one's document stays.
            share_like(self._path, staged)
            self._lock.acquire_root(staged, lock)
            is_ours = files.place(staged, self._document)
        if self._durable:
            files.sync_directory(self._path)
            files.sync_directory(self._path.parent)
        self.created()  # from now on, a store that is missing was removed
        if not is_ours:
            try:
                self._lock.acquire_root(self._document, lock)
                self._take_over()
            except BaseException as error:
                self._lost = error
                raise

    @contextlib.contextmanager
    def _staged(self, raw: bytes) -> Iterator[Path]:
        """Write a document and sync it; the ``with`` block renames it to where it belongs."""
        [path] = self._work_area.new_staging(1)
        staged = Path(path)
        try:
            files.write_file(staged, [raw], durable=self._durable)
            yield staged
        except BaseException:
            self._work_area.remove_tree(staged)
            raise

    def _check_lengths(self, commit: Commit) -> None:
        """Refuse a name that may be committed, but not moved to trash or quarantine afterwards."""
        area = self._work_area.path
        if len(commit.name) <= _SHORT_NAME and len(str(area)) <= _SHORT_PATH:
            return
        parts = [
            f"{la.name}/{la.chunk(la.n_chunks - 1).key}" for la in commit.layouts if la.n_chunks
        ]
        longest = max([*parts, f"{commit.layouts[0].name}/{DOCUMENT}"], key=len)
        trash = self._work_area.new_trash(commit.name)
        check_lengths(self._path, trash / longest, self._path / commit.name / longest)

    def put(self, commit: Commit) -> SaveReceipt:
        """Stage, sync, rename, sync: a group of one."""
        self._check_lengths(commit)  # before a store is made
        [result] = self._put_group([commit])
        if isinstance(result, Exception):
            raise result
        return result

    def put_many(self, commits: Sequence[Commit]) -> list[SaveReceipt | Exception]:
        """Stage small ones together, sync, rename all, sync once; large ones by themselves."""
        results: list[SaveReceipt | Exception] = []
        for small, group in itertools.groupby(commits, self._is_small):
            together = list(group)
            if not small:
                results += super().put_many(together)
                continue
            try:
                results += self._put_group(together)
            except Exception as error:  # noqa: BLE001 - returned: the other groups go on
                results += [error] * len(together)
        return [explain(self._path, result) for result in results]

    def _is_small(self, commit: Commit) -> bool:
        return commit.nbytes <= self.group_bytes and commit.place is None

    def _put_group(self, commits: list[Commit]) -> list[SaveReceipt | Exception]:
        self._make_root()
        self._is_shared = is_shared(self._path)
        staged = self._work_area.new_staging(len(commits))
        with self._removing(staged):
            return self._publish(commits, staged, self._stage_group(commits, staged))

    @contextlib.contextmanager
    def _removing(self, staged: Iterable[str]) -> Iterator[None]:
        """Remove what was staged, if the ``with`` block does not come to its end."""
        try:
            yield
        except BaseException:
            for path in staged:
                self._work_area.remove_tree(path)
            raise

    def _publish(
        self,
        commits: Sequence[Commit],
        staged: Sequence[str],
        infos: Sequence[CheckpointInfo | Exception],
    ) -> list[SaveReceipt | Exception]:
        """Rename what was staged into the store, and sync the store; return what came of each."""
        written_ns = time.monotonic_ns()
        failures = [info if isinstance(info, Exception) else None for info in infos]
        names: list[str] = []
        try:
            with self._listing.changing() as note:
                # Used up before the names can be seen: after an interrupt no other commit may get one.
                numbers = [info.sequence for info in infos if isinstance(info, CheckpointInfo)]
                self._lock.sequence = max(self._lock.sequence, *numbers, 0)
                for i, (commit, path, info) in enumerate(zip(commits, staged, infos, strict=True)):
                    if isinstance(info, Exception):
                        continue
                    try:
                        self._move_in(path, commit.name, names)
                    except Exception as error:  # noqa: BLE001 - returned: the others go on
                        failures[i] = error
                        self._work_area.remove_tree(path)
                    else:
                        note(commit.name, info)
            if self._durable and names:
                files.sync_directory(self._path)
        except BaseException:
            # The caller is told that they failed, so they must not be seen either.
            self._discard([(name, None) for name in names if os.path.lexists(self._path / name)])
            raise
        committed_ns = time.monotonic_ns()
        return [
            SaveReceipt(written_ns, committed_ns, commit.nbytes, bad=commit.found_bad())
            if failure is None
            else failure
            for commit, failure in zip(commits, failures, strict=True)
        ]

    def _move_in(self, staged: str, name: str, names: list[str]) -> None:
        """Rename into the store, and add the name to `names`."""
        target = f"{self._path}/{name}"
        self.check_free(name, taken=os.path.lexists(target))  # a group may hold it twice
        names.append(name)  # before the rename: an interrupt may come right behind it
        try:
            files.rename(staged, target)
        except Exception:
            names.pop()  # whatever lies there is not ours
            raise

    def _stage_group(
        self, commits: Sequence[Commit], staged: list[str]
    ) -> list[CheckpointInfo | Exception]:
        """Stage a commit, or small ones, at the paths in `staged`, and wait until the disk has them.

        The paths are exchanged if it has to be done a second time.
        """
        may_wait = self._durable and self._is_small(commits[0])
        barrier = open_barrier(self._work_area.path, len(commits)) if may_wait else None
        if barrier is None:
            return self._stage_all(commits, staged, sync=self._durable)
        with contextlib.closing(barrier):
            found = self._stage_all(commits, staged, sync=False)
            try:
                barrier.wait()
            except OSError:
                pass  # the write that failed may be another program's: an fsync says whose it was
            else:
                return found
        for path in staged:
            self._work_area.remove_tree(path)
        staged[:] = self._work_area.new_staging(len(commits))
        return self._stage_all(commits, staged, sync=True)

    def _stage_all(
        self, commits: Sequence[Commit], staged: Sequence[str], *, sync: bool
    ) -> list[CheckpointInfo | Exception]:
        each = commits, staged, itertools.count(self._lock.sequence + 1)
        if len(commits) == 1 and (sync or not self._is_small(commits[0])):
            return list(map(partial(self._try_stage, self._stage_by_itself), *each))
        in_turn = partial(self._try_stage, partial(self._stage, sync=sync, run=_run_in_turn))
        if not sync:  # calls of microseconds: threads would pass the interpreter's lock to and fro
            return list(map(in_turn, *each))
        with WorkerPool(_WORKERS, thread_name_prefix="ringnb-commit") as pool:
            return list(pool.map(in_turn, *each))

    def _try_stage(
        self, stage: Callable[..., CheckpointInfo], commit: Commit, staged: str, sequence: int
    ) -> CheckpointInfo | Exception:
        """Stage a commit; an error is returned, so that the others of its group go on."""
        try:
            self._check_lengths(commit)
            return stage(commit, staged, sequence)
        except Exception as error:  # noqa: BLE001 - see above
            self._work_area.remove_tree(staged)
            return error

    def _stage_by_itself(self, commit: Commit, staged: str, sequence: int) -> CheckpointInfo:
        """Stage a commit of any size, several files at the same time: fsync waits for the disk."""
        self.check_free(commit.name, taken=os.path.lexists(f"{self._path}/{commit.name}"))
        if commit.place is not None:
            sequence = commit.number_below(self._listing.first_sequence())
        copies = commit.is_lazy + self._incremental
        workers = commit.workers(_WORKERS, copies) if copies else _WORKERS
        with WorkerPool(workers, thread_name_prefix="ringnb-commit") as pool:

            def run(work: Iterable[Callable[[], object]]) -> None:
                _finish([pool.submit(task) for task in work])

            return self._stage(commit, staged, sequence, sync=self._durable, run=run)

    def _stage(
        self, commit: Commit, staged: str, sequence: int, *, sync: bool, run: Run
    ) -> CheckpointInfo:
        """Write a checkpoint's files; return its line. `run` does what may run in parallel."""
        files.make_directory(staged)
        folders = {layout.name: f"{staged}/{layout.name}" for layout in commit.layouts}
        crcs = {layout.name: [0] * layout.n_chunks for layout in commit.layouts}
        for folder in folders.values():
            files.make_directory(folder)
        if self._is_shared:
            share_like(self._path, staged, *folders.values())
        history = (
            self._listing.history(*commit.actor_key, exclusive=True) if self._incremental else []
        )
        dedup = Dedup(self._path / history[-1].name, durable=sync) if history else None

        def write_chunk(layout: FieldLayout, number: int) -> None:
            key, encoded = commit.encode(layout, number)
            target = f"{folders[layout.name]}/{key}"
            if dedup is None:
                files.write_file(target, encoded, durable=sync)
            else:
                # What is compared with the stored file, and written if it differs, is one copy.
                whole = encoded.whole()
                if not dedup.link(layout, number, encoded.crc, whole, target):
                    files.write_file(target, [whole], durable=sync)
            crcs[layout.name][number] = encoded.crc

        def document(folder: str, raw: bytes) -> Callable[[], None]:
            return partial(files.write_file, f"{folder}/{DOCUMENT}", [raw], durable=sync)

        work: list[Callable[[], None]]
        work = [document(folders[layout.name], layout.raw) for layout in commit.layouts]
        work += [partial(write_chunk, *chunk) for chunk in commit.chunks()]
        run(work)
        raw, info = commit.render(crcs, sequence, self._store_id)
        work = [document(staged, raw)]
        if sync:
            work += [partial(files.sync_directory, folder) for folder in folders.values()]
        run(work)
        if sync:
            files.sync_directory(staged)
        return info

    def replace_document(self, name: str, raw: bytes) -> None:
        """Stage, sync, rename over the old one, sync."""
        info = parse_info(name, raw, self._store_id)
        with self._staged(raw) as staged, self._listing.changing() as note:
            files.rename(staged, self._path / name / DOCUMENT)
            with contextlib.suppress(OSError):
                files.touch_directory(self._path)  # other processes remember their listing
            note(name, info)
        if self._durable:
            files.sync_directory(self._path / name)

    def replace_root(self, raw: bytes) -> None:
        """Stage, sync, rename, sync."""
        with self._staged(raw) as staged:
            self._lock.acquire_root(staged, self._work_area.path / "lock")  # before it can be seen
            files.rename(staged, self._document)
        if self._durable:
            files.sync_directory(self._path)
        self.created()

    def remove(self, name: str, keys: set[str]) -> None:
        """Rename out of the store, then unlink; a user's files are put back into the store."""
        for error in self._discard([(name, keys)]):
            if error is not None:
                raise error

    def remove_many(self, names: Mapping[str, set[str]]) -> list[Exception | None]:
        """Rename all out of the store, sync once, then unlink."""
        return [explain(self._path, result) for result in self._discard(list(names.items()))]

    def _discard(self, to_delete: Sequence[tuple[str, set[str] | None]]) -> list[Exception | None]:
        """Remove checkpoints; return what came of each. Without keys, their documents know them."""
        results: list[Exception | None] = [None] * len(to_delete)
        moved: dict[int, Path] = {}
        try:
            for place, (name, _) in enumerate(to_delete):
                trash = self._work_area.new_trash(name)
                try:
                    self._move_out(name, trash)
                    moved[place] = trash
                except Exception as error:  # noqa: BLE001 - returned: the others go on
                    results[place] = error
            if self._durable and moved:
                files.sync_directory(self._path)
        except OSError as error:
            # No file goes before the disk has the renames. They are swept when it works again.
            self._work_area.littered = True
            for place in moved:
                results[place] = error
            return results
        except BaseException:
            self._work_area.littered = True
            raise
        for place, trash in moved.items():
            self._work_area.remove_checkpoint(trash, to_delete[place][1])
        return results

    def _move_out(self, name: str, target: Path) -> None:
        try:
            with self._listing.changing() as note:
                files.rename(f"{self._path}/{name}", target)
                note(name, None)
        except FileNotFoundError:
            if os.path.lexists(self._path / name):
                raise  # the work area was removed by hand: the checkpoint is still there
            msg = f"no checkpoint {name!r}: see list()"
            raise CheckpointNotFound(msg) from None

    def quarantine(self, name: str) -> str:
        """Rename into the work area's ``damaged``, under a name that is free there."""
        folder = self._work_area.path / "damaged"
        if not folder.is_dir():
            files.make_directory(folder)
            share_like(self._path, folder)
            if self._durable:
                files.sync_directory(folder.parent)
                files.sync_directory(folder.parent.parent)
        target = folder / free_name(name, lambda n: os.path.lexists(folder / n))
        self._move_out(name, target)
        if self._durable:
            files.sync_directory(folder)
            files.sync_directory(self._path)
        return str(target)

    def close(self) -> None:
        """Give up the lock, if this storage had it."""
        self._lock.release(self)


def _run_in_turn(work: Iterable[Callable[[], object]]) -> None:
    for task in work:
        task()


def _finish(work: Iterable[Future[Any]]) -> None:
    """Wait for all, then raise the first failure: nothing may still be writing when we clean up."""
    errors = [future.exception() for future in work]
    for error in errors:
        if error is not None:
            raise error
