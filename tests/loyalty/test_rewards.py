"""The reward catalogue: one step or none; what fails never costs points (R3)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from core.errors import Refused
from loyalty import coupons, points, proof, rewards
from models.coupons import CouponState, Obtained, Voucher
from models.members import MemberState
from models.points import LedgerEntry
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)


@pytest.fixture
def reward(session):
    return factories.make_coupon(
        session, "americano", obtained=Obtained.POINTS, price_points=60, per_member=2, total_units=5
    )


def exchange(session, member, reward, key="tap", now=NOW):
    return rewards.exchange(session, reward.id, member, key, now, BANGKOK)


def state(session, member) -> tuple[int, int, int]:
    session.flush()
    count = select(func.count())
    return (
        points.balance_of(session, member.id, NOW).balance,
        session.scalar(count.select_from(LedgerEntry)),
        session.scalar(count.select_from(Voucher)),
    )


def test_r3_burns_the_price_and_gives_the_voucher(session, somchai, reward, earn):
    earn(somchai, 100)
    voucher = exchange(session, somchai, reward)
    assert voucher.coupon_id == reward.id
    assert points.balance_of(session, somchai.id, NOW).available == 40
    assert proof.check_all(session, NOW) == []


def test_r3_a_doubled_tap_is_one_exchange_and_another_tap_another(session, somchai, reward, earn):
    earn(somchai, 200)
    first = exchange(session, somchai, reward)
    assert exchange(session, somchai, reward) is first
    assert exchange(session, somchai, reward, "tap-2") is not first
    assert points.balance_of(session, somchai.id, NOW).available == 80


@pytest.mark.parametrize(
    "change,code",
    [
        ({"issued_count": 5}, "coupons.sold_out"),
        ({"starts_at": NOW + DAY}, "coupons.not_available"),
        ({"ends_at": NOW}, "coupons.not_available"),
        ({"state": CouponState.CLOSED}, "coupons.not_available"),
        ({"state": CouponState.DRAFT}, "coupons.not_found"),
        ({"obtained": Obtained.CLAIM}, "coupons.not_available"),
        ({"price_points": 101}, "points.not_enough"),
        ({"conditions": {"tiers": ["gold"]}}, "coupons.other_tier"),
        ({"conditions": {"levels": ["vip"]}}, "coupons.not_available"),
        ({"conditions": {"first_purchase": True}}, "coupons.first_purchase_only"),
        ({"total_units": 0}, "coupons.sold_out"),
    ],
)
def test_r3_a_voucher_that_fails_never_costs_points(session, somchai, reward, earn, change, code):
    earn(somchai, 100)
    somchai.totals.purchase_count = 1
    for name, value in change.items():
        setattr(reward, name, value)
    before = state(session, somchai)
    for key in ("tap", "tap", "tap-2"):
        with pytest.raises(Refused) as refusal:
            exchange(session, somchai, reward, key)
        assert refusal.value.code == code
    assert state(session, somchai) == before


def test_r3_above_the_limit_of_a_member_nothing_is_taken(session, somchai, reward, earn):
    earn(somchai, 500)
    for key in ("1", "2"):
        exchange(session, somchai, reward, key)
    before = state(session, somchai)
    with pytest.raises(Refused, match=r"coupons\.already_claimed"):
        exchange(session, somchai, reward, "3")
    assert state(session, somchai) == before


def test_r3_who_has_left_or_owes_points_cannot_exchange(session, somchai, reward, earn):
    earn(somchai, 100)
    somchai.totals.debt = 5
    session.flush()
    before = state(session, somchai)
    with pytest.raises(Refused, match=r"points\.not_enough"):
        exchange(session, somchai, reward)
    somchai.totals.debt = 0
    somchai.state = MemberState.FRIEND
    with pytest.raises(Refused, match=r"members\.not_joined"):
        exchange(session, somchai, reward)
    assert state(session, somchai) == before


def test_r3_an_ended_rewards_points_come_back_with_its_reversal(
    session, till, somchai, reward, earn
):
    earn(somchai, 100)
    reward.valid_days = 1
    voucher = exchange(session, somchai, reward)
    used = till.redeem(voucher)
    undone = till.undo(used, now=NOW + timedelta(minutes=5))
    assert (undone.is_voucher_back, undone.points) == (True, 0)
    assert coupons.check_counts(session) == []
