"""Vouchers that staff give to a member by hand, with a reason and within a ceiling (C2)."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.errors import Invalid, NotFound, Refused
from core.text import clean
from loyalty.coupons.issuing import issue
from loyalty.coupons.rows import VOUCHERS
from models.coupons import Coupon, CouponState, Obtained, Voucher
from models.members import Member
from models.staff import Cashier, Role, Staff

#: Vouchers that one person may give in a day; who is not named here gives none.
GIVEN_A_DAY = {Role.OWNER: 100, Role.MANAGER: 20}
#: Offers that may be given by hand; what costs points or a prize's luck is not handed out.
GIVEABLE = (Obtained.STAFF, Obtained.CLAIM, Obtained.JOURNEY)
REASON_LETTERS = 200


def giveable(session: Session) -> list[Coupon]:
    """The live offers that staff may give, those made for it first."""
    found = session.scalars(
        select(Coupon).where(Coupon.state == CouponState.LIVE, Coupon.obtained.in_(GIVEABLE))
    )
    return sorted(found, key=lambda coupon: (coupon.obtained != Obtained.STAFF, coupon.id))


def give(
    session: Session,
    coupon_id: int,
    member: Member,
    staff: Staff,
    reason: str,
    key: str,
    now: datetime,
    tz: ZoneInfo,
) -> Voucher:
    """Give a voucher by hand; the form's `key` makes a doubled tap one gift.

    Refused: `coupons.not_giveable`, `coupons.own_account`, `limits.given_by_hand`,
    `coupons.sold_out`; Invalid without a reason. Locks the giver's row, so that no two gifts at
    once pass the ceiling.
    """
    if not clean(reason, REASON_LETTERS):
        raise Invalid("coupons.reason_needed")
    coupon = session.get(Coupon, coupon_id)
    if coupon is None or coupon.state != CouponState.LIVE or coupon.obtained not in GIVEABLE:
        raise NotFound("coupons.not_giveable")
    session.execute(select(Staff.id).where(Staff.id == staff.id).with_for_update())
    own = select(Cashier.id).where(Cashier.staff_id == staff.id, Cashier.member_id == member.id)
    if session.scalar(own.limit(1)) is not None:
        raise Refused("coupons.own_account", status=403)
    source_id = f"{staff.id}:{key}"
    known = select(VOUCHERS.c.id).where(
        VOUCHERS.c.coupon_id == coupon.id,
        VOUCHERS.c.member_id == member.id,
        VOUCHERS.c.source == "staff",
        VOUCHERS.c.source_id == source_id,
    )
    most = GIVEN_A_DAY.get(staff.role, 0)
    if session.scalar(known) is None and given_today(session, staff.id, now, tz) >= most:
        raise Refused("limits.given_by_hand", most=most)
    voucher = issue(session, coupon, member.id, source="staff", source_id=source_id, now=now, tz=tz)
    if voucher is None:
        raise Refused("coupons.sold_out")
    return voucher


def given_today(session: Session, staff_id: int, now: datetime, tz: ZoneInfo) -> int:
    """How many vouchers this person has given today."""
    today = select(func.count()).where(
        VOUCHERS.c.source == "staff",
        VOUCHERS.c.source_id.like(f"{staff_id}:%"),
        VOUCHERS.c.issued_at >= start_of_day(local_day(now, tz), tz),
    )
    return int(session.scalar(today) or 0)
