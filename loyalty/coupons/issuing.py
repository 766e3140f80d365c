"""Getting a voucher: by a claim, for points, or for a cause; stock and limits."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.orm import Session

from core import ids
from core.clock import local_day
from core.db import insert_into
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import activities, earning, points
from loyalty.coupons.conditions import Standing, refusal_at_claim, standing_of
from loyalty.coupons.offers import copies_of, is_open, is_sold_out
from loyalty.coupons.rows import ASKED_FOR, COUPONS, USABLE, VOUCHERS, coupon_of, refuse_unless
from loyalty.coupons.stock import promised_satang, used_today, worst_satang
from models.coupons import (
    Coupon,
    CouponState,
    Obtained,
    Voucher,
    VoucherState,
)
from models.members import Member


def claim(
    session: Session,
    coupon_id: int,
    member: Member,
    now: datetime,
    tz: ZoneInfo,
    *,
    key: str | None = None,
) -> Voucher:
    """Take a voucher of an offer; the same `key` (of a button, of a form) again gives the same one.

    Refused: `coupons.sold_out`, `coupons.sold_out_today`, `coupons.already_claimed`,
    `coupons.not_available`, `coupons.first_purchase_only`, `coupons.other_tier`,
    `coupons.other_day`, `coupons.other_hours`.
    """
    coupon = coupon_of(session, coupon_id)
    refuse_unless(coupon.obtained == Obtained.CLAIM, "coupons.not_available")
    is_locked = False
    if is_sabotaged("coupons.claim_key"):
        key = None
    if key is not None:
        is_locked = not is_sold_out(coupon)
        if is_locked:  # the same tap twice comes one after the other
            points.lock_member(session, member.id)
        if before := _given_by(session, coupon, member, key):
            return before
    voucher = take(session, coupon, member, "claim", now, tz, key=key, is_locked=is_locked)
    record_claim(session, voucher, now)
    return voucher


def _given_by(session: Session, coupon: Coupon, member: Member, key: str) -> Voucher | None:
    """What this button gave before; refused once it is used up."""
    given = select(Voucher).where(
        Voucher.coupon_id == coupon.id,
        Voucher.member_id == member.id,
        Voucher.source == "claim",
        Voucher.source_id == f"claim:{key}",
    )
    before = session.scalars(given).first()
    refuse_unless(before is None or before.state in USABLE, "coupons.already_claimed")
    return before


def buy_reward(
    session: Session, coupon_id: int, member: Member, now: datetime, tz: ZoneInfo
) -> Voucher:
    """Exchange points for a voucher, both or neither (R3).

    Raises InsufficientPoints, or Refused as `claim` does; then no point is gone.
    """
    coupon = coupon_of(session, coupon_id)
    refuse_unless(coupon.obtained == Obtained.POINTS, "coupons.not_available")
    assert coupon.price_points
    refuse_closed(session, coupon, member, now, tz)
    available = points.available_for_burn(session, member.id, now)
    if available < coupon.price_points:
        raise points.InsufficientPoints(needed=coupon.price_points, available=available)
    voucher = take(session, coupon, member, "points", now, tz)
    points.burn(
        session,
        member.id,
        coupon.price_points,
        source="voucher",
        source_id=str(voucher.id),
        now=now,
        facts={"coupon_th": coupon.name_th, "coupon_en": coupon.name_en},
    )
    record_claim(session, voucher, now)
    return voucher


def issue(
    session: Session,
    coupon: Coupon,
    member_id: int,
    *,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    needs_proof: bool = False,
) -> Voucher | None:
    """Give a voucher for a cause, once; None when the offer has ended or is sold out.

    The same cause again returns the voucher it gave the first time.
    """
    session.flush()  # Core statements must see what the caller has added so far
    given = select(Voucher).where(
        Voucher.coupon_id == coupon.id,
        Voucher.member_id == member_id,
        Voucher.source == source,
        Voucher.source_id == source_id,
    )
    if before := session.scalars(given).first():
        return before
    if not is_open(coupon, now):
        return None
    try:
        voucher = _write_voucher(
            session, coupon, member_id, source, source_id, now, tz, needs_proof=needs_proof
        )
    except Refused:
        return None
    facts = {"voucher_id": voucher.id, "coupon_id": coupon.id, "source": source}
    activities.record(session, member_id, "vouchers.issued", now, facts)
    return voucher


def take(
    session: Session,
    coupon: Coupon,
    member: Member,
    source: str,
    now: datetime,
    tz: ZoneInfo,
    *,
    key: str | None = None,
    is_locked: bool = False,
) -> Voucher:
    """What claim, code and points have in common: refuse, then write.

    The member's totals row is locked first, so that one member's claims come one after another;
    the coupon's row, which everybody wants, is held as briefly as possible, at the end.
    """
    refuse_closed(session, coupon, member, now, tz)
    if not is_locked:
        points.lock_member(session, member.id)
    refuse_unless(member.is_member, "members.not_joined")
    owned = copies_of(session, member.id, [coupon.id]).get(coupon.id, 0)
    if owned >= coupon.per_member and not is_sabotaged("coupons.per_member"):
        raise Refused("coupons.already_claimed")
    source_id = f"{source}:{key or ids.public_id()}"
    return _write_voucher(session, coupon, member.id, source, source_id, now, tz)


def refuse_closed(
    session: Session,
    coupon: Coupon,
    member: Member,
    now: datetime,
    tz: ZoneInfo,
    standing: Standing | None = None,
) -> None:
    """Everything that can be said without a lock; `standing` if the caller knows it already."""
    refuse_unless(member.is_member, "members.not_joined")
    if standing is None and is_open(coupon, now):
        if is_gone(coupon):
            raise Refused("coupons.sold_out")  # what a rush asks most often is answered first
        if not coupon.conditions:
            return  # an offer for everybody asks nothing about anybody
    standing = standing or standing_of(session, member.id, now)
    refuse_unless(is_open(coupon, now, standing.early_days), "coupons.not_available")
    if refusal := refusal_at_claim(session, coupon, standing, now, tz):
        raise refusal
    if is_gone(coupon):
        raise Refused("coupons.sold_out")


def is_gone(coupon: Coupon) -> bool:
    """Whether nothing was left when the offer was read."""
    return is_sold_out(coupon) and not is_sabotaged("coupons.stock")


def _refuse_over(
    session: Session, coupon: Coupon, now: datetime, tz: ZoneInfo, *, is_daily: bool
) -> None:
    """So many a day, and never more baht promised than the budget holds (C9).

    Both are counted under the coupon's own lock. What every usable voucher may still take off is
    promised: with what was spent already it stays within the budget, so that no till has to
    refuse what a member holds.
    """
    session.execute(select(COUPONS.c.id).where(COUPONS.c.id == coupon.id).with_for_update())
    if is_daily:
        today = used_today(session, [coupon.id], now, tz).get(coupon.id, 0)
        if today >= (coupon.per_day or 0):
            raise Refused("coupons.sold_out_today")
    if coupon.budget_satang is not None:
        session.refresh(coupon, ["spent_satang", "budget_satang"])
        promised = promised_satang(session, [coupon.id]).get(coupon.id, 0)
        if coupon.spent_satang + promised + worst_satang(coupon) > (coupon.budget_satang or 0):
            raise Refused("coupons.sold_out")


def _write_voucher(
    session: Session,
    coupon: Coupon,
    member_id: int,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    *,
    needs_proof: bool = False,
) -> Voucher:
    """Write the copy, then take the unit; without a unit the copy is taken away again."""
    is_daily = coupon.per_day is not None and source in ASKED_FOR
    if is_daily or coupon.budget_satang is not None:
        _refuse_over(session, coupon, now, tz, is_daily=is_daily)
    next_ordinal = (
        select(func.coalesce(func.max(VOUCHERS.c.ordinal), 0) + 1)
        .where(VOUCHERS.c.coupon_id == coupon.id, VOUCHERS.c.member_id == member_id)
        .scalar_subquery()
    )
    row = {
        "public_id": ids.public_id(),
        "coupon_id": coupon.id,
        "member_id": member_id,
        "ordinal": next_ordinal,
        "state": VoucherState.ISSUED,
        "source": source,
        "source_id": source_id,
        "issued_at": now,
        "needs_proof": needs_proof,
        "expires_at": expiry_of(coupon, now, tz),
        "left_satang": coupon.value_satang if coupon.keeps_change else None,
    }
    new = insert_into(session, VOUCHERS).values(row).on_conflict_do_nothing()
    voucher_id = session.execute(new.returning(VOUCHERS.c.id)).scalar()
    if voucher_id is None:  # somebody else is giving this member a copy at this moment
        raise Refused("coupons.already_claimed")
    if not _take_unit(session, coupon):
        session.execute(delete(VOUCHERS).where(VOUCHERS.c.id == voucher_id))
        raise Refused("coupons.sold_out")
    return session.get_one(Voucher, voucher_id)


def _take_unit(session: Session, coupon: Coupon) -> bool:
    """Count one more copy, if the stock and the budget still allow it: check and act are one."""
    guard = and_(
        COUPONS.c.id == coupon.id,
        or_(COUPONS.c.total_units.is_(None), COUPONS.c.issued_count < COUPONS.c.total_units),
        or_(COUPONS.c.budget_satang.is_(None), COUPONS.c.spent_satang < COUPONS.c.budget_satang),
        COUPONS.c.state == CouponState.LIVE,
    )
    values: dict[str, Any] = {"issued_count": COUPONS.c.issued_count + 1}
    if is_sabotaged("coupons.stock"):  # what was read a moment ago decides
        if is_sold_out(coupon):
            return False
        guard = COUPONS.c.id == coupon.id
        values = {"issued_count": coupon.issued_count + 1}
    taken: Any = session.connection().execute(update(COUPONS).where(guard).values(values))
    session.expire(coupon)
    return bool(taken.rowcount == 1)


def expiry_of(coupon: Coupon, issued_at: datetime, tz: ZoneInfo) -> datetime | None:
    """The exclusive end of a voucher issued now: so many days, else the offer's own end."""
    if coupon.valid_days is not None:
        return earning.days_later(local_day(issued_at, tz), coupon.valid_days, tz)
    return coupon.ends_at


def record_claim(session: Session, voucher: Voucher, now: datetime) -> None:
    facts = {
        "voucher_id": voucher.id,
        "coupon_id": voucher.coupon_id,
        "source": voucher.source,
    }
    activities.record(session, voucher.member_id, "coupons.claimed", now, facts)
    activities.record(session, voucher.member_id, "vouchers.issued", now, facts)
