"""The ladder of tiers, the rules it is climbed by, and where members stand on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import once_a_batch
from loyalty import shop
from models.tiers import MemberTier, Tier

#: How history names having no tier; no tier may have this key.
NO_TIER = "none"
#: What a tier earns without a multiplier, in percent.
PLAIN_PERCENT = 100


class Basis(StrEnum):
    SPEND = "spend"
    POINTS = "points"


class Window(StrEnum):
    ROLLING = "rolling"
    YEAR = "year"


class Fall(StrEnum):
    ONE_STEP = "one_step"
    TO_EARNED = "to_earned"


@dataclass(frozen=True)
class Rules:
    """The shop's settings of tiers."""

    basis: Basis
    window: Window
    hold_months: int
    fall: Fall
    warn_days: int


def rules_of(session: Session) -> Rules:
    """How this shop's ladder works."""
    return Rules(
        basis=Basis(shop.get(session, "tiers.basis")),
        window=Window(shop.get(session, "tiers.window")),
        hold_months=int(shop.get(session, "tiers.hold_months")),
        fall=Fall(shop.get(session, "tiers.fall")),
        warn_days=int(shop.get(session, "tiers.warn_days")),
    )


def every_tier(session: Session) -> Sequence[Tier]:
    """The tiers, on or off, lowest first."""
    return session.scalars(select(Tier).order_by(Tier.threshold)).all()


def ladder_of(session: Session) -> Sequence[Tier]:
    """The tiers that are on, lowest first."""
    steps = select(Tier).where(Tier.is_on).order_by(Tier.threshold)
    return once_a_batch(session, "tiers.ladder", lambda: session.scalars(steps).all())


def highest_below(ladder: Sequence[Tier], figure: int) -> Tier | None:
    """The highest tier that this figure reaches."""
    reached = [tier for tier in ladder if tier.threshold <= figure]
    return reached[-1] if reached else None


def tier_of(session: Session, member_id: int, now: datetime) -> Tier | None:
    """The tier a member stands in; None without one, or while their tier is switched off.

    A hold that ended a moment ago counts until the nightly pass, or the member's next bill, has
    looked at it: nobody loses a tier by the minute.
    """
    del now  # a row says where the member stands; part of the agreed signature
    held = (
        select(Tier)
        .join(MemberTier, MemberTier.tier_id == Tier.id)
        .where(MemberTier.member_id == member_id, Tier.is_on)
    )
    return session.scalar(held)


def tiers_of(session: Session, member_ids: Iterable[int]) -> dict[int, Tier]:
    """The tiers of many members; those without one are left out."""
    held = (
        select(MemberTier.member_id, Tier)
        .join(Tier, Tier.id == MemberTier.tier_id)
        .where(MemberTier.member_id.in_(list(member_ids)), Tier.is_on)
    )
    return {row.member_id: row.Tier for row in session.execute(held)}


def earn_percent_of(session: Session, member_id: int, now: datetime) -> int:
    """How much of the base points this member earns, in percent: 150 is one and a half times."""
    tier = tier_of(session, member_id, now)
    return tier.earn_percent if tier is not None else PLAIN_PERCENT


def percent_off_of(session: Session, member_id: int, now: datetime) -> int:
    """Percent off any bill of this member; 0 without a tier that has it."""
    tier = tier_of(session, member_id, now)
    return (tier.percent_off or 0) if tier is not None else 0


def early_days_of(tier: Tier | None) -> int:
    """How many days before its start an offer is open to this tier."""
    return int(tier.benefits.get("early_days") or 0) if tier is not None else 0
