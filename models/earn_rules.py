"""What a bill earns beyond the base rule: multipliers and bonuses in an explicit order (P3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, bigint, local_date, moment, short, state_of


class EarnRuleKind(StrEnum):
    MULTIPLIER = "multiplier"
    BONUS = "bonus"


class Product(Base):
    """What a bill's line sells, where the shop has told us; `label` groups products for rules."""

    __tablename__ = "products"

    id: Mapped[bigid]
    sku: Mapped[short] = mapped_column(unique=True)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    label: Mapped[short | None] = mapped_column(index=True)
    is_active: Mapped[bool] = mapped_column(default=True)


class EarnRule(Base):
    """A multiplier of the base points, or points on top. Never edited: ended, and followed."""

    __tablename__ = "earn_rules"
    __table_args__ = (
        CheckConstraint("kind <> 'multiplier' OR percent > 100", name="multiplier_adds"),
        CheckConstraint("kind <> 'bonus' OR bonus_points > 0", name="bonus_adds"),
        CheckConstraint("per_member_cap IS NULL OR per_member_cap > 0", name="member_cap"),
        CheckConstraint("total_cap IS NULL OR given_points <= total_cap", name="total_cap"),
        CheckConstraint("given_points >= 0", name="given_not_negative"),
    )

    id: Mapped[bigid]
    key: Mapped[short] = mapped_column(unique=True)
    #: Rules act in this order, then by id.
    position: Mapped[int] = mapped_column(default=100)
    kind: Mapped[EarnRuleKind] = mapped_column(state_of(EarnRuleKind))
    is_on: Mapped[bool] = mapped_column(default=True)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    #: 200 doubles: what it adds is base x (percent - 100) / 100, floored.
    percent: Mapped[int | None]
    bonus_points: Mapped[int | None] = mapped_column(BigId)
    #: {"weekdays", "hours", "branches", "levels", "tiers", "skus", "labels", "min_satang",
    #: "first_purchase", "birthday_month"}; all that are given must hold.
    conditions: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    starts_on: Mapped[local_date | None]
    ends_on: Mapped[local_date | None]
    #: Points at most, over the rule's life.
    per_member_cap: Mapped[int | None] = mapped_column(BigId)
    total_cap: Mapped[int | None] = mapped_column(BigId)
    given_points: Mapped[bigint] = mapped_column(default=0)
    created_at: Mapped[moment]
    ended_at: Mapped[moment | None]


class EarnRuleAward(Base):
    """What one rule added to one bill; `kept_points` falls when the bill is returned."""

    __tablename__ = "earn_rule_awards"
    __table_args__ = (
        UniqueConstraint("rule_id", "purchase_id"),
        CheckConstraint("points > 0", name="points_positive"),
        CheckConstraint("kept_points BETWEEN 0 AND points", name="kept_in_award"),
    )

    id: Mapped[bigid]
    rule_id: Mapped[int] = mapped_column(BigId, ForeignKey("earn_rules.id"))
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    purchase_id: Mapped[int] = mapped_column(BigId, ForeignKey("purchases.id"), index=True)
    points: Mapped[bigint]
    kept_points: Mapped[bigint]
