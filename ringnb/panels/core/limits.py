"""What a small shared machine allows: how often panels refresh, how large pictures are, and so on.

``RINGNB_PROFILE=binder`` chooses the figures for a public notebook server with one or two gigabytes of
memory, about an hour of processor time and a thin line. Panels read it when they open.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Profile", "current_profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Limits for panels.

    Attributes
    ----------
    name : str
        Which.
    refresh_s : float
        Seconds between two refreshes of what panels show.
    picture_bytes : int
        Size that a picture aims at.
    idle_pause_s : float or None
        Free-running actors are paused after so many seconds without a touch of the panels.
    store_bytes : int or None
        Bytes of checkpoints per actor that are kept at most, whatever else the policy says.
    """

    name: str
    refresh_s: float = 0.1
    picture_bytes: int = 150_000
    idle_pause_s: float | None = None
    store_bytes: int | None = None


_PROFILES = {
    "default": Profile("default"),
    "binder": Profile(
        "binder", refresh_s=0.5, picture_bytes=30_000, idle_pause_s=120.0, store_bytes=64 << 20
    ),
}


def current_profile() -> Profile:
    """Return the profile that ``RINGNB_PROFILE`` names, or the default.

    Returns
    -------
    Profile
        The limits.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    name = os.environ.get("RINGNB_PROFILE") or "default"
    if name not in _PROFILES:
        msg = f"RINGNB_PROFILE={name!r} is no profile: use one of {', '.join(_PROFILES)}"
        raise ValueError(msg)
    return _PROFILES[name]
