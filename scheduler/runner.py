"""Runs occurrences: claims one by a unique row, works in batches, survives a stop anywhere.

APScheduler is only an alarm clock; whether something runs is decided by our own table. Each
batch, its cursor and the extended lease commit together, so a killed run goes on where it was.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import case, exists, func, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import metrics
from core.clock import local_day, start_of_day
from core.db import insert_into, is_sqlite
from core.runtime import Runtime
from core.sabotage import is_sabotaged, reach
from engagement import campaigns, journey_engine, journeys
from models.journeys import Intent, IntentState
from models.schedule import Heartbeat, Occurrence, OccurrenceState
from rich_menus import plans
from scheduler import backups, watch
from scheduler.jobs import Run
from scheduler.schedule import JOBS, CatchUp, Job

log = structlog.get_logger("scheduler")
TICK_SECONDS = 15
LOOK_EVERY = timedelta(seconds=45)
#: How often it is asked whether a backup is due.
BACKUP_SECONDS = 60
LEASE = timedelta(seconds=60)
MAX_BATCHES = 100_000
MAX_MISSED = 400
#: Of campaigns in one tick, so that a large one never holds up the jobs.
CAMPAIGN_BATCHES = 50
LOCK_SPACE = 0x7AE4  # keeps our advisory locks apart from anybody else's
#: The demo clock and the tick take turns in one process.
TURN = threading.Lock()


class Outcome(StrEnum):
    DONE = "done"
    ALREADY_DONE = "already_done"
    #: Somebody else is at it right now.
    RUNNING = "running"
    SKIPPED = "skipped"


def me() -> str:
    """This process, as leases and heartbeats name it."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{threading.get_ident() % 100_000}"


def run_occurrence(
    runtime: Runtime, job: Job, *, on: date, due: datetime, now: datetime, subject: str = ""
) -> Outcome:
    """Run one occurrence to its end unless somebody has or does. `now` is what it counts as."""
    who = me()
    cursor = _claim(runtime, job, on=on, due=due, subject=subject, who=who)
    if isinstance(cursor, Outcome):
        return cursor
    reach("scheduler.claimed")
    run = Run(runtime=runtime, now=now, limit=job.limit, cursor=cursor)
    for _ in range(MAX_BATCHES):
        with runtime.transaction(now) as session:
            done = job.work(session, run)
            reach("scheduler.worked")
            is_last = done == 0
            if not _keep(session, runtime, job, on, subject, who, run, done, is_last=is_last):
                session.rollback()
                return Outcome.RUNNING  # our lease was lost; the new owner goes on
        reach("scheduler.kept")
        if is_last:
            metrics.job_runs.labels(job=job.id, outcome="done").inc()
            log.info("job_done", job=job.id, on=on.isoformat())
            return Outcome.DONE
    raise AssertionError(f"{job.id} does not end")


def _claim(
    runtime: Runtime, job: Job, *, on: date, due: datetime, subject: str, who: str
) -> int | Outcome:
    """The cursor to start from once the occurrence is ours; otherwise why it is not."""
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        if _is_another_running(session, job, on=on, subject=subject, real_now=real):
            return Outcome.RUNNING
        made = session.execute(
            insert_into(session, Occurrence)
            .values(
                job=job.id,
                subject=subject,
                local_on=on,
                due_at=due,
                claimed_by=who,
                state=OccurrenceState.RUNNING,
                claimed_at=real,
                lease_until=real + LEASE,
            )
            .on_conflict_do_nothing(index_elements=["job", "subject", "local_on"])
            .returning(Occurrence.id)
        ).scalar()
        if made is not None or is_sabotaged("scheduler_without_claim"):
            return 0
        taken = session.execute(
            update(Occurrence)
            .where(
                *_is(job, on, subject),
                Occurrence.state == OccurrenceState.RUNNING,
                Occurrence.lease_until < real,
            )
            .values(claimed_by=who, claimed_at=real, lease_until=real + LEASE)
            .returning(Occurrence.cursor)
        ).scalar()
        if taken is not None:
            return taken
        state = session.scalars(select(Occurrence.state).where(*_is(job, on, subject))).one()
    return Outcome.RUNNING if state == OccurrenceState.RUNNING else Outcome.ALREADY_DONE


