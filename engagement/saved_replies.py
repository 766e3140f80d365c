"""Answers that staff keep ready: checked when saved, filled for the member they are sent to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.i18n import fill, t
from engagement import texts
from loyalty import points, shop, tiers
from models.members import Member

#: What a saved reply may name, e.g. `สวัสดีค่ะคุณ{name}`.
PLACEHOLDERS = ("name", "points", "tier", "member_no", "shop", "staff")


def check(title: str, text: str) -> None:
    """Refuse a reply that could not be filled later (FX19)."""
    texts.check_placeholders(title, text, PLACEHOLDERS)


def facts_for(
    session: Session, member: Member, *, staff_name: str, now: datetime
) -> dict[str, Any]:
    """What the placeholders stand for with this member, in their language."""
    language = member.locale
    tier = tiers.tier_of(session, member.id, now)
    tier_name = "" if tier is None else tier.name_en if language == "en" else tier.name_th
    return {
        "name": member.shown_name or t(language, "members.nameless"),
        "points": points.balance_of(session, member.id, now).available,
        "tier": tier_name or "–",
        "member_no": member.member_no or "–",
        "shop": shop.shop_name(session, language),
        "staff": staff_name,
    }


def filled(text: str, facts: Mapping[str, Any]) -> str:
    """The words as this member would read them."""
    return fill(text, facts)
