"""The bill: what vouchers take off, one confirm, the receipt, and taking it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response, g, jsonify
from sqlalchemy import select

from core.clock import local_day, start_of_day
from core.errors import Invalid, Refused
from core.i18n import moment, money
from loyalty import audit, checkout, codes, coupons, members, purchases
from models.coupons import Redemption
from models.members import Member
from models.purchases import Purchase, PurchaseState
from web import errors
from web.auth import cashier_only
from web.cashier.ground import (
    actor,
    bill_of,
    blueprint,
    given,
    holder,
    once,
    one_of_ours,
    text_of,
    texts_of,
)
from web.ground import db, locale, runtime

MAX_VOUCHERS = 10
RECENT = 20
OWN_ACCOUNT = "cashiers.own_account"


@blueprint.post("/quote")
@cashier_only()
def quote() -> Response:
    """Exactly what the held vouchers take off this bill, one after the other."""
    body = given()
    bill = bill_of(body)
    held, left, lines = runtime(), bill, []
    for hold in texts_of(body, "holds", MAX_VOUCHERS):
        scan = codes.held(db(), hold, holder(), held.clock.real_now())
        if scan.voucher is None:
            raise Refused("codes.expired")
        off = coupons.quote(
            db(),
            scan.voucher,
            g.branch,
            left,
            held.clock.now(),
            held.clock.tz,
            is_with_purchase=True,
        )
        left -= off.satang
        lines.append({"hold": hold, "off": money(locale(), off.satang)})
    return jsonify(lines=lines, bill=money(locale(), bill), pay=money(locale(), left))


@blueprint.post("/release")
@cashier_only()
def release() -> Response:
    """Give scanned vouchers back: the customer changed their mind."""
    for hold in texts_of(given(), "holds", MAX_VOUCHERS):
        codes.release(db(), hold, holder())
    return jsonify(released=True)


@blueprint.post("/confirm")
@cashier_only()
def confirm() -> Response:
    """The bill and its vouchers in one step; the same tap again gives the same receipt."""
    savepoint = db().begin_nested()
    try:
        answer = once(_confirm)
    except Refused as error:
        savepoint.rollback()
        if error.code != OWN_ACCOUNT:
            raise
        # Answered, not raised: that somebody tried must be written down (AK1).
        db().info.pop("activities", None)
        facts = {"device": g.device.id}
        audit.record(db(), actor(), "purchases.own_account", facts, runtime().clock.real_now())
        return errors.answer(error.status, error.code, error.facts)
    savepoint.commit()
    return answer


def _confirm(body: dict[str, Any], operation: str) -> dict[str, Any]:
    held, session = runtime(), db()
    now, real = held.clock.now(), held.clock.real_now()
    bill = bill_of(body)
    receipt_no = text_of(body, "receipt_no", 64, is_needed=False) or None
    if g.branch.needs_receipt_no and receipt_no is None:
        raise Invalid("cashiers.receipt_needed")
    hold = text_of(body, "hold", 64, is_needed=False)
    member: Member = (
        codes.use_identity(session, hold, holder(), real)
        if hold
        else one_of_ours(session, text_of(body, "member", 64))
    )
    done = checkout.confirm(
        session,
        member_id=member.id,
        branch=g.branch,
        holder=holder(),
        bill_satang=bill,
        holds=texts_of(body, "holds", MAX_VOUCHERS),
        operation_id=operation,
        now=now,
        real_now=real,
        tz=held.clock.tz,
        receipt_no=receipt_no,
        cashier_id=g.cashier.id,
        device_id=g.device.id,
    )
    audit.record(
        session,
        actor(),
        "purchases.confirmed",
        {
            "device": g.device.id,
            "amount_satang": done.paid_satang,
            "vouchers": len(done.redemptions),
        },
        real,
    )
    return _receipt(done, member, bill)


def _receipt(done: checkout.CheckoutResult, member: Member, bill: int) -> dict[str, Any]:
    language, clock = locale(), runtime().clock
    thai = language == "th"
    answer: dict[str, Any] = {
        "kind": "receipt",
        "at": moment(language, clock.now(), clock.tz),
        "branch": g.branch.name_th if thai else g.branch.name_en,
        "cashier": g.cashier.name,
        "name": members.masked(members.shown_name(member)),
        "bill": money(language, bill),
        "paid": money(language, done.paid_satang),
        "vouchers": [
            {
                "name": one.voucher.coupon.name_th if thai else one.voucher.coupon.name_en,
                "off": money(language, one.discount_satang),
            }
            for one in done.redemptions
        ],
        "purchase": None,
        "redemptions": [one.redemption.public_id for one in done.redemptions],
    }
    if done.purchase is not None:
        result = done.purchase
        answer |= {
            "purchase": result.purchase.public_id,
            "points": result.points,
            "balance": result.balance,
            "available": result.available,
            "stamps": result.stamps,
            "cards": [{"filled": card.filled, "size": card.size} for card in result.cards],
            "prizes": [
                voucher.coupon.name_th if thai else voucher.coupon.name_en
                for voucher in result.vouchers_issued
            ],
        }
    return answer


@blueprint.post("/void")
@cashier_only()
def void() -> Response:
    """Take back a bill with everything it did, or one voucher's use; once."""
    return once(_void)


