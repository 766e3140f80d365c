"""The bill: what vouchers take off, one confirm, the receipt, and taking it back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from flask import Response, g, jsonify, request
from sqlalchemy import select

from core.clock import start_of_day
from core.errors import Invalid, NotFound, Refused
from core.i18n import moment, money, t
from loyalty import (
    audit,
    ceilings,
    checkout,
    codes,
    coupons,
    members,
    purchases,
    shifts,
    shop,
    tiers,
    undoing,
)
from models.coupons import Redemption, Voucher
from models.members import Member
from models.purchases import Purchase, PurchaseState
from models.staff import Cashier
from web.auth import cashier_only
from web.cashier.ground import (
    actor,
    bill_of,
    blueprint,
    given,
    holder,
    manager_agrees,
    once,
    one_of_ours,
    own_account_tried,
    shift_from,
    text_of,
    texts_of,
)
from web.cashier.reports import day_of
from web.ground import db, locale, runtime

MAX_VOUCHERS = 10
RECENT = 20
BRANCH_RECENT = 200


@blueprint.post("/quote")
@cashier_only()
def quote() -> Response:
    """Exactly what the held vouchers take off this bill, one after the other."""
    body = given()
    bill = bill_of(body)
    held, left, lines = runtime(), bill, []
    if known := text_of(body, "member", 64, is_needed=False):
        member = one_of_ours(db(), known)
        left -= checkout.tier_discount(db(), member.id, bill, held.clock.now())
    before: list[Voucher] = []
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
            beside=before,
        )
        before.append(scan.voucher)
        left -= off.satang
        stays = coupons.left_words(off.left_satang)
        line = {"hold": hold, "off": money(locale(), off.satang)}
        lines.append(line | ({"left": stays.in_(locale())} if stays else {}))
    return jsonify(lines=lines, bill=money(locale(), bill), pay=money(locale(), left))


@blueprint.post("/release")
@cashier_only()
def release() -> Response:
    """Give scanned vouchers back: the customer changed their mind."""
    for hold in texts_of(given(), "holds", MAX_VOUCHERS):
        codes.release(db(), hold, holder(), runtime().clock.real_now())
    return jsonify(released=True)


@blueprint.post("/confirm")
@cashier_only()
def confirm() -> Any:
    """The bill and its vouchers in one step; the same tap again gives the same receipt."""
    if (refused := manager_agrees()) is not None:
        return refused
    return own_account_tried(lambda: once(_confirm))


def _confirm(body: dict[str, Any], operation: str) -> dict[str, Any]:
    held, session = runtime(), db()
    now, real = held.clock.now(), held.clock.real_now()
    ceilings.lock_cashiers(session, g.cashier.id)  # before any member's row
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
        shift_from=shift_from(),
        manager_id=g.manager.id if g.manager else None,
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
        "vouchers": _tier_line(done, member)
        + [
            {
                "name": one.voucher.coupon.name_th if thai else one.voucher.coupon.name_en,
                "off": money(language, one.discount_satang) if one.discount_satang else "",
                "item": (one.voucher.coupon.item_th if thai else one.voucher.coupon.item_en) or "✓",
                "left": stays.in_(language)
                if (stays := coupons.left_words(one.voucher.left_satang))
                else "",
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
            "rules": [
                {"name": extra.name_th if thai else extra.name_en, "points": extra.points}
                for extra in result.extras
            ],
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


def _tier_line(done: checkout.CheckoutResult, member: Member) -> list[dict[str, Any]]:
    """What the member's tier took off, as the receipt's first line."""
    if not done.tier_off_satang:
        return []
    tier = tiers.tier_of(db(), member.id, runtime().clock.now())
    name = "" if tier is None else tier.name_th if locale() == "th" else tier.name_en
    said = t(locale(), "tiers.receipt", tier=name)
    return [{"name": said, "off": money(locale(), done.tier_off_satang)}]


@blueprint.post("/void")
@cashier_only()
def void() -> Response:
    """Take back a bill with everything it did, or one voucher's use; once."""
    if (refused := manager_agrees()) is not None:
        return refused
    return once(_void)


