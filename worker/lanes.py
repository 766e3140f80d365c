"""One LINE endpoint of one sender: claims calls, keeps the pace, sends, and minds the trouble."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, replace

from core.errors import OutsideFault
from engagement import outbox
from models.outbox import CallKind
from worker import calls
from worker.calls import Claimed, Look, Outcome, Stock
from worker.desk import HALTS, PATHS, Desk, log
from worker.limits import Pace, lease
from worker.verdicts import Answer, Verdict, blames, no_answer

VALIDATE_PATH = "/v2/bot/message/validate/multicast"
FIRST_BATCH, SMALLEST_BATCH = 16, 4
#: Nobody holds more calls than it sends in about this time: what is held too long goes back.
HAND_SECONDS = 1.0
#: Seconds until a call is tried again, by its number of tries.
BACK_OFF = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0)
#: Failures in a row after which only one call at a time tests whether LINE is back.
FAILURES_IN_A_ROW = 10
#: Longest rest of an endpoint after failures, and after LINE's rate limit (FL06).
FAILURE_PAUSE = 30.0
RATE_PAUSE = 60.0
#: How finely the pace is kept.
TICK_SECONDS = 0.004


@dataclass
class Trouble:
    """What an endpoint is going through, and when it may be tried again."""

    failures: int = 0
    pauses: int = 0
    #: Monotonic seconds.
    until: float = 0.0
    #: Only one call leaves, and its answer is awaited.
    is_probing: bool = False


class Lane:
    """Pushes or multicasts."""

    def __init__(self, desk: Desk, kind: CallKind, max_in_flight: int, max_batch: int) -> None:
        """`max_batch` calls are claimed at once, and time for as many leased, at most."""
        self.kind = kind
        self.trouble = Trouble()
        self.stirred = asyncio.Event()
        self._desk = desk
        self._max_in_flight = max_in_flight
        self._max_batch = max_batch
        self._batch = min(FIRST_BATCH, max_batch)
        self._launched = 0
        self._measured_at = time.monotonic()
        self._hand: deque[tuple[Claimed, float]] = deque()
        self._in_flight = 0
        self._pace = Pace()
        self._may_have_more = True
        self._looked_at = 0.0
        self._halted_at = 0.0
        self._checked_at = 0.0
        self._new_token_at = 0.0
        self._stocking: asyncio.Task[None] | None = None
        self._leasing: asyncio.Task[None] | None = None

    def stir(self) -> None:
        """Calls were committed: look again."""
        self._may_have_more = True
        self.stirred.set()

    async def feed(self) -> None:
        """One round: rest, restock, or send what may leave now."""
        sweep = self._desk.habits.sweep_seconds
        if self._desk.runtime.settings.sending == "held":
            await self._wait(sweep)
            return
        now = time.monotonic()
        if self.trouble.until > now:
            await asyncio.sleep(min(self.trouble.until - now, sweep))
            return
        if self._desk.is_halting or (self.trouble.is_probing and self._in_flight):
            await self._wait(sweep)
            return
        if now - self._checked_at >= 0.1:
            self._checked_at = now
            self._drop_stale(now)
        self._restock(now)
        if not self._hand:
            if self._stocking is not None:
                await asyncio.wait({self._stocking})
            else:
                await self._wait(sweep)
            return
        room = self._max_in_flight - self._in_flight
        if self.trouble.is_probing:
            room = min(room, 1)
        if room <= 0:
            await self._wait(sweep)
            return
        taken = self._pace.take(now, min(room, len(self._hand)))
        for _ in range(taken):
            self._launch()
        self._extend_pace(now)
        await self._tick(now, taken)

    async def _tick(self, now: float, taken: int) -> None:
        """Sleep until the pace allows more."""
        pause = self._pace.wait(now)
        if not taken and pause is None and self._leasing is not None:
            await asyncio.wait({self._leasing})
            return
        await asyncio.sleep(min(max(pause or 0.0, TICK_SECONDS), 0.1))

    async def _wait(self, seconds: float) -> None:
        """Sleep until stirred."""
        try:
            await asyncio.wait_for(self.stirred.wait(), seconds)
        except TimeoutError:
            return
        finally:
            self.stirred.clear()

    # Claiming

    def _restock(self, now: float) -> None:
        """Look for more calls while there are still some in hand."""
        is_rested = now - self._looked_at >= self._desk.habits.sweep_seconds
        if self._stocking is not None or not (self._may_have_more or is_rested):
            return
        if self._hand and (self.trouble.is_probing or len(self._hand) >= self._batch // 2):
            return
        self._measure(now)
        self._looked_at = now
        is_sweep = not self._may_have_more
        self._may_have_more = False
        self._stocking = asyncio.create_task(self._stock(is_sweep=is_sweep))

    def _measure(self, now: float) -> None:
        """Claim next what was sent lately in the time one may hold it: LINE may be slow."""
        seconds = now - self._measured_at
        if seconds < 0.05 or not self._launched:
            return
        holds = min(HAND_SECONDS, self._desk.habits.safe_seconds / 4)
        wanted = int(self._launched / seconds * holds)
        # At most twice as many as before: a burst says little about what follows.
        wanted = min(wanted, self._batch * 2, self._max_batch)
        self._batch = max(wanted, min(SMALLEST_BATCH, self._max_batch))
        self._launched, self._measured_at = 0, now

    async def _stock(self, *, is_sweep: bool) -> None:
        desk = self._desk
        try:
            # Pushes wake both lanes, and few of them are followed by a multicast.
            is_doubtful = is_sweep or self.kind == CallKind.MULTICAST
            if is_doubtful and not await self._has_work():
                return
            limit = 1 if self.trouble.is_probing else self._batch
            has_new_token = await self._seek_new_token()
            clock, asked_at = desk.runtime.clock, time.monotonic()
            look = Look(
                kind=self.kind,
                limit=limit,
                lease_count=0 if self._pace.left(asked_at) else limit,
                worker=desk.name,
                lease_seconds=desk.habits.lease_seconds,
                now=clock.now(),
                real_now=clock.real_now(),
                tz=clock.tz,
                token_hash=desk.tokens.fingerprint,
                has_new_token=has_new_token,
            )
            stock = await desk.in_database(lambda session: calls.take_stock(session, look))
            desk.reach("outbox.claimed")
            self._receive(stock, asked_at)
        except Exception as error:
            log.error("sender: claiming failed: %s", type(error).__name__)
            await asyncio.sleep(desk.habits.sweep_seconds)
        finally:
            self._stocking = None
            self.stirred.set()

    async def _has_work(self) -> bool:
        """Whether anything is due; an idle look takes no lock of the database."""
        clock = self._desk.runtime.clock
        now, real_now = clock.now(), clock.real_now()
        return await self._desk.in_reading(
            lambda session: calls.has_work(session, self.kind, now, real_now)
        )

    def _receive(self, stock: Stock, asked_at: float) -> None:
        if self._halted_at > asked_at:  # what was claimed before the halt is not to leave after it
            self._return(stock.calls)
            return
        self._desk.paused_for = stock.paused_for
        if stock.is_probe and stock.calls:
            self.trouble.is_probing = True
        taken = stock.calls
        if self.trouble.is_probing and len(taken) > 1:  # trouble came while we looked
            taken, others = taken[:1], taken[1:]
            self._return(others)
        self._hand.extend((call, asked_at) for call in taken)
        if stock.stretch is not None:
            self._pace.grant(stock.stretch, asked_at)
        self._may_have_more = self._may_have_more or stock.is_more

    async def _seek_new_token(self) -> bool:
        """While an issued token is refused, have a new one issued now and then."""
        desk = self._desk
        if desk.paused_for != "token" or desk.tokens.is_ready:
            return False
        now = time.monotonic()
        if now - self._new_token_at < desk.habits.new_token_seconds * desk.habits.patience:
            return False
        self._new_token_at = now
        try:
            await desk.rarely(desk.tokens.get)
        except OutsideFault:
            return False
        return True

    def _extend_pace(self, now: float) -> None:
        """Lease the next stretch of time before the present one is spent."""
        if self._leasing is not None or not self._hand:
            return
        if self._pace.left(now) < min(len(self._hand), max(self._max_batch // 4, 1)):
            count = min(len(self._hand), self._max_batch)
            self._leasing = asyncio.create_task(self._lease(count))

    async def _lease(self, count: int) -> None:
        try:
            asked_at = time.monotonic()
            stretch = await self._desk.in_database(
                lambda session: lease(session, self.kind.value, count)
            )
            if stretch is None:
                await asyncio.sleep(0.1)  # others have the next second
            else:
                self._pace.grant(stretch, asked_at)
        except Exception as error:
            log.error("sender: leasing failed: %s", type(error).__name__)
            await asyncio.sleep(self._desk.habits.sweep_seconds)
        finally:
            self._leasing = None
            self.stirred.set()

    # Sending

    def _drop_stale(self, now: float) -> None:
        """Give back what was held too long to be answered in time, or has become too late."""
        oldest = now - self._desk.habits.safe_seconds
        moment = self._desk.runtime.clock.now()
        kept = deque(
            (call, claimed_at)
            for call, claimed_at in self._hand
            if claimed_at >= oldest and not (call.not_after and call.not_after <= moment)
        )
        if len(kept) < len(self._hand):
            held = {call.id for call, _ in kept}
            self._return([call for call, _ in self._hand if call.id not in held])
            self._hand = kept

    def _launch(self) -> None:
        call, _ = self._hand.popleft()
        self._launched += 1
        self._in_flight += 1
        self._desk.keep(self._send(call, is_probe=self.trouble.is_probing))

    async def _send(self, call: Claimed, *, is_probe: bool) -> None:
        outcome, token = Outcome(call, Answer(Verdict.UNKNOWN)), None
        try:
            outcome.answer, token = await self._desk.call(
                PATHS[call.kind], call.body, call.retry_key
            )
            self._desk.reach("outbox.answered")
            if call.kind == CallKind.MULTICAST:
                outcome = await self._judge_multicast(outcome)
        except Exception as error:  # a mistake of ours must not lose sight of the call
            log.error("sender: a call failed: %s", type(error).__name__)
            outcome.answer = no_answer(error)
        finally:
            self._in_flight -= 1
            self.stirred.set()
        self._note(outcome, token, is_probe=is_probe)

    async def _judge_multicast(self, outcome: Outcome) -> Outcome:
        """Tell a bad recipient (ask in halves) from bad content (dead for all)."""
        answer = outcome.answer
        if answer.verdict not in (Verdict.REFUSED, Verdict.UNREACHABLE):
            return outcome
        blamed = "to" if answer.verdict == Verdict.UNREACHABLE else blames(answer)
        if blamed is None and answer.status == 400:
            content = b'{"messages":%b}' % outbox.content_of(outcome.call.body)
            checked, _ = await self._desk.call(VALIDATE_PATH, content)
            if checked.verdict == Verdict.DONE:
                blamed = "to"
            elif checked.verdict not in (Verdict.REFUSED, Verdict.UNREACHABLE):
                return Outcome(outcome.call, replace(answer, verdict=Verdict.UNKNOWN))
        return Outcome(outcome.call, answer, is_split=blamed == "to")

    def _note(self, outcome: Outcome, token: str | None, *, is_probe: bool) -> None:
        """Draw the consequences of one answer, then have it written down."""
        desk, verdict = self._desk, outcome.answer.verdict
        desk.count(self.kind.value, verdict)
        if verdict == Verdict.RATE:
            self._rest(RATE_PAUSE)
            outcome.retry_in = max(self.trouble.until - time.monotonic(), 0.0)
        elif verdict == Verdict.UNKNOWN:
            self.trouble.failures += 1
            outcome.retry_in = self._back_off(outcome.call.attempts)
            if is_probe or self.trouble.failures >= FAILURES_IN_A_ROW:
                self._rest(FAILURE_PAUSE)
        elif verdict in HALTS:
            desk.halt(verdict, token)
        elif is_probe or not self.trouble.is_probing:
            # Answers to what left before a pause say nothing about it; the test call's does.
            self.trouble = Trouble()
            if is_probe:
                desk.keep(desk.guarded(self._resume()))
        desk.note(outcome)

    def _back_off(self, attempts: int) -> float:
        """Seconds until the next try, never the same for everybody."""
        base = BACK_OFF[min(attempts, len(BACK_OFF)) - 1]
        return base * random.uniform(0.8, 1.2) * self._desk.habits.patience

    def _rest(self, longest: float) -> None:
        """Stop this endpoint for a while; then a single call tests it."""
        trouble, now = self.trouble, time.monotonic()
        if trouble.until > now:
            return  # an answer to what was already under way when the rest began
        trouble.pauses += 1
        base = min(2.0 ** (trouble.pauses - 1), longest)
        trouble.until = now + base * random.uniform(1.0, 1.2) * self._desk.habits.patience
        trouble.is_probing = True
        self.empty_hand()

    def halt(self) -> None:
        """Let nothing more leave until the pause is written down and looked at."""
        self._halted_at = time.monotonic()
        self.trouble.until = self._halted_at + self._desk.habits.sweep_seconds
        self.trouble.is_probing = True
        self.empty_hand()

    async def _resume(self) -> None:
        """A test call was accepted: all senders may go on."""
        await self._desk.in_database(calls.resume)
        self._desk.on_work()

    # Giving back

    def empty_hand(self) -> None:
        """Return what is in hand but not under way."""
        some = [call for call, _ in self._hand]
        self._hand.clear()
        self._return(some)

    def _return(self, some: list[Claimed]) -> None:
        desk = self._desk
        if some:
            desk.keep(
                desk.guarded(
                    desk.in_database(lambda session: calls.release(session, some, worker=desk.name))
                )
            )

    async def wind_down(self) -> None:
        """Stop claiming and give back what is not under way."""
        if self._stocking is not None:
            await asyncio.gather(self._stocking, return_exceptions=True)
        self.empty_hand()
