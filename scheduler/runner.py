"""Runs occurrences: claims one by a unique row, works in batches, survives a stop anywhere.

APScheduler is only an alarm clock; whether something runs is decided by our own table. Each
batch, its cursor and the extended lease commit together, so a killed run goes on where it was.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import cache, lru_cache, partial
from typing import Any, Self

import structlog
from sqlalchemy import bindparam, case, exists, func, literal, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from core import metrics
from core.clock import local_day, start_of_day
from core.db import insert_into, insert_on, is_sqlite
from core.runtime import Runtime
from core.sabotage import is_sabotaged, reach
from engagement import campaigns, journey_engine, journeys
from models.base import UtcDateTime, table_of
from models.journeys import IS_WAITING, Intent
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
#: Of a job that looks for long: nobody takes it over while it does. Not in the demo, whose days are
#: seconds apart: one that was killed is taken up again soon.
LONG_LEASE = timedelta(hours=1)
#: Batches share a transaction until it has lasted this long: most nights find little to do.
SHARED_SECONDS = 0.05
MAX_BATCHES = 100_000
MAX_MISSED = 400
#: Of campaigns in one tick, so that a large one never holds up the jobs.
CAMPAIGN_BATCHES = 50
LOCK_SPACE = 0x7AE4  # keeps our advisory locks apart from anybody else's
#: The demo clock and the tick take turns in one process.
TURN = threading.Lock()

# Statements of every run, built once: building them costs more than answering them.
TABLE = table_of(Occurrence)
_IS_IT = (
    (TABLE.c.job == bindparam("of_job"))
    & (TABLE.c.subject == bindparam("of_subject"))
    & (TABLE.c.local_on == bindparam("of_day"))
)
_IS_RUNNING = TABLE.c.state == OccurrenceState.RUNNING
_UNDER_WAY = (
    select(TABLE.c.id)
    .where(TABLE.c.job == bindparam("of_job"), _IS_RUNNING)
    .where(TABLE.c.lease_until >= bindparam("real_now"))
    .where((TABLE.c.local_on != bindparam("of_day")) | (TABLE.c.subject != bindparam("of_subject")))
    .limit(1)
)
_TAKE_LOCK = select(func.pg_try_advisory_xact_lock(LOCK_SPACE, func.hashtext(bindparam("of_job"))))
_TAKE_OVER = (
    update(TABLE)
    .where(_IS_IT, _IS_RUNNING, TABLE.c.lease_until < bindparam("real_now"))
    .values(
        claimed_by=bindparam("who"),
        claimed_at=bindparam("real_now"),
        lease_until=bindparam("until"),
    )
    .returning(TABLE.c.cursor)
)
_STATE_OF_IT = select(TABLE.c.state).where(_IS_IT)
_KEEP = (
    update(TABLE)
    .where(_IS_IT, _IS_RUNNING, TABLE.c.claimed_by == bindparam("who"))
    .values(
        cursor=bindparam("reached"),
        lease_until=bindparam("until"),
        rows_done=TABLE.c.rows_done + bindparam("done"),
    )
)
_FINISH = _KEEP.values(
    state=OccurrenceState.DONE,
    # This moment, or the claim's if the machine's clock was put back since (Z18).
    finished_at=case(
        (TABLE.c.claimed_at > bindparam("real_now"), TABLE.c.claimed_at),
        else_=bindparam("real_now"),
    ),
)
# The same for a row that this transaction has made, as one that finds nothing.
_IS_MADE = (TABLE.c.id == bindparam("made")) & (TABLE.c.claimed_by == bindparam("who"))
_REACHED: dict[str, Any] = {
    "cursor": bindparam("reached"),
    "lease_until": bindparam("until"),
    "rows_done": bindparam("done"),
}
_KEEP_MADE = (
    update(TABLE)
    .where(_IS_MADE)
    .values(_REACHED | {"state": OccurrenceState.RUNNING, "finished_at": None})
)
_FINISH_MADE = (
    update(TABLE).where(_IS_MADE).values(_REACHED | {"finished_at": bindparam("real_now")})
)


class Outcome(StrEnum):
    DONE = "done"
    ALREADY_DONE = "already_done"
    #: Somebody else is at it right now.
    RUNNING = "running"
    SKIPPED = "skipped"


def me() -> str:
    """This process, as leases and heartbeats name it."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{threading.get_ident() % 100_000}"


