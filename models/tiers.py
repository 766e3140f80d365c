"""Tiers: what qualifies for them, what they bring, and who stands where (R1, R2)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, bigint, moment, short


class Tier(Base):
    """One step. The lowest is what a member has without any: it has no row."""

    __tablename__ = "tiers"
    __table_args__ = (
        CheckConstraint("threshold > 0", name="threshold_positive"),
        CheckConstraint("earn_percent >= 100", name="earn_percent_adds"),
        CheckConstraint("percent_off IS NULL OR percent_off BETWEEN 1 AND 100", name="percent_off"),
    )

    id: Mapped[bigid]
    key: Mapped[short] = mapped_column(unique=True)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    #: Satang spent, or points earned, in the window (`tiers.basis`); tiers are ordered by it.
    threshold: Mapped[bigint] = mapped_column(unique=True)
    #: Benefits: 150 earns one and a half times; percent off any bill; and those of `benefits`.
    earn_percent: Mapped[int] = mapped_column(default=100)
    percent_off: Mapped[int | None]
    #: {"entry_coupons": [key], "birthday_coupon": key, "code_coupon": key, "menu": key,
    #: "early_days": n}
    benefits: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    colour: Mapped[str] = mapped_column(String(7), default="#7A5C3E")
    is_on: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[moment]


class MemberTier(Base):
    """Where a member stands; no row without a tier. Changes are `stage_changes` of field `tier`."""

    __tablename__ = "member_tiers"
    __table_args__ = (Index("ix_member_tiers_holds_until", "holds_until"),)

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    tier_id: Mapped[int] = mapped_column(BigId, ForeignKey("tiers.id"), index=True)
    since: Mapped[moment]
    #: When the figures were last found to be enough: on reaching it, then at the end of each hold.
    qualified_at: Mapped[moment]
    #: Exclusive: kept until then whatever is bought; then re-qualified.
    holds_until: Mapped[moment]
    #: Set by hand: no rule moves it before `holds_until`.
    is_manual: Mapped[bool] = mapped_column(default=False)
    #: When the member was told that it is about to end.
    warned_at: Mapped[moment | None]
