"""A simulator in a thread of the test's process, and a shop that notes its webhooks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import urllib3
from aiohttp import web

from simulator.app import WORLD, build_app, listener
from simulator.settings import SimulatorSettings
from simulator.world import World

SECRET = "8c570fa6dd201bb328f1c1eac23a96d8"
TOKEN = "long-lived-token"
LOGIN_CHANNEL = "1650000002"
LIFF_ID = "1650000002-SimLiffA"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    raw: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.raw)

    @property
    def message(self) -> str:
        return self.json["message"]

    @property
    def properties(self) -> list[str]:
        return [detail["property"] for detail in self.json["details"]]


@dataclass
class Received:
    """One POST the shop got."""

    raw: bytes
    signature: str | None
    at: float = field(default_factory=time.monotonic)

    @property
    def events(self) -> list[Any]:
        return json.loads(self.raw)["events"]

    def is_signed_with(self, secret: str) -> bool:
        digest = hmac.new(secret.encode(), self.raw, hashlib.sha256).digest()
        return self.signature == base64.b64encode(digest).decode()


class Shop:
    """What the platform posts webhooks to; `answers` is used up from the front, then 200."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        #: How long the shop takes to move its clock.
        self.clock_seconds = 0.0
        self.clock_moves: list[Any] = []
        #: What it says of a move: status and body.
        self.clock_answer: tuple[int, Any] = (200, {"jobs": 3})
        # A page of the shop, served at every address.
        self.page = ""
        # Seconds to think before each answer, used up from the front.
        self.delays: list[float] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()

    @property
    def events(self) -> list[Any]:
        return [event for one in self.received for event in one.events]

    def wait_for(self, count: int, within: float = 5.0) -> list[Received]:
        wait_until(lambda: len(self.received) >= count, within)
        return self.received

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                body = b"{}"
                status = 200
                if self.path == "/demo/clock":
                    time.sleep(shop.clock_seconds)
                    shop.clock_moves.append(json.loads(raw))
                    status, told = shop.clock_answer
                    body = json.dumps(told).encode()
                else:
                    status = shop.answers.pop(0) if shop.answers else 200
                    delay = shop.delays.pop(0) if shop.delays else 0.0
                    shop.received.append(Received(raw, self.headers.get("x-line-signature")))
                    time.sleep(delay)
                # The platform may have given up waiting.
                with suppress(BrokenPipeError, ConnectionResetError):
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def do_GET(self) -> None:
                body = shop.page.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Tests read `received` instead."""

        return Handler


class Simulator:
    """The stand-in platform under test, reached over HTTP only, except for `world`."""

    def __init__(self, shop_url: str, **more: Any) -> None:
        defaults = {
            "port": 0,
            "taem_url": shop_url,
            "channel_secrets": (SECRET,),
            "access_tokens": (TOKEN,),
            "login_channel_id": LOGIN_CHANNEL,
            "liff_id": LIFF_ID,
            "redelivery_base_seconds": 0.05,
            "webhook_timeout_seconds": 5.0,
            "webhook_hold_seconds": 1.0,
        }
        self.settings = SimulatorSettings(**(defaults | more))
        self._pool = urllib3.PoolManager(retries=False)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def stop(self) -> None:
        if not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._pool.clear()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        app = build_app(self.settings)
        self.world: World = app[WORLD]
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        door = listener(runner)
        self.url = f"http://127.0.0.1:{await door.start('127.0.0.1', 0)}"
        self._ready.set()
        await self._stopping.wait()
        door.close()
        await runner.cleanup()

    # LINE's side

    def line(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = TOKEN,
        headers: dict[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Answer:
        sent = dict(headers or {})
        if token is not None:
            sent.setdefault("Authorization", f"Bearer {token}")
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        response = self._pool.request(
            method, self.url + path, body=body, headers=sent, timeout=timeout, redirect=False
        )
        return Answer(response.status, response.headers, response.data)

    def form(self, path: str, **fields: str) -> Answer:
        response = self._pool.request_encode_body(
            "POST", self.url + path, fields=fields, encode_multipart=False
        )
        return Answer(response.status, response.headers, response.data)

    def push(self, to: str, *messages: Any, key: str | None = None, **more: Any) -> Answer:
        headers = {"X-Line-Retry-Key": key} if key else {}
        body = {"to": to, "messages": list(messages) or [text()], **more}
        return self.line("POST", "/v2/bot/message/push", body, headers=headers)

    def multicast(self, to: list[str], *messages: Any, key: str | None = None) -> Answer:
        headers = {"X-Line-Retry-Key": key} if key else {}
        body = {"to": to, "messages": list(messages) or [text()]}
        return self.line("POST", "/v2/bot/message/multicast", body, headers=headers)

    def reply(self, token: str, *messages: Any, **more: Any) -> Answer:
        body = {"replyToken": token, "messages": list(messages) or [text()]}
        return self.line("POST", "/v2/bot/message/reply", body, **more)

    def validate(self, *messages: Any) -> Answer:
        return self.line("POST", "/v2/bot/message/validate/push", {"messages": list(messages)})

    def validate_flex(self, contents: Any) -> Answer:
        return self.validate({"type": "flex", "altText": "การ์ด", "contents": contents})

    # The phone's side

    def sim(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.line(method, f"/sim{path}", body, token=None)
        assert answer.status < 300, (answer.status, answer.raw)
        return answer.json

    def act(self, customer: str, what: str, **body: Any) -> Any:
        return self.sim("POST", f"/customers/{customer}/{what}", body)

    def faults(self, **values: Any) -> None:
        self.sim("POST", "/faults", values)

    def user_id(self, customer: str = "c1") -> str:
        return next(one["userId"] for one in self.state["customers"] if one["id"] == customer)

    @property
    def state(self) -> Any:
        return self.sim("GET", "/state")

    @property
    def journal(self) -> Any:
        return self.sim("GET", "/journal")

    def chat(self, customer: str = "c1") -> list[Any]:
        return self.sim("GET", f"/customers/{customer}?peek=1")["messages"]

    def said_by_shop(self, customer: str = "c1") -> list[str]:
        lines = [line for line in self.chat(customer) if line["from"] == "shop"]
        return [line["message"]["text"] for line in lines]


def text(words: str = "สวัสดี") -> dict[str, Any]:
    return {"type": "text", "text": words}


def new_key() -> str:
    return str(uuid4())


def wait_until(check: Callable[[], object], within: float = 5.0) -> None:
    deadline = time.monotonic() + within
    while not check():
        assert time.monotonic() < deadline, f"did not happen within {within:g} s"
        time.sleep(0.01)
