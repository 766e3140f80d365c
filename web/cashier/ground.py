"""What every till route shares: who is at which device, and operation ids made on the device."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from flask import Blueprint, Response, g, jsonify, request
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import Invalid, NotFound, Refused
from core.i18n import LOCALES
from core.ids import token_hash
from core.text import parse_satang, western_digits
from loyalty import audit, ceilings, operations, people
from models.staff import Branch, Cashier, CashierSession, Device
from web import errors
from web.auth import Access, SignInNeeded, resolver
from web.ground import db, runtime
from web.security import read_cookie

log = structlog.get_logger("web")
blueprint = Blueprint("cashier", __name__, url_prefix="/cashier")
IDLE = timedelta(minutes=30)
SHIFT = timedelta(hours=12)
SEEN_EVERY = timedelta(minutes=1)
#: The field of a tap that carries a manager's PIN.
APPROVAL = "approval"
LANGUAGE_COOKIE = "taem_till_language"
OWN_ACCOUNT = ("cashiers.own_account", "tills.queue_own")
OPERATION = re.compile(r"[0-9A-Za-z-]{8,64}")


def till_locale() -> str | None:
    """The language that was chosen on this till."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    return chosen if chosen in LOCALES else None


class NoDevice(SignInNeeded):
    """This browser is no till, or no longer."""

    code = "cashiers.no_device"


class NoPin(SignInNeeded):
    """Nobody has opened this till, or too long ago."""

    code = "cashiers.no_pin"


@resolver("cashier")
def _admit(access: Access) -> None:
    """Device and cashier of this request, checked against the rows each time (Z23)."""
    device = device_of(db())
    if device is None:
        raise NoDevice
    g.device = device
    g.branch = db().get_one(Branch, device.branch_id)
    g.cashier = cashier_of(db(), device)
    if access.needs_pin and g.cashier is None:
        raise NoPin


def device_of(session: Session) -> Device | None:
    """The enrolled till that this browser is."""
    token = read_cookie(runtime().settings, "device")
    if not token:
        return None
    return session.scalar(
        select(Device)
        .join(Branch, Branch.id == Device.branch_id)
        .where(
            Device.token_hash == token_hash(token), Device.revoked_at.is_(None), Branch.is_active
        )
    )


def cashier_of(session: Session, device: Device) -> Cashier | None:
    """Who has opened this till with a PIN; None when it is closed, idle or over."""
    token = read_cookie(runtime().settings, "cashier")
    held = session.get(CashierSession, token_hash(token)) if token else None
    real = runtime().clock.real_now()
    if held is None or held.device_id != device.id or held.closed_at is not None:
        return None
    if held.expires_at <= real or held.last_seen_at < real - IDLE:
        return None
    cashier = session.get(Cashier, held.cashier_id)
    if cashier is None or not cashier.is_active or cashier.branch_id != device.branch_id:
        return None
    if request.method == "POST" and real - held.last_seen_at > SEEN_EVERY:
        held.last_seen_at = real
        device.last_seen_at = real
    g.shift = held
    return cashier


def shift_from(opened_at: datetime | None = None) -> datetime:
    """When this shift began, on the shop's clock (the demo moves that, never a session's)."""
    clock = runtime().clock
    return (opened_at or g.shift.opened_at) + (clock.now() - clock.real_now())


def holder() -> str:
    """Who holds a code scanned here."""
    return f"device:{g.device.id}"


def actor() -> str:
    """Who does what is written to the audit chain."""
    return f"cashier:{g.cashier.id}"


def given() -> dict[str, Any]:
    """The request's JSON object."""
    body = request.get_json(silent=True)
    if not isinstance(body, dict):
        raise Invalid("errors.invalid_field", field="body")
    return body


def text_of(body: dict[str, Any], name: str, limit: int, *, is_needed: bool = True) -> str:
    """A text field; Invalid when it is missing, no text or too long."""
    value = body.get(name)
    if value is None and not is_needed:
        return ""
    if not isinstance(value, str) or len(value) > limit or (is_needed and not value.strip()):
        raise Invalid("errors.invalid_field", field=name)
    return value.strip()


