"""What a small shared machine allows: how often panels refresh, how large pictures are, and so on.

``RINGNB_PROFILE=binder`` chooses the figures for a public notebook server with one or two gigabytes of
memory, about an hour of processor time and a slow connection. Panels read it when they open.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["PROFILES", "Profile", "current_profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Limits for panels."""

    refresh_s: float = (
        0.25  # between two refreshes of what panels show, unless a click asks for one
    )
    quiet_s: float = 2.0  # a display that has not changed for so long is sent a second time
    rate_s: float = 1.0  # the time that the rate of steps is measured over
    picture_bytes: int = 68_000  # the size that a picture aims at
    follow_s: float = 2.0  # between two pictures of the newest checkpoint
    scrub_s: float = 0.125  # between two pictures
    drag_s: float = 0.2  # between two places that a playhead which is dragged tells
    map_s: float = 1.0  # between two maps, or cards, of all actors
    small_pictures: int = 60  # that a page gets at once
    # Free-running actors are paused after so many seconds without any use of the panels.
    idle_pause_s: float | None = None
    # At most so many bytes of checkpoints are kept per actor, whatever else the policy says.
    store_bytes: int | None = None


PROFILES = {
    "default": Profile(),
    "binder": Profile(
        refresh_s=1.0,
        quiet_s=6.0,  # longer than the interval there: while checkpoints come, nothing is sent twice
        picture_bytes=30_000,
        follow_s=5.0,
        scrub_s=0.5,
        drag_s=1.0,
        map_s=4.0,
        idle_pause_s=120.0,
        store_bytes=64 << 20,
        small_pictures=12,
    ),
}


def current_profile() -> Profile:
    """Return the profile that ``RINGNB_PROFILE`` names, or the default; ValueError if unknown."""
    name = os.environ.get("RINGNB_PROFILE") or "default"
    if name not in PROFILES:
        msg = f"RINGNB_PROFILE={name!r} is not a profile: use one of {', '.join(PROFILES)}"
        raise ValueError(msg)
    return PROFILES[name]
