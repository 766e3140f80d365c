"""People of the console: invited, given a role, sent out. The owner's alone."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import func, select

from core.errors import Refused
from core.i18n import t
from loyalty import people, second_factor
from models.staff import Branch, Role, Staff, StaffSession
from web.admin import forms
from web.admin.account import end_sessions, name_of
from web.admin.ground import IDLE, back, blueprint, freshly, noted
from web.admin.tables import Column, Listing, found_in, listed, said
from web.auth import staff_only
from web.ground import db, locale, runtime


def _branch_name(person: Staff) -> str:
    if person.branch_id is None:
        return ""
    branch = db().get_one(Branch, person.branch_id)
    return branch.name_en if locale() == "en" else branch.name_th


STAFF = listed(
    Listing(
        "/staff",
        (
            Column("name", "console.name", Staff.name, lambda one: one.name),
            Column("email", "console.email", Staff.email, lambda one: one.email),
            Column("role", "staff.role", Staff.role, said("roles", lambda one: one.role)),
            Column("branch", "staff.branch", None, _branch_name),
            Column("second", "staff.second_title", None, lambda one: t(locale(), standing(one))),
            Column("acts", ""),
        ),
        lambda: found_in(select(Staff), Staff.name, Staff.email),
        "name",
        Staff.id,
        "staff.edit",
        is_down=False,
        shape=lambda row: row[0],
        first=Staff.is_active.desc(),
        home="admin.staff_page",
    )
)  # fmt: skip


def _signed_in() -> Any:
    """Where everybody is signed in at this moment."""
    real = runtime().clock.real_now()
    query = (
        select(StaffSession, Staff)
        .join(Staff, Staff.id == StaffSession.staff_id)
        .where(
            StaffSession.revoked_at.is_(None),
            StaffSession.expires_at > real,
            StaffSession.last_seen_at > real - IDLE,
        )
    )
    return found_in(query, Staff.name, StaffSession.browser)


SESSIONS = listed(
    Listing(
        "/staff/sessions",
        (
            Column("name", "console.name", Staff.name, lambda row: row.Staff.name),
            Column("browser", "staff.browser", StaffSession.browser,
                   lambda row: row.StaffSession.browser),
            Column("since", "staff.signed_in_at", StaffSession.created_at,
                   lambda row: row.StaffSession.created_at, "moment"),
            Column("seen", "staff.last_seen", StaffSession.last_seen_at,
                   lambda row: row.StaffSession.last_seen_at, "moment"),
            Column("acts", ""),
        ),
        _signed_in,
        "seen",
        StaffSession.token_hash.desc(),
        "staff.edit",
    )
)  # fmt: skip


def standing(person: Staff) -> str:
    """Whether somebody may come in, and with what, as a key of texts."""
    if not person.is_active:
        return "staff.is_out"
    if person.totp_sealed:
        return "staff.second_on"
    return "staff.second_off" if person.password_hash else "staff.not_yet"


@blueprint.get("/staff")
@staff_only("staff.read")
def staff_page() -> str:
    """Everybody, and the form for one more."""
    return _page()


def _page(*, link: str = "", refusal: str = "") -> str:
    return render_template(
        "admin/staff.html",
        table=STAFF.page(),
        roles=list(Role),
        branches=people.branches(db()),
        standing=standing,
        link=link,
        refusal=refusal,
    )


@blueprint.get("/staff/sessions")
@staff_only("staff.read")
def staff_sessions() -> str:
    """Everybody's sessions of this moment, those seen last first."""
    return render_template("admin/staff_sessions.html", table=SESSIONS.page(), name_of=name_of)


@blueprint.post("/staff/sessions/<name>/end")
@staff_only("staff.edit")
def staff_session_end(name: str) -> Response:
    """End somebody's session: their next request, and the page they have open, are refused."""
    chosen = [
        row.StaffSession for row in db().execute(_signed_in()) if name_of(row.StaffSession) == name
    ]
    if not chosen:
        abort(404)
    for held in chosen:
        held.revoked_at = runtime().clock.real_now()
        noted("staff.sessions_ended", staff=held.staff_id, count=1)
    return back("admin.staff_sessions", note="console.saved")


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
