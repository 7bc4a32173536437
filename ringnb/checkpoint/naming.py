"""Names of checkpoints: how they begin, for which actor, and whose a damaged one must have been.

A `CheckpointConfig.name_prefix` may hold ``{kernel_id}``. Only this module knows that: what a
checkpoint records, and what its name begins with, is the expanded prefix.
"""

from __future__ import annotations

import hashlib
import re

from ringnb._support.checks import check_name

__all__ = ["check_prefix", "damaged_name", "expand_prefix"]

_FIELD = "{kernel_id}"
_MOST = 100  # characters of an expanded prefix
_MOST_LITERAL = 60  # beside the identity, of which something readable must be left
_DIGEST = 16
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._-]")
# No more than a step and a suffix: "sim_1_2_step_5" is of prefix "sim_1", not of "sim".
_STEP = r"_step_[0-9]+(\.[0-9]+)?"


def check_prefix(value: object, what: str) -> str:
    """Return a name prefix, with or without ``{kernel_id}``; else TypeError or ValueError."""
    if not isinstance(value, str) or _FIELD not in value:
        return check_name(value, what)
    literal = value.replace(_FIELD, "", 1)
    if (
        _NOT_ALLOWED.search(literal)
        or value.startswith((".", "__"))
        or len(literal) > _MOST_LITERAL
    ):
        msg = (
            f"{what} {value!r} is not allowed: beside one {_FIELD} use up to {_MOST_LITERAL} ASCII "
            "letters, digits, '.', '_' or '-', not starting with '.' or '__'"
        )
        raise ValueError(msg)
    return value


def expand_prefix(name_prefix: str, kernel_id: str) -> str:
    """Return the prefix of an actor's checkpoints.

    What a name does not allow becomes ``-``. Two identities that are alike then may have one prefix:
    their names get suffixes, their histories stay apart. Where it would be too long, a digest of the
    identity takes the place of its end.
    """
    before, field, after = name_prefix.partition(_FIELD)
    if not field:
        return name_prefix
    text = _NOT_ALLOWED.sub("-", kernel_id)
    room = _MOST - len(before) - len(after)
    # What is shortened fills the room, what is not is shorter: none can be taken for the other.
    if len(text) >= room:
        digest = hashlib.sha256(kernel_id.encode()).hexdigest()[:_DIGEST]
        text = f"{text[: room - _DIGEST - 1]}-{digest}"
    if f"{before}{text}{after}".startswith((".", "__")):
        text = f"-{text[1:]}"
    return f"{before}{text}{after}"


def damaged_name(name_prefix: str, actor_slot: int, kernel_id: str | None) -> re.Pattern[str]:
    """Return what the whole name of a slot's checkpoint matches, if its metadata cannot be read.

    Without an identity, whatever the prefix may hold in its place.
    """
    if kernel_id is not None:
        prefix = re.escape(expand_prefix(name_prefix, kernel_id))
    else:
        before, field, after = map(re.escape, name_prefix.partition(_FIELD))
        prefix = f"{before}[A-Za-z0-9._-]+{after}" if field else before
    return re.compile(f"{prefix}_({actor_slot}|cut){_STEP}")  # every actor may be in a cut
