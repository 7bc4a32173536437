"""Lesson 8: the words that host and kernel share, by their names, as a table.

They are read where they lie, in mapped memory on a GPU, while the kernel runs or after its end.
"""

from __future__ import annotations

from typing import NamedTuple, final

from ringnb._support.text import rows_table
from ringnb.kernel import layout
from ringnb.kernel.base import AbstractKernel
from ringnb.kernel.cuda import layout as cuda_layout
from ringnb.kernel.cuda.kernel import CudaKernel

__all__ = ["Words", "words"]


class _Word(NamedTuple):
    writer: str
    meaning: str
    at: int | None  # in a lane's control words; None: elsewhere


_WORDS = {
    "H2K_HEAD": _Word("host", "commands written", layout.H2K_HEAD),
    "H2K_TAIL": _Word("kernel", "commands read", layout.H2K_TAIL),
    "K2H_HEAD": _Word("kernel", "replies written", layout.K2H_HEAD),
    "K2H_TAIL": _Word("host", "replies read", layout.K2H_TAIL),
    "W_STEP": _Word("kernel", "steps of slot 0", None),
    "TAKEN": _Word("kernel", "staging buffers filled", layout.TAKEN),
    "RETURNED": _Word("host", "staging buffers given back", layout.RETURNED),
    "LOOPS": _Word("kernel", "turns of the leader's loop", layout.LOOPS),
    "HEARTBEAT": _Word("host", "signs of life", None),
    "STOP": _Word("host", "1: leave", layout.STOP),
    "STATE": _Word("kernel", "2: has left", layout.STATE),
    "STATE_REASON": _Word("kernel", "why: 1 STOP, 2 TERMINATE, 3 lease", cuda_layout.STATE_REASON),
}


@final
class Words(dict[str, int]):
    """Words by their names in `ringnb.kernel.layout` and `ringnb.kernel.cuda.layout`, as they once were.

    Parameters
    ----------
    values : dict of str to int
        The words.
    since : Words, optional
        The same, earlier; shown beside them.
    """

    def __init__(self, values: dict[str, int], since: Words | None = None) -> None:
        super().__init__(values)
        self._since = since

    def _rows(self) -> list[tuple[object, ...]]:
        earlier = self._since
        return [
            (
                name,
                word.writer,
                *([] if earlier is None else [earlier[name]]),
                self[name],
                word.meaning,
            )
            for name, word in _WORDS.items()
        ]

    def _header(self) -> list[str]:
        values = ["value"] if self._since is None else ["before", "after"]
        return ["word", "written by", *values, "meaning"]

    def _repr_html_(self) -> str:
        """Show them as a table."""
        return rows_table("Words that host and kernel share", self._header(), self._rows())

    def __repr__(self) -> str:
        """Show them as lines."""
        table = [self._header(), *([str(v) for v in row] for row in self._rows())]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return "\n".join(
            "  ".join(v.ljust(n) for v, n in zip(row, widths, strict=True)).rstrip()
            for row in table
        )


def words(kernel: AbstractKernel, since: Words | None = None) -> Words:
    """Read the words that a kernel's first lane shares with the host; it may have ended.

    Parameters
    ----------
    kernel : CudaKernel
        From `bare_kernel`, or the ``kernel`` of a session with ``backend="cuda"`` or "cudasim".
    since : Words, optional
        What to show them beside.

    Returns
    -------
    Words
        One after the other, while the kernel runs on: not of one moment.
    """
    if not isinstance(kernel, CudaKernel):
        msg = (
            f"kernel must be a CUDA kernel, got {kernel!r}: open the session with backend='cudasim'"
        )
        raise TypeError(msg)
    control = kernel.shared(0).control
    values = {name: int(control[w.at]) for name, w in _WORDS.items() if w.at is not None}
    for name, at in (("TAKEN", layout.TAKEN), ("RETURNED", layout.RETURNED)):
        values[name] = sum(
            int(control[at + b * layout.LINE]) for b in range(layout.STAGING_BUFFERS)
        )
    values["W_STEP"] = kernel.counters(0).step
    values["HEARTBEAT"] = kernel.heartbeat
    return Words({name: values[name] for name in _WORDS}, since)
