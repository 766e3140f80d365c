"""Lucky draws in the console: made as drafts, started, ended, and compared with their chances."""

from __future__ import annotations

import re
from typing import Any

from flask import abort, make_response, render_template, request
from sqlalchemy import select

from core.errors import Invalid, Refused
from core.i18n import t
from core.text import parse_whole, western_digits
from loyalty import draws
from models.coupons import Coupon, Obtained
from models.draws import Draw, DrawState
from web.admin import forms
from web.admin.ground import back, blueprint, noted
from web.admin.tables import Column, Listing, found_in, listed, said
from web.auth import staff_only
from web.ground import db, locale, runtime

_KEY = re.compile(r"[a-z0-9_]{2,40}")
_PERCENT = re.compile(r"(\d{1,3})(?:\.(\d{1,4}))?", re.ASCII)
PRIZES = 5
COLUMNS = (
    Column("name", "console.name", Draw.name_th,
           lambda draw: draw.name_en if locale() == "en" else draw.name_th),
    Column("state", "console.state", Draw.state, said("draw_states", lambda draw: draw.state)),
    Column("starts", "console.starts_on", Draw.starts_at, lambda draw: draw.starts_at, "moment"),
    Column("ends", "console.ends_on", Draw.ends_at, lambda draw: draw.ends_at, "moment"),
    Column("made", "console.made_at", Draw.id, lambda draw: draw.created_at, "moment"),
)  # fmt: skip
DRAWS = listed(
    Listing(
        "/draws",
        COLUMNS,
        lambda: found_in(select(Draw), Draw.name_th, Draw.name_en),
        "made",
        Draw.id.desc(),
        "draws.read",
        shape=lambda row: row[0],
    )
)


@blueprint.get("/draws")
@staff_only("draws.read")
def draws_page() -> str:
    """Every draw, newest first."""
    return render_template("admin/draws.html", table=DRAWS.page())


@blueprint.get("/draws/new")
@staff_only("draws.edit")
def draw_new() -> str:
    """An empty form."""
    return _form({}, "")


@blueprint.post("/draws/new")
@staff_only("draws.edit")
def draw_create() -> Any:
    """Make a draft with a seed of its own."""
    held = runtime()
    try:
        with db().begin_nested():
            draw = draws.create(
                db(),
                held.vault,
                key=_key(),
                name_th=forms.words("name_th", "console.name_th"),
                name_en=forms.words("name_en", "console.name_en"),
                now=held.clock.now(),
                starts_at=forms.maybe_moment("starts_on", "console.starts_on"),
                ends_at=forms.maybe_moment("ends_on", "console.ends_on", is_end=True),
                turns_per_day=forms.maybe_whole(
                    "turns_per_day", "console.turns_per_day", 0, draws.MOST_TURNS_A_DAY
                )
                or 0,
                min_bill_satang=forms.maybe_money("min_bill", "console.turn_bill") or 0,
                prizes=_prizes(),
            )
    except Refused as error:
        page = _form(request.form, t(locale(), error.code, **error.facts))
        return make_response(page, error.status)
    noted("draws.created", draw=draw.id)
    return back("admin.draw_page", note="console.saved", draw_id=draw.id)


@blueprint.get("/draws/<int:draw_id>")
@staff_only("draws.read")
def draw_page(draw_id: int) -> str:
    """One draw: its promises, and what was drawn so far beside them."""
    return _page(_draw(draw_id), "")


@blueprint.post("/draws/<int:draw_id>/start")
@staff_only("draws.edit")
def draw_start(draw_id: int) -> Any:
    """Open a draft; its prizes and chances stand from here on."""
    draw = _draw(draw_id)
    try:
        draws.start(db(), draw)
    except Refused as error:
        return make_response(_page(draw, t(locale(), error.code, **error.facts)), error.status)
    noted("draws.started", draw=draw.id, seed_hash=draw.seed_hash)
    return back("admin.draw_page", note="console.saved", draw_id=draw_id)


@blueprint.post("/draws/<int:draw_id>/end")
@staff_only("draws.edit")
def draw_end(draw_id: int) -> Any:
    """Close a draw for good and show its seed."""
    draw = _draw(draw_id)
    try:
        draws.end(db(), runtime().vault, draw)
    except Refused as error:
        return make_response(_page(draw, t(locale(), error.code, **error.facts)), error.status)
    noted("draws.ended", draw=draw.id)
    return back("admin.draw_page", note="console.saved", draw_id=draw_id)


def _draw(draw_id: int) -> Draw:
    draw = db().get(Draw, draw_id)
    if draw is None:
        abort(404)
    return draw


def _page(draw: Draw, refusal: str) -> str:
    language, held = locale(), runtime()
    shares = [
        {
            "name": draws.name_of(share.chance.coupon, language)
            if share.chance
            else t(language, "console.no_prize"),
            "percent": draws.percent_words(share.per_million),
            "count": share.count,
            "expected": f"{share.expected:,.1f}",
            "given": share.handed_out if share.chance else None,
            "left": draws.stock_of(share.chance, held.clock.now()) if share.chance else None,
            "is_odd": share.distance > 4,
        }
        for share in draws.distribution(db(), draw)
    ]
    return render_template(
        "admin/draw.html",
        draw=draw,
        shares=shares,
        rules=draws.rules_in_words(draw, language),
        total=sum(share["count"] for share in shares),
        is_draft=draw.state == DrawState.DRAFT,
        is_live=draw.state == DrawState.LIVE,
        refusal=refusal,
    )


def _form(values: Any, refusal: str) -> str:
    prizes = db().scalars(
        select(Coupon).where(Coupon.obtained == Obtained.DRAW).order_by(Coupon.id)
    )
    return render_template(
        "admin/draw_new.html",
        values=values,
        refusal=refusal,
        coupons=prizes.all(),
        places=range(PRIZES),
    )


def _key() -> str:
    key = request.form.get("key", "").strip()
    if not _KEY.fullmatch(key):
        raise forms.bad("console.key")
    if db().scalar(select(Draw.id).where(Draw.key == key)) is not None:
        raise Refused("draws.key_taken")
    return key


def _prizes() -> list[tuple[int, int]]:
    found = []
    for place in range(PRIZES):
        coupon_id = parse_whole(request.form.get(f"coupon_{place}", ""))
        text = western_digits(request.form.get(f"chance_{place}", "").strip())
        if not coupon_id:
            continue
        match = _PERCENT.fullmatch(text)
        if match is None:
            raise Invalid("draws.bad_chance")
        found.append((coupon_id, int(match[1]) * 10_000 + int((match[2] or "").ljust(4, "0"))))
    return found
