from __future__ import annotations

import dataclasses
import threading
from datetime import date, timedelta

import pytest
from sqlalchemy import select, update

from core.clock import SystemClock, local_day
from core.errors import Refused
from engagement import definitions
from loyalty import purchases, shop
from models.journeys import Intent, IntentState, Journey
from models.outbox import Call, CallState, Message
from models.schedule import Occurrence, OccurrenceState
from scheduler import demo_clock, runner
from scheduler.schedule import JOBS
from tests import factories
from tests.moments import BANGKOK

DAY = 86_400


@pytest.fixture
def runtime(runtime):
    """The demo's: real time plus the stored offset, and nobody who sends."""
    database = runtime.database
    built = dataclasses.replace(
        runtime,
        settings=factories.make_settings(database.url, sending="held"),
        clock=SystemClock(BANGKOK, lambda: shop.clock_offset(database)),
    )
    with database.write() as session:
        definitions.ensure(session, built.clock.now())
    return built


@pytest.fixture
def buyer(runtime):
    """A member who has bought once, today."""
    now = runtime.clock.now()
    with runtime.transaction() as session:
        somchai = factories.somchai(session, now=now)
        purchases.record_purchase(
            session, member_id=somchai.id, branch=factories.make_branch(session),
            amount_satang=10_000, operation_id="device:1:1", now=now, tz=BANGKOK,
        )  # fmt: skip
    return somchai.id


def days_of(runtime, job_id):
    with runtime.database.read() as session:
        query = select(Occurrence.local_on).where(
            Occurrence.job == job_id, Occurrence.state == OccurrenceState.DONE
        )
        return list(session.scalars(query.order_by(Occurrence.id)))


def test_moves_the_clock_for_every_process(runtime):
    before = runtime.clock.now()
    moved = demo_clock.advance(runtime, 3600)
    other = SystemClock(BANGKOK, lambda: shop.clock_offset(runtime.database))
    assert timedelta(hours=1) <= other.now() - before < timedelta(hours=1, minutes=2)
    assert moved.now <= other.now()


def test_real_time_is_never_moved(runtime):
    before = runtime.clock.real_now()
    demo_clock.advance(runtime, DAY)
    assert runtime.clock.real_now() - before < timedelta(minutes=5)


def test_runs_every_job_of_every_day_in_order(runtime):
    today = runtime.clock.today()
    demo_clock.advance(runtime, 5 * DAY)
    for job_id in JOBS:
        days = days_of(runtime, job_id)
        assert days == sorted(set(days))
        assert days[-1] >= today + timedelta(days=4)
        assert len(days) >= 5
    with runtime.database.read() as session:
        due = list(session.scalars(select(Occurrence.due_at).order_by(Occurrence.id)))
        skipped = select(Occurrence.id).where(Occurrence.state == OccurrenceState.SKIPPED)
        later = [moment for moment in due if moment > min(due) + timedelta(days=1)]
        assert later == sorted(later)
        assert len(session.scalars(skipped).all()) <= 2  # today's two greetings after 20:00


#: What tells who is silent and writes to them; the other jobs have nothing to do with it.
OF_SILENCE = {"lifecycle.nightly", "lifecycle.win_back", "lifecycle.thank_you"}


def test_after_two_months_the_silent_are_won_back_each_step_at_its_own_moment(
    runtime, buyer, monkeypatch
):
    for job_id in set(JOBS) - OF_SILENCE:
        monkeypatch.delitem(JOBS, job_id)
    bought_on = runtime.clock.today()
    demo_clock.advance(runtime, 50 * DAY)
    with runtime.database.read() as session:
        wished = session.scalars(
            select(Intent.created_at).join(Journey).where(Journey.key == "lifecycle.win_back")
        ).one()
        pushed = session.scalars(
            select(Call.next_try_at).join(Message).order_by(Message.id.desc()).limit(1)
        ).one()
    assert (local_day(wished, BANGKOK) - bought_on).days == 46
    assert pushed - wished == timedelta(hours=72)
    demo_clock.advance(runtime, 14 * DAY)
    with runtime.database.read() as session:
        sent = session.execute(
            select(Intent.step, Intent.state, Message.created_at)
            .join(Message, Message.intent_id == Intent.id)
            .order_by(Message.id)
        ).all()
    assert [row.step for row in sent] == ["thank", "invite", "at_risk", "60"]
    assert {row.state for row in sent} == {IntentState.TURNED}


@pytest.mark.parametrize("seconds", [-1, 400 * DAY + 1])
def test_refuses_to_go_back_or_further_than_400_days(runtime, seconds):
    with pytest.raises(Refused) as refusal:
        demo_clock.advance(runtime, seconds)
    assert refusal.value.code == "demo.bad_advance"
    assert shop.clock_offset(runtime.database) == 0


def test_time_never_runs_backwards(runtime):
    demo_clock.advance(runtime, DAY)
    before = runtime.clock.now()
    for _ in range(3):
        demo_clock.advance(runtime, 0)
    assert runtime.clock.now() >= before


def test_two_moves_at_once_add_up(runtime):
    before = runtime.clock.now()
    movers = [threading.Thread(target=demo_clock.advance, args=(runtime, 7200)) for _ in range(2)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    moved = runtime.clock.now() - before
    assert timedelta(hours=4) <= moved < timedelta(hours=4, minutes=3)


def test_waits_no_longer_than_its_patience_for_a_line_that_never_answers(
    runtime, buyer, monkeypatch
):
    monkeypatch.setattr(demo_clock, "SETTLE_SECONDS", 0.02)
    sending = dataclasses.replace(
        runtime, settings=factories.make_settings(runtime.database.url, sending="on")
    )
    with runtime.database.write() as session:
        session.execute(update(Intent).values(deadline=runtime.clock.now() + timedelta(hours=1)))
    demo_clock.advance(sending, DAY)
    with runtime.database.read() as session:
        assert set(session.scalars(select(Call.state))) == {CallState.WAITING}


def test_fs03_days_are_bangkoks(runtime):
    demo_clock.advance(runtime, DAY)
    with runtime.database.read() as session:
        rows = session.execute(select(Occurrence.due_at, Occurrence.local_on)).all()
    assert all(local_day(row.due_at, BANGKOK) == row.local_on for row in rows)
    assert isinstance(rows[0].local_on, date)


@pytest.mark.parametrize("steps", [0, 3])
def test_what_is_shared_is_kept_before_the_clock_is_set(runtime, monkeypatch, steps):
    """Whether nothing lies ahead or too much does: the last write must not wait for itself."""
    monkeypatch.setattr(runner, "SHARED_SECONDS", 60.0)
    monkeypatch.setattr(demo_clock, "MAX_STEPS", steps)
    before = shop.clock_offset(runtime.database)
    demo_clock.advance(runtime, steps * DAY)
    assert shop.clock_offset(runtime.database) >= before + steps * DAY
    assert days_of(runtime, next(iter(JOBS)))
