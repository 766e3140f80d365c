from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from core.clock import at_local
from engagement import delivery
from engagement.delivery import Rules
from loyalty import consents, shop
from models.members import Consent, Member, MemberState, Purpose
from models.outbox import MessageClass, MessageState
from models.segments import MemberChoice
from tests import factories
from tests.conftest import SOAK
from tests.moments import BANGKOK, NOW

NEW_YORK = ZoneInfo("America/New_York")
PROMOTIONAL, SERVICE, TRANSACTIONAL = (
    MessageClass.PROMOTIONAL,
    MessageClass.SERVICE,
    MessageClass.TRANSACTIONAL,
)
MIDNIGHT = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)  # 00:00 in Bangkok
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)
times = st.times().map(lambda at: at.replace(second=0, microsecond=0))
zones = st.sampled_from([BANGKOK, NEW_YORK, ZoneInfo("UTC")])


@pytest.fixture
def decide(life):
    def ask(member, klass=PROMOTIONAL, now=NOW, **more):
        return delivery.decide(life.session, life.vault, member, klass, now=now, tz=BANGKOK, **more)

    return ask


# Who may hear what


def test_lets_a_consenting_member_hear_a_promotion(decide, somchai):
    assert decide(somchai).is_go


@pytest.mark.parametrize("klass", list(MessageClass))
def test_nothing_is_pushed_to_somebody_who_blocked_the_account(life, decide, klass):
    assert decide(factories.anan(life.session), klass).reason == "delivery.unreachable"


@pytest.mark.parametrize("klass", list(MessageClass))
def test_nothing_is_pushed_to_a_walk_in_without_line(life, decide, klass):
    walk_in = factories.make_member(life.session, "วันดี", line_user_id=None, is_following=False)
    assert decide(walk_in, klass).reason == "delivery.unreachable"


@pytest.mark.parametrize("klass", list(MessageClass))
def test_nobody_who_has_left_hears_anything(life, decide, somchai, klass):
    somchai.state = MemberState.MERGED
    assert decide(somchai, klass).reason == "delivery.gone"


def test_promotion_needs_marketing_consent(life, decide):
    quiet_one = factories.make_member(life.session, "ประยุทธ", marketing=False)
    assert decide(quiet_one).reason == "delivery.no_consent"


@pytest.mark.parametrize("klass", [SERVICE, TRANSACTIONAL])
def test_what_is_no_promotion_needs_no_marketing_consent(life, decide, klass):
    quiet_one = factories.make_member(life.session, "ประยุทธ", marketing=False)
    assert decide(quiet_one, klass).is_go


def test_withdrawn_consent_counts_at_once(life, decide, somchai):
    life.withdraw(somchai)
    assert decide(somchai).reason == "delivery.no_consent"


def test_a_member_under_20_gets_no_promotion(life, decide, somchai):
    life.birthday(somchai, date(2006, 11, 23))
    assert decide(somchai).reason == "delivery.minor"


def test_on_the_20th_birthday_promotions_begin(life, decide, somchai):
    life.birthday(somchai, date(2006, 11, 22))
    assert decide(somchai).is_go


def test_a_guardian_may_agree_for_a_young_member(life, decide, somchai):
    life.birthday(somchai, date(2010, 1, 1))
    life.withdraw(somchai)
    consents.give(
        life.session, somchai.id, Purpose.MARKETING, channel="chat", now=NOW, by_guardian=True
    )
    assert decide(somchai).is_go


@pytest.mark.parametrize("klass", [SERVICE, TRANSACTIONAL])
def test_a_young_member_still_hears_what_concerns_their_account(life, decide, somchai, klass):
    life.birthday(somchai, date(2010, 1, 1))
    assert decide(somchai, klass).is_go


# Cap


def test_two_promotions_a_week_are_enough(life, decide, somchai):
    life.promote(somchai)
    assert decide(somchai).is_go
    life.promote(somchai)
    assert decide(somchai).reason == "delivery.capped"


def test_the_week_rolls_on_to_the_second(life, decide, somchai):
    life.promote(somchai, NOW - timedelta(days=7))
    life.promote(somchai, NOW - timedelta(days=7) + timedelta(seconds=1))
    assert decide(somchai).is_go
    life.promote(somchai, NOW - timedelta(days=6))
    assert decide(somchai).reason == "delivery.capped"


