from __future__ import annotations

import dataclasses
import time as machine
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta

import pytest
from sqlalchemy import event, insert, select, update

from core.clock import FixedClock, SystemClock, at_local, start_of_day
from core.runtime import Runtime
from engagement import definitions
from loyalty import activities
from models.journeys import Intent, Journey
from models.points import EntryKind, LedgerEntry, Lot
from models.purchases import Operation
from models.schedule import Heartbeat, Occurrence, OccurrenceState
from scheduler import runner, watch
from scheduler.runner import Outcome
from scheduler.schedule import JOBS, CatchUp
from tests import factories
from tests.moments import BANGKOK, NOW
from tests.processes import wait_until
from tests.scheduler.conftest import job, mark

TODAY = date(2026, 11, 22)
NINE = at_local(TODAY, 9, 0, BANGKOK)
DONE, SKIPPED, RUNNING = OccurrenceState.DONE, OccurrenceState.SKIPPED, OccurrenceState.RUNNING


@pytest.fixture
def run(runtime):
    def once(on=TODAY, due=NINE, now=NINE, **more):
        return runner.run_occurrence(runtime, job(**more), on=on, due=due, now=now)

    return once


@pytest.fixture
def broken_off(runtime, people):
    """A run whose process has gone, or is still at it: three members done, a lease to `until`."""

    def make(until, on=TODAY, due=NINE):
        with runtime.database.write() as session:
            session.execute(
                insert(Occurrence).values(
                    job="tests.mark", subject="", local_on=on, due_at=due, state=RUNNING,
                    claimed_by="somebody", claimed_at=due, lease_until=until, cursor=people[2],
                    rows_done=3,
                )
            )  # fmt: skip

    return make


# Once


def test_runs_an_occurrence_once(run, people, marks, runs):
    assert run() == Outcome.DONE
    assert run() == Outcome.ALREADY_DONE
    assert marks() == dict.fromkeys(people, 1)
    [row] = runs()
    assert (row.state, row.rows_done, row.local_on, row.due_at) == (DONE, 10, TODAY, NINE)


def test_the_next_day_is_another_occurrence(run, people, marks):
    run()
    assert run(on=TODAY + timedelta(days=1)) == Outcome.DONE
    assert marks() == dict.fromkeys(people, 2)


def test_leaves_a_run_alone_whose_lease_stands(run, broken_off, marks, clock):
    broken_off(clock.real_now())
    assert run() == Outcome.RUNNING
    assert not marks()


def test_takes_over_a_run_whose_lease_is_over_where_it_was(run, broken_off, people, marks, clock):
    broken_off(clock.real_now() - timedelta(seconds=1))
    assert run() == Outcome.DONE
    assert marks() == dict.fromkeys(people[3:], 1)


def test_a_run_that_has_lost_its_lease_leaves_nothing(run, people, marks):
    def lose(session, batch):
        activities.record(session, people[0], "tests.marked", batch.now)
        session.execute(update(Occurrence).values(claimed_by="somebody else"))
        return 1

    assert run(work=lose) == Outcome.RUNNING
    assert not marks()


def test_fs09_runs_of_one_job_never_overlap(run, broken_off, marks, clock):
    broken_off(clock.real_now(), on=TODAY - timedelta(days=1))
    assert run() == Outcome.RUNNING
    assert not marks()


def test_fs09_one_that_ends_while_the_next_is_claimed_is_waited_for_all_the_same(
    runtime, run, broken_off, people, marks, clock
):
    """PostgreSQL's statements each see what has been committed by then."""
    broken_off(clock.real_now() + timedelta(seconds=30), on=TODAY - timedelta(days=1))

    def end_it(connection, _cursor, statement, *_more):
        if statement.startswith("INSERT INTO occurrences"):
            connection.execute(update(Occurrence).values(state=DONE, finished_at=NINE))

    event.listen(runtime.database.engine, "after_cursor_execute", end_it)
    try:
        assert run() == Outcome.RUNNING
    finally:
        event.remove(runtime.database.engine, "after_cursor_execute", end_it)
    clock.advance(minutes=1)
    assert run() == Outcome.DONE
    assert marks() == dict.fromkeys(people, 1)


