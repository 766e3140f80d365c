"""Undoing a use, and taking unused vouchers away."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from core.errors import Refused
from loyalty import activities, points
from loyalty.coupons.rows import (
    COUPONS,
    REDEMPTIONS,
    USABLE,
    VOUCHERS,
    forget_loaded,
    lock_voucher,
    set_voucher,
)
from loyalty.coupons.using import count_use
from models.base import table_of
from models.coupons import (
    Coupon,
    CouponState,
    Redemption,
    Voucher,
    VoucherState,
)
from models.members import MemberTotals

TOTALS = table_of(MemberTotals)


@dataclass(frozen=True)
class ReversalResult:
    """A use that was undone: the voucher is back, or its points are, or it has ended."""

    redemption: Redemption
    voucher: Voucher
    is_voucher_back: bool
    points: int


def reverse(
    session: Session,
    redemption: Redemption,
    *,
    now: datetime,
    tz: ZoneInfo,
) -> ReversalResult:
    """Undo one use, once: the voucher comes back while it is still valid (C3).

    A voucher past its date, or taken away meanwhile, stays ended; its price in points is given back
    with the last of its uses (FG06).
    Refused `coupons.already_reversed` the second time.
    """
    points.lock_member(session, redemption.member_id)  # always before vouchers and coupons
    voucher = lock_voucher(session, redemption.voucher_id)
    undone: Any = session.connection().execute(
        update(REDEMPTIONS)
        .where(REDEMPTIONS.c.id == redemption.id, REDEMPTIONS.c.reversed_at.is_(None))
        .values(reversed_at=now)
    )
    if undone.rowcount != 1:
        raise Refused("coupons.already_reversed")
    session.expire(redemption)
    coupon = voucher.coupon
    is_in_time = voucher.expires_at is None or voucher.expires_at > now
    is_valid = is_in_time and voucher.state != VoucherState.VOID
    back: dict[str, Any] = {"state": VoucherState.ISSUED, "redeemed_at": None}
    if voucher.left_satang is not None:
        back["left_satang"] = voucher.left_satang + redemption.discount_satang
    if not is_valid:
        back["state"] = VoucherState.EXPIRED
    used = (VoucherState.REDEEMED, VoucherState.ISSUED, VoucherState.HELD, VoucherState.EXPIRED)
    if voucher.state == VoucherState.HELD and is_valid:
        back["state"] = VoucherState.HELD  # what was left of it is at a till at this moment
    set_voucher(session, voucher, used, back)
    count_use(session, coupon, -1, -redemption.discount_satang)
    points_back = 0
    if not is_valid and not _stands_used(session, voucher.id):
        points_back = points.give_back(
            session,
            voucher.member_id,
            source="redemption_reversal",
            source_id=str(voucher.id),  # its price comes back once, however many uses it had
            burn_source="voucher",
            burn_source_id=str(voucher.id),
            now=now,
            tz=tz,
            facts={"coupon_th": coupon.name_th, "coupon_en": coupon.name_en},
        ).points
    facts = {
        "voucher_id": voucher.id,
        "redemption_id": redemption.id,
        "is_voucher_back": is_valid,
        "points": points_back,
    }
    activities.record(session, voucher.member_id, "vouchers.redemption_reversed", now, facts)
    return ReversalResult(redemption, voucher, is_valid, points_back)


def _stands_used(session: Session, voucher_id: int) -> bool:
    """Whether another use of this voucher still stands: then it was worth its points."""
    standing = select(REDEMPTIONS.c.id).where(
        REDEMPTIONS.c.voucher_id == voucher_id, REDEMPTIONS.c.reversed_at.is_(None)
    )
    return session.execute(standing.limit(1)).first() is not None


def reverse_of_purchase(
    session: Session, purchase_id: int, *, now: datetime, tz: ZoneInfo
) -> tuple[ReversalResult, ...]:
    """Undo every use that went with a bill, coupon by coupon as `checkout.confirm` takes them."""
    still_used = (
        select(Redemption)
        .join(Voucher, Voucher.id == Redemption.voucher_id)
        .where(Redemption.purchase_id == purchase_id, Redemption.reversed_at.is_(None))
        .order_by(Voucher.coupon_id, Voucher.id)
    )
    redemptions = session.scalars(still_used).all()
    return tuple(reverse(session, redemption, now=now, tz=tz) for redemption in redemptions)


def void(
    session: Session, voucher: Voucher, *, now: datetime, reason: str, is_rest_too: bool = False
) -> bool:
    """Take an unused voucher away and return its unit; False if it was used or has ended.

    One that keeps its change and was used in part is used; `is_rest_too` takes what is left of it.
    Its cause may issue another one later, so the cause's key is set free.
    """
    if voucher.left_satang is not None and not is_rest_too:
        voucher = lock_voucher(session, voucher.id)  # no till takes a part of it meanwhile
        if _stands_used(session, voucher.id):
            return False
    freed = {
        "state": VoucherState.VOID,
        "voided_at": now,
        "source_id": f"{voucher.source_id}#void:{voucher.id}",
    }
    if not set_voucher(session, voucher, USABLE, freed):
        return False
    session.connection().execute(
        update(COUPONS)
        .where(COUPONS.c.id == voucher.coupon_id)
        .values(issued_count=COUPONS.c.issued_count - 1)
    )
    session.expire(voucher.coupon)
    facts = {"voucher_id": voucher.id, "coupon_id": voucher.coupon_id, "reason": reason}
    activities.record(session, voucher.member_id, "vouchers.voided", now, facts)
    return True


def void_all(session: Session, member_id: int, *, now: datetime, source: str | None = None) -> int:
    """Take all unused vouchers of a member away, or those of one source, and return the units.

    Unlike `void`, the causes are not set free: none of them gives another voucher.
    """
    unused = and_(VOUCHERS.c.member_id == member_id, VOUCHERS.c.state.in_(USABLE))
    if source is not None:
        unused = and_(unused, VOUCHERS.c.source == source)
    session.flush()  # Core statements must see what the caller has added so far
    gone = session.execute(
        update(VOUCHERS)
        .where(unused)
        .values(state=VoucherState.VOID, voided_at=now)
        .returning(VOUCHERS.c.coupon_id)
    )
    units = Counter(gone.scalars())
    for coupon_id in sorted(units):
        session.execute(
            update(COUPONS)
            .where(COUPONS.c.id == coupon_id)
            .values(issued_count=COUPONS.c.issued_count - units[coupon_id])
        )
    forget_loaded(session)
    return units.total()


def withdraw(session: Session, coupon: Coupon, *, now: datetime, tz: ZoneInfo) -> int:
    """Close an offer and take its unused vouchers away, also from tills; returns how many.

    Whoever paid points for one gets them back, unless a part of it is spent: then they come back
    when that use is undone (`reverse`). Members are locked first, in the order of their ids: all
    that is done with a voucher takes the member before the coupon.
    """
    session.flush()  # Core statements must see what the caller has added so far
    holders = select(VOUCHERS.c.member_id).where(
        VOUCHERS.c.coupon_id == coupon.id, VOUCHERS.c.state.in_(USABLE)
    )
    session.execute(
        select(TOTALS.c.member_id)
        .where(TOTALS.c.member_id.in_(holders))
        .order_by(TOTALS.c.member_id)
        .with_for_update()
    ).all()
    session.connection().execute(
        update(COUPONS).where(COUPONS.c.id == coupon.id).values(state=CouponState.CLOSED)
    )
    unused = select(Voucher.id, Voucher.member_id).where(
        Voucher.coupon_id == coupon.id, Voucher.state.in_(USABLE)
    )
    rows = session.execute(unused.order_by(Voucher.member_id, Voucher.id)).all()
    gone = 0
    for voucher_id, member_id in rows:
        points.lock_member(session, member_id)  # for whoever got theirs just before it closed
        voucher = lock_voucher(session, voucher_id)
        if not void(session, voucher, now=now, reason="offer_withdrawn", is_rest_too=True):
            continue
        gone += 1
        if voucher.source == "points" and not _stands_used(session, voucher_id):
            points.give_back(
                session,
                member_id,
                source="voucher_withdrawn",
                source_id=str(voucher_id),
                burn_source="voucher",
                burn_source_id=str(voucher_id),
                now=now,
                tz=tz,
                facts={"coupon_th": coupon.name_th, "coupon_en": coupon.name_en},
            )
    session.refresh(coupon)
    return gone