def texts_of(body: dict[str, Any], name: str, limit: int) -> list[str]:
    """A short list of texts."""
    value = body.get(name, [])
    if not isinstance(value, list) or len(value) > limit:
        raise Invalid("errors.invalid_field", field=name)
    if not all(isinstance(one, str) and 0 < len(one) <= 64 for one in value):
        raise Invalid("errors.invalid_field", field=name)
    return value


def bill_of(body: dict[str, Any]) -> int:
    """The bill as typed, in satang."""
    value = parse_satang(text_of(body, "bill", 20, is_needed=False))
    if not value:
        raise Invalid("cashiers.bad_amount")
    return value


def operation_name(operation: str) -> str:
    """An operation id of this device, as it is kept."""
    return f"device:{g.device.id}:{operation}"


def manager_agrees() -> Response | None:
    """Check the manager's PIN that came with this tap, if one did: `g.manager` is who agreed.

    A wrong PIN is answered, not raised, because its count must be committed (AK5). The PIN is no
    part of what is remembered of the tap.
    """
    g.manager = None
    approval = given().get(APPROVAL)
    if approval is None:
        return None
    if not isinstance(approval, dict):
        raise Invalid("errors.invalid_field", field=APPROVAL)
    refusal = check_manager(approval)
    if refusal is None:
        return None
    # 403: the till itself is open, and 401 would send the page to its own PIN.
    status = 403 if refusal.status == 401 else refusal.status
    return errors.answer(status, refusal.code, refusal.facts)


def check_manager(approval: Mapping[str, Any]) -> Refused | None:
    """Check `manager` and `pin`; the refusal of a wrong PIN is returned, its count kept."""
    chosen = western_digits(str(approval.get("manager", ""))[:18])
    pin = str(approval.get("pin", ""))[:12]
    manager_id = int(chosen) if chosen.isascii() and chosen.isdigit() else 0
    locked = ceilings.lock_cashiers(db(), g.cashier.id, manager_id)
    found = next((one for one in locked if one.id == manager_id), None)
    manager = ceilings.refuse_approver(db(), found, g.cashier)
    refusal = people.try_pin(db(), manager, pin, runtime().clock.real_now())
    if refusal is None:
        g.manager = manager
    return refusal


def own_account_tried(act: Callable[[], Response]) -> Any:
    """Do it; a try at one's own account is answered, not raised: it must be written down (AK1)."""
    savepoint = db().begin_nested()
    try:
        answer = act()
    except Refused as error:
        savepoint.rollback()
        if error.code not in OWN_ACCOUNT:
            raise
        db().info.pop("activities", None)
        facts = {"device": g.device.id}
        audit.record(db(), actor(), "purchases.own_account", facts, runtime().clock.real_now())
        log.warning("own_account_tried")
        return errors.answer(error.status, error.code, error.facts)
    savepoint.commit()
    return answer


def once(act: Callable[[dict[str, Any], str], dict[str, Any]]) -> Response:
    """Do a tap once: the same operation id gets the same receipt, marked as repeated (K3).

    Nothing is stored of a refusal: it did nothing, and the next try may succeed.
    """
    body = given()
    operation = text_of(body, "operation", 64)
    if not OPERATION.fullmatch(operation):
        raise Invalid("errors.invalid_field", field="operation")
    name = operation_name(operation)
    told = {key: value for key, value in body.items() if key != APPROVAL}
    print_ = hashlib.sha256(
        f"{request.path}\n{json.dumps(told, sort_keys=True, ensure_ascii=True)}".encode()
    ).hexdigest()
    now = runtime().clock.real_now()
    stored = operations.once(db(), name, print_, now)
    if stored is not None:
        return jsonify({**stored.answer, "is_repeated": True})
    answer = act(body, name)
    operations.finish(db(), name, 200, answer, now)
    return jsonify(answer)


def one_of_ours(session: Session, public_id: str) -> Any:
    """The joined member of this public id; the till learns nothing of others (FQ17: TX2)."""
    from loyalty import members

    member = members.by_public_id(session, public_id)
    if member is None or not member.is_member:
        raise NotFound("codes.expired", status=409)
    return member
