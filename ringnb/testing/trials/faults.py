"""Every call to the system fails, in every way: a full disk, a broken one, no rights, nothing there."""

from __future__ import annotations

import errno
import itertools
import logging
import shutil
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ringnb.checkpoint.storage.directory.work_area import work_area_of
from ringnb.errors import CheckpointError, CheckpointWarning
from ringnb.testing.trials.interposing import Operation, interposed
from ringnb.testing.trials.judging import Loss, judge, loss_after
from ringnb.testing.trials.workloads import Expectation, Runner

__all__ = ["fail_every_call"]

_ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS")
_OTHERS = ("short write", "area gone", "store gone")


def fail_every_call(
    workload: Sequence[str], *, lasting: bool, in_turn: bool = False, folder: Path | None = None
) -> Counter[str]:
    """Fail each call of a workload's last operation, in a run of its own, in every way; return counts.

    With `lasting` every later call of the operation fails as well. With `in_turn` each call fails with
    one of the errors only, the next one with the next. Raise `Loss` if something that was
    committed is gone or differs, an operation that raised left something behind, an error is not the
    storage's, or the same process cannot go on.
    """
    counts: Counter[str] = Counter()
    logger = logging.getLogger("ringnb.checkpoint")
    quiet, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings():
            # That a store was removed is what the trial did.
            warnings.simplefilter("ignore", CheckpointWarning)
            errors = [_ERRORS] if in_turn else [(error,) for error in _ERRORS]
            for faults in (*errors, *((other,) for other in _OTHERS)):
                for call, fault in enumerate(itertools.cycle(faults), start=1):
                    injected = _trial(workload, call, fault, folder, lasting=lasting)
                    if injected is None:
                        break
                    counts[fault] += injected
    finally:
        logger.disabled = quiet
    return counts


def _trial(
    workload: Sequence[str], call: int, fault: str, folder: Path | None, *, lasting: bool
) -> bool | None:
    """Run a workload with one fault; return whether it happened, None if there is no such call."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        store = Path(name, "s.zarr")
        injector = _Injector(store, fault, lasting=lasting)
        runner = Runner(store)
        raised: Exception | None = None
        *earlier, last = workload
        try:
            with interposed(injector.around):
                if not all(map(runner.run, earlier)):
                    return None
                before, injector.left = runner.expected, call
                try:
                    if not runner.run(last):
                        return None
                except (OSError, CheckpointError) as error:
                    raised = error
                injector.active = False
            if not injector.injected:
                return None if injector.left is not None and injector.left > 0 else False
            where = f"{tuple(workload)}, {fault} at call {call}{' and later' if lasting else ''}"
            expected = _outcome(before, runner.expected, last, raised, injector)
            with loss_after(f"{where} ({raised!r})"):
                judge(store, expected, again=False)
                # The same process goes on, and leaves nothing of the failure behind.
                runner.expected = expected
                try:
                    runner.run("save")
                except (OSError, CheckpointError) as error:
                    msg = f"the next save failed: {error!r}"
                    raise Loss(msg) from error
                runner.close()
                judge(store, runner.expected)
        finally:
            runner.close()
    return True


def _outcome(
    before: Expectation,
    now: Expectation,
    operation: str,
    raised: Exception | None,
    injector: _Injector,
) -> Expectation:
    if injector.fault == "store gone":
        # What was removed from outside is gone; what is still there must be whole.
        return Expectation(may={**now.everything(), **before.everything()})
    if injector.fault == "area gone":
        # And with it what was moved there.
        moved = {*before.must, *now.quarantined} - set(now.must)
        now = replace(
            now,
            quarantined={},
            may={**now.quarantined, **now.may},
            users={t: (n, part) for t, (n, part) in now.users.items() if n not in moved},
        )
    if raised is None:
        # Retention logs what it could not delete.
        return replace(now, may={**before.must, **now.may}) if operation == "retire" else now
    if operation in {"save", "save_behind", "share"} and not injector.lasting:
        return before
    if operation in {"group", "group_each"} and not injector.lasting:
        return replace(now, may=before.may)  # what is known not to have been committed is not there
    return replace(now, may={**before.must, **now.may})


class _Injector:
    """Fails a call."""

    def __init__(self, store: Path, fault: str, *, lasting: bool) -> None:
        self.left: int | None = None
        self.active = True
        self.injected = False
        self.fault, self.lasting = fault, lasting
        self._store = store

    def around(self, operation: Operation, call: Callable[[], Any]) -> Any:
        """Fail it, or do it."""
        if self.left is None or not self.active:
            return call()
        self.left -= 1
        if self.left > 0 or (self.left < 0 and not self.lasting):
            return call()
        if self.fault == "short write":
            return self._short(operation, call)
        self.injected = True
        if self.fault in {"area gone", "store gone"}:
            gone = work_area_of(self._store) if self.fault == "area gone" else self._store
            shutil.rmtree(gone, ignore_errors=True)
            return call()
        number = getattr(errno, self.fault)
        raise OSError(number, "injected", str(operation.path))

    def _short(self, operation: Operation, call: Callable[[], Any]) -> Any:
        """Write half of it, then find the disk full."""
        if operation.kind == "write_data":
            self.injected = True
            path = operation.path
            path.write_bytes(operation.data[: len(operation.data) // 2])
            raise OSError(errno.ENOSPC, "injected", str(path))
        return call()
