"""Branches and their tills, as two lists; shift reports with export (K5, K8, AA7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any

from flask import Response, abort, g, make_response, render_template, request, url_for
from sqlalchemy import select, true
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.errors import Refused
from core.i18n import LOCALES, t
from loyalty import ceilings, people, shifts, shop
from models.staff import AuditRow, Branch, Cashier, CashierSession, Device, Role
from web.admin import forms
from web.admin.ground import back, blueprint, may, noted
from web.admin.tables import Column, Listing, found_in, listed, spreadsheet
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


def mine(column: Any) -> Any:
    """What a person looks after: a manager of one branch that one, everybody else all."""
    return column == g.staff.branch_id if _is_of_one() else true()


def _is_of_one() -> bool:
    return g.staff.role == Role.MANAGER and g.staff.branch_id is not None


def branch_name(branch: Branch) -> str:
    """In the reader's language."""
    return branch.name_en if locale() == "en" else branch.name_th


BRANCHES = listed(
    Listing(
        "/tills/branches",
        (
            Column("name", "console.name", Branch.name_th, branch_name),
            Column("code", "tills.code", Branch.code, lambda row: row.code, "mono"),
            Column("state", "console.state", Branch.is_active,
                   lambda row: t(locale(), "tills.is_open_now" if row.is_active
                                 else "tills.branch_closed")),
            Column("receipt", "tills.receipts", Branch.needs_receipt_no,
                   lambda row: t(locale(), "tills.receipt_needed" if row.needs_receipt_no
                                 else "tills.receipt_optional")),
            Column("acts", ""),
        ),
        lambda: found_in(
            select(Branch).where(mine(Branch.id)), Branch.name_th, Branch.name_en, Branch.code
        ),
        "code",
        Branch.id,
        "tills.read",
        is_down=False,
        shape=lambda row: row[0],
        first=Branch.is_active.desc(),
        home="admin.tills",
    )
)  # fmt: skip


@blueprint.get("/tills")
@staff_only("tills.read")
def tills() -> str:
    """Every branch, what its people may give alone, and what looks odd."""
    return _page(db())


def _page(session: Session, *, refusal: str = "") -> str:
    return render_template(
        "admin/tills.html",
        table=BRANCHES.page(),
        is_first=not branches(),
        first_names={language: t(language, "tills.first_branch_name") for language in LOCALES},
        ceilings={role: ceilings.ceilings_for(session, role) for role in ceilings.ROLES},
        own_ceilings=shop.get(session, ceilings.BY_BRANCH),
        spans=ceilings.SPANS,
        watched=_watched(session) if g.staff.role != Role.MANAGER else [],
        refusal=refusal,
    )


def branches() -> list[Branch]:
    """Every branch that the one signed in looks after, open ones first."""
    wanted = select(Branch).where(mine(Branch.id))
    return list(db().scalars(wanted.order_by(Branch.is_active.desc(), Branch.code)))


def refuse_unless_mine(branch_id: int) -> None:
    """What a manager of one branch does at another is refused."""
    if _is_of_one() and g.staff.branch_id != branch_id:
        raise Forbidden


def _watched(session: Session) -> list[tuple[AuditRow, str]]:
    """The newest odd rows, with the name of the cashier who did it."""
    newest = session.scalar(select(AuditRow.id).order_by(AuditRow.id.desc()).limit(1)) or 0
    rows = (
        select(AuditRow)
        .where(AuditRow.id > newest - WATCHED_ROWS, AuditRow.act.in_(WATCHED))
        .order_by(AuditRow.id.desc())
        .limit(WATCHED_SHOWN)
    )
    found = session.scalars(rows).all()
    ids = {one.actor.removeprefix("cashier:") for one in found if one.actor.startswith("cashier:")}
    named = select(Cashier.id, Cashier.name).where(Cashier.id.in_([int(one) for one in ids]))
    names = {f"cashier:{key}": name for key, name in session.execute(named)}
    return [(one, names.get(one.actor, "")) for one in found]


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
            actor=actor(),
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
    refuse_unless_mine(branch.id)
    return branch


def chosen_branch(kept: int | None = None) -> Branch:
    """The branch that the form names, among one's own open ones; `kept` may be closed."""
    known = {str(one.id): one for one in branches() if one.is_active or one.id == kept}
    chosen = request.form.get("branch", "")
    if chosen not in known:
        raise forms.bad("console.branch")
    return known[chosen]


# --- Tills ---------------------------------------------------------------------------------------