def _is_another_running(
    session: Session, job: Job, *, on: date, subject: str, real_now: datetime
) -> bool:
    """Whether another day's run of this job is under way: runs of one job never overlap."""
    if not is_sqlite(session):  # claims of one job one after the other; SQLite has one writer
        session.execute(select(func.pg_advisory_xact_lock(LOCK_SPACE, func.hashtext(job.id))))
    under_way = select(Occurrence.id).where(
        Occurrence.job == job.id,
        Occurrence.state == OccurrenceState.RUNNING,
        Occurrence.lease_until >= real_now,
        (Occurrence.local_on != on) | (Occurrence.subject != subject),
    )
    is_unguarded = is_sabotaged("scheduler_without_claim")
    return not is_unguarded and session.scalar(under_way.limit(1)) is not None


def _keep(
    session: Session,
    runtime: Runtime,
    job: Job,
    on: date,
    subject: str,
    who: str,
    run: Run,
    done: int,
    *,
    is_last: bool,
) -> bool:
    """Save how far we are, in the batch's own transaction. False when the lease was lost."""
    real = runtime.clock.real_now()
    values: dict[str, Any] = {
        "cursor": run.cursor,
        "lease_until": real + LEASE,
        "rows_done": Occurrence.rows_done + done,
    }
    if is_last:
        values |= {"state": OccurrenceState.DONE, "finished_at": _not_before_claim(real)}
    kept: Any = session.execute(
        update(Occurrence)
        .where(
            *_is(job, on, subject),
            Occurrence.claimed_by == who,
            Occurrence.state == OccurrenceState.RUNNING,
        )
        .values(**values)
    )
    return bool(kept.rowcount) or is_sabotaged("scheduler_without_claim")


def _not_before_claim(real: datetime) -> Any:
    """This moment, or the claim's if the machine's clock was put back since (Z18)."""
    return case((Occurrence.claimed_at > real, Occurrence.claimed_at), else_=real)


def _is(job: Job, on: date, subject: str) -> tuple[Any, ...]:
    return Occurrence.job == job.id, Occurrence.subject == subject, Occurrence.local_on == on


class _DryRun(Exception):
    """Ends the transaction of a dry run."""


def dry_run(runtime: Runtime, job: Job, now: datetime) -> int:
    """How many rows one run as of `now` would do; nothing is kept."""
    run = Run(runtime=runtime, now=now, limit=job.limit)
    total = 0
    try:
        with runtime.transaction(now) as session:
            for _ in range(MAX_BATCHES):
                done = job.work(session, run)
                if done == 0:
                    break
                total += done
                session.flush()  # the next batch must not see these rows as due
            raise _DryRun
    except _DryRun:
        return total


def skip(runtime: Runtime, job: Job, *, on: date, due: datetime, reason: str) -> None:
    """Record that an occurrence will never run, and why."""
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        session.execute(
            insert_into(session, Occurrence)
            .values(
                job=job.id,
                subject="",
                local_on=on,
                due_at=due,
                claimed_by=me(),
                claimed_at=real,
                lease_until=real,
                finished_at=real,
                state=OccurrenceState.SKIPPED,
                reason=reason,
            )
            .on_conflict_do_nothing(index_elements=["job", "subject", "local_on"])
        )
    metrics.job_runs.labels(job=job.id, outcome="skipped").inc()
    log.warning("job_skipped", job=job.id, on=on.isoformat(), reason=reason)


@dataclass(frozen=True)
class Seen:
    """What the table of occurrences says at one moment, for every job at once."""

    #: Job -> the last due moment with a row.
    last: Mapping[str, datetime]
    #: Jobs with a run whose process died.
    broken: Collection[str]


def look(runtime: Runtime, now: datetime) -> Seen:
    """One look for a whole tick: most of them find nothing to do."""
    is_dead = Occurrence.state == OccurrenceState.RUNNING
    is_dead &= Occurrence.lease_until < runtime.clock.real_now()
    is_usual = (Occurrence.subject == "") & (Occurrence.due_at <= now)
    found = select(
        Occurrence.job,
        func.max(Occurrence.due_at).filter(is_usual),
        func.count().filter(is_dead),
    ).group_by(Occurrence.job)
    with runtime.database.read() as session:
        rows = session.execute(found).all()
    return Seen(
        last={job: last for job, last, _ in rows if last is not None},
        broken={job for job, _, dead in rows if dead},
    )


