"""The simulator in a process of its own, as the tests of sending and of the gateway use it.

Its journal is the oracle: who was sent what, and how often.
"""

from __future__ import annotations

import json
import threading
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.factories import CHANNEL_SECRET, CHANNEL_TOKEN
from tests.processes import Processes, free_port, wait_until

CHANNEL_ID = "1650000001"
LOGIN_CHANNEL_ID = "1650000002"


class SimulatedLine:
    """LINE, as far as Taem can tell."""

    def __init__(self, processes: Processes, environment: Mapping[str, str]) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.process = processes.spawn(
            *("python", "-m", "simulator", "--port", str(port)),
            env={
                "LINE_CHANNEL_SECRET": CHANNEL_SECRET,
                "LINE_CHANNEL_ACCESS_TOKEN": CHANNEL_TOKEN,
                "LINE_CHANNEL_ID": CHANNEL_ID,
                "LINE_LOGIN_CHANNEL_ID": LOGIN_CHANNEL_ID,
                "TAEM_URL": "http://127.0.0.1:9",
                "SIM_QUOTA": "none",
                **environment,
            },
            ready=f"{self.url}/sim/state",
        )

    def get(self, path: str) -> Any:
        """Read one of the simulator's own pages."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Act on the simulator."""
        request = urllib.request.Request(
            self.url + path,
            json.dumps(body or {}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def switch(self, **faults: Any) -> None:
        """Switch faults on (or off, with None)."""
        self.post("/sim/faults", faults)

    def clear_faults(self) -> None:
        """Be LINE as it should be."""
        self.post("/sim/faults/clear")

    def befriend(self, user_ids: list[str]) -> None:
        """Make these known friends without a phone."""
        for start in range(0, len(user_ids), 5000):
            self.post("/sim/silent-friends", {"userIds": user_ids[start : start + 5000]})

    def reply_token(self, customer: str = "c1") -> str:
        """A fresh reply token: this customer has just written something."""
        with listening() as ear:
            request = urllib.request.Request(
                f"{self.url}/v2/bot/channel/webhook/endpoint",
                json.dumps({"endpoint": f"{ear.url}/callback"}).encode(),
                {
                    "Content-Type": "application/json",
                    "Authorization": f"Bearer {CHANNEL_TOKEN}",
                },
                method="PUT",
            )
            urllib.request.urlopen(request, timeout=10).close()
            # Only these words: something older may be delivered once more meanwhile.
            words = f"แต้ม {uuid.uuid4().hex}"
            self.post(f"/sim/customers/{customer}/text", {"text": words})

            def heard() -> list[str]:
                return [
                    event["replyToken"]
                    for event in list(ear.events)
                    if event.get("message", {}).get("text") == words
                ]

            wait_until(lambda: bool(heard()))
            return heard()[0]

    def received(self) -> dict[str, int]:
        """User id -> accepted sends that reached them."""
        received: dict[str, int] = self.get("/sim/journal/recipients")
        return received

    def answers(self, endpoint: str) -> dict[str, int]:
        """HTTP status -> how often this endpoint gave it (0: the connection was cut)."""
        figures: dict[str, int] = self.get("/sim/journal/count")["answers"].get(endpoint, {})
        return figures

    def calls(self, endpoint: str) -> list[dict[str, Any]]:
        """Every answered call to this endpoint, in order."""
        return [call for call in self.get("/sim/calls") if call["endpoint"] == endpoint]

    def journal(self) -> list[dict[str, Any]]:
        """Everything accepted, in order."""
        entries: list[dict[str, Any]] = []
        while page := self.get(f"/sim/journal?since={entries[-1]['index'] + 1 if entries else 0}"):
            entries += page
        return entries

    def user_id(self, customer: str = "c1") -> str:
        """The LINE user id of one customer with a phone."""
        found: str = self.get(f"/sim/customers/{customer}")["customer"]["userId"]
        return found


class Ear:
    """A webhook that says 200 to everything and remembers the events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        ear = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                ear.events.extend(json.loads(body)["events"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def listening() -> Iterator[Ear]:
    """A webhook for a moment."""
    ear = Ear()
    thread = threading.Thread(target=ear.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield ear
    finally:
        ear.server.shutdown()
        thread.join()
        ear.server.server_close()


@contextmanager
def running_line(folder: Path, **environment: str) -> Iterator[SimulatedLine]:
    """A simulator for a whole module of tests."""
    processes = Processes(folder)
    try:
        yield SimulatedLine(processes, environment)
    finally:
        processes.stop_all()
