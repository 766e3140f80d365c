from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import event, func, insert, select, update

from core.clock import at_local, start_of_day
from core.crypto import Vault
from engagement import (
    campaigns,
    definitions,
    delivery,
    journey_triggers,
    journeys,
    outbox,
    topics,
)
from loyalty import activities, consents, coupons, members, shop
from models.coupons import CouponState, Voucher
from models.earn_rules import Product
from models.journeys import Arm, EnrolmentState, Intent, IntentState, Journey
from models.members import Member, MemberTotals, Purpose, Stage
from models.outbox import Call, CallState, Message, MessageClass, MessageState
from models.purchases import PurchaseItem
from models.scores import ItemPair
from tests import factories
from tests.moments import BANGKOK, NOW

THANKS, WIN_BACK = "lifecycle.thank_you", "lifecycle.win_back"
BIRTHDAY, EXPIRING = "members.birthday", "points.expiring_notice"


# Thank-you


def test_thanks_for_a_purchase_within_a_day(life, somchai):
    life.buy(somchai)
    intent = life.intent(THANKS)
    assert intent.state == IntentState.WAITING
    assert intent.window_from == NOW
    assert intent.deadline == NOW + timedelta(hours=24)
    assert intent.not_after == NOW + timedelta(hours=36)


def test_pushes_thanks_at_the_deadline_and_not_before(life, somchai):
    life.buy(somchai)
    life.later(hours=23, minutes=59)
    life.turn()
    assert life.messages(THANKS) == []
    life.later(minutes=1)
    life.turn()
    assert life.states(THANKS) == ["calling"]
    assert "ขอบคุณ" in life.words(THANKS) or "ยินดี" in life.words(THANKS)


def test_a_batch_reads_each_member_once(life, somchai):
    """The session forgets what nobody holds: each was read again, in three wide rows."""
    life.buy(somchai)
    life.later(days=1)
    life.session.flush()
    life.session.expunge_all()
    read = []

    def note(_connection, _cursor, statement, *_more):
        read.append(statement.partition(" \nFROM ")[2])

    engine = life.session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert journeys.turn_due(life.session, life.runtime, life.now) == 1
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len([rows for rows in read if rows.startswith("intents JOIN members")]) == 1
    alone = ("members \nWHERE", "member_totals \nWHERE", "enrolments \nWHERE")
    assert [rows for rows in read if rows.startswith(alone)] == []


def test_a_deadline_at_night_moves_to_five_to_nine(life, somchai):
    life.at(2026, 11, 22, 22, 30)
    life.buy(somchai)
    assert life.intent(THANKS).deadline == at_local(date(2026, 11, 23), 20, 55, BANGKOK)


def test_thanks_once_a_week(life, somchai):
    life.buy(somchai)
    life.later(days=6, hours=23)
    life.buy(somchai)
    assert len(life.intents(THANKS)) == 1
    life.later(hours=1)
    life.buy(somchai)
    assert len(life.intents(THANKS)) == 2


def test_thanks_again_after_a_thank_you_that_was_never_said(life, somchai):
    voided = life.buy(somchai)
    life.give_back(voided)
    life.later(hours=1)
    life.buy(somchai)
    assert [intent.state for intent in life.intents(THANKS)] == ["skipped", "waiting"]


def test_always_thanks_for_the_first_purchase(life, somchai):
    life.buy(somchai)
    facts = {"purchase_id": 987, "points": 4, "is_first": True}
    activities.record(life.session, somchai.id, "purchases.recorded", NOW, facts)
    life.settle()
    assert len(life.intents(THANKS)) == 2


def test_names_the_next_offer(life, somchai):
    life.coupon("coffee_20", obtained="claim", name_th="ลด 20 บาทรอบหน้า")
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    assert "ลด 20 บาทรอบหน้า" in life.words(THANKS)


@pytest.mark.parametrize("reason", ["none", "draft", "claimed"])
def test_promises_nothing_when_there_is_no_offer(life, somchai, reason):
    if reason != "none":
        coupon = life.coupon("coffee_20", obtained="claim", per_member=1, name_th="ลดแน่ ๆ")
        if reason == "draft":
            coupon.state = CouponState.DRAFT
        else:
            coupons.claim(life.session, coupon.id, somchai, NOW, BANGKOK)
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    assert "ขอบคุณที่แวะมา" in life.words(THANKS)
    assert "ครั้งหน้ามี" not in life.words(THANKS)
    assert "ใช้" not in life.words(THANKS)
    assert "{" not in life.words(THANKS)


