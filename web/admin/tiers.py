"""Tiers: the ladder, its rules, what each step brings, who stands where, and tiers set by hand."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import func, select

from core.clock import last_day
from core.errors import Invalid, Refused
from core.i18n import t
from core.text import clean
from loyalty import shop, tier_gifts, tiers
from loyalty.tiers import NO_TIER
from models.coupons import Coupon, CouponState, Obtained
from models.members import Member, MemberTotals, StageChange
from models.menus import Menu
from models.tiers import MemberTier, Tier
from web.admin import forms
from web.admin.ground import back, blueprint, noted
from web.admin.members import matching, member_of
from web.admin.tables import Column, Listing, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

COLUMNS = (
    Column("name", "console.name", Member.name, lambda row: row[0].shown_name),
    Column("number", "console.number", Member.member_no, lambda row: row[0].member_no, "mono"),
    Column("tier", "console.tier", Tier.threshold,
           lambda row: row[3].name_en if locale() == "en" else row[3].name_th),
    Column("since", "console.tier_since", MemberTier.since, lambda row: row[2].since, "moment"),
    Column("until", "console.tier_until", MemberTier.holds_until, lambda row: row[4], "day"),
    Column("spent", "console.spent", MemberTotals.spent_satang,
           lambda row: row[1].spent_satang, "money"),
)  # fmt: skip
_KEY = re.compile(r"[a-z0-9_]{2,40}")
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
HIGHEST = 10_000_000_000
REASON_LETTERS = 200
LONGEST_HOLD = 60
HISTORY = 10


@blueprint.get("/tiers")
@staff_only("tiers.read")
def tiers_page() -> str:
    """The ladder with its rules, and who stands on it."""
    return _page("")


def _page(refusal: str) -> str:
    session = db()
    steps = session.scalars(select(Tier).order_by(Tier.threshold)).all()
    by_tier = select(MemberTier.tier_id, func.count().label("members"))
    counts = {
        row.tier_id: row.members for row in session.execute(by_tier.group_by(MemberTier.tier_id))
    }
    return render_template(
        "admin/tiers.html",
        steps=steps,
        counts=counts,
        rules=tiers.rules_of(session),
        table=STANDING.page(),
        wanted=request.args.get("tier", ""),
        gifts={tier.id: tier_gifts.entry_coupons(session, tier) for tier in steps},
        refusal=refusal,
    )


def _shown(row: Any) -> tuple[Any, ...]:
    """A row with the last day of its hold, as people say it."""
    member, totals, standing, step = row
    return member, totals, standing, step, last_day(standing.holds_until, runtime().clock.tz)


def _standing() -> Any:
    query = (
        select(Member, MemberTotals, MemberTier, Tier)
        .join(MemberTotals, MemberTotals.member_id == Member.id)
        .join(MemberTier, MemberTier.member_id == Member.id)
        .join(Tier, Tier.id == MemberTier.tier_id)
    )
    if wanted := request.args.get("tier", ""):
        query = query.where(Tier.key == wanted)
    return matching(query)


STANDING = listed(
    Listing("/tiers", COLUMNS, _standing, "since", Member.id, "lists.export", shape=_shown)
)


@blueprint.post("/tiers/rules")
@staff_only("tiers.edit")
def tier_rules() -> Any:
    """What counts, in which window, how long a tier is held and how one falls."""
    try:
        values = {
            "basis": forms.choice("basis", "tiers.basis", ["spend", "points"]),
            "window": forms.choice("window", "tiers.window", ["rolling", "year"]),
            "hold_months": forms.whole("hold_months", "tiers.hold_months", 1, LONGEST_HOLD),
            "fall": forms.choice("fall", "tiers.fall", ["one_step", "to_earned"]),
        }
    except Refused as error:
        return _refused(_page(t(locale(), error.code, **error.facts)), error)
    for name, value in values.items():
        shop.set(db(), f"tiers.{name}", value, runtime().clock.now())
    noted("tiers.rules_changed", **values)
    return back("admin.tiers_page", note="console.saved")


@blueprint.get("/tiers/new")
@staff_only("tiers.edit")
def tier_new() -> str:
    """An empty form."""
    return _form(None, {"earn_percent": "100", "colour": "#8A8F98", "is_on": "1"}, "")


@blueprint.get("/tiers/<int:tier_id>")
@staff_only("tiers.read")
def tier(tier_id: int) -> str:
    """One tier in its form."""
    found = db().get(Tier, tier_id) or abort(404)
    return _form(found, _values_of(found), "")


@blueprint.post("/tiers/new")
@staff_only("tiers.edit")
def tier_create() -> Any:
    """Make a tier; wrong fields come back with what to do."""
    try:
        fields = _read(None)
    except Refused as error:
        return _refused(_form(None, _typed(), t(locale(), error.code, **error.facts)), error)
    made = Tier(created_at=runtime().clock.now(), **fields)
    db().add(made)
    db().flush()  # the id is noted
    noted("tiers.created", tier=made.key)
    return back("admin.tiers_page", note="console.saved")


@blueprint.post("/tiers/<int:tier_id>")
@staff_only("tiers.edit")
def tier_save(tier_id: int) -> Any:
    """Change a tier. Who qualifies by new figures has it the next night, or with their next bill."""
    found = db().get(Tier, tier_id, with_for_update=True) or abort(404)
    try:
        forms.refuse_if_changed(_values_of(found))
        fields = _read(found)
    except forms.ChangedMeanwhile as error:
        return _refused(_form(found, _values_of(found), t(locale(), error.code)), error)
    except Refused as error:
        return _refused(_form(found, _typed(), t(locale(), error.code, **error.facts)), error)
    for name, value in fields.items():
        setattr(found, name, value)
    noted("tiers.changed", tier=found.key)
    return back("admin.tiers_page", note="console.saved")


@blueprint.post("/members/<string:public_id>/tier")
@staff_only("tiers.set")
def member_tier(public_id: str) -> Response:
    """Put a member into a tier by hand until a day, with the reason."""
    person = member_of(public_id)
    chosen = db().scalar(select(Tier).where(Tier.key == request.form.get("tier", ""), Tier.is_on))
    if chosen is None or not person.is_member:
        raise forms.bad("console.tier")
    until = forms.maybe_day("until", "console.tier_until")
    reason = forms.words("reason", "console.reason", REASON_LETTERS)
    if until is None:
        raise forms.bad("console.tier_until")
    held = runtime()
    tier_gifts.set_by_hand(
        db(), person.id, chosen, until, reason=reason, staff_id=g.staff.id,
        now=held.clock.now(), tz=held.clock.tz,
    )  # fmt: skip
    noted("tiers.set", member=person.public_id, tier=chosen.key, until=until.isoformat())
    return back("admin.member", note="console.saved", public_id=public_id)


@blueprint.post("/members/<string:public_id>/tier/end")
@staff_only("tiers.set")
def member_tier_end(public_id: str) -> Response:
    """End what was set by hand: the member has what they have earned."""
    person, held = member_of(public_id), runtime()
    tier_gifts.end_by_hand(db(), person.id, held.clock.now(), held.clock.tz)
    noted("tiers.hand_ended", member=person.public_id)
    return back("admin.member", note="console.saved", public_id=public_id)


def standing_of(member: Member) -> dict[str, Any]:
    """What the member's page shows of their tier: progress, choices, history."""
    held = runtime()
    changes = db().scalars(
        select(StageChange)
        .where(StageChange.member_id == member.id, StageChange.field == "tier")
        .order_by(StageChange.id.desc())
        .limit(HISTORY)
    )
    steps = tiers.ladder_of(db())
    names = {one.key: one.name_en if locale() == "en" else one.name_th for one in steps}
    names[NO_TIER] = t(locale(), "tiers.none")
    return {
        "progress": tiers.progress_of(db(), member.id, held.clock.now(), held.clock.tz),
        "steps": steps,
        "changes": [(row, names.get(row.after, row.after)) for row in changes],
    }


