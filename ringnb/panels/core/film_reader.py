"""Reads the small pictures that a view's page asks for, one after the other, on the drawer's thread."""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

from ringnb.checkpoint.drawable import pick_field
from ringnb.errors import CheckpointCorrupt, CheckpointNotFound
from ringnb.panels.core.controller import Controller, SessionGone
from ringnb.panels.core.film import Film, Wish, small_picture

__all__ = ["FilmReader"]


@final
class FilmReader:
    """A `Film` and what fills it. Any thread."""

    def __init__(self, controller: Controller, name: str) -> None:
        self.film = Film(controller.pictures)
        self.traced = ""  # the field whose low, mean and high are known
        self._controller = controller
        self._name = name  # of its jobs

    def wish(self, wishes: Iterable[Wish]) -> None:
        """Take what a page asks for; it no longer waits for what it asked for before."""
        if self.film.wish(wishes):
            self._controller.drawer.submit(self._name, self._read_next)

    def _read_next(self) -> None:
        """Read one small picture; what else waits for the drawer is served before the next."""
        found = self.film.next()
        if found is None:
            return
        wish, field = found
        name, controller = wish.info.name, self._controller
        try:
            checkpoint = controller.watched.storage.load(name)
            checkpoint.verify()  # also what is not shown: the playhead passes over what is damaged
            small = small_picture(checkpoint, field)
        except SessionGone:
            return
        except CheckpointCorrupt as error:
            controller.note_damage(name, error)
        except CheckpointNotFound:
            pass  # retired meanwhile
        except Exception as error:  # noqa: BLE001 - nothing may end the drawer's thread
            controller.say("problem", f"Pictures: {name}: {error!r}", key="film", repeats=False)
        else:
            controller.choices.note_verdict(name)
            self.traced = pick_field(checkpoint, field)
            controller.extents.note(wish.info, self.traced, small.low, small.high)
            self.film.add(wish, field, small)
        controller.display.poke()
        controller.drawer.submit(self._name, self._read_next)