@dataclass(frozen=True)
class Claim:
    """One occurrence, and the process that wants it."""

    job: Job
    on: date
    due: datetime
    subject: str
    who: str

    @property
    def facts(self) -> dict[str, Any]:
        """What the statements about it are given."""
        return {
            "of_job": self.job.id,
            "of_subject": self.subject,
            "of_day": self.on,
            "who": self.who,
        }


class Running:
    """One occurrence at work, a transaction at a time. `now` is what it counts as."""

    def __init__(self, runtime: Runtime, claim: Claim, now: datetime) -> None:
        self.claim = claim
        self.now = now
        self.is_through = False
        #: Whether it has found anything to do.
        self.has_done = False
        self._runtime = runtime
        self._run = Run(runtime=runtime, now=now, limit=claim.job.limit)
        #: Whether anything of it is committed.
        self.is_kept = False
        #: The row of the claim while the transaction that made it is under way.
        self._made: int | None = None

    def step(self, session: Session) -> Outcome | None:
        """As much as fits into this transaction; None when more is left."""
        self._made = None
        job = self.claim.job
        if not self.is_kept:  # the claim commits with what is done first
            state = OccurrenceState.RUNNING if job.looks_long else OccurrenceState.DONE
            found = _claim(session, self._runtime, self.claim, state=state)
            if isinstance(found, Outcome):
                return found
            self._run.cursor, self._made = found
            reach("scheduler.claimed")
            if job.looks_long:
                return None  # but not with a look that nobody's writing may wait for
        self._run.plans = None  # the owner may have switched one off
        if job.looks_long:
            done = job.work(session, self._run)
            self.is_through = done == 0
        else:
            done, self.is_through = share(
                self._runtime, session, self.now, lambda one: job.work(one, self._run)
            )
        self.has_done = self.has_done or done > 0
        if not self._keep(session, done):
            raise _LeaseLost
        return Outcome.DONE if self.is_through else None

    def note_kept(self) -> None:
        """What the last step did is committed."""
        self.is_kept = True
        reach("scheduler.kept")
        if self.is_through:
            job = self.claim.job.id
            metrics.job_runs.labels(job=job, outcome="done").inc()
            if self.has_done:  # of the others the table tells
                log.info("job_done", job=job, on=self.claim.on.isoformat())

    def _keep(self, session: Session, done: int) -> bool:
        """Save how far we are, in the batch's own transaction. False when the lease was lost."""
        session.flush()
        real = self._runtime.clock.real_now()
        reached = {"reached": self._run.cursor, "done": done, "real_now": real}
        reached["until"] = real + _lease_of(self._runtime, self.claim.job)
        kept: Any
        if self._made is None:
            by = self.claim.facts | reached
            kept = session.execute(_FINISH if self.is_through else _KEEP, by)
        elif done or self._run.cursor:
            by = {"made": self._made, "who": self.claim.who} | reached
            kept = session.execute(_FINISH_MADE if self.is_through else _KEEP_MADE, by)
        else:
            return True  # claimed as one that finds nothing, and so it was
        return bool(kept.rowcount) or is_sabotaged("scheduler_without_claim")


def run_occurrence(
    runtime: Runtime, job: Job, *, on: date, due: datetime, now: datetime, subject: str = ""
) -> Outcome:
    """Run one occurrence to its end unless somebody has or does. `now` is what it counts as."""
    return _run_alone(runtime, Running(runtime, Claim(job, on, due, subject, me()), now))


def _run_alone(runtime: Runtime, running: Running) -> Outcome:
    """Bring it to its end in transactions of its own."""
    for _ in range(MAX_BATCHES):
        try:
            with runtime.transaction(running.now) as session:
                outcome = running.step(session)
        except _LeaseLost:
            return Outcome.RUNNING  # the new owner goes on
        except Exception:
            if not running.is_kept:
                _leave_open(runtime, running.claim)
            raise
        if outcome not in (None, Outcome.DONE):
            return outcome
        running.note_kept()
        if outcome is not None:
            return outcome
    raise AssertionError(f"{running.claim.job.id} does not end")


