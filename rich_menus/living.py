"""Living menus: one picture for each way a member may stand, from a bounded set (N5)."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.i18n import t
from models.stamps import StampProgram
from models.tiers import Tier
from rich_menus.definitions import PLAIN, SHOWS_STAMPS, SHOWS_TIER, Variant, Words


def variants(session: Session, living: str | None) -> list[Variant]:
    """Every picture of a menu, the plain one first; that alone unless it shows something."""
    if living == SHOWS_TIER:
        return [PLAIN, *_tiers(session)]
    if living is not None and living.startswith(SHOWS_STAMPS):
        return [PLAIN, *_stamps(session, living.removeprefix(SHOWS_STAMPS))]
    return [PLAIN]


def choices(session: Session) -> list[tuple[str, Words]]:
    """What an area may show: (value, words)."""
    programs = session.scalars(
        select(StampProgram)
        .where(StampProgram.is_current, StampProgram.is_on)
        .order_by(StampProgram.id)
    )
    found = [(f"{SHOWS_STAMPS}{one.key}", Words(one.name_th, one.name_en)) for one in programs]
    if session.scalar(select(Tier.id).where(Tier.is_on).limit(1)) is not None:
        found.append((SHOWS_TIER, Words(t("th", "menus.shows_tier"), t("en", "menus.shows_tier"))))
    return found


def _tiers(session: Session) -> list[Variant]:
    rows = session.scalars(select(Tier).where(Tier.is_on).order_by(Tier.threshold))
    return [Variant(f"t{one.id}", Words(one.name_th, one.name_en)) for one in rows]


def _stamps(session: Session, key: str) -> list[Variant]:
    program = session.scalar(
        select(StampProgram).where(StampProgram.key == key, StampProgram.is_current)
    )
    if program is None:
        return []
    return [
        Variant(
            f"s{filled}",
            Words(
                t("th", "menus.stamps_of", filled=filled, size=program.size),
                t("en", "menus.stamps_of", filled=filled, size=program.size),
            ),
            filled,
            program.size,
        )
        for filled in range(program.size + 1)
    ]
