"""Stamp programmes: made, changed as new versions, seen as members will see their cards."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, abort, make_response, render_template, request
from sqlalchemy import select

from bot import stamp_card
from bot.stamp_card import DESIGNS, Face
from core.errors import Refused
from core.i18n import t
from loyalty import stamps
from loyalty.stamps import Plan
from models.coupons import Coupon, CouponState, Obtained
from models.staff import Branch
from models.stamps import CardExpiry, StampProgram, StampRule
from web.admin import forms
from web.admin.ground import back, blueprint, noted
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale

_KEY = re.compile(r"[a-z0-9_]{2,40}")
#: Prizes on the way that a form has room for, besides the goal.
PRIZE_ROWS = 6
PREVIEW_LETTERS = 60


@dataclass(frozen=True)
class Line:
    """A programme in its current version, with its prizes and the cards of every version."""

    program: StampProgram
    prizes: Sequence[stamps.Prize]
    cards: Mapping[str, int]

    @property
    def name(self) -> str:
        return self.program.name_en if locale() == "en" else self.program.name_th

    @property
    def prize_words(self) -> str:
        """What is won at which stamp."""
        names = [
            one.coupon.name_en if locale() == "en" else one.coupon.name_th for one in self.prizes
        ]
        return ", ".join(
            f"{one.at_stamp} → {name}" for one, name in zip(self.prizes, names, strict=True)
        )


def _shown(row: Any) -> Line:
    program = row[0]
    counts: Counter[str] = Counter()
    for by_state in stamps.cards_by_version(db(), program.key).values():
        counts.update(by_state)
    return Line(program, stamps.prizes_of(db(), program), counts)


def _cards(state: str) -> Callable[[Line], int]:
    return lambda line: line.cards.get(state, 0)


PROGRAMS = listed(
    Listing(
        "/stamps",
        (
            Column("name", "console.name", StampProgram.name_th, lambda line: line.name),
            Column("rule", "stamps.rule", StampProgram.rule,
                   lambda line: t(locale(), f"stamps.rule_{line.program.rule.value}")),
            Column("size", "stamps.stamps", StampProgram.size, lambda line: line.program.size,
                   "num"),
            Column("prizes", "stamps.prizes", None, lambda line: line.prize_words),
            Column("open", "stamps.sum_open", None, _cards("open"), "num"),
            Column("full", "stamps.sum_full", None, _cards("full"), "num"),
            Column("expired", "stamps.sum_expired", None, _cards("expired"), "num"),
            Column("version", "stamps.version_no", StampProgram.version,
                   lambda line: line.program.version, "num"),
            Column("on", "console.state", StampProgram.is_on,
                   lambda line: t(locale(), f"console.{'on' if line.program.is_on else 'off'}")),
        ),
        lambda: found_in(
            select(StampProgram).where(StampProgram.is_current),
            StampProgram.name_th, StampProgram.name_en, StampProgram.key,
        ),
        "name",
        StampProgram.id,
        "stamps.read",
        is_down=False,
        shape=_shown,
    )
)  # fmt: skip


@blueprint.get("/stamps")
@staff_only("stamps.read")
def stamps_page() -> str:
    """Every programme in its current version, with its cards."""
    return render_template("admin/stamps.html", table=PROGRAMS.page())


@blueprint.get("/stamps/new")
@staff_only("stamps.edit")
def stamp_program_new() -> str:
    """An empty form."""
    return _form(None, {"size": "10", "rule": "per_visit", "expiry": "never", "design": "classic",
                        "prizes": []}, "")  # fmt: skip


@blueprint.get("/stamps/<string:key>")
@staff_only("stamps.read")
def stamp_program(key: str) -> str:
    """The current version in its form, with the versions before."""
    program = _current(key)
    return _form(program, _values_of(stamps.plan_of(db(), program)), "")


@blueprint.post("/stamps/new")
@staff_only("stamps.edit")
def stamp_program_create() -> Any:
    """Make a programme; wrong fields come back with what to do."""
    try:
        key = request.form.get("key", "").strip()
        if not _KEY.fullmatch(key):
            raise forms.bad("console.key")
        made = stamps.create_program(db(), key, _read())
    except Refused as error:
        return _refused(None, error)
    noted("stamps.created", program=made.key)
    return back("admin.stamps_page", note="console.saved")


@blueprint.post("/stamps/<string:key>")
@staff_only("stamps.edit")
def stamp_program_save(key: str) -> Any:
    """Save as the next version; cards under way finish under theirs."""
    program = _current(key)
    try:
        if request.form.get("version") != str(program.version):
            raise Refused("stamps.changed_meanwhile", status=409)
        made = stamps.save_program(db(), program, _read())
    except Refused as error:
        return _refused(program, error)
    noted("stamps.changed", program=made.key, version=made.version)
    return back("admin.stamps_page", note="console.saved")


@blueprint.post("/stamps/<string:key>/<any(on, off):what>")
@staff_only("stamps.edit")
def stamp_program_switch(key: str, what: str) -> Response:
    """Start or stop a programme."""
    program = _current(key)
    stamps.switch(db(), program, is_on=what == "on")
    noted("stamps.switched", program=program.key, is_on=program.is_on)
    return back("admin.stamps_page", note="console.saved")


@blueprint.get("/stamps/preview/<string:design>.png")
@staff_only("stamps.read")
def stamp_preview(design: str) -> Response:
    """How a card of this design would look: `size`, `prizes` and `title` from the address."""
    if design not in DESIGNS:
        abort(404)
    size = min(50, max(1, request.args.get("size", 10, type=int) or 10))
    filled = size * 3 // 5
    places = {one for one in request.args.get("prizes", "").split(",") if one.isascii()}
    prizes = {int(one) for one in places if one.isdigit() and len(one) < 3} | {size}
    face = Face(
        title=request.args.get("title", "")[:PREVIEW_LETTERS] or t(locale(), "stamps.title"),
        count=t(locale(), "stamps.progress", filled=filled, size=size),
        filled=filled,
        size=size,
        prizes_at=tuple(sorted(prizes)),
        design=design,
    )
    response = Response(stamp_card.draw(face), mimetype="image/png")
    response.headers["Cache-Control"] = "private, max-age=300"
    return response


def _current(key: str) -> StampProgram:
    found = select(StampProgram).where(StampProgram.key == key, StampProgram.is_current)
    return db().scalar(found) or abort(404)


def _form(program: StampProgram | None, values: dict[str, Any], refusal: str) -> str:
    session = db()
    size = values.get("size") or "10"
    prizes = values.get("prizes") or []
    rows = prizes + [("", "")] * (PRIZE_ROWS + 1 - len(prizes))
    return render_template(
        "admin/stamp_program.html",
        program=program,
        values=values,
        prize_rows=rows,
        preview={"size": size, "prizes": ",".join(str(at) for at, _ in prizes if at),
                 "title": values.get("name_th" if locale() == "th" else "name_en") or ""},
        refusal=refusal,
        designs=list(DESIGNS),
        rules=list(StampRule),
        expiries=list(CardExpiry),
        coupons=_prize_coupons(),
        branches=session.scalars(select(Branch).order_by(Branch.code)).all(),
        versions=stamps.versions_of(session, program.key) if program else (),
        counts=stamps.cards_by_version(session, program.key) if program else {},
    )  # fmt: skip


def _prize_coupons() -> list[Coupon]:
    live = select(Coupon).where(
        Coupon.state == CouponState.LIVE, Coupon.obtained == Obtained.STAMPS
    )
    return list(db().scalars(live.order_by(Coupon.name_th, Coupon.id)))


def _refused(program: StampProgram | None, error: Refused) -> Response:
    form = request.form
    values: dict[str, Any] = dict(form.items())
    values["branches"] = form.getlist("branches")
    values["prizes"] = list(
        zip(form.getlist("prize_at"), form.getlist("prize_coupon"), strict=False)
    )
    page = _form(program, values, t(locale(), error.code, **error.facts))
    return make_response(page, error.status if error.status in (409, 422) else 422)


def _values_of(plan: Plan) -> dict[str, Any]:
    return {
        "name_th": plan.name_th,
        "name_en": plan.name_en,
        "size": str(plan.size),
        "rule": plan.rule.value,
        "unit": f"{plan.unit_satang / 100:.2f}".removesuffix(".00") if plan.unit_satang else "",
        "sku": plan.sku or "",
        "daily_limit": str(plan.daily_limit or ""),
        "expiry": plan.expiry.value,
        "expiry_days": str(plan.expiry_days or ""),
        "branches": list(plan.branches),
        "starts_on": plan.starts_on.isoformat() if plan.starts_on else "",
        "ends_on": plan.ends_on.isoformat() if plan.ends_on else "",
        "design": plan.design,
        "prizes": [(str(at_stamp), str(coupon_id)) for at_stamp, coupon_id in plan.prizes],
    }


def _read() -> Plan:
    """The form as a plan; Invalid names the first field that cannot be read."""
    codes = db().scalars(select(Branch.code)).all()
    return Plan(
        name_th=forms.words("name_th", "console.name_th"),
        name_en=forms.words("name_en", "console.name_en"),
        size=forms.whole("size", "stamps.size", 1, 50),
        prizes=_prizes(),
        rule=StampRule(forms.choice("rule", "stamps.rule", [one.value for one in StampRule])),
        unit_satang=forms.maybe_money("unit", "stamps.unit") or 0,
        sku=forms.words("sku", "stamps.sku", 64, needed=False) or None,
        daily_limit=forms.maybe_whole("daily_limit", "stamps.daily_limit", 1, 1000),
        expiry=CardExpiry(
            forms.choice("expiry", "stamps.expiry", [one.value for one in CardExpiry])
        ),
        expiry_days=forms.maybe_whole("expiry_days", "stamps.expiry_days", 1, 3650),
        branches=tuple(sorted(forms.choices("branches", "stamps.branches", codes))),
        starts_on=forms.maybe_day("starts_on", "console.starts_on"),
        ends_on=forms.maybe_day("ends_on", "console.ends_on"),
        design=forms.choice("design", "stamps.design", DESIGNS),
    )


def _prizes() -> tuple[tuple[int, int], ...]:
    """Rows of (stamp, coupon); empty ones fall away, half-filled ones are refused."""
    offered = {str(coupon.id) for coupon in _prize_coupons()}
    prizes = []
    rows = zip(request.form.getlist("prize_at"), request.form.getlist("prize_coupon"), strict=False)
    for place, coupon in rows:
        place = place.strip()
        if not place and not coupon:
            continue
        if coupon not in offered or not (place.isascii() and place.isdigit() and len(place) < 3):
            raise forms.bad("stamps.prizes")
        prizes.append((int(place), int(coupon)))
    return tuple(sorted(prizes))
