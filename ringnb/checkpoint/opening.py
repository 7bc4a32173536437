"""Which storage a manager works on: the one it is given, or one of its own.

`ringnb.checkpoint.manager` calls `open_storage`. The zarr storage is imported only when it is
wanted, because importing zarr takes longer than all of the manager.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ringnb.checkpoint.config import CheckpointConfig
    from ringnb.checkpoint.storage.base import CheckpointStorage

__all__ = ["open_storage"]

_METHODS = ("save", "load", "list", "delete", "exists", "close", "catalogue", "history")


def open_storage(
    config: CheckpointConfig, storage: CheckpointStorage | None
) -> tuple[CheckpointStorage, bool]:
    """Choose a manager's storage.

    Parameters
    ----------
    config : CheckpointConfig
        Where the manager's own storage lies.
    storage : CheckpointStorage or None
        What the user gave.

    Returns
    -------
    tuple of CheckpointStorage and bool
        The storage, and whether it is the manager's own, to be closed with it.

    Raises
    ------
    TypeError
        If what was given cannot store checkpoints.
    """
    if storage is None:
        from ringnb.checkpoint.storage.zarr_storage import ZarrStorage  # noqa: PLC0415  # see above

        return ZarrStorage(str(config.storage_path)), True
    missing = [m for m in _METHODS if not callable(getattr(storage, m, None))]
    if missing:
        msg = (
            f"storage must be a CheckpointStorage, but {storage!r} lacks {', '.join(missing)}: "
            "wrap a path or a zarr store in ZarrStorage(...)"
        )
        raise TypeError(msg)
    return storage, False
