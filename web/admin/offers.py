"""Offers: the coupons members can have. Made, changed within what was promised, closed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from typing import Any

from flask import Response, abort, make_response, render_template, request
from sqlalchemy import select

from bot.flex.coupons import value_words
from bot.theme import is_picture_url
from core.clock import last_day
from core.errors import Refused
from core.i18n import LOCALES, day, t
from core.text import clean_lines, fit, parse_whole
from loyalty import coupons
from loyalty.coupons import Conditions
from loyalty.coupons.typed import code_key
from models.coupons import CodeBatch, Coupon, CouponKind, CouponState, Obtained
from models.members import Level
from models.staff import Branch
from models.tiers import Tier
from web.admin import forms, progress
from web.admin.ground import (
    back,
    blueprint,
    freshly,
    may,
    noted,
)
from web.admin.tables import Column, Listing, found_in, listed, said, spreadsheet
from web.auth import staff_only
from web.ground import db, locale, opened, outside, runtime


def _name(coupon: Coupon) -> str:
    return coupon.name_en if locale() == "en" else coupon.name_th


COLUMNS = (
    Column("name", "console.name", Coupon.name_th, _name),
    Column("kind", "console.kind", Coupon.kind, said("coupon_kinds", lambda row: row.kind)),
    Column("obtained", "console.obtained", Coupon.obtained,
           said("obtained", lambda row: row.obtained)),
    Column("price", "console.price_points", Coupon.price_points,
           lambda row: row.price_points, "num"),
    Column("state", "console.state", Coupon.state, said("coupon_states", lambda row: row.state)),
    Column("issued", "console.issued", Coupon.issued_count, lambda row: row.issued_count, "num"),
    Column("redeemed", "console.redeemed", Coupon.redeemed_count,
           lambda row: row.redeemed_count, "num"),
    Column("made", "console.made_at", Coupon.created_at, lambda row: row.created_at, "moment"),
)  # fmt: skip
CHOICES = tuple(Obtained)
HOURS = range(25)
WINDOWS = 2
LEVELS = tuple(Level)
#: What was promised with the vouchers that are out.
PROMISED = ("kind", "value_satang", "percent", "max_satang", "keeps_change")
_KEY = re.compile(r"[a-z0-9_]{2,40}")
_CODE = re.compile(r"[A-Z0-9]{4,40}", re.ASCII)
#: A calendar that a shop could mean; further out, moments cannot be kept in every zone.


@blueprint.get("/offers")
@staff_only("offers.read")
def offers() -> str:
    """Every offer with what became of it."""
    return render_template(
        "admin/offers.html",
        table=OFFERS.page(),
        states=CouponState,
        choices=CHOICES,
        chosen={name: request.args.get(name, "") for name in ("state", "obtained")},
    )


def _offers() -> Any:
    query = found_in(select(Coupon), Coupon.name_th, Coupon.name_en, Coupon.key)
    state, obtained = request.args.get("state", ""), request.args.get("obtained", "")
    if state in set(CouponState):
        query = query.where(Coupon.state == CouponState(state))
    if obtained in set(Obtained):
        query = query.where(Coupon.obtained == Obtained(obtained))
    return query


OFFERS = listed(
    Listing("/offers", COLUMNS, _offers, "made", Coupon.id, "offers.read", shape=lambda row: row[0])
)


@blueprint.get("/offers/new")
@staff_only("offers.edit")
def offer_new() -> str:
    """An empty form."""
    return _form(None, {}, {})


@blueprint.get("/offers/<int:offer_id>")
@staff_only("offers.read")
def offer(offer_id: int) -> str:
    """One offer in its form."""
    coupon = _coupon(offer_id)
    return _form(coupon, _values_of(coupon), {})


@blueprint.post("/offers/new")
@staff_only("offers.edit")
def offer_create() -> Any:
    """Make an offer; wrong fields come back with what to do."""
    fields, wrong = _read()
    if wrong:
        return _again(None, wrong)
    coupon = Coupon(created_at=runtime().clock.now(), **fields)
    db().add(coupon)
    db().flush()  # the key may be taken; the id is noted
    noted("offers.created", offer=coupon.id)
    return back("admin.offers", note="console.saved")


@blueprint.post("/offers/<int:offer_id>")
@staff_only("offers.edit")
def offer_save(offer_id: int) -> Any:
    """Change an offer. Units never go below what was issued (FG15); what was promised stays."""
    coupon = db().get(Coupon, offer_id, with_for_update=True)
    if coupon is None:
        abort(404)
    try:
        forms.refuse_if_changed(_values_of(coupon))
    except forms.ChangedMeanwhile as error:
        page = _form(coupon, _values_of(coupon), {}, t(locale(), error.code))
        return make_response(page, error.status)
    fields, wrong = _read(coupon)
    total = fields.get("total_units")
    if total is not None and total < coupon.issued_count:
        issued = coupon.issued_count
        wrong["total_units"] = t(locale(), "coupons.units_below_issued", issued=issued)
    if coupon.issued_count and not wrong:
        changed = [name for name in PROMISED if fields[name] != getattr(coupon, name)]
        wrong |= {"kind": t(locale(), "coupons.promised")} if changed else {}
    if wrong:
        return _again(coupon, wrong)
    for name, value in fields.items():
        setattr(coupon, name, value)
    noted("offers.changed", offer=coupon.id)
    return back("admin.offers", note="console.saved")


@blueprint.post("/offers/preview")
@staff_only("offers.edit")
def offer_preview() -> str:
    """The chat card as it would look with what the form says so far."""
    fields, _wrong = _read()
    facts = {"name_th": "…", "name_en": "…", "kind": CouponKind.BAHT_OFF, "value_satang": 0}
    facts |= {"obtained": Obtained.CLAIM, "conditions": {}, "per_member": 1, "min_bill_satang": 0}
    coupon = Coupon(**(facts | {"issued_count": 0, "spent_satang": 0} | fields))
    return render_template("admin/offer_preview.html", **_preview(coupon))


def _preview(coupon: Coupon) -> dict[str, Any]:
    """What the preview shows, in both languages."""
    shown = {
        language: {
            "name": coupon.name_en if language == "en" else coupon.name_th,
            "value": value_words(
                coupon.kind.value,
                language,
                amount_satang=coupon.value_satang,
                percent=coupon.percent,
                max_satang=coupon.max_satang,
            ),
            "item": (coupon.item_en if language == "en" else coupon.item_th) or "",
            "terms": (coupon.terms_en if language == "en" else coupon.terms_th) or "",
            "conditions": coupons.describe(db(), coupon, language),
            "left": t(language, "coupons.left", count=coupon.left, left=coupon.left)
            if coupon.left is not None
            else "",
            "until": t(
                language,
                "coupons.until",
                day=day(language, last_day(coupon.ends_at, runtime().clock.tz)),
            )
            if coupon.ends_at
            else "",
        }
        for language in LOCALES
    }
    return {"shown": shown}


@blueprint.post("/offers/<int:offer_id>/withdraw")
@staff_only("vouchers.withdraw")
def offer_withdraw(offer_id: int) -> Any:
    """Close an offer and take its unused vouchers away (FG16); points paid for them go back."""
    held = runtime()
    gone = coupons.withdraw(db(), _coupon(offer_id), now=held.clock.now(), tz=held.clock.tz)
    noted("offers.withdrawn", offer=offer_id, vouchers=gone)
    return back("admin.offer", note="console.saved", offer_id=offer_id)


# Typed codes


def _batches() -> Any:
    """An offer's batches; its file is asked for with the offer in the query."""
    asked = request.args.get("offer_id", type=parse_whole)
    chosen = (request.view_args or {}).get("offer_id") or asked
    return found_in(coupons.batches(chosen), CodeBatch.label)


