"""One's own account: confirming it is still you, sessions, password and second factor."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, abort, g, make_response, redirect, render_template, request, session
from sqlalchemy import select

from core.errors import Refused
from core.i18n import t
from loyalty import people, second_factor
from models.staff import Staff, StaffSession
from web.admin import door
from web.admin.ground import IDLE, back, blueprint, noted
from web.auth import staff_only
from web.ground import db, locale, runtime
from web.limits import SIGN_IN, limiter


@blueprint.get("/confirm")
@staff_only("dashboard.read")
def confirm_page() -> str:
    """Ask for the password once more before an act that matters."""
    return _confirm("")


def _confirm(refusal: str) -> str:
    return render_template(
        "admin/confirm.html",
        next=request.values.get("next", "")[:200],
        has_second=g.staff.totp_sealed is not None,
        refusal=refusal,
    )


@blueprint.post("/confirm")
@limiter.limit(SIGN_IN)
@staff_only("dashboard.read")
def confirm() -> Any:
    """Right: back to the page, which now does what it was asked."""
    if not _is_still_you():
        return make_response(_confirm(t(locale(), "staff.wrong_sign_in")), 401)
    g.staff_session.confirmed_at = runtime().clock.real_now()
    return redirect(door.safe_next(request.form.get("next")), code=303)


def _is_still_you() -> bool:
    """The password, and a code where there is a second factor. Wrong ones are counted."""
    real = runtime().clock.real_now()
    staff = db().scalars(select(Staff).where(Staff.id == g.staff.id).with_for_update()).one()
    if staff.locked_until is not None and staff.locked_until > real:
        return False
    is_right = people.is_right(staff.password_hash, request.form.get("password", "")[:200])
    if is_right and staff.totp_sealed is not None:
        code = request.form.get("code", "")[:32]
        is_right = second_factor.is_right(db(), runtime().vault, staff, code, real)
    if is_right:
        staff.failed_count, staff.locked_until = 0, None
    else:
        door.count_wrong(staff, real)
    return is_right


@blueprint.get("/me")
@staff_only("dashboard.read")
def account() -> str:
    """Where one is signed in, password and second factor."""
    return _page("")


def _page(refusal: str, codes: list[str] | None = None) -> str:
    real = runtime().clock.real_now()
    open_ones = db().scalars(
        select(StaffSession)
        .where(
            StaffSession.staff_id == g.staff.id,
            StaffSession.revoked_at.is_(None),
            StaffSession.expires_at > real,
            StaffSession.last_seen_at > real - IDLE,
        )
        .order_by(StaffSession.last_seen_at.desc())
    )
    return render_template(
        "admin/account.html",
        sessions=[(name_of(one), one, one is g.staff_session) for one in open_ones],
        has_second=g.staff.totp_sealed is not None,
        codes=codes or [],
        codes_left=second_factor.recovery_codes_left(db(), g.staff),
        least=people.PASSWORD_MIN,
        refusal=refusal,
    )


@blueprint.get("/me/alive")
@staff_only("dashboard.read")
def alive() -> Response:
    """What an open page asks now and then: whether it may still show what it shows (Z23)."""
    return Response(status=204, headers={"Cache-Control": "no-store"})


@blueprint.post("/me/recovery-codes")
@limiter.limit(SIGN_IN)
@staff_only("dashboard.read")
def recovery_codes_make() -> Any:
    """Ten new recovery codes; this answer is the only place where they are shown."""
    if g.staff.totp_sealed is None:
        abort(404)
    if not _is_still_you():
        return make_response(_page(t(locale(), "staff.wrong_sign_in")), 401)
    real = runtime().clock.real_now()
    codes = second_factor.make_recovery_codes(db(), runtime().vault, g.staff, real)
    return _page("", codes)


def recovery_codes_missing() -> bool:
    """Whether the one signed in would be locked out by losing a telephone."""
    has_second = "staff" in g and g.staff.totp_sealed is not None
    return has_second and second_factor.recovery_codes_left(db(), g.staff) == 0


def name_of(held: StaffSession) -> str:
    """What a form may call a session: not its key, nor the hash of it that we keep."""
    return hashlib.sha256(b"name:" + held.token_hash.encode()).hexdigest()[:16]


@blueprint.post("/me/sessions/<name>/end")
@staff_only("dashboard.read")
def session_end(name: str) -> Response:
    """End one session of one's own at once; `others` ends all but this one."""
    mine = db().scalars(select(StaffSession).where(StaffSession.staff_id == g.staff.id)).all()
    chosen = [
        one
        for one in mine
        if one is not g.staff_session and (name == "others" or name_of(one) == name)
    ]
    if name != "others" and not chosen:
        abort(404)
    for one in chosen:
        one.revoked_at = one.revoked_at or runtime().clock.real_now()
    noted("staff.sessions_ended", count=len(chosen))
    return back("admin.account", note="console.saved")


@blueprint.post("/me/password")
@limiter.limit(SIGN_IN)
@staff_only("dashboard.read")
def password_change() -> Any:
    """A new password, for who knows the old one; every other session ends."""
    wanted = request.form.get("new", "")[:200]
    try:
        if not _is_still_you():
            raise Refused("staff.wrong_sign_in", status=401)
        people.check_password(wanted)
    except Refused as error:
        return make_response(_page(t(locale(), error.code, **error.facts)), error.status)
    g.staff.password_hash = people.hash_secret(wanted)
    end_sessions(g.staff, but=g.staff_session)
    noted("staff.password_set")
    return back("admin.account", note="console.saved")


@blueprint.post("/me/second-factor")
@limiter.limit(SIGN_IN)
@staff_only("dashboard.read")
def second_factor_set() -> Any:
    """Set up a second factor, or another one: first the password, then the app is scanned."""
    if not _is_still_you():
        return make_response(_page(t(locale(), "staff.wrong_sign_in")), 401)
    if g.staff.totp_sealed is not None:
        actor, now = f"staff:{g.staff.id}", runtime().clock.real_now()
        second_factor.forget(db(), g.staff, actor=actor, now=now)
    session["second"] = door.halfway_of(g.staff, "/admin/me", secret=second_factor.new_secret())
    return redirect("/admin/second-factor", code=303)


def end_sessions(staff: Staff, *, but: StaffSession | None = None) -> None:
    """Sign this person out everywhere, but for this one session."""
    kept = but.token_hash if but is not None else ""
    people.end_sessions(db(), staff.id, runtime().clock.real_now(), but=kept)
