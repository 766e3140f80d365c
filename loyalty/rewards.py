"""The reward catalogue: vouchers for points, in one step or not at all (R3)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Refused
from loyalty import activities, coupons, points
from models.activities import Activity
from models.coupons import Coupon, CouponState, Obtained, Voucher
from models.members import Member


def reward(session: Session, coupon_id: int) -> Coupon | None:
    """An offer of the catalogue."""
    return session.scalar(
        select(Coupon).where(
            Coupon.id == coupon_id,
            Coupon.state == CouponState.LIVE,
            Coupon.obtained == Obtained.POINTS,
        )
    )


def exchange(
    session: Session,
    coupon_id: int,
    member: Member,
    key: str,
    now: datetime,
    tz: ZoneInfo,
    *,
    price: int | None = None,
) -> Voucher:
    """Burn the price and issue the voucher; the same `key` again returns the same voucher.

    `price` is what the member has seen. Raises InsufficientPoints, and Refused
    `rewards.price_changed` or as `coupons.buy_reward` does: then no point is gone.
    """
    once = f"rewards.exchanged:{member.id}:{key}"
    points.lock_member(session, member.id)  # the same tap twice comes one after the other
    before = session.scalar(select(Activity).where(Activity.key == once))
    if before is not None:
        return session.get_one(Voucher, before.facts["voucher_id"])
    offer = reward(session, coupon_id)
    if offer is not None and price is not None and price != offer.price_points:
        raise Refused("rewards.price_changed", price=f"{offer.price_points:,}")
    voucher = coupons.buy_reward(session, coupon_id, member, now, tz)
    facts = {"voucher_id": voucher.id, "coupon_id": coupon_id}
    activities.record(session, member.id, "rewards.exchanged", now, facts, key=once)
    return voucher
