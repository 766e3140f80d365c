"""Moves the demo shop's time forward and runs what was due on the way, in order."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, bindparam, exists, func, select

from core.clock import SystemClock, local_day
from core.errors import Refused
from core.runtime import Runtime
from engagement import campaigns, outbox
from loyalty import shop
from models.base import UtcDateTime
from models.inbox import Event, EventState
from models.journeys import IS_ACTIVE, IS_WAITING, Enrolment, Intent
from models.outbox import Call, CallState, ChannelState, Message
from models.schedule import Occurrence, OccurrenceState
from rich_menus import plans
from scheduler import runner
from scheduler.schedule import JOBS, Job

MAX_ADVANCE = timedelta(days=400)
MAX_STEPS = 20_000
#: How long one stop waits for the sender; a slow or faulty LINE must not hold the demo up.
SETTLE_SECONDS = 5.0
PAUSE_SECONDS = 0.01
#: What a killed process had in hand belongs to it for a minute of real time.
LEASE_SECONDS = 75.0


@dataclass(frozen=True)
class Advanced:
    """What a move of the clock did."""

    now: datetime
    stops: int


def advance(runtime: Runtime, seconds: int) -> Advanced:
    """Move the stored offset forward by `seconds`, stopping at every due moment on the way.

    Refuses backwards moves and more than 400 days. Answers when everything due is done.
    """
    if not 0 <= seconds <= MAX_ADVANCE.total_seconds():
        raise Refused("demo.bad_advance", status=422)
    span = timedelta(seconds=seconds)
    assert isinstance(runtime.clock, SystemClock)
    sends = runtime.settings.sending != "held"
    with runner.TURN:
        here = runtime.clock.now()
        target = here + span
        wanted = shop.clock_offset(runtime.database) + seconds
        stops = 0
        _wait_for_leases(runtime)
        runner.tick(runtime, here)
        ahead = _look_ahead(runtime, here)
        while here < target and stops < MAX_STEPS:
            stop, jobs = _next_stop(runtime, here, target, ahead)
            runner.tick(runtime, stop, jobs)
            stops += 1
            ahead = _look_ahead(runtime, stop)
            # Nothing but the sender looks at the clock meanwhile: it moves when there is
            # something to send, at each day's end, and in the end.
            is_new_day = local_day(stop, runtime.clock.tz) > local_day(here, runtime.clock.tz)
            if stop == target or is_new_day or (sends and ahead.is_owed):
                _move_to(runtime, stop)
                if _let_settle(runtime):
                    ahead = _look_ahead(runtime, stop)
            here = stop
        _set_offset(runtime, wanted)  # what it took is not swallowed
        return Advanced(now=runtime.clock.now(), stops=stops)


def _next_stop(
    runtime: Runtime, here: datetime, target: datetime, ahead: Ahead
) -> tuple[datetime, list[Job]]:
    """The next moment at which something is due, else the target; and the jobs due by then."""
    horizon = min(target, here + timedelta(days=2))
    tz = runtime.clock.tz
    dues = {
        job.id: due
        for job in JOBS.values()
        if (due := next(job.occurrences(here, horizon, tz), None)) is not None
    }
    stop = min([target, *dues.values(), *ahead.moments])
    return stop, [JOBS[job_id] for job_id, due in dues.items() if due <= stop]


@dataclass(frozen=True)
class Ahead:
    """What the rows say about the time after a moment."""

    #: When the next intent, step, call, campaign or planned menu is due; there may be none.
    moments: list[datetime]
    #: Whether a call is due by then that nobody has tried yet.
    is_owed: bool


AFTER: Any = bindparam("after", type_=UtcDateTime())
_IS_UNTRIED = and_(outbox.IS_OPEN, Call.state == CallState.WAITING, Call.attempts == 0)
_AHEAD = select(
    select(func.min(Intent.deadline)).where(IS_WAITING, Intent.deadline > AFTER).scalar_subquery(),
    select(func.min(Enrolment.due_at)).where(IS_ACTIVE, Enrolment.due_at > AFTER).scalar_subquery(),
    select(func.min(Call.next_try_at))
    .where(_IS_UNTRIED, Call.next_try_at > AFTER)
    .scalar_subquery(),
    exists().where(_IS_UNTRIED, Call.next_try_at <= AFTER)
    | exists().where(outbox.IS_UNGROUPED, Message.due_at <= AFTER),
)


def _look_ahead(runtime: Runtime, after: datetime) -> Ahead:
    """One look for what is owed now and what comes next."""
    with runtime.database.read() as session:
        *moments, is_owed = session.execute(_AHEAD, {"after": after}).one()
        moments.append(campaigns.next_moment(session, after, runtime.clock.tz))
        moments.append(plans.next_moment(session, after))
    return Ahead([moment for moment in moments if moment is not None], bool(is_owed))


def _move_to(runtime: Runtime, moment: datetime) -> None:
    _set_offset(runtime, math.ceil((moment - runtime.clock.real_now()).total_seconds()))
    runtime.wake.calls()
    runtime.wake.events()


def _set_offset(runtime: Runtime, seconds: int) -> None:
    """Store the offset, never a smaller one: time does not run backwards."""
    clock = runtime.clock
    assert isinstance(clock, SystemClock)
    with runtime.database.write() as session:
        before = int(shop.get(session, shop.CLOCK_OFFSET))
        if seconds > before:
            shop.set_clock_offset(session, seconds, clock.real_now())
    clock.refresh()


_IN_HAND = select(
    exists().where(
        Occurrence.state == OccurrenceState.RUNNING, Occurrence.lease_until >= bindparam("real_now")
    )
    | exists().where(
        outbox.IS_OPEN,
        Call.state == CallState.SENDING,
        Call.lease_until >= bindparam("real_now"),
    )
)


def _wait_for_leases(runtime: Runtime) -> None:
    """Let what somebody has in hand come to its end, or its lease.

    After a kill a job or a call belongs to the dead for a minute. That is nothing to a shop; on this
    clock it is months, whose days would pass without that job.
    """
    until = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < until:
        with runtime.database.read() as session:
            if not session.scalar(_IN_HAND, {"real_now": runtime.clock.real_now()}):
                return
        time.sleep(PAUSE_SECONDS * 10)


_SENDS_AT: Any = bindparam("now", type_=UtcDateTime())
_UNSETTLED = select(
    exists().where(
        outbox.IS_OPEN,
        Call.next_try_at <= _SENDS_AT,
        Call.attempts < 2,
    )
    | exists().where(outbox.IS_UNGROUPED, Message.due_at <= _SENDS_AT)
    | exists().where(Event.state == EventState.PENDING, Event.attempts == 0)
)


def _let_settle(runtime: Runtime) -> bool:
    """Wait until the sender has sent what is due now, as it would have at that hour.

    Returns whether there was anything to wait for.
    """
    until = time.monotonic() + SETTLE_SECONDS
    has_waited = False
    while time.monotonic() < until:
        with runtime.database.read() as session:
            channel = session.get(ChannelState, 1)
            if runtime.settings.sending == "held" or (channel and channel.paused_for):
                return has_waited
            is_over = not session.scalar(_UNSETTLED, {"now": runtime.clock.now()})
        if is_over:
            return has_waited
        has_waited = True
        time.sleep(PAUSE_SECONDS)
    return has_waited