def test_fs09_the_next_run_counts_once_the_long_one_is_over(
    runtime, broken_off, people, marks, clock
):
    yesterday = NINE - timedelta(days=1)
    broken_off(
        clock.real_now() + timedelta(seconds=30), on=TODAY - timedelta(days=1), due=yesterday
    )
    runner.catch_up(runtime, job(), clock.now())
    assert not marks()
    clock.advance(seconds=60)
    runner.catch_up(runtime, job(), clock.now())
    runner.catch_up(runtime, job(), clock.now())
    assert marks() == {member: 1 if member <= people[2] else 2 for member in people}


# Long looks


def write_elsewhere(runtime):
    with runtime.database.write() as session:
        session.execute(insert(Heartbeat).values(id="till", role="till", at=NOW))


def test_nobodys_writing_waits_while_a_job_looks_long(runtime, run, runs):
    seen = []

    def look(session, batch):
        if batch.cursor == 2:
            return 0
        if not batch.cursor:
            seen.extend(runs())
            write_elsewhere(runtime)
        batch.cursor += 1
        return 1

    assert run(work=look, looks_long=True) == Outcome.DONE
    assert run(work=look, looks_long=True) == Outcome.ALREADY_DONE
    [row], [during] = runs(), seen
    assert (row.state, row.rows_done, row.cursor) == (DONE, 2, 2)
    assert during.state == RUNNING
    assert during.lease_until - during.claimed_at == runner.LONG_LEASE


@pytest.mark.parametrize(
    "job_id, table", [("ledger.check", "lot_draws"), ("insights.nightly", "purchase_items")]
)
def test_the_shop_goes_on_while_everything_is_added_up(runtime, people, only_ours, job_id, table):
    """SQLite has one writer: a till and LINE would wait for as long as the sums take."""
    only_ours(JOBS[job_id])
    wrote = []

    def look(_connection, _cursor, statement, *_more):
        if table in statement and not wrote:
            wrote.append(statement)
            write_elsewhere(runtime)

    event.listen(runtime.database.engine, "before_cursor_execute", look)
    try:
        runner.catch_up(runtime, JOBS[job_id], NOW)
    finally:
        event.remove(runtime.database.engine, "before_cursor_execute", look)
    assert wrote
    with runtime.database.read() as session:
        done = session.scalars(select(Occurrence).where(Occurrence.job == job_id)).one()
        assert done.state == DONE
        assert session.get(Heartbeat, "till") is not None


def test_a_kind_that_is_forgotten_is_not_asked_for_again_for_the_batches_of_another(
    runtime, clock, only_ours
):
    forget = dataclasses.replace(JOBS["members.forget"], limit=2)
    only_ours(forget)
    old = clock.real_now() - timedelta(days=30)
    with runtime.database.write() as session:
        rows = [{"id": f"api:1:{n}", "fingerprint": "x", "created_at": old} for n in range(6)]
        session.execute(insert(Operation), rows)
    asked = Counter()

    def look(_connection, _cursor, statement, *_more):
        asked[" ".join(statement.split()[:3])] += 1

    event.listen(runtime.database.engine, "before_cursor_execute", look)
    try:
        runner.run_occurrence(runtime, forget, on=TODAY, due=NINE, now=NINE)
    finally:
        event.remove(runtime.database.engine, "before_cursor_execute", look)
    assert (asked["DELETE FROM operations"], asked["DELETE FROM scan_codes"]) == (4, 1)
    with runtime.database.read() as session:
        assert session.scalars(select(Operation.id)).all() == []


