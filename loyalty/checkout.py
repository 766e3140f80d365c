"""One confirm at a till: the bill and the vouchers used on it, in one transaction (C7).

`paid` is what the customer pays after discounts and what earns points; each voucher is computed
on the bill before it, in the order given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from core.errors import Invalid, Refused
from core.sabotage import is_sabotaged
from loyalty import ceilings, codes, coupons, points, purchases, tiers
from loyalty.coupons import RedemptionResult
from loyalty.purchases import BillItem, PurchaseResult
from models.coupons import CodePurpose, Coupon, CouponKind, Voucher
from models.staff import Branch, Cashier

MAX_VOUCHERS = 10


@dataclass(frozen=True)
class CheckoutResult:
    """What one confirm did. `purchase` is None when vouchers paid the whole bill."""

    purchase: PurchaseResult | None
    redemptions: tuple[RedemptionResult, ...]
    paid_satang: int
    #: What the member's tier took off, before any voucher (R2).
    tier_off_satang: int = 0


def bill_before(coupon: Coupon, voucher: Voucher, paid_satang: int) -> int:
    """The smallest bill that this voucher brings down to `paid_satang`.

    A percentage is floored when taken off, so its inverse is found by trying the neighbours; what
    it leaves of any bill is never nothing, unless it takes all of it: then nothing is left to pay.
    """
    if coupon.kind == CouponKind.PERCENT_OFF:
        percent = coupon.percent or 0
        if percent >= 100:
            if paid_satang and coupon.max_satang is None:
                raise Invalid("errors.invalid_field", field="amount")
            return paid_satang + (coupon.max_satang or 0)
        if not paid_satang:
            raise Invalid("errors.invalid_field", field="amount")
        near = paid_satang * 100 // (100 - percent)
        for bill in range(max(0, near - 2), near + 3):
            if bill - coupons.discount_for(coupon, voucher, bill).satang == paid_satang:
                return bill
        return paid_satang + (coupon.max_satang or 0)
    if coupon.kind == CouponKind.CASH and coupon.keeps_change and voucher.left_satang is not None:
        return paid_satang + voucher.left_satang
    return paid_satang + coupon.value_satang


def confirm(
    session: Session,
    *,
    member_id: int,
    branch: Branch,
    holder: str,
    operation_id: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
    paid_satang: int | None = None,
    bill_satang: int | None = None,
    holds: Sequence[str] = (),
    parsed: Sequence[codes.Parsed] = (),
    receipt_no: str | None = None,
    purchased_at: datetime | None = None,
    cashier_id: int | None = None,
    device_id: int | None = None,
    api_key_id: int | None = None,
    items: Sequence[BillItem] = (),
    shift_from: datetime | None = None,
    manager_id: int | None = None,
    queued_at: datetime | None = None,
) -> CheckoutResult:
    """Record the bill and use its vouchers, all or nothing.

    Exactly one of `paid_satang` (API: after discounts) and `bill_satang` (till page: before)
    is given. Vouchers come as `holds` of this holder, or as `parsed` codes that it may have
    scanned before. A cashier comes with `shift_from`, when their shift began: above a ceiling
    only with a manager's PIN (`manager_id`), and never for either's own account. `queued_at` is
    the word of a till that had no signal. Refused as `purchases.record_purchase`, `codes.redeem`
    and `ceilings` say.
    """
    assert (paid_satang is None) != (bill_satang is None)
    if len(holds) + len(parsed) > MAX_VOUCHERS:
        raise Invalid("errors.invalid_field", field="vouchers")
    if parsed:
        points.lock_member(session, member_id)  # before the vouchers, as everywhere
    scans = [codes.held(session, hold, holder, real_now) for hold in holds]
    scans += [
        codes.scan(session, one, holder, now, real_now, tz, purpose=CodePurpose.REDEEM)
        for one in parsed
    ]
    vouchers = [scan.voucher for scan in scans if scan.voucher is not None]
    if len(vouchers) < len(scans) or any(one.member_id != member_id for one in vouchers):
        raise Refused("codes.refused")
    coupons.refuse_unless_stackable([voucher.coupon for voucher in vouchers])
    tier_off = 0
    if paid_satang is None:
        assert bill_satang is not None
        if queued_at is None:  # without a signal the till knew no tier, and took the whole bill
            tier_off = tier_discount(session, member_id, bill_satang, now)
        bills, paid = _bills_down(vouchers, bill_satang - tier_off)
    else:
        bills, paid = _bills_up(vouchers, paid_satang, items), paid_satang
    who: dict[str, Any] = {
        "cashier_id": cashier_id,
        "device_id": device_id,
        "api_key_id": api_key_id,
    }
    ceilings.refuse_own_account(session, member_id, cashier_id, manager_id)
    over = None
    if cashier_id is not None and shift_from is not None and paid > 0:
        over = ceilings.over(
            session,
            session.get_one(Cashier, cashier_id),
            branch,
            paid,
            now=now,
            tz=tz,
            shift_from=shift_from,
        )
        if over is not None and manager_id is None:
            raise over
    purchase = None
    if paid > 0 or not vouchers:
        purchase = purchases.record_purchase(
            session,
            member_id=member_id,
            branch=branch,
            amount_satang=paid,
            operation_id=operation_id,
            now=now,
            tz=tz,
            receipt_no=receipt_no,
            purchased_at=purchased_at,
            items=items,
            **who,
        )
        if queued_at is not None:
            purchase.purchase.queued_at = queued_at
    used = {
        number: codes.redeem(
            session,
            holder=holder,
            branch=branch,
            bill_satang=bills[number],
            now=now,
            real_now=real_now,
            operation_id=f"{operation_id}:{number}",
            tz=tz,
            hold_id=scans[number].hold_id,
            receipt_no=receipt_no,
            purchase_id=purchase.purchase.id if purchase else None,
            member_id=member_id,
            **who,
        )
        for number in _in_turn(vouchers)
    }
    if over is not None and cashier_id is not None and manager_id is not None:
        ceilings.approve(
            session,
            operation_id=operation_id,
            manager_id=manager_id,
            cashier_id=cashier_id,
            what=str(over.facts["over"]),
            amount_satang=paid,
            now=now,
            real_now=real_now,
        )
    return CheckoutResult(purchase, tuple(used[number] for number in sorted(used)), paid, tier_off)


def _in_turn(vouchers: Sequence[Voucher]) -> list[int]:
    """The places of these vouchers, in the order of their coupons' ids.

    Everybody shares a coupon's row: two tills that took two of them crosswise, as they were scanned,
    would wait for each other. Voids keep the same order (`coupons.reverse_of_purchase`).
    """
    places = list(range(len(vouchers)))
    if is_sabotaged("coupons.order"):
        return places
    return sorted(places, key=lambda place: vouchers[place].coupon_id)


def tier_discount(session: Session, member_id: int, bill_satang: int, now: datetime) -> int:
    """What the member's tier takes off a bill, before any voucher; floored to whole satang."""
    return bill_satang * tiers.percent_off_of(session, member_id, now) // 100


def _bills_down(vouchers: Sequence[Voucher], bill: int) -> tuple[list[int], int]:
    bills = []
    for voucher in vouchers:
        bills.append(bill)
        bill -= coupons.discount_for(voucher.coupon, voucher, bill).satang
    return bills, bill


def _bills_up(vouchers: Sequence[Voucher], paid: int, items: Sequence[BillItem]) -> list[int]:
    """The bill before each voucher, from what was paid after all of them.

    Nothing paid does not tell how much of a voucher that keeps its change was needed: its lines do.
    """
    if paid == 0 and any(
        voucher.coupon.kind == CouponKind.CASH and voucher.coupon.keeps_change
        for voucher in vouchers
    ):
        bill = sum(item.amount_satang for item in items)
        if bill == 0:
            raise Invalid("errors.invalid_field", field="amount")
        if bill > purchases.MAX_BILL_SATANG:
            raise Refused("limits.over")
        return _bills_down(vouchers, bill)[0]
    bills: list[int] = []
    for voucher in reversed(vouchers):
        paid = bill_before(voucher.coupon, voucher, paid)
        bills.insert(0, paid)
    return bills
