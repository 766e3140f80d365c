"""The watchdog's jobs (M9, Z15, Z16): what was missed is said, and said once."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, select, update

from core.clock import local_day
from engagement import alerts
from loyalty import alarms, audit, shop
from migrations import triggers
from models.outbox import Message
from models.results import Alarm
from models.schedule import Heartbeat, Occurrence, OccurrenceState
from models.staff import AuditRow
from scheduler import runner, watch
from scheduler.jobs import SPAN
from scheduler.schedule import JOBS
from tests import factories
from tests.moments import BANGKOK, NOW

JOB = JOBS["points.expire"]
DUE = JOB.due_at(local_day(NOW, BANGKOK), BANGKOK)


def row(session, on, state=OccurrenceState.DONE, reason=None, job=JOB) -> None:
    session.add(
        Occurrence(
            job=job.id, local_on=on, due_at=job.due_at(on, BANGKOK), state=state, reason=reason,
            claimed_by="x", claimed_at=NOW, lease_until=NOW - timedelta(seconds=1),
        )
    )  # fmt: skip


def keys(runtime) -> set[str]:
    with runtime.database.read() as session:
        return {one.key for one in alarms.open_ones(session)}


@pytest.mark.parametrize(
    "state, reason, is_missed",
    [
        (None, None, True),
        (OccurrenceState.DONE, None, False),
        (OccurrenceState.RUNNING, None, True),
        (OccurrenceState.SKIPPED, "too late", True),
        (OccurrenceState.SKIPPED, "covered by 2026-11-23", False),
    ],
)
def test_M9_a_job_that_was_not_done_is_missed(runtime, state, reason, is_missed):
    today = local_day(NOW, BANGKOK)
    with runtime.transaction() as session:
        row(session, today - timedelta(days=1))
        if state is not None:
            row(session, today, state, reason)
    for _ in range(2):
        watch.look(runtime, NOW)
    assert keys(runtime) == ({"jobs.missed:points.expire"} if is_missed else set())
    with runtime.transaction() as session:
        session.query(Occurrence).filter_by(local_on=today).delete()
        row(session, today)
    watch.look(runtime, NOW)
    assert keys(runtime) == set()


def test_M9_a_job_has_an_hour_and_a_fresh_shop_has_missed_nothing(runtime):
    watch.look(runtime, NOW)
    assert keys(runtime) == set()
    with runtime.transaction() as session:
        row(session, local_day(NOW, BANGKOK) - timedelta(days=1))
    watch.look(runtime, DUE + timedelta(minutes=59))
    assert keys(runtime) == set()
    watch.look(runtime, DUE + timedelta(minutes=61))
    assert keys(runtime) == {"jobs.missed:points.expire"}


def test_FG13_a_ledger_difference_alarms_and_ends_when_it_is_mended(runtime, clock):
    with runtime.transaction() as session:
        member = factories.somchai(session)
        member.totals.balance = 1
    job = JOBS["ledger.check"]
    runner.run_occurrence(runtime, job, on=local_day(NOW, BANGKOK), due=NOW, now=NOW)
    watch.look(runtime, NOW)
    assert keys(runtime) == {"ledger.difference:nightly", "ledger.frozen:members"}
    with runtime.transaction() as session:
        session.get(type(member), member.id).totals.balance = 0
    tomorrow = NOW + timedelta(days=1)
    runner.run_occurrence(runtime, job, on=local_day(tomorrow, BANGKOK), due=tomorrow, now=tomorrow)
    assert keys(runtime) == {"ledger.frozen:members"}


def test_the_night_proves_the_audit_log_and_alarms_until_it_holds(runtime):
    with runtime.transaction() as session:
        audit.record(session, "staff:1", "members.erased", {"member": 1}, NOW)
        triggers.remove(session.connection())
        session.execute(update(AuditRow).values(act="x"))
    job = JOBS["ledger.check"]
    runner.run_occurrence(runtime, job, on=local_day(NOW, BANGKOK), due=NOW, now=NOW)
    assert keys(runtime) == {alarms.AUDIT}
    with runtime.transaction() as session:
        session.execute(update(AuditRow).values(act="members.erased"))
        triggers.install(session.connection())
    tomorrow = NOW + timedelta(days=1)
    runner.run_occurrence(runtime, job, on=local_day(tomorrow, BANGKOK), due=tomorrow, now=tomorrow)
    assert keys(runtime) == set()


@pytest.fixture
def owner(runtime):
    with runtime.transaction() as session:
        factories.make_policy(session)
        prem = factories.make_member(session, "เปรม")
        shop.set(session, alerts.OWNERS, [prem.id], NOW)
    return prem


def messages(runtime, kind: str) -> list[Message]:
    with runtime.database.read() as session:
        return list(session.scalars(select(Message).where(Message.kind == kind)))


def test_Z16_a_monday_that_was_missed_sends_its_card_on_tuesday_and_once(runtime, owner):
    job = JOBS["shop.weekly"]
    monday = job.due_at(local_day(NOW, BANGKOK) + timedelta(days=1), BANGKOK)
    for days in (1, 1, 2):  # Tuesday, again, and Wednesday
        at = monday + timedelta(days=days)
        runner.run_occurrence(runtime, job, on=local_day(at, BANGKOK), due=at, now=at)
    [card] = messages(runtime, "shop.weekly")
    assert card.key == f"weekly:2026-11-16:{owner.id}"


def test_nobodys_writing_waits_while_the_week_is_added_up(runtime, owner):
    job = JOBS["shop.weekly"]
    monday = job.due_at(local_day(NOW, BANGKOK) + timedelta(days=1), BANGKOK)
    wrote = []

    def look(_connection, _cursor, statement, *_more):
        if "FROM ledger_entries" in statement and not wrote:
            wrote.append(statement)
            with runtime.database.write() as session:
                session.add(Heartbeat(id="till", role="till", at=NOW))

    event.listen(runtime.database.engine, "before_cursor_execute", look)
    try:
        runner.run_occurrence(runtime, job, on=local_day(monday, BANGKOK), due=monday, now=monday)
    finally:
        event.remove(runtime.database.engine, "before_cursor_execute", look)
    assert wrote
    assert len(messages(runtime, "shop.weekly")) == 1


def test_Z15_a_digest_is_sent_once_whoever_runs_it(runtime, owner):
    with runtime.transaction() as session:
        alarms.raise_alarm(session, "suspects.members:all", "suspects.members", {"count": 2}, NOW)
    job = JOBS["alarms.digest"]
    at = job.due_at(local_day(NOW, BANGKOK), BANGKOK)
    for subject in ("", "again"):
        runner.run_occurrence(
            runtime, job, on=local_day(at, BANGKOK), due=at, now=at, subject=subject
        )
    assert len(messages(runtime, "alarms.digest")) == 1
    with runtime.database.read() as session:
        assert session.scalars(select(Alarm.told_at)).one() == at


def test_M9_a_job_at_work_is_not_missed_not_even_the_digest_itself(runtime, owner):
    job = JOBS["alarms.digest"]
    due = job.due_at(local_day(NOW, BANGKOK), BANGKOK)  # hours ago: it is caught up
    runner.run_occurrence(runtime, job, on=local_day(NOW, BANGKOK), due=due, now=NOW)
    assert keys(runtime) == set()


def test_M9_the_nightly_work_goes_on_where_it_was_stopped(runtime, owner):
    job = JOBS["insights.nightly"]
    outcome = runner.run_occurrence(runtime, job, on=local_day(NOW, BANGKOK), due=NOW, now=NOW)
    assert outcome == runner.Outcome.DONE
    with runtime.database.read() as session:
        assert session.scalars(select(Occurrence.cursor)).one() == 3 * SPAN
