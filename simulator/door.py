"""The quick door: answers sends without the web framework's cost for each request.

A load test's pushes and replies arrive thousands a second beside the product on the same two
cores. So each connection is first read here: as long as whole, plain sends come and no fault is
switched on, they are answered at once; at the first other request the connection is handed to
the framework, bytes and all, for good. Both ways end in the same Endpoint.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from aiohttp import web

from simulator.answers import BODY_LIMIT, Endpoint
from simulator.world import World

HEAD_LIMIT = 16 * 1024
_REASONS = {status.value: status.phrase for status in HTTPStatus}
# What only the framework can do.
_BEYOND_US = (b"transfer-encoding", b"expect", b"upgrade")


class QuickDoor(asyncio.Protocol):
    def __init__(
        self,
        world: World,
        server: web.Server,
        sends: Mapping[bytes, Endpoint],
        open_doors: set[QuickDoor],
    ) -> None:
        self._world = world
        self._server = server
        self._sends = sends
        self._open = open_doors
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The faster loop's transport is no subclass of asyncio's, though it does the same.
        self._transport = cast("asyncio.Transport", transport)
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while self._buffer:
            taken = self._take_one()
            if taken is None:
                return
            if not taken:
                self._hand_over()
                return

    def _take_one(self) -> bool | None:
        """True: one send was answered. None: it is not whole yet. False: not for this door."""
        buffer = self._buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            is_hopeless = len(buffer) > HEAD_LIMIT or not buffer.startswith(
                b"POST /v2"[: len(buffer)]
            )
            return False if is_hopeless else None
        line, _, rest = buffer[:end].partition(b"\r\n")
        endpoint = self._sends.get(line)
        if endpoint is None or self._world.faults.values:
            return False
        headers = _headers(rest)
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > BODY_LIMIT or _is_beyond_us(headers):
            return False
        start, stop = end + 4, end + 4 + int(length)
        if len(buffer) < stop:
            return None
        self._buffer = buffer[stop:]
        self._answer(endpoint, headers, buffer[start:stop])
        return True

    def _answer(self, endpoint: Endpoint, headers: dict[bytes, bytes], raw: bytes) -> None:
        status, more, body = endpoint.answer_quickly(
            _text(headers, b"authorization"),
            _text(headers, b"x-line-retry-key"),
            headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1"),
            raw,
        )
        lines = "".join(f"{name}: {value}\r\n" for name, value in more.items())
        head = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{lines}\r\n"
        )
        answer = head.encode("latin-1") + body
        is_last = headers.get(b"connection", b"").lower() == b"close"
        if self._world.settings.latency_seconds:
            self._loop.call_later(
                self._world.settings.latency_seconds, self._write, answer, is_last
            )
        else:
            self._write(answer, is_last)

    def _write(self, answer: bytes, is_last: bool) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(answer)
        if is_last:
            transport.close()

    def _hand_over(self) -> None:
        """From here on the framework reads this connection, beginning with what is unread."""
        transport, buffer = self._transport, self._buffer
        assert transport is not None, "data came through it"
        self._buffer = b""
        self._open.discard(self)
        protocol = self._server()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(buffer)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._transport = None

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class Listener:
    """The open port, and the connections that the framework does not know of."""

    def __init__(self, world: World, server: web.Server, sends: Mapping[str, Endpoint]) -> None:
        self._world = world
        self._server = server
        self._lines = {
            f"POST {path} HTTP/1.1".encode(): endpoint for path, endpoint in sends.items()
        }
        self._doors: set[QuickDoor] = set()
        self._listening: asyncio.Server | None = None

    async def start(self, host: str, port: int, context: ssl.SSLContext | None = None) -> int:
        """Listen; returns the port, which the system chooses where 0 is given."""
        self._listening = await asyncio.get_running_loop().create_server(
            lambda: QuickDoor(self._world, self._server, self._lines, self._doors),
            host,
            port,
            ssl=context,
            backlog=1024,
        )
        return int(self._listening.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._listening is not None:
            self._listening.close()
        for door in list(self._doors):
            door.close()


def _headers(raw: bytes) -> dict[bytes, bytes]:
    headers = {}
    for line in raw.split(b"\r\n"):
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return headers


def _is_beyond_us(headers: dict[bytes, bytes]) -> bool:
    return any(name in headers for name in _BEYOND_US)


def _text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value.decode("latin-1")
