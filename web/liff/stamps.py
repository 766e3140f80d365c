"""The member's stamp cards, drawn."""

from __future__ import annotations

from typing import Any

from flask import g, redirect

from loyalty import stamps
from web.auth import member_only
from web.ground import db, runtime
from web.liff.ground import blueprint, page
from web.liff.views import stamp_view


@blueprint.get("/m/stamps")
@member_only
def show_stamps() -> Any:
    """Every card of a current programme."""
    if not g.member.is_member:
        return redirect("/m/join")
    found = stamps.cards_of(db(), g.member.id, runtime().clock.now())
    return page("stamps", "stamps", cards=[stamp_view(view) for view in found])
