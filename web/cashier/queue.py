"""What the till kept while it had no signal: its key, settling each bill once, giving one up."""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import Any

from flask import Response, current_app, g, jsonify
from sqlalchemy.orm import Session

from core.errors import Invalid, Refused
from core.i18n import money
from core.ids import MEMBER_DIGITS, is_member_number
from core.text import parse_satang, western_digits
from loyalty import audit, ceilings, checkout, codes, members, operations, queueing, shop, undoing
from models.coupons import CodePurpose
from models.members import Member
from models.staff import Cashier
from web.auth import cashier_only, public
from web.cashier.ground import (
    OPERATION,
    actor,
    blueprint,
    given,
    holder,
    manager_agrees,
    one_of_ours,
    operation_name,
    own_account_tried,
    shift_from,
    text_of,
)
from web.ground import db, locale, runtime

FIRST_YEAR, LAST_YEAR = 2000, 2200
WHO_LETTERS = 500
BY_ID = "id:"


@blueprint.get("/worker.js")
@public
def worker() -> Response:
    """The service worker, from a path that lets it look after the whole till page."""
    response = current_app.send_static_file("cashier_worker.js")
    response.headers["Service-Worker-Allowed"] = "/cashier"
    response.headers["Cache-Control"] = "no-cache"
    return response


@blueprint.get("/queue/key")
@cashier_only()
def queue_key() -> Response:
    """What the device needs to keep bills: its key, the caps, and until when this PIN holds."""
    key = queueing.key_of(runtime().settings.secret_key, g.device)
    return jsonify(
        key=base64.b64encode(key).decode("ascii"),
        device=g.device.id,
        cashier=g.cashier.id,
        until=g.shift.expires_at.isoformat(),
        bills=int(shop.get(db(), "tills.queue_bills")),
        satang=int(shop.get(db(), "tills.queue_satang")),
        hours=int(shop.get(db(), "tills.queue_hours")),
    )


@blueprint.post("/queue/settle")
@cashier_only()
def settle() -> Any:
    """Settle one kept bill. The same bill again, in any order and ever so often: the same answer."""
    if (refused := manager_agrees()) is not None:
        return refused
    return own_account_tried(_settle_once)


def _settle_once() -> Response:
    body, session, held = given(), db(), runtime()
    item = _read(body)
    queueing.refuse_forged(
        held.settings.secret_key, g.device, item.written, text_of(body, "mac", 64)
    )
    real = held.clock.real_now()
    name = operation_name(item.operation)
    print_ = hashlib.sha256(item.written.encode()).hexdigest()
    try:
        stored = operations.once(session, name, print_, real)
    except Refused as error:
        if error.code != "operations.other_body":
            raise
        # The same tap went out as an ordinary bill, and only its answer was lost.
        return jsonify(kind="settled", is_repeated=True)
    if stored is not None:
        return jsonify({**stored.answer, "is_repeated": True})
    answer = _settle(session, body, item, name)
    operations.finish(session, name, 200, answer, real)
    return jsonify(answer)


def _settle(
    session: Session, body: dict[str, Any], item: queueing.Queued, name: str
) -> dict[str, Any]:
    held = runtime()
    now, real, tz = held.clock.now(), held.clock.real_now(), held.clock.tz
    shift = queueing.shift_of(session, g.device, item.cashier_id, real)
    ceilings.lock_cashiers(session, item.cashier_id)  # before any member's row
    amount = parse_satang(item.bill)
    if not amount:
        raise Invalid("cashiers.bad_amount")
    if g.branch.needs_receipt_no and not item.receipt_no:
        raise Invalid("cashiers.receipt_needed")
    member = _member(session, item.who)
    if g.cashier.id != item.cashier_id and ceilings.is_own_account(
        session, g.cashier.id, member.id
    ):  # any cashier of this till could have signed it: the name in it proves no second person
        raise Refused("tills.queue_own", status=403)
    waited = queueing.age(item.queued_at, _moment(body, "sent_at"))
    cap = queueing.over(session, g.device, amount, waited, now=now, tz=tz)
    manager = _who_decides(item.cashier_id)
    if cap is not None and manager is None:
        raise cap
    done = checkout.confirm(
        session,
        member_id=member.id,
        branch=g.branch,
        holder=holder(),
        bill_satang=amount,
        operation_id=name,
        now=now,
        real_now=real,
        tz=tz,
        receipt_no=item.receipt_no or None,
        cashier_id=item.cashier_id,
        device_id=g.device.id,
        shift_from=None if cap is not None else shift_from(shift.opened_at),
        manager_id=manager.id if manager else None,
        queued_at=item.queued_at,
    )
    if cap is not None and manager is not None:
        ceilings.approve(
            session,
            operation_id=name,
            manager_id=manager.id,
            cashier_id=item.cashier_id,
            what=str(cap.facts["over"]),
            amount_satang=amount,
            now=now,
            real_now=real,
        )
    facts = {
        "device": g.device.id,
        "cashier": item.cashier_id,
        "amount_satang": amount,
        "minutes": int(waited.total_seconds()) // 60,
    }
    audit.record(session, actor(), "purchases.queue_settled", facts, real)
    assert done.purchase is not None
    return {
        "kind": "settled",
        "amount": money(locale(), amount),
        "points": done.purchase.points,
        "purchase": done.purchase.purchase.public_id,
    }