def test_a_failing_job_stays_open_and_is_taken_up_again(runtime, people, marks, clock, only_ours):
    def fail(session, batch):
        raise ValueError("broken")

    only_ours(job(work=fail))
    runner.tick(runtime, clock.now())
    only_ours(job())
    runner.tick(runtime, clock.now())
    assert not marks()
    clock.advance(seconds=61)
    runner.tick(runtime, clock.now())
    assert marks() == dict.fromkeys(people, 1)


def test_one_failing_job_never_holds_up_the_others(runtime, people, marks, clock, only_ours):
    def fail(session, batch):
        raise ValueError("broken")

    only_ours(runner.Job("tests.fail", time(8, 0), fail, CatchUp.ALWAYS), job())
    runner.tick(runtime, clock.now())
    assert marks() == dict.fromkeys(people, 1)


# Sharing a transaction


@pytest.fixture
def begun(runtime):
    """How many write transactions the runner has begun."""
    counted = []

    class Counting(Runtime):
        def transaction(self, now=None):
            counted.append(now)
            return super().transaction(now)

    fields = {field.name: getattr(runtime, field.name) for field in dataclasses.fields(runtime)}
    return Counting(**fields), counted


def named(name, work=mark, **more):
    return dataclasses.replace(job(work=work, **more), id=f"tests.{name}")


def find_nothing(session, batch):
    return 0


@pytest.mark.parametrize("seconds, transactions", [(60, 1), (0, 4)])
def test_runs_that_find_nothing_share_a_transaction(
    begun, clock, runs, monkeypatch, seconds, transactions
):
    monkeypatch.setattr(runner, "SHARED_SECONDS", seconds)
    counting, counted = begun
    jobs = [named(str(n), find_nothing) for n in range(4)]
    runner.tick(counting, clock.now(), jobs)
    assert len(counted) == transactions
    assert [(row.state, row.rows_done) for row in runs()] == [(DONE, 0)] * 4
    assert all(row.finished_at >= row.claimed_at for row in runs())


def test_what_fails_costs_those_it_shared_with_nothing(
    runtime, people, marks, clock, runs, monkeypatch
):
    monkeypatch.setattr(runner, "SHARED_SECONDS", 60)

    def fail(session, batch):
        activities.record(session, people[0], "tests.marked", batch.now)
        raise ValueError("broken")

    jobs = [named("before"), named("fails", fail), named("after")]
    left = runner.run_jobs(runtime, clock.now(), jobs)
    assert left == {"tests.fails"}
    assert marks() == dict.fromkeys(people, 2)
    assert [(row.job, row.state, row.rows_done) for row in runs()] == [
        ("tests.before", DONE, 10),
        ("tests.fails", RUNNING, 0),
        ("tests.after", DONE, 10),
    ]


def test_one_that_fails_only_when_it_is_run_again_is_left_over(runtime, clock, runs, monkeypatch):
    monkeypatch.setattr(runner, "SHARED_SECONDS", 60)
    times = []

    def fail_later(session, batch):
        times.append(batch.now)
        if len(times) > 1:
            raise ValueError("broken")
        return 0

    def fail(session, batch):
        raise ValueError("broken")

    jobs = [named("later", fail_later), named("fails", fail), named("after", find_nothing)]
    assert runner.run_jobs(runtime, clock.now(), jobs) == {"tests.later", "tests.fails"}
    assert [row.state for row in runs()] == [RUNNING, RUNNING, DONE]


def test_what_is_not_committed_is_run_again_alone(runtime, people, marks, clock, runs, monkeypatch):
    monkeypatch.setattr(runner, "SHARED_SECONDS", 60)
    with runner.Shared(runtime) as shared:
        runner.run_jobs(runtime, clock.now(), [named("one"), named("two")], shared=shared)
        if shared.session is not None:  # where rows are locked it was committed before
            shared.session.add(Heartbeat(id="x", role=None, at=NOW))  # which nothing may be
    assert shared.left == set()
    assert marks() == dict.fromkeys(people, 2)
    assert [row.state for row in runs()] == [DONE, DONE]


