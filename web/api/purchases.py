"""Bills by till software: record with points, stamps and vouchers; take back whole or in part."""

from __future__ import annotations

from typing import Annotated, Any

from flask import g
from pydantic import AwareDatetime, Field

from core.errors import Invalid, NotFound
from loyalty import checkout, codes, members, people, purchases
from loyalty.purchases import BillItem
from models.coupons import CodePurpose
from models.members import Member
from web.api.ground import (
    Amount,
    Body,
    Code,
    Short,
    baht,
    blueprint,
    body_of,
    has_body,
    holder,
    once,
    satang,
)
from web.api.members import of_phone
from web.api.vouchers import redemption_json
from web.auth import api_scope
from web.ground import db, runtime


class Item(Body):
    """A line of the bill."""

    sku: Short
    qty: Annotated[int, Field(ge=1, le=100_000)]
    amount: Amount


class NewPurchase(Body):
    """A bill: `amount` is what is paid after discounts; one of member_no, phone and code."""

    member_no: Short | None = None
    phone: Short | None = None
    code: Code | None = None
    branch: Short
    receipt_no: Short
    amount: Amount
    items: Annotated[list[Item], Field(max_length=200, default_factory=list)]
    vouchers: Annotated[list[Code], Field(max_length=10, default_factory=list)]
    #: An ISO 8601 moment with its offset.
    purchased_at: Annotated[AwareDatetime, Field(strict=False)] | None = None


class Reversal(Body):
    """What comes back; without `amount` the whole bill."""

    amount: Amount | None = None


@blueprint.post("/purchases")
@api_scope("purchases.write")
@once(201)
def record() -> dict[str, Any]:
    """Record a bill once: points, stamps, and the vouchers used on it."""
    body = body_of(NewPurchase)
    held = runtime()
    branch = people.branch_of(db(), body.branch)
    parsed = [codes.parse(held.settings.secret_key, code) for code in body.vouchers]
    paid, now = satang(body.amount), held.clock.now()
    items = [BillItem(item.sku, item.qty, satang(item.amount)) for item in body.items]
    if paid or not parsed:  # vouchers may have paid the whole bill
        purchases.refuse_bad_bill(
            db(),
            amount_satang=paid,
            bought_at=body.purchased_at or now,
            now=now,
            receipt_no=body.receipt_no,
            api_key_id=g.api_key.id,
            items=items,
        )
    member = _member(body)
    done = checkout.confirm(
        db(),
        member_id=member.id,
        branch=branch,
        holder=holder(),
        paid_satang=paid,
        operation_id=g.operation_id,
        now=now,
        real_now=held.clock.real_now(),
        tz=held.clock.tz,
        parsed=parsed,
        receipt_no=body.receipt_no,
        purchased_at=body.purchased_at,
        api_key_id=g.api_key.id,
        items=items,
    )
    g.rows_in_use = (member, branch, done)  # so that reactions find them loaded, not gone
    answer: dict[str, Any] = {
        "member_no": member.member_no,
        "amount": baht(done.paid_satang),
        "redemptions": [redemption_json(one) for one in done.redemptions],
    }
    if done.purchase is not None:
        result = done.purchase
        answer |= {
            "id": result.purchase.public_id,
            "points": result.points,
            "base_points": result.base_points,
            "earn_rules": [
                {"key": extra.key, "name": extra.name_th, "points": extra.points}
                for extra in result.extras
            ],
            "carry_satang": result.carry_satang,
            "balance": result.balance,
            "available": result.available,
            "stamps": result.stamps,
            "vouchers_issued": [
                {"id": voucher.public_id, "name": voucher.coupon.name_th}
                for voucher in result.vouchers_issued
            ],
            "is_first": result.is_first,
        }
    return answer


def _member(body: NewPurchase) -> Member:
    """Whose bill it is; exactly one way of saying so."""
    given = [field for field in (body.member_no, body.phone, body.code) if field is not None]
    if len(given) != 1:
        raise Invalid("errors.invalid_field", field="member_no, phone, code")
    if body.member_no is not None:
        return members.of_number(db(), body.member_no)
    if body.phone is not None:
        return of_phone(body.phone)
    held = runtime()
    parsed = codes.parse(held.settings.secret_key, body.code or "")
    if parsed.purpose == CodePurpose.REDEEM:
        raise NotFound("codes.expired", status=409)
    scan = codes.scan(
        db(), parsed, holder(), held.clock.now(), held.clock.real_now(), held.clock.tz
    )
    if scan.hold_id is not None:
        return codes.use_identity(db(), scan.hold_id, holder(), held.clock.real_now())
    return scan.member


@blueprint.post("/purchases/<string:purchase_id>/reversals")
@api_scope("purchases.write")
@once(201)
def reverse(purchase_id: str) -> dict[str, Any]:
    """Void a bill or return part of it."""
    body = body_of(Reversal) if has_body() else Reversal()
    held = runtime()
    done = purchases.return_purchase(
        db(),
        purchase_public_id=purchase_id[:64],
        operation_id=g.operation_id,
        now=held.clock.now(),
        tz=held.clock.tz,
        api_key_id=g.api_key.id,
        amount_satang=satang(body.amount) if body.amount is not None else None,
    )
    return {
        "id": done.purchase_return.public_id,
        "purchase_id": done.purchase.public_id,
        "amount": baht(done.purchase_return.amount_satang),
        "is_void": done.purchase_return.is_void,
        "points": done.points,
        "debt": done.debt,
        "balance": done.balance,
        "available": done.available,
        "stamps": done.stamps,
        "vouchers_voided": [voucher.public_id for voucher in done.vouchers_voided],
    }
