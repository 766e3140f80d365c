"""Suggestions (M10): what goes together by count and by lift, and when a member usually comes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import select

from insights import suggestions
from models.purchases import Purchase, PurchaseItem, PurchaseState
from models.scores import ItemPair, MemberScore
from tests import factories
from tests.moments import BANGKOK, NOW

numbers = count(1)


def buy(session, member, *skus, at=NOW - timedelta(days=1), state=PurchaseState.RECORDED) -> None:
    number = next(numbers)
    bill = Purchase(
        public_id=f"{number:032x}", member_id=member.id, amount_satang=100, purchased_at=at,
        branch_id=factories.make_branch(session).id, operation_id=f"s:{number}",
        local_on=at.date(), recorded_at=at, state=state,
    )  # fmt: skip
    session.add(bill)
    session.flush()
    for sku in skus:
        session.add(PurchaseItem(purchase_id=bill.id, sku=sku, quantity=1, amount_satang=100))
    session.flush()


@pytest.fixture
def bills(session):
    """Ten bills of latte with cake, ten of tea, two of cake with tea, by somebody."""
    guest = factories.make_member(session, "ใครสักคน")
    for _ in range(10):
        buy(session, guest, "latte", "cake", "cake")
        buy(session, guest, "tea")
    for _ in range(2):
        buy(session, guest, "cake", "tea")
    return guest


def pairs(session) -> dict[tuple[str, str], tuple[int, float]]:
    session.expire_all()
    return {
        (one.sku, one.other_sku): (one.bills, one.lift) for one in session.scalars(select(ItemPair))
    }


def count(session, now=NOW) -> int:
    return suggestions.keep_pairs(session, suggestions.find_pairs(session, now))


def test_M10_pairs_are_counted_by_bill_and_measured_by_lift(session, bills):
    assert count(session) == 2
    # 10 of 22 bills hold both; 10 hold latte, 12 hold cake: 10 x 22 / (10 x 12)
    both = (10, pytest.approx(1.833))
    assert pairs(session) == {("latte", "cake"): both, ("cake", "latte"): both}


def test_M10_only_what_changed_is_written_and_what_is_no_pair_any_more_goes(session, bills):
    count(session)
    assert count(session) == 0
    later = NOW + timedelta(days=suggestions.DAYS)
    assert count(session, later) == 2
    assert pairs(session) == {}


def test_M10_suggests_what_they_have_not_had(session, bills):
    count(session)
    fan, both, stranger = (factories.make_member(session, name) for name in "abc")
    buy(session, fan, "latte")
    buy(session, both, "latte", "cake")
    asked = [suggestions.suggest(session, one.id, NOW) for one in (fan, both, stranger)]
    assert asked == ["cake", None, None]


def score(session, member, best_hour=None) -> None:
    session.add(
        MemberScore(
            member_id=member.id, recency=1, frequency=1, money=1, rfm_group="x", as_of=NOW.date(),
            best_hour=best_hour,
        )
    )  # fmt: skip
    session.flush()


def find_hours(session, after_id=0, limit=100) -> tuple[int, int]:
    return suggestions.find_best_hours(session, NOW, BANGKOK, after_id=after_id, limit=limit)


def test_M10_best_hour_is_the_usual_one_on_the_shops_clock(session):
    early, rare, same = (factories.make_member(session, name) for name in "abc")
    for member, hour in ((early, None), (rare, None), (same, 8)):
        score(session, member, hour)
    at_eight = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)  # 08:30 in Bangkok
    for days in range(3):
        buy(session, early, at=at_eight - timedelta(days=days))
        buy(session, same, at=at_eight + timedelta(days=1, minutes=days))
    buy(session, early, at=at_eight + timedelta(hours=9))
    buy(session, early, at=at_eight + timedelta(hours=9), state=PurchaseState.VOIDED)
    buy(session, rare, at=at_eight)
    assert find_hours(session) == (1, same.id)
    session.expire_all()
    hours = {one.member_id: one.best_hour for one in session.scalars(select(MemberScore))}
    assert hours == {early.id: 8, rare.id: None, same.id: 8}
    assert find_hours(session) == (0, same.id)


def test_M10_best_hours_are_looked_for_in_ranges_of_members(session):
    members = [factories.make_member(session, name) for name in "abc"]
    for member in members:
        score(session, member)
        for days in range(3):
            buy(session, member, at=NOW - timedelta(days=days))
    _, second, third = members
    assert find_hours(session, limit=2) == (2, second.id)
    assert find_hours(session, after_id=second.id, limit=2) == (1, third.id)
    assert find_hours(session, after_id=third.id, limit=2) == (0, 0)
    session.expire_all()
    assert None not in session.scalars(select(MemberScore.best_hour)).all()
