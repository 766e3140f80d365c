"""A strict LINE 50 ms away behind TLS: `python -m benchmarks.far_line PORT CERTIFICATE KEY …`.

It only counts: it takes any push or multicast, answers as LINE does, refuses by a token bucket that holds a
twentieth of a second, and remembers retry keys. Plain asyncio, so that it costs little of the
machine it shares with what is measured. `GET /figures` tells, `POST /begin` forgets.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import ssl
import time
from typing import Any

import uvloop

BUCKET_SECONDS = 0.05


class Figures:
    """What was asked for and what was given."""

    def __init__(self, per_second: float) -> None:
        self.per_second = per_second
        self.begin()

    def begin(self) -> None:
        self.accepted = self.refused = self.repeated = self.recipients = 0
        self.first_at = self.last_at = 0.0
        self.keys: set[bytes] = set()
        self.tokens = self.per_second * BUCKET_SECONDS
        self.filled_at = time.monotonic()

    def take(self) -> bool:
        """Whether LINE's limit allows one more; no limit where the rate is 0."""
        if not self.per_second:
            return True
        now = time.monotonic()
        earned = (now - self.filled_at) * self.per_second
        self.tokens = min(self.tokens + earned, self.per_second * BUCKET_SECONDS)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def told(self) -> bytes:
        facts: dict[str, Any] = {
            "accepted": self.accepted,
            "refused": self.refused,
            "repeated": self.repeated,
            "recipients": self.recipients,
            "distinct": len(self.keys),
            "first_at": self.first_at,
            "last_at": self.last_at,
        }
        return json.dumps(facts).encode()


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests on it come one after the other."""

    def __init__(self, figures: Figures, delay: float) -> None:
        self.figures = figures
        self.delay = delay
        self.buffer = b""
        self.loop = asyncio.get_running_loop()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self.buffer[:end].lower()
            length = int(_header(head, b"content-length") or 0)
            if len(self.buffer) < end + 4 + length:
                return
            body = self.buffer[end + 4 : end + 4 + length]
            self.buffer = self.buffer[end + 4 + length :]
            self.handle(head, body)

    def handle(self, head: bytes, body: bytes) -> None:
        figures = self.figures
        if head.startswith(b"get /figures"):
            self.answer(200, figures.told())
            return
        if head.startswith(b"post /begin"):
            figures.begin()
            self.answer(200, b"{}")
            return
        if not head.startswith((b"post /v2/bot/message/push", b"post /v2/bot/message/multicast")):
            self.answer(404, b'{"message":"Not found"}')
            return
        if not figures.take():
            figures.refused += 1
            words = b'{"message":"The API rate limit has been exceeded. Try again later."}'
            self.loop.call_later(self.delay, self.answer, 429, words)
            return
        key = _header(head, b"x-line-retry-key")
        if key and key in figures.keys:
            figures.repeated += 1
        else:
            figures.accepted += 1
            figures.recipients += body[: body.find(b"]")].count(b'"U') or 1
            figures.last_at = time.monotonic()
            figures.first_at = figures.first_at or figures.last_at
            if key:
                figures.keys.add(key)
        sent = b'{"sentMessages":[{"id":"%d","quoteToken":"q"}]}' % (10**17 + figures.accepted)
        self.loop.call_later(self.delay, self.answer, 200, sent)

    def answer(self, status: int, body: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
                b"x-line-request-id: 11111111-1111-4111-8111-111111111111\r\n\r\n%b"
                % (status, len(body), body)
            )


def _header(head: bytes, name: bytes) -> bytes:
    start = head.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else None].strip()


async def serve(arguments: argparse.Namespace) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificate, arguments.key)
    figures = Figures(arguments.per_second)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(figures, arguments.delay), "127.0.0.1", arguments.port, ssl=context
    )
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("certificate")
    parser.add_argument("key")
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--per-second", type=float, default=0.0)
    uvloop.run(serve(parser.parse_args()))