def test_says_points_and_balance(life, somchai):
    life.coupon("coffee_20", obtained="claim")
    life.buy(somchai, 100)
    life.later(days=8)
    life.buy(somchai, 250)
    life.later(days=1)
    life.turn()
    assert "10 แต้ม ตอนนี้มีทั้งหมด 14 แต้ม" in life.words(THANKS)


def test_speaks_the_members_language(life, malee):
    life.buy(malee)
    life.later(days=1)
    life.turn()
    assert "Thank you for coming, Malee" in life.words(THANKS)


def test_words_follow_the_stage(life, somchai):
    life.coupon("coffee_20", obtained="claim")
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    assert "ยินดีที่ได้เจอกันครั้งแรก" in life.words(THANKS)
    life.session.execute(update(Message).values(created_at=NOW - timedelta(days=9)))
    life.later(days=8)
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    assert life.session.get(MemberTotals, somchai.id).stage == Stage.RETENTION
    assert "ขอบคุณที่แวะมานะคะ" in life.words(THANKS)


def test_who_comes_back_after_long_is_not_met_for_the_first_time_again(life, somchai):
    life.coupon("coffee_20", obtained="claim")
    life.buy(somchai)
    assert "เจอกันครั้งแรก" in life.ride(somchai)
    life.later(days=120)
    life.buy(somchai)
    assert life.session.get(MemberTotals, somchai.id).stage == Stage.PURCHASE
    assert "ขอบคุณที่แวะมานะคะ คุณสมชาย" in life.ride(somchai)


def test_says_what_the_bill_was(life, somchai):
    life.buy(somchai, 250)
    assert "250" in life.ride(somchai)


def test_calls_a_member_by_their_first_name(life, somchai):
    somchai.name = "สมชาย ใจดี"
    life.buy(somchai)
    said = life.ride(somchai)
    assert "คุณสมชาย" in said
    assert "ใจดี" not in said


# Void


def test_k6_void_takes_back_thanks_that_wait(life, somchai):
    bought = life.buy(somchai)
    life.give_back(bought)
    assert life.intent(THANKS).state == IntentState.SKIPPED
    assert life.intent(THANKS).reason == "journeys.voided"


def test_k6_void_takes_back_thanks_that_are_formed_and_unsent(life, somchai):
    bought = life.buy(somchai)
    life.later(days=1)
    life.turn()
    life.give_back(bought)
    [message] = life.messages(THANKS)
    assert (message.state, message.reason) == (MessageState.SKIPPED, "journeys.voided")
    assert life.session.get_one(Call, message.call_id).state == CallState.DROPPED
    assert life.intent(THANKS).state == IntentState.SKIPPED


def test_void_leaves_thanks_that_are_on_their_way(life, somchai):
    bought = life.buy(somchai)
    life.later(days=1)
    life.turn()
    life.session.execute(update(Call).values(state=CallState.SENDING))
    life.give_back(bought)
    assert life.states(THANKS) == ["calling"]


def test_part_return_leaves_the_thanks(life, somchai):
    bought = life.buy(somchai, 100)
    life.give_back(bought, 50)
    assert life.intent(THANKS).state == IntentState.WAITING


def test_void_of_one_bill_leaves_what_another_caused(life, somchai):
    life.buy(somchai)
    life.later(hours=1)
    second = life.buy(somchai)
    life.give_back(second)
    assert life.intent(THANKS).state == IntentState.WAITING


# Consent, block, leave


def test_fx10_consent_withdrawn_while_it_waits(life, somchai):
    life.buy(somchai)
    life.withdraw(somchai)
    assert life.intent(THANKS).state == IntentState.SKIPPED
    assert life.intent(THANKS).reason == "delivery.no_consent"


def test_fx10_consent_withdrawn_while_its_call_is_queued(life, somchai):
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    life.withdraw(somchai)
    [message] = life.messages(THANKS)
    assert (message.state, message.reason) == (MessageState.SKIPPED, "delivery.no_consent")


def test_fx10_a_member_without_consent_is_counted_as_skipped(life):
    quiet_one = factories.make_member(life.session, "ประยุทธ", marketing=False)
    life.buy(quiet_one)
    life.later(days=1)
    life.turn()
    assert life.messages(THANKS) == []
    assert life.intent(THANKS).reason == "delivery.no_consent"


def test_withdrawn_marketing_leaves_the_expiry_notice(life, somchai):
    life.lot(somchai, 50, start_of_day(date(2026, 12, 1), BANGKOK))
    life.run(EXPIRING)
    life.withdraw(somchai)
    assert life.intent(EXPIRING).state == IntentState.WAITING


