"""What the parts of one sender share: habits, HTTP, threads for the database, outcomes to record.

Everything here lives in the sender's own event loop, except what `in_database` and `rarely` run.
"""

from __future__ import annotations

import asyncio
import logging
import os
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import aiohttp
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session

from bot.tokens import TokenSource
from core import metrics
from core.errors import OutsideFault
from core.ids import token_hash
from core.runtime import Runtime
from core.sabotage import is_sabotaged, reach
from models.outbox import CallKind
from worker import calls
from worker.calls import Outcome, ReplyOutcome
from worker.verdicts import Answer, Verdict, judge, no_answer

T = TypeVar("T")

PATHS = {
    CallKind.PUSH: "/v2/bot/message/push",
    CallKind.MULTICAST: "/v2/bot/message/multicast",
    CallKind.REPLY: "/v2/bot/message/reply",
}
#: Answers of LINE are small; anything longer is not LINE's.
MAX_ANSWER_BYTES = 256 * 1024
#: Verdicts after which every sender stops, and what the channel is then paused for.
HALTS = {Verdict.TOKEN: "token", Verdict.FORBIDDEN: "forbidden", Verdict.QUOTA: "quota"}
#: The database's own trouble, which passes; whatever else fails is about what was to be written.
AWAY = (OperationalError, InterfaceError, NoConnection)

log = logging.getLogger("taem.sender")


@dataclass(frozen=True)
class Habits:
    """Figures a test may change; every duration is in seconds."""

    connect_seconds: float = 3.0
    #: For the whole answer, so that one byte a second is cut as well.
    read_seconds: float = 10.0
    #: A claimed call belongs to this sender for so long.
    lease_seconds: float = 60.0
    in_flight: int = 128
    sweep_seconds: float = 1.0
    #: Outcomes are gathered for so long before they are written down, while others are awaited.
    gather_seconds: float = 0.05
    stop_seconds: float = 10.0
    quota_seconds: float = 300.0
    #: While parked or near the end, LINE's figures are asked for more often.
    low_quota_seconds: float = 60.0
    housekeeping_seconds: float = 30.0
    #: How often a new token is issued while the old one is refused.
    new_token_seconds: float = 30.0
    #: Back-off and pauses are multiplied by this.
    patience: float = 1.0

    @property
    def safe_seconds(self) -> float:
        """How old a claim may be for its answer to come before the lease ends."""
        longest = self.read_seconds + 1.0
        return max(self.lease_seconds - longest, self.lease_seconds / 4)


