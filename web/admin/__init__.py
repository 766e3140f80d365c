"""The console: one page per noun, server-rendered, permission by route."""

from __future__ import annotations

from flask import Flask

from web.admin import (
    conversations,
    dashboard,
    door,
    health,
    journeys,
    members,
    menus,
    offers,
    outbox,
    quarantine,
)
from web.admin.ground import blueprint, context
from web.admin.words import message_kind

__all__ = [
    "conversations",
    "dashboard",
    "door",
    "health",
    "journeys",
    "members",
    "menus",
    "offers",
    "outbox",
    "quarantine",
    "register",
]


def register(app: Flask) -> None:
    """Offer the console."""
    app.context_processor(context)
    app.jinja_env.globals["message_kind"] = message_kind
    app.register_blueprint(blueprint)
