"""Signing in: a chat link or a LIFF ID token for a session; leaving it again.

A GET of a chat link shows a button only, because messengers and proxies open links by themselves;
the POST burns it. An ID token opens one session in its life.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from flask import g, jsonify, make_response, redirect, render_template, request

from bot import login
from core.errors import Refused
from loyalty import coupons, doors, members, referrals
from loyalty.doors import DeadLink
from models.members import Member
from web.auth import Forbidden, public
from web.ground import db, runtime
from web.liff.ground import COOKIE, blueprint, chat_url, shop_name
from web.security import clear_cookie, read_cookie, set_cookie

COOKIE_SECONDS = int(timedelta(hours=doors.SESSION_HOURS).total_seconds())


def exempt() -> None:
    """The LIFF door has no page of ours before it; it is guarded by the browser's Origin."""
    from web import csrf

    csrf.exempt("web.liff.session.liff_session")


@blueprint.get("/l/<token>")
@public
def link_page(token: str) -> Any:
    """A chat link: one button. Looking burns nothing."""
    is_alive = doors.is_link_alive(db(), token, runtime().clock.real_now())
    shown = render_template(
        "member/link.html",
        is_alive=is_alive,
        shop_name=shop_name(db()),
        chat_url=chat_url(db()),
    )
    return shown, 200 if is_alive else 410


@blueprint.post("/l/<token>")
@public
def burn_link(token: str) -> Any:
    """Burn the link, open a session, go to the page it was made for."""
    try:
        opened = doors.burn_link(db(), token, runtime().clock.real_now())
    except DeadLink:
        shown = render_template(
            "member/link.html",
            is_alive=False,
            shop_name=shop_name(db()),
            chat_url=chat_url(db()),
        )
        return shown, 410
    return _enter(redirect(opened.path, code=303), opened.token)


@blueprint.post("/liff/session")
@public
def liff_session() -> Any:
    """The raw ID token for a session; anything else in the body counts for nothing."""
    _refuse_other_sites()
    held = runtime()
    real_now = held.clock.real_now()
    token = _id_token()
    # LINE may be asked for its keys here: no statement has run yet, so nothing is locked.
    identity = login.verify(held.settings, token, real_now)
    if not doors.use_id_token(db(), token, identity.expires_at, real_now):
        raise login.LoginRefused  # whatever is wrong with a token, the answer is the same
    now = held.clock.now()
    member = members.friend_for(db(), identity.line_user_id, now, held.settings.shop_locale)
    if member.profile_seen_at is None and identity.name:
        members.take_profile(member, identity.name, identity.picture_url, now)
    g.locale = member.locale
    noted = _note_code(member)
    response = jsonify(is_member=member.is_member, has_noted_code=noted)
    return _enter(response, doors.open_session(db(), member, "liff", real_now))


@blueprint.post("/m/sign-out")
@public
def sign_out() -> Any:
    """End this session."""
    held = runtime()
    doors.close_session(db(), read_cookie(held.settings, COOKIE), held.clock.real_now())
    response = make_response(redirect("/m/goodbye", code=303))
    clear_cookie(response, held.settings, COOKIE)
    return response


@blueprint.get("/m/goodbye")
@public
def goodbye() -> str:
    """Signed out, or left for good."""
    return render_template(
        "member/goodbye.html", shop_name=shop_name(db()), chat_url=chat_url(db())
    )


def _enter(response: Any, token: str) -> Any:
    """Hand out the new session; whatever cookie the browser had before is dead (AO6)."""
    held = runtime()
    doors.close_session(db(), read_cookie(held.settings, COOKIE), held.clock.real_now())
    set_cookie(response, held.settings, COOKIE, token, COOKIE_SECONDS)
    return response


def _refuse_other_sites() -> None:
    origin = request.headers.get("Origin")
    try:
        host = urlsplit(origin).netloc if origin is not None else request.host
    except ValueError:  # `http://[` and the like are no address
        raise Forbidden from None
    if host != request.host:
        raise Forbidden
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden


def _id_token() -> str:
    body = request.get_json(silent=True)
    token = body.get("id_token") if isinstance(body, dict) else None
    if not isinstance(token, str):
        raise login.LoginRefused
    return token


def _note_code(member: Member) -> bool:
    """A LIFF link may carry where somebody comes from (J5): noted with the verified person."""
    body = request.get_json(silent=True)
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, str) or not code or member.is_member:
        return False
    held = runtime()
    try:
        coupons.count_try(db(), member.id, held.clock.real_now(), held.clock.tz)
    except Refused:
        return False
    return referrals.note_code(db(), member, code, held.clock.now()) is not None
