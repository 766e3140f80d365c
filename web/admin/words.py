"""What happened to a member, in a sentence of the reader's language."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from core.i18n import money, t, texts
from models.activities import Activity
from models.tiers import Tier
from web.ground import db


def sentence(row: Activity, language: str) -> str:
    """The words of an activity; a kind without words of its own shows its name."""
    key = f"activities.{row.kind}"
    if key not in texts(language):
        return row.kind
    facts: dict[str, Any] = dict(row.facts)
    for name in ("amount_satang", "discount_satang"):
        if name in facts:
            facts["amount"] = money(language, int(facts[name]))
    if language == "en" and facts.get("branch_en"):
        facts["branch"] = facts["branch_en"]
    if row.kind == "stages.changed":
        noun = "stages" if facts.get("field") == "stage" else "levels"
        facts["after"] = t(language, f"{noun}.{facts['after']}")
    for name in ("after", "tier"):
        if row.kind.startswith("tiers.") and name in facts:
            facts[name] = _tier(facts[name], language)
    return t(language, key, **facts)


def _tier(key: str, language: str) -> str:
    tier = db().scalar(select(Tier).where(Tier.key == key))
    if tier is None:
        return t(language, "tiers.none")
    return tier.name_th if language == "th" else tier.name_en


def message_kind(kind: str, language: str) -> str:
    """What a message was about: its journey's name or its notice's; else the kind itself."""
    name = kind.replace(".", "_")
    for key in (f"journeys.name_{name}", f"notices.name_{name}"):
        if key in texts(language):
            return t(language, key)
    return kind
