"""Branches, their tills and the people at them; shift reports with export (K5, K8, AA7)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from flask import Response, abort, g, make_response, render_template, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.errors import Refused
from core.i18n import LOCALES, t
from core.text import western_digits
from loyalty import ceilings, members, people, shifts, shop, undoing
from models.members import Member
from models.staff import AuditRow, Branch, Cashier, CashierSession, Device, Role
from web.admin import forms
from web.admin.ground import back, blueprint, may, noted
from web.admin.tables import spreadsheet
from web.auth import Forbidden, staff_only
from web.ground import db, locale, runtime
from web.liff import qr

#: What an owner should look at, among the newest rows of the audit chain.
WATCHED = (
    "cashiers.locked",
    "devices.code_refused",
    "devices.enrolled",
    "purchases.own_account",
    "purchases.queue_dropped",
)
WATCHED_ROWS = 20_000
WATCHED_SHOWN = 8


@blueprint.get("/tills")
@staff_only("tills.read")
def tills() -> str:
    """Everything on one page: branches, tills, cashiers, and what looks odd."""
    return _page(db())


def _page(session: Session, *, refusal: str = "", secret: dict[str, str] | None = None) -> str:
    branches = _branches(session)
    ids = [branch.id for branch in branches]
    devices = session.scalars(
        select(Device)
        .where(Device.branch_id.in_(ids))
        .order_by(Device.revoked_at.is_not(None), Device.branch_id, Device.id)
    ).all()
    cashiers = session.scalars(
        select(Cashier)
        .where(Cashier.branch_id.in_(ids))
        .order_by(Cashier.is_active.desc(), Cashier.branch_id, Cashier.name)
    ).all()
    linked = [one.member_id for one in cashiers if one.member_id is not None]
    numbers = dict(
        session.execute(select(Member.id, Member.member_no).where(Member.id.in_(linked))).all()
    )
    opened = session.execute(
        select(CashierSession.device_id, Cashier.name)
        .join(Cashier, Cashier.id == CashierSession.cashier_id)
        .where(
            CashierSession.closed_at.is_(None),
            CashierSession.expires_at > runtime().clock.real_now(),
            CashierSession.device_id.in_([device.id for device in devices]),
        )
    )
    return render_template(
        "admin/tills.html",
        branches=branches,
        first_names={language: t(language, "tills.first_branch_name") for language in LOCALES},
        by_id={branch.id: branch for branch in branches},
        devices=devices,
        cashiers=cashiers,
        member_numbers=numbers,
        managers={one.id for one in cashiers if undoing.is_manager(session, one.id)},
        opened=dict(opened.all()),
        ceilings={role: ceilings.ceilings_for(session, role) for role in ceilings.ROLES},
        own_ceilings=shop.get(session, ceilings.BY_BRANCH),
        spans=ceilings.SPANS,
        watched=_watched(session) if g.staff.role != Role.MANAGER else [],
        real=runtime().clock.real_now(),
        refusal=refusal,
        secret=secret,
    )


def _branches(session: Session) -> list[Branch]:
    """Every branch that the one signed in looks after."""
    rows = session.scalars(select(Branch).order_by(Branch.is_active.desc(), Branch.code)).all()
    return [branch for branch in rows if _is_mine(branch.id)]


def _is_mine(branch_id: int) -> bool:
    """A manager of one branch looks after that one; everybody else after all."""
    of_one = g.staff.role == Role.MANAGER and g.staff.branch_id is not None
    return not of_one or bool(g.staff.branch_id == branch_id)


def _watched(session: Session) -> list[AuditRow]:
    newest = session.scalar(select(AuditRow.id).order_by(AuditRow.id.desc()).limit(1)) or 0
    rows = (
        select(AuditRow)
        .where(AuditRow.id > newest - WATCHED_ROWS, AuditRow.act.in_(WATCHED))
        .order_by(AuditRow.id.desc())
        .limit(WATCHED_SHOWN)
    )
    return list(session.scalars(rows))


# --- Branches ------------------------------------------------------------------------------------


@blueprint.post("/tills/branches")
@staff_only("branches.edit")
def branch_add() -> Any:
    """Open a branch."""
    try:
        people.add_branch(
            db(),
            request.form.get("code", "")[:40],
            forms.words("name_th", "console.name_th"),
            forms.words("name_en", "console.name_en"),
            now=runtime().clock.real_now(),
            actor=_actor(),
            needs_receipt_no=request.form.get("needs_receipt_no") == "1",
        )
    except Refused as error:
        return _refused(error)
    return back("admin.tills", note="console.saved")


@blueprint.post("/tills/branches/<int:branch_id>")
@staff_only("tills.edit")
def branch_save(branch_id: int) -> Any:
    """Names and whether its tills ask for the bill number; closing is the owner's."""
    branch = _branch(branch_id)
    try:
        name_th = forms.words("name_th", "console.name_th")
        name_en = forms.words("name_en", "console.name_en")
        own = {role: _ceilings(role) for role in ceilings.ROLES}
    except Refused as error:
        return _refused(error)
    branch.name_th, branch.name_en = name_th, name_en
    branch.needs_receipt_no = request.form.get("needs_receipt_no") == "1"
    if may("branches.edit"):
        branch.is_active = request.form.get("is_active") == "1"
        for role, values in own.items():
            ceilings.set_ceilings(db(), role, values, runtime().clock.now(), branch.code)
    noted(
        "branches.changed",
        branch=branch.code,
        needs_receipt_no=branch.needs_receipt_no,
        is_active=branch.is_active,
    )
    return back("admin.tills", note="console.saved")


