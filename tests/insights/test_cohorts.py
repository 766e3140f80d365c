"""Who comes back, whom sales come from, and what messages cost, month by month."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from insights import cohorts
from insights.cohorts import Cohort
from loyalty import purchases
from models.outbox import Message, MessageClass, MessageState
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture
def branch(session):
    factories.make_policy(session)
    return factories.make_branch(session)


def join_and_buy(session, branch, name, joined_at, *bought_at):
    member = factories.make_member(session, name, joined_at=joined_at)
    for place, moment in enumerate(bought_at):
        purchases.record_purchase(
            session, member_id=member.id, branch=branch, amount_satang=10_000 * (place + 1),
            operation_id=f"{name}:{place}", now=moment, tz=BANGKOK,
        )  # fmt: skip
    session.flush()
    return member


def test_months_run_across_the_year():
    assert cohorts.months_until(date(2027, 2, 3), 4) == [
        date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1), date(2027, 2, 1),
    ]  # fmt: skip


def test_each_joining_month_is_followed_through_the_later_ones(session, branch):
    september = datetime(2026, 9, 10, 5, tzinfo=UTC)
    october = september + timedelta(days=30)
    join_and_buy(session, branch, "ก", september, september, september, october)
    join_and_buy(session, branch, "ข", september, october)
    join_and_buy(session, branch, "ค", october)
    found = {one.first_on: one for one in cohorts.cohorts(session, NOW, BANGKOK)}
    assert found[date(2026, 9, 1)].members == 2
    assert found[date(2026, 9, 1)].bought == (1, 2, 0)
    assert found[date(2026, 10, 1)].bought == (0, 0)
    assert found[date(2026, 9, 1)].percent(0) == 50


def test_a_month_begins_at_the_shops_midnight(session, branch):
    first_minute = datetime(2026, 9, 30, 17, 1, tzinfo=UTC)  # 1 October, 00:01 in Bangkok
    join_and_buy(session, branch, "ก", first_minute, first_minute)
    found = {one.first_on: one for one in cohorts.cohorts(session, NOW, BANGKOK)}
    assert found[date(2026, 9, 1)].members == 0
    assert (found[date(2026, 10, 1)].members, found[date(2026, 10, 1)].bought[0]) == (1, 1)


def test_sales_are_told_apart_by_first_bills_and_returns(session, branch):
    october = datetime(2026, 10, 5, 5, tzinfo=UTC)
    join_and_buy(session, branch, "ก", october, october, october + timedelta(days=1))
    found = {one.first_on: one for one in cohorts.sales(session, NOW, BANGKOK)}[date(2026, 10, 1)]
    assert (found.new_satang, found.returning_satang, found.buyers) == (10_000, 20_000, 1)


def test_messages_are_free_in_replies_and_paid_otherwise(session):
    member = factories.somchai(session)
    for place, channel in enumerate(("reply", "push", "multicast")):
        session.add(
            Message(
                key=f"k{place}", member_id=member.id, klass=MessageClass.TRANSACTIONAL, kind="x",
                state=MessageState.SENT, channel=channel, created_at=NOW, due_at=NOW,
                finished_at=NOW,
            )
        )  # fmt: skip
    session.flush()
    newest = cohorts.messages(session, NOW, BANGKOK)[-1]
    assert (newest.free, newest.paid) == (1, 2)


@pytest.mark.parametrize("bought, heat", [(0, 0), (1, 1), (50, 5), (100, 9)])
def test_squares_grow_warmer_with_more_who_came_back(bought, heat):
    assert Cohort(date(2026, 9, 1), 100, (bought,)).heat(0) == heat
