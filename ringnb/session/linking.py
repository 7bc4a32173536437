"""The links of a session: which are joined, as the kernel has confirmed it."""

from __future__ import annotations

from functools import partial
from typing import final

from ringnb.actors.link import Link
from ringnb.kernel.client import KernelClient
from ringnb.messages.commands import Command, Reply
from ringnb.messages.events import Event, EventLog

__all__ = ["Links"]


@final
class Links:
    """Cuts and joins links, and knows which are joined. Any thread."""

    def __init__(self, client: KernelClient, log: EventLog) -> None:
        self._client, self._log = client, log
        self._deal = client.kernel.deal
        # Replaced, never changed.
        self.joined: dict[Link, bool] = dict.fromkeys(self._deal.links, True)

    def set(self, link: Link, joined: bool) -> None:
        """Join a link or cut it, between two steps of its group."""
        if link not in self.joined:
            msg = f"this session has no link {link!r}: its links are those of Session(links=...)"
            raise ValueError(msg)
        arguments = self._deal.number_of[link], int(joined)
        sink = partial(self._note, link, joined)
        self._client.call(link.target, Command.SET_LINK, arguments, sink=sink)

    def group(self, slot: int) -> tuple[int, ...]:
        """Return the slots of an actor and of those that step with it."""
        return tuple(self._deal.group_of[slot])

    def _note(self, link: Link, joined: bool, reply: Reply) -> None:
        """Note a reply, on the thread that took it off the ring; twice does no harm."""
        if reply.ok and self.joined[link] != joined:
            self.joined = self.joined | {link: joined}
            what = f"link {'joined' if joined else 'cut'}: {link}"
            self._log.append(Event("adjusted", link.target, step=reply.step, detail=what))
