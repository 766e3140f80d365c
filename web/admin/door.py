"""Signing in to the console: password, second factor, a first password, and signing out."""

from __future__ import annotations

import base64
import re
from datetime import timedelta
from typing import Any

from flask import Response, g, make_response, redirect, render_template, request, session, url_for
from sqlalchemy import select, update

from core import ids
from core.errors import Refused
from core.i18n import t
from core.text import fit
from loyalty import audit, people, second_factor
from models.staff import Staff, StaffSession
from web.admin.ground import LANGUAGE_COOKIE, LIFE, blueprint, browser_locale, session_of
from web.auth import SignInNeeded, public, staff_only
from web.ground import db, locale, runtime
from web.liff import qr
from web.limits import SIGN_IN, limiter
from web.security import clear_cookie, read_cookie, set_cookie

TRIES = 5
#: After the fifth wrong password each try waits longer, to an hour: a delay, never a lock-out.
DELAYS = (30, 60, 300, 900, 3600)
#: How long after the password the second factor may come.
SECOND_LIFE = timedelta(minutes=5)
_SAME_SITE = re.compile(r"/admin(?:/[\w/.-]*)?")


def safe_next(path: str | None) -> str:
    """A path of the console; anything else, or anywhere else, is its start page (FX07)."""
    if path and _SAME_SITE.fullmatch(path) and "//" not in path and ".." not in path:
        return path
    return url_for("admin.dashboard")


@blueprint.before_request
def _language() -> None:
    g.locale = browser_locale()


@blueprint.get("/sign-in")
@public
def sign_in_page() -> Any:
    """The form; somebody already signed in goes on."""
    if session_of(db()) is not None:
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
            count_wrong(staff, real)
        return _refuse("staff.wrong_sign_in", 401)
    return _next_step(staff, safe_next(request.form.get("next")))


def _next_step(staff: Staff, path: str) -> Response:
    """The password was right: in, or first the second factor, or setting one up."""
    is_asked = staff.totp_sealed is not None
    is_missing = staff.role in second_factor.NEEDED and not runtime().settings.demo
    if not is_asked and not is_missing:
        return _welcome(staff, path)
    session.clear()
    secret = None if is_asked else second_factor.new_secret()
    session["second"] = halfway_of(staff, path, secret=secret)
    return make_response(redirect(url_for("admin.second_page"), code=303))


def halfway_of(staff: Staff, path: str, *, secret: str | None) -> dict[str, Any]:
    """What the browser carries from the password to the second factor; `secret` is a new one."""
    real = runtime().clock.real_now()
    return {
        "staff": staff.id,
        "until": (real + SECOND_LIFE).timestamp(),
        "next": path,
        # Sealed, because a session cookie can be read by whoever holds it.
        "secret": _sealed(secret) if secret else None,
    }


def _halfway() -> tuple[Staff, dict[str, Any]]:
    """Who has given the password a moment ago. Sends everybody else to the sign-in."""
    held = session.get("second")
    if held is None or held["until"] <= runtime().clock.real_now().timestamp():
        raise SignInNeeded
    staff = db().scalar(select(Staff).where(Staff.id == held["staff"]).with_for_update())
    if staff is None or not staff.is_active:
        raise SignInNeeded
    return staff, held


@blueprint.get("/second-factor")
@public
def second_page() -> Any:
    """Ask for a code, or show what an authenticator app must scan."""
    staff, held = _halfway()
    return _second(staff, held, "")


def _second(staff: Staff, held: dict[str, Any], refusal: str) -> str:
    secret = _unsealed(held["secret"]) if held["secret"] else ""
    return render_template(
        "admin/second_factor.html",
        secret=" ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        picture=qr.data_url(second_factor.address(secret, staff.email)) if secret else "",
        refusal=refusal,
    )


@blueprint.post("/second-factor")
@limiter.limit(SIGN_IN)
@public
def second() -> Any:
    """A code: right ones lead in, once each; wrong ones delay like wrong passwords."""
    staff, held = _halfway()
    real, vault = runtime().clock.real_now(), runtime().vault
    typed = request.form.get("code", "")[:32]
    if staff.locked_until is not None and staff.locked_until > real:
        minutes = max(1, -(-int((staff.locked_until - real).total_seconds()) // 60))
        refusal = t(locale(), "errors.too_many", minutes=minutes)
        return make_response(_second(staff, held, refusal), 429)
    if held["secret"] and staff.totp_sealed is None:
        secret = _unsealed(held["secret"])
        is_right = second_factor.enrol(db(), vault, staff, secret, typed, real)
    else:
        is_right = second_factor.is_right(db(), vault, staff, typed, real)
    if not is_right:
        count_wrong(staff, real)
        return make_response(_second(staff, held, t(locale(), "staff.wrong_code")), 401)
    return _welcome(staff, held["next"])


def _sealed(secret: str) -> str:
    return base64.b64encode(runtime().vault.seal("second_factor.new", secret.encode())).decode()


def _unsealed(held: str) -> str:
    return runtime().vault.unseal("second_factor.new", base64.b64decode(held)).decode()


def count_wrong(staff: Staff, real: Any) -> None:
    """One more wrong try: from the fifth on each one waits longer."""
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
    # Only here: a password known to a thief must not set back the count of wrong codes.
    staff.failed_count, staff.locked_until = 0, None
    session.clear()  # the form token too
    token = ids.secret_token()
    db().add(
        StaffSession(
            token_hash=ids.token_hash(token),
            staff_id=staff.id,
            created_at=real,
            last_seen_at=real,
            expires_at=real + LIFE,
            confirmed_at=real,
            browser=fit(request.headers.get("User-Agent", ""), 100),
        )
    )
    audit.record(db(), f"staff:{staff.id}", "staff.signed_in", {}, real)
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
    return _next_step(staff, url_for("admin.dashboard"))


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
        LANGUAGE_COOKIE,
        g.staff.locale,
        samesite="Lax",
        httponly=True,
        secure=runtime().settings.is_https,
        max_age=400 * 24 * 3600,
    )
    return response


@public
def front_door() -> Any:
    """The bare address: only people of the shop type it."""
    return redirect(url_for("admin.dashboard"))