def _form(found: Tier | None, values: dict[str, Any], refusal: str) -> str:
    live = (
        db()
        .scalars(
            select(Coupon)
            .where(Coupon.state == CouponState.LIVE)
            .order_by(Coupon.name_th, Coupon.id)
        )
        .all()
    )
    return render_template(
        "admin/tier.html",
        tier=found,
        values=values,
        seen=forms.mark_of(_values_of(found)) if found else "",
        refusal=refusal,
        basis=tiers.rules_of(db()).basis.value,
        entry=[one for one in live if one.obtained == Obtained.TIER],
        birthday=[one for one in live if one.obtained == Obtained.JOURNEY],
        codes=[one for one in live if one.obtained == Obtained.CODE and one.typed_code],
        menus=db().scalars(select(Menu).order_by(Menu.priority)).all(),
    )


def _refused(page: str, error: Refused) -> Response:
    return make_response(page, error.status if error.status in (409, 422) else 422)


def _typed() -> dict[str, Any]:
    values: dict[str, Any] = dict(request.form.items())
    values["entry_coupons"] = request.form.getlist("entry_coupons")
    return values


def _values_of(found: Tier) -> dict[str, Any]:
    benefits = found.benefits
    baht = found.threshold // 100 if tiers.rules_of(db()).basis == "spend" else found.threshold
    return {
        "key": found.key,
        "name_th": found.name_th,
        "name_en": found.name_en,
        "threshold": str(baht),
        "earn_percent": str(found.earn_percent),
        "percent_off": str(found.percent_off or ""),
        "colour": found.colour,
        "is_on": "1" if found.is_on else "",
        "entry_coupons": benefits.get("entry_coupons") or [],
        "birthday_coupon": benefits.get("birthday_coupon") or "",
        "code_coupon": benefits.get("code_coupon") or "",
        "menu": benefits.get("menu") or "",
        "early_days": str(benefits.get("early_days") or ""),
    }