def _batch_state(view: coupons.BatchView) -> str:
    return view.state(runtime().clock.now())


BATCHES = listed(
    Listing(
        "/codes",
        (
            Column("label", "console.label", CodeBatch.label, lambda view: view.batch.label),
            Column("state", "console.state", None,
                   lambda view: t(locale(), f"batch_states.{_batch_state(view)}")),
            Column("used", "console.redeemed", None, lambda view: view.used, "num"),
            Column("size", "console.size", CodeBatch.size, lambda view: view.batch.size, "num"),
            Column("made", "console.made_at", CodeBatch.created_at,
                   lambda view: view.batch.created_at, "moment"),
            Column("ends", "console.ends_on", CodeBatch.ends_at,
                   lambda view: view.batch.ends_at, "moment"),
            Column("acts", ""),
        ),
        _batches,
        "made",
        CodeBatch.id.desc(),
        "offers.read",
        shape=lambda row: coupons.BatchView(*row),
    )
)  # fmt: skip


@blueprint.get("/offers/<int:offer_id>/codes")
@staff_only("offers.read")
def codes_page(offer_id: int) -> str:
    """The batches of generated codes of an offer."""
    return _codes(_coupon(offer_id), "")


def _codes(coupon: Coupon, refusal: str) -> str:
    return render_template(
        "admin/codes.html",
        coupon=coupon,
        table=BATCHES.page(),
        state_of=_batch_state,
        refusal=refusal,
        values=request.form,
    )


