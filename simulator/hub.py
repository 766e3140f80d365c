"""Tells open phone pages that something changed (server-sent events)."""

from __future__ import annotations

import asyncio

QUEUE_LIMIT = 256

Notice = tuple[str | None, str]


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

    def leave(self, queue: asyncio.Queue[Notice]) -> None:
        self._listeners.discard(queue)
