"""Offers: the coupons members can have. Made, changed within what was promised, closed."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from typing import Any

from flask import Response, abort, make_response, render_template, request
from sqlalchemy import or_, select

from core.clock import start_of_day
from core.errors import Invalid, Refused
from core.i18n import t
from core.text import clean, clean_lines, parse_satang, parse_whole
from models.coupons import Coupon, CouponKind, CouponState, Obtained
from web.admin.ground import Column, back, blueprint, escaped, noted, search_text, table_of
from web.auth import staff_only
from web.ground import db, locale, runtime

COLUMNS = (
    Column("name", "console.name", Coupon.name_th),
    Column("kind", "console.kind", Coupon.kind),
    Column("obtained", "console.obtained", Coupon.obtained),
    Column("state", "console.state", Coupon.state),
    Column("issued", "console.issued", Coupon.issued_count),
    Column("redeemed", "console.redeemed", Coupon.redeemed_count),
    Column("made", "console.made_at", Coupon.created_at),
)
#: What a person may choose; the others come from journeys, stamps and later issues.
CHOICES = (Obtained.CLAIM, Obtained.POINTS, Obtained.JOURNEY, Obtained.STAMPS)
_KEY = re.compile(r"[a-z0-9_]{2,40}")
#: A calendar that a shop could mean; further out, moments cannot be kept in every zone.
FIRST_YEAR, LAST_YEAR = 2000, 2200


@blueprint.get("/offers")
@staff_only("offers.read")
def offers() -> str:
    """Every offer with what became of it."""
    query = select(Coupon)
    if text := search_text():
        like = f"%{escaped(text)}%"
        query = query.where(
            or_(Coupon.name_th.ilike(like, escape="\\"), Coupon.name_en.ilike(like, escape="\\"))
        )
    table = table_of(query, COLUMNS, default="made", tie=Coupon.id, shape=lambda row: row[0])
    return render_template("admin/offers.html", table=table)


@blueprint.get("/offers/new")
@staff_only("offers.edit")
def offer_new() -> str:
    """An empty form."""
    return _form(None, {}, "")


@blueprint.get("/offers/<int:offer_id>")
@staff_only("offers.read")
def offer(offer_id: int) -> str:
    """One offer in its form."""
    coupon = _coupon(offer_id)
    return _form(coupon, _values_of(coupon), "")


@blueprint.post("/offers/new")
@staff_only("offers.edit")
def offer_create() -> Any:
    """Make an offer; wrong fields come back with what to do."""
    try:
        fields = _read()
    except Refused as error:
        return _again(None, error)
    coupon = Coupon(created_at=runtime().clock.now(), **fields)
    db().add(coupon)
    db().flush()  # the key may be taken; the id is noted
    noted("offers.created", offer=coupon.id)
    return back("admin.offers", note="console.saved")


@blueprint.post("/offers/<int:offer_id>")
@staff_only("offers.edit")
def offer_save(offer_id: int) -> Any:
    """Change an offer. Units never go below what was issued (FG15)."""
    coupon = db().get(Coupon, offer_id, with_for_update=True)
    if coupon is None:
        abort(404)
    try:
        fields = _read(coupon)
        total = fields["total_units"]
        if total is not None and total < coupon.issued_count:
            raise Refused("coupons.units_below_issued", issued=coupon.issued_count)
    except Refused as error:
        return _again(coupon, error)
    for name, value in fields.items():
        setattr(coupon, name, value)
    noted("offers.changed", offer=coupon.id)
    return back("admin.offers", note="console.saved")


def _coupon(offer_id: int) -> Coupon:
    coupon = db().get(Coupon, offer_id)
    if coupon is None:
        abort(404)
    return coupon


def _read(coupon: Coupon | None = None) -> dict[str, Any]:
    """The form's fields as columns; Invalid names the first that cannot be read."""
    form = request.form
    kind = CouponKind(_choice("kind", [one.value for one in CouponKind]))
    obtained = Obtained(_choice("obtained", [one.value for one in CHOICES]))
    key = form.get("key", "").strip() or (coupon.key if coupon else "")
    if not _KEY.fullmatch(key):
        raise _bad("console.key")
    taken = db().scalar(select(Coupon.id).where(Coupon.key == key))
    if taken is not None and (coupon is None or taken != coupon.id):
        raise Refused("coupons.key_taken")
    starts_at, ends_at = _day("starts_on"), _day("ends_on", is_end=True)
    if starts_at and ends_at and ends_at <= starts_at:
        raise Invalid("coupons.ends_before_start")
    return {
        "key": key,
        "kind": kind,
        "obtained": obtained,
        "state": CouponState(_choice("state", [one.value for one in CouponState])),
        "name_th": _words("name_th", 100),
        "name_en": _words("name_en", 100),
        "terms_th": clean_lines(form.get("terms_th", ""), 500),
        "terms_en": clean_lines(form.get("terms_en", ""), 500),
        "value_satang": _money("value", needed=kind in (CouponKind.CASH, CouponKind.BAHT_OFF)) or 0,
        "percent": _whole("percent", 1, 100, needed=kind == CouponKind.PERCENT_OFF),
        "max_satang": _money("max"),
        "item_th": clean(form.get("item_th", ""), 100) or None,
        "item_en": clean(form.get("item_en", ""), 100) or None,
        "keeps_change": kind == CouponKind.CASH and form.get("keeps_change") == "1",
        "price_points": _whole("price_points", 1, 10_000_000, needed=obtained == Obtained.POINTS),
        "min_bill_satang": _money("min_bill") or 0,
        "total_units": _whole("total_units", 0, 10_000_000),
        "per_member": _whole("per_member", 1, 10_000) or 1,
        "valid_days": _whole("valid_days", 1, 3650),
        "starts_at": starts_at,
        "ends_at": ends_at,
        "is_stackable": form.get("is_stackable") == "1",
    }