def test_withdrawn_birthday_consent_ends_greetings_only(life, somchai):
    life.birthday(somchai, date(1990, 11, 22))
    life.buy(somchai)
    life.at(2026, 11, 22, 8, 0)
    life.run(BIRTHDAY)
    life.withdraw(somchai, Purpose.BIRTHDAY)
    assert life.intent(BIRTHDAY).state == IntentState.SKIPPED
    assert life.intent(THANKS).state == IntentState.WAITING


def test_nobody_who_took_birthday_consent_back_is_greeted(life, somchai):
    life.birthday(somchai, date(1990, 11, 22))
    life.withdraw(somchai, Purpose.BIRTHDAY)
    life.run(BIRTHDAY)
    assert life.intents(BIRTHDAY) == []


def test_block_drops_everything_that_waits(life, somchai):
    life.lot(somchai, 50, start_of_day(date(2026, 12, 1), BANGKOK))
    life.run(EXPIRING)
    life.buy(somchai)
    members.unfollow(life.session, somchai, NOW + timedelta(seconds=1))
    life.settle()
    assert {intent.state for intent in life.intents()} == {IntentState.SKIPPED}
    assert {row.state for row in life.enrolments()} == {EnrolmentState.EXITED}


def test_block_drops_calls_that_are_formed(life, somchai):
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    members.unfollow(life.session, somchai, life.now)
    life.settle()
    assert life.states() == ["skipped"]


# Never twice


def test_an_occasion_is_wished_once_for_ever(life, somchai):
    assert life.begin(THANKS, somchai, "purchase:1", points=1) is not None
    life.intent().state = IntentState.SKIPPED
    life.later(days=400)
    assert life.begin(THANKS, somchai, "purchase:1", points=1) is None
    assert len(life.intents()) == 1


def test_turning_twice_makes_one_message(life, somchai):
    life.buy(somchai)
    life.later(days=1)
    assert life.turn() == 1
    assert life.turn() == 0
    assert len(life.messages(THANKS)) == 1


def test_one_broken_intent_costs_the_others_nothing(life, somchai, malee):
    life.buy(somchai)
    life.buy(malee)
    broken, fine = life.intents(THANKS)
    broken.step = "no such step"
    life.later(days=1)
    life.turn()
    assert (broken.state, fine.state) == (IntentState.WAITING, IntentState.TURNED)
    assert broken.deadline == life.now + timedelta(hours=1)


def test_a_broken_intent_is_given_up_in_the_end(life, somchai):
    life.buy(somchai)
    life.intent().step = "no such step"
    life.later(hours=36, seconds=1)
    life.turn()
    life.turn()
    assert life.turn() == 0


def test_a_journey_that_is_switched_off_says_nothing_more(life, somchai):
    life.buy(somchai)
    life.session.execute(update(Journey).values(is_on=False))
    life.later(days=1)
    life.turn()
    assert life.messages() == []
    assert life.intent(THANKS).reason == "journeys.switched_off"


def test_a_journey_that_is_switched_off_wishes_nothing(life, somchai):
    life.session.execute(update(Journey).values(is_on=False))
    life.session.expire_all()
    life.birthday(somchai, date(1990, 11, 22))
    life.buy(somchai)
    for job in (BIRTHDAY, EXPIRING, WIN_BACK):
        life.run(job)
    assert life.intents() == []


def test_too_late_is_recorded(life, somchai):
    life.buy(somchai)
    life.later(hours=36, seconds=1)
    life.turn()
    assert life.messages(THANKS) == []
    assert life.intent(THANKS).reason == "delivery.too_late"


def test_the_cap_holds_over_journeys(life, somchai):
    life.promote(somchai)
    life.promote(somchai)
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    assert life.intent(THANKS).reason == "delivery.capped"


# Hold-out


@pytest.fixture
def crowd(life):
    """More than 300 members with an intent of the win-back journey."""
    plan = life.plan(WIN_BACK)
    rows = [
        {"public_id": f"crowd-{n}", "created_at": NOW, "line_user_id": f"U{n:032x}"}
        for n in range(310)
    ]
    life.session.execute(insert(Member), rows)
    people = life.session.scalars(select(Member).where(Member.public_id.like("crowd-%"))).all()
    written = {"journey_id": plan.journey.id, "version": 1, "step": "60", "klass": "promotional"}
    moments = dict.fromkeys(("created_at", "window_from", "deadline", "not_after"), NOW)
    life.session.execute(
        insert(Intent),
        [{"member_id": one.id, "occasion": "silence:1:60", **written, **moments} for one in people],
    )
    life.session.info.pop("journeys_measured", None)
    return people


def test_holds_nobody_out_below_300(life, somchai):
    plan = life.plan(WIN_BACK)
    assert journeys.arm_of(life.session, plan.journey, somchai.id, NOW) == Arm.TREATED


