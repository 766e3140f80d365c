"""Who is at the till: scanned, typed or looked up; walk-ins; proving a phone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response, g, jsonify
from sqlalchemy import select

from core.clock import local_day
from core.errors import Invalid, Refused
from core.i18n import day, money, t
from core.ids import MEMBER_DIGITS, is_member_number
from core.text import western_digits
from loyalty import audit, codes, coupons, members, merging, personal, points, stamps, tiers
from models.coupons import CodePurpose, CouponKind, Voucher
from models.members import Member, MemberTotals
from models.tiers import MemberTier, Tier
from web.auth import cashier_only
from web.cashier.ground import actor, blueprint, given, holder, once, one_of_ours, text_of
from web.ground import db, locale, runtime

LOOK_UPS_AN_HOUR = 30
TYPED_LIMIT = 500
NUMBER_DIGITS = MEMBER_DIGITS + 1


@blueprint.post("/scan")
@cashier_only()
def scan() -> Response:
    """What was scanned or typed: a member to earn for, or a voucher now held for this till."""
    text = text_of(given(), "text", TYPED_LIMIT)
    digits = "".join(western_digits(text).split()).replace("-", "")
    if is_member_number(digits):
        return jsonify(_member_answer(members.of_number(db(), digits), is_masked=True))
    if len(digits) == NUMBER_DIGITS and digits.isascii() and digits.isdigit():
        raise members.UnknownMember("cashiers.number_slip")  # a digit is wrong: no phone has nine
    if (e164 := members.parse_phone(text)) is not None:
        return _by_phone(e164)
    return _by_code(text)


def _by_code(text: str) -> Response:
    held = runtime()
    parsed = codes.parse(held.settings.secret_key, text)
    seen = codes.scan(
        db(), parsed, holder(), held.clock.now(), held.clock.real_now(), held.clock.tz
    )
    answer = _member_answer(seen.member, is_masked=seen.purpose == CodePurpose.CARD)
    if seen.purpose == CodePurpose.IDENTIFY:
        answer["hold"] = seen.hold_id
    if seen.voucher is not None:
        answer |= {"kind": "voucher", "voucher": _voucher_json(seen.voucher, seen.hold_id)}
    return jsonify(answer)


def _by_phone(e164: Any) -> Response:
    """Looked up by phone: masked, limited to 30 an hour, and always written down (K4, AK9)."""
    real = runtime().clock.real_now()
    count = audit.count(db(), actor(), "members.looked_up", real - timedelta(hours=1))
    if count >= LOOK_UPS_AN_HOUR:
        raise Refused("errors.too_many", status=429, minutes=60)
    found = members.by_phone(db(), runtime().vault, e164)
    facts = {"device": g.device.id, "found": found is not None}
    audit.record(db(), actor(), "members.looked_up", facts, real)
    if found is None:
        # Answered, not raised: the look-up must be counted either way.
        response = jsonify(
            code="members.unknown", message=t(locale(), "cashiers.phone_unknown"), can_walk_in=True
        )
        response.status_code = 404
        return response
    return jsonify(_member_answer(found, is_masked=True))


def _member_answer(member: Member, *, is_masked: bool) -> dict[str, Any]:
    session, now, language = db(), runtime().clock.now(), locale()
    balance = points.balance_of(session, member.id, now)
    totals = session.get_one(MemberTotals, member.id)
    name = members.shown_name(member) or t(language, "members.nameless")
    return {
        "kind": "member",
        "member": {
            "id": member.public_id,
            "name": members.masked(name) if is_masked else name,
            "picture": None if is_masked else member.picture_url,
            "is_masked": is_masked,
            "level": t(language, f"levels.{totals.level.value}"),
            "tier": _tier(member.id, is_thai=language == "th"),
            "percent_off": tiers.percent_off_of(session, member.id, now),
            "points": balance.available,
            "debt": balance.debt,
            "stamps": [
                {
                    "name": card.program.name_th if language == "th" else card.program.name_en,
                    "filled": card.filled,
                    "size": card.size,
                }
                for card in stamps.cards_of(session, member.id, now)
            ],
            "last_visit": day(language, local_day(totals.last_purchase_at, runtime().clock.tz))
            if totals.last_purchase_at
            else None,
            "hint": _hint(member, totals, balance.debt),
            "phone": _phone_state(member),
        },
    }


def _tier(member_id: int, *, is_thai: bool) -> str:
    tier = db().scalar(
        select(Tier)
        .join(MemberTier, MemberTier.tier_id == Tier.id)
        .where(MemberTier.member_id == member_id, Tier.is_on)
    )
    if tier is None:
        return ""
    return tier.name_th if is_thai else tier.name_en


def _phone_state(member: Member) -> str:
    if member.phone_proven_at is not None:
        return "proven"
    return "unproven" if member.phone_sealed is not None else "none"


def _hint(member: Member, totals: MemberTotals, debt: int) -> str:
    """One short thing a good assistant would know."""
    language = locale()
    if debt:
        return t(language, "cashiers.hint_debt", points=debt)
    if totals.purchase_count == 0:
        return t(language, "cashiers.hint_first")
    if member.phone_sealed is not None and member.phone_proven_at is None:
        return t(language, "cashiers.hint_phone")
    waiting = len(coupons.vouchers_of(db(), member.id, runtime().clock.now()))
    return t(language, "cashiers.hint_vouchers", count=waiting) if waiting else ""


def _voucher_json(voucher: Voucher, hold_id: str | None) -> dict[str, Any]:
    language, coupon = locale(), voucher.coupon
    thai = language == "th"
    worth = ""
    if coupon.kind == CouponKind.FREE_ITEM:
        worth = (coupon.item_th if thai else coupon.item_en) or ""
    elif coupon.kind == CouponKind.PERCENT_OFF:
        worth = f"{coupon.percent}%"
    else:
        left = voucher.left_satang if voucher.left_satang is not None else coupon.value_satang
        worth = t(language, "cashiers.baht", amount=money(language, left))
    return {
        "hold": hold_id,
        "name": coupon.name_th if thai else coupon.name_en,
        "terms": coupon.terms_th if thai else coupon.terms_en,
        "kind": coupon.kind.value,
        "worth": worth,
        "conditions": coupons.describe(db(), coupon, language),
    }


@blueprint.post("/prove")
@cashier_only()
def prove() -> Response:
    """The customer reads their phone out; if it is the one they typed, it is proven."""
    body = given()
    member = one_of_ours(db(), text_of(body, "member", 64))
    e164 = members.parse_phone(text_of(body, "phone", 64))
    if e164 is None:
        raise Invalid("errors.invalid_field", field=t(locale(), "cashiers.phone"))
    held, real = runtime(), runtime().clock.real_now()
    if personal.phone_of(db(), held.vault, member) != str(e164):
        raise Refused("cashiers.phone_differs")
    account = merging.prove_phone(db(), held.vault, member, held.clock.now(), by="cashier")
    audit.record(db(), actor(), "members.phone_proven", {"member": account.public_id}, real)
    return jsonify(_member_answer(account, is_masked=False))


@blueprint.post("/walk-in")
@cashier_only()
def walk_in() -> Response:
    """A new member known by phone, who has agreed at the till (J8)."""
    return once(_walk_in)


def _walk_in(body: dict[str, Any], _operation: str) -> dict[str, Any]:
    e164 = members.parse_phone(text_of(body, "phone", 64))
    if e164 is None:
        raise Invalid("errors.invalid_field", field=t(locale(), "cashiers.phone"))
    if body.get("consent") is not True:
        raise Invalid("cashiers.consent_needed")
    held = runtime()
    member = members.create_walk_in(
        db(),
        held.vault,
        e164=e164,
        now=held.clock.now(),
        channel="till",
        locale=locale(),
        name=text_of(body, "name", 200, is_needed=False) or None,
    )
    audit.record(
        db(), actor(), "members.walk_in", {"member": member.public_id}, held.clock.real_now()
    )
    return _member_answer(member, is_masked=False)
