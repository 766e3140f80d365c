"""Sends calls to LINE: one asyncio loop in a thread of its own, prebuilt bodies, LINE's own pace.

Rows are the truth. A call is claimed (and its try counted) in a committed transaction before its
first byte leaves, carries the retry key it was born with, and its outcome is written down in
batches. Killed at any point, the next sender repeats the same key and body, and LINE answers 409
for what it had accepted. Replies have no such key: they are tried once.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import socket
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from typing import Any

from bot.gateway import Line, SdkLine
from bot.tokens import TokenSource
from core import metrics
from core.errors import OutsideFault
from core.runtime import Runtime
from engagement import outbox
from models.outbox import CallKind
from worker import calls
from worker.desk import Desk, Habits, log
from worker.lanes import Lane
from worker.limits import LINE_LIMITS, LONGEST_STRETCH_SECONDS, ensure_limits
from worker.replies import Asked, ReplyLane
from worker.verdicts import Answer, Verdict

Service = Callable[[], Coroutine[Any, Any, None]]
HOUSEKEEPING_ROWS = 1000
LEFT_REPLIES = 50


class Sender:
    """Sends everything that is due until it is stopped."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        tokens: TokenSource | None = None,
        line: Line | None = None,
        habits: Habits | None = None,
        name: str | None = None,
    ) -> None:
        """`line` is asked for the quota only; without it the SDK is loaded when first needed."""
        self.habits = habits or Habits()
        self.tokens = tokens or TokenSource(runtime.settings)
        machine = f"{socket.gethostname()[:24]}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self.name = (name or machine)[:64]
        self._runtime = runtime
        self._line = line
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._is_ready = threading.Event()
        self._asked: deque[Asked] = deque()
        self._desk: Desk | None = None

    # From other threads.

    def start(self) -> None:
        """Begin sending in a thread of its own."""
        assert self._thread is None
        self._thread = threading.Thread(target=self._run, name="taem-sender", daemon=True)
        self._thread.start()
        self._is_ready.wait(10)

    def stop(self) -> None:
        """Finish what is under way (ten seconds at most), give back the rest."""
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self._soon(self._ask_to_stop)
        thread.join(self.habits.stop_seconds + 5)

    def wake(self) -> None:
        """Calls were committed; safe from any thread, at any time."""
        self._soon(self._stir)

    def reply(
        self, call_id: int, token: str, body: bytes, *, is_transactional: bool = False
    ) -> None:
        """Send a reply whose call is already written down as under way. Never blocks.

        `body` is the whole request, token included. A definite refusal of a transactional answer
        (this flag, or the class of its call) becomes a push.
        """
        del token
        self._asked.append(Asked(call_id, body, is_transactional, time.monotonic()))
        self._soon(self._take_replies)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def outcomes(self) -> Counter[tuple[str, str]]:
        """(kind, verdict) -> answers since the start."""
        return self._desk.counted if self._desk is not None else Counter()

    def _soon(self, work: Callable[[], object]) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(work)
            except RuntimeError:  # closed in this very moment; the rows stay
                return

    # Inside the loop.

    def _run(self) -> None:
        # What is loaded by now stays: the collector need not look at it every few hundred calls.
        gc.freeze()
        loop = _new_loop()
        try:
            loop.run_until_complete(self._main(loop))
        finally:
            self._loop = None
            self._is_ready.set()
            loop.close()

    async def _main(self, loop: asyncio.AbstractEventLoop) -> None:
        habits = self.habits
        self._stopped = asyncio.Event()
        desk = self._desk = Desk(self._runtime, self.tokens, habits, self.name)
        self._lanes = [
            Lane(desk, kind, in_flight, int(LINE_LIMITS[kind.value] * LONGEST_STRETCH_SECONDS / 2))
            for kind, in_flight in (
                (CallKind.PUSH, habits.in_flight),
                (CallKind.MULTICAST, max(habits.in_flight // 4, 1)),
            )
        ]
        self._replies = ReplyLane(desk, habits.in_flight)
        self._is_stirred = asyncio.Event()
        desk.on_halt, desk.on_work = self._halt, self._stir
        self._loop = loop
        self._is_ready.set()
        recorder = asyncio.create_task(desk.record_for_ever())
        await self._ensure_limits(desk)
        self._take_replies()
        services = [asyncio.create_task(self._for_ever(desk, self._replies.feed))]
        try:
            # Before the first push: what may still be sent this month. Replies need no quota.
            await self._know_quota(desk)
            feeders: list[Service] = [lane.feed for lane in self._lanes]
            services += [
                asyncio.create_task(self._for_ever(desk, service))
                for service in [*feeders, self._give_left_replies, self._keep_house]
            ]
            await self._stopped.wait()
            await self._wind_down(desk, services)
        finally:
            recorder.cancel()
            await asyncio.gather(recorder, return_exceptions=True)
            await desk.close()

    async def _for_ever(self, desk: Desk, service: Service) -> None:
        """Repeat one service; an error pauses it, nothing ends it but the end."""
        while not desk.is_stopping:
            try:
                await service()
            except Exception as error:
                log.error("sender: a service failed: %s", type(error).__name__)
                await asyncio.sleep(self.habits.sweep_seconds)

    async def _wind_down(self, desk: Desk, services: Sequence[asyncio.Task[None]]) -> None:
        """Let what is under way finish, give back what is not."""
        for service in services:
            service.cancel()
        await asyncio.gather(*services, return_exceptions=True)
        self._take_replies()
        await self._replies.wind_down()
        for lane in self._lanes:
            await lane.wind_down()
        if desk.tasks:
            _, late = await asyncio.wait(desk.tasks, timeout=self.habits.stop_seconds)
            for task in late:
                task.cancel()

    def _ask_to_stop(self) -> None:
        if self._desk is not None:
            self._desk.is_stopping = True
        self._stopped.set()

    def _stir(self) -> None:
        self._is_stirred.set()
        for lane in self._lanes:
            lane.stir()

    def _halt(self) -> None:
        for lane in self._lanes:
            lane.halt()

    def _take_replies(self) -> None:
        while self._asked:
            self._replies.take(self._asked.popleft())

    async def _ensure_limits(self, desk: Desk) -> None:
        while not desk.is_stopping:
            try:
                await desk.in_database(ensure_limits)
                return
            except Exception as error:
                log.error("sender: the database is away: %s", type(error).__name__)
                await asyncio.sleep(self.habits.sweep_seconds)

    async def _give_left_replies(self) -> None:
        """Replies that were not made in this process: staff answering in the console."""
        desk = self._desk
        assert desk is not None
        if not await desk.in_reading(calls.has_left_replies):
            try:
                await asyncio.wait_for(self._is_stirred.wait(), self.habits.sweep_seconds)
            except TimeoutError:
                return
            finally:
                self._is_stirred.clear()
            return
        real_now = self._runtime.clock.real_now()
        taken = await desk.in_database(
            lambda session: calls.take_left_replies(
                session, worker=self.name, real_now=real_now, limit=LEFT_REPLIES
            )
        )
        for one in taken:
            if one.is_late:
                words = {"error": "too late"}
                messages = json.loads(one.body)["messages"]
                refused = Answer(Verdict.REFUSED, words=words)
                desk.note_reply(calls.ReplyOutcome(one.call_id, refused, messages, True))
            else:
                self._replies.take(Asked(one.call_id, one.body, True, time.monotonic()))

    # What comes round now and then.

    async def _keep_house(self) -> None:
        """Close what nobody will finish, read the quota, resume what was parked."""
        desk, clock = self._desk, self._runtime.clock
        assert desk is not None
        now, real_now = clock.now(), clock.real_now()
        await desk.in_database(
            lambda session: outbox.close_stale_replies(session, now, real_now, HOUSEKEEPING_ROWS)
        )
        await desk.in_database(
            lambda session: calls.close_overdue_parked(session, now, HOUSEKEEPING_ROWS)
        )
        await self._read_quota(desk)
        habits = self.habits
        pause = min(habits.housekeeping_seconds, habits.low_quota_seconds) * habits.patience
        await asyncio.sleep(pause)

    async def _know_quota(self, desk: Desk) -> None:
        reading = asyncio.create_task(self._read_quota(desk))
        stopping = asyncio.create_task(self._stopped.wait())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if reading.done() and reading.exception() is not None:
            log.error("sender: the quota is not known: %s", type(reading.exception()).__name__)

    async def _read_quota(self, desk: Desk) -> None:
        habits, real_now = self.habits, self._runtime.clock.real_now()
        usual = timedelta(seconds=habits.quota_seconds * habits.patience)
        often = timedelta(seconds=habits.low_quota_seconds * habits.patience)
        reading = await desk.in_database(
            lambda session: calls.begin_reading(session, real_now, usual, often)
        )
        if reading is None:
            return
        try:
            quota = await desk.rarely(self._ask_quota)
        except OutsideFault as fault:
            log.warning("sender: the quota cannot be read: %s", type(fault).__name__)
            return
        metrics.quota_limit.set(-1 if quota.limit is None else quota.limit)
        metrics.quota_used.set(quota.used)
        now, tz = self._runtime.clock.now(), self._runtime.clock.tz
        if await desk.in_database(
            lambda session: calls.note_quota(
                session, quota.limit, quota.used, now, reading, rests=usual, tz=tz
            )
        ):
            self._stir()

    def _ask_quota(self) -> Any:
        if self._line is None:
            self._line = SdkLine(self._runtime.settings, self.tokens)
        return self._line.quota()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # pragma: no cover - every platform we support has it
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
