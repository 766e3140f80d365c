"""Moves the demo shop's time forward and runs what was due on the way, in order."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select

from core.clock import SystemClock, local_day
from core.errors import Refused
from core.runtime import Runtime
from engagement import campaigns
from loyalty import shop
from models.inbox import Event, EventState
from models.journeys import Enrolment, EnrolmentState, Intent, IntentState
from models.outbox import Call, CallState, ChannelState, Message, MessageState
from rich_menus import plans
from scheduler import runner
from scheduler.schedule import JOBS, Job

MAX_ADVANCE = timedelta(days=400)
MAX_STEPS = 20_000
#: How long one stop waits for the sender; a slow or faulty LINE must not hold the demo up.
SETTLE_SECONDS = 5.0
PAUSE_SECONDS = 0.02


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
        runner.tick(runtime, here)
        while here < target and stops < MAX_STEPS:
            stop = _next_stop(runtime, here, target)
            runner.tick(runtime, stop, _due_jobs(runtime, here, stop))
            stops += 1
            # Nothing but the sender looks at the clock meanwhile: it moves when there is
            # something to send, at each day's end, and in the end.
            is_new_day = local_day(stop, runtime.clock.tz) > local_day(here, runtime.clock.tz)
            if stop == target or is_new_day or (sends and _is_anything_owed(runtime, stop)):
                _move_to(runtime, stop)
                _let_settle(runtime)
            here = stop
        _set_offset(runtime, wanted)  # what it took is not swallowed
        return Advanced(now=runtime.clock.now(), stops=stops)


def _due_jobs(runtime: Runtime, after: datetime, until: datetime) -> list[Job]:
    """The jobs with an occurrence in (after, until]."""
    return [job for job in JOBS.values() if any(job.occurrences(after, until, runtime.clock.tz))]


def _next_stop(runtime: Runtime, here: datetime, target: datetime) -> datetime:
    """The next moment at which a job, an intent, a waiting call or a planned menu is due; else the
    target."""
    horizon = min(target, here + timedelta(days=2))
    moments = [target]
    for job in JOBS.values():
        moments += list(job.occurrences(here, horizon, runtime.clock.tz))[:1]
    first_intent = select(func.min(Intent.deadline)).where(
        Intent.state == IntentState.WAITING, Intent.deadline > here
    )
    first_step = select(func.min(Enrolment.due_at)).where(
        Enrolment.state == EnrolmentState.ACTIVE, Enrolment.due_at > here
    )
    first_call = select(func.min(Call.next_try_at)).where(
        Call.state == CallState.WAITING, Call.attempts == 0, Call.next_try_at > here
    )
    with runtime.database.read() as session:
        found = session.execute(
            select(*(one.scalar_subquery() for one in (first_intent, first_step, first_call)))
        ).one()
        moments += [moment for moment in found if moment is not None]
        moments.append(campaigns.next_moment(session, here, runtime.clock.tz) or target)
        moments.append(plans.next_moment(session, here) or target)
    return min(target, *moments)


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


def _is_anything_owed(runtime: Runtime, moment: datetime) -> bool:
    """Whether a call is due by then that nobody has tried yet."""
    with runtime.database.read() as session:
        owed = exists().where(
            Call.state == CallState.WAITING, Call.attempts == 0, Call.next_try_at <= moment
        )
        loose = exists().where(Message.state == MessageState.WAITING, Message.due_at <= moment)
        return bool(session.scalar(select(owed | loose)))


def _let_settle(runtime: Runtime) -> None:
    """Wait until the sender has sent what is due now, as it would have at that hour."""
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until:
        with runtime.database.read() as session:
            channel = session.get(ChannelState, 1)
            if runtime.settings.sending == "held" or (channel and channel.paused_for):
                return
            owed = session.scalar(
                select(Call.id)
                .where(
                    Call.state.in_((CallState.WAITING, CallState.SENDING)),
                    Call.next_try_at <= runtime.clock.now(),
                    Call.attempts < 2,
                )
                .limit(1)
            )
            loose = session.scalar(
                select(Message.id)
                .where(Message.state == MessageState.WAITING, Message.due_at <= runtime.clock.now())
                .limit(1)
            )
            handling = session.scalar(
                select(Event.id)
                .where(Event.state == EventState.PENDING, Event.attempts == 0)
                .limit(1)
            )
        if owed is None and loose is None and handling is None:
            return
        time.sleep(PAUSE_SECONDS)
