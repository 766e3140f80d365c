"""The history of points in words."""

from __future__ import annotations

from typing import Any

from flask import g, redirect

from bot.flex.points import history_words, signed
from core.clock import last_day, local_day
from loyalty import points
from web.auth import member_only
from web.ground import db, locale, runtime
from web.liff.ground import blueprint, page
from web.liff.views import next_reward

LINES_SHOWN = 100


@blueprint.get("/m/points")
@member_only
def show_points() -> Any:
    """Available, pending, debt, what expires when, and every movement in words."""
    if not g.member.is_member:
        return redirect("/m/join")
    held = runtime()
    balance = points.balance_of(db(), g.member.id, held.clock.now())
    lines = [
        {
            "words": history_words(entry.kind.value, entry.facts, locale()),
            "points": entry.points,
            "signed": signed(entry.points),
            "on": local_day(entry.effective_at, held.clock.tz),
        }
        for entry in points.history(db(), g.member.id, LINES_SHOWN)
    ]
    expiring = [(lot.points, last_day(lot.expires_at, held.clock.tz)) for lot in balance.expiring]
    return page(
        "points",
        "points",
        balance=balance,
        lines=lines,
        expiring=expiring,
        reward=next_reward(balance.available - balance.debt),  # which is paid first
    )