class Desk:
    """Shared by the lanes of one sender. Made inside the running loop, closed at its end."""

    def __init__(self, runtime: Runtime, tokens: TokenSource, habits: Habits, name: str) -> None:
        self.runtime = runtime
        self.tokens = tokens
        self.habits = habits
        self.name = name
        #: (kind, verdict) -> number, since the start.
        self.counted: Counter[tuple[str, str]] = Counter()
        #: Why the channel is paused, as last seen; None while sending.
        self.paused_for: str | None = None
        self.is_stopping = False
        self.tasks: set[asyncio.Task[Any]] = set()
        #: Called when a verdict stops every lane, and when outcomes left new work.
        self.on_halt: Callable[[], None] = lambda: None
        self.on_work: Callable[[], None] = lambda: None
        self._base = runtime.settings.line_api_url
        self._counters: dict[tuple[str, str], Any] = {}
        # Asked once: looking into the environment for every call would be felt.
        self.is_testing = os.environ.get("TAEM_TESTING") == "1"
        self._has_fresh_keys = is_sabotaged("retry_key_per_attempt")
        #: Requests that LINE has not answered yet.
        self._under_way = 0
        self._outcomes: list[Outcome] = []
        self._replies: list[ReplyOutcome] = []
        self._has_outcomes = asyncio.Event()
        #: Every request has its answer.
        self._is_quiet = asyncio.Event()
        self._flushing: asyncio.Task[None] | None = None
        #: A halt whose answer, and pauses that, are not written down yet.
        self._is_halt_unwritten, self._unwritten_pauses = False, 0
        self._database_pool = ThreadPoolExecutor(2, "taem-sender-db")
        self._rare_pool = ThreadPoolExecutor(2, "taem-sender-line")
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60),
            # One timer of ours around each call costs half of what aiohttp's own two do.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=habits.connect_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Write down what is left, then close everything."""
        if self._flushing is not None:
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self.flush()
        await self._http.close()
        # Whoever closes the database next must not find a transaction of ours under way.
        self._database_pool.shutdown(wait=True, cancel_futures=True)
        self._rare_pool.shutdown(wait=False)

    # LINE

    async def call(
        self, path: str, body: bytes, retry_key: str | None = None
    ) -> tuple[Answer, str | None]:
        """Post once, and once more with a new token if an issued one was refused.

        Returns the answer and the token it was given to.
        """
        if retry_key is not None and self._has_fresh_keys:
            retry_key = str(uuid.uuid4())
        self._under_way += 1
        self._is_quiet.clear()
        try:
            return await self._call(path, body, retry_key)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._is_quiet.set()

    async def _call(
        self, path: str, body: bytes, retry_key: str | None
    ) -> tuple[Answer, str | None]:
        tokens = self.tokens
        for _ in range(2):
            try:
                token = tokens.get() if tokens.is_ready else await self.rarely(tokens.get)
            except OutsideFault as fault:
                verdict = Verdict.TOKEN if fault.is_permanent else Verdict.RATE
                return Answer(verdict, words={"error": "no token"}), None
            answer = await self._post(path, body, retry_key, token)
            if answer.verdict != Verdict.TOKEN or not tokens.refused(token):
                break
        return answer, token

    async def _post(self, path: str, body: bytes, retry_key: str | None, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        if retry_key is not None:
            headers["X-Line-Retry-Key"] = retry_key
        try:
            async with (
                asyncio.timeout(self.habits.read_seconds),
                self._http.post(
                    self._base + path, data=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                given = response.headers
                return judge(
                    response.status,
                    await _read(response),
                    given.get("x-line-request-id"),
                    given.get("x-line-accepted-request-id"),
                )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return no_answer(error)

    def halt(self, verdict: Verdict, token: str | None) -> None:
        """The token, the account or the month: every sender stops, nothing is lost."""
        self.on_halt()
        self._is_halt_unwritten = True  # until the answer, which is noted at once, is written
        why = HALTS[verdict]
        if verdict == Verdict.QUOTA or why == self.paused_for:
            return  # quota: recording the outcome says so
        self.paused_for = why
        digest = token_hash(token) if token else None
        self.keep(self._pause(why, digest))
        log.error("sender: LINE answers %s; sending is paused", verdict.value)

    @property
    def is_halting(self) -> bool:
        """Whether a halt is not written down yet: what is claimed now would know nothing of it."""
        return self._is_halt_unwritten or self._unwritten_pauses > 0

    async def _pause(self, why: str, digest: str | None) -> None:
        now = self.runtime.clock.now()
        self._unwritten_pauses += 1
        try:
            await self.guarded(
                self.in_database(lambda session: calls.pause(session, why, digest, now))
            )
        finally:
            self._unwritten_pauses -= 1
            self.on_work()

    def reach(self, point: str) -> None:
        """Pass a named crash point (tests only)."""
        if self.is_testing:
            reach(point)

    def count(self, kind: str, verdict: Verdict) -> None:
        """Count one answer, for `/metrics`."""
        name = (kind, verdict.value)
        self.counted[name] += 1
        counter = self._counters.get(name)
        if counter is None:
            counter = self._counters[name] = metrics.calls.labels(*name)
        counter.inc()

    # Outcomes

    def note(self, outcome: Outcome) -> None:
        """An answer came: it is written down with the next batch."""
        self._outcomes.append(outcome)
        self._has_outcomes.set()

    def note_reply(self, outcome: ReplyOutcome) -> None:
        """A reply was tried: written down with the next batch."""
        self._replies.append(outcome)
        self._has_outcomes.set()

    async def record_for_ever(self) -> None:
        """Write outcomes down in batches."""
        while True:
            await self._has_outcomes.wait()
            if self._under_way:  # more will come: they share a transaction
                await self._gather()
            self._has_outcomes.clear()
            # Whoever ends this loop must not cut off what is being written down at that moment.
            self._flushing = asyncio.create_task(self.flush())
            await asyncio.shield(self._flushing)

    async def _gather(self) -> None:
        """Wait for the answers that are still to come, but not for long."""
        try:
            async with asyncio.timeout(self.habits.gather_seconds):
                await self._is_quiet.wait()
        except TimeoutError:
            return

    async def flush(self) -> None:
        """Write every outcome down; a database that is away is asked again and again."""
        outcomes, self._outcomes = self._outcomes, []
        replies, self._replies = self._replies, []
        if not outcomes and not replies:
            return
        ends_halt = self._is_halt_unwritten
        now = self.runtime.clock.now()
        done = [one for one in replies if one.answer.verdict == Verdict.DONE]
        others = [one for one in replies if one.answer.verdict != Verdict.DONE]

        def work(session: Session) -> None:
            calls.record(session, outcomes, now=now, worker=self.name)
            calls.record_replies_done(session, done, now=now)
            for other in others:
                calls.record_reply(session, other, now=now)

        kept, kept_replies = list[Outcome](), list[ReplyOutcome]()
        try:
            await self.in_database(work)
        except Exception as error:
            # Kept and tried again; were we to die now, the same keys would be repeated.
            log.error("sender: recording failed: %s", type(error).__name__)
            kept, kept_replies = outcomes, replies
            if not isinstance(error, AWAY):  # one that cannot be written must not hold up the rest
                kept, kept_replies = await self._record_apart(outcomes, replies, now)
            self._outcomes = kept + self._outcomes
            self._replies = kept_replies + self._replies
            if (kept or kept_replies) and not self.is_stopping:
                await asyncio.sleep(self.habits.sweep_seconds)
                self._has_outcomes.set()
            if len(kept) + len(kept_replies) == len(outcomes) + len(replies):
                return
        left = [one.answer.verdict for one in kept] + [one.answer.verdict for one in kept_replies]
        if ends_halt and HALTS.keys().isdisjoint(left):
            self._is_halt_unwritten = False
        self.reach("outbox.recorded")
        if _leaves_work(outcomes):
            self.on_work()

    async def _record_apart(
        self, outcomes: list[Outcome], replies: list[ReplyOutcome], now: datetime
    ) -> tuple[list[Outcome], list[ReplyOutcome]]:
        """Write each outcome down by itself, where one of them cannot be; returns what is left."""
        kept, kept_replies = list[Outcome](), list[ReplyOutcome]()
        for one in outcomes:
            try:
                await self.in_database(
                    partial(calls.record, outcomes=[one], now=now, worker=self.name)
                )
            except Exception:
                kept.append(one)
        for reply in replies:
            try:
                await self.in_database(partial(calls.record_reply, outcome=reply, now=now))
            except Exception:
                kept_replies.append(reply)
        return kept, kept_replies

    # Threads and tasks

    async def in_database(self, work: Callable[[Session], T]) -> T:
        """Run `work` in a transaction of its own, off the loop."""

        def run() -> T:
            with self.runtime.database.write() as session:
                return work(session)

        return await asyncio.get_running_loop().run_in_executor(self._database_pool, run)

    async def in_reading(self, look: Callable[[Session], T]) -> T:
        """Look at the database, off the loop, without writing."""

        def run() -> T:
            with self.runtime.database.read() as session:
                return look(session)

        return await asyncio.get_running_loop().run_in_executor(self._database_pool, run)

    async def rarely(self, work: Callable[[], T]) -> T:
        """Run something that waits for LINE, off the loop."""
        return await asyncio.get_running_loop().run_in_executor(self._rare_pool, work)

    def keep(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something beside; the end waits for it."""
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def guarded(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run database work whose failure costs only time."""
        try:
            await work
        except Exception as error:
            log.error("sender: the database failed: %s", type(error).__name__)


def _leaves_work(outcomes: Sequence[Outcome]) -> bool:
    """Splits and refusals leave something the next look should see at once."""
    return any(one.is_split or one.answer.verdict != Verdict.DONE for one in outcomes)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length > MAX_ANSWER_BYTES:
        raise ValueError("too long")
    return await response.read()
