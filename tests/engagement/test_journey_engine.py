"""M1: what begins a journey, what each step does, what ends it, and whether one may come again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select

from core.clock import start_of_day
from core.errors import Refused
from engagement import (
    definitions,
    journey_engine,
    journey_shapes,
    journey_trials,
    outbox,
    rides,
)
from loyalty import activities, coupons, erasure, shop
from models.conversations import Ticket
from models.coupons import Voucher, VoucherState
from models.feed import FeedEvent
from models.journeys import Arm, EnrolmentState, Journey, JourneyVersion
from models.members import Level, Member, MemberState, Stage
from models.menus import Menu
from models.outbox import MessageClass
from models.points import LedgerEntry
from models.segments import MemberTag
from tests import factories
from tests.moments import BANGKOK, NOW

WORDS = {"title": "สวัสดีค่ะ", "body": "ถึงคุณ{name}", "button": ""}
TEXTS = {"th": {"default": WORDS}, "en": {"default": WORDS}}
SEND = {"key": "say", "kind": "send", "window_hours": 0, "not_after_hours": 48, "texts": TEXTS}
BOUGHT = {"on": "activity", "kind": "purchases.recorded"}
TAG = {"key": "tag", "kind": "tag", "tag": "was_here"}


@pytest.fixture
def journey(life):
    """`journey(steps, trigger=…, …)`: the only journey that is on."""

    def make(*steps, trigger=BOUGHT, reentry=None, exit_=None, **more):
        definition = {
            "topic": "offers", "trigger": trigger, "exit": exit_ or {"on": []},
            "reentry": reentry or {"kind": "each"}, "steps": list(steps),
        }  # fmt: skip
        for row in life.session.scalars(select(Journey)):
            row.is_on = False
        made = definitions.create(
            life.session, "ทดลอง", definition, made_by="staff:1", now=NOW, **more
        )
        made.is_on = True
        life.session.flush()
        return made

    return make


def tags(life):
    """Who was tagged, once everybody who is due has been moved on."""
    while life.walk():
        pass
    return set(life.session.scalars(select(MemberTag.member_id)))


# Triggers


@pytest.mark.parametrize(
    "condition, begins",
    [
        ({"fact": "points", "is": "at_least", "value": 10}, True),
        ({"fact": "points", "is": "at_least", "value": 11}, False),
        ({"fact": "points", "is": "at_most", "value": 10}, True),
        ({"fact": "is_first", "is": "yes"}, True),
        ({"fact": "is_first", "is": "no"}, False),
        ({"fact": "branch_code", "is": "one_of", "value": ["siam"]}, True),
        ({"fact": "branch_code", "is": "none_of", "value": ["siam"]}, False),
        ({"fact": "purchase_days", "is": "at_most", "value": 0}, False),
        ({"fact": "no_such_fact", "is": "at_least", "value": 1}, False),
        ({"fact": "branch_code", "is": "at_least", "value": 1}, False),  # words: a bill is booked
    ],
)
def test_m1_a_fact_begins_it_when_its_conditions_hold(life, somchai, journey, condition, begins):
    factories.make_policy(life.session)
    journey(TAG, trigger={**BOUGHT, "where": [condition]})
    life.buy(somchai, 250)
    assert tags(life) == ({somchai.id} if begins else set())


@pytest.mark.parametrize(
    "trigger, begins",
    [
        ({"field": "stage", "kind": "stages.changed", "to": ["purchase"]}, True),
        ({"field": "stage", "kind": "stages.changed", "to": ["retention"]}, False),
        ({"field": "stage", "kind": "stages.changed", "to": []}, True),
        ({"field": "level", "kind": "stages.changed", "to": ["neutral"]}, True),
        ({"field": "level", "kind": "stages.changed", "to": ["vip"]}, False),
        ({"field": "tier", "kind": "tiers.changed", "to": ["gold"]}, True),
        ({"field": "tier", "kind": "tiers.changed", "to": ["silver"]}, False),
    ],
)
def test_m1_a_change_of_stage_level_or_tier_begins_it(life, somchai, journey, trigger, begins):
    journey(TAG, trigger={"on": "change", **trigger})
    life.buy(somchai)
    facts = {"before": None, "after": "gold", "cause": "earned", "is_up": True, "until": None}
    if trigger["field"] == "tier":
        activities.record(life.session, somchai.id, "tiers.changed", life.now, facts)
        life.settle()
    assert tags(life) == ({somchai.id} if begins else set())


@pytest.mark.parametrize("days, on", [(0, (11, 23)), (-3, (11, 20)), (2, (11, 25))])
def test_m1_a_birthday_begins_it_so_many_days_before_or_after(life, somchai, journey, days, on):
    journey(TAG, trigger={"on": "date", "kind": "birthday", "days": days})
    life.birthday(somchai, date(1990, 11, 23))
    life.at(2026, *on, 9, 0)
    life.later(days=-1)
    life.run("members.birthday")
    assert tags(life) == set()
    life.later(days=1)
    life.run("members.birthday")
    life.run("members.birthday")
    assert tags(life) == {somchai.id}


@pytest.mark.parametrize(
    "trigger, job",
    [
        ({"on": "date", "kind": "birthday", "days": 0}, "members.birthday"),
        ({"on": "date", "kind": "points", "days": -7}, "points.expiring_notice"),
        ({"on": "silence", "days": 20, "last_days": 40}, "lifecycle.win_back"),
    ],
)
@pytest.mark.parametrize(
    "state, begun",
    [(MemberState.MEMBER, 1), (MemberState.MERGED, 0), (MemberState.ERASED, 0)],
)
def test_m1_no_night_begins_it_for_a_row_that_is_nobodys(
    life, somchai, journey, trigger, job, state, begun
):
    """No voucher of the stock and no ticket for who has left or goes by another row by now."""
    journey(TAG, trigger=trigger)
    life.birthday(somchai, life.now.date().replace(year=1990))
    life.lot(somchai, 5, life.now + timedelta(days=3))
    somchai.totals.purchase_days = ["2026-11-01"]
    somchai.totals.last_purchase_at = life.now - timedelta(days=21)
    somchai.state, somchai.line_user_id = state, None
    life.run(job)
    assert len(life.enrolments()) == begun


@pytest.mark.parametrize(
    "joined, day, years",
    [
        ((2024, 11, 23), (2026, 11, 23), [2]),
        ((2024, 11, 22), (2026, 11, 23), []),
        ((2026, 11, 23), (2026, 11, 23), []),
        ((2024, 2, 29), (2025, 2, 28), [1]),
        ((2024, 2, 29), (2028, 2, 28), []),
        ((2024, 2, 29), (2028, 2, 29), [4]),
    ],
)
def test_m1_the_joining_day_begins_it_each_year(life, somchai, journey, joined, day, years):
    made = journey(TAG, trigger={"on": "date", "kind": "joined", "days": 0})
    somchai.joined_at = datetime(*joined, 23, 30, tzinfo=BANGKOK).astimezone(UTC)
    life.at(*day, 9, 5)
    life.run("members.anniversary")
    assert [row.facts["years"] for row in life.enrolments(made.key)] == years


def test_m1_expiring_vouchers_begin_it_once_for_each_day(life, somchai, journey):
    made = journey(TAG, trigger={"on": "date", "kind": "vouchers", "days": -5})
    coupon = life.coupon("gift", valid_days=30)
    for key in ("a", "b"):
        voucher_of(life, coupon, somchai, key)
    for _ in range(31):
        life.later(days=1)
        life.run("vouchers.expiring_notice")
    [row] = life.enrolments(made.key)
    assert (row.facts["count"], row.facts["days"]) == (2, 5)


def test_m2_a_voucher_that_a_till_forgot_is_still_announced(life, somchai, journey):
    made = journey(TAG, trigger={"on": "date", "kind": "vouchers", "days": -5})
    voucher_of(life, life.coupon("gift", valid_days=30), somchai, "a").state = VoucherState.HELD
    life.later(days=26)
    life.run("vouchers.expiring_notice")
    assert len(life.enrolments(made.key)) == 1


def voucher_of(life, coupon, member, key):
    return coupons.issue(
        life.session, coupon, member.id, source="test", source_id=key, now=life.now, tz=BANGKOK
    )


def test_m1_entering_a_segment_begins_it_at_night(life, somchai, malee, journey):
    tree = {"field": "totals.purchase_count", "is": "at_least", "value": 1}
    made = journey(TAG, trigger={"on": "segment", "tree": tree}, reentry={"kind": "never"})
    life.run("journeys.segments")
    assert tags(life) == set()
    life.buy(malee)
    for _ in range(3):
        life.run("journeys.segments")
        life.later(days=1)
    assert tags(life) == {malee.id}
    assert len(life.enrolments(made.key)) == 1


def test_m1_silence_begins_it(life, somchai, journey):
    journey(TAG, trigger={"on": "silence", "days": 20, "last_days": 40})
    life.buy(somchai)
    life.later(days=20)
    life.run("lifecycle.win_back")
    assert tags(life) == set()
    life.later(days=1)
    life.run("lifecycle.win_back")
    assert tags(life) == {somchai.id}


# Steps


def at(life, *local):
    life.at(*local)
    return life.now


def test_m1_waits_a_while_then_until_an_hour_of_the_shop(life, somchai, journey):
    made = journey({"key": "w", "kind": "wait", "how": "time", "minutes": 1440, "hour": 11}, TAG)
    at(life, 2026, 11, 22, 23, 30)
    life.buy(somchai)
    [row] = life.enrolments(made.key)
    assert row.due_at == datetime(2026, 11, 24, 11, 0, tzinfo=BANGKOK)
    at(life, 2026, 11, 24, 10, 59)
    assert life.walk() == 0
    at(life, 2026, 11, 24, 11, 0)
    assert life.walk() == 1
    assert tags(life) == {somchai.id}


@pytest.mark.parametrize(
    "bought, due", [((2026, 11, 22, 9, 59), (2026, 11, 22, 10)), ((2026, 11, 22, 10, 1), (2026, 11, 23, 10))]
)  # fmt: skip
def test_m1_waits_until_a_local_hour(life, somchai, journey, bought, due):
    made = journey({"key": "w", "kind": "wait", "how": "hour", "hour": 10}, TAG)
    at(life, *bought)
    life.buy(somchai)
    [row] = life.enrolments(made.key)
    assert row.due_at == datetime(*due, tzinfo=BANGKOK)


def test_m1_waits_until_days_before_a_date(life, somchai, journey):
    wait = {"key": "w", "kind": "wait", "how": "date", "of": "birthday", "days": -7, "hour": 9}
    made = journey(wait, TAG)
    life.birthday(somchai, date(1990, 12, 24))
    life.buy(somchai)
    life.walk()
    [row] = life.enrolments(made.key)
    assert row.due_at == datetime(2026, 12, 17, 9, tzinfo=BANGKOK)


def test_m1_a_date_that_nobody_knows_ends_it(life, somchai, journey):
    wait = {"key": "w", "kind": "wait", "how": "date", "of": "birthday", "days": 0, "hour": 9}
    made = journey(wait, TAG)
    life.buy(somchai)
    life.walk()
    [row] = life.enrolments(made.key)
    assert (row.state, row.path[-1]["what"]) == (EnrolmentState.DONE, "no_date")


@pytest.mark.parametrize("baht, tag", [(100, "small"), (900, "large")])
def test_m1_branches_by_a_segment(life, somchai, journey, baht, tag):
    when = {"field": "totals.spent", "is": "at_least", "value": 50_000}
    journey(
        {"key": "b", "kind": "branch", "when": when, "then": "large", "else": "small"},
        {"key": "large", "kind": "tag", "tag": "large", "next": "end"},
        {"key": "small", "kind": "tag", "tag": "small"},
    )
    life.buy(somchai, baht)
    life.walk()
    assert set(life.session.scalars(select(MemberTag.tag))) == {tag}


def test_m1_splits_by_a_stable_hash(life, journey):
    parts = [{"percent": 30, "to": "a"}, {"percent": 70, "to": "b"}]
    made = journey(
        {"key": "s", "kind": "split", "parts": parts},
        {"key": "a", "kind": "tag", "tag": "a", "next": "end"},
        {"key": "b", "kind": "tag", "tag": "b"},
    )
    plan = life.plan(made.key)
    places = [journey_engine.part_of(plan, plan.step("s"), n) for n in range(2000)]
    assert 520 < places.count(0) < 680
    assert places == [journey_engine.part_of(plan, plan.step("s"), n) for n in range(2000)]


def test_m1_sends_and_goes_on_once_it_is_said(life, somchai, journey):
    made = journey(SEND, TAG)
    at(life, 2026, 11, 22, 12, 0)
    life.buy(somchai)
    assert life.walk() == 0
    assert tags(life) == set()
    life.turn()
    life.walk()
    assert "ถึงคุณสมชาย" in life.words(made.key)
    assert tags(life) == {somchai.id}


def test_m1_goes_on_when_the_gate_refuses(life, somchai, journey):
    journey(SEND, TAG)
    at(life, 2026, 11, 22, 12, 0)
    life.promote(somchai)
    life.promote(somchai)
    life.buy(somchai)
    life.turn()
    life.walk()
    assert life.messages() == []
    assert tags(life) == {somchai.id}


def test_m1_gives_a_voucher_and_names_it(life, somchai, journey):
    life.coupon("gift")
    words = {**WORDS, "body": "มี {gift} ให้ค่ะ"}
    send = {**SEND, "texts": {"th": {"default": words}, "en": {"default": words}}}
    made = journey({"key": "v", "kind": "issue_voucher", "coupon": "gift"}, send)
    at(life, 2026, 11, 22, 12, 0)
    life.buy(somchai)
    life.walk()
    life.turn()
    assert life.session.scalar(select(func.count()).select_from(Voucher)) == 1
    assert "มี ของขวัญ gift ให้ค่ะ" in life.words(made.key)


def test_m1_a_coupon_that_has_ended_does_not_stop_it(life, somchai, journey):
    made = journey({"key": "v", "kind": "issue_voucher", "coupon": "nothing"}, TAG)
    life.buy(somchai)
    assert tags(life) == {somchai.id}
    assert life.enrolments(made.key)[0].path[0]["what"] == "no_coupon"


def test_m1_gives_points_as_the_shop_and_never_twice(life, somchai, journey):
    factories.make_policy(life.session)
    made = journey({"key": "p", "kind": "give_points", "points": 25, "reason": "ขอบคุณค่ะ"})
    life.buy(somchai)
    life.walk()
    given = select(LedgerEntry).where(LedgerEntry.reason == "ขอบคุณค่ะ")
    [entry] = life.session.scalars(given).all()
    assert (entry.points, entry.staff_id) == (25, None)
    [row] = life.enrolments(made.key)
    row.state, row.step, row.due_at = EnrolmentState.ACTIVE, "p", life.now
    life.session.flush()
    life.walk()  # somebody walks the same step again
    assert len(life.session.scalars(given).all()) == 1
    assert somchai.totals.balance == 25 + 4


GIFT = {"key": "v", "kind": "issue_voucher", "coupon": "gift"}
POINTS = {"key": "p", "kind": "give_points", "points": 25, "reason": "ขอบคุณค่ะ"}
WAIT = {"key": "w", "kind": "wait", "how": "time", "minutes": 60}


def given(life):
    """How many vouchers, and points of the shop, members have been given."""
    points = select(func.sum(LedgerEntry.points)).where(LedgerEntry.reason == POINTS["reason"])
    vouchers = life.session.scalar(select(func.count()).select_from(Voucher))
    return vouchers, life.session.scalar(points) or 0


@pytest.mark.parametrize("percent", [0, 100])
@pytest.mark.parametrize("steps", [(SEND, GIFT, POINTS), (GIFT, POINTS, SEND)])
def test_m8_who_is_held_out_gets_no_gift_either(life, somchai, journey, steps, percent):
    shop.set(life.session, "messages.holdout_from", 0, NOW)
    life.coupon("gift")
    made = journey(*steps)
    made.holdout_percent = percent
    begins = at(life, 2026, 11, 22, 12, 0)
    tried = journey_trials.simulate(
        life.session, life.runtime, life.plan(made.key), somchai, begins=begins, until=begins
    )
    foreseen = {one.step: one.what for one in tried}
    assert (foreseen["v"], foreseen["p"]) == (("held_out",) * 2 if percent else ("does",) * 2)
    life.buy(somchai)
    for _ in range(2):
        life.walk()
        life.turn()
    [row] = life.enrolments(made.key)
    assert row.state == EnrolmentState.DONE
    noted = {one["step"]: one["what"] for one in row.path}
    if percent:
        assert life.intent(made.key).arm == Arm.HELD_OUT
        assert noted == {"say": "held_out", "v": "held_out", "p": "held_out"}
        assert given(life) == (0, 0)
    else:
        assert life.intent(made.key).arm == Arm.TREATED
        assert given(life) == (1, 25)


@pytest.mark.parametrize("steps", [(GIFT, WAIT, SEND), (SEND, WAIT, GIFT)])
@pytest.mark.parametrize("percent", [0, 100])
def test_m8_a_gift_and_its_message_share_one_draw(life, somchai, journey, steps, percent):
    """Another share, set while they are under way, moves nobody to the other arm."""
    shop.set(life.session, "messages.holdout_from", 0, NOW)
    life.coupon("gift")
    made = journey(*steps)
    made.holdout_percent = percent
    at(life, 2026, 11, 22, 12, 0)
    life.buy(somchai)
    for _ in range(2):
        life.walk()
        life.turn()
        made.holdout_percent = 100 - percent
        life.later(hours=2)
    life.walk()
    is_held = life.intent(made.key).arm == Arm.HELD_OUT
    assert (is_held, given(life)) == ((True, (0, 0)) if percent else (False, (1, 0)))


def test_m8_what_is_no_promotion_is_given_to_everybody(life, somchai, journey):
    shop.set(life.session, "messages.holdout_from", 0, NOW)
    made = journey(POINTS, klass=MessageClass.SERVICE)
    made.holdout_percent = 100
    life.buy(somchai)
    life.walk()
    assert given(life) == (0, 25)


def test_m1_tags_sets_the_menu_opens_a_ticket_and_calls_a_webhook(life, somchai, journey):
    menu = Menu(key="vip", name_th="วีไอพี", name_en="VIP", priority=1, audience={"override": "vip"})
    life.session.add(menu)
    journey(
        TAG, {"key": "m", "kind": "set_menu", "menu": "vip"},
        {"key": "t", "kind": "open_ticket", "subject": "โทรหาลูกค้า"},
        {"key": "c", "kind": "call_webhook"},
    )  # fmt: skip
    life.buy(somchai)
    assert tags(life) == {somchai.id}
    assert somchai.menu_override == "vip"
    [ticket] = life.session.scalars(select(Ticket)).all()
    assert (ticket.member_id, ticket.subject) == (somchai.id, "โทรหาลูกค้า")
    called = select(FeedEvent).where(FeedEvent.kind == "journeys.called")
    [event] = life.session.scalars(called).all()
    assert event.body["member_no"] == somchai.member_no
    assert event.body["step"] == "c"


def test_m1_what_a_journey_does_begins_no_other(life, somchai, journey):
    """Two journeys that begin each other would go on for ever."""
    trigger = {"on": "activity", "kind": "conversations.opened"}
    made = journey({"key": "t", "kind": "open_ticket", "subject": "x"}, trigger=trigger)
    step = {"key": "p", "kind": "give_points", "points": 1, "reason": "x"}
    other = definitions.create(
        life.session, "อีกอัน", {**life.plan(made.key).definition, "steps": [step]},
        made_by="staff:1", now=NOW,
    )  # fmt: skip
    other.is_on = True
    activities.record(life.session, somchai.id, "conversations.opened", life.now)
    life.settle()
    assert len(life.enrolments()) == 2


# Exit and re-entry


def test_m1_leaves_when_they_buy(life, somchai, journey):
    wait = {"key": "w", "kind": "wait", "how": "time", "minutes": 60}
    made = journey(
        wait, TAG, trigger={"on": "activity", "kind": "coupons.claimed"},
        exit_={"on": [{"kind": "purchases.recorded"}]},
    )  # fmt: skip
    activities.record(life.session, somchai.id, "coupons.claimed", life.now, {"voucher_id": 1})
    life.settle()
    life.buy(somchai)
    life.later(hours=2)
    life.walk()
    [row] = life.enrolments(made.key)
    assert (row.state, row.why_ended) == (EnrolmentState.EXITED, "journeys.bought")
    assert tags(life) == set()


def test_m1_what_a_refused_reply_gave_back_ends_with_its_cause(life, somchai, journey):
    """It was the last step: the member is through, and what waits once more is not."""
    made = journey(
        {**SEND, "window_hours": 24}, trigger={"on": "activity", "kind": "coupons.claimed"},
        exit_={"on": [{"kind": "purchases.recorded"}]},
    )  # fmt: skip
    activities.record(life.session, somchai.id, "coupons.claimed", life.now, {"voucher_id": 1})
    life.settle()
    answer = [{"type": "text", "text": "สวัสดีค่ะ"}]
    _, ids = rides.ride(life.session, life.runtime, somchai, answer, life.now)
    call_id = outbox.open_reply(life.session, now=life.now, real_now=life.now, ride_ids=ids)
    outbox.reply_refused(life.session, call_id, life.now)
    life.buy(somchai)
    assert life.intent(made.key).reason == "journeys.bought"


def test_m1_leaves_when_a_condition_holds(life, somchai, journey):
    when = {"field": "totals.level", "is": "one_of", "value": ["vip"]}
    wait = {"key": "w", "kind": "wait", "how": "time", "minutes": 60}
    made = journey(wait, TAG, exit_={"on": [], "when": when})
    life.buy(somchai)
    somchai.totals.level = Level.VIP
    life.later(hours=2)
    life.walk()
    assert life.enrolments(made.key)[0].why_ended == "journeys.exit_met"
    assert tags(life) == set()


@pytest.mark.parametrize(
    "reentry, times",
    [({"kind": "never"}, 1), ({"kind": "each"}, 4), ({"kind": "days", "days": 7}, 2)],
)
def test_m1_re_entry_is_stated(life, somchai, journey, reentry, times):
    made = journey(TAG, reentry=reentry)
    for _ in range(4):
        life.buy(somchai)
        life.later(days=3)
    assert len(life.enrolments(made.key)) == times


def test_m1_members_under_way_finish_under_their_version(life, somchai, malee, journey):
    wait = {"key": "w", "kind": "wait", "how": "time", "minutes": 60}
    made = journey(wait, TAG)
    life.buy(somchai)
    changed = {**life.plan(made.key).definition, "steps": [wait, {**TAG, "tag": "newer"}]}
    definitions.save(life.session, made, changed, made_by="staff:1", now=life.now)
    life.buy(malee)
    life.later(hours=2)
    life.walk()
    found = life.session.execute(select(MemberTag.member_id, MemberTag.tag)).all()
    assert {tuple(row) for row in found} == {(somchai.id, "was_here"), (malee.id, "newer")}


def test_m1_merged_erased_and_left_members_leave(life, journey):
    wait = {"key": "w", "kind": "wait", "how": "time", "minutes": 60}
    made = journey(wait, TAG)
    merged, erased, left = (
        factories.make_member(life.session, name, vault=life.vault) for name in "กขค"
    )
    for person in (merged, erased, left):
        life.buy(person)
    merged.state = MemberState.MERGED
    erasure.erase(life.session, life.vault, erased, asked_by="member", now=life.now)
    activities.record(life.session, left.id, "members.left", life.now)
    life.settle()
    life.later(hours=2)
    assert tags(life) == set()
    assert {row.state for row in life.enrolments(made.key)} == {EnrolmentState.EXITED}


# Time (faults 3.5)


def test_fs08_after_a_day_down_each_is_done_and_after_a_week_it_is_left_out(
    life, somchai, malee, journey
):
    made = journey({"key": "w", "kind": "wait", "how": "time", "minutes": 60}, TAG)
    life.buy(somchai)
    life.later(days=8)
    life.buy(malee)
    life.later(hours=26)
    life.walk()
    assert tags(life) == {malee.id}
    assert [row.path[-1]["what"] for row in life.enrolments(made.key)] == ["too_late", "tagged"]


def test_fs02_one_broken_step_costs_the_others_nothing(life, somchai, malee, journey):
    made = journey({"key": "w", "kind": "wait", "how": "time", "minutes": 60}, TAG)
    life.buy(somchai)
    life.buy(malee)
    life.enrolments(made.key)[0].step = "nowhere"
    life.later(hours=2)
    assert life.walk() == 2
    assert tags(life) == {malee.id}
    broken = life.enrolments(made.key)[0]
    assert broken.due_at == life.now + timedelta(hours=1)


@pytest.mark.parametrize("moment, day", [("16:59:59.999999", 23), ("17:00:00", 24)])
def test_fs04_a_day_later_begins_at_bangkoks_midnight(life, somchai, journey, moment, day):
    wait = {"key": "w", "kind": "wait", "how": "date", "of": "on", "days": 1, "hour": 0}
    made = journey(wait, TAG)
    life.clock.moment = datetime.fromisoformat(f"2026-11-22T{moment}+00:00")
    on = life.clock.today().isoformat()
    life.begin(made.key, somchai, "x", on=on)
    [row] = life.enrolments(made.key)
    assert row.due_at == start_of_day(date(2026, 11, day), BANGKOK)


def test_a_journey_that_is_switched_off_stands_still(life, somchai, journey):
    made = journey({"key": "w", "kind": "wait", "how": "time", "minutes": 60}, TAG)
    life.buy(somchai)
    made.is_on = False
    life.later(hours=2)
    assert life.walk() == 0
    made.is_on = True
    assert life.walk() == 1
    assert tags(life) == {somchai.id}


# Definitions


@pytest.mark.parametrize(
    "change",
    [
        {"trigger": {"on": "activity", "kind": "no.such"}},
        {"trigger": {"on": "change", "field": "stage", "kind": "tiers.changed"}},
        {"trigger": {"on": "date", "kind": "points", "days": 3}},
        {"trigger": {**BOUGHT, "where": [{"fact": "stage", "is": "at_least", "value": 3}]}},
        {"trigger": {"on": "silence", "days": 0, "last_days": 9}},
        {"trigger": {"on": "segment", "tree": {"field": "no", "is": "yes"}}},
        {"reentry": {"kind": "days"}},
        {"reentry": {"kind": "sometimes"}},
        {"exit": {"on": [{"kind": "no.such"}]}},
        {"topic": "weather"},
        {"steps": []},
        {"steps": [TAG, TAG]},
        {"steps": [{"key": "x", "kind": "explode"}]},
        {"steps": [{**TAG, "key": "end"}]},
        {"steps": [{**SEND, "action": "javascript:alert(1)"}]},
        {"steps": [{**SEND, "window_hours": 9999}]},
        {"steps": [{**SEND, "not_after_hours": 0}]},
        {"steps": [TAG, {"key": "b", "kind": "branch", "when": {"all": []}, "then": "tag"}]},
        {"steps": [{"key": "s", "kind": "split", "parts": [{"percent": 99}, {"percent": 2}]}]},
        {"steps": [{"key": "p", "kind": "give_points", "points": 0, "reason": "x"}]},
        {"steps": [{"key": "w", "kind": "wait", "how": "time", "minutes": 0}]},
    ],
)
def test_fx19_a_definition_that_could_fail_later_is_refused_at_the_save(change):
    fine = {"trigger": BOUGHT, "reentry": {"kind": "each"}, "steps": [TAG]}
    journey_shapes.check(fine)
    with pytest.raises(Refused):
        journey_shapes.check({**fine, **change})


def test_a_segment_is_no_occasion_of_its_own():
    trigger = {"on": "segment", "tree": {"all": []}}
    with pytest.raises(Refused):
        journey_shapes.check({"trigger": trigger, "reentry": {"kind": "each"}, "steps": [TAG]})


def test_journeys_of_before_the_engine_are_brought_onto_it(session):
    old = {
        "trigger": {"on": "silence"},
        "steps": [{**SEND, "key": "at_risk"}, {**SEND, "key": "60"}],
    }
    row = Journey(key="lifecycle.win_back", klass="promotional")
    session.add(row)
    session.flush()
    session.add(
        JourneyVersion(journey_id=row.id, version=1, definition=old, made_by="staff:1", made_at=NOW)
    )
    definitions.ensure(session, NOW)
    made = definitions.current(session, row).definition
    assert journey_shapes.is_current(made)
    assert journey_shapes.step_of(made, "60")["texts"] == TEXTS
    assert journey_shapes.step_of(made, "90")["texts"] != TEXTS


def test_stage_is_known_to_conditions(life, somchai, journey):
    where = [{"fact": "stage", "is": "one_of", "value": ["purchase"]}]
    journey(TAG, trigger={**BOUGHT, "where": where})
    life.buy(somchai)
    assert life.session.get_one(Member, somchai.id).totals.stage == Stage.PURCHASE
    assert tags(life) == {somchai.id}


# Everybody tomorrow


def tomorrow(life, **more):
    found = journey_trials.tomorrow(life.session, life.runtime, life.now, **more)
    return [([row.member.name for row in one.named], one.total, one.is_cut) for one in found]


@pytest.mark.parametrize("hours, names", [(2, []), (24, [["สมชาย"]])], ids=["today", "tomorrow"])
def test_tomorrow_names_nobody_whose_message_leaves_today(life, somchai, journey, hours, names):
    journey({**SEND, "window_hours": hours})
    life.at(2026, 11, 22, 12, 0)
    life.buy(somchai)
    assert [named for named, *_ in tomorrow(life)] == names


def test_tomorrow_counts_who_walks_an_older_version(life, somchai, journey):
    made = journey({**WAIT, "minutes": 1440}, SEND)
    life.at(2026, 11, 22, 12, 0)
    life.buy(somchai)
    held = life.session.scalars(
        select(JourneyVersion).where(JourneyVersion.journey_id == made.id)
    ).one()
    newer = JourneyVersion(
        journey_id=made.id, version=held.version + 1, definition=held.definition,
        made_by="staff:1", made_at=NOW,
    )  # fmt: skip
    life.session.add(newer)
    made.current_version = newer.version
    life.session.flush()
    assert tomorrow(life) == [(["สมชาย"], 1, False)]


def test_tomorrow_looks_on_until_it_has_found_them(life, journey):
    """The first it looks at have been silent for too long by now."""
    journey(SEND, trigger={"on": "silence", "days": 20, "last_days": 40})
    people = [factories.make_member(life.session, f"m{number}") for number in range(4)]
    life.at(2026, 9, 1, 12, 0)
    for member in people[:2]:
        life.buy(member)
    life.at(2026, 11, 1, 12, 0)
    for member in people[2:]:
        life.buy(member)
    life.at(2026, 11, 22, 12, 0)
    assert tomorrow(life) == [(["m2", "m3"], 2, False)]
    assert tomorrow(life, limit=1) == [(["m2"], 1, True)]
