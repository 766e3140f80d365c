"""Members for till software: look up by number, phone or code, and make walk-ins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from flask import Response, jsonify, request
from pydantic import Field
from sqlalchemy.orm import Session

from core.errors import Invalid, NotFound, Refused
from loyalty import audit, codes, coupons, members, points, stamps, tiers
from loyalty.members import UnknownMember
from models.coupons import CodePurpose
from models.members import Member
from web import looks
from web.api.ground import Body, Short, blueprint, body_of, holder, note_refused, once
from web.auth import api_scope
from web.ground import db, outside, runtime

#: A key may serve many tills; a till's own cashier is allowed 30.
LOOK_UPS_AN_HOUR = 120
LOOKED_UP = "members.looked_up"


class WalkIn(Body):
    """A customer known by phone; `consent` says that they agreed to membership at the till."""

    phone: Short
    name: Annotated[str, Field(max_length=200)] | None = None
    consent: bool
    locale: Annotated[str, Field(pattern="^(th|en)$")] = "th"


@blueprint.get("/members/<string:member_no>")
@api_scope("members.read")
def by_number(member_no: str) -> Response:
    """One member by number; 404 for any other."""
    return jsonify(as_json(db(), members.of_number(db(), member_no[:32])))


@blueprint.get("/members")
@api_scope("members.read")
@outside
def look_up() -> Response:
    """One member by proven phone or by scanned code; looking is no scan."""
    phone, code = request.args.get("phone"), request.args.get("code")
    if (phone is None) == (code is None):
        raise Invalid("errors.invalid_field", field="phone, code", status=400)
    if code is not None:
        return jsonify(_by_code(code[:500]))
    with runtime().transaction() as session:
        answer = _by_phone(session, phone or "")
    if answer is None:
        raise UnknownMember
    return jsonify(answer)


def _by_code(code: str) -> dict[str, Any]:
    """Whose code this is; a look-up finds one object or answers 404, whatever is wrong with it."""
    try:
        parsed = codes.parse(runtime().settings.secret_key, code)
        with runtime().database.read() as session:
            seen = codes.look(session, parsed, runtime().clock.real_now())
            is_card = seen.purpose == CodePurpose.CARD
            return as_json(session, seen.member, is_masked=is_card)
    except Refused as error:
        raise NotFound(error.code) from error


def _by_phone(session: Session, text: str) -> dict[str, Any] | None:
    """Looked up by phone: limited, and written down whether anybody was found or not (K4)."""
    real = runtime().clock.real_now()
    _refuse_too_many(session, real)
    e164 = members.parse_phone(text[:64])
    found = members.by_phone(session, runtime().vault, e164) if e164 else None
    answer = as_json(session, found, is_masked=True) if found is not None else None
    audit.record(session, holder(), LOOKED_UP, {"found": found is not None}, real)
    return answer


def _refuse_too_many(session: Session, real_now: datetime) -> None:
    since = real_now - timedelta(hours=1)
    if audit.count(session, holder(), LOOKED_UP, since) >= LOOK_UPS_AN_HOUR:
        raise Refused("errors.too_many", status=429, minutes=60)


def of_phone(text: str) -> Member:
    """The member who has proven this phone; UnknownMember otherwise, which counts as a look-up."""
    _refuse_too_many(db(), runtime().clock.real_now())
    e164 = members.parse_phone(text[:64])
    found = members.by_phone(db(), runtime().vault, e164) if e164 else None
    if found is None:
        note_refused(LOOKED_UP, found=False)
        raise UnknownMember
    return found


@blueprint.post("/members")
@api_scope("members.write")
@once(201)
def create() -> dict[str, Any]:
    """A walk-in: known by phone only, consent recorded by staff."""
    body = body_of(WalkIn)
    e164 = members.parse_phone(body.phone)
    if e164 is None:
        raise Invalid("errors.invalid_field", field="phone")
    if not body.consent:
        raise Invalid("errors.invalid_field", field="consent")
    member = members.create_walk_in(
        db(),
        runtime().vault,
        e164=e164,
        now=runtime().clock.now(),
        name=body.name,
        channel="api",
        locale=body.locale,
    )
    return as_json(db(), member)


def as_json(session: Session, member: Member, *, is_masked: bool = False) -> dict[str, Any]:
    """A member as the API shows one. Found by phone or card, the name is masked."""
    now = runtime().clock.now()
    balance = points.balance_of(session, member.id, now)
    name = members.shown_name(member)
    looks.keep(holder(), member.id, "members.read")
    tier = tiers.tier_of(session, member.id, now)
    return {
        "member_no": member.member_no,
        "name": members.masked(name) if is_masked else name,
        "locale": member.locale,
        "joined_at": member.joined_at.isoformat() if member.joined_at else None,
        "tier": {"key": tier.key, "percent_off": tier.percent_off or 0} if tier else None,
        "points": {
            "balance": balance.balance,
            "available": balance.available,
            "pending": balance.pending,
            "debt": balance.debt,
        },
        "stamps": [
            {"program": card.program.key, "filled": card.filled, "size": card.program.size}
            for card in stamps.cards_of(session, member.id, now)
        ],
        "vouchers": len(coupons.vouchers_of(session, member.id, now)),
    }