@blueprint.post("/offers/<int:offer_id>/codes")
@staff_only("offers.edit")
@outside
def codes_make(offer_id: int) -> Any:
    """Generate a batch."""
    try:
        size = forms.whole("size", "console.size", 1, 1_000_000)
        make = partial(
            _make_codes,
            offer_id,
            size,
            forms.words("label", "console.label"),
            forms.maybe_moment("ends_on", "console.ends_on", is_end=True),
        )
        return progress.shown(make)
    except Refused as error:
        with opened(is_reading=True):
            page = _codes(_coupon(offer_id), t(locale(), error.code, **error.facts))
        return make_response(page, error.status)


def _make_codes(
    offer_id: int, size: int, label: str, ends_at: datetime | None, told: progress.Told
) -> Response:
    with opened() as session:
        batch = coupons.make_batch(
            session,
            _coupon(offer_id).id,
            label,
            size,
            runtime().clock.now(),
            ends_at=ends_at,
            told=lambda made: told("progress.codes", made, size),
        )
        noted("codes.made", batch=batch.id, offer=offer_id, size=size)
    return back("admin.codes_page", note="console.saved", offer_id=offer_id)


@blueprint.post("/codes/<int:batch_id>/void")
@staff_only("offers.edit")
def codes_void(batch_id: int) -> Any:
    """End a batch."""
    batch = coupons.void_batch(db(), batch_id, runtime().clock.now())
    noted("codes.voided", batch=batch_id)
    return back("admin.codes_page", note="console.saved", offer_id=batch.coupon_id)


@blueprint.post("/codes/<int:batch_id>/export")
@staff_only("offers.edit")
@freshly
@outside
def codes_export(batch_id: int) -> Response:
    """The list for the printer: once for everybody, again by right; each time written down."""
    with opened(is_reading=True) as session:
        codes = coupons.codes_of(session, batch_id)
        rows = [("code", "used"), *((code, int(used)) for code, used in codes)]
    with opened() as session:
        may_again, now = may("codes.export_again"), runtime().clock.now()
        batch = coupons.take_export(session, batch_id, now, may_again=may_again)
        noted("codes.exported", batch=batch_id, count=batch.size)
    return spreadsheet(rows, f"codes-{batch_id}.csv")


def _coupon(offer_id: int) -> Coupon:
    coupon = db().get(Coupon, offer_id)
    if coupon is None:
        abort(404)
    return coupon