@blueprint.post("/queue/drop")
@cashier_only()
def drop() -> Any:
    """A manager gives up a kept bill that cannot be settled; it is written down."""
    if (refused := manager_agrees()) is not None:
        return refused
    body = given()
    item = _read(body)
    manager = _who_decides(item.cashier_id)
    if manager is None:
        raise Refused("tills.queue_needs_manager", status=403)
    facts = {
        "device": g.device.id,
        "cashier": item.cashier_id,
        "manager": manager.id,
        "amount_satang": parse_satang(item.bill) or 0,
    }
    audit.record(
        db(), f"cashier:{manager.id}", "purchases.queue_dropped", facts,
        runtime().clock.real_now(),
    )  # fmt: skip
    return jsonify(dropped=True)


def _who_decides(signed_by: int) -> Cashier | None:
    """The manager who has given their PIN, or who has this till open; never the signer."""
    chosen: Cashier | None = g.manager
    if chosen is None and undoing.is_manager(db(), g.cashier.id):
        chosen = g.cashier
    return chosen if chosen is not None and chosen.id != signed_by else None


def _read(body: dict[str, Any]) -> queueing.Queued:
    operation = text_of(body, "operation", 64)
    if not OPERATION.fullmatch(operation):
        raise Invalid("errors.invalid_field", field="operation")
    cashier_id = body.get("cashier")
    if type(cashier_id) is not int or not 0 < cashier_id < 2**62:
        raise Invalid("errors.invalid_field", field="cashier")
    who, bill = text_of(body, "who", WHO_LETTERS), text_of(body, "bill", 20)
    receipt_no = text_of(body, "receipt_no", 64, is_needed=False)
    queued_at = text_of(body, "queued_at", 40)
    return queueing.Queued(
        operation=operation,
        who=who,
        bill=bill,
        receipt_no=receipt_no,
        cashier_id=cashier_id,
        queued_at=_moment(body, "queued_at"),
        written=queueing.written(operation, who, bill, receipt_no, cashier_id, queued_at),
    )


def _moment(body: dict[str, Any], field: str) -> datetime:
    try:
        value = datetime.fromisoformat(text_of(body, field, 40))
    except ValueError:
        raise Invalid("errors.invalid_field", field=field) from None
    if value.tzinfo is None or not FIRST_YEAR <= value.year <= LAST_YEAR:
        raise Invalid("errors.invalid_field", field=field)
    return value


def _member(session: Session, who: str) -> Member:
    """The member whose number, card code or id the device has kept. No phones, no moving codes."""
    if who.startswith(BY_ID):
        found: Member = one_of_ours(session, who.removeprefix(BY_ID))
        return found
    digits = "".join(western_digits(who).split()).replace("-", "")
    if len(digits) == MEMBER_DIGITS + 1 and is_member_number(digits):
        return members.of_number(session, digits)
    held = runtime()
    parsed = codes.parse(held.settings.secret_key, who)
    if parsed.purpose != CodePurpose.CARD:
        raise Refused("codes.expired")
    member = codes.look(session, parsed, held.clock.real_now()).member
    if not member.is_member:
        raise Refused("codes.expired")
    return member
