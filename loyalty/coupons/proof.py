"""Coupons' counters against their vouchers and redemptions."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loyalty import points
from loyalty.coupons.rows import COUPONS, REDEMPTIONS, VOUCHERS
from models.coupons import (
    VoucherState,
)


def check_counts(session: Session) -> list[points.Difference]:
    """Every coupon's counters against its vouchers and redemptions."""
    session.flush()  # the check reads by plain statements
    rows = session.execute(_counts())
    return [difference for row in rows for difference in _wrong_counts(row)]


@cache
def _counts() -> Any:
    issued = (
        select(VOUCHERS.c.coupon_id, func.count().label("units"))
        .where(VOUCHERS.c.state != VoucherState.VOID)
        .group_by(VOUCHERS.c.coupon_id)
        .subquery()
    )
    used = (
        select(
            VOUCHERS.c.coupon_id,
            func.count().label("uses"),
            func.sum(REDEMPTIONS.c.discount_satang).label("satang"),
        )
        .join(REDEMPTIONS, REDEMPTIONS.c.voucher_id == VOUCHERS.c.id)
        .where(REDEMPTIONS.c.reversed_at.is_(None))
        .group_by(VOUCHERS.c.coupon_id)
        .subquery()
    )
    return (
        select(
            COUPONS.c.id,
            COUPONS.c.issued_count,
            COUPONS.c.redeemed_count,
            COUPONS.c.spent_satang,
            func.coalesce(issued.c.units, 0).label("units"),
            func.coalesce(used.c.uses, 0).label("uses"),
            func.coalesce(used.c.satang, 0).label("satang"),
        )
        .outerjoin(issued, issued.c.coupon_id == COUPONS.c.id)
        .outerjoin(used, used.c.coupon_id == COUPONS.c.id)
    )


def _wrong_counts(row: Any) -> list[points.Difference]:
    figures = (
        ("coupons.issued", int(row.units), row.issued_count),
        ("coupons.redeemed", int(row.uses), row.redeemed_count),
        ("coupons.spent", int(row.satang), row.spent_satang),
    )
    return [
        points.Difference(what, row.id, expected, found)
        for what, expected, found in figures
        if expected != found
    ]