def _read(coupon: Coupon | None = None) -> tuple[dict[str, Any], dict[str, str]]:
    """The form's fields as columns, and beside each that cannot be read what to do about it."""
    form, wrong = request.form, dict[str, str]()
    fields: dict[str, Any] = {}

    def read(column: str, field: str, find: Callable[[], Any]) -> Any:
        try:
            fields[column] = find()
        except Refused as error:
            wrong[field] = t(locale(), error.code, **error.facts)
        return fields.get(column)

    kind = read(
        "kind",
        "kind",
        lambda: CouponKind(forms.choice("kind", "console.kind", [one.value for one in CouponKind])),
    )
    obtained = read(
        "obtained",
        "obtained",
        lambda: Obtained(forms.choice("obtained", "console.obtained", [o.value for o in CHOICES])),
    )
    read(
        "state",
        "state",
        lambda: CouponState(forms.choice("state", "console.state", [o.value for o in CouponState])),
    )
    read("name_th", "name_th", partial(forms.words, "name_th", "console.name_th"))
    english = partial(forms.words, "name_en", "console.name_en", needed=False)
    read("name_en", "name_en", lambda: english() or fields.get("name_th", ""))
    read("key", "key", lambda: _key(coupon, fields.get("name_en", "")))
    for name in ("terms_th", "terms_en"):
        fields[name] = clean_lines(form.get(name, ""), 500)
    for name in ("item_th", "item_en"):
        fields[name] = fit(form.get(name, ""), 100) or None
    has_value = kind in (CouponKind.CASH, CouponKind.BAHT_OFF)
    read(
        "value_satang",
        "value",
        lambda: (forms.money if has_value else forms.maybe_money)("value", "console.value") or 0,
    )
    is_percent = kind == CouponKind.PERCENT_OFF
    read(
        "percent",
        "percent",
        lambda: (forms.whole if is_percent else forms.maybe_whole)(
            "percent", "console.percent", 1, 100
        ),
    )
    # At most nothing would be a coupon that takes nothing off: no most is meant.
    read("max_satang", "max", lambda: forms.maybe_money("max", "console.max") or None)
    fields["keeps_change"] = kind == CouponKind.CASH and form.get("keeps_change") == "1"
    fields["is_stackable"] = form.get("is_stackable") == "1"
    is_reward = obtained == Obtained.POINTS
    read(
        "price_points",
        "price_points",
        lambda: (forms.whole if is_reward else forms.maybe_whole)(
            "price_points", "console.price_points", 1, 10**7
        ),
    )
    read("typed_code", "typed_code", lambda: _typed_code(coupon, obtained))
    read("picture_url", "picture_url", _picture)
    read(
        "min_bill_satang",
        "min_bill",
        lambda: forms.maybe_money("min_bill", "console.min_bill") or 0,
    )
    read(
        "total_units",
        "total_units",
        lambda: forms.maybe_whole("total_units", "console.total_units", 0, 10**7),
    )
    read(
        "per_member",
        "per_member",
        lambda: forms.maybe_whole("per_member", "console.per_member", 1, 10**4) or 1,
    )
    read("per_day", "per_day", lambda: forms.maybe_whole("per_day", "console.per_day", 1, 10**7))
    read("budget_satang", "budget", lambda: forms.maybe_money("budget", "console.budget"))
    read(
        "valid_days",
        "valid_days",
        lambda: forms.maybe_whole("valid_days", "console.valid_days", 1, 3650),
    )
    starts_at = read(
        "starts_at", "starts_on", lambda: forms.maybe_moment("starts_on", "console.starts_on")
    )
    ends_at = read(
        "ends_at", "ends_on", lambda: forms.maybe_moment("ends_on", "console.ends_on", is_end=True)
    )
    if starts_at and ends_at and ends_at <= starts_at:
        wrong["ends_on"] = t(locale(), "coupons.ends_before_start")
    if fields.get("budget_satang") is not None and not wrong:
        # Without a most, nobody could say how much of the budget a voucher may still need.
        needed = "max" if is_percent else "value"
        if not fields["max_satang" if is_percent else "value_satang"]:
            wrong[needed] = t(locale(), "coupons.budget_needs_value")
    read("conditions", "conditions", _conditions)
    return fields, wrong


def _key(coupon: Coupon | None, name: str) -> str:
    """What other systems call the offer; made of its name where nobody cares."""
    key = request.form.get("key", "").strip() or (coupon.key if coupon else _free_key(name))
    if not _KEY.fullmatch(key):
        raise forms.bad("console.key")
    taken = db().scalar(select(Coupon.id).where(Coupon.key == key))
    if taken is not None and (coupon is None or taken != coupon.id):
        raise Refused("coupons.key_taken")
    return key


def _free_key(name: str) -> str:
    stem = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:30] or "coupon"
    stem = stem if len(stem) > 1 else f"coupon_{stem}"
    taken = set(
        db().scalars(select(Coupon.key).where(Coupon.key.startswith(stem, autoescape=True)))
    )
    numbered = (f"{stem}_{number}" for number in count(2))
    return stem if stem not in taken else next(key for key in numbered if key not in taken)


def _typed_code(coupon: Coupon | None, obtained: Obtained | None) -> str | None:
    """The offer's own code; every other letter is one that can be typed."""
    typed = code_key(request.form.get("typed_code", ""))[:64]
    if not typed or obtained != Obtained.CODE:
        return None
    if not _CODE.fullmatch(typed):
        raise forms.bad("console.typed_code")
    taken = db().scalar(select(Coupon.id).where(Coupon.typed_code == typed))
    if taken is not None and (coupon is None or taken != coupon.id):
        raise Refused("coupons.code_taken")
    return typed


