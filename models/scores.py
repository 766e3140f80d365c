"""What the nightly pass works out about members: RFM, value, and the cut points of the night;
and what members said when they were asked (CSAT, NPS)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, bigint, local_date, moment, short, state_of

#: RFM groups by recency (rows, 5 first) and the mean of frequency and money, rounded up (1 to 5).
GRID: dict[int, tuple[str, str, str, str, str]] = {
    5: ("new_customers", "potential_loyalists", "potential_loyalists", "champions", "champions"),
    4: ("promising", "potential_loyalists", "loyal", "loyal", "champions"),
    3: ("about_to_sleep", "about_to_sleep", "need_attention", "loyal", "loyal"),
    2: ("hibernating", "hibernating", "at_risk", "at_risk", "cannot_lose"),
    1: ("lost", "lost", "at_risk", "cannot_lose", "cannot_lose"),
}
GROUPS = (
    "champions", "loyal", "potential_loyalists", "new_customers", "promising", "need_attention",
    "about_to_sleep", "at_risk", "cannot_lose", "hibernating", "lost",
)  # fmt: skip


class MemberScore(Base):
    """A buyer's figures as of the last night that changed them."""

    __tablename__ = "member_scores"
    __table_args__ = (
        Index("ix_member_scores_rfm_group", "rfm_group"),
        Index("ix_member_scores_spent_365", "spent_365"),
    )

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    #: Quintiles 1-5; 5 is best.
    recency: Mapped[int]
    frequency: Mapped[int]
    money: Mapped[int]
    #: One of the eleven usual groups, e.g. `champions`.
    rfm_group: Mapped[short]
    #: Of the last 365 days: satang less returns, and bills.
    spent_365: Mapped[bigint] = mapped_column(default=0)
    bills_365: Mapped[int] = mapped_column(default=0)
    #: Of the last 90 days, and of the 90 before (level `at_risk`).
    spent_90: Mapped[bigint] = mapped_column(default=0)
    spent_before_90: Mapped[bigint] = mapped_column(default=0)
    bills_before_90: Mapped[int] = mapped_column(default=0)
    #: The member's totals when these figures were added up: while they are the same, only bills
    #: that leave a window can change them.
    seen_satang: Mapped[bigint] = mapped_column(default=0)
    seen_bills: Mapped[int] = mapped_column(default=0)
    #: The newest purchase day and the member's own gap, as they were then.
    last_on: Mapped[local_date | None]
    own_gap_days: Mapped[float | None]
    #: L4, in satang: spent so far plus what the next 12 months should bring.
    clv_satang: Mapped[bigint] = mapped_column(default=0)
    expected_visits: Mapped[float] = mapped_column(default=0.0)
    #: The local hour at which this member usually buys or writes.
    best_hour: Mapped[int | None]
    as_of: Mapped[local_date]


class CutPoints(Base):
    """The thresholds of one night: quintiles, the 95th percentile, medians of today's VIPs."""

    __tablename__ = "cut_points"

    day: Mapped[local_date] = mapped_column(primary_key=True)
    figures: Mapped[dict[str, Any]] = mapped_column(Json)
    made_at: Mapped[moment]


class SurveyKind(StrEnum):
    CSAT = "csat"
    NPS = "nps"


#: Lowest and highest mark of each question; marks up to LOW are low, and from HIGH on high.
SCALES = {SurveyKind.CSAT: (1, 5), SurveyKind.NPS: (0, 10)}
LOW = {SurveyKind.CSAT: 2, SurveyKind.NPS: 6}
HIGH = {SurveyKind.CSAT: 4, SurveyKind.NPS: 9}


class SurveyAnswer(Base):
    """A question put to a member on one occasion, and the answer once there is one."""

    __tablename__ = "survey_answers"
    __table_args__ = (
        UniqueConstraint("member_id", "kind", "occasion"),
        CheckConstraint("score IS NULL OR score BETWEEN 0 AND 10", name="score_within"),
        Index("ix_survey_answers_kind_answered_at", "kind", "answered_at"),
        # What a night may have to throw away (`loyalty/retention.py`).
        Index(
            "ix_survey_answers_why",
            "answered_at",
            postgresql_where=text("why_sealed IS NOT NULL"),
            sqlite_where=text("why_sealed IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    kind: Mapped[SurveyKind] = mapped_column(state_of(SurveyKind))
    #: `purchase:<id>`, `voucher:<id>`, or the quarter of an NPS.
    occasion: Mapped[short]
    asked_at: Mapped[moment]
    #: CSAT 1-5, NPS 0-10.
    score: Mapped[int | None]
    answered_at: Mapped[moment | None]
    #: "Why", in the member's words, under their key.
    why_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: LINE's id of the text that said why, so that unsending it takes it back.
    why_message_id: Mapped[short | None]
    #: They tapped the link to leave a review.
    reviewed_at: Mapped[moment | None]
    ticket_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("tickets.id"))


class ItemPair(Base):
    """Two products bought together, counted nightly."""

    __tablename__ = "item_pairs"

    sku: Mapped[short] = mapped_column(primary_key=True)
    other_sku: Mapped[short] = mapped_column(primary_key=True)
    bills: Mapped[int]
    #: How much likelier together than by chance: 1.0 is chance.
    lift: Mapped[float]
