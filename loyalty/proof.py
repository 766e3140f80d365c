"""Proves the programme: points, bills, stamps and vouchers against what they are sums of."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from loyalty import coupons, points, purchases, stamps
from loyalty.points import Difference


def check_all(session: Session, now: datetime) -> list[Difference]:
    """Every difference there is; members whose points differ are frozen for burning (Z10)."""
    return [
        *points.check_ledger(session, now),
        *purchases.check_totals(session),
        *stamps.check_cards(session),
        *coupons.check_counts(session),
    ]
