"""Moves the demo shop's time forward and runs what was due on the way, in order."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, bindparam, exists, func, select
from sqlalchemy.orm import Session

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
    tz = runtime.clock.tz
    sends = runtime.settings.sending != "held"
    with runner.TURN, runner.Shared(runtime) as shared:
        here = runtime.clock.now()
        target = here + span
        wanted = shop.clock_offset(runtime.database) + seconds
        stops = 0
        _wait_for_leases(runtime)
        runner.run_jobs(runtime, here, shared=shared)
        ahead = _move_on(runtime, here, shared)
        while here < target and stops < MAX_STEPS:
            stop, jobs = _next_stop(runtime, here, target, ahead)
            did = shared.did
            if jobs:
                # Until `here` they are known to be done, but for those of which something is left.
                ids = {job.id for job in jobs}
                is_known = shared.left.isdisjoint(ids)
                seen = runner.Seen(dict.fromkeys(ids, here), ()) if is_known else None
                runner.run_jobs(runtime, stop, jobs, seen=seen, shared=shared)
            stops += 1
            is_idle = jobs and shared.did == did and stop not in ahead.moments
            if not is_idle or ahead.due.is_any:
                ahead = _move_on(runtime, stop, shared)
            # Nothing but the sender looks at the clock meanwhile: it moves when there is something
            # to send, at each day's end, and in the end. What it stood at has been sent by then,
            # and while that is being sent the next stops are made ready.
            is_new_day = local_day(stop, tz) > local_day(here, tz)
            if stop == target or is_new_day or (sends and ahead.is_owed):
                shared.commit()
                if _let_settle(runtime):
                    ahead = _look_ahead(runtime, stop, shared)
                _move_to(runtime, stop)
            here = stop
        shared.commit()  # it may be open where nothing lay ahead, or too much
        _let_settle(runtime)
        _set_offset(runtime, wanted)  # what it took is not swallowed
        return Advanced(now=runtime.clock.now(), stops=stops)


def _move_on(runtime: Runtime, stop: datetime, shared: runner.Shared) -> Ahead:
    """Do what the rows want done by now; returns what they say about the time after."""
    ahead = _look_ahead(runtime, stop, shared)
    if not ahead.due.is_any:
        return ahead
    shared.commit()
    runner.move_on(runtime, stop, ahead.due)
    return _look_ahead(runtime, stop, shared)


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
    """What the rows say at a moment."""

    #: What they want done by then.
    due: runner.Due
    #: When the next intent, step, call, campaign or planned menu is due; there may be none.
    moments: list[datetime]
    #: Whether a call is due by then that nobody has tried yet.
    is_owed: bool


AFTER: Any = bindparam("after", type_=UtcDateTime())
_IS_UNTRIED = and_(outbox.IS_OPEN, Call.state == CallState.WAITING, Call.attempts == 0)
_MOMENTS = (
    select(func.min(Intent.deadline)).where(IS_WAITING, Intent.deadline > AFTER).scalar_subquery(),
    select(func.min(Enrolment.due_at)).where(IS_ACTIVE, Enrolment.due_at > AFTER).scalar_subquery(),
    select(func.min(Call.next_try_at))
    .where(_IS_UNTRIED, Call.next_try_at > AFTER)
    .scalar_subquery(),
)
_IS_OWED = (
    exists().where(_IS_UNTRIED, Call.next_try_at <= AFTER)
    | exists().where(outbox.IS_UNGROUPED, Message.due_at <= AFTER)
)  # fmt: skip
# One statement: a year has seven thousand stops, and each of them asks.
_AHEAD = select(*runner.DUE, *_MOMENTS, *plans.MOMENTS, _IS_OWED, *campaigns.MOMENTS)
_ENDS_OF_DUE = len(runner.DUE)
_ENDS_OF_MOMENTS = _ENDS_OF_DUE + len(_MOMENTS) + len(plans.MOMENTS)


def _look_ahead(runtime: Runtime, at: datetime, shared: runner.Shared) -> Ahead:
    """One look for what is due, what is owed and what comes next."""
    if shared.session is not None:  # what is not committed yet counts too
        return _ahead_of(shared.session, at, runtime.clock.tz)
    with runtime.database.read() as session:
        return _ahead_of(session, at, runtime.clock.tz)


def _ahead_of(session: Session, at: datetime, tz: ZoneInfo) -> Ahead:
    row = session.execute(_AHEAD, {"now": at, "after": at}).one()
    campaign = campaigns.next_moment(session, at, tz, row[_ENDS_OF_MOMENTS + 1 :])
    moments = [*row[_ENDS_OF_DUE:_ENDS_OF_MOMENTS], campaign]
    return Ahead(
        due=runner.Due(*map(bool, row[:_ENDS_OF_DUE])),
        moments=[moment for moment in moments if moment is not None],
        is_owed=bool(row[_ENDS_OF_MOMENTS]),
    )


def _move_to(runtime: Runtime, moment: datetime) -> None:
    _set_offset(runtime, math.ceil((moment - runtime.clock.real_now()).total_seconds()))
    runtime.wake.calls()  # events wait for nothing but the machine's own time


def _set_offset(runtime: Runtime, seconds: int) -> None:
    """Store the offset, never a smaller one: time does not run backwards."""
    clock = runtime.clock
    assert isinstance(clock, SystemClock)
    with runtime.database.write() as session:
        stands = shop.raise_clock_offset(session, seconds, clock.real_now())
    clock.keep(stands)


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
    exists().where(outbox.IS_OPEN, Call.next_try_at <= _SENDS_AT, Call.attempts < 2)
    | exists().where(outbox.IS_UNGROUPED, Message.due_at <= _SENDS_AT)
    | exists().where(Event.state == EventState.PENDING, Event.attempts == 0),
    select(ChannelState.paused_for).where(ChannelState.id == outbox.CHANNEL_ROW).scalar_subquery(),
)


def _let_settle(runtime: Runtime) -> bool:
    """Wait until the sender has sent what is due by the clock, as it would have at that hour.

    Returns whether there was anything to wait for.
    """
    if runtime.settings.sending == "held":
        return False
    until = time.monotonic() + SETTLE_SECONDS
    has_waited = False
    while time.monotonic() < until:
        with runtime.database.read() as session:
            asked = {"now": runtime.clock.now()}
            is_under_way, paused_for = session.execute(_UNSETTLED, asked).one()
        if not is_under_way or paused_for:
            return has_waited
        has_waited = True
        time.sleep(PAUSE_SECONDS)
    return has_waited
