"""The shift report: on demand, at closing, and for managers the whole branch and day (K8)."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from flask import g, redirect, render_template, request, url_for
from sqlalchemy import select

from core.clock import local_day, start_of_day
from core.i18n import t
from loyalty import ceilings, shifts, undoing
from models.staff import CashierSession
from web.auth import cashier_only
from web.cashier.ground import blueprint, check_manager, shift_from
from web.ground import db, locale, runtime

#: How long a closed till shows what its last shift did.
SHOWN_AFTER_CLOSING = timedelta(minutes=15)


@blueprint.get("/report")
@cashier_only()
def report() -> str:
    """This shift so far; a manager sees the branch's day, and may look at another one."""
    if undoing.is_manager(db(), g.cashier.id) and "mine" not in request.args:
        return _branch_page(day_of(request.args.get("day", "")))
    return _shift_page(g.cashier.id, shift_from(), runtime().clock.now())


@blueprint.post("/report")
@cashier_only()
def report_for_manager() -> Any:
    """The branch's day, for whoever knows a manager's PIN. A wrong one is counted."""
    refusal = check_manager(request.form)
    if refusal is not None:
        words = t(locale(), refusal.code, **refusal.facts)
        page = _shift_page(g.cashier.id, shift_from(), runtime().clock.now(), refusal=words)
        return page, 403 if refusal.status == 401 else refusal.status
    return _branch_page(day_of(request.form.get("day", "")), is_opened=True)


@blueprint.get("/closed")
@cashier_only(needs_pin=False)
def closed() -> Any:
    """What the shift that has just ended at this till did; afterwards, the way in."""
    clock = runtime().clock
    last = db().scalar(
        select(CashierSession)
        .where(
            CashierSession.device_id == g.device.id,
            CashierSession.closed_at > clock.real_now() - SHOWN_AFTER_CLOSING,
        )
        .order_by(CashierSession.closed_at.desc())
        .limit(1)
    )
    if last is None or last.closed_at is None:
        return redirect(url_for("cashier.start"))
    offset = clock.now() - clock.real_now()
    return _shift_page(
        last.cashier_id,
        shift_from(last.opened_at),
        last.closed_at + offset + timedelta(microseconds=1),
        is_closed=True,
    )


def _shift_page(
    cashier_id: int,
    since: datetime,
    until: datetime,
    *,
    is_closed: bool = False,
    refusal: str = "",
) -> str:
    done = shifts.report(
        db(),
        branch_id=g.device.branch_id,
        since=since,
        until=until + timedelta(microseconds=1),
        cashier_id=cashier_id,
    )
    managers = [] if is_closed else ceilings.managers_of(db(), g.device.branch_id)
    return render_template(
        "cashier/report.html",
        report=done,
        is_closed=is_closed,
        managers=[one for one in managers if one.id != cashier_id],
        day=None,
        refusal=refusal,
        is_manager=False if is_closed else undoing.is_manager(db(), cashier_id),
    )


def _branch_page(day: date, *, is_opened: bool = False) -> str:
    tz = runtime().clock.tz
    done = shifts.report(
        db(),
        branch_id=g.device.branch_id,
        since=start_of_day(day, tz),
        until=start_of_day(day + timedelta(days=1), tz),
    )
    return render_template(
        "cashier/report.html",
        report=done,
        is_closed=False,
        managers=[],
        day=day,
        refusal="",
        is_manager=not is_opened,
    )


def day_of(text: str) -> date:
    """The day asked for; today for anything that is none."""
    today = local_day(runtime().clock.now(), runtime().clock.tz)
    try:
        asked = date.fromisoformat(text)
    except ValueError:
        return today
    return asked if 2000 <= asked.year <= today.year else today
