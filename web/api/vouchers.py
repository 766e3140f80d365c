"""Vouchers by till software: quote (which holds), release, redeem, undo."""

from __future__ import annotations

from typing import Annotated, Any

from flask import g
from pydantic import Field

from core.errors import Invalid, NotFound, Refused
from loyalty import codes, coupons, people
from loyalty.coupons import RedemptionResult
from loyalty.purchases import MAX_BILL_SATANG
from models.coupons import CodePurpose, Coupon, CouponKind
from web.api.ground import (
    Amount,
    Body,
    Code,
    Short,
    baht,
    blueprint,
    body_of,
    holder,
    no_fields,
    once,
    satang,
)
from web.auth import api_scope
from web.ground import db, runtime


class Quote(Body):
    """`amount` is the bill before this voucher."""

    code: Code
    branch: Short
    amount: Amount


class NewRedemption(Quote):
    """The same with the bill's number."""

    receipt_no: Annotated[str, Field(min_length=1, max_length=64)]


@blueprint.post("/vouchers/quote")
@api_scope("vouchers.write")
@once(201)
def quote() -> dict[str, Any]:
    """Hold a voucher for 5 minutes and say what it takes off this bill."""
    body = body_of(Quote)
    held = runtime()
    branch = people.branch_of(db(), body.branch)
    scan = codes.scan(
        db(),
        codes.parse(held.settings.secret_key, body.code),
        holder(),
        held.clock.now(),
        held.clock.real_now(),
        held.clock.tz,
        purpose=CodePurpose.REDEEM,
    )
    if scan.voucher is None or scan.hold_id is None or scan.hold_expires_at is None:
        raise Refused("codes.expired")
    bill = satang(body.amount)
    _refuse_odd_bill(scan.voucher.coupon, bill)
    discount = coupons.quote(
        db(),
        scan.voucher,
        branch,
        bill,
        held.clock.now(),
        held.clock.tz,
        is_with_purchase=True,
    )
    coupon = scan.voucher.coupon
    return {
        "hold_id": scan.hold_id,
        "hold_expires_at": scan.hold_expires_at.isoformat(),
        "member_no": scan.member.member_no,
        "voucher_id": scan.voucher.public_id,
        "name": coupon.name_th,
        "name_en": coupon.name_en,
        "kind": coupon.kind.value,
        "item": coupon.item_th,
        "discount": baht(discount.satang),
        "left": baht(discount.left_satang) if discount.left_satang is not None else None,
    }


@blueprint.delete("/vouchers/holds/<string:hold_id>")
@api_scope("vouchers.write")
@once(200)
def release(hold_id: str) -> dict[str, Any]:
    """Give a hold back; 404 when this key has no such hold."""
    if not codes.release(db(), hold_id[:64], holder(), runtime().clock.real_now()):
        raise NotFound
    return {"hold_id": hold_id[:64], "released": True}


@blueprint.post("/vouchers/redemptions")
@api_scope("vouchers.write")
@once(201)
def redeem() -> dict[str, Any]:
    """Use a voucher once; without a hold it is scanned and used in one step."""
    body = body_of(NewRedemption)
    held = runtime()
    bill = satang(body.amount)
    done = codes.redeem(
        db(),
        parsed=codes.parse(held.settings.secret_key, body.code),
        holder=holder(),
        branch=people.branch_of(db(), body.branch),
        bill_satang=bill,
        operation_id=g.operation_id,
        now=held.clock.now(),
        real_now=held.clock.real_now(),
        tz=held.clock.tz,
        receipt_no=body.receipt_no,
        api_key_id=g.api_key.id,
    )
    _refuse_odd_bill(done.voucher.coupon, bill)  # the use goes with it
    return redemption_json(done)


def _refuse_odd_bill(coupon: Coupon, bill_satang: int) -> None:
    """A bill of nothing would use a voucher up for nothing; only a gift needs no bill."""
    if bill_satang > MAX_BILL_SATANG:
        raise Refused("limits.over")
    if not bill_satang and coupon.kind != CouponKind.FREE_ITEM:
        raise Invalid("errors.invalid_field", field="amount")


@blueprint.post("/redemptions/<string:redemption_id>/reversals")
@api_scope("vouchers.write")
@once(201)
def reverse_redemption(redemption_id: str) -> dict[str, Any]:
    """Undo a redemption: the voucher comes back while it is still valid."""
    no_fields()
    held = runtime()
    done = codes.reverse_redemption(
        db(),
        redemption_public_id=redemption_id[:64],
        operation_id=g.operation_id,
        now=held.clock.now(),
        tz=held.clock.tz,
        api_key_id=g.api_key.id,
    )
    return {
        "redemption_id": done.redemption.public_id,
        "voucher_id": done.voucher.public_id,
        "voucher_state": done.voucher.state.value,
        "is_voucher_back": done.is_voucher_back,
        "points": done.points,
    }


def redemption_json(done: RedemptionResult) -> dict[str, Any]:
    """A redemption as the API shows one."""
    return {
        "id": done.redemption.public_id,
        "voucher_id": done.voucher.public_id,
        "name": done.voucher.coupon.name_th,
        "amount": baht(done.redemption.bill_satang),
        "discount": baht(done.discount_satang),
        "left": baht(done.voucher.left_satang) if done.voucher.left_satang is not None else None,
    }
