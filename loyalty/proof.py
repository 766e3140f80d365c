"""Proves the programme: points, bills, stamps, vouchers and rules against what they are sums of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from sqlalchemy.orm import Session

from core.db import take_time
from loyalty import coupons, draws, earn_rules, points, purchases, stamps
from loyalty.points import Difference

#: Each looks at one kind of figure with a few set statements, and reads only.
CHECKS: tuple[Callable[[Session], list[Difference]], ...] = (
    points.find_wrong,
    purchases.check_totals,
    purchases.check_points,
    stamps.check_cards,
    coupons.check_counts,
    earn_rules.check_awards,
    draws.check_turns,
)


def find_all(session: Session) -> list[Difference]:
    """Every difference there is. Reads only: a shop goes on meanwhile, on either engine."""
    take_time(session)  # a large shop's sums take longer than any request may
    return [difference for check in CHECKS for difference in check(session)]


def freeze(session: Session, found: Iterable[Difference], now: datetime) -> list[Difference]:
    """Freeze the burning of members whose points differ (Z10), after a second look.

    Returns the differences that stand: what was only seen in passing is left out.
    """
    found = list(found)
    suspects = {one.id for one in found if one.what.startswith("points.")}
    others = [one for one in found if not one.what.startswith("points.")]
    return [*points.freeze(session, suspects, now), *others]


def check_all(session: Session, now: datetime) -> list[Difference]:
    """Find and freeze in one transaction."""
    return freeze(session, find_all(session), now)