class Killed(BaseException):
    """The process ends here."""


def test_a_process_that_dies_in_a_shared_transaction_leaves_all_of_it(
    runtime, people, marks, clock, runs, monkeypatch
):
    monkeypatch.setattr(runner, "SHARED_SECONDS", 60)

    def die(session, batch):
        raise Killed

    first = named("first", find_nothing)
    with pytest.raises(Killed):
        runner.tick(runtime, clock.now(), [first, named("second", die)])
    assert runs() == []
    runner.tick(runtime, clock.now(), [first, named("second")])
    assert [row.state for row in runs()] == [DONE, DONE]
    assert marks() == dict.fromkeys(people, 1)


# Catching up (Z16)


@pytest.fixture
def three_days_later(runtime, people, run, clock):
    """The job ran today; then nobody was there for three days."""
    run()
    clock.moment = NINE + timedelta(days=3, hours=1)

    def catch_up(policy):
        runner.catch_up(runtime, job(policy), clock.now())

    return catch_up


def test_always_runs_each_missed_day_as_of_its_own_moment(three_days_later, people, runtime, runs):
    three_days_later(CatchUp.ALWAYS)
    assert [row.state for row in runs()] == [DONE] * 4
    with runtime.database.read() as session:
        moments = set(session.scalars(select(activities.Activity.at)))
    assert moments == {NINE + timedelta(days=day) for day in range(4)}


def test_latest_runs_once_and_records_what_it_covers(three_days_later, people, marks, runs):
    three_days_later(CatchUp.LATEST)
    assert [row.state for row in runs()] == [DONE, SKIPPED, SKIPPED, DONE]
    assert {row.reason for row in runs()[1:3]} == {"covered by 2026-11-25"}
    assert marks() == dict.fromkeys(people, 2)


def test_same_day_records_the_days_that_are_over_as_too_late(three_days_later, people, marks, runs):
    three_days_later(CatchUp.SAME_DAY)
    assert [row.state for row in runs()] == [DONE, SKIPPED, SKIPPED, DONE]
    assert {row.reason for row in runs()[1:3]} == {"too late"}
    assert marks() == dict.fromkeys(people, 2)


@pytest.mark.parametrize("minute, state", [(0, DONE), (1, SKIPPED)])
def test_fl14_greetings_run_until_eight_and_then_are_too_late(
    runtime, people, clock, runs, minute, state
):
    clock.moment = at_local(TODAY, 20, minute, BANGKOK)
    runner.catch_up(runtime, job(CatchUp.SAME_DAY), clock.now())
    assert runs()[-1].state == state


def test_greetings_broken_off_yesterday_are_not_finished_today(
    runtime, broken_off, marks, clock, runs
):
    broken_off(NINE)
    clock.moment = NINE + timedelta(days=1, hours=-1)
    runner.catch_up(runtime, job(CatchUp.SAME_DAY), clock.now())
    [row] = runs()
    assert (row.state, row.reason) == (SKIPPED, "too late")
    assert not marks()


def test_a_fresh_installation_begins_with_today(runtime, people, clock, runs):
    runner.catch_up(runtime, job(), clock.now())
    assert [row.local_on for row in runs()] == [TODAY]


def test_what_was_due_before_the_shop_began_alarms_nobody(runtime, people, clock, runs):
    greeting = JOBS["members.birthday"]
    clock.moment = at_local(TODAY, 23, 0, BANGKOK)
    runner.catch_up(runtime, greeting, clock.now())
    with runtime.database.read() as session:
        assert watch.find_missed(session, runtime, clock.now()) == []
    clock.moment += timedelta(days=1)
    runner.catch_up(runtime, greeting, clock.now())
    with runtime.database.read() as session:
        [missed] = watch.find_missed(session, runtime, clock.now())
    assert missed.key == "jobs.missed:members.birthday"


