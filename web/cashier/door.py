"""The way in: enrol this browser, open it with a PIN, close it."""

from __future__ import annotations

from typing import Any

from flask import (
    Response,
    abort,
    g,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from sqlalchemy import select, update

from core import ids
from core.i18n import t
from loyalty import audit, ceilings, people, undoing
from models.staff import Cashier, CashierSession
from web import errors
from web.auth import cashier_only, public
from web.cashier.ground import (
    LANGUAGE_COOKIE,
    SHIFT,
    blueprint,
    cashier_of,
    device_of,
    till_locale,
)
from web.ground import db, locale, runtime
from web.limits import ENROL, limiter
from web.security import clear_cookie, set_cookie

DEVICE_SECONDS = 400 * 24 * 3600
DEMO_BRANCH = "SIAM"
TILL_HEADER = "X-Taem-Till"


@blueprint.before_request
def _language() -> None:
    g.locale = till_locale()


@blueprint.get("/language/<string:chosen>")
@public
def language(chosen: str) -> Any:
    """Thai or English for this till."""
    response = redirect(url_for("cashier.start"))
    response.set_cookie(
        LANGUAGE_COOKIE,
        "en" if chosen == "en" else "th",
        max_age=DEVICE_SECONDS,
        samesite="Lax",
        httponly=True,
        secure=runtime().settings.is_https,
    )
    return response


@blueprint.get("")
@public
def start() -> Any:
    """The till itself, its PIN, or how to become one: whatever comes next."""
    device = device_of(db())
    if device is None:
        demo_branches = people.branches(db()) if runtime().settings.demo else []
        return render_template(
            "cashier/stranger.html", demo_branches=demo_branches, first=DEMO_BRANCH
        )
    g.device, g.branch = device, people.branch_by_id(db(), device.branch_id)
    g.cashier = cashier_of(db(), device)
    if g.cashier is None:
        return render_template(
            "cashier/pin.html",
            cashiers=_cashiers(device.branch_id),
            refusal="",
            chosen=_last_at(device.id),
        )
    managers = [one for one in ceilings.managers_of(db(), device.branch_id) if one != g.cashier]
    page = make_response(
        render_template(
            "cashier/till.html",
            asks_receipt=g.branch.needs_receipt_no,
            managers=managers,
            is_manager=undoing.is_manager(db(), g.cashier.id),
        )
    )
    page.headers[TILL_HEADER] = "open"  # what the service worker may keep for a dead signal
    return page


def _last_at(device_id: int) -> str:
    """Who had this till open last: most likely who opens it now."""
    last = db().scalar(
        select(CashierSession.cashier_id)
        .where(CashierSession.device_id == device_id)
        .order_by(CashierSession.opened_at.desc())
        .limit(1)
    )
    return str(last or "")


def _cashiers(branch_id: int) -> list[Cashier]:
    rows = select(Cashier).where(Cashier.branch_id == branch_id, Cashier.is_active)
    return list(db().scalars(rows.order_by(Cashier.name)))


@blueprint.get("/enrol")
@public
def enrol_page() -> str:
    """A form with the code filled in; opening the link does nothing yet."""
    return render_template("cashier/enrol.html", code=request.args.get("code", "")[:128])


@blueprint.post("/enrol")
@limiter.limit(ENROL)
@public
def enrol() -> Any:
    """Use the one-time code: this browser is a till from now on."""
    code = request.form.get("code", "")[:128]
    name = request.form.get("name", "")[:60]
    real = runtime().clock.real_now()
    try:
        _device, token = people.enrol(db(), code, name, real)
    except people.DeadCode as error:
        # Answered, not raised: somebody may be guessing, and the owner should see it (FQ10).
        audit.record(db(), "stranger", "devices.code_refused", {}, real)
        return errors.answer(error.status, error.code, error.facts)
    return _welcome(token)


@blueprint.post("/enrol/demo")
@public
def enrol_demo() -> Any:
    """The demo's shortcut: a code made and used in one step; does not exist elsewhere."""
    held = runtime()
    if not held.settings.demo:
        abort(404)
    now = held.clock.real_now()
    branch_code = request.form.get("branch", DEMO_BRANCH)[:64]
    code = people.enrolment_code(db(), branch_code, now=now, actor="demo")
    _device, token = people.enrol(db(), code, t(locale(), "cashiers.demo_device"), now)
    return _welcome(token)


def _welcome(token: str) -> Any:
    response = make_response(redirect(url_for("cashier.start"), code=303))
    set_cookie(response, runtime().settings, "device", token, DEVICE_SECONDS)
    clear_cookie(response, runtime().settings, "cashier")
    return response


@blueprint.post("/pin")
@cashier_only(needs_pin=False)
def open_pin() -> Any:
    """Open the till. A wrong PIN is answered, not raised: its count must be committed."""
    real = runtime().clock.real_now()
    chosen = request.form.get("cashier", "")
    cashier = None
    if chosen.isascii() and chosen.isdigit() and len(chosen) < 18:
        cashier = db().get(Cashier, int(chosen), with_for_update=True)
    if cashier is None or cashier.branch_id != g.device.branch_id or not cashier.is_active:
        return _pin_page("cashiers.choose_name", {}, 422)
    refusal = people.try_pin(db(), cashier, request.form.get("pin", "")[:12], real)
    if refusal is not None:
        return _pin_page(refusal.code, refusal.facts, refusal.status)
    db().execute(
        update(CashierSession)
        .where(CashierSession.device_id == g.device.id, CashierSession.closed_at.is_(None))
        .values(closed_at=real)
    )
    session.clear()  # the form token too: nothing set before the PIN lives on (AO6, FX06)
    token = ids.secret_token()
    db().add(
        CashierSession(
            token_hash=ids.token_hash(token),
            cashier_id=cashier.id,
            device_id=g.device.id,
            opened_at=real,
            last_seen_at=real,
            expires_at=real + SHIFT,
        )
    )
    response = make_response(redirect(url_for("cashier.start"), code=303))
    set_cookie(response, runtime().settings, "cashier", token, int(SHIFT.total_seconds()))
    return response


def _pin_page(code: str, facts: dict[str, Any], status: int) -> Response:
    page = render_template(
        "cashier/pin.html",
        cashiers=_cashiers(g.device.branch_id),
        refusal=t(locale(), code, **facts),
        chosen=request.form.get("cashier", ""),
    )
    return make_response(page, status)


@blueprint.post("/leave")
@cashier_only(needs_pin=False)
def leave() -> Any:
    """Close the till; the device stays enrolled."""
    db().execute(
        update(CashierSession)
        .where(CashierSession.device_id == g.device.id, CashierSession.closed_at.is_(None))
        .values(closed_at=runtime().clock.real_now())
    )
    response = make_response(redirect(url_for("cashier.closed"), code=303))
    clear_cookie(response, runtime().settings, "cashier")
    return response


def lands_here() -> Any:
    """Where a scanned `/s/…` goes on a browser that is an open till; None for anyone else.

    The code travels in the fragment, which no server log and no Referer ever sees.
    """
    device = device_of(db())
    if device is None or cashier_of(db(), device) is None:
        return None
    return url_for("cashier.start")
