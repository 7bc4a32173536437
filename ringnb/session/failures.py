"""Automatic snapshots that fail again and again: a full disk makes one message, not hundreds.

A failed snapshot is retried soon, and fails again until there is room. Each failure is a warning, and
all of one kind have the text of the first: by default Python shows the same text from the same place
once. `ringnb.session.service` warns, and says when it is over.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import final

from ringnb.errors import SnapshotFailed

__all__ = ["RepeatedFailures"]


@final
class RepeatedFailures:
    """The failures since the last moment at which every actor could be saved. The writer's thread only.

    They last as long as there is an actor whose last snapshot failed. Actors share a storage: if all
    eight fail on a full disk there is one message, and one that fails alone is not hidden by the others.
    """

    def __init__(self) -> None:
        self._texts: dict[tuple[type[Exception], object], str] = {}
        self._slots: set[int] = set()
        self.count = 0  # above 0 while an actor has failed and was not saved since

    def record_failure(self, slot: int, error: Exception, text: str) -> str:
        """Count a failure; return the text that the first of its kind had.

        Of one kind are failures of one class with the same error number of the system or, where the
        kernel refused the snapshot, with the same reason.
        """
        # Not with the same message: a storage names the checkpoint or a file, another one each time.
        why = str(error) if isinstance(error, SnapshotFailed) else getattr(error, "errno", None)
        self._slots.add(slot)
        self.count += 1
        return self._texts.setdefault((type(error), why), text)

    def record_commit(self, slot: int, registered: AbstractSet[int]) -> int:
        """Note a commit; return how many failures it ends: 0 if others go on, or if there were none.

        An actor that is no longer registered will never be committed: it is not waited for.
        """
        self._slots.discard(slot)
        if self._slots & registered:
            return 0
        ended, self.count = self.count, 0
        self._texts.clear()
        self._slots.clear()
        return ended
