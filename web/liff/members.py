"""Home, card and own data."""

from __future__ import annotations

import json
from typing import Any

from flask import Response, g, jsonify, make_response, redirect, render_template, request

from core.errors import Refused
from core.i18n import t
from core.spreadsheets import csv_text
from loyalty import (
    codes,
    consents,
    coupons,
    erasure,
    exports,
    joining,
    members,
    personal,
    points,
    retention,
    stamps,
)
from models.coupons import CodePurpose
from models.members import Member, Purpose
from web.auth import member_only, public
from web.ground import db, locale, runtime
from web.liff import qr
from web.liff.ground import COOKIE, blueprint, page, refuse_idle, shop_name, surroundings
from web.liff.tiers import standing_view
from web.liff.views import next_reward, stamp_view
from web.security import clear_cookie


@blueprint.get("/m/home")
@member_only
def home() -> Any:
    """The card, points, next reward, stamps and coupons at a glance."""
    if not g.member.is_member:
        return redirect("/m/join")
    now = runtime().clock.now()
    balance = points.balance_of(db(), g.member.id, now)
    return page(
        "home",
        "home",
        balance=balance,
        reward=next_reward(balance.available - balance.debt),  # which is paid first
        cards=[stamp_view(view) for view in stamps.cards_of(db(), g.member.id, now)],
        voucher_count=len(coupons.vouchers_of(db(), g.member.id, now)),
        standing=standing_view(),
    )


@blueprint.get("/m/card")
@member_only
def card() -> Any:
    """The page with the moving code that says who stands at the till."""
    refuse_idle()
    if not g.member.is_member:
        return redirect("/m/join")
    return page("card", "home", standing=standing_view())


@blueprint.post("/m/card/code")
@member_only
def card_code() -> Response:
    """A fresh code, every 30 seconds."""
    refuse_idle()
    if not g.member.is_member:
        raise Refused("members.not_joined")
    held = runtime()
    code = codes.make_code(
        db(),
        held.settings.secret_key,
        CodePurpose.IDENTIFY,
        g.member.id,
        real_now=held.clock.real_now(),
    )
    return jsonify(picture=qr.data_url(qr.scan_url(code)), refresh_seconds=qr.REFRESH_SECONDS)


@blueprint.get("/m/me")
@member_only
def me() -> Any:
    """What the shop keeps, and how to correct it, stop news, or leave."""
    return _me()


@blueprint.post("/m/me/<any(name, phone, birthday):field>")
@member_only
def correct(field: str) -> Any:
    """Correct one field."""
    if not g.member.is_member:
        raise Refused("members.not_joined")
    try:
        joining.correct(surroundings(), field, request.form.get("value", ""))
    except Refused as refusal:
        return _me(problem=(field, t(locale(), refusal.code, **refusal.facts))), 422
    return redirect("/m/me?done=" + field, code=303)


@blueprint.post("/m/me/marketing")
@member_only
def marketing() -> Any:
    """News and offers on or off."""
    around = surroundings()
    wants = request.form.get("wants") == "1"
    if not wants:
        consents.withdraw(db(), g.member.id, Purpose.MARKETING, around.now)
        return redirect("/m/me?done=marketing", code=303)
    born = personal.birthday_of(db(), around.vault, g.member)
    if not g.member.is_member or (born is not None and around.is_young(born)):
        sentence = t(locale(), "members.too_young_for_marketing", age=around.grown_up_age)
        return _me(problem=("marketing", sentence)), 422
    consents.give(db(), g.member.id, Purpose.MARKETING, channel="liff", now=around.now)
    return redirect("/m/me?done=marketing", code=303)


@blueprint.post("/m/me/consents")
@member_only
def consent_answer() -> Any:
    """Yes or no to a newer version of a text; a no to membership leads to leaving."""
    around = surroundings()
    purpose = request.form.get("purpose", "")
    asked = {text.purpose.value: text for text in consents.stale(db(), g.member.id)}
    if purpose not in asked:  # answered meanwhile, in the chat say
        return redirect("/m/me", code=303)
    text = asked[purpose]
    if request.form.get("answer") == "yes":
        shown = min(_whole(request.form.get("version", "")) or text.version, text.version)
        consents.give(
            db(), g.member.id, text.purpose, channel="liff", now=around.now, version=shown
        )
    elif text.purpose == Purpose.MEMBERSHIP:
        return redirect("/m/me/leave", code=303)
    else:
        consents.withdraw(db(), g.member.id, text.purpose, around.now)
    return redirect("/m/me?done=consents", code=303)


def _whole(typed: str) -> int:
    return int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 7 else 0


@blueprint.post("/m/me/language")
@member_only
def language() -> Any:
    """Thai or English, here and in the chat."""
    members.set_locale(db(), g.member, request.form.get("locale", "th"), runtime().clock.now())
    return redirect("/m/me", code=303)


@blueprint.get("/m/me/data.<any(json, csv, all):form>")
@member_only
def download(form: str) -> Response:
    """Everything the shop keeps about this person as JSON or (`all`) as a spreadsheet, or the
    movements alone as a spreadsheet (`csv`)."""
    refuse_idle()
    held = runtime()
    with held.database.snapshot() as session:  # somebody may be paying with this card meanwhile
        member = session.get_one(Member, g.member.id)
        data = exports.own_data(session, held.vault, member, held.clock.now())
    if form in ("csv", "all"):
        rows = exports.own_rows(data) if form == "all" else exports.movement_rows(data["movements"])
        text, kind, form = csv_text(rows), "text/csv; charset=utf-8", "csv"
    else:
        text, kind = json.dumps(data, ensure_ascii=False, indent=1), "application/json"
    response = make_response(text)
    response.headers["Content-Type"] = kind
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Disposition"] = f'attachment; filename="my-data.{form}"'
    return response


@blueprint.get("/m/me/leave")
@member_only
def leave_page() -> str:
    """Ask once more, naming what is lost."""
    now = runtime().clock.now()
    return page(
        "leave",
        "me",
        balance=points.balance_of(db(), g.member.id, now),
        voucher_count=len(coupons.vouchers_of(db(), g.member.id, now)),
    )


@blueprint.post("/m/me/leave")
@member_only
def leave() -> Any:
    """Erase this person and end the session."""
    held = runtime()
    erasure.erase(db(), held.vault, g.member, asked_by="member", now=held.clock.now())
    response = make_response(redirect("/m/goodbye", code=303))
    clear_cookie(response, held.settings, COOKIE)
    return response


@blueprint.get("/m/privacy")
@public
def privacy() -> str:
    """What is kept and why, in plain words."""
    texts = [
        (consents.current(db(), purpose), consents.words(db(), purpose, locale()))
        for purpose in Purpose
    ]
    return render_template(
        "member/privacy.html", shop_name=shop_name(db()), texts=texts, kept=retention.days(db())
    )


def _me(problem: tuple[str, str] | None = None) -> str:
    held = runtime()
    phone = personal.phone_of(db(), held.vault, g.member)
    done = request.args.get("done", "")
    return page(
        "me",
        "me",
        phone=members.masked_phone(phone) if phone else None,
        birthday=personal.birthday_of(db(), held.vault, g.member),
        accepts_marketing=consents.is_given(db(), g.member.id, Purpose.MARKETING),
        done=done if done in ("name", "phone", "birthday", "marketing", "consents") else "",
        asked=[
            (one, consents.words(db(), one.purpose, locale()))
            for one in consents.stale(db(), g.member.id)
        ],
        agreed=consents.history(db(), g.member.id),
        version_of=consents.version_of,
        problem=problem,
    )