def test_holds_a_tenth_out_of_many_and_the_same_ones_for_90_days(life, crowd):
    journey = life.plan(WIN_BACK).journey
    start = datetime.fromordinal((NOW.toordinal() // 90) * 90).replace(tzinfo=UTC)

    def held(at):
        return {
            n for n in range(2000) if journeys.arm_of(life.session, journey, n, at) != "treated"
        }

    first = held(start)
    assert 140 <= len(first) <= 260
    assert held(start + timedelta(days=89)) == first
    assert held(start + timedelta(days=90)) != first


def test_who_is_held_out_gets_nothing(life, crowd):
    plan = life.plan(WIN_BACK)
    held = next(
        person
        for person in crowd
        if journeys.arm_of(life.session, plan.journey, person.id, NOW) == Arm.HELD_OUT
    )
    life.begin(WIN_BACK, held, "silence:2026-09-01", last_on="2026-08-20", limit_days=45)
    mine = life.intents(WIN_BACK)[-1]
    assert (mine.arm, mine.state) == (Arm.HELD_OUT, IntentState.HELD_OUT)
    assert life.ride(held) == ""


def test_a_few_who_begin_again_and_again_are_not_many(life, somchai, malee):
    """The newest are looked at, as a till waits; all of them only where those say too little."""
    shop.set(life.session, "messages.holdout_from", 2, NOW)
    journey = life.plan(WIN_BACK).journey
    written = {"journey_id": journey.id, "version": 1, "step": "60", "klass": "promotional"}

    def begin(member, days, times):
        moments = ("created_at", "window_from", "deadline", "not_after")
        at = dict.fromkeys(moments, NOW - timedelta(days=days))
        rows = [{"member_id": member.id, "occasion": f"{days}:{n}"} for n in range(times)]
        life.session.execute(insert(Intent), [row | written | at for row in rows])
        return {journeys.arm_of(life.session, journey, n, NOW) for n in range(100)}

    assert begin(somchai, 0, 2 * journeys.LOOKED_AT) == {Arm.TREATED}
    assert begin(malee, 1, 1) == {Arm.TREATED, Arm.HELD_OUT}


@pytest.mark.parametrize("key", [BIRTHDAY, EXPIRING])
def test_birthdays_and_service_hold_nobody_out(life, crowd, key):
    life.session.execute(update(Intent).values(journey_id=select(Journey.id).where(
        Journey.key == key).scalar_subquery()))  # fmt: skip
    journey = life.plan(key).journey
    arms = {journeys.arm_of(life.session, journey, n, NOW) for n in range(500)}
    assert arms == {Arm.TREATED}


def test_the_owner_decides_from_how_many_on(life, somchai):
    shop.set(life.session, "messages.holdout_from", 0, NOW)
    journey = life.plan(WIN_BACK).journey
    arms = {journeys.arm_of(life.session, journey, n, NOW) for n in range(100)}
    assert arms == {Arm.TREATED, Arm.HELD_OUT}


# Win-back


@pytest.mark.parametrize(
    "silent, gap, rung",
    [
        (45, None, None),
        (46, None, "at_risk"),
        (59, None, "at_risk"),
        (60, None, "60"),
        (89, None, "60"),
        (90, None, "90"),
        (120, None, "90"),
        (121, None, None),
        # A customer of every other day is at risk after two weeks.
        (14, 2.0, None),
        (15, 2.0, "at_risk"),
        (60, 2.0, "60"),
        # Every 15 days: at risk beyond 22.5.
        (22, 15.0, None),
        (23, 15.0, "at_risk"),
        # Every 40 days: nobody is missed before they are late, and the rungs keep their distance.
        (60, 40.0, None),
        (61, 40.0, "at_risk"),
        (74, 40.0, "at_risk"),
        (75, 40.0, "60"),
        (105, 40.0, "90"),
        (136, 40.0, None),
        (150, 100.0, None),
        (151, 100.0, "at_risk"),
    ],
)
def test_rungs_follow_the_own_rhythm(life, somchai, silent, gap, rung):
    """What a first look finds: the highest rung that the silence has reached, and only that."""
    last = date(2026, 11, 22) - timedelta(days=silent)
    somchai.totals.purchase_days = [last.isoformat()]
    somchai.totals.last_purchase_at = start_of_day(last, BANGKOK)
    somchai.totals.own_gap_days = gap
    life.at(2026, 11, 22, 10, 30)
    life.run(WIN_BACK)
    assert [intent.step for intent in life.intents(WIN_BACK)] == ([rung] if rung else [])


@pytest.mark.parametrize("silent, rung", [(5, []), (6, ["at_risk"])])
def test_the_shops_own_floor_decides_who_is_silent(life, somchai, silent, rung):
    last = date(2026, 11, 22) - timedelta(days=silent)
    somchai.totals.purchase_days = [last.isoformat()]
    somchai.totals.last_purchase_at = start_of_day(last, BANGKOK)
    somchai.totals.own_gap_days = 2.0
    shop.set(life.session, "lifecycle.at_risk_floor", 5, life.now)
    life.at(2026, 11, 22, 10, 30)
    life.run(WIN_BACK)
    assert [intent.step for intent in life.intents(WIN_BACK)] == rung


def test_win_back_climbs_the_ladder_once_each_and_falls_silent(life, somchai):
    life.at(2026, 9, 1, 12, 0)
    life.buy(somchai)
    for day in range(1, 140):
        life.clock.moment = at_local(date(2026, 9, 1) + timedelta(days=day), 10, 30, BANGKOK)
        life.run(WIN_BACK)
    assert [intent.step for intent in life.intents(WIN_BACK)] == ["at_risk", "60", "90"]
    [ladder] = [row for row in life.enrolments() if row.occasion == "silence:2026-09-01"]
    assert (ladder.step, ladder.state) == ("90", EnrolmentState.DONE)


def test_a_long_down_time_sends_only_the_highest_rung(life, somchai):
    life.at(2026, 9, 1, 12, 0)
    life.buy(somchai)
    life.at(2026, 12, 5, 10, 30)
    life.run(WIN_BACK)
    assert life.intent(WIN_BACK).step == "90"


def test_win_back_brings_its_coupon(life, somchai):
    gift = life.coupon("win_back_60")
    life.buy(somchai)
    life.later(days=60)
    life.run(WIN_BACK)
    life.later(days=3)
    life.turn()
    assert "ของขวัญ win_back_60" in life.words(WIN_BACK)
    [voucher] = life.session.scalars(select(Voucher)).all()
    assert (voucher.member_id, voucher.coupon_id) == (somchai.id, gift.id)


def test_win_back_without_a_coupon_promises_none(life, somchai):
    life.buy(somchai)
    life.later(days=60)
    life.run(WIN_BACK)
    life.later(days=3)
    life.turn()
    assert "สองเดือนแล้ว" in life.words(WIN_BACK)
    assert "รับ" not in life.words(WIN_BACK)
    assert "{" not in life.words(WIN_BACK)


def test_a_purchase_ends_the_ladder(life, somchai):
    life.buy(somchai)
    life.later(days=60)
    life.run(WIN_BACK)
    life.buy(somchai)
    waiting = life.intent(WIN_BACK)
    assert (waiting.state, waiting.reason) == (IntentState.SKIPPED, "journeys.bought")
    ladder = [row for row in life.enrolments() if row.occasion.startswith("silence")]
    assert [row.state for row in ladder] == [EnrolmentState.EXITED]


def test_a_purchase_takes_back_a_win_back_that_is_formed(life, somchai):
    life.buy(somchai)
    life.later(days=60)
    life.run(WIN_BACK)
    life.later(days=3)
    life.turn()
    life.buy(somchai)
    assert life.states(WIN_BACK) == ["skipped"]


def test_a_new_silence_is_a_new_ladder(life, somchai):
    life.buy(somchai)
    life.later(days=60)
    life.run(WIN_BACK)
    life.buy(somchai)
    life.later(days=60)
    life.run(WIN_BACK)
    assert len(life.intents(WIN_BACK)) == 2


def test_who_never_bought_is_not_won_back(life, somchai):
    life.later(days=60)
    life.run(WIN_BACK)
    assert life.intents() == []


def test_win_back_works_in_batches(life, somchai, malee):
    life.buy(somchai)
    life.buy(malee)
    life.later(days=60)
    life.run(WIN_BACK, limit=1)
    assert [row.member_id for row in life.intents(WIN_BACK)] == [somchai.id, malee.id]


# Birthdays


def test_m5_a_greeting_rides_whatever_is_answered_that_day(life, somchai):
    life.coupon("birthday_gift")
    life.birthday(somchai, date(1990, 11, 23))
    life.at(2026, 11, 23, 9, 0)
    life.run(BIRTHDAY)
    assert life.messages(BIRTHDAY) == []
    life.at(2026, 11, 23, 14, 0)
    words = life.ride(somchai)
    assert life.session.scalar(select(func.count()).select_from(Voucher)) == 1
    assert "สุขสันต์วันเกิด" in words
    assert "ของขวัญ birthday_gift" in words
    life.at(2026, 11, 23, 20, 0)
    life.turn()
    assert [row.channel for row in life.messages(BIRTHDAY)] == ["reply"]


def test_m5_a_greeting_nobody_asked_for_is_pushed_at_eight_in_the_evening(life, somchai):
    life.coupon("birthday_gift")
    life.birthday(somchai, date(1990, 11, 23))
    life.at(2026, 11, 23, 9, 0)
    life.run(BIRTHDAY)
    assert life.intent(BIRTHDAY).deadline == at_local(date(2026, 11, 23), 20, 0, BANGKOK)
    life.at(2026, 11, 23, 19, 59)
    life.turn()
    assert life.messages(BIRTHDAY) == []
    life.at(2026, 11, 23, 20, 0)
    life.turn()
    assert "สุขสันต์วันเกิด" in life.words(BIRTHDAY)
    assert "ของขวัญ birthday_gift" in life.words(BIRTHDAY)


def test_a_greeting_whose_hour_lies_in_the_night_leaves_before_it(life, somchai):
    journey = life.session.scalars(select(Journey).where(Journey.key == BIRTHDAY)).one()
    version = definitions.current(life.session, journey)
    changed = copy.deepcopy(version.definition)
    changed["steps"][0]["until_hour"] = 22
    version.definition = changed
    life.birthday(somchai, date(1990, 11, 23))
    life.at(2026, 11, 23, 9, 0)
    life.run(BIRTHDAY)
    assert life.intent(BIRTHDAY).deadline == at_local(date(2026, 11, 23), 20, 55, BANGKOK)


@pytest.mark.parametrize("minute, greeted", [(59, 1), (61, 0)])
def test_a_greeting_ends_with_its_day(life, somchai, minute, greeted):
    life.birthday(somchai, date(1990, 11, 23))
    life.at(2026, 11, 23, 20 + minute // 60, minute % 60)
    life.run(BIRTHDAY)
    assert len(life.messages(BIRTHDAY)) == greeted
    assert (life.intent(BIRTHDAY).reason == "delivery.too_late") is not greeted


def test_greets_once_a_year(life, somchai):
    life.birthday(somchai, date(1990, 11, 23))
    for year in (2026, 2026, 2027):
        life.at(year, 11, 23, 9, 0)
        life.run(BIRTHDAY)
    assert [row.occasion for row in life.enrolments(BIRTHDAY)] == ["birthday:2026", "birthday:2027"]


def test_birthday_stored_before_the_index_key_changed_is_greeted(life, somchai):
    life.birthday(somchai, date(1990, 11, 23))
    new_key = "new-index-key-of-the-tests-123456"
    rotated = Vault((factories.DATA_KEY,), (new_key, factories.INDEX_KEY))
    life.runtime = replace(life.runtime, vault=rotated)
    life.at(2026, 11, 23, 9, 0)
    life.run(BIRTHDAY)
    assert len(life.intents(BIRTHDAY)) == 1


@pytest.mark.parametrize(
    "day, greeted",
    [
        ((2027, 2, 28), 1),
        ((2027, 3, 1), 0),
        ((2028, 2, 28), 0),
        ((2028, 2, 29), 1),
    ],
)
def test_29_february_is_celebrated_on_the_28th_in_common_years(life, somchai, day, greeted):
    life.birthday(somchai, date(1996, 2, 29))
    life.at(*day, 9, 0)
    life.run(BIRTHDAY)
    assert len(life.intents(BIRTHDAY)) == greeted


def test_fs06_birthday_changed_to_tomorrow_is_greeted_without_a_gift(life, somchai):
    life.coupon("birthday_gift")
    life.birthday(somchai, date(1990, 3, 3))
    members.set_birthday(
        life.session, life.vault, somchai, date(1990, 11, 23), NOW, date(2026, 11, 22)
    )
    life.settle()
    life.at(2026, 11, 23, 20, 0)
    life.run(BIRTHDAY)
    assert "สุขสันต์วันเกิด" in life.words(BIRTHDAY)
    assert "ของขวัญ" not in life.words(BIRTHDAY)
    assert life.session.scalar(select(func.count()).select_from(Voucher)) == 0


def test_fs06_birthday_moved_after_this_years_greeting_brings_no_second_one(life, somchai):
    life.coupon("birthday_gift")
    life.birthday(somchai, date(1990, 11, 22))
    life.at(2026, 11, 22, 9, 0)
    life.run(BIRTHDAY)
    members.set_birthday(
        life.session, life.vault, somchai, date(1990, 12, 30), life.now, date(2026, 11, 22)
    )
    life.at(2026, 12, 30, 9, 0)
    life.run(BIRTHDAY)
    assert len(life.intents(BIRTHDAY)) == 1


def test_fl13_birthdays_of_a_faulty_hour_are_sent_once_the_same_day(life, somchai):
    """LINE answers 500 around eight: the one call stays owed, with time until the day is over."""
    life.birthday(somchai, date(1990, 11, 23))
    life.at(2026, 11, 23, 12, 0)
    life.run(BIRTHDAY)
    life.at(2026, 11, 23, 20, 0)
    life.turn()
    life.later(minutes=30)
    life.run(BIRTHDAY)
    life.turn()
    [message] = life.messages(BIRTHDAY)
    call = life.session.get_one(Call, message.call_id)
    assert call.state == CallState.WAITING
    assert call.not_after == message.not_after == at_local(date(2026, 11, 23), 21, 0, BANGKOK)


def test_fl14_greetings_of_an_outage_carry_the_hour_after_which_they_are_too_late(life, somchai):
    """The machine was off until half past eight."""
    life.birthday(somchai, date(1990, 11, 23))
    life.at(2026, 11, 23, 20, 30)
    life.run(BIRTHDAY)
    [message] = life.messages(BIRTHDAY)
    call = life.session.get_one(Call, message.call_id)
    assert call.not_after == message.not_after == at_local(date(2026, 11, 23), 21, 0, BANGKOK)


# Points expiring


def ends_on(day: date) -> datetime:
    return start_of_day(day + timedelta(days=1), BANGKOK)


@pytest.mark.parametrize(
    "left, steps", [(31, []), (30, ["30"]), (29, ["30"]), (8, ["30"]), (7, ["7"]), (0, ["7"])]
)
def test_tells_30_and_7_days_before(life, somchai, left, steps):
    life.lot(somchai, 50, ends_on(date(2026, 11, 22) + timedelta(days=left)))
    life.run(EXPIRING)
    assert [intent.step for intent in life.intents(EXPIRING)] == steps


def test_tells_each_ending_twice_in_all(life, somchai):
    life.lot(somchai, 50, ends_on(date(2026, 12, 31)))
    for day in range(45):
        life.clock.moment = at_local(date(2026, 11, 22) + timedelta(days=day), 10, 0, BANGKOK)
        life.run(EXPIRING)
    assert [intent.step for intent in life.intents(EXPIRING)] == ["30", "7"]
    assert life.states(EXPIRING) == ["calling", "calling"]


def test_says_how_many_points_until_which_day(life, somchai):
    life.lot(somchai, 50, ends_on(date(2026, 11, 29)))
    life.lot(somchai, 20, ends_on(date(2026, 11, 29)))
    life.lot(somchai, 5, ends_on(date(2026, 12, 20)))
    life.run(EXPIRING)
    life.later(days=5)
    life.turn()
    assert "70 แต้ม" in life.words(EXPIRING)
    assert "29 พ.ย. 2569" in life.words(EXPIRING)


def test_says_what_is_left_when_it_is_said(life, somchai):
    lot = life.lot(somchai, 50, ends_on(date(2026, 11, 29)))
    life.run(EXPIRING)
    lot.remaining = 30
    life.later(days=5)
    life.turn()
    assert "30 แต้ม" in life.words(EXPIRING)


def test_says_nothing_of_points_that_are_spent(life, somchai):
    lot = life.lot(somchai, 50, ends_on(date(2026, 11, 29)))
    life.run(EXPIRING)
    lot.remaining = 0
    life.later(days=5)
    life.turn()
    assert life.messages(EXPIRING) == []
    assert life.intent(EXPIRING).reason == "journeys.points_used"


def test_a_member_with_more_lots_than_a_batch_hears_of_all(life, somchai, malee):
    for day in range(5):
        life.lot(somchai, 10, ends_on(date(2026, 11, 24) + timedelta(days=day)))
    life.lot(malee, 10, ends_on(date(2026, 11, 24)))
    life.run(EXPIRING, limit=2)
    assert [row.member_id for row in life.intents(EXPIRING)] == [somchai.id] * 5 + [malee.id]


def test_expiry_needs_no_marketing_consent_but_a_reachable_member(life):
    quiet_one = factories.make_member(life.session, "ประยุทธ", marketing=False)
    anan = factories.anan(life.session)
    life.lot(quiet_one, 50, ends_on(date(2026, 11, 29)))
    life.lot(anan, 50, ends_on(date(2026, 11, 29)))
    life.run(EXPIRING)
    life.later(days=5)
    life.turn()
    assert [message.member_id for message in life.messages(EXPIRING)] == [quiet_one.id]


@pytest.mark.parametrize(
    "moment, found",
    [("2026-11-22T16:59:59.999999+00:00", 0), ("2026-11-22T17:00:00+00:00", 1)],
)
def test_fs04_thirty_days_before_begins_at_bangkoks_midnight(life, somchai, moment, found):
    life.lot(somchai, 50, ends_on(date(2026, 12, 23)))
    life.clock.moment = datetime.fromisoformat(moment)
    assert len(journey_triggers.ending_points(life.session, life.now, BANGKOK, 30, 0, 10)) == found


def test_enrolments_keep_the_version_of_their_day(life, somchai):
    life.buy(somchai)
    [enrolment] = life.enrolments(THANKS)
    assert (enrolment.version, life.intent(THANKS).version) == (1, 1)
    assert life.intent(THANKS).occasion == f"{enrolment.occasion}:thank"


def test_a_thank_you_that_is_said_ends_its_enrolment(life, somchai):
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    [enrolment] = life.enrolments(THANKS)
    assert (enrolment.state, enrolment.ended_at) == (EnrolmentState.DONE, life.now)


def test_consent_given_again_does_not_revive_what_was_dropped(life, somchai):
    life.buy(somchai)
    life.withdraw(somchai)
    consents.give(life.session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW)
    life.settle()
    life.later(days=1)
    life.turn()
    assert life.messages() == []


def test_what_sells_best_is_read_from_the_newest_bills(life, somchai, monkeypatch):
    monkeypatch.setattr(journeys, "BEST_BILLS", 1)
    for sku in ("cake", "latte"):
        life.later(days=1)
        bought = life.buy(somchai)
        life.session.add(Product(sku=sku, name_th=sku, name_en=sku))
        life.session.add(
            PurchaseItem(purchase_id=bought.purchase.id, sku=sku, quantity=1, amount_satang=100)
        )
    life.session.flush()
    assert journeys.best_sellers(life.session, life.now, "en").startswith("latte")


def test_m6_a_batch_adds_the_month_up_once_and_ends_at_the_stop(life, somchai, malee):
    shop.set(life.session, "messages.monthly_stop", 1, NOW)
    for one in (somchai, malee):
        life.buy(one)
    life.later(days=1)
    added_up = []

    def note(_connection, _cursor, statement, *_more):
        added_up.append("sum(calls.recipient_count)" in statement)

    event.listen(life.session.get_bind(), "before_cursor_execute", note)
    try:
        life.turn()
    finally:
        event.remove(life.session.get_bind(), "before_cursor_execute", note)
    assert added_up.count(True) == 1
    assert sorted(one.reason or "" for one in life.intents(THANKS)) == ["", "delivery.monthly_stop"]


def test_M10_a_text_may_name_something_that_goes_with_what_a_member_buys(life, somchai, malee):
    step = {"texts": {"th": {"default": {"title": "x", "body": "ลอง {item} ไหม", "button": ""}}}}
    step["texts"]["en"] = step["texts"]["th"]
    bought = life.buy(somchai)
    for sku in ("latte", "cake"):
        life.session.add(Product(sku=sku, name_th=f"ไทย {sku}", name_en=sku, label="x"))
    life.session.add(
        PurchaseItem(purchase_id=bought.purchase.id, sku="latte", quantity=1, amount_satang=100)
    )
    life.session.add(ItemPair(sku="latte", other_sku="cake", bills=9, lift=2.0))
    life.session.flush()
    named = [
        journeys.filled_facts(life.session, one, step, {}, life.now, BANGKOK)["item"]
        for one in (somchai, malee)
    ]
    assert named == ["ไทย cake", "our favourite"]


def test_m4_what_is_parked_is_not_sent_once_its_topic_is_muted(life, somchai):
    life.buy(somchai)
    life.later(days=1)
    life.turn()
    campaign = campaigns.create(life.session, "ข่าว", made_by="staff:1", now=life.now)
    campaign.topic = topics.NEWS
    life.session.flush()
    outbox.queue(
        life.session, key="k", member=somchai, klass=MessageClass.PROMOTIONAL, kind="campaigns.send",
        messages=[{"type": "text", "text": "ข่าว"}], now=life.now,
        source=f"campaign:{campaign.id}:a",
    )  # fmt: skip
    outbox.park_due(
        life.session, life.now, reason=outbox.NO_QUOTA, limit=10, keeps_transactional=False
    )
    for topic, states in ((topics.NEWS, ["parked", "skipped"]), (topics.OFFERS, ["skipped"] * 2)):
        topics.set_topic(life.session, somchai.id, topic, life.now, is_on=False)
        life.settle()
        assert life.states() == states
    assert life.intent(THANKS).reason == delivery.MUTED
