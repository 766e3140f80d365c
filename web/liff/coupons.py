"""Coupons on the member page: mine, to claim, and the page with the moving QR."""

from __future__ import annotations

from typing import Any

from flask import Response, g, jsonify, redirect, request

from core.errors import NotFound, Refused
from core.i18n import moment, money, t
from loyalty import codes, coupons, doors, draws, vouchers
from models.coupons import CodePurpose, Voucher, VoucherState
from web.auth import member_only
from web.ground import db, locale, runtime
from web.liff import qr
from web.liff.ground import CODE_LETTERS, blueprint, page, refuse_idle
from web.liff.views import offer_views, voucher_view

KEY_LETTERS = 32


@blueprint.get("/m/coupons")
@member_only
def show_coupons() -> Any:
    """My vouchers, then what can be claimed."""
    if not g.member.is_member:
        return redirect("/m/join")
    return _list()


@blueprint.post("/m/coupons/<int:offer_id>/claim")
@member_only
def claim(offer_id: int) -> Any:
    """Take a voucher of an offer; the form's key makes a doubled tap one claim."""
    held = runtime()
    key = request.form.get("key", "")[:KEY_LETTERS] or "button"
    try:
        with db().begin_nested():
            voucher = coupons.claim(
                db(), offer_id, g.member, held.clock.now(), held.clock.tz, key=key
            )
    except Refused as refusal:
        return _list(t(locale(), refusal.code, **refusal.facts)), refusal.status
    return redirect(f"/m/coupons?got={voucher.public_id}", code=303)


@blueprint.post("/m/coupons/code")
@member_only
def type_code() -> Any:
    """A code typed on the page; the try counts even when it is refused (C8)."""
    held = runtime()
    if not g.member.is_member:
        return redirect("/m/join")
    typed = request.form.get("code", "")[:CODE_LETTERS]
    try:
        voucher = coupons.claim_by_code(
            db(),
            typed,
            g.member,
            held.clock.now(),
            held.clock.real_now(),
            held.clock.tz,
        )
    except Refused as refusal:
        return _list(t(locale(), refusal.code, **refusal.facts), typed), refusal.status
    return redirect(f"/m/coupons?got={voucher.public_id}", code=303)


@blueprint.get("/m/coupons/<voucher_id>")
@member_only
def use_page(voucher_id: str) -> Any:
    """The page to hold out at the counter."""
    refuse_idle()
    voucher = _own(voucher_id)
    return page(
        "voucher",
        "coupons",
        voucher=voucher_view(voucher),
        status=_status(voucher),
    )


@blueprint.post("/m/coupons/<voucher_id>/code")
@member_only
def voucher_code(voucher_id: str) -> Response:
    """The next code. None while a till holds the voucher, or once it is used."""
    refuse_idle()
    voucher = _own(voucher_id)
    status = _status(voucher)
    held = runtime()
    real_now = held.clock.real_now()
    body = request.get_json(silent=True)
    if isinstance(body, dict) and body.get("is_touched") is True:
        doors.note_seen(g.member_session, real_now)
    if status["state"] != "ready":
        return jsonify(status)
    code = codes.make_code(
        db(),
        held.settings.secret_key,
        CodePurpose.REDEEM,
        g.member.id,
        voucher_id=voucher.id,
        real_now=real_now,
    )
    picture = qr.data_url(qr.scan_url(code))
    return jsonify(status | {"picture": picture, "refresh_seconds": qr.REFRESH_SECONDS})


@blueprint.get("/m/coupons/<voucher_id>/status")
@member_only
def voucher_status(voucher_id: str) -> Response:
    """Asked every 1.5 seconds while the page is seen."""
    return jsonify(_status(_own(voucher_id)))


def _own(voucher_id: str) -> Voucher:
    voucher = vouchers.own(db(), g.member.id, voucher_id)
    if voucher is None:
        raise NotFound
    return voucher


def _status(voucher: Voucher) -> dict[str, Any]:
    """Where a voucher is: `ready`, `held`, `used` or `over`, with the words to show."""
    held = runtime()
    if vouchers.is_at_till(db(), voucher, held.clock.real_now()):
        return {"state": "held", "title": t(locale(), "vouchers.at_till")}
    if voucher.state == VoucherState.REDEEMED:
        return _used(voucher)
    refusal = vouchers.refusal(db(), voucher, held.clock.now(), held.clock.tz)
    if refusal is not None:
        return {"state": "over", "title": t(locale(), refusal.code, **refusal.facts)}
    return {"state": "ready", "title": t(locale(), "vouchers.show_staff")}


def _used(voucher: Voucher) -> dict[str, Any]:
    use = vouchers.last_use(db(), voucher)
    title = t(locale(), "vouchers.used")
    if use is None:
        return {"state": "used", "title": title, "lines": []}
    branch = use.branch_en if locale() == "en" else use.branch_th
    off = t(locale(), "vouchers.used_off", baht=money(locale(), use.discount_satang))
    lines = [
        *([off] if use.discount_satang else []),  # something free took nothing off the bill
        t(locale(), "vouchers.used_at", branch=branch),
        moment(locale(), use.at, runtime().clock.tz),
    ]
    return {"state": "used", "title": title, "lines": lines}


def _list(problem: str = "", typed: str = "") -> str:
    now = runtime().clock.now()
    mine = coupons.vouchers_of(db(), g.member.id, now)
    return page(
        "coupons",
        "coupons",
        vouchers=[voucher_view(voucher) for voucher in mine],
        offers=offer_views("claim"),
        draws=draws.open_draws(db(), now),
        got=request.args.get("got", ""),
        problem=problem,
        typed=typed,
    )