def _void(body: dict[str, Any], operation: str) -> dict[str, Any]:
    held, session, language = runtime(), db(), locale()
    ceilings.lock_cashiers(session, g.cashier.id)
    undone_row = _of_this_branch(body)
    needs_manager = _needs_manager(undone_row)
    approved_by = g.manager.id if g.manager else None
    if needs_manager and approved_by is None:
        minutes = int(shop.get(session, "purchases.void_minutes"))
        raise Refused("purchases.needs_manager", status=403, minutes=minutes)
    facts: dict[str, Any] = {"device": g.device.id}
    if isinstance(undone_row, Purchase):
        done = purchases.return_purchase(
            session,
            purchase_public_id=undone_row.public_id,
            operation_id=operation,
            now=held.clock.now(),
            tz=held.clock.tz,
            cashier_id=g.cashier.id,
            approved_by=approved_by,
        )
        satang = done.purchase_return.amount_satang
        facts |= {"purchase": undone_row.id, "amount_satang": satang}
        answer = {
            "kind": "voided",
            "amount": money(language, satang),
            "points": abs(done.points),
            "debt": done.debt,
            "available": done.available,
        }
    else:
        undone = codes.reverse_redemption(
            session,
            redemption_public_id=undone_row.public_id,
            operation_id=operation,
            now=held.clock.now(),
            tz=held.clock.tz,
            cashier_id=g.cashier.id,
            approved_by=approved_by,
        )
        satang = undone.redemption.discount_satang
        facts |= {"redemption": undone_row.id, "amount_satang": satang}
        answer = {
            "kind": "voided",
            "amount": money(language, satang),
            "points": 0,
            "debt": 0,
            "is_voucher_back": undone.is_voucher_back,
        }
    if needs_manager and approved_by is not None:
        ceilings.approve(
            session,
            operation_id=operation,
            manager_id=approved_by,
            cashier_id=g.cashier.id,
            what="void",
            amount_satang=satang,
            now=held.clock.now(),
            real_now=held.clock.real_now(),
        )
    audit.record(session, actor(), "purchases.voided", facts, held.clock.real_now())
    return answer


def _of_this_branch(body: dict[str, Any]) -> Purchase | Redemption:
    """The bill or the use of a voucher that is to be taken back; other branches' are unknown."""
    bill_id = text_of(body, "purchase", 64, is_needed=False)
    if bill_id:
        bill = db().scalar(select(Purchase).where(Purchase.public_id == bill_id))
        if bill is None or bill.branch_id != g.branch.id:
            raise NotFound("purchases.not_found")
        return bill
    use_id = text_of(body, "redemption", 64)
    use = db().scalar(select(Redemption).where(Redemption.public_id == use_id))
    if use is None or use.branch_id != g.branch.id:
        raise NotFound("coupons.redemption_not_found")
    return use


def _needs_manager(row: Purchase | Redemption) -> bool:
    """Own bills of this shift, for ten minutes; anything else is a manager's (K6, AK4)."""
    if undoing.is_manager(db(), g.cashier.id):
        return False
    done_at = row.recorded_at if isinstance(row, Purchase) else row.at
    return not _is_mine_and_fresh(row.cashier_id, done_at)


def _is_mine_and_fresh(done_by: int | None, done_at: datetime) -> bool:
    minutes = int(shop.get(db(), "purchases.void_minutes"))
    age = runtime().clock.now() - done_at
    is_fresh = done_at >= shift_from() and age <= timedelta(minutes=minutes)
    return done_by == g.cashier.id and is_fresh


@blueprint.get("/recent")
@cashier_only()
def recent() -> Response:
    """Today's bills, newest first, and whose PIN takes each of them back.

    A cashier sees their own; a manager those of the whole branch, of any day (`?day=`).
    """
    held, language = runtime(), locale()
    tz = held.clock.tz
    is_manager = undoing.is_manager(db(), g.cashier.id)
    day = day_of(request.args.get("day", "") if is_manager else "")
    since, until = start_of_day(day, tz), start_of_day(day + timedelta(days=1), tz)
    at_till = [one.id for one in shifts.cashiers_at(db(), g.branch.id, since, until)]
    whose = at_till if is_manager else [g.cashier.id]
    names = {one.id: one.name for one in db().scalars(select(Cashier).where(Cashier.id.in_(whose)))}
    rows = db().scalars(
        select(Purchase)
        .where(
            Purchase.cashier_id.in_(whose),
            Purchase.branch_id == g.branch.id,
            Purchase.recorded_at >= since,
            Purchase.recorded_at < until,
        )
        .order_by(Purchase.id.desc())
        .limit(BRANCH_RECENT if is_manager else RECENT)
    )
    alone = db().scalars(
        select(Redemption)
        .where(
            Redemption.cashier_id.in_(whose),
            Redemption.branch_id == g.branch.id,
            Redemption.purchase_id.is_(None),
            Redemption.at >= since,
            Redemption.at < until,
        )
        .order_by(Redemption.id.desc())
        .limit(BRANCH_RECENT if is_manager else RECENT)
    )

    def line(row: Purchase | Redemption, at: datetime, satang: int, *, is_void: bool) -> Any:
        return {
            "at": f"{at.astimezone(tz):%H:%M}",
            "amount": money(language, satang),
            "who": names.get(row.cashier_id or 0, "") if is_manager else "",
            "is_voided": is_void,
            "can_void": not is_void and (is_manager or _is_mine_and_fresh(row.cashier_id, at)),
            "needs_manager": not is_void
            and not is_manager
            and not _is_mine_and_fresh(row.cashier_id, at),
        }

    bills = [
        {
            "purchase": row.public_id,
            "points": row.points,
            "receipt_no": row.receipt_no or "",
            "is_queued": row.queued_at is not None,
            **line(
                row,
                row.recorded_at,
                row.amount_satang,
                is_void=row.state == PurchaseState.VOIDED,
            ),
        }
        for row in rows
    ]
    uses = [
        {
            "redemption": row.public_id,
            **line(row, row.at, row.discount_satang, is_void=row.reversed_at is not None),
        }
        for row in alone
    ]
    return jsonify(bills=bills, uses=uses)