@pytest.mark.parametrize("state", [MessageState.SKIPPED, MessageState.FAILED])
def test_what_never_went_out_does_not_count(life, decide, somchai, state):
    for _ in range(3):
        life.promote(somchai)
    life.session.execute(delivery.Message.__table__.update().values(state=state))
    assert decide(somchai).is_go


@pytest.mark.parametrize("klass", [SERVICE, TRANSACTIONAL])
def test_the_cap_is_for_promotions_only(life, decide, somchai, klass):
    life.promote(somchai)
    life.promote(somchai)
    assert decide(somchai, klass).is_go


def test_the_owner_decides_how_many_a_week(life, decide, somchai):
    shop.set(life.session, "messages.promotional_per_week", 0, NOW)
    assert decide(somchai).reason == "delivery.capped"


# Quiet hours


@pytest.mark.parametrize("klass", [PROMOTIONAL, SERVICE])
def test_waits_until_nine_in_the_morning(decide, somchai, klass):
    nine = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
    assert decide(somchai, klass, MIDNIGHT - timedelta(hours=3)).until == nine
    assert decide(somchai, klass, MIDNIGHT).until == nine
    assert decide(somchai, klass, nine - timedelta(microseconds=1)).until == nine
    assert decide(somchai, klass, nine).is_go


def test_speaks_until_just_before_nine_in_the_evening(decide, somchai):
    assert decide(somchai, now=MIDNIGHT - timedelta(hours=3, microseconds=1)).is_go


def test_what_moved_value_is_said_at_night_too(decide, somchai):
    assert decide(somchai, TRANSACTIONAL, MIDNIGHT).is_go


def test_a_ride_asks_neither_quiet_hours_nor_reach(life, decide):
    anan = factories.anan(life.session)
    assert decide(anan, now=MIDNIGHT, is_ride=True).is_go


def test_a_ride_still_asks_consent_and_cap(life, decide, somchai):
    life.promote(somchai)
    life.promote(somchai)
    assert decide(somchai, is_ride=True).reason == "delivery.capped"
    life.withdraw(somchai)
    assert decide(somchai, is_ride=True).reason == "delivery.no_consent"


# Not-after


@pytest.mark.parametrize("klass", list(MessageClass))
def test_skips_what_comes_too_late(decide, somchai, klass):
    late = NOW - timedelta(microseconds=1)
    assert decide(somchai, klass, not_after=late).reason == "delivery.too_late"
    assert decide(somchai, klass, not_after=NOW).is_go


def test_does_not_wait_for_a_morning_that_is_too_late(decide, somchai):
    not_after = MIDNIGHT + timedelta(hours=1)
    assert decide(somchai, now=MIDNIGHT, not_after=not_after).reason == "delivery.too_late"


# The order of M4: what is said of a member whom several rules refuse


def test_names_the_first_reason(life, decide):
    anan = factories.anan(life.session, marketing=False)
    life.promote(anan)
    life.promote(anan)
    late = MIDNIGHT - timedelta(hours=1)
    refuse = {"now": MIDNIGHT, "not_after": late}
    anan.state = MemberState.MERGED
    assert decide(anan, **refuse).reason == "delivery.gone"
    anan.state = MemberState.MEMBER
    assert decide(anan, **refuse).reason == "delivery.unreachable"
    anan.is_following = True
    assert decide(anan, **refuse).reason == "delivery.too_late"
    assert decide(anan, now=MIDNIGHT).reason == "delivery.no_consent"
    consents.give(life.session, anan.id, Purpose.MARKETING, channel="chat", now=NOW)
    assert decide(anan, now=MIDNIGHT).reason == "delivery.capped"


# Arithmetic of the quiet hours, whatever they are and wherever the shop is


@given(moments, times, times, zones)
def test_quiet_hours_end_later_and_loudly(moment, begins, ends, tz):
    rules = Rules(quiet_from=begins, quiet_until=ends)
    if rules.is_quiet(moment, tz):
        loud = rules.next_loud(moment, tz)
        assert moment < loud <= moment + timedelta(hours=26)
        assert not rules.is_quiet(loud, tz) or tz is NEW_YORK


@given(moments, zones)
def test_a_deadline_in_the_quiet_hours_moves_to_just_before_them(moment, tz):
    rules = Rules()
    moved = rules.last_loud(moment, tz)
    assert moved <= moment
    assert not rules.is_quiet(moved, tz)
    if rules.is_quiet(moment, tz):
        assert moved.astimezone(tz).time() == time(20, 55)
        assert moment - moved < timedelta(hours=14)
    else:
        assert moved == moment