class Shared:
    """One transaction for runs that follow each other, until it has lasted long enough.

    Most of them find little to do, and transactions of their own would cost more than that. What
    fails takes those before it along: each of them is run again, alone, so that one failing job
    never holds up the others.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._stack = ExitStack()
        self._until = 0.0
        self._held: list[Running] = []
        #: Where the effects of what is not committed yet are seen; None when all of it is.
        self.session: Session | None = None
        #: How many runs have found anything to do so far.
        self.did = 0
        #: Jobs of which something is left to do, or to somebody.
        self.left: set[str] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            self.commit()
        else:
            self._end(error)

    def run(self, job: Job, *, on: date, due: datetime, now: datetime) -> Outcome:
        """Run one occurrence to its end unless somebody has or does, like `run_occurrence`."""
        running = Running(self._runtime, Claim(job, on, due, "", me()), now)
        try:
            session = self._begin(now)
            outcome = running.step(session)
            self._runtime.settle(session, now)
            session.flush()
            session.expunge_all()  # the next one meets the rows as if it were alone
        except Exception as error:
            with suppress(DBAPIError):  # a connection that is lost has undone it
                self._end(error)
            if self._run_held_again():
                return run_occurrence(self._runtime, job, on=on, due=due, now=now)
            if isinstance(error, _LeaseLost):
                return Outcome.RUNNING
            _leave_open(self._runtime, running.claim)
            raise
        if outcome not in (None, Outcome.DONE):
            return outcome
        self._held.append(running)
        self.did += running.has_done
        # Where rows are locked one by one, these are let go of before others are.
        locks_rows = running.has_done and not self._runtime.database.is_sqlite
        if outcome is None or locks_rows or time.monotonic() >= self._until:
            self.commit()
        if outcome is not None:
            return outcome
        if running.is_kept:
            return _run_alone(self._runtime, running)
        return Outcome.RUNNING if job.id in self.left else Outcome.DONE

    def commit(self) -> None:
        """Keep what was done so far; should that fail, each run of it is run again, alone."""
        if self.session is None:
            return
        try:
            self._end(None)
        except Exception as error:
            log.error("jobs_not_kept", kind=type(error).__name__)
            self._run_held_again()
            return
        held, self._held = self._held, []
        for running in held:
            running.note_kept()

    def _begin(self, now: datetime) -> Session:
        if self.session is None:
            self._until = time.monotonic() + SHARED_SECONDS
            self.session = self._stack.enter_context(self._runtime.transaction(now))
        return self.session

    def _end(self, error: BaseException | None) -> None:
        """Commit the transaction, or undo it because of this error."""
        stack, self._stack, self.session = self._stack, ExitStack(), None
        if error is None:
            stack.close()
        else:
            stack.__exit__(type(error), error, error.__traceback__)

    def _run_held_again(self) -> bool:
        """Run again, alone, what was undone; False if there was nothing."""
        held, self._held = self._held, []
        for running in held:
            claim, job = running.claim, running.claim.job
            again = partial(
                run_occurrence, self._runtime, job, on=claim.on, due=claim.due, now=running.now
            )
            if not _is_through(job, lambda: again() != Outcome.RUNNING):  # noqa: B023 - called now
                self.left.add(job.id)
        return bool(held)


def _is_through(job: Job, work: Callable[[], bool]) -> bool:
    """What `work` says; False when it failed: one that fails never holds up the others."""
    try:
        return work()
    except DBAPIError as error:
        log.error("job_database_failed", job=job.id, kind=type(error).__name__)
    except Exception as error:  # a mistake in one job must not stop the clock
        metrics.job_runs.labels(job=job.id, outcome="failed").inc()
        log.exception("job_failed", job=job.id, kind=type(error).__name__)
    return False


def share(
    runtime: Runtime, session: Session, now: datetime, batch: Callable[[Session], int]
) -> tuple[int, bool]:
    """Batches that share this transaction: until one finds nothing, or it has lasted long enough.

    Returns (rows done, whether the last one found nothing). Each batch meets the rows as if it were
    alone: what the ones before it caused has been reacted to and written, and no object is kept.
    """
    until = time.monotonic() + SHARED_SECONDS
    total = 0
    while done := batch(session):
        reach("scheduler.worked")
        total += done
        if time.monotonic() >= until:
            return total, False
        runtime.settle(session, now)
        session.flush()  # the next batch must not see these rows as due
        session.expunge_all()
    reach("scheduler.worked")
    return total, True


def _leave_open(runtime: Runtime, claim: Claim) -> None:
    """Claim an occurrence that failed at once, so that it is taken up again when the lease ends."""
    try:
        with runtime.database.write() as session:
            _claim(session, runtime, claim, state=OccurrenceState.RUNNING)
    except DBAPIError as error:  # which may be what failed: the next tick finds it undone
        log.error("job_database_failed", job=claim.job.id, kind=type(error).__name__)


def _claim(
    session: Session,
    runtime: Runtime,
    claim: Claim,
    *,
    state: OccurrenceState = OccurrenceState.DONE,
) -> tuple[int, int | None] | Outcome:
    """The cursor to start from once the occurrence is ours, and the row if it is a new one;
    otherwise why it is not ours.

    A new row says at once what most come to: that nothing was found to do. Nobody sees it before
    the end of the transaction, and whoever finds something puts it right (`Running`).
    """
    real = runtime.clock.real_now()
    asked = claim.facts | {"real_now": real, "until": real + _lease_of(runtime, claim.job)}
    # Claims of one job come one after the other; SQLite has one writer. Whoever holds the lock may
    # be at a long batch: nobody waits for that.
    is_sabotage = is_sabotaged("scheduler_without_claim")
    on_sqlite = is_sqlite(session)
    if not (is_sabotage or on_sqlite or session.scalar(_TAKE_LOCK, claim.facts)):
        return Outcome.RUNNING
    row = {
        "of_due": claim.due,
        "of_state": state,
        "of_end": real if state == OccurrenceState.DONE else None,
    }
    made: int | None = session.scalar(_insert_on(on_sqlite), asked | row)
    if made is not None or is_sabotage:
        return 0, made
    if session.scalar(_UNDER_WAY, asked) is not None:
        return Outcome.RUNNING  # another day's: runs of one job never overlap
    taken: int | None = session.scalar(_TAKE_OVER, asked)
    if taken is not None:
        return taken, None
    found = session.scalar(_STATE_OF_IT, claim.facts)
    # Without a row, another day's run was under way then and has come to its end since.
    if found is None or found == OccurrenceState.RUNNING:
        return Outcome.RUNNING
    return Outcome.ALREADY_DONE


def _lease_of(runtime: Runtime, job: Job) -> timedelta:
    return LONG_LEASE if job.looks_long and not runtime.settings.demo else LEASE


@cache
def _insert_on(on_sqlite: bool) -> Any:
    """Claims an occurrence that nobody has claimed, unless another day's run is under way."""
    given = {
        "job": "of_job",
        "subject": "of_subject",
        "local_on": "of_day",
        "due_at": "of_due",
        "claimed_by": "who",
        "state": "of_state",
        "claimed_at": "real_now",
        "lease_until": "until",
        "finished_at": "of_end",
    }
    values = [bindparam(name, type_=TABLE.c[column].type) for column, name in given.items()]
    nothing = [literal(0, TABLE.c[name].type) for name in ("rows_done", "cursor")]
    row = select(*values, *nothing).where(~_UNDER_WAY.exists())
    insert = insert_on(on_sqlite, TABLE)
    unique = ["job", "subject", "local_on"]
    return (
        insert.from_select([*given, "rows_done", "cursor"], row)
        .on_conflict_do_nothing(index_elements=unique)
        .returning(TABLE.c.id)
    )


