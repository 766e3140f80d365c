"""Tells open phone pages that something changed (server-sent events)."""

from __future__ import annotations

import asyncio

QUEUE_LIMIT = 256

Notice = tuple[str | None, str]
#: The last thing a listener hears: the simulator is going away.
CLOSING: Notice = (None, "closing")


class Hub:
    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Notice]] = set()

    def tell(self, customer_id: str | None, what: str) -> None:
        """A page that does not read loses notices, never the server its memory."""
        for queue in self._listeners:
            if not queue.full():
                queue.put_nowait((customer_id, what))

    def listen(self) -> asyncio.Queue[Notice]:
        queue: asyncio.Queue[Notice] = asyncio.Queue(QUEUE_LIMIT)
        self._listeners.add(queue)
        return queue

    def close(self) -> None:
        """Tell every listener to end; an open page must not hold up the end of the process."""
        for queue in self._listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(CLOSING)

    def leave(self, queue: asyncio.Queue[Notice]) -> None:
        self._listeners.discard(queue)