@blueprint.post("/tills/ceilings")
@staff_only("branches.edit")
def ceilings_save() -> Any:
    """What a cashier, and a manager, may give alone."""
    try:
        values = {role: _ceilings(role) for role in ceilings.ROLES}
        if any(set(one) != set(ceilings.SPANS) for one in values.values()):
            raise forms.bad("tills.ceilings")
    except Refused as error:
        return _refused(error)
    for role, one in values.items():
        ceilings.set_ceilings(db(), role, one, runtime().clock.now())
        noted("tills.ceilings_changed", role=role, **one)
    return back("admin.tills", note="console.saved")


def _ceilings(role: str) -> dict[str, int]:
    """The ceilings that were filled in for this role, in satang."""
    found = {span: forms.maybe_money(f"{role}_{span}", "tills.ceilings") for span in ceilings.SPANS}
    return {span: satang for span, satang in found.items() if satang is not None}


def _branch(branch_id: int) -> Branch:
    branch = db().get(Branch, branch_id)
    if branch is None:
        abort(404)
    if not _is_mine(branch.id):
        raise Forbidden
    return branch


def _chosen_branch() -> Branch:
    """The branch that the form names, among one's own."""
    mine = {str(branch.id): branch for branch in _branches(db()) if branch.is_active}
    chosen = request.form.get("branch", "")
    if chosen not in mine:
        raise forms.bad("console.branch")
    return mine[chosen]


# --- Tills ---------------------------------------------------------------------------------------


@blueprint.post("/tills/code")
@staff_only("tills.edit")
def device_code() -> Any:
    """A one-time link that makes a browser a till, with its QR: shown here and never again."""
    try:
        branch = _chosen_branch()
        code = people.enrolment_code(
            db(), branch.code, now=runtime().clock.real_now(), actor=_actor()
        )
    except Refused as error:
        return _refused(error)
    link = runtime().settings.public_url + url_for("cashier.enrol_page", code=code)
    return _page(
        db(),
        secret={
            "title": t(locale(), "tills.code_title"),
            "body": t(locale(), "tills.code_body"),
            "link": link,
            "qr": qr.data_url(link),
        },
    )


@blueprint.post("/tills/devices/<int:device_id>")
@staff_only("tills.edit")
def device_save(device_id: int) -> Any:
    """Revoke a till, or take it to another branch: both hold from its next request on."""
    device = db().get(Device, device_id, with_for_update=True)
    if device is None:
        abort(404)
    if not _is_mine(device.branch_id):
        raise Forbidden
    real = runtime().clock.real_now()
    try:
        if request.form.get("act") == "revoke":
            people.revoke_device(db(), device, now=real, actor=_actor())
        else:
            people.move_device(db(), device, _chosen_branch().id, now=real, actor=_actor())
    except Refused as error:
        return _refused(error)
    return back("admin.tills", note="console.saved")


# --- Cashiers ------------------------------------------------------------------------------------


@blueprint.post("/tills/cashiers")
@staff_only("tills.edit")
def cashier_add() -> Any:
    """Add a cashier; the PIN is shown here and never again."""
    try:
        name = forms.words("name", "console.name")
        pin = people.add_cashier(
            db(),
            name,
            _chosen_branch().code,
            now=runtime().clock.real_now(),
            actor=_actor(),
            is_manager=request.form.get("is_manager") == "1",
        )
    except Refused as error:
        return _refused(error)
    return _pin_page(name, pin)