def test_fs08_down_for_26_hours_everything_is_done_or_explained(runtime, clock, runs):
    clock.moment = at_local(TODAY, 23, 0, BANGKOK)
    runner.tick(runtime, clock.now())
    clock.advance(hours=26)
    runner.tick(runtime, clock.now())
    for one in JOBS.values():
        expected = list(one.occurrences(start_of_day(TODAY, BANGKOK), clock.now(), BANGKOK))
        rows = runs(one.id)
        assert [row.due_at for row in rows] == expected, one.id
        assert all(row.state == DONE or (row.state == SKIPPED and row.reason) for row in rows)


def test_fs07_points_of_a_month_end_spent_down_expire_at_that_midnight(runtime, clock, runs):
    midnight = start_of_day(date(2026, 12, 1), BANGKOK)
    with runtime.database.write() as session:
        member = factories.somchai(session)
        entry = LedgerEntry(
            member_id=member.id, kind=EntryKind.EARN, points=50, source="import", source_id="1",
            created_at=NOW, effective_at=NOW, facts={},
        )  # fmt: skip
        session.add(entry)
        session.flush()
        session.add(
            Lot(
                member_id=member.id, entry_id=entry.id, points=50, remaining=50, earned_at=NOW,
                expires_at=midnight,
            )
        )  # fmt: skip
        member.totals.balance = 50
    clock.moment = at_local(date(2026, 11, 30), 23, 50, BANGKOK)
    runner.tick(runtime, clock.now())
    clock.moment = at_local(date(2026, 12, 1), 2, 10, BANGKOK)
    runner.tick(runtime, clock.now())
    runner.tick(runtime, clock.now())
    with runtime.database.read() as session:
        expired = session.scalars(
            select(LedgerEntry).where(LedgerEntry.kind == EntryKind.EXPIRE)
        ).all()
    assert [(row.points, row.effective_at) for row in expired] == [(-50, midnight)]
    assert [row.local_on for row in runs("points.expire")][-1] == date(2026, 12, 1)


# Clocks (Z18, Z19)


@pytest.mark.parametrize("step", [-1, 1])
def test_z18_a_clock_that_jumps_an_hour_doubles_nothing(
    runtime, people, marks, clock, runs, only_ours, step
):
    only_ours(job())
    clock.moment = NINE + timedelta(minutes=5)
    runner.tick(runtime, clock.now())
    clock.advance(hours=step)
    runner.tick(runtime, clock.now())
    clock.moment = NINE + timedelta(minutes=10)
    runner.tick(runtime, clock.now())
    assert marks() == dict.fromkeys(people, 1)
    assert all(row.finished_at >= row.claimed_at for row in runs())


def test_z18_a_clock_put_back_during_a_run_gives_no_negative_duration(run, people, clock, runs):
    def put_back(session, batch):
        clock.advance(hours=-1)
        return 0

    run(work=put_back)
    [row] = runs()
    assert row.finished_at == row.claimed_at


@pytest.mark.parametrize("zone", ["UTC", "Asia/Bangkok", "America/New_York"])
def test_fs03_the_servers_zone_changes_no_date(
    runtime, people, clock, runs, monkeypatch, only_ours, zone
):
    monkeypatch.setenv("TZ", zone)
    machine.tzset()
    only_ours(job(at=time(0, 5)))
    clock.moment = datetime(2026, 11, 22, 16, 59, 59, 999999, tzinfo=UTC)
    runner.tick(runtime, clock.now())
    clock.moment = datetime(2026, 11, 22, 17, 5, tzinfo=UTC)
    runner.tick(runtime, clock.now())
    monkeypatch.undo()
    machine.tzset()
    assert [(row.local_on, row.due_at.isoformat()) for row in runs()] == [
        (date(2026, 11, 22), "2026-11-21T17:05:00+00:00"),
        (date(2026, 11, 23), "2026-11-22T17:05:00+00:00"),
    ]