DEVICES = listed(
    Listing(
        "/tills/devices",
        (
            Column("name", "tills.device", Device.name, lambda line: line.device.name),
            Column("branch", "console.branch", Branch.name_th,
                   lambda line: branch_name(line.branch)),
            Column("enrolled", "tills.enrolled_at", Device.enrolled_at,
                   lambda line: line.device.enrolled_at, "moment"),
            Column("seen", "tills.last_seen", Device.last_seen_at,
                   lambda line: line.device.last_seen_at, "moment"),
            Column("opened", "tills.opened_by"),
            Column("revoked", "tills.revoked", Device.revoked_at,
                   lambda line: line.device.revoked_at, "moment"),
            Column("acts", ""),
        ),
        lambda: found_in(
            select(Device, Branch).join(Branch, Branch.id == Device.branch_id)
            .where(mine(Device.branch_id)),
            Device.name, Branch.name_th, Branch.name_en, Branch.code,
        ),
        "name",
        Device.id,
        "tills.read",
        is_down=False,
        shape=lambda row: DeviceLine(*row),
        first=Device.revoked_at.is_not(None),
        home="admin.devices_page",
    )
)  # fmt: skip


@dataclass(frozen=True)
class DeviceLine:
    """A till with the branch that it stands in."""

    device: Device
    branch: Branch


@blueprint.get("/tills/devices")
@staff_only("tills.read")
def devices_page() -> str:
    """Every till, those in use first."""
    return _devices()


def _devices(*, refusal: str = "", secret: dict[str, str] | None = None) -> str:
    table = DEVICES.page()
    opened = db().execute(
        select(CashierSession.device_id, Cashier.name)
        .join(Cashier, Cashier.id == CashierSession.cashier_id)
        .where(
            CashierSession.closed_at.is_(None),
            CashierSession.expires_at > runtime().clock.real_now(),
            CashierSession.device_id.in_([line.device.id for line in table.rows]),
        )
    )
    return render_template(
        "admin/devices.html",
        table=table,
        opened=dict(opened.all()),
        branches=branches(),
        refusal=refusal,
        secret=secret,
    )


@blueprint.post("/tills/code")
@staff_only("tills.edit")
def device_code() -> Any:
    """A one-time link that makes a browser a till, with its QR: shown here and never again."""
    try:
        branch = chosen_branch()
        code = people.enrolment_code(
            db(), branch.code, now=runtime().clock.real_now(), actor=actor()
        )
    except Refused as error:
        return refused(_devices, error)
    link = runtime().settings.public_url + url_for("cashier.enrol_page", code=code)
    return _devices(
        secret={
            "title": t(locale(), "tills.code_title"),
            "body": t(locale(), "tills.code_body"),
            "link": link,
            "qr": qr.data_url(link),
        }
    )


@blueprint.post("/tills/devices/<int:device_id>")
@staff_only("tills.edit")
def device_save(device_id: int) -> Any:
    """Revoke a till, or take it to another branch: both hold from its next request on."""
    device = db().get(Device, device_id, with_for_update=True)
    if device is None:
        abort(404)
    refuse_unless_mine(device.branch_id)
    real = runtime().clock.real_now()
    try:
        if request.form.get("act") == "revoke":
            people.revoke_device(db(), device, now=real, actor=actor())
        else:
            people.move_device(db(), device, chosen_branch().id, now=real, actor=actor())
    except Refused as error:
        return refused(_devices, error)
    return back("admin.devices_page", note="console.saved")


# --- Shifts --------------------------------------------------------------------------------------


@blueprint.get("/tills/shifts")
@staff_only("shifts.read")
def till_shifts() -> str:
    """A branch's day: who gave, redeemed, took back and approved what."""
    branch, day = _asked()
    return render_template(
        "admin/shifts.html",
        branches=branches(),
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
    known = branches()
    asked = request.args.get("branch", "")
    branch = next((one for one in known if one.code == asked), None)
    today = local_day(runtime().clock.now(), runtime().clock.tz)
    try:
        day = date.fromisoformat(request.args.get("day", ""))
    except ValueError:
        day = today
    if not forms.FIRST_YEAR <= day.year <= forms.LAST_YEAR:
        day = today
    return branch or (known[0] if known else None), day


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


def actor() -> str:
    """Who is signed in, as the audit chain names them."""
    return f"staff:{g.staff.id}"


def refused(page: Callable[..., str], error: Refused) -> Response:
    """The page again, with what to put right."""
    db().expire_all()
    return make_response(page(refusal=t(locale(), error.code, **error.facts)), error.status)


def _refused(error: Refused) -> Response:
    return refused(partial(_page, db()), error)
