"""Never twice: whatever is replayed, paused, killed, restarted, or ticked by four at once."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update

from engagement import definitions, journey_engine, journeys
from models.activities import Activity
from models.coupons import Coupon, Voucher
from models.journeys import Enrolment, EnrolmentState, Intent, IntentState, Journey
from models.members import Member
from models.outbox import Message, MessageClass
from models.points import LedgerEntry
from scheduler import runner
from tests import factories
from tests.conftest import SOAK
from tests.moments import NOW

WORDS = {"title": "สวัสดีค่ะ", "body": "ถึงคุณ{name}", "button": ""}
TEXTS = {"th": {"default": WORDS}, "en": {"default": WORDS}}
GIVING = {
    "topic": "offers",
    "trigger": {"on": "activity", "kind": "purchases.recorded"},
    "exit": {"on": []},
    "reentry": {"kind": "each"},
    "steps": [
        {"key": "v", "kind": "issue_voucher", "coupon": "gift"},
        {"key": "w", "kind": "wait", "how": "time", "minutes": 60},
        {"key": "p", "kind": "give_points", "points": 5, "reason": "ขอบคุณค่ะ"},
        {"key": "s", "kind": "send", "window_hours": 1, "not_after_hours": 700, "texts": TEXTS},
    ],
}
DOINGS = st.lists(
    st.sampled_from(
        ["buy", "replay", "hour", "day", "walk", "turn", "killed", "off", "on", "night", "ride"]
    ),
    min_size=5,
    max_size=25,
)


@settings(
    max_examples=100 if SOAK else 12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(doings=DOINGS)
def test_fs01_fs02_no_occasion_is_done_twice_whatever_happens(life, doings):
    """One member for each example; what was done before stays in the database with the others."""
    session = life.session
    if session.scalar(select(Coupon.id).where(Coupon.key == "gift")) is None:
        factories.make_policy(session)
        life.coupon("gift", per_member=1000)
        made = definitions.create(session, "ให้", GIVING, made_by="staff:1", now=NOW)
        made.is_on = True
    count = session.scalar(select(func.count()).select_from(Member))
    member = factories.make_member(session, f"{count:04d} คน", vault=life.vault, now=life.now)
    for doing in doings:
        _do(life, member, doing)
    _do(life, member, "on")
    for _ in range(4):
        life.later(hours=7)
        _do(life, member, "walk")
        _do(life, member, "turn")
    _check(session, member)


def _do(life, member, doing):
    session = life.session
    if doing == "buy":
        life.buy(member)
    elif doing == "replay":  # the same facts are heard again
        facts = session.scalars(select(Activity).where(Activity.member_id == member.id)).all()
        journey_engine.react(life.runtime, session, list(facts), life.now)
    elif doing in ("hour", "day"):
        life.later(**{f"{doing}s": 1})
    elif doing == "walk":
        while life.walk():
            pass
    elif doing == "turn":
        life.turn()
    elif doing == "killed":  # what a process did not commit never happened
        savepoint = session.begin_nested()
        journey_engine.advance_due(session, life.runtime, life.now)
        journeys.turn_due(session, life.runtime, life.now)
        session.info.pop("activities", None)
        savepoint.rollback()
    elif doing in ("off", "on"):
        session.execute(update(Journey).values(is_on=doing == "on"))
        session.expire_all()
    elif doing == "night":
        life.run("lifecycle.win_back")
        life.run("journeys.segments")
    else:
        life.ride(member)


def _check(session, member):
    mine = (
        select(Enrolment)
        .join(Journey)
        .where(Enrolment.member_id == member.id, Journey.key.like("own.%"))
    )
    occasions = [row.occasion for row in session.scalars(mine)]
    bought = session.scalar(
        select(func.count())
        .select_from(Activity)
        .where(Activity.member_id == member.id, Activity.kind == "purchases.recorded")
    )
    assert len(occasions) == len(set(occasions)) <= bought
    gifts = session.scalars(
        select(Voucher.source_id).where(Voucher.member_id == member.id, Voucher.source == "journey")
    ).all()
    assert len(gifts) == len(set(gifts)) <= bought
    given = session.scalar(
        select(func.count())
        .select_from(LedgerEntry)
        .where(LedgerEntry.member_id == member.id, LedgerEntry.reason == "ขอบคุณค่ะ")
    )
    assert given <= bought
    intents = session.scalars(select(Intent).where(Intent.member_id == member.id)).all()
    assert len({(one.journey_id, one.occasion) for one in intents}) == len(intents)
    messages = session.scalars(
        select(Message.intent_id).where(
            Message.member_id == member.id, Message.intent_id.is_not(None)
        )
    ).all()
    assert len(messages) == len(set(messages))
    said = [
        one.occasion.split(":")[1]
        for one in intents
        if one.klass == MessageClass.PROMOTIONAL
        and one.occasion.startswith("purchase:")
        and one.state != IntentState.SKIPPED
    ]
    assert len(said) == len(set(said))


@pytest.mark.parametrize("sessions", [4])
def test_fs01_four_sessions_ticking_at_once_do_each_step_once(runtime, database, scale, sessions):
    people = max(24, scale(400))
    with runtime.transaction(NOW) as session:
        factories.make_policy(session)
        coupon = factories.make_coupon(session, "gift", obtained="journey", per_member=10)
        made = definitions.create(session, "ให้", GIVING, made_by="staff:1", now=NOW)
        made.is_on = True
        members = [factories.make_member(session, f"{n:04d} คน", now=NOW).id for n in range(people)]
        session.add_all(
            Enrolment(
                member_id=member_id, journey_id=made.id, version=1, occasion="purchase:1",
                step="v", started_at=NOW, due_at=NOW, facts={}, path=[],
                state=EnrolmentState.ACTIVE,
            )
            for member_id in members
        )  # fmt: skip
        coupon_id = coupon.id
    failures: list[BaseException] = []

    def tick():
        try:
            for hours in (0, 0, 2, 2):
                now = NOW.replace(hour=NOW.hour + hours)
                runner.advance_all(runtime, now)
                runner.turn_all(runtime, now)
        except BaseException as error:  # a thread's failure is the test's
            failures.append(error)

    threads = [threading.Thread(target=tick) for _ in range(sessions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    with database.read() as session:
        given = select(LedgerEntry.member_id).where(LedgerEntry.reason == "ขอบคุณค่ะ")
        assert sorted(session.scalars(given)) == sorted(members)
        gifts = select(Voucher.member_id).where(Voucher.coupon_id == coupon_id)
        assert sorted(session.scalars(gifts)) == sorted(members)
        assert session.get_one(Coupon, coupon_id).issued_count == people
        assert sorted(session.scalars(select(Intent.member_id))) == sorted(members)