def _not_before_claim(real: datetime) -> Any:
    """This moment, or the claim's if the machine's clock was put back since (Z18)."""
    return case((Occurrence.claimed_at > real, Occurrence.claimed_at), else_=real)


class _LeaseLost(Exception):
    """Ends the transaction of a run that has been taken over: it leaves nothing."""


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


def look(runtime: Runtime, now: datetime, jobs: Collection[Job] | None = None) -> Seen:
    """One look for a whole tick (all jobs, or these): most of them find nothing to do."""
    ids = tuple(job.id for job in (JOBS.values() if jobs is None else jobs))
    if not ids:
        return Seen({}, ())
    with runtime.database.read() as session:
        lasts = session.execute(_lasts_of(ids), {"now": now}).one()
        broken = session.scalars(_BROKEN, {"real_now": runtime.clock.real_now()}).all()
    return Seen(
        last={job: last for job, last in zip(ids, lasts, strict=True) if last is not None},
        broken=broken,
    )


_BROKEN = select(TABLE.c.job).where(_IS_RUNNING, TABLE.c.lease_until < bindparam("real_now"))


@lru_cache(maxsize=64)
def _lasts_of(ids: tuple[str, ...]) -> Any:
    """The newest due moment of each of these jobs; each is found at the end of its part of the
    index, however long the shop has been open."""
    return select(
        *(
            select(TABLE.c.due_at)
            .where(TABLE.c.job == job, TABLE.c.subject == "", TABLE.c.due_at <= bindparam("now"))
            .order_by(TABLE.c.local_on.desc())
            .limit(1)
            .scalar_subquery()
            for job in ids
        )
    )


