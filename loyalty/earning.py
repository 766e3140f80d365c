"""Arithmetic of earning: points of a bill, what a return keeps, when points expire. Pure.

Everything is whole satang and whole points; every rounding is a floor.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from core.clock import start_of_day
from models.points import EarnPolicy, ExpiryKind


@dataclass(frozen=True)
class Award:
    """What a bill earns: points, the member's carry after it, and the bill's share in that."""

    points: int
    carry_satang: int
    carry_delta: int


def base_points(amount_satang: int, carry_satang: int, satang_per_point: int) -> tuple[int, int]:
    """Points of a bill and the new carry (P3).

    A reversal may have left the carry negative: such a bill fills it first and may earn nothing.
    """
    filled = amount_satang + carry_satang
    points = max(0, filled // satang_per_point)
    return points, filled - points * satang_per_point


def award(policy: EarnPolicy, amount_satang: int, carry_satang: int) -> Award:
    """The base points of a bill under a policy.

    Multipliers and bonus rules (`loyalty/earn_rules.py`) act on these; only these touch the carry.
    """
    if not policy.has_carry:
        points, _ = base_points(amount_satang, 0, policy.satang_per_point)
        return Award(points, carry_satang, 0)
    points, carry = base_points(amount_satang, carry_satang, policy.satang_per_point)
    return Award(points, carry, carry - carry_satang)


def multiplied(base: int, percent: int) -> int:
    """What a multiplier adds to base points: 150 percent of 7 adds 3 (P3)."""
    return base * max(0, percent - 100) // 100


def share_of(base: int, matched_satang: int, lines_satang: int, amount_satang: int) -> int:
    """The part of a bill's base points that some of its lines have earned, floored.

    Lines are told before discounts or for a part of the bill only, so the larger of their sum and
    the amount is the whole: no line ever earns more than its share of what was paid.
    """
    whole = max(lines_satang, amount_satang)
    return base * matched_satang // whole if whole else 0


def kept_points(points: int, amount_satang: int, returned_satang: int) -> int:
    """What a bill keeps of its points (or stamps) after `returned_satang` in total (P6)."""
    assert 0 <= returned_satang <= amount_satang
    return points * (amount_satang - returned_satang) // amount_satang


def expires_at(policy: EarnPolicy, earned_on: date, tz: ZoneInfo) -> datetime | None:
    """The exclusive end of points earned on a local day: 00:00 after the last valid day (P4)."""
    if policy.expiry_kind == ExpiryKind.NEVER:
        return None
    if policy.expiry_kind == ExpiryKind.END_OF_YEAR:
        return start_of_day(date(earned_on.year + 1, 1, 1), tz)
    months = earned_on.year * 12 + earned_on.month - 1 + policy.expiry_months + 1
    return start_of_day(date(months // 12, months % 12 + 1, 1), tz)


def usable_at(policy: EarnPolicy, earned_on: date, tz: ZoneInfo) -> datetime | None:
    """When pending points become usable: local midnight after `pending_days`; None at once (P5)."""
    if not policy.pending_days:
        return None
    return start_of_day(earned_on + timedelta(days=policy.pending_days), tz)


def days_later(moment_day: date, days: int, tz: ZoneInfo) -> datetime:
    """The exclusive end of the local day `days` after this one."""
    return start_of_day(moment_day + timedelta(days=days + 1), tz)


def day_after(day: date) -> date:
    """The next calendar day."""
    return day + timedelta(days=1)
