from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, select

from loyalty import activities, lifecycle, members
from loyalty.lifecycle import Standing, level_of, own_gap, stage_of
from models.members import Level, Member, MemberTotals, Referral, Stage, StageChange
from tests import factories
from tests.engagement.conftest import Life
from tests.moments import BANGKOK, NOW

START = date(2026, 1, 1)
day_lists = st.lists(st.dates(date(2024, 1, 1), date(2027, 1, 1)), max_size=30)


def days(*offsets: int) -> list[date]:
    return [START + timedelta(days=offset) for offset in offsets]


@pytest.fixture
def life(session, vault) -> Life:
    return Life(session, vault)


@pytest.fixture
def somchai(life) -> Member:
    return factories.somchai(life.session)


@pytest.fixture
def totals(life, somchai) -> MemberTotals:
    return life.session.get_one(MemberTotals, somchai.id)


def history(life, field: str) -> list[tuple[str | None, str]]:
    changes = select(StageChange).where(StageChange.field == field).order_by(StageChange.id)
    return [(change.before, change.after) for change in life.session.scalars(changes)]


# Own gap


@pytest.mark.parametrize(
    "offsets, gap",
    [
        ((), None),
        ((0, 7, 14), None),
        ((0, 7, 14, 21), 7.0),
        ((0, 1, 2, 30), 1.0),
        ((0, 10, 30), None),
        ((0, 10, 30, 31, 41), 10.0),
        ((0, 4, 10, 20, 30), 8.0),
    ],
)
def test_own_gap_is_the_median_from_four_purchase_days_on(offsets, gap):
    assert own_gap(days(*offsets)) == gap


def test_own_gap_looks_at_the_last_ten_days_only():
    long_ago = days(*range(0, 300, 30))
    lately = [date(2027, 1, 1) + timedelta(days=2 * n) for n in range(10)]
    assert own_gap(long_ago + lately) == 2.0


@given(day_lists)
def test_own_gap_does_not_depend_on_order(some_days):
    distinct = sorted(set(some_days))
    assert own_gap(distinct) == own_gap(distinct[::-1])


# Stage (L1)


@pytest.mark.parametrize(
    "is_member, offsets, friend_bought, stage",
    [
        (False, (), False, Stage.AWARENESS),
        (True, (), False, Stage.CONSIDERATION),
        (True, (0,), False, Stage.PURCHASE),
        (True, (0, 0), False, Stage.PURCHASE),
        (True, (0, 90), False, Stage.RETENTION),
        (True, (0, 91), False, Stage.PURCHASE),
        (True, (0, 200, 210), False, Stage.RETENTION),
        # Every 100 days: with the fourth day the rhythm is known, and 3 × 100 days are allowed.
        (True, (0, 100, 200), False, Stage.PURCHASE),
        (True, (0, 100, 200, 300), False, Stage.RETENTION),
        (True, (0,), True, Stage.PURCHASE),
        (True, (0, 30), True, Stage.ADVOCACY),
    ],
)
def test_stage_follows_the_purchase_days(is_member, offsets, friend_bought, stage):
    assert stage_of(is_member, days(*offsets), friend_bought=friend_bought) == stage


@given(day_lists, st.booleans())
def test_another_purchase_day_never_lowers_the_stage_of_a_new_customer(some_days, friend_bought):
    order = list(Stage)
    if len(set(some_days)) < 3:  # below the first known rhythm
        before = stage_of(True, some_days, friend_bought=friend_bought)
        later = [*some_days, max(some_days, default=START) + timedelta(days=1)]
        after = stage_of(True, later, friend_bought=friend_bought)
        assert order.index(after) >= order.index(before)


# Level (L2)


