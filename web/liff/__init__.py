"""Pages a member opens on the phone, through LIFF or a link from the chat, and what a QR opens."""

from __future__ import annotations

from flask import Flask

from web.liff import (
    coupons,
    draws,
    entry,
    joining,
    links,
    members,
    pictures,
    points,
    referrals,
    rewards,
    scans,
    session,
    stamps,
    surveys,
    tiers,
    topics,
)
from web.liff.ground import blueprint

__all__ = [
    "coupons",
    "draws",
    "entry",
    "joining",
    "links",
    "members",
    "pictures",
    "points",
    "referrals",
    "register",
    "rewards",
    "scans",
    "session",
    "stamps",
    "surveys",
    "tiers",
    "topics",
]


def register(app: Flask) -> None:
    """Offer the member pages."""
    app.register_blueprint(blueprint)
    session.exempt()
