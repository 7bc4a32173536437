"""Serve one peer: ``python child KIND NAME SETTINGS``, run as a script.

It prepares what KIND and NAME say, answers with a line of JSON, and then answers every line that it
reads with one, until its input ends.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ringnb.cli.bench.peers.child import savers, steppers
else:  # a script finds them beside it
    import savers
    import steppers

__all__: list[str] = []


def main(kind: str, name: str, settings: str) -> None:
    """Serve one peer."""
    # Libraries greet on standard output: what they say goes to the log, with the errors.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(**facts: Any) -> None:
        """Write a line."""
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    def failed(error: Exception) -> None:
        """Tell in one line."""
        answer(failed=f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])

    try:
        make: Any = {"stepping": steppers.make, "storage": savers.make}[kind]
        peer = make(name, json.loads(settings))
    except Exception as error:  # noqa: BLE001 - told, and shown as a row
        failed(error)
        return
    answer(remark=peer.remark, versions=peer.versions)
    for line in sys.stdin:
        try:
            answer(value=peer.serve(**json.loads(line)))
        except Exception as error:  # noqa: BLE001 - told, and shown as a row
            failed(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