def catch_up(runtime: Runtime, job: Job, now: datetime, seen: Seen | None = None) -> None:
    """Run or record every occurrence of one job that is due and has no row yet."""
    tz = runtime.clock.tz
    seen = seen or look(runtime, now)
    # On a fresh installation: the beginning of today.
    first = start_of_day(local_day(now, tz), tz) - timedelta(microseconds=1)
    missed = list(job.occurrences(seen.last.get(job.id, first), now, tz))[-MAX_MISSED:]
    for due in missed:
        on = local_day(due, tz)
        is_latest = due == missed[-1]
        if job.catch_up == CatchUp.LATEST and not is_latest:
            latest = local_day(missed[-1], tz)
            skip(runtime, job, on=on, due=due, reason=f"covered by {latest.isoformat()}")
            continue
        until = job.latest_start(due, tz)
        if until is not None and now > until:
            skip(runtime, job, on=on, due=due, reason="too late")
            continue
        acts_at = due if job.catch_up == CatchUp.ALWAYS else now
        outcome = run_occurrence(runtime, job, on=on, due=due, now=acts_at)
        if outcome == Outcome.RUNNING:
            break  # the days after it wait their turn
    if job.id in seen.broken:
        _take_over(runtime, job, now)


def _take_over(runtime: Runtime, job: Job, now: datetime) -> None:
    """Go on with runs whose process died: their lease is over."""
    with runtime.database.read() as session:
        rows = session.scalars(
            select(Occurrence).where(
                Occurrence.job == job.id,
                Occurrence.state == OccurrenceState.RUNNING,
                Occurrence.lease_until < runtime.clock.real_now(),
            )
        ).all()
    for row in rows:
        until = job.latest_start(row.due_at, runtime.clock.tz)
        if until is not None and now > until:
            _give_up(runtime, job, row, "too late")
            continue
        acts_at = row.due_at if job.catch_up == CatchUp.ALWAYS else max(now, row.due_at)
        run_occurrence(
            runtime, job, on=row.local_on, due=row.due_at, now=acts_at, subject=row.subject
        )


def _give_up(runtime: Runtime, job: Job, row: Occurrence, reason: str) -> None:
    """Record that the rest of a broken-off run will never be done, and why."""
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        session.execute(
            update(Occurrence)
            .where(
                Occurrence.id == row.id,
                Occurrence.state == OccurrenceState.RUNNING,
                Occurrence.lease_until < real,
            )
            .values(
                state=OccurrenceState.SKIPPED, reason=reason, finished_at=_not_before_claim(real)
            )
        )
    metrics.job_runs.labels(job=job.id, outcome="skipped").inc()
    log.warning("job_given_up", job=job.id, on=row.local_on.isoformat(), reason=reason)


