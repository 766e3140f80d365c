"""The whole proof at once: points, bills, stamps and vouchers against what they are sums of."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from loyalty import coupons, points, purchases, stamps
from loyalty.points import Difference


def check(session: Session, now: datetime) -> list[Difference]:
    """Every cached figure against its rows; members whose points differ are frozen (Z10)."""
    return [
        *points.check_ledger(session, now),
        *purchases.check_totals(session),
        *stamps.check_cards(session),
        *coupons.check_counts(session),
    ]
