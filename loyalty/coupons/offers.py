"""What a member can have, what stands in the way, and what they have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from core.db import once_a_batch
from core.errors import Refused
from loyalty import points
from loyalty.coupons.conditions import is_chosen, refusal_at_claim, standing_of
from loyalty.coupons.rows import ASKED_FOR, USABLE, VOUCHERS
from loyalty.coupons.stock import promised_satang, units_left, used_today
from models.coupons import (
    Coupon,
    CouponState,
    Obtained,
    Voucher,
    VoucherState,
)
from models.members import Member


@dataclass(frozen=True)
class Offer:
    """A coupon as one member sees it; `refusal` says why it cannot be had, None if it can."""

    coupon: Coupon
    left: int | None
    refusal: str | None
    #: What fills the refusal's sentence.
    facts: dict[str, Any] = field(default_factory=dict)
    #: Units still to be had today, where so many go out a day.
    left_today: int | None = None


def offers_for(
    session: Session, member: Member, now: datetime, tz: ZoneInfo, obtained: str = "claim"
) -> list[Offer]:
    """What a member can claim (or buy with points) now, with what stands in the way."""
    live = select(Coupon).where(Coupon.state == CouponState.LIVE, Coupon.obtained == obtained)
    cheapest_first = live.order_by(Coupon.price_points, Coupon.id)
    coupons = once_a_batch(
        session, f"coupons.live:{obtained}", lambda: session.scalars(cheapest_first).all()
    )
    if not coupons:
        return []
    owned = copies_of(session, member.id, [coupon.id for coupon in coupons])
    standing = standing_of(session, member.id, now)
    available = points.balance_of(session, member.id, now).available
    daily = [coupon.id for coupon in coupons if coupon.per_day is not None]
    today = used_today(session, daily, now, tz) if daily else {}
    limited = [coupon.id for coupon in coupons if coupon.budget_satang is not None]
    promised = promised_satang(session, limited) if limited else {}
    offers = []
    for coupon in coupons:
        if not is_open(coupon, now, standing.early_days) or not is_chosen(coupon, standing):
            continue
        left = units_left(coupon, promised.get(coupon.id, 0))
        left_today = None if coupon.per_day is None else coupon.per_day - today.get(coupon.id, 0)
        refused: Refused | None = None
        if left is not None and left <= 0:
            refused = Refused("coupons.sold_out")
        elif owned.get(coupon.id, 0) >= coupon.per_member:
            refused = Refused("coupons.already_claimed")
        elif left_today is not None and left_today <= 0:
            refused = Refused("coupons.sold_out_today")
        elif obtained == Obtained.POINTS and available < (coupon.price_points or 0):
            refused = Refused("points.not_enough")
        else:
            refused = refusal_at_claim(session, coupon, standing, now, tz)
        code, facts = (refused.code, refused.facts) if refused is not None else (None, {})
        offers.append(Offer(coupon, left, code, facts, left_today))
    return offers


def vouchers_of(session: Session, member_id: int, now: datetime) -> Sequence[Voucher]:
    """A member's vouchers that can still be used, soonest to expire first."""
    session.flush()  # the caller may have just issued what we look for
    usable = select(Voucher).where(
        Voucher.member_id == member_id,
        Voucher.state.in_(USABLE),
        or_(Voucher.expires_at.is_(None), Voucher.expires_at > now),
    )
    order = (Voucher.expires_at.is_(None), Voucher.expires_at, Voucher.id)
    return session.scalars(usable.order_by(*order)).all()


def is_open(coupon: Coupon, now: datetime, early_days: int = 0) -> bool:
    """Whether an offer is live and within its dates, which begin earlier for some tiers (R2)."""
    if coupon.state != CouponState.LIVE:
        return False
    begins = coupon.starts_at - timedelta(days=early_days) if coupon.starts_at else None
    has_begun = begins is None or begins <= now
    return has_begun and (coupon.ends_at is None or coupon.ends_at > now)


def is_sold_out(coupon: Coupon) -> bool:
    is_gone = coupon.total_units is not None and coupon.issued_count >= coupon.total_units
    is_spent = coupon.budget_satang is not None and coupon.spent_satang >= coupon.budget_satang
    return is_gone or is_spent


def copies_of(session: Session, member_id: int, coupon_ids: Iterable[int]) -> dict[int, int]:
    """How many copies a member asked for and got, by coupon; taken-back ones do not count."""
    counts = (
        select(VOUCHERS.c.coupon_id, func.count().label("units"))
        .where(
            VOUCHERS.c.member_id == member_id,
            VOUCHERS.c.coupon_id.in_(list(coupon_ids)),
            VOUCHERS.c.source.in_(ASKED_FOR),
            VOUCHERS.c.state != VoucherState.VOID,
        )
        .group_by(VOUCHERS.c.coupon_id)
    )
    return {row.coupon_id: row.units for row in session.execute(counts)}
