"""People of the console: invited, given a role, sent out. The owner's alone."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import func, select

from core.errors import Refused
from core.i18n import t
from loyalty import people, second_factor
from models.staff import Role, Staff, StaffSession
from web.admin import forms
from web.admin.account import end_sessions, name_of
from web.admin.ground import IDLE, back, blueprint, freshly, noted
from web.auth import staff_only
from web.ground import db, locale, runtime

SESSIONS_SHOWN = 200


@blueprint.get("/staff")
@staff_only("staff.read")
def staff_page() -> str:
    """Everybody, and the form for one more."""
    return _page()


def _page(*, link: str = "", refusal: str = "") -> str:
    rows = db().scalars(select(Staff).order_by(Staff.is_active.desc(), Staff.id)).all()
    return render_template(
        "admin/staff.html",
        rows=rows,
        roles=list(Role),
        branches=people.branches(db()),
        sessions=_open_sessions(),
        link=link,
        refusal=refusal,
    )


def _open_sessions() -> list[tuple[str, Any, Any]]:
    """Where everybody is signed in at this moment: name of the session, its row, its person."""
    real = runtime().clock.real_now()
    rows = db().execute(
        select(StaffSession, Staff)
        .join(Staff, Staff.id == StaffSession.staff_id)
        .where(
            StaffSession.revoked_at.is_(None),
            StaffSession.expires_at > real,
            StaffSession.last_seen_at > real - IDLE,
        )
        .order_by(StaffSession.last_seen_at.desc())
        .limit(SESSIONS_SHOWN)
    )
    return [(name_of(held), held, person) for held, person in rows]


@blueprint.post("/staff/sessions/<name>/end")
@staff_only("staff.edit")
def staff_session_end(name: str) -> Response:
    """End somebody's session: their next request, and the page they have open, are refused."""
    chosen = [held for one, held, _person in _open_sessions() if one == name]
    if not chosen:
        abort(404)
    for held in chosen:
        held.revoked_at = runtime().clock.real_now()
        noted("staff.sessions_ended", staff=held.staff_id, count=1)
    return back("admin.staff_page", note="console.saved")


@blueprint.post("/staff")
@staff_only("staff.edit")
@freshly
def staff_invite() -> Any:
    """Add somebody; the answer is the only place where their link is shown."""
    try:
        role = forms.choice("role", "staff.role", [one.value for one in Role])
        code = people.invite_staff(
            db(),
            request.form.get("email", "")[:254],
            role,
            branch_id=_branch_id(role),
            name=request.form.get("name", "")[:100],
            now=runtime().clock.real_now(),
            actor=f"staff:{g.staff.id}",
        )
    except Refused as error:
        return make_response(_page(refusal=t(locale(), error.code, **error.facts)), error.status)
    return _page(link=f"{runtime().settings.public_url}/admin/welcome?code={code}")


@blueprint.post("/staff/<int:staff_id>/<any(role, out, back, second, link):act>")
@staff_only("staff.edit")
@freshly
def staff_change(staff_id: int, act: str) -> Any:
    """Another role, out or back in, a new second factor, or a new set-up link."""
    person = db().scalar(select(Staff).where(Staff.id == staff_id).with_for_update())
    if person is None:
        abort(404)
    try:
        link = _ACTS[act](person)
    except Refused as error:
        return make_response(_page(refusal=t(locale(), error.code, **error.facts)), error.status)
    if link:
        return _page(link=link)
    return back("admin.staff_page", note="console.saved")


def _role(person: Staff) -> str:
    role = Role(forms.choice("role", "staff.role", [one.value for one in Role]))
    if role != Role.OWNER:
        _keep_an_owner(person)
    branch_id = _branch_id(role.value)
    noted(
        "staff.role_changed",
        staff=person.id,
        before=person.role.value,
        after=role.value,
        branch=branch_id,
    )
    person.role, person.branch_id = role, branch_id
    end_sessions(person)  # rights of the old role end now (Z23)
    return ""


def _branch_id(role: str) -> int | None:
    """The one branch that a manager looks after; None for all of them, and for other roles."""
    known = {str(branch.id): branch.id for branch in people.branches(db())}
    chosen = forms.choice("branch", "console.branch", ["", *known])
    return known.get(chosen) if role == Role.MANAGER else None


def _out(person: Staff) -> str:
    _keep_an_owner(person)
    person.is_active = False
    person.setup_hash = person.setup_expires_at = None
    end_sessions(person)
    noted("staff.sent_out", staff=person.id)
    return ""


def _back(person: Staff) -> str:
    person.is_active = True
    noted("staff.taken_back", staff=person.id)
    return ""


def _second(person: Staff) -> str:
    now = runtime().clock.real_now()
    second_factor.forget(db(), person, actor=f"staff:{g.staff.id}", now=now)
    end_sessions(person)
    return ""


def _link(person: Staff) -> str:
    """A forgotten password: a fresh one-time link, and the old password is dead."""
    actor, now = f"staff:{g.staff.id}", runtime().clock.real_now()
    code = people.invite_again(db(), person, now=now, actor=actor)
    end_sessions(person)
    return f"{runtime().settings.public_url}/admin/welcome?code={code}"


_ACTS = {"role": _role, "out": _out, "back": _back, "second": _second, "link": _link}


def _keep_an_owner(person: Staff) -> None:
    """The last owner stays one: nobody could let them in again."""
    others = (
        select(func.count())
        .select_from(Staff)
        .where(Staff.role == Role.OWNER, Staff.is_active, Staff.id != person.id)
    )
    if person.role == Role.OWNER and person.is_active and not db().scalar(others):
        raise Refused("staff.last_owner")
