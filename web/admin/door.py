"""Signing in to the console, choosing a first password, and signing out."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from flask import Response, g, make_response, redirect, render_template, request, session, url_for
from sqlalchemy import select, update

from core import ids
from core.errors import Refused
from core.i18n import t
from loyalty import audit, people
from models.staff import Staff, StaffSession
from web.admin.ground import LIFE, blueprint, staff_of
from web.auth import public, staff_only
from web.ground import db, locale, runtime
from web.limits import SIGN_IN, limiter
from web.security import clear_cookie, read_cookie, set_cookie

TRIES = 5
#: After the fifth wrong password each try waits longer, to an hour: a delay, never a lock-out.
DELAYS = (30, 60, 300, 900, 3600)
_SAME_SITE = re.compile(r"/admin(?:/[\w/.-]*)?")


def safe_next(path: str | None) -> str:
    """A path of the console; anything else, or anywhere else, is its start page (FX07)."""
    if path and _SAME_SITE.fullmatch(path) and "//" not in path and ".." not in path:
        return path
    return url_for("admin.dashboard")


@blueprint.before_request
def _language() -> None:
    chosen = request.cookies.get("taem_console_language")
    g.locale = chosen if chosen in ("th", "en") else None


@blueprint.get("/sign-in")
@public
def sign_in_page() -> Any:
    """The form; somebody already signed in goes on."""
    if staff_of(db()) is not None:
        return redirect(safe_next(request.args.get("next")))
    return render_template("admin/sign_in.html", refusal="", next=request.args.get("next", ""))


@blueprint.post("/sign-in")
@limiter.limit(SIGN_IN)
@public
def sign_in() -> Any:
    """E-mail and password. A wrong one is answered, not raised: its count must be committed."""
    real = runtime().clock.real_now()
    email = request.form.get("email", "").strip().lower()[:254]
    staff = db().scalar(select(Staff).where(Staff.email == email).with_for_update())
    if staff is not None and staff.locked_until is not None and staff.locked_until > real:
        minutes = max(1, -(-int((staff.locked_until - real).total_seconds()) // 60))
        return _refuse("errors.too_many", 429, minutes=minutes)
    is_right = people.is_right(
        staff.password_hash if staff else None, request.form.get("password", "")[:200]
    )
    if staff is None or not is_right or not staff.is_active:
        if staff is not None:
            _count_wrong(staff, real)
        return _refuse("staff.wrong_sign_in", 401)
    staff.failed_count, staff.locked_until = 0, None
    audit.record(db(), f"staff:{staff.id}", "staff.signed_in", {}, real)
    return _welcome(staff, safe_next(request.form.get("next")))


def _count_wrong(staff: Staff, real: Any) -> None:
    staff.failed_count += 1
    if staff.failed_count >= TRIES:
        delay = DELAYS[min(staff.failed_count - TRIES, len(DELAYS) - 1)]
        staff.locked_until = real + timedelta(seconds=delay)


def _refuse(code: str, status: int, **facts: Any) -> Response:
    page = render_template(
        "admin/sign_in.html",
        refusal=t(locale(), code, **facts),
        next=request.form.get("next", ""),
        email=request.form.get("email", "")[:254],
    )
    return make_response(page, status)


def _welcome(staff: Staff, path: str) -> Response:
    """A new session with a new id: nothing set before signing in lives on (AO6, FX06)."""
    real = runtime().clock.real_now()
    session.clear()  # the form token too
    token = ids.secret_token()
    db().add(
        StaffSession(
            token_hash=ids.token_hash(token),
            staff_id=staff.id,
            created_at=real,
            last_seen_at=real,
            expires_at=real + LIFE,
        )
    )
    response = make_response(redirect(path, code=303))
    set_cookie(response, runtime().settings, "staff", token, int(LIFE.total_seconds()))
    return response


@blueprint.get("/welcome")
@public
def welcome_page() -> str:
    """The form of a one-time set-up link; opening it does nothing yet."""
    code = request.args.get("code", "")[:128]
    return render_template("admin/welcome.html", code=code, refusal="", least=people.PASSWORD_MIN)


@blueprint.post("/welcome")
@limiter.limit(SIGN_IN)
@public
def welcome() -> Any:
    """Choose the first password; the link dies with it."""
    real = runtime().clock.real_now()
    code = request.form.get("code", "")[:128]
    password = request.form.get("password", "")[:200]
    staff = db().scalar(
        select(Staff).where(Staff.setup_hash == ids.token_hash(code)).with_for_update()
    )
    if staff is None or staff.setup_expires_at is None or staff.setup_expires_at <= real:
        raise Refused("staff.dead_link", status=404)
    try:
        people.check_password(password)
    except Refused as error:
        page = render_template(
            "admin/welcome.html",
            code=code,
            refusal=t(locale(), error.code, **error.facts),
            least=people.PASSWORD_MIN,
        )
        return make_response(page, error.status)
    staff.password_hash = people.hash_secret(password)
    staff.setup_hash = staff.setup_expires_at = None
    audit.record(db(), f"staff:{staff.id}", "staff.password_set", {}, real)
    return _welcome(staff, url_for("admin.dashboard"))


@blueprint.post("/sign-out")
@staff_only("dashboard.read")
def sign_out() -> Any:
    """End this session."""
    token = read_cookie(runtime().settings, "staff") or ""
    db().execute(
        update(StaffSession)
        .where(StaffSession.token_hash == ids.token_hash(token))
        .values(revoked_at=runtime().clock.real_now())
    )
    response = make_response(redirect(url_for("admin.sign_in_page"), code=303))
    clear_cookie(response, runtime().settings, "staff")
    return response


@blueprint.post("/language")
@staff_only("dashboard.read")
def language() -> Any:
    """Thai or English for this person."""
    g.staff.locale = "en" if g.staff.locale == "th" else "th"
    response = make_response(redirect(safe_next(request.form.get("next")), code=303))
    response.set_cookie(
        "taem_console_language",
        g.staff.locale,
        samesite="Lax",
        httponly=True,
        secure=runtime().settings.is_https,
        max_age=400 * 24 * 3600,
    )
    return response
