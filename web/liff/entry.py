"""Where LIFF lands, and where an invited friend lands."""

from __future__ import annotations

from typing import Any

from flask import g, redirect, render_template, request

from core.errors import Refused
from core.i18n import t
from loyalty import referrals
from models.members import Member
from web.auth import member_only, public
from web.ground import db, locale, runtime
from web.liff.ground import (
    CODE_LETTERS,
    blueprint,
    chat_url,
    entry_page,
    invite_link,
    shop_name,
    signed_in,
    surroundings,
)


@blueprint.get("/m")
@blueprint.get("/m/")
@public
def enter() -> Any:
    """The LIFF endpoint. LINE's script must run here before anything moves on."""
    if signed_in() is not None and "liff.state" not in request.args:
        return redirect("/m/home")
    return entry_page(db(), runtime(), "/m/home")


@blueprint.get("/m/invite")
@public
def invite() -> Any:
    """An invitation: with LIFF the code is noted for whoever opens it, before they add us."""
    code = referrals.normalised(request.args.get("code", ""))
    member = signed_in()
    held = runtime()
    if member is None and held.settings.has_liff:
        return entry_page(db(), held, f"/m/invite?code={code}" if code.isalnum() else "", code=code)
    if member is not None and member.is_member and code == member.referral_code:
        return render_template(
            "member/share.html", shop_name=shop_name(db()), code=code, link=invite_link(code)
        )
    return _page(member, code)


@blueprint.post("/m/invite")
@member_only
def accept_invite() -> Any:
    """Somebody signed in takes the code of a friend; the try counts even when refused (C8)."""
    from loyalty import typed_codes

    around = surroundings()
    held = runtime()
    code = request.form.get("code", "")[:CODE_LETTERS]
    try:
        typed_codes.use(db(), around.member, code, around.now, held.clock.real_now(), held.clock.tz)
    except Refused as refusal:
        problem = t(locale(), refusal.code, **refusal.facts)
        return _page(g.member, referrals.normalised(code), problem), refusal.status
    return redirect("/m/join", code=303)


def _page(member: Member | None, code: str, problem: str = "") -> str:
    return render_template(
        "member/invite.html",
        code=code if code.isalnum() else "",
        member=member,
        is_referred=member is not None and referrals.is_referred(db(), member),
        shop_name=shop_name(db()),
        chat_url=chat_url(db(), f"โค้ด {code}" if code.isalnum() else None),
        add_url=chat_url(db()),
        problem=problem,
    )
