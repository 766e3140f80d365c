"""Looks whether what should have happened did: the watchdog of M9 with the jobs that were missed.

The tick looks once a minute; the morning's digest looks too, so that a shop whose clock is played
forward hears of the same things.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import local_day
from core.runtime import Runtime
from engagement import alerts, watchdog
from engagement.watchdog import Finding
from loyalty import alarms
from models.outbox import MessageClass
from models.results import Alarm
from models.schedule import Occurrence, OccurrenceState
from scheduler.schedule import JOBS, Job

MISSED = "jobs.missed"
#: A job may take this long, or be caught up this late, before it counts as missed.
GRACE = timedelta(hours=1)
TOO_LATE = "too late"


def look(runtime: Runtime, now: datetime) -> None:
    """Raise and end alarms, and tell the owner of grave ones; a quiet look writes nothing."""
    with runtime.database.read() as session:
        found = watchdog.look(session, now)
        missed = find_missed(session, runtime, now)
        is_quiet = not (
            watchdog.is_news(session, found)
            or _is_news(session, missed)
            or _is_untold(session, runtime, now)
        )
    if is_quiet:
        return
    with runtime.transaction(now) as session:
        write(session, runtime, found, missed, now)


def write(
    session: Session, runtime: Runtime, found: list[Finding], missed: list[Finding], now: datetime
) -> None:
    """Write down what a look has found, and tell what is grave."""
    watchdog.note(session, found, now)
    alarms.end_others(session, [f"{MISSED}:"], {one.key for one in missed}, now)
    for one in missed:
        alarms.raise_alarm(session, one.key, one.kind, one.facts, now)
    alerts.tell_grave(session, runtime, now)


def find_missed(session: Session, runtime: Runtime, now: datetime) -> list[Finding]:
    """Jobs whose last due moment was an hour ago or more, and which are not done."""
    lasts = {job.id: due for job in JOBS.values() if (due := _last_due(job, runtime, now))}
    tz = runtime.clock.tz
    rows = session.execute(
        select(
            Occurrence.job,
            Occurrence.local_on,
            Occurrence.state,
            Occurrence.reason,
            Occurrence.lease_until,
        ).where(
            Occurrence.subject == "",
            Occurrence.local_on.in_({local_day(due, tz) for due in lasts.values()}),
        )
    )
    known = {(row.job, row.local_on): row for row in rows}
    real_now = runtime.clock.real_now()
    undone = []
    for job_id, due in lasts.items():
        on = local_day(due, tz)
        row = known.get((job_id, on))
        is_done = row is not None and (
            row.state == OccurrenceState.DONE
            or (row.state == OccurrenceState.SKIPPED and row.reason != TOO_LATE)
            or (row.state == OccurrenceState.RUNNING and row.lease_until >= real_now)
        )
        if not is_done:
            undone.append((job_id, on, due))
    if not undone:
        return []
    firsts = select(Occurrence.job, func.min(Occurrence.local_on)).group_by(Occurrence.job)
    began = {row[0]: row[1] for row in session.execute(firsts)}
    return [
        Finding(f"{MISSED}:{job_id}", MISSED, {"job": job_id, "due": due.isoformat()})
        for job_id, on, due in undone
        # What was due before the first run of all was nobody's to do.
        if job_id in began and began[job_id] <= on
    ]


def _last_due(job: Job, runtime: Runtime, now: datetime) -> datetime | None:
    until = now - GRACE
    return max(job.occurrences(until - timedelta(days=2), until, runtime.clock.tz), default=None)


def _is_news(session: Session, missed: list[Finding]) -> bool:
    query = select(Alarm.key).where(alarms.IS_OPEN, Alarm.kind == MISSED)
    return set(session.scalars(query)) != {one.key for one in missed}


def _is_untold(session: Session, runtime: Runtime, now: datetime) -> bool:
    """Whether a grave alarm that somebody else raised waits to be told, and can be."""
    untold = select(Alarm.id).where(
        alarms.IS_OPEN, Alarm.told_at.is_(None), Alarm.kind.in_(sorted(alarms.GRAVE))
    )
    if session.scalar(untold.limit(1)) is None:
        return False
    return bool(alerts.reached(session, runtime, MessageClass.TRANSACTIONAL, now))
