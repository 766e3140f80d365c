"""What messages cost: the plan at LINE, how the month stands, and the hard monthly stop (M6)."""

from __future__ import annotations

from typing import Any

from flask import Response, render_template, request

from bot.gateway import SdkLine
from core.errors import OutsideFault
from core.text import parse_whole
from engagement import costs, outbox
from web.admin import forms
from web.admin.ground import back, blueprint, may, noted
from web.auth import staff_only
from web.ground import db, outside, runtime

MOST_MESSAGES = 10_000_000


@blueprint.get("/costs")
@staff_only("costs.read")
def costs_page() -> str:
    """The month so far, and the plan as the owner entered it."""
    held = runtime()
    now = held.clock.now()
    return render_template(
        "admin/costs.html",
        month=costs.month_of(db(), now, held.clock.tz),
        plan=costs.plan_of(db()),
        cost=costs.cost_of(db(), 0, now, held.clock.tz),
        age=quota_age(),
        can_edit=may("costs.edit"),
    )


@blueprint.post("/costs")
@staff_only("costs.edit")
def costs_save() -> Response:
    """Keep the plan and the stop."""
    plan = costs.Plan(
        forms.maybe_money("fee", "costs.fee") or 0,
        forms.whole("included", "costs.included", 0, MOST_MESSAGES),
        forms.maybe_money("extra", "costs.extra") or 0,
    )
    stop = forms.maybe_whole("stop", "costs.stop", 0, MOST_MESSAGES)
    costs.set_plan(db(), plan, stop, runtime().clock.now())
    noted("costs.changed", included=plan.included, stop=stop)
    return back("admin.costs_page", note="console.saved")


@blueprint.post("/costs/ask")
@staff_only("campaigns.edit")
@outside
def costs_ask() -> Any:
    """Ask LINE for the quota now, and go back to where it was asked from."""
    ask_line()
    campaign_id = request.form.get("campaign", type=parse_whole)
    if campaign_id:
        return back("admin.campaign_look", campaign_id=campaign_id)
    return back("admin.costs_page")


def ask_line() -> bool:
    """Take over LINE's figures of this moment; False where LINE did not answer."""
    held = runtime()
    try:
        quota = SdkLine(held.settings).quota()
    except OutsideFault:
        return False
    with held.transaction() as session:
        state = outbox.channel(session)
        state.quota_limit = quota.limit
        # What is under way is not in LINE's count yet: never less than we know of.
        state.quota_used = max(quota.used, state.quota_used or 0) if quota.limit else quota.used
        state.quota_read_at = held.clock.real_now()
    return True


def quota_age() -> int | None:
    """Minutes since LINE was asked; None before the first time."""
    held = runtime()
    state = costs.month_of(db(), held.clock.now(), held.clock.tz)
    if state.read_at is None:
        return None
    return max(0, int((held.clock.real_now() - state.read_at).total_seconds() // 60))
