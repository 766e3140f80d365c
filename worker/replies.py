"""Replies: at most once, and soon, because a reply token lives a minute and works once.

Their call is written down as under way before they come here; whatever the outcome, they are not
repeated, unless it is certain that nothing left this machine.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from dataclasses import dataclass, replace

from core.sabotage import is_sabotaged
from models.outbox import CallKind
from worker.calls import ReplyOutcome
from worker.desk import HALTS, PATHS, Desk, log
from worker.limits import BURST, LINE_LIMITS, Pace, lease
from worker.verdicts import Answer, Verdict

#: A reply that could not leave within this time would come too late.
REPLY_SECONDS = 30.0
TRIES = 3
#: Calls leased at once: answers come in small bursts all day.
STRETCH = int(LINE_LIMITS["reply"] * BURST)
#: Errors after which not one byte of the request has left.
NEVER_LEFT = frozenset(
    {
        "ClientConnectorError",
        "ClientConnectorDNSError",
        "ClientConnectorCertificateError",
        "ClientConnectorSSLError",
    }
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A committed answer. `body` is the whole request."""

    call_id: int
    body: bytes
    is_transactional: bool
    #: Monotonic seconds.
    asked_at: float


class ReplyLane:
    """Sends replies in the order they came."""

    def __init__(self, desk: Desk, max_in_flight: int) -> None:
        self.stirred = asyncio.Event()
        self._desk = desk
        self._max_in_flight = max_in_flight
        self._waiting: deque[Asked] = deque()
        self._in_flight = 0
        self._pace = Pace()
        self._leasing: asyncio.Task[None] | None = None

    def take(self, asked: Asked) -> None:
        """Another reply is to be sent."""
        self._waiting.append(asked)
        self.stirred.set()

    async def feed(self) -> None:
        """One round: send what may leave now."""
        room = self._max_in_flight - self._in_flight
        if not self._waiting or room <= 0:
            await self._wait()
            return
        now = time.monotonic()
        taken = self._pace.take(now, min(room, len(self._waiting)))
        for _ in range(taken):
            self._launch()
        if self._leasing is None and self._pace.left(now) <= len(self._waiting):
            self._leasing = asyncio.create_task(self._lease())
        if taken:
            await asyncio.sleep(0)
            return
        pause = self._pace.wait(now)
        if pause is None and self._leasing is not None:
            await asyncio.wait({self._leasing})
        else:
            await asyncio.sleep(min(max(pause or 0.0, 0.001), 0.1))

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self.stirred.wait(), self._desk.habits.sweep_seconds)
        except TimeoutError:
            return
        finally:
            self.stirred.clear()

    async def _lease(self) -> None:
        try:
            asked_at = time.monotonic()
            stretch = await self._desk.in_database(
                lambda session: lease(session, CallKind.REPLY.value, STRETCH)
            )
            if stretch is None:
                await asyncio.sleep(0.05)
            else:
                self._pace.grant(stretch, asked_at)
        except Exception as error:
            log.error("sender: leasing failed: %s", type(error).__name__)
            await asyncio.sleep(self._desk.habits.gather_seconds)
        finally:
            self._leasing = None
            self.stirred.set()

    def _launch(self) -> None:
        self._in_flight += 1
        self._desk.keep(self._send(self._waiting.popleft()))

    async def _send(self, asked: Asked) -> None:
        desk = self._desk
        answer, token = Answer(Verdict.UNKNOWN, words={"error": "stopped"}), None
        try:
            answer, token = await self._try(asked)
            desk.reach("reply.answered")
        finally:
            self._in_flight -= 1
            self.stirred.set()
            desk.count(CallKind.REPLY.value, answer.verdict)
            is_done = answer.verdict == Verdict.DONE
            messages = [] if is_done else json.loads(asked.body)["messages"]
            desk.note_reply(ReplyOutcome(asked.call_id, answer, messages, asked.is_transactional))
        if answer.verdict in HALTS:
            desk.halt(answer.verdict, token)

    async def _try(self, asked: Asked) -> tuple[Answer, str | None]:
        """Once, unless it certainly never left: no connection came about, or a 429."""
        answer, token = Answer(Verdict.REFUSED, words={"error": "too late"}), None
        for attempt in range(1, TRIES + 1):
            if time.monotonic() - asked.asked_at > REPLY_SECONDS:
                break
            answer, token = await self._desk.call(PATHS[CallKind.REPLY], asked.body)
            never_left = (answer.words or {}).get("error") in NEVER_LEFT
            if answer.verdict == Verdict.UNKNOWN and is_sabotaged("reply_repeated"):
                continue
            if answer.verdict != Verdict.RATE and not never_left:
                return answer, token
            if attempt < TRIES:
                await asyncio.sleep(attempt * self._desk.habits.patience)
        return replace(answer, verdict=Verdict.REFUSED), token

    async def wind_down(self) -> None:
        """Let everything leave that was asked for."""
        while self._waiting:
            self._launch()
