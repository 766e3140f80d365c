"""Exchanging points on the member page."""

from __future__ import annotations

from typing import Any

from flask import g, redirect, request

from core.errors import Refused
from core.i18n import t
from core.ids import public_id
from core.text import parse_whole
from loyalty import points, rewards
from web.auth import member_only
from web.ground import db, locale, runtime
from web.liff.ground import blueprint, page
from web.liff.views import offer_views

KEY_LETTERS = 32


@blueprint.get("/m/rewards")
@member_only
def show_rewards() -> Any:
    """The catalogue."""
    if not g.member.is_member:
        return redirect("/m/join")
    return _catalogue()


@blueprint.post("/m/rewards/<int:offer_id>")
@member_only
def exchange(offer_id: int) -> Any:
    """Points for a voucher; the form's key makes a doubled tap one exchange."""
    held = runtime()
    key = request.form.get("key", "")[:KEY_LETTERS] or public_id()
    seen = parse_whole(request.form.get("price", ""))
    try:
        with db().begin_nested():
            voucher = rewards.exchange(
                db(), offer_id, g.member, key, held.clock.now(), held.clock.tz, price=seen
            )
    except Refused as refusal:
        return _catalogue(t(locale(), refusal.code, **refusal.facts)), 409
    return redirect(f"/m/coupons?got={voucher.public_id}", code=303)


def _catalogue(problem: str = "") -> str:
    balance = points.balance_of(db(), g.member.id, runtime().clock.now())
    return page(
        "rewards",
        "coupons",
        rewards=offer_views("points"),
        balance=balance,
        key=public_id(),
        problem=problem,
    )
