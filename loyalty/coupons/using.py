"""Using a voucher: what it takes off a bill, where it fits, and the redemption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from core import ids
from core.clock import local_day, start_of_day
from core.db import insert_into
from core.errors import Invalid, Refused
from core.i18n import Said
from core.sabotage import is_sabotaged
from core.text import receipt_key
from loyalty import activities
from loyalty.coupons.conditions import Conditions, refusal_at_till, standing_of
from loyalty.coupons.rows import ASKED_FOR, COUPONS, REDEMPTIONS, refuse_unless, set_voucher
from loyalty.disputes import refuse_if_disputed
from models.coupons import (
    Coupon,
    CouponKind,
    Redemption,
    Voucher,
    VoucherState,
)
from models.members import Member, MemberTotals
from models.purchases import Purchase
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
    beside: Sequence[Voucher] = (),
) -> Discount:
    """What this voucher would take off this bill; refused as `refuse_unless_fits` says.

    `beside` are the other vouchers that are to go on the same bill.
    """
    refuse_unless_stackable([voucher.coupon, *(other.coupon for other in beside)])
    refuse_unless_fits(
        session, voucher, branch, bill_satang, now, tz, is_with_purchase=is_with_purchase
    )
    discount = discount_for(voucher.coupon, voucher, bill_satang)
    budget = voucher.coupon.budget_satang
    if budget is not None and voucher.coupon.spent_satang + discount.satang > budget:
        raise Refused("coupons.budget_spent")
    return discount


def refuse_unless_fits(
    session: Session,
    voucher: Voucher,
    branch: Branch,
    bill_satang: int,
    now: datetime,
    tz: ZoneInfo,
    *,
    purchase_id: int | None = None,
    receipt_no: str | None = None,
    is_with_purchase: bool = False,
) -> None:
    """Whether a voucher may be used on this bill, here and now (C2, J6).

    `is_with_purchase` says that the bill itself will be recorded in the same confirm, which is
    what a joining gift without a proven phone waits for.

    Refused: `coupons.min_bill`, `coupons.other_branch`, `coupons.other_day`,
    `coupons.other_hours`, `coupons.other_tier`, `coupons.first_purchase_only`,
    `coupons.not_stackable`, `coupons.needs_proof`, `coupons.frozen`.
    """
    coupon = voucher.coupon
    wanted = Conditions.of(coupon)
    refuse_if_disputed(session, voucher.member_id)
    is_asked_for = voucher.source in ASKED_FOR
    standing = (
        standing_of(session, voucher.member_id, now) if wanted.tiers and is_asked_for else None
    )
    if refusal := refusal_at_till(session, coupon, standing, branch, bill_satang, now, tz):
        raise refusal
    if wanted.is_first_purchase and is_asked_for:
        _refuse_later_purchase(session, voucher, purchase_id)
    _refuse_stacking(session, voucher, branch, purchase_id, receipt_no, now, tz)
    if voucher.needs_proof and not is_with_purchase:
        member = session.get_one(Member, voucher.member_id)
        totals = session.get(MemberTotals, voucher.member_id)
        has_bought = totals is not None and totals.purchase_count > 0
        refuse_unless(member.phone_proven_at is not None or has_bought, "coupons.needs_proof")


def _refuse_later_purchase(session: Session, voucher: Voucher, purchase_id: int | None) -> None:
    """The first bill is the one it goes with, or the one that is still to come."""
    if purchase_id is not None:
        is_first = session.get_one(Purchase, purchase_id).is_first
    else:
        totals = session.get(MemberTotals, voucher.member_id)
        is_first = totals is None or totals.purchase_count == 0
    refuse_unless(is_first, "coupons.first_purchase_only")


def refuse_unless_stackable(together: Sequence[Coupon]) -> None:
    """One coupon that shares its bill with none must be alone, whichever came first."""
    if len(together) > 1 and not all(coupon.is_stackable for coupon in together):
        raise Refused("coupons.not_stackable")


def _refuse_stacking(
    session: Session,
    voucher: Voucher,
    branch: Branch,
    purchase_id: int | None,
    receipt_no: str | None,
    now: datetime,
    tz: ZoneInfo,
) -> None:
    """What is on this bill already: by the bill itself, or by its number at this branch today."""
    if purchase_id is None and not receipt_no:
        return
    today = start_of_day(local_day(now, tz), tz)
    same_place = and_(
        Redemption.member_id == voucher.member_id,
        Redemption.branch_id == branch.id,
        Redemption.receipt_no.is_not(None),
        Redemption.at >= today,
    )
    others = session.execute(
        select(Coupon, Redemption.purchase_id, Redemption.receipt_no)
        .join(Voucher, Voucher.coupon_id == Coupon.id)
        .join(Redemption, Redemption.voucher_id == Voucher.id)
        .where(
            or_(Redemption.purchase_id == purchase_id, same_place),
            Redemption.reversed_at.is_(None),
            Redemption.voucher_id != voucher.id,
        )
    )
    wanted = receipt_key(receipt_no) if receipt_no else None
    on_bill = [
        coupon
        for coupon, bill, number in others
        if (purchase_id is not None and bill == purchase_id)
        or (wanted is not None and number is not None and receipt_key(number) == wanted)
    ]
    if not is_sabotaged("coupons.stacking"):
        refuse_unless_stackable([voucher.coupon, *on_bill])


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
    if receipt_no and not receipt_key(receipt_no):
        raise Invalid("errors.invalid_field", field="receipt_no")
    coupon = voucher.coupon
    refuse_unless_fits(
        session,
        voucher,
        branch,
        bill_satang,
        now,
        tz,
        purchase_id=purchase_id,
        receipt_no=receipt_no,
    )
    discount = discount_for(coupon, voucher, bill_satang)
    # A voucher that keeps its change may be used often, and emptied more than once when a use is
    # taken back in between; its own lock and what is left on it hold the sum.
    keeps_change = discount.left_satang is not None
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
        "is_whole": not keeps_change,
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
    if discount.left_satang:
        used = {"state": VoucherState.ISSUED}
    if keeps_change:
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
        select(Redemption.at, Branch.name_th, Branch.name_en)
        .join(Branch, Branch.id == Redemption.branch_id)
        .where(Redemption.voucher_id == voucher.id, Redemption.reversed_at.is_(None))
        .order_by(Redemption.id.desc())
        .limit(1)
    ).first()
    if last is None:
        return Refused("codes.expired")
    at, thai, english = last
    local = f"{at.astimezone(tz):%d/%m/%Y %H:%M}"
    return Refused("coupons.used", when=local, branch=Said(thai, english))


def count_use(session: Session, coupon: Coupon, uses: int, satang: int) -> None:
    """Add to the coupon's sums; last in the transaction, because everybody shares this row.

    A use that would pass the budget is refused by the same statement, so that the budget is never
    passed, not by one satang; taking back always goes through.
    """
    guard = COUPONS.c.id == coupon.id
    if satang > 0 and not is_sabotaged("coupons.budget"):
        fits = COUPONS.c.spent_satang + satang <= COUPONS.c.budget_satang
        guard = and_(guard, or_(COUPONS.c.budget_satang.is_(None), fits))
    counted: Any = session.connection().execute(
        update(COUPONS)
        .where(guard)
        .values(
            redeemed_count=COUPONS.c.redeemed_count + uses,
            spent_satang=COUPONS.c.spent_satang + satang,
        )
    )
    session.expire(coupon)
    if counted.rowcount != 1:
        raise Refused("coupons.budget_spent")