@pytest.mark.parametrize(
    "moment, day",
    [("2026-11-22T16:59:59.999+00:00", 22), ("2026-11-22T17:00:00.000+00:00", 23)],
)
def test_fs04_a_run_by_hand_counts_for_bangkoks_day(runtime, people, clock, runs, moment, day):
    clock.moment = datetime.fromisoformat(moment)
    on = runtime.clock.today()
    runner.run_occurrence(runtime, job(), on=on, due=clock.now(), now=clock.now())
    assert [row.local_on for row in runs()] == [date(2026, 11, day)]


def test_z18_processes_five_minutes_apart_share_one_run(
    runtime, people, marks, only_ours, settings, vault
):
    only_ours(job())
    for minutes in (-5, 0, 5, 6):
        clock = FixedClock(NINE + timedelta(minutes=minutes), BANGKOK)
        other = Runtime(settings, runtime.database, clock, vault)
        runner.tick(other, clock.now())
    assert marks() == dict.fromkeys(people, 1)


# Dry run, turning, tick


def test_dry_run_counts_and_keeps_nothing(runtime, people, marks, runs):
    assert runner.dry_run(runtime, job(), NINE) == 10
    assert not marks()
    assert runs() == []


def test_turn_all_turns_every_due_intent(runtime, clock):
    with runtime.database.write() as session:
        definitions.ensure(session, NOW)
        session.flush()
        member = factories.somchai(session)
        journey = session.scalars(select(Journey).where(Journey.key == "lifecycle.thank_you")).one()
        for number in range(450):
            session.add(
                Intent(
                    member_id=member.id, journey_id=journey.id, version=1, step="thank",
                    occasion=f"purchase:{number}", klass=journey.klass, created_at=NOW,
                    window_from=NOW, deadline=NOW, not_after=NOW - timedelta(seconds=1), facts={},
                )
            )  # fmt: skip
    assert runner.turn_all(runtime, clock.now()) == 450
    assert runner.turn_all(runtime, clock.now()) == 0


def test_scheduler_ticks_by_itself_and_stops(runtime, people, only_ours):
    only_ours()
    moving = Runtime(runtime.settings, runtime.database, SystemClock(BANGKOK), runtime.vault)
    scheduler = runner.Scheduler(moving)
    scheduler.start()

    def has_beaten():
        with runtime.database.read() as session:
            return session.scalar(select(Heartbeat.role)) == "scheduler"

    wait_until(has_beaten, within=20)
    scheduler.stop()


def test_z18_a_clock_that_was_put_back_does_not_silence_it(runtime, people, only_ours):
    only_ours()

    class PutBack(SystemClock):
        def real_now(self):
            return super().real_now() - timedelta(hours=7)

    moving = Runtime(runtime.settings, runtime.database, PutBack(BANGKOK), runtime.vault)
    scheduler = runner.Scheduler(moving)
    scheduler.start()

    def beaten_at():
        with runtime.database.read() as session:
            return session.scalar(select(Heartbeat.at))

    wait_until(beaten_at, within=20)
    before = beaten_at()

    def rings_again():
        scheduler.ring_in_time()  # one that is at work is not begun once more
        return beaten_at() > before

    wait_until(rings_again, within=8)  # sooner than the next tick
    scheduler.stop()


def test_a_stopped_scheduler_may_be_stopped_again(runtime):
    runner.Scheduler(runtime).stop()


def test_z26_a_tick_that_is_to_end_begins_nothing_more(runtime, people, marks, clock):
    begun = []

    def work(session, run):
        begun.append(run.now)
        return mark(session, run)

    first = job(work=work)
    second = dataclasses.replace(first, id="tests.second")
    runner.tick(runtime, clock.now(), [first, second], is_over=lambda: bool(begun))
    assert set(marks().values()) == {1}
    runner.tick(runtime, clock.now(), [first, second])  # whoever comes next goes on
    assert set(marks().values()) == {2}