def tick(
    runtime: Runtime,
    now: datetime | None = None,
    jobs: Collection[Job] | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Everything that is due: jobs (all, or these), then intents whose deadline has come, then
    campaigns and planned menus.

    One failing job never holds up the others. Once `is_over` nothing more is begun: what is left
    is found by the next tick, of whichever process.
    """
    moment = now or runtime.clock.now()
    seen = look(runtime, moment)
    for job in JOBS.values() if jobs is None else jobs:
        if is_over():
            return
        try:
            catch_up(runtime, job, moment, seen)
        except DBAPIError as error:
            log.error("job_database_failed", job=job.id, kind=type(error).__name__)
        except Exception as error:  # a mistake in one job must not stop the clock
            metrics.job_runs.labels(job=job.id, outcome="failed").inc()
            log.exception("job_failed", job=job.id, kind=type(error).__name__)
    if is_over():
        return
    due = _what_is_due(runtime, moment)
    if due.enrolments and advance_all(runtime, moment):
        due = _what_is_due(runtime, moment)  # steps have made intents
    if due.intents:
        turn_all(runtime, moment)
    if due.campaigns:
        send_campaigns(runtime, moment)
    if due.menus:
        with runtime.transaction(moment) as session:
            plans.carry_out(session, moment, runtime.clock.real_now())


def send_campaigns(runtime: Runtime, now: datetime) -> int:
    """Move campaigns on by some batches; workers do the same between two ticks."""
    did = 0
    for _ in range(CAMPAIGN_BATCHES):
        done = send_campaign_batch(runtime, now)
        did += done
        if done == 0:
            break
    return did


def send_campaign_batch(runtime: Runtime, now: datetime) -> int:
    """One batch of one campaign; an idle look takes no write lock."""
    with runtime.database.read() as session:
        if not campaigns.is_any_due(session, now):
            return 0
    with runtime.transaction(now) as session:
        return campaigns.step(session, runtime, now)


def advance_all(runtime: Runtime, now: datetime) -> int:
    """Move on everybody who is due on a journey, a batch per transaction."""
    moved = 0
    for _ in range(MAX_BATCHES):
        with runtime.database.read() as session:  # an idle tick takes no write lock
            if not journey_engine.is_any_due(session, now):
                return moved
        with runtime.transaction(now) as session:
            done = journey_engine.advance_due(session, runtime, now)
        moved += done
        if done == 0:
            return moved
    return moved


def turn_all(runtime: Runtime, now: datetime) -> int:
    """Turn every due intent, a batch per transaction."""
    turned = 0
    for _ in range(MAX_BATCHES):
        if not _is_any_due(runtime, now):
            return turned  # an idle tick takes no write lock
        with runtime.transaction(now) as session:
            done = journeys.turn_due(session, runtime, now)
        turned += done
        if done == 0:
            return turned
    return turned


@dataclass(frozen=True)
class Due:
    """Which kinds of rows want to be moved on."""

    enrolments: bool
    intents: bool
    campaigns: bool
    menus: bool


def _what_is_due(runtime: Runtime, now: datetime) -> Due:
    """One look for all of them; an idle tick takes no write lock."""
    with runtime.database.read() as session:
        row = session.execute(
            select(
                journey_engine.is_any_due_at(now),
                _intents_due(now),
                campaigns.is_any_due_at(now),
                plans.is_any_due_at(now),
            )
        ).one()
    return Due(*map(bool, row))


def _intents_due(now: datetime) -> Any:
    return exists().where(Intent.state == IntentState.WAITING, Intent.deadline <= now)


def _is_any_due(runtime: Runtime, now: datetime) -> bool:
    with runtime.database.read() as session:
        return bool(session.scalar(select(_intents_due(now))))


def beat(runtime: Runtime, role: str) -> None:
    """Say that this process is alive."""
    at = runtime.clock.real_now()
    with runtime.database.write() as session:
        name = f"{role}:{socket.gethostname()[:32]}:{os.getpid()}"
        session.execute(
            insert_into(session, Heartbeat)
            .values(id=name, role=role, at=at)
            .on_conflict_do_update(index_elements=["id"], set_={"at": at})
        )


class Scheduler:
    """The tick of one process, by APScheduler with its memory store."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._scheduler: Any = None
        self._looked_at: datetime | None = None
        self._is_over = threading.Event()

    def start(self) -> None:
        """Begin ticking in a thread of its own."""
        from apscheduler.schedulers.background import BackgroundScheduler

        self._scheduler = BackgroundScheduler(timezone=self._runtime.clock.tz)
        self._scheduler.add_job(
            self._tick,
            "interval",
            seconds=TICK_SECONDS,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            next_run_time=self._runtime.clock.real_now(),
        )
        self._scheduler.add_job(
            self._back_up,
            "interval",
            seconds=BACKUP_SECONDS,
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
        )
        self._scheduler.start()

    def stop(self) -> None:
        """Let the job under way finish, then end: a first night has many of them."""
        self._is_over.set()
        if self._scheduler is not None:
            self._scheduler.shutdown(wait=True)

    def _back_up(self) -> None:
        try:
            backups.keep(self._runtime)
        except Exception as error:  # the next minute tries again
            log.error("backup_failed", kind=type(error).__name__)

    def _look(self) -> None:
        """Once a minute or so: has what should have happened?"""
        clock = self._runtime.clock
        real_now = clock.real_now()
        if self._looked_at is None or real_now - self._looked_at >= LOOK_EVERY:
            self._looked_at = real_now
            watch.look(self._runtime, clock.now())

    def _tick(self) -> None:
        if not TURN.acquire(blocking=False):
            return  # the demo clock is running the same things right now
        try:
            beat(self._runtime, "scheduler")
            tick(self._runtime, is_over=self._is_over.is_set)
            if not self._is_over.is_set():
                self._look()
        except Exception as error:  # the next tick tries again
            log.error("tick_failed", kind=type(error).__name__)
        finally:
            TURN.release()
