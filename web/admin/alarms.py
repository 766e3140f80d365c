"""Alarms: what is wrong now, what was, and who hears of it on LINE."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, make_response, render_template, request
from sqlalchemy import select

from core.errors import Refused
from core.i18n import t
from core.text import clean
from engagement import alerts
from loyalty import alarms as rules
from loyalty import members, shop
from models.members import Member
from models.results import Alarm
from web.admin.ground import back, blueprint, may, noted
from web.auth import staff_only
from web.ground import db, locale, runtime

#: Alarms that are over, on the page.
PAST = 50
#: Kinds that only some may see: who is watched does not see the list.
GUARDED = {"suspects.cashier": "suspects.read", "suspects.members": "suspects.read"}
#: Where each kind is looked into.
PLACES = {
    "journeys": ("admin.journeys", "journeys.read"),
    "sending": ("admin.outbox", "outbox.read"),
    "jobs": ("admin.health", "health.read"),
    "suspects": ("admin.suspects", "suspects.read"),
    "ledger": ("admin.liability", "liability.read"),
    "members": ("admin.members", "members.read"),
    "audit": ("admin.audit_page", "audit.read"),
    "exports": ("admin.audit_page", "audit.read"),
}


@blueprint.get("/alarms")
@staff_only("alarms.read")
def alarms() -> str:
    """Open ones first, then those that are over."""
    return _page()


@blueprint.post("/alarms/<int:alarm_id>/seen")
@staff_only("alarms.edit")
def alarm_seen(alarm_id: int) -> Response:
    """Somebody has taken note."""
    if db().get(Alarm, alarm_id) is None:
        abort(404)
    if rules.see(db(), alarm_id, runtime().clock.now()):
        noted("alarms.seen", alarm=alarm_id)
    return back("admin.alarms", note="console.saved")


@blueprint.post("/alarms/owners")
@staff_only("alarms.owners")
def alarm_owner_add() -> Response:
    """One more who is told on LINE."""
    given = clean(request.form.get("member_no", ""), 20)
    member = members.by_number(db(), given)
    known = list(shop.get(db(), alerts.OWNERS))
    try:
        if member is None or not member.is_member or member.line_user_id is None:
            raise Refused("alarms.no_such_member", status=404)
        if len(known) >= alerts.MAX_OWNERS:
            raise Refused("alarms.too_many", status=409, count=alerts.MAX_OWNERS)
    except Refused as error:
        return make_response(_page(t(locale(), error.code, **error.facts)), error.status)
    if member.id not in known:
        shop.set(db(), alerts.OWNERS, [*known, member.id], runtime().clock.now())
        noted("alarms.owner_added", member=member.public_id)
    return back("admin.alarms", note="console.saved")


@blueprint.post("/alarms/owners/<public_id>/remove")
@staff_only("alarms.owners")
def alarm_owner_remove(public_id: str) -> Response:
    """One who is told no more."""
    gone = {one.id for one in alerts.owners(db()) if one.public_id == public_id}
    if not gone:
        abort(404)
    known = shop.get(db(), alerts.OWNERS)
    left = [one.id for one in alerts.owners(db()) if one.id not in gone]
    if left != known:
        shop.set(db(), alerts.OWNERS, left, runtime().clock.now())
        noted("alarms.owner_removed", member=public_id)
    return back("admin.alarms", note="console.saved")


def _page(refusal: str = "") -> str:
    past = select(Alarm).where(Alarm.ended_at.is_not(None)).order_by(Alarm.ended_at.desc())
    return render_template(
        "admin/alarms.html",
        found=[_shown(one) for one in rules.open_ones(db()) if _may_see(one)],
        past=[_shown(one) for one in db().scalars(past.limit(PAST)) if _may_see(one)],
        owners=alerts.owners(db()),
        refusal=refusal,
    )


def _may_see(alarm: Alarm) -> bool:
    return alarm.kind not in GUARDED or may(GUARDED[alarm.kind])


def _shown(alarm: Alarm) -> dict[str, Any]:
    title, body = alerts.words(db(), alarm, locale(), runtime().clock.tz)
    endpoint, permission = PLACES.get(alarm.kind.partition(".")[0], ("", ""))
    about = db().get(Member, alarm.facts["member_id"]) if "member_id" in alarm.facts else None
    return {
        "alarm": alarm,
        "title": title,
        "body": body,
        "is_grave": alarm.kind in rules.GRAVE,
        "endpoint": endpoint if endpoint and may(permission) else None,
        "where": {"q": about.member_no} if about is not None else {},
    }