@blueprint.post("/tills/cashiers/<int:cashier_id>")
@staff_only("tills.edit")
def cashier_save(cashier_id: int) -> Any:
    """Name, branch, manager's PIN, own membership, dismissal."""
    cashier = _cashier(cashier_id)
    try:
        people.change_cashier(
            db(),
            cashier,
            name=forms.words("name", "console.name"),
            branch_id=_chosen_branch().id,
            is_manager=request.form.get("is_manager") == "1",
            is_active=request.form.get("is_active") == "1",
            member_id=_member_id(),
            now=runtime().clock.real_now(),
            actor=_actor(),
        )
    except Refused as error:
        return _refused(error)
    return back("admin.tills", note="console.saved")


@blueprint.post("/tills/cashiers/<int:cashier_id>/pin")
@staff_only("tills.edit")
def cashier_pin(cashier_id: int) -> Any:
    """A new PIN, shown once; or only the end of a lock."""
    cashier = _cashier(cashier_id)
    real = runtime().clock.real_now()
    if request.form.get("act") == "unlock":
        people.unlock(db(), cashier, now=real, actor=_actor())
        return back("admin.tills", note="console.saved")
    return _pin_page(cashier.name, people.reset_pin(db(), cashier, now=real, actor=_actor()))


def _pin_page(name: str, pin: str) -> str:
    title = t(locale(), "tills.pin_title", name=name)
    body = t(locale(), "tills.pin_body")
    return _page(db(), secret={"title": title, "body": body, "pin": pin})


def _cashier(cashier_id: int) -> Cashier:
    cashier = db().get(Cashier, cashier_id, with_for_update=True)
    if cashier is None:
        abort(404)
    if not _is_mine(cashier.branch_id):
        raise Forbidden
    return cashier


def _member_id() -> int | None:
    """The cashier's own membership, by its number: their own till refuses it."""
    number = "".join(western_digits(request.form.get("member_no", "")[:40]).split())
    return members.of_number(db(), number).id if number else None


# --- Shifts --------------------------------------------------------------------------------------


@blueprint.get("/tills/shifts")
@staff_only("shifts.read")
def till_shifts() -> str:
    """A branch's day: who gave, redeemed, took back and approved what."""
    branch, day = _asked()
    return render_template(
        "admin/shifts.html",
        branches=_branches(db()),
        branch=branch,
        day=day,
        report=_report(branch, day) if branch else None,
    )


@blueprint.get("/tills/shifts.csv")
@staff_only("shifts.read")
def till_shifts_csv() -> Response:
    """The same for a spreadsheet; no cell of it can be a formula."""
    branch, day = _asked()
    if branch is None:
        abort(404)
    return spreadsheet(_rows(_report(branch, day)), f"shifts-{branch.code}-{day.isoformat()}.csv")


def _asked() -> tuple[Branch | None, date]:
    branches = _branches(db())
    asked = request.args.get("branch", "")
    branch = next((one for one in branches if one.code == asked), None)
    today = local_day(runtime().clock.now(), runtime().clock.tz)
    try:
        day = date.fromisoformat(request.args.get("day", ""))
    except ValueError:
        day = today
    if not forms.FIRST_YEAR <= day.year <= forms.LAST_YEAR:
        day = today
    return branch or (branches[0] if branches else None), day


def _report(branch: Branch, day: date) -> shifts.Report:
    tz = runtime().clock.tz
    return shifts.report(
        db(),
        branch_id=branch.id,
        since=start_of_day(day, tz),
        until=start_of_day(day + timedelta(days=1), tz),
    )


def _rows(report: shifts.Report) -> list[list[str]]:
    language = locale()
    head = ["cashiers", "bills", "bills_baht", "points", "queued", "redemptions", "redeemed_baht"]
    head += ["voids", "voided_baht", "approvals", "approved_baht", "allowed"]
    rows = [[t(language, f"shifts.csv_{name}") for name in head]]
    for line in report.lines:
        sums = line.sums
        figures: list[Any] = [
            line.cashier.name,
            sums.bills,
            _baht(sums.bills_satang),
            sums.points,
            sums.queued,
            sums.redemptions,
            _baht(sums.redeemed_satang),
            sums.voids,
            _baht(sums.voided_satang),
            sums.approvals,
            _baht(sums.approved_satang),
            sums.allowed,
        ]
        rows.append([str(one) for one in figures])
    return rows


def _baht(satang: int) -> str:
    return f"{satang // 100}.{satang % 100:02d}"


def _actor() -> str:
    return f"staff:{g.staff.id}"


def _refused(error: Refused) -> Response:
    """The page again, with what to put right."""
    db().expire_all()
    return make_response(_page(db(), refusal=t(locale(), error.code, **error.facts)), error.status)