def _read(found: Tier | None) -> dict[str, Any]:
    """The form's fields as columns; Invalid names the first that cannot be read."""
    key = request.form.get("key", "").strip() if found is None else found.key
    if not _KEY.fullmatch(key) or key == NO_TIER:
        raise forms.bad("console.key")
    threshold = forms.whole("threshold", "tiers.threshold", 1, HIGHEST)
    if tiers.rules_of(db()).basis == "spend":
        threshold *= 100
    others = select(Tier.id).where((Tier.key == key) | (Tier.threshold == threshold))
    if any(found is None or other != found.id for other in db().scalars(others)):
        raise Refused("tiers.taken", status=409)
    colour = request.form.get("colour", "")
    if not _COLOUR.fullmatch(colour):
        raise forms.bad("tiers.colour")
    return {
        "key": key,
        "name_th": forms.words("name_th", "console.name_th"),
        "name_en": forms.words("name_en", "console.name_en"),
        "threshold": threshold,
        "earn_percent": forms.whole("earn_percent", "tiers.earn_percent", 100, 1000),
        "percent_off": forms.maybe_whole("percent_off", "tiers.percent_off", 1, 90),
        "colour": colour.upper(),
        "is_on": request.form.get("is_on") == "1",
        "benefits": _benefits(key),
    }


def _benefits(key: str) -> dict[str, Any]:
    entry = [_coupon(one, Obtained.TIER).key for one in request.form.getlist("entry_coupons")]
    benefits: dict[str, Any] = {"entry_coupons": entry}
    if birthday := clean(request.form.get("birthday_coupon", ""), 64):
        benefits["birthday_coupon"] = _coupon(birthday, Obtained.JOURNEY).key
    if code := clean(request.form.get("code_coupon", ""), 64):
        coupon = _coupon(code, Obtained.CODE)
        wanted = list(coupon.conditions.get("tiers") or [])
        if key not in wanted:  # a code of the tier works for its members, and for nobody else
            coupon.conditions = {**coupon.conditions, "tiers": [*wanted, key]}
        benefits["code_coupon"] = coupon.key
    if menu := clean(request.form.get("menu", ""), 64):
        if db().scalar(select(Menu.id).where(Menu.key == menu)) is None:
            raise forms.bad("console.menu")
        benefits["menu"] = menu
    if early := forms.maybe_whole("early_days", "tiers.early_days", 1, 60):
        benefits["early_days"] = early
    return benefits


def _coupon(key: str, obtained: Obtained) -> Coupon:
    coupon = db().scalar(select(Coupon).where(Coupon.key == key, Coupon.obtained == obtained))
    if coupon is None:
        raise Invalid("errors.invalid_field", field=t(locale(), "tiers.coupon"))
    return coupon