def _choice(field: str, values: list[str]) -> str:
    chosen = request.form.get(field, "")
    if chosen not in values:
        raise _bad(f"console.{field}")
    return chosen


def _words(field: str, limit: int) -> str:
    words = clean(request.form.get(field, ""), limit)
    if not words:
        raise _bad(f"console.{field}")
    return words


def _whole(field: str, least: int, most: int, *, needed: bool = False) -> int | None:
    text = request.form.get(field, "").strip()
    if not text and not needed:
        return None
    value = parse_whole(text)
    if value is None or not least <= value <= most:
        raise _bad(f"console.{field}")
    return value


def _money(field: str, *, needed: bool = False) -> int | None:
    text = request.form.get(field, "").strip()
    if not text and not needed:
        return None
    value = parse_satang(text)
    if value is None or (needed and value == 0):
        raise _bad(f"console.{field}")
    return value


def _day(field: str, *, is_end: bool = False) -> datetime | None:
    """A local day as a moment; an end is exclusive: midnight after its day."""
    text = request.form.get(field, "").strip()
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise _bad(f"console.{field}") from None
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise _bad(f"console.{field}")
    return start_of_day(day + timedelta(days=1 if is_end else 0), runtime().clock.tz)


def _bad(words: str) -> Invalid:
    return Invalid("errors.invalid_field", field=t(locale(), words))


def _values_of(coupon: Coupon) -> dict[str, Any]:
    tz = runtime().clock.tz
    baht = lambda satang: f"{satang / 100:.2f}".rstrip("0").rstrip(".") if satang else ""  # noqa: E731
    ends = coupon.ends_at.astimezone(tz).date() - timedelta(days=1) if coupon.ends_at else ""
    return {
        **{
            name: getattr(coupon, name)
            for name in (
                "key",
                "name_th",
                "name_en",
                "terms_th",
                "terms_en",
                "percent",
                "item_th",
                "item_en",
                "price_points",
                "total_units",
                "per_member",
                "valid_days",
            )
        },
        "kind": coupon.kind.value,
        "obtained": coupon.obtained.value,
        "state": coupon.state.value,
        "value": baht(coupon.value_satang),
        "max": baht(coupon.max_satang),
        "min_bill": baht(coupon.min_bill_satang),
        "starts_on": coupon.starts_at.astimezone(tz).date() if coupon.starts_at else "",
        "ends_on": ends,
        "keeps_change": "1" if coupon.keeps_change else "",
        "is_stackable": "1" if coupon.is_stackable else "",
    }


def _form(coupon: Coupon | None, values: dict[str, Any], refusal: str) -> str:
    return render_template(
        "admin/offer.html",
        coupon=coupon,
        values=values,
        refusal=refusal,
        kinds=list(CouponKind),
        choices=CHOICES,
        states=list(CouponState),
    )


def _again(coupon: Coupon | None, error: Refused) -> Response:
    """The form as it was filled, with what to put right."""
    page = _form(coupon, dict(request.form), t(locale(), error.code, **error.facts))
    return make_response(page, error.status)
