"""Campaigns: one-off sends to a segment, one frozen row per recipient (M3)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, moment, short, state_of
from models.journeys import Arm
from models.outbox import MessageClass


class CampaignState(StrEnum):
    DRAFT = "draft"
    SCHEDULED = "scheduled"
    #: Its recipients are being frozen.
    FREEZING = "freezing"
    SENDING = "sending"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


class Campaign(Base):
    """What to say to whom and when. Sent ones are archived, never deleted."""

    __tablename__ = "campaigns"
    __table_args__ = (
        CheckConstraint("holdout_percent BETWEEN 0 AND 50", name="holdout_percent"),
        Index("ix_campaigns_state", "state"),
    )

    id: Mapped[bigid]
    name: Mapped[str] = mapped_column(String(100))
    state: Mapped[CampaignState] = mapped_column(
        state_of(CampaignState), default=CampaignState.DRAFT
    )
    klass: Mapped[MessageClass] = mapped_column(
        state_of(MessageClass), default=MessageClass.PROMOTIONAL
    )
    #: Topic of `engagement/topics.py`: who muted it is skipped.
    topic: Mapped[short] = mapped_column(default="offers")
    segment_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("segments.id"))
    #: The version it was started with.
    segment_version: Mapped[int | None]
    #: {"a": {"texts": {locale: {variant: {"title", "body", "button"}}}}, "b": ..., "c": ...}
    variants: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: {"sample_percent", "hours", "by": "taps" | "baht"} of an A/B test; empty with one text.
    test: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: The text that won, once decided.
    winner: Mapped[short | None]
    decide_at: Mapped[moment | None]
    #: Key of the coupon each recipient gets with it.
    coupon_key: Mapped[short | None]
    #: What the button does: a chat word of the router or an http(s) address.
    action: Mapped[str | None] = mapped_column(String(1000))
    holdout_percent: Mapped[int] = mapped_column(default=10)
    #: Why it rests: `staff`, `late` (its start was missed by hours) or `stop` (monthly stop).
    paused_for: Mapped[short | None]
    #: Scheduled for; None means at once.
    starts_at: Mapped[moment | None]
    not_after: Mapped[moment | None]
    #: What the owner was shown before the start: recipients, skipped by reason, messages, cost.
    estimate: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: Where freezing and queueing go on after a stop: the last member id.
    cursor: Mapped[int] = mapped_column(BigId, default=0)
    audience: Mapped[int | None]
    created_at: Mapped[moment]
    made_by: Mapped[short]
    started_at: Mapped[moment | None]
    started_by: Mapped[short | None]
    ended_at: Mapped[moment | None]
    archived_at: Mapped[moment | None]

    @property
    def held_percent(self) -> int:
        """How many of a hundred are held out, as decided at the start."""
        return int(self.estimate.get("held_percent", self.holdout_percent))


class RecipientState(StrEnum):
    #: Frozen; its message is not written yet.
    PENDING = "pending"
    #: Kept without it, to compare.
    HELD_OUT = "held_out"
    #: A message row says how it went.
    QUEUED = "queued"
    SKIPPED = "skipped"


class CampaignRecipient(Base):
    """One member of a campaign's frozen audience. sent + parked + failed + skipped = audience."""

    __tablename__ = "campaign_recipients"
    __table_args__ = (
        UniqueConstraint("member_id", "campaign_id"),
        # A campaign's rows are written one after the other: a map of pages is enough to find them.
        Index("ix_campaign_recipients_campaign_id", "campaign_id", postgresql_using="brin"),
        Index(
            "ix_campaign_recipients_pending",
            "campaign_id",
            "id",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index(
            "ix_campaign_recipients_message_id",
            "message_id",
            postgresql_where=text("message_id IS NOT NULL"),
            sqlite_where=text("message_id IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    #: Neither is ever deleted, and a million checked one by one would take as long as the writing.
    campaign_id: Mapped[int] = mapped_column(BigId)
    member_id: Mapped[int] = mapped_column(BigId)
    state: Mapped[RecipientState] = mapped_column(
        state_of(RecipientState), default=RecipientState.PENDING
    )
    arm: Mapped[Arm] = mapped_column(state_of(Arm), default=Arm.TREATED)
    #: `a`, `b`, `c`; None while the winner is awaited.
    variant: Mapped[short | None]
    #: `delivery.<why>` of a skip.
    reason: Mapped[short | None]
    message_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("messages.id"))
    decided_at: Mapped[moment | None]
