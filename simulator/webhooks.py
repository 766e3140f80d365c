"""Events as LINE writes them, signed and posted to the product, and posted again when refused."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import random
import re
import secrets
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from simulator import identifiers
from simulator.clock import iso
from simulator.people import Customer
from simulator.world import World

CONCURRENT_POSTS = 64
REDELIVERY_CEILING_SECONDS = 60.0
UNDELIVERED_LIMIT = 10_000
READ_TOKEN_LIMIT = 50_000
_BEYOND_BMP = re.compile("[\U00010000-\U0010ffff]")


@dataclass
class Delivery:
    """One POST: its events, and how it went so far."""

    events: list[dict[str, Any]]
    attempts: int = 0
    is_delivered: bool = False
    first_attempt_done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Outcome:
    """What the product answered; status 0 where it did not."""

    status: int
    reason: str
    body: str = ""
    seconds: float = 0.0

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300


class WebhookSender:
    def __init__(self, world: World) -> None:
        self._world = world
        self._session: aiohttp.ClientSession | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONCURRENT_POSTS)
        self._tails: dict[str, Delivery] = {}
        self._held: list[dict[str, Any]] = []
        self._random = random.Random(7)
        self._read_tokens: dict[str, str] = {}
        self.pending = 0
        self.last: Delivery | None = None
        self.undelivered: deque[Delivery] = deque(maxlen=UNDELIVERED_LIMIT)
        # LINE's error statistics: could_not_connect, request_timeout, error_status_code.
        self.outcomes: Counter[str] = Counter()

    async def start(self) -> None:
        seconds = self._world.settings.webhook_timeout_seconds
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=seconds),
            connector=aiohttp.TCPConnector(limit=CONCURRENT_POSTS * 2),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    def forget(self) -> None:
        """Give up whatever is still to be delivered: its people and tokens are gone."""
        for task in list(self._tasks):
            task.cancel()
        self._tails.clear()
        self._held.clear()
        self.undelivered.clear()
        self.last = None
        self.pending = 0

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    # Making events.

    def event(
        self, customer: Customer, kind: str, *, can_reply: bool = True, **content: Any
    ) -> dict[str, Any]:
        """One event of this customer; `content` is the part that belongs to its type."""
        faults = self._world.faults
        now = time.time()
        source = {"type": "user", "userId": customer.user_id}
        if faults.is_on("webhook_no_user_id"):
            del source["userId"]
        event: dict[str, Any] = {"type": kind, **content}
        event["webhookEventId"] = identifiers.ulid(now)
        event["deliveryContext"] = {"isRedelivery": False}
        event["timestamp"] = int((now + faults.number("clock_ahead")) * 1000)
        event["source"] = source
        event["mode"] = "active"
        if faults.is_on("webhook_standby"):
            event["mode"] = "standby"
        elif can_reply:
            token = self._world.new_reply_token(customer.user_id, time.monotonic())
            event["replyToken"] = token
        return event

    def read_token(self, user_id: str) -> str:
        token = secrets.token_urlsafe(24)
        if len(self._read_tokens) >= READ_TOKEN_LIMIT:
            del self._read_tokens[next(iter(self._read_tokens))]
        self._read_tokens[token] = user_id
        return token

    def reader_of(self, token: str) -> str | None:
        return self._read_tokens.get(token)

    # Sending.

    def send(self, event: dict[str, Any]) -> None:
        """Queue one event. Events of one user leave in order unless a fault says otherwise."""
        faults = self._world.faults
        if faults.is_on("webhook_batch") or faults.is_on("webhook_reorder"):
            self._held.append(event)
            if len(self._held) == 1:
                hold = self._world.settings.webhook_hold_seconds
                asyncio.get_running_loop().call_later(hold, self._release)
            return
        self._post_soon([event])

    def redeliver_last(self) -> int:
        if self.last is None:
            return 0
        self._spawn(self._again(self.last))
        return 1

    def redeliver_undelivered(self) -> int:
        waiting = list(self.undelivered)
        self.undelivered.clear()
        for delivery in waiting:
            delivery.attempts = 0
            self._spawn(self._keep_trying(delivery, is_redelivery=True))
        return len(waiting)

    async def send_raw(
        self, body: bytes, *, signature: str | None = None, endpoint: str | None = None
    ) -> Outcome:
        """Post exactly these bytes, signed unless a signature is given; "" sends none."""
        signed = self.signature(body) if signature is None else signature
        return await self._post(endpoint or self._world.webhook_endpoint, body, signed)

    async def test(self, endpoint: str) -> dict[str, Any]:
        outcome = await self.send_raw(self.envelope([]), endpoint=endpoint)
        return {
            "success": outcome.is_success,
            "timestamp": iso(time.time()),
            "statusCode": outcome.status,
            "reason": "OK" if outcome.is_success else outcome.reason.upper(),
            "detail": str(outcome.status) if outcome.status else outcome.reason,
        }

    def envelope(self, events: list[dict[str, Any]], destination: str | None = None) -> bytes:
        """The body as LINE writes it: UTF-8, with letters beyond the BMP escaped."""
        body = {"destination": destination or self._world.bot_user_id, "events": events}
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
        return _BEYOND_BMP.sub(lambda found: _escaped(found[0]), text).encode(errors="replace")

    def signature(self, body: bytes) -> str:
        faults = self._world.faults
        secret = str(faults.values.get("signing_secret") or self._world.settings.channel_secret)
        if faults.strikes("webhook_bad_signature"):
            secret += "-wrong"
        digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        return base64.b64encode(digest).decode()

    def _release(self) -> None:
        held, self._held = self._held, []
        if not held:
            return
        if self._world.faults.is_on("webhook_reorder"):
            self._random.shuffle(held)
        if self._world.faults.is_on("webhook_batch"):
            self._post_soon(held)
        else:
            for event in held:
                self._post_soon([event], is_ordered=False)

    def _post_soon(self, events: list[dict[str, Any]], *, is_ordered: bool = True) -> None:
        if self._world.faults.strikes("webhook_unknown_type"):
            events = [self._unheard_of(events[0]), *events]
        delivery = Delivery(events)
        predecessors = []
        if is_ordered:
            for user in {event["source"].get("userId", "") for event in events}:
                if user in self._tails:
                    predecessors.append(self._tails[user])
                self._tails[user] = delivery
        self.pending += 1
        self.last = delivery
        self._world.hub.tell(None, "state")
        self._spawn(self._deliver(delivery, predecessors))

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, delivery: Delivery, predecessors: list[Delivery]) -> None:
        for earlier in predecessors:
            await earlier.first_attempt_done.wait()
        faults = self._world.faults
        if faults.number("webhook_delay_seconds"):
            await asyncio.sleep(faults.number("webhook_delay_seconds"))
        if faults.strikes("webhook_empty_events"):
            await self.send_raw(self.envelope([]))
        copies = int(faults.values.get("webhook_duplicate") or 0)
        for _ in range(copies):
            self._spawn(self._copy(delivery))
        try:
            await self._attempt(delivery, is_redelivery=False)
        finally:
            delivery.first_attempt_done.set()
            for event in delivery.events:
                user = event["source"].get("userId", "")
                if self._tails.get(user) is delivery:
                    del self._tails[user]
        if delivery.is_delivered:
            self._finished(delivery)
        else:
            self._spawn(self._keep_trying(delivery, is_redelivery=True, is_pending=True))

    async def _copy(self, delivery: Delivery) -> None:
        """The same event once more, not marked: LINE's network may do that too."""
        async with self._slots:
            await self.send_raw(self.envelope(delivery.events))

    async def _again(self, delivery: Delivery) -> None:
        await self._attempt(delivery, is_redelivery=True)

    async def _keep_trying(
        self, delivery: Delivery, *, is_redelivery: bool, is_pending: bool = False
    ) -> None:
        """Back off 1 s, 2 s, 4 s ... up to a minute, so many times, then put aside."""
        settings = self._world.settings
        if not is_pending:
            self.pending += 1
        while not delivery.is_delivered and delivery.attempts < settings.redelivery_attempts:
            if self._world.faults.is_on("redelivery_off"):
                break
            if delivery.attempts:
                wait = settings.redelivery_base_seconds * 2 ** (delivery.attempts - 1)
                await asyncio.sleep(min(wait, REDELIVERY_CEILING_SECONDS))
            await self._attempt(delivery, is_redelivery=is_redelivery)
        if not delivery.is_delivered:
            self.undelivered.append(delivery)
        self._finished(delivery)

    def _finished(self, delivery: Delivery) -> None:
        self.pending -= 1
        self._world.hub.tell(None, "state")

    async def _attempt(self, delivery: Delivery, *, is_redelivery: bool) -> None:
        for event in delivery.events:
            event["deliveryContext"] = {"isRedelivery": is_redelivery}
            token = self._world.reply_tokens.get(event.get("replyToken", ""))
            if token is not None:
                token.delivered()
        body = self.envelope(delivery.events)
        async with self._slots:
            delivery.attempts += 1
            outcome = await self._post(self._world.webhook_endpoint, body, self.signature(body))
        self.outcomes[outcome.reason] += 1
        if outcome.is_success:
            delivery.is_delivered = True

    async def _post(self, endpoint: str, body: bytes, signature: str) -> Outcome:
        assert self._session is not None, "started before anything is sent"
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "LineBotWebhook/2.0",
        }
        if signature:
            headers["x-line-signature"] = signature
        began = time.monotonic()
        try:
            async with self._session.post(
                endpoint, data=body, headers=headers, allow_redirects=False
            ) as response:
                text = (await response.content.read(2000)).decode(errors="replace")
                reason = "success" if 200 <= response.status < 300 else "error_status_code"
                return Outcome(response.status, reason, text, time.monotonic() - began)
        except TimeoutError:
            return Outcome(0, "request_timeout", "", time.monotonic() - began)
        except aiohttp.ClientConnectorError:
            return Outcome(0, "could_not_connect", "", time.monotonic() - began)
        except (aiohttp.ClientError, OSError, ValueError):
            return Outcome(0, "unclassified", "", time.monotonic() - began)

    def _unheard_of(self, beside: dict[str, Any]) -> dict[str, Any]:
        """An event of a type that LINE has not documented yet."""
        now = time.time()
        return {
            "type": "teleported",
            "teleported": {"to": "moon"},
            "webhookEventId": identifiers.ulid(now),
            "deliveryContext": {"isRedelivery": False},
            "timestamp": int(now * 1000),
            "source": dict(beside["source"]),
            "mode": "active",
        }


def _escaped(letter: str) -> str:
    return json.dumps(letter).strip('"')