def catch_up(runtime: Runtime, job: Job, now: datetime) -> bool:
    """Run or record every occurrence of one job that is due and has no row yet.

    Returns whether nothing of it is left to anybody.
    """
    with Shared(runtime) as shared:
        return _catch_up(runtime, job, now, look(runtime, now, [job]), shared)


def _catch_up(runtime: Runtime, job: Job, now: datetime, seen: Seen, shared: Shared) -> bool:
    tz = runtime.clock.tz
    # On a fresh installation: the beginning of today.
    first = start_of_day(local_day(now, tz), tz) - timedelta(microseconds=1)
    missed = list(job.occurrences(seen.last.get(job.id, first), now, tz))[-MAX_MISSED:]
    is_through = True
    for due in missed:
        on = local_day(due, tz)
        is_latest = due == missed[-1]
        if job.catch_up == CatchUp.LATEST and not is_latest:
            latest = local_day(missed[-1], tz)
            shared.commit()
            skip(runtime, job, on=on, due=due, reason=f"covered by {latest.isoformat()}")
            continue
        until = job.latest_start(due, tz)
        if until is not None and now > until:
            shared.commit()
            # What was due before a job's first run of all was nobody's to do: no alarm.
            is_first = job.id not in seen.last
            skip(runtime, job, on=on, due=due, reason="before us" if is_first else "too late")
            continue
        acts_at = due if job.catch_up == CatchUp.ALWAYS else now
        outcome = shared.run(job, on=on, due=due, now=acts_at)
        if outcome == Outcome.RUNNING:
            is_through = False
            break  # the days after it wait their turn
    if job.id in seen.broken:
        shared.commit()
        _take_over(runtime, job, now)
        return False  # it may have failed again
    return is_through


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

    Once `is_over` nothing more is begun: what is left is found by the next tick, of whichever
    process.
    """
    moment = now or runtime.clock.now()
    run_jobs(runtime, moment, jobs, is_over=is_over)
    if not is_over():
        move_on(runtime, moment, _what_is_due(runtime, moment))


def run_jobs(
    runtime: Runtime,
    now: datetime,
    jobs: Collection[Job] | None = None,
    *,
    seen: Seen | None = None,
    shared: Shared | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> set[str]:
    """The jobs (all, or these) that are due; one that fails never holds up the others.

    Returns those of which something is left. `seen` spares whoever knows it a look; with `shared`
    the last of it is committed by whoever gives it.
    """
    if shared is None:
        with Shared(runtime) as own:
            run_jobs(runtime, now, jobs, seen=seen, shared=own, is_over=is_over)
        return own.left
    seen = seen or look(runtime, now, jobs)
    for job in JOBS.values() if jobs is None else jobs:
        if is_over():
            break
        shared.left.discard(job.id)
        if not _is_through(job, partial(_catch_up, runtime, job, now, seen, shared)):
            shared.left.add(job.id)
    return shared.left


def move_on(runtime: Runtime, now: datetime, due: Due) -> None:
    """Move on the rows of which the look said that they are due; a kind that fails never holds up
    the others."""
    if due.enrolments and _moved("enrolments", lambda: advance_all(runtime, now)):
        due = _what_is_due(runtime, now)  # steps have made intents
    if due.intents:
        _moved("intents", lambda: turn_all(runtime, now))
    if due.campaigns:
        _moved("campaigns", lambda: send_campaigns(runtime, now))
    if due.menus:
        _moved("menus", lambda: _begin_menus(runtime, now))


def _moved(rows: str, work: Callable[[], int]) -> int:
    """How many `work` moved on; 0 when it failed: the next tick finds what is left."""
    try:
        return work()
    except Exception as error:
        log.exception("rows_failed", rows=rows, kind=type(error).__name__)
        return 0


def _begin_menus(runtime: Runtime, now: datetime) -> int:
    with runtime.transaction(now) as session:
        return plans.carry_out(session, now, runtime.clock.real_now())


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
    """Move on everybody who is due on a journey."""
    return _all_of(runtime, now, lambda session: journey_engine.advance_due(session, runtime, now))


def turn_all(runtime: Runtime, now: datetime) -> int:
    """Turn every due intent."""
    return _all_of(runtime, now, lambda session: journeys.turn_due(session, runtime, now))


def _all_of(runtime: Runtime, now: datetime, batch: Callable[[Session], int]) -> int:
    """Batches until one finds nothing, as few transactions as their length allows."""
    did = 0
    for _ in range(MAX_BATCHES):
        with runtime.transaction(now) as session:
            done, is_last = share(runtime, session, now, batch)
        did += done
        if is_last:
            return did
    raise AssertionError("a batch always finds something to do")


_NOW: Any = bindparam("now", type_=UtcDateTime())
#: What `Due` holds, in its order, for one `now`; whoever looks for more looks for these with it.
DUE = (
    journey_engine.is_any_due_at(_NOW),
    exists().where(IS_WAITING, Intent.deadline <= _NOW),
    campaigns.is_any_due_at(_NOW),
    plans.is_any_due_at(_NOW),
)
_DUE = select(*DUE)


@dataclass(frozen=True)
class Due:
    """Which kinds of rows want to be moved on."""

    enrolments: bool
    intents: bool
    campaigns: bool
    menus: bool

    @property
    def is_any(self) -> bool:
        return self.enrolments or self.intents or self.campaigns or self.menus


def _what_is_due(runtime: Runtime, now: datetime) -> Due:
    """One look for all of them; an idle tick takes no write lock."""
    with runtime.database.read() as session:
        row = session.execute(_DUE, {"now": now}).one()
    return Due(*map(bool, row))


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
        self._minder = threading.Thread(target=self._mind, name="taem-clock", daemon=True)

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
        self._minder.start()

    def stop(self) -> None:
        """Let the job under way finish, then end: a first night has many of them."""
        self._is_over.set()
        if self._scheduler is not None:
            self._minder.join()
            self._scheduler.shutdown(wait=True)

    def _mind(self) -> None:
        while not self._is_over.wait(TICK_SECONDS):
            self.ring_in_time()

    def ring_in_time(self) -> None:
        """Bring forward what a clock that has been put back since would ring hours late (Z18)."""
        now = self._runtime.clock.real_now()
        for alarm in self._scheduler.get_jobs():
            if alarm.next_run_time > now + timedelta(seconds=BACKUP_SECONDS + TICK_SECONDS):
                alarm.modify(next_run_time=now)

    def _back_up(self) -> None:
        try:
            backups.keep(self._runtime)
        except Exception as error:  # the next minute tries again
            log.error("backup_failed", kind=type(error).__name__)

    def _look(self) -> None:
        """Once a minute or so: has what should have happened?"""
        clock = self._runtime.clock
        real_now = clock.real_now()
        if self._looked_at is None or abs(real_now - self._looked_at) >= LOOK_EVERY:
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
