"""How much of an offer is left: units, units of today, and baht of its budget (C9)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from loyalty.coupons.rows import ASKED_FOR, COUPONS, USABLE, VOUCHERS
from models.coupons import Coupon, CouponKind, VoucherState


def worst_satang(coupon: Coupon) -> int:
    """The most that one fresh voucher can take off; 0 for a percentage without a maximum."""
    if coupon.kind == CouponKind.PERCENT_OFF:
        return coupon.max_satang or 0
    return coupon.value_satang


def promised_satang(session: Session, coupon_ids: Sequence[int]) -> dict[int, int]:
    """The most that the usable vouchers of these offers may still take off, by offer."""
    found = session.execute(
        select(
            VOUCHERS.c.coupon_id,
            func.count(VOUCHERS.c.id).filter(VOUCHERS.c.left_satang.is_(None)).label("whole"),
            func.coalesce(func.sum(VOUCHERS.c.left_satang), 0).label("left"),
            func.max(COUPONS.c.kind).label("kind"),
            func.max(COUPONS.c.value_satang).label("value"),
            func.max(func.coalesce(COUPONS.c.max_satang, 0)).label("most"),
        )
        .join(COUPONS, COUPONS.c.id == VOUCHERS.c.coupon_id)
        .where(VOUCHERS.c.coupon_id.in_(coupon_ids), VOUCHERS.c.state.in_(USABLE))
        .group_by(VOUCHERS.c.coupon_id)
    )
    return {
        row.coupon_id: int(row.left)
        + row.whole * (row.most if row.kind == CouponKind.PERCENT_OFF else row.value)
        for row in found
    }


def units_left(coupon: Coupon, promised: int) -> int | None:
    """Units still to be had by number and by budget; None without either."""
    left = coupon.left
    if coupon.budget_satang is None:
        return left
    rest = coupon.budget_satang - coupon.spent_satang - promised
    worst = worst_satang(coupon)
    if worst:
        by_budget = max(0, rest // worst)
    elif rest > 0:
        return left
    else:
        by_budget = 0
    return by_budget if left is None else min(left, by_budget)


def used_today(
    session: Session, coupon_ids: Sequence[int], now: datetime, tz: ZoneInfo
) -> dict[int, int]:
    """Units that members took in the shop's day so far, by offer; gifts do not count."""
    today = (
        select(VOUCHERS.c.coupon_id, func.count().label("units"))
        .where(
            VOUCHERS.c.coupon_id.in_(coupon_ids),
            VOUCHERS.c.issued_at >= start_of_day(local_day(now, tz), tz),
            VOUCHERS.c.source.in_(ASKED_FOR),
            VOUCHERS.c.state != VoucherState.VOID,
        )
        .group_by(VOUCHERS.c.coupon_id)
    )
    return {row.coupon_id: row.units for row in session.execute(today)}