@given(moments)
def test_quiet_is_what_the_wall_clock_says(moment):
    at = moment.astimezone(BANGKOK).time()
    assert Rules().is_quiet(moment, BANGKOK) == (not time(9) <= at < time(21))


def test_quiet_hours_may_lie_within_one_day():
    rules = Rules(quiet_from=time(12), quiet_until=time(14))
    noon = at_local(date(2026, 11, 22), 12, 30, BANGKOK)
    assert rules.next_loud(noon, BANGKOK) == at_local(date(2026, 11, 22), 14, 0, BANGKOK)


def test_the_hour_that_comes_twice_never_holds_a_message_for_ever():
    rules = Rules(quiet_from=time(21), quiet_until=time(1, 30))
    second_one_ten = datetime(2026, 11, 1, 6, 10, tzinfo=UTC)  # after the clocks went back
    assert rules.is_quiet(second_one_ten, NEW_YORK)
    assert rules.next_loud(second_one_ten, NEW_YORK) > second_one_ten


# What is foreseen is what is decided


@dataclass(frozen=True)
class Person:
    """Whatever the gate may ask of somebody."""

    follows: bool = True
    has_line: bool = True
    consent: str | None = "1"
    years_old: int | None = None
    muted: bool = False
    per_week: int | None = None
    had: int = 0


people = st.builds(
    Person,
    follows=st.sampled_from([True, True, True, False]),
    has_line=st.sampled_from([True, True, True, False]),
    consent=st.sampled_from([None, "1", "1", "1+guardian"]),
    years_old=st.sampled_from([None, 16, 19, 20, 40]),
    muted=st.booleans(),
    per_week=st.sampled_from([None, 0, 1, 2, 5]),
    had=st.integers(0, 3),
)


def comes_to_life(life, number: int, person: Person):
    member = factories.make_member(
        life.session, f"คน{number}", vault=life.vault, marketing=False,
        is_following=person.follows, line_user_id=f"U{number:032x}" if person.has_line else None,
    )  # fmt: skip
    if person.consent is not None:
        life.session.add(
            Consent(
                member_id=member.id, purpose=Purpose.MARKETING, text_version=person.consent,
                given_at=NOW, channel="chat",
            )
        )  # fmt: skip
    if person.years_old is not None:
        life.birthday(member, NOW.date().replace(year=NOW.year - person.years_old))
    muted = ["offers"] if person.muted else []
    life.session.add(
        MemberChoice(member_id=member.id, muted=muted, per_week=person.per_week, changed_at=NOW)
    )
    for _ in range(person.had):
        life.promote(member, NOW - timedelta(days=2))
    return member


@given(crowd=st.lists(people, min_size=1, max_size=12), klass=st.sampled_from(list(MessageClass)))
@settings(
    max_examples=200 if SOAK else 15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_m6_what_is_foreseen_of_many_is_what_the_gate_decides_of_each(life, crowd, klass):
    savepoint = life.session.begin_nested()
    try:
        members = [comes_to_life(life, *one) for one in enumerate(crowd)]
        life.session.flush()
        ids = select(Member.id).where(Member.id.in_([one.id for one in members])).subquery()
        asked = {"now": NOW, "tz": BANGKOK, "topic": "offers"}
        foreseen = delivery.foresee(life.session, ids, klass, **asked)
        decided = delivery.decide_many(life.session, life.vault, members, klass, **asked)
        reasons = Counter(decision.reason for decision in decided.values())
        each = [delivery.decide(life.session, life.vault, one, klass, **asked) for one in members]
        assert Counter(decision.reason for decision in each) == reasons
        assert foreseen.messages == reasons.pop(None, 0)
        assert foreseen.skipped == reasons
        assert foreseen.audience == len(crowd)
    finally:
        savepoint.rollback()
        life.session.expire_all()
        life.session.info.pop("activities", None)


def test_m6_of_very_many_an_even_sample_is_asked_for_their_age(life, monkeypatch):
    monkeypatch.setattr(delivery, "OPENED", 20)
    members = [
        comes_to_life(life, number, Person(years_old=16 if number % 2 else 40))
        for number in range(60)
    ]
    ids = select(Member.id).where(Member.id.in_([one.id for one in members])).subquery()
    found = delivery.foresee(life.session, ids, PROMOTIONAL, now=NOW, tz=BANGKOK)
    assert found.audience == 60
    assert found.messages + found.skipped["delivery.minor"] == 60
    assert found.skipped["delivery.minor"] == 30, "make_member counts public ids up: an even sample"
