"""Inviting friends on the member page: the link, the code, and how far each invitation has come."""

from __future__ import annotations

from typing import Any

from flask import g, redirect

from core.clock import local_day
from loyalty import referrals
from web.auth import member_only
from web.ground import db, runtime
from web.liff.ground import blueprint, invite_link, page
from web.liff.views import name_of


@blueprint.get("/m/friends")
@member_only
def friends() -> Any:
    """My code and what became of it; and who brought me."""
    if not g.member.is_member or g.member.referral_code is None:
        return redirect("/m/join")
    tz = runtime().clock.tz
    rows = [
        {"name": one.name, "step": one.step.value, "on": local_day(one.at, tz), "why": one.refused}
        for one in referrals.statuses_of(db(), g.member)
    ]
    friend_gift, referrer_gift = referrals.gifts(db())
    return page(
        "friends",
        "me",
        code=g.member.referral_code,
        link=invite_link(g.member.referral_code),
        rows=rows,
        brought_by=referrals.brought_by(db(), g.member),
        friend_gift=name_of(friend_gift) if friend_gift else None,
        referrer_gift=name_of(referrer_gift) if referrer_gift else None,
        min_satang=referrals.least_bill(db()),
    )