def _picture() -> str | None:
    url = request.form.get("picture_url", "").strip()[:2000]
    if url and not is_picture_url(url):
        raise forms.bad("console.picture_url")
    return url or None


def _conditions() -> dict[str, Any]:
    form = request.form
    hours = []
    for place in range(WINDOWS):
        start, end = form.get(f"from_{place}", ""), form.get(f"to_{place}", "")
        if not start and not end:
            continue
        first, last = parse_whole(start), parse_whole(end)
        if first is None or last is None or first > 23 or last > 24 or first == last:
            raise forms.bad("console.hours")
        hours.append((first, last))
    days = [parse_whole(one) for one in form.getlist("weekdays")]
    if any(one is None or one > 6 for one in days):
        raise forms.bad("console.weekdays")
    return Conditions(
        branches=tuple(
            forms.choices("branches", "console.branches", db().scalars(select(Branch.code)))
        ),
        weekdays=tuple(sorted({one for one in days if one is not None})),
        hours=tuple(hours),
        levels=tuple(forms.choices("levels", "console.levels", [one.value for one in LEVELS])),
        tiers=tuple(forms.choices("tiers", "console.tiers", db().scalars(select(Tier.key)))),
        is_first_purchase=form.get("first_purchase") == "1",
        is_timed_claim=form.get("timed_claim") == "1",
    ).stored()


def _values_of(coupon: Coupon) -> dict[str, Any]:
    tz = runtime().clock.tz
    baht = lambda satang: f"{satang / 100:.2f}".rstrip("0").rstrip(".") if satang else ""  # noqa: E731
    ends = coupon.ends_at.astimezone(tz).date() - timedelta(days=1) if coupon.ends_at else ""
    plain = """key name_th name_en terms_th terms_en percent item_th item_en price_points
        total_units per_member per_day valid_days typed_code picture_url""".split()
    wanted = Conditions.of(coupon)
    hours = {
        f"{name}_{place}": value
        for place, span in enumerate(wanted.hours[:WINDOWS])
        for name, value in zip(("from", "to"), span, strict=True)
    }
    return {
        **{name: getattr(coupon, name) for name in plain},
        **hours,
        "kind": coupon.kind.value,
        "obtained": coupon.obtained.value,
        "state": coupon.state.value,
        "value": baht(coupon.value_satang),
        "max": baht(coupon.max_satang),
        "min_bill": baht(coupon.min_bill_satang),
        "budget": "0" if coupon.budget_satang == 0 else baht(coupon.budget_satang),
        "starts_on": coupon.starts_at.astimezone(tz).date() if coupon.starts_at else "",
        "ends_on": ends,
        "keeps_change": "1" if coupon.keeps_change else "",
        "is_stackable": "1" if coupon.is_stackable else "",
        "weekdays": [str(one) for one in wanted.weekdays],
        "branches": list(wanted.branches),
        "levels": list(wanted.levels),
        "tiers": list(wanted.tiers),
        "first_purchase": "1" if wanted.is_first_purchase else "",
        "timed_claim": "1" if wanted.is_timed_claim else "",
    }


def _form(
    coupon: Coupon | None, values: dict[str, Any], wrong: dict[str, str], refusal: str = ""
) -> str:
    return render_template(
        "admin/offer.html",
        coupon=coupon,
        values=values,
        wrong=wrong,
        refusal=refusal,
        seen=forms.mark_of(_values_of(coupon)) if coupon else "",
        kinds=list(CouponKind),
        choices=CHOICES,
        states=list(CouponState),
        hours=HOURS,
        windows=range(WINDOWS),
        branches=db().scalars(select(Branch).order_by(Branch.id)).all(),
        tiers=db().scalars(select(Tier).order_by(Tier.threshold)).all(),
        levels=LEVELS,
        **(_preview(coupon) if coupon else {"shown": None}),
    )


def _again(coupon: Coupon | None, wrong: dict[str, str]) -> Response:
    """The form as it was filled, with what to put right beside each field."""
    values: dict[str, Any] = dict(request.form)
    for name in ("weekdays", "branches", "levels", "tiers"):
        values[name] = request.form.getlist(name)
    is_clash = {t(locale(), code) for code in ("coupons.key_taken", "coupons.code_taken")}
    status = 409 if is_clash & set(wrong.values()) or "total_units" in wrong else 422
    return make_response(_form(coupon, values, wrong), status)
