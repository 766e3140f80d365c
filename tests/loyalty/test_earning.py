"""Rounding, carry and expiry: pure arithmetic of earning."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import local_day
from loyalty import earning, points
from models.points import EarnPolicy, ExpiryKind
from tests.moments import BANGKOK

amounts = st.integers(min_value=1, max_value=1_000_000_000)
carries = st.integers(min_value=-1_000_000, max_value=2499)
rates = st.integers(min_value=1, max_value=100_000)
days = st.dates(min_value=date(2020, 1, 1), max_value=date(2099, 12, 31))


def policy(**more: object) -> EarnPolicy:
    made = points.default_policy()
    for name, value in more.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "satang,expected", [(1, 0), (2499, 0), (2500, 1), (4999, 1), (5000, 2), (25_000, 10)]
)
def test_fg08_floors_whole_satang_for_a_fresh_member(satang, expected):
    assert earning.base_points(satang, 0, 2500)[0] == expected


def test_carries_the_rest_to_the_next_bill():
    first, carry = earning.base_points(2400, 0, 2500)
    assert (first, carry) == (0, 2400)
    assert earning.base_points(200, carry, 2500) == (1, 100)


def test_fills_a_negative_carry_before_earning():
    assert earning.base_points(2000, -2300, 2500) == (0, -300)
    assert earning.base_points(3000, -300, 2500) == (1, 200)


def test_keeps_no_carry_when_it_is_switched_off():
    award = earning.award(policy(has_carry=False), 4999, 77)
    assert (award.points, award.carry_satang, award.carry_delta) == (1, 77, 0)


@given(amounts, carries, rates)
def test_loses_and_invents_no_satang(amount, carry, rate):
    earned, rest = earning.base_points(amount, carry, rate)
    assert earned >= 0
    assert earned * rate + rest == amount + carry
    assert rest < rate


@given(st.lists(amounts, min_size=1, max_size=20), rates)
def test_splitting_a_bill_earns_the_same(bills, rate):
    carry = earned = 0
    for bill in bills:
        more, carry = earning.base_points(bill, carry, rate)
        earned += more
    assert (earned, carry) == earning.base_points(sum(bills), 0, rate)


@given(st.integers(0, 10**9), amounts, st.data())
def test_kept_points_fall_step_by_step_to_nothing(earned, amount, data):
    first = data.draw(st.integers(0, amount))
    second = data.draw(st.integers(first, amount))
    assert (
        earned
        >= earning.kept_points(earned, amount, first)
        >= earning.kept_points(earned, amount, second)
        >= earning.kept_points(earned, amount, amount)
        == 0
    )


def test_expires_at_the_end_of_the_month_a_year_later():
    end = earning.expires_at(policy(), date(2026, 11, 22), BANGKOK)
    assert end == datetime(2027, 11, 30, 17, 0, tzinfo=UTC)  # 1 December, 00:00 in Bangkok


def test_expires_at_the_end_of_the_year():
    rule = policy(expiry_kind=ExpiryKind.END_OF_YEAR)
    end = earning.expires_at(rule, date(2026, 1, 1), BANGKOK)
    assert end == datetime(2026, 12, 31, 17, 0, tzinfo=UTC)


def test_never_expires_when_the_policy_says_so():
    rule = policy(expiry_kind=ExpiryKind.NEVER)
    assert earning.expires_at(rule, date(2026, 11, 22), BANGKOK) is None


@given(days, st.integers(1, 120), st.sampled_from(["Asia/Bangkok", "Europe/Berlin", "UTC"]))
def test_expiry_is_the_first_local_midnight_of_a_month(day, months, zone):
    tz = ZoneInfo(zone)
    end = earning.expires_at(policy(expiry_months=months), day, tz)
    assert end is not None
    local = end.astimezone(tz)
    assert (local.day, local.hour, local.minute) == (1, 0, 0)
    last_valid = local_day(end - timedelta(microseconds=1), tz)
    elapsed = (last_valid.year - day.year) * 12 + last_valid.month - day.month
    assert elapsed == months


def test_pending_points_ripen_at_local_midnight():
    rule = policy(pending_days=3)
    ripe = earning.usable_at(rule, date(2026, 11, 22), BANGKOK)
    assert ripe == datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
    assert earning.usable_at(policy(), date(2026, 11, 22), BANGKOK) is None
