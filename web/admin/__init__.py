"""The console: one page per noun, server-rendered, permission by route."""

from __future__ import annotations

from flask import Flask

from web.admin import (
    account,
    adjustments,
    alarms,
    api_keys,
    audit,
    campaigns,
    conversations,
    costs,
    dashboard,
    disputes,
    door,
    draws,
    earning,
    health,
    imports,
    journey_trials,
    journeys,
    liability,
    lifecycle,
    members,
    menus,
    merges,
    offers,
    outbox,
    quarantine,
    referrals,
    replies,
    results,
    segments,
    settings,
    staff,
    stamps,
    surveys,
    tiers,
    tills,
    webhooks,
    weekly,
)
from web.admin.ground import blueprint, context
from web.admin.words import message_kind

__all__ = [
    "account",
    "adjustments",
    "alarms",
    "api_keys",
    "audit",
    "campaigns",
    "conversations",
    "costs",
    "dashboard",
    "disputes",
    "door",
    "draws",
    "earning",
    "health",
    "imports",
    "journey_trials",
    "journeys",
    "liability",
    "lifecycle",
    "members",
    "menus",
    "merges",
    "offers",
    "outbox",
    "quarantine",
    "referrals",
    "register",
    "replies",
    "results",
    "segments",
    "settings",
    "staff",
    "stamps",
    "surveys",
    "tiers",
    "tills",
    "webhooks",
    "weekly",
]


def register(app: Flask) -> None:
    """Offer the console."""
    app.context_processor(context)
    app.jinja_env.globals.update(
        message_kind=message_kind,
        adjustments_of=adjustments.recent_of,
        tier_standing_of=tiers.standing_of,
        giveable_vouchers=offers.giveable,
        adjustment_ceiling=adjustments.ceiling,
        tickets_of=surveys.tickets_of,
        answers_of=surveys.answers_of,
        tags_of=segments.tags_of,
        choice_of=segments.choice_of,
        next_acts=weekly.acts,
        next_act_of=weekly.act_of,
        liking_of=weekly.liking_of,
    )
    app.register_blueprint(blueprint)
