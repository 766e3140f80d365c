"""An honest HTTP load: many kept connections, prebuilt requests, time counted from the schedule.

Runs as a process of its own (`python -m benchmarks.load`) so that it never shares an interpreter
with what it measures. The plan comes in on standard input, the figures go out on standard output.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import IO


@dataclass(frozen=True)
class Plan:
    """Requests as bytes; `per_second` 0 means as fast as answers come."""

    port: int
    requests: list[bytes]
    connections: int = 64
    per_second: float = 0
    host: str = "127.0.0.1"


@dataclass
class Outcome:
    """Statuses, seconds for everything, and seconds for each request from its scheduled moment."""

    seconds: float = 0.0
    #: Seconds since 1970 at which the first request was due.
    began_at: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds


class Connection(asyncio.Protocol):
    """One kept connection; one request at a time."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.buffer = b""
        self.since = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def send(self, request: bytes, since: float) -> None:
        self.is_busy = True
        self.since = since
        self.transport.write(request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self.buffer = self.buffer + data if self.buffer else data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lowered = head.lower()
        place = lowered.find(b"content-length:")
        if place < 0:
            raise SystemExit("an answer without length")
        length = int(lowered[place + 15 :].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        self.buffer = b""
        self.is_busy = False
        self.driver.answered(self, head[9:12].decode())

    def connection_lost(self, error: Exception | None) -> None:
        self.driver.lost(self)


class Driver:
    """Hands requests to free connections and writes down what comes back."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.statuses: Counter[str] = Counter()
        self.latencies: list[float] = []
        self.free: list[Connection] = []
        self.waiting: deque[tuple[bytes, float]] = deque()
        self.next = 0
        self.done = asyncio.Event()

    async def run(self) -> Outcome:
        loop = asyncio.get_running_loop()
        for _ in range(self.plan.connections):
            _, connection = await loop.create_connection(
                lambda: Connection(self), self.plan.host, self.plan.port
            )
            self.free.append(connection)
        began_at, started = time.time(), time.perf_counter()
        if self.plan.per_second:
            await self._scheduled(started)
        else:
            for connection in list(self.free):
                self._hand_out(connection)
        await self.done.wait()
        seconds = time.perf_counter() - started
        return Outcome(seconds, began_at, dict(self.statuses), self.latencies)

    async def _scheduled(self, started: float) -> None:
        total = len(self.plan.requests)
        while self.next < total:
            now = time.perf_counter()
            due = min(total, int((now - started) * self.plan.per_second) + 1)
            while self.next < due:
                moment = started + self.next / self.plan.per_second
                self.waiting.append((self.plan.requests[self.next], moment))
                self.next += 1
            while self.waiting and self.free:
                request, moment = self.waiting.popleft()
                self.free.pop().send(request, moment)
            await asyncio.sleep(0.001)

    def _hand_out(self, connection: Connection) -> None:
        if self.next < len(self.plan.requests):
            request = self.plan.requests[self.next]
            self.next += 1
            connection.send(request, time.perf_counter())

    def answered(self, connection: Connection, status: str) -> None:
        self.statuses[status] += 1
        self.latencies.append(time.perf_counter() - connection.since)
        if len(self.latencies) == len(self.plan.requests):
            self.done.set()
        elif not self.plan.per_second:
            self._hand_out(connection)
        elif self.waiting:
            request, moment = self.waiting.popleft()
            connection.send(request, moment)
        else:
            self.free.append(connection)

    def lost(self, connection: Connection) -> None:
        if connection.is_busy and not self.done.is_set():
            self.answered(connection, "lost")
        if connection in self.free:
            self.free.remove(connection)


@dataclass(frozen=True)
class Running:
    """A load under way, and the file it writes its figures to: a pipe was once read half."""

    process: subprocess.Popen[bytes]
    figures: IO[bytes]


def start(plan: Plan) -> Running:
    """Begin sending in a process of its own; `finish` waits for its figures."""
    figures = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `finish`)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"], stdin=subprocess.PIPE, stdout=figures
    )
    assert process.stdin is not None
    process.stdin.write(pickle.dumps(plan))
    process.stdin.close()
    return Running(process, figures)


def finish(running: Running) -> Outcome:
    """The figures of a load that `start` began."""
    assert running.process.wait(timeout=600) == 0
    with running.figures as figures:
        figures.seek(0)
        return Outcome(**json.load(figures))


def drive(plan: Plan) -> Outcome:
    """Send everything and wait for every answer."""
    return finish(start(plan))


def post(path: str, body: bytes, **headers: str) -> bytes:
    """The bytes of a POST on a kept connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path: str) -> bytes:
    """The bytes of a GET on a kept connection."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def main() -> None:
    """Drive the plan on standard input."""
    import uvloop

    plan = pickle.loads(sys.stdin.buffer.read())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        outcome = runner.run(Driver(plan).run())
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