def _void(body: dict[str, Any], operation: str) -> dict[str, Any]:
    held, session, language = runtime(), db(), locale()
    bill_id = text_of(body, "purchase", 64, is_needed=False)
    if bill_id:
        done = purchases.return_purchase(
            session,
            purchase_public_id=bill_id,
            operation_id=operation,
            now=held.clock.now(),
            tz=held.clock.tz,
            cashier_id=g.cashier.id,
        )
        answer = {
            "kind": "voided",
            "amount": money(language, done.purchase_return.amount_satang),
            "points": abs(done.points),
            "debt": done.debt,
            "available": done.available,
        }
    else:
        undone = codes.reverse_redemption(
            session,
            redemption_public_id=text_of(body, "redemption", 64),
            operation_id=operation,
            now=held.clock.now(),
            tz=held.clock.tz,
            cashier_id=g.cashier.id,
        )
        answer = {
            "kind": "voided",
            "amount": money(language, undone.redemption.discount_satang),
            "points": 0,
            "debt": 0,
            "is_voucher_back": undone.is_voucher_back,
        }
    audit.record(
        session, actor(), "purchases.voided", {"device": g.device.id}, held.clock.real_now()
    )
    return answer


@blueprint.get("/recent")
@cashier_only()
def recent() -> Response:
    """This cashier's last bills of today, newest first, and which can still be taken back."""
    held, language = runtime(), locale()
    now, tz = held.clock.now(), held.clock.tz
    rows = db().scalars(
        select(Purchase)
        .where(
            Purchase.cashier_id == g.cashier.id,
            Purchase.recorded_at >= start_of_day(local_day(now, tz), tz),
        )
        .order_by(Purchase.id.desc())
        .limit(RECENT)
    )
    bills = [
        {
            "purchase": row.public_id,
            "at": f"{row.recorded_at.astimezone(tz):%H:%M}",
            "amount": money(language, row.amount_satang),
            "points": row.points,
            "is_voided": row.state == PurchaseState.VOIDED,
            "can_void": row.state == PurchaseState.RECORDED
            and now - row.recorded_at <= timedelta(minutes=10),
        }
        for row in rows
    ]
    alone = db().scalars(
        select(Redemption)
        .where(
            Redemption.cashier_id == g.cashier.id,
            Redemption.purchase_id.is_(None),
            Redemption.at >= start_of_day(local_day(now, tz), tz),
        )
        .order_by(Redemption.id.desc())
        .limit(RECENT)
    )
    uses = [
        {
            "redemption": row.public_id,
            "at": f"{row.at.astimezone(tz):%H:%M}",
            "amount": money(language, row.discount_satang),
            "is_voided": row.reversed_at is not None,
            "can_void": row.reversed_at is None and now - row.at <= timedelta(minutes=10),
        }
        for row in alone
    ]
    return jsonify(bills=bills, uses=uses)
