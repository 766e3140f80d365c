"""Members who said "not me": somebody has looked into it, and lets them go on (`faults.md` AC3)."""

from __future__ import annotations

from flask import Response

from loyalty import disputes
from models.members import MemberTotals
from web.admin.ground import back, blueprint, noted
from web.admin.members import member_of
from web.auth import staff_only
from web.ground import db, runtime


@blueprint.post("/members/<string:public_id>/unfreeze")
@staff_only("members.unfreeze")
def member_unfreeze(public_id: str) -> Response:
    """Let points and coupons be used again."""
    person = member_of(public_id)
    why = db().get_one(MemberTotals, person.id).frozen_why or "ledger"
    disputes.lift(db(), person.id, runtime().clock.now())
    noted("members.unfrozen", member=person.public_id, why=why)
    return back("admin.member", note="console.saved", public_id=public_id)