@pytest.mark.parametrize(
    "standing, level",
    [
        (Standing(), Level.TARGET),
        (Standing(purchase_days=1, silent_days=0), Level.NEUTRAL),
        (Standing(purchase_days=2, silent_days=45), Level.NEUTRAL),
        (Standing(purchase_days=3, silent_days=45), Level.REGULAR),
        (Standing(purchase_days=3, silent_days=46), Level.AT_RISK),
        (Standing(purchase_days=3, silent_days=90), Level.AT_RISK),
        (Standing(purchase_days=3, silent_days=91), Level.INACTIVE),
        # With an own rhythm: 1.5 times (at least 14 days), then 3 times (at least 30 days).
        (Standing(purchase_days=9, silent_days=14, own_gap_days=2.0), Level.REGULAR),
        (Standing(purchase_days=9, silent_days=15, own_gap_days=2.0), Level.AT_RISK),
        (Standing(purchase_days=9, silent_days=30, own_gap_days=2.0), Level.AT_RISK),
        (Standing(purchase_days=9, silent_days=31, own_gap_days=2.0), Level.INACTIVE),
        (Standing(purchase_days=9, silent_days=60, own_gap_days=40.0), Level.REGULAR),
        (Standing(purchase_days=9, silent_days=61, own_gap_days=40.0), Level.AT_RISK),
        (Standing(purchase_days=9, silent_days=121, own_gap_days=40.0), Level.INACTIVE),
        # Half of the spending of the 90 days before, if those held three purchases.
        (Standing(5, 3, None, 500, 1000, 3), Level.AT_RISK),
        (Standing(5, 3, None, 501, 1000, 3), Level.REGULAR),
        (Standing(5, 3, None, 0, 1000, 2), Level.REGULAR),
    ],
)
def test_level_is_the_first_that_fits(standing, level):
    assert level_of(standing).level == level


@given(st.integers(1, 50), st.integers(0, 400), st.none() | st.floats(0.5, 200))
def test_a_longer_silence_never_looks_better(purchase_days, silent, gap):
    order = [Level.REGULAR, Level.NEUTRAL, Level.AT_RISK, Level.INACTIVE]
    now = level_of(Standing(purchase_days, silent, gap)).level
    tomorrow = level_of(Standing(purchase_days, silent + 1, gap)).level
    assert order.index(tomorrow) >= order.index(now)


def test_says_the_numbers_behind_a_level_and_what_would_change_it():
    assert level_of(Standing(purchase_days=3, silent_days=47)).why == {
        "silent_days": 47,
        "own_gap_days": None,
        "purchase_days": 3,
        "limit_days": 45.0,
        "next_days": 90.0,
        "change": "buys",
    }
    assert level_of(Standing(5, 3, None, 500, 1000, 3)).why["change"] == "spends_more"


# At the event (L5)


def test_joining_is_the_step_from_awareness_to_consideration(life):
    friend = factories.friend(life.session)
    members.become_member(life.session, friend, NOW)
    activities.record(life.session, friend.id, "members.joined", NOW, {"source": "friend"})
    life.settle()
    assert life.session.get_one(MemberTotals, friend.id).stage == Stage.CONSIDERATION
    assert history(life, "stage") == [("awareness", "consideration")]


def test_a_member_who_came_with_purchases_keeps_their_stage_on_joining(life, somchai, totals):
    totals.stage = Stage.RETENTION
    lifecycle.after_join(life.session, somchai, NOW)
    assert totals.stage == Stage.RETENTION


def test_first_and_second_purchase_move_stage_and_level(life, somchai, totals):
    life.buy(somchai)
    assert (totals.stage, totals.level) == (Stage.PURCHASE, Level.NEUTRAL)
    life.later(hours=2)
    life.buy(somchai)
    assert totals.stage == Stage.PURCHASE
    life.later(days=3)
    life.buy(somchai)
    assert totals.stage == Stage.RETENTION
    life.later(days=3)
    life.buy(somchai)
    assert totals.level == Level.REGULAR
    assert history(life, "stage") == [("consideration", "purchase"), ("purchase", "retention")]
    assert history(life, "level") == [("target", "neutral"), ("neutral", "regular")]


def test_a_late_bill_may_close_the_distance_between_two_visits(life, somchai, totals):
    life.buy(somchai, purchased_at=NOW - timedelta(days=200))
    life.buy(somchai)
    assert totals.stage == Stage.PURCHASE
    life.buy(somchai, purchased_at=NOW - timedelta(days=195))
    assert totals.stage == Stage.RETENTION


def test_silence_never_moves_the_stage_back(life, somchai, totals):
    life.buy(somchai)
    life.later(days=3)
    life.buy(somchai)
    life.later(days=300)
    life.run("lifecycle.nightly")
    assert (totals.stage, totals.level) == (Stage.RETENTION, Level.INACTIVE)


def test_void_moves_the_stage_back(life, somchai, totals):
    first = life.buy(somchai)
    life.later(days=3)
    second = life.buy(somchai)
    life.give_back(second)
    assert totals.stage == Stage.PURCHASE
    life.give_back(first)
    assert (totals.stage, totals.level) == (Stage.CONSIDERATION, Level.TARGET)


