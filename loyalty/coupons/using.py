"""Using a voucher: what it takes off a bill, where it fits, and the redemption."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core import ids
from core.db import insert_into
from core.errors import Refused
from core.i18n import money
from loyalty import activities
from loyalty.coupons.rows import COUPONS, REDEMPTIONS, refuse_unless, set_voucher
from models.coupons import (
    Coupon,
    CouponKind,
    Redemption,
    Voucher,
    VoucherState,
)
from models.members import Member, MemberTotals
from models.staff import Branch


@dataclass(frozen=True)
class Discount:
    """What a voucher takes off one bill, and what stays on it (None: it is used up)."""

    satang: int
    left_satang: int | None


@dataclass(frozen=True)
class RedemptionResult:
    """A voucher that has just been used."""

    redemption: Redemption
    discount_satang: int
    voucher: Voucher


def discount_for(coupon: Coupon, voucher: Voucher, bill_satang: int) -> Discount:
    """Exactly how much to take off this bill; a percentage is floored to whole satang."""
    if coupon.kind == CouponKind.PERCENT_OFF:
        off = bill_satang * (coupon.percent or 0) // 100
        off = off if coupon.max_satang is None else min(off, coupon.max_satang)
        return Discount(min(off, bill_satang), None)
    if coupon.kind == CouponKind.CASH and coupon.keeps_change:
        worth = coupon.value_satang if voucher.left_satang is None else voucher.left_satang
        off = min(worth, bill_satang)
        return Discount(off, worth - off)
    return Discount(min(coupon.value_satang, bill_satang), None)


def quote(
    session: Session,
    voucher: Voucher,
    branch: Branch,
    bill_satang: int,
    now: datetime,
    tz: ZoneInfo,
    *,
    is_with_purchase: bool = False,
) -> Discount:
    """What this voucher would take off this bill; refused as `refuse_unless_fits` says."""
    refuse_unless_fits(
        session, voucher, branch, bill_satang, now, tz, is_with_purchase=is_with_purchase
    )
    return discount_for(voucher.coupon, voucher, bill_satang)


def refuse_unless_fits(
    session: Session,
    voucher: Voucher,
    branch: Branch,
    bill_satang: int,
    now: datetime,
    tz: ZoneInfo,
    *,
    purchase_id: int | None = None,
    is_with_purchase: bool = False,
) -> None:
    """Whether a voucher may be used on this bill, here and now (C2, J6).

    `is_with_purchase` says that the bill itself will be recorded in the same confirm, which is
    what a joining gift without a proven phone waits for.

    Refused: `coupons.min_bill`, `coupons.other_branch`, `coupons.other_day`,
    `coupons.other_hours`, `coupons.not_stackable`, `coupons.needs_proof`.
    """
    coupon = voucher.coupon
    if bill_satang < coupon.min_bill_satang:
        raise Refused("coupons.min_bill", baht=money("th", coupon.min_bill_satang))
    conditions = coupon.conditions
    if conditions.get("branches") and branch.code not in conditions["branches"]:
        raise Refused("coupons.other_branch")
    local = now.astimezone(tz)
    if conditions.get("weekdays") and local.weekday() not in conditions["weekdays"]:
        raise Refused("coupons.other_day")
    hours = conditions.get("hours")
    if hours and not any(start <= local.hour < end for start, end in hours):
        raise Refused("coupons.other_hours")
    if purchase_id is not None:
        _refuse_stacking(session, coupon, purchase_id)
    if voucher.needs_proof and not is_with_purchase:
        member = session.get_one(Member, voucher.member_id)
        totals = session.get(MemberTotals, voucher.member_id)
        has_bought = totals is not None and totals.purchase_count > 0
        refuse_unless(member.phone_proven_at is not None or has_bought, "coupons.needs_proof")


def _refuse_stacking(session: Session, coupon: Coupon, purchase_id: int) -> None:
    others = (
        select(Coupon.is_stackable)
        .join(Voucher, Voucher.coupon_id == Coupon.id)
        .join(Redemption, Redemption.voucher_id == Voucher.id)
        .where(Redemption.purchase_id == purchase_id, Redemption.reversed_at.is_(None))
    )
    on_bill = session.scalars(others).all()
    if on_bill and not (coupon.is_stackable and all(on_bill)):
        raise Refused("coupons.not_stackable")


def use(
    session: Session,
    voucher: Voucher,
    *,
    branch: Branch,
    bill_satang: int,
    operation_id: str,
    now: datetime,
    tz: ZoneInfo,
    receipt_no: str | None = None,
    purchase_id: int | None = None,
    cashier_id: int | None = None,
    device_id: int | None = None,
    api_key_id: int | None = None,
) -> RedemptionResult:
    """Turn a held voucher into a used one, and write the redemption.

    The caller (codes.redeem) holds the voucher's row lock and has checked the hold.
    """
    coupon = voucher.coupon
    refuse_unless_fits(session, voucher, branch, bill_satang, now, tz, purchase_id=purchase_id)
    discount = discount_for(coupon, voucher, bill_satang)
    is_whole = not discount.left_satang
    row = {
        "public_id": ids.public_id(),
        "voucher_id": voucher.id,
        "member_id": voucher.member_id,
        "branch_id": branch.id,
        "purchase_id": purchase_id,
        "operation_id": operation_id,
        "receipt_no": receipt_no,
        "bill_satang": bill_satang,
        "discount_satang": discount.satang,
        "is_whole": is_whole,
        "at": now,
        "cashier_id": cashier_id,
        "device_id": device_id,
        "api_key_id": api_key_id,
    }
    new = insert_into(session, REDEMPTIONS).values(row).on_conflict_do_nothing()
    redemption_id = session.execute(new.returning(REDEMPTIONS.c.id)).scalar()
    if redemption_id is None:
        raise Refused("operations.already_recorded")
    used: dict[str, Any] = {"state": VoucherState.REDEEMED, "redeemed_at": now}
    if not is_whole:
        used = {"state": VoucherState.ISSUED}
    if coupon.keeps_change:
        used["left_satang"] = discount.left_satang
    changed = set_voucher(session, voucher, (VoucherState.HELD,), used)
    assert changed, "the caller holds the lock"
    count_use(session, coupon, 1, discount.satang)
    facts = {
        "voucher_id": voucher.id,
        "redemption_id": redemption_id,
        "discount_satang": discount.satang,
        "branch": branch.name_th,
        "branch_code": branch.code,
        "coupon_id": coupon.id,
    }
    activities.record(session, voucher.member_id, "vouchers.redeemed", now, facts)
    redemption = session.get_one(Redemption, redemption_id)
    return RedemptionResult(redemption, discount.satang, voucher)


def used_refusal(session: Session, voucher: Voucher, tz: ZoneInfo) -> Refused:
    """The refusal that says when and where a voucher was used (TX1)."""
    last = session.execute(
        select(Redemption.at, Branch.name_th)
        .join(Branch, Branch.id == Redemption.branch_id)
        .where(Redemption.voucher_id == voucher.id, Redemption.reversed_at.is_(None))
        .order_by(Redemption.id.desc())
        .limit(1)
    ).first()
    if last is None:
        return Refused("codes.expired")
    at, branch = last
    return Refused("coupons.used", when=f"{at.astimezone(tz):%d/%m/%Y %H:%M}", branch=branch)


def count_use(session: Session, coupon: Coupon, uses: int, satang: int) -> None:
    """Add to the coupon's sums; last in the transaction, because everybody shares this row."""
    session.connection().execute(
        update(COUPONS)
        .where(COUPONS.c.id == coupon.id)
        .values(
            redeemed_count=COUPONS.c.redeemed_count + uses,
            spent_satang=COUPONS.c.spent_satang + satang,
        )
    )
    session.expire(coupon)