def test_a_part_return_keeps_the_stage(life, somchai, totals):
    life.buy(somchai)
    life.later(days=3)
    life.give_back(life.buy(somchai, 100), 50)
    assert totals.stage == Stage.RETENTION


@pytest.fixture
def malee(life, somchai) -> Member:
    """Brought by Somchai."""
    friend = factories.malee(life.session)
    life.session.add(Referral(friend_id=friend.id, referrer_id=somchai.id, at=NOW))
    life.session.flush()
    return friend


def test_a_brought_friends_purchase_makes_an_advocate(life, somchai, totals, malee):
    life.buy(somchai)
    life.later(days=3)
    life.buy(somchai)
    life.buy(malee)
    assert totals.stage == Stage.ADVOCACY
    assert ("retention", "advocacy") in history(life, "stage")


def test_whose_friend_bought_first_is_an_advocate_on_coming_back(life, somchai, totals, malee):
    life.buy(malee)
    life.buy(somchai)
    assert totals.stage == Stage.PURCHASE
    life.later(days=3)
    life.buy(somchai)
    assert totals.stage == Stage.ADVOCACY


def test_an_advocate_whose_friends_purchase_is_voided_is_one_no_more(life, somchai, totals, malee):
    life.buy(somchai)
    life.later(days=3)
    life.buy(somchai)
    bought = life.buy(malee)
    life.give_back(bought)
    assert totals.stage == Stage.RETENTION
    life.buy(malee)
    assert totals.stage == Stage.ADVOCACY


# Numbers behind the level


def test_numbers_behind_a_level_follow_the_purchases(life, somchai, totals):
    life.buy(somchai)
    life.later(days=2)
    life.buy(somchai)
    assert totals.level_why["purchase_days"] == 2
    for _ in range(3):
        life.later(days=2)
        life.buy(somchai)
    assert (totals.level_why["purchase_days"], totals.level_why["own_gap_days"]) == (5, 2.0)
    assert totals.level_why["limit_days"] == 14.0


# Nightly


def test_nightly_moves_the_silent_through_the_levels(life, somchai, totals):
    for _ in range(3):
        life.buy(somchai)
        life.later(days=40)
    seen = [totals.level]
    for _ in range(60):
        life.run("lifecycle.nightly")
        seen.append(totals.level)
        life.later(days=1)
    assert list(dict.fromkeys(seen)) == [Level.REGULAR, Level.AT_RISK, Level.INACTIVE]
    assert history(life, "level")[-2:] == [("regular", "at_risk"), ("at_risk", "inactive")]


def test_nightly_goes_on_where_it_stopped(life, somchai):
    others = [factories.make_member(life.session, f"{n} ลูกค้า") for n in range(4)]
    for member in (somchai, *others):
        life.buy(member)
    life.later(days=46)
    done, cursor = lifecycle.nightly(life.session, life.now, BANGKOK, limit=2)
    assert (done, cursor) == (1, others[0].id)
    life.run("lifecycle.nightly", limit=2)
    levels = life.session.scalars(
        select(MemberTotals.level).where(MemberTotals.purchase_day_count > 0)
    )
    assert set(levels) == {Level.AT_RISK}


def test_nightly_writes_only_who_has_changed(life, somchai):
    for n in range(5):
        life.buy(factories.make_member(life.session, f"{n} ลูกค้า"))
    life.run("lifecycle.nightly")
    written = []
    connection = life.session.connection()

    def note(_connection, cursor, statement, *_rest):
        is_write = statement.lstrip().split()[0] in ("UPDATE", "INSERT", "DELETE", "WITH")
        if is_write and "cut_points" not in statement and cursor.rowcount > 0:
            written.append(statement)

    event.listen(connection, "after_cursor_execute", note)
    life.later(days=1)
    life.run("lifecycle.nightly")
    event.remove(connection, "after_cursor_execute", note)
    assert written == []


def test_spending_less_than_half_is_a_risk(life, somchai, totals):
    for day in range(3):
        life.later(days=day)
        life.buy(somchai, 1000)
    for _ in range(11):
        life.later(days=10)
        life.buy(somchai, 20)
    assert totals.level == Level.AT_RISK
    assert totals.level_why["change"] == "spends_more"
