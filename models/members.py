"""People: friends of the LINE account and members of the programme, their keys and consents.

A row begins as a friend (or a walk-in) and becomes a member on joining; erasure empties it and
keeps it as the anonymous account that the ledger's sums hang on.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, BigId, Json, bigid, bigint, moment, short, state_of


class MemberState(StrEnum):
    FRIEND = "friend"
    MEMBER = "member"
    MERGED = "merged"
    ERASED = "erased"


class Stage(StrEnum):
    AWARENESS = "awareness"
    CONSIDERATION = "consideration"
    PURCHASE = "purchase"
    RETENTION = "retention"
    ADVOCACY = "advocacy"


class Level(StrEnum):
    HIGH_MAINTENANCE = "high_maintenance"
    INACTIVE = "inactive"
    AT_RISK = "at_risk"
    VIP = "vip"
    ADVOCATE = "advocate"
    POTENTIAL_HIGH_VALUE = "potential_high_value"
    REGULAR = "regular"
    NEUTRAL = "neutral"
    TARGET = "target"


class Purpose(StrEnum):
    MEMBERSHIP = "membership"
    MARKETING = "marketing"
    BIRTHDAY = "birthday"


#: Who has left or was merged. Written out rather than bound: it repeats the condition of an index.
IS_GONE = text("members.state IN ('erased', 'merged')")


class Member(Base):
    """One person, known by LINE, by phone, or both."""

    __tablename__ = "members"
    __table_args__ = (
        # A proven phone belongs to one member; an unproven one identifies nobody.
        Index(
            "uq_members_proven_phone",
            "phone_index",
            unique=True,
            postgresql_where=text("phone_proven_at IS NOT NULL"),
            sqlite_where=text("phone_proven_at IS NOT NULL"),
        ),
        # The few who count nowhere, so that everybody else can be counted without a look at them.
        Index(
            "ix_members_gone",
            "id",
            postgresql_where=text("state IN ('erased', 'merged')"),
            sqlite_where=text("state IN ('erased', 'merged')"),
        ),
        # Whom a member has taken in.
        Index(
            "ix_members_merged_into_id",
            "merged_into_id",
            postgresql_where=text("merged_into_id IS NOT NULL"),
            sqlite_where=text("merged_into_id IS NOT NULL"),
        ),
        # The few on whom messages and menus are tried first.
        Index(
            "ix_members_test",
            "id",
            postgresql_where=text("is_test"),
            sqlite_where=text("is_test = 1"),
        ),
        # Lists by name and by age; on PostgreSQL `migrations/name_search.py` adds parts of names.
        Index("ix_members_joined_at_id", "joined_at", "id"),
        Index("ix_members_name_id", "name", "id"),
        CheckConstraint("state <> 'member' OR member_no IS NOT NULL", name="member_has_number"),
        CheckConstraint("state <> 'erased' OR line_user_id IS NULL", name="erased_has_no_line_id"),
    )

    id: Mapped[bigid]
    public_id: Mapped[short] = mapped_column(unique=True)
    state: Mapped[MemberState] = mapped_column(state_of(MemberState), default=MemberState.FRIEND)
    line_user_id: Mapped[short | None] = mapped_column(unique=True)
    member_no: Mapped[str | None] = mapped_column(String(9), unique=True)
    created_at: Mapped[moment]
    joined_at: Mapped[moment | None]
    erased_at: Mapped[moment | None]
    #: Set when this row was merged into another member.
    merged_into_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("members.id"))

    #: As LINE shows it, cleaned; plain until erasure (`product.md` 14).
    line_name: Mapped[str | None] = mapped_column(String(400))
    #: What the member typed on joining; shown before `line_name`.
    name: Mapped[str | None] = mapped_column(String(400))
    picture_url: Mapped[str | None] = mapped_column(String(2000))
    locale: Mapped[str] = mapped_column(String(2), default="th")
    #: When a LINE profile was asked for and is still owed; None once it came or was refused.
    profile_due_at: Mapped[moment | None] = mapped_column(index=True)
    profile_seen_at: Mapped[moment | None]

    is_following: Mapped[bool] = mapped_column(default=False)
    #: Event time of the follow or unfollow that decided `is_following`; later ones win.
    follow_decided_at: Mapped[moment | None]
    followed_at: Mapped[moment | None]
    welcomed_at: Mapped[moment | None]
    #: LINE said that this person cannot be reached (404, unknown); cleared by any event.
    unreachable_at: Mapped[moment | None]
    last_event_at: Mapped[moment | None]

    phone_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    phone_index: Mapped[short | None] = mapped_column(index=True)
    phone_last4_index: Mapped[short | None] = mapped_column(index=True)
    phone_proven_at: Mapped[moment | None]
    #: `sms` or `cashier`.
    phone_proven_by: Mapped[short | None]
    birthday_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Blind index of `MM-DD`; 29 Feb stays 02-29 and is asked for on 28 Feb in common years.
    birthday_index: Mapped[short | None] = mapped_column(index=True)
    birthday_changed_at: Mapped[moment | None]

    source_code: Mapped[short | None]
    referral_code: Mapped[short | None] = mapped_column(unique=True)
    #: A rich menu key set by hand or by a journey; overrides the audience rules.
    menu_override: Mapped[short | None]
    is_test: Mapped[bool] = mapped_column(default=False)

    totals: Mapped[MemberTotals] = relationship(back_populates="member", uselist=False)

    @property
    def is_member(self) -> bool:
        return self.state == MemberState.MEMBER

    @property
    def can_be_pushed(self) -> bool:
        """Whether LINE would show a push to this person, as far as we know."""
        return bool(self.line_user_id and self.is_following and self.unreachable_at is None)

    @property
    def shown_name(self) -> str:
        return self.name or self.line_name or ""


class MemberKey(Base):
    """A member's wrapped data key. Deleting the row erases what was encrypted under it."""

    __tablename__ = "member_keys"

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[moment]


class MemberTotals(Base):
    """A member's running figures, updated with each fact: one narrow, hot row."""

    __tablename__ = "member_totals"
    __table_args__ = (
        CheckConstraint("debt >= 0", name="debt_not_negative"),
        CheckConstraint("purchase_count >= 0", name="purchase_count_not_negative"),
        Index("ix_member_totals_stage_level", "stage", "level"),
        Index("ix_member_totals_last_purchase_at_member_id", "last_purchase_at", "member_id"),
        Index("ix_member_totals_balance_member_id", "balance", "member_id"),
        Index("ix_member_totals_spent_satang_member_id", "spent_satang", "member_id"),
        # The few that the watchdog counts every minute.
        Index(
            "ix_member_totals_frozen",
            "member_id",
            postgresql_where=text("frozen_at IS NOT NULL"),
            sqlite_where=text("frozen_at IS NOT NULL"),
        ),
    )

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    #: Sum of ledger entries = what lots have left - debt. Only a reversal makes it negative.
    balance: Mapped[bigint] = mapped_column(default=0)
    #: Points that were burned and then taken back; later earns pay it first.
    debt: Mapped[bigint] = mapped_column(default=0)
    #: Satang carried to the next bill; may be negative after a reversal.
    carry_satang: Mapped[bigint] = mapped_column(default=0)
    earned_total: Mapped[bigint] = mapped_column(default=0)
    #: No burning until somebody has cleared it.
    frozen_at: Mapped[moment | None]
    #: `ledger`: the check found a difference. `not_me`: the member disowned something.
    frozen_why: Mapped[short | None]

    purchase_count: Mapped[int] = mapped_column(default=0)
    spent_satang: Mapped[bigint] = mapped_column(default=0)
    first_purchase_at: Mapped[moment | None]
    last_purchase_at: Mapped[moment | None]
    #: The last 10 distinct purchase days, ISO, newest first.
    purchase_days: Mapped[list[str]] = mapped_column(Json, default=list)
    purchase_day_count: Mapped[int] = mapped_column(default=0)
    #: Median days between purchase days; known from 4 of them on.
    own_gap_days: Mapped[float | None]

    stage: Mapped[Stage] = mapped_column(state_of(Stage), default=Stage.AWARENESS)
    stage_at: Mapped[moment | None]
    level: Mapped[Level] = mapped_column(state_of(Level), default=Level.TARGET)
    level_at: Mapped[moment | None]
    #: The numbers that put the member at this level: {"silent_days": 47, "limit_days": 45, ...}.
    level_why: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)

    member: Mapped[Member] = relationship(back_populates="totals")


class StageChange(Base):
    """History of stages and levels: `field` is `stage` or `level`."""

    __tablename__ = "stage_changes"
    __table_args__ = (Index("ix_stage_changes_member_id_at", "member_id", "at"),)

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    field: Mapped[short]
    before: Mapped[short | None]
    after: Mapped[short]
    why: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    at: Mapped[moment]


class Consent(Base):
    """One act of consent or its withdrawal; the newest open row of a purpose is in force."""

    __tablename__ = "consents"
    __table_args__ = (
        Index(
            "uq_consents_open",
            "member_id",
            "purpose",
            unique=True,
            postgresql_where=text("withdrawn_at IS NULL"),
            sqlite_where=text("withdrawn_at IS NULL"),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    purpose: Mapped[Purpose] = mapped_column(state_of(Purpose))
    text_version: Mapped[short]
    given_at: Mapped[moment]
    withdrawn_at: Mapped[moment | None]
    #: `chat`, `liff`, `till`, `api` or `import`.
    channel: Mapped[short]


class ConsentText(Base):
    """A published version of what members agree to; rows are never changed."""

    __tablename__ = "consent_texts"
    __table_args__ = (UniqueConstraint("purpose", "version"),)

    id: Mapped[bigid]
    purpose: Mapped[Purpose] = mapped_column(state_of(Purpose))
    #: 2 and up: the first version is the one the product brings along.
    version: Mapped[int]
    body_th: Mapped[str] = mapped_column(String(2000))
    body_en: Mapped[str] = mapped_column(String(2000))
    #: Whether whoever agreed to an older version is asked again.
    asks_again: Mapped[bool] = mapped_column(default=True)
    published_at: Mapped[moment]
    #: `staff:3`.
    published_by: Mapped[short]


class ConsentAsk(Base):
    """That a member was shown a new version in the chat; once for each version."""

    __tablename__ = "consent_asks"

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    purpose: Mapped[Purpose] = mapped_column(state_of(Purpose), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    asked_at: Mapped[moment]


class JoinForm(Base):
    """A joining dialogue under way; kept until finished or cancelled."""

    __tablename__ = "join_forms"

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    #: consent, marketing, name, phone, birthday; also `correct:<field>` for my data.
    step: Mapped[short]
    #: The answers so far as JSON, encrypted under the member's key.
    answers_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    is_paused: Mapped[bool] = mapped_column(default=False)
    started_at: Mapped[moment]
    updated_at: Mapped[moment]


class SourceCode(Base):
    """A code that tells where a friend came from: a poster, a branch, staff, an ad."""

    __tablename__ = "source_codes"

    id: Mapped[bigid]
    code: Mapped[short] = mapped_column(unique=True)
    kind: Mapped[short]
    label: Mapped[str] = mapped_column(String(200))
    branch_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("branches.id"))
    is_active: Mapped[bool] = mapped_column(default=True)


class Referral(Base):
    """Who brought whom, and how far it has come (R4)."""

    __tablename__ = "referrals"
    __table_args__ = (
        UniqueConstraint("friend_id"),
        CheckConstraint("friend_id <> referrer_id", name="not_oneself"),
    )

    id: Mapped[bigid]
    friend_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    referrer_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    at: Mapped[moment]
    joined_at: Mapped[moment | None]
    bought_at: Mapped[moment | None]
    #: Why it brings no gift, e.g. `same_phone`; None while it may.
    refused: Mapped[short | None]
    rewarded_at: Mapped[moment | None]


class Tombstone(Base):
    """A keyed hash of an erased LINE id or phone, so that rejoining brings no second gift."""

    __tablename__ = "tombstones"

    keyed_hash: Mapped[short] = mapped_column(primary_key=True)
    kind: Mapped[short]
    expires_at: Mapped[moment] = mapped_column(index=True)


class Erasure(Base):
    """Journal of erasures without personal data, replayed after a restore."""

    __tablename__ = "erasures"

    id: Mapped[bigid]
    member_public_id: Mapped[short] = mapped_column(unique=True)
    #: `member`, `staff` or `cli`.
    asked_by: Mapped[short]
    at: Mapped[moment]


class MemberSession(Base):
    """A signed-in member page; the cookie holds the secret, the row its hash."""

    __tablename__ = "member_sessions"

    token_hash: Mapped[short] = mapped_column(primary_key=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    created_at: Mapped[moment]
    last_seen_at: Mapped[moment]
    expires_at: Mapped[moment] = mapped_column(index=True)
    revoked_at: Mapped[moment | None]
    #: `liff` or `link`.
    opened_by: Mapped[short]


class ChatLink(Base):
    """A link sent in the chat: good for 10 minutes and one sign-in."""

    __tablename__ = "chat_links"

    token_hash: Mapped[short] = mapped_column(primary_key=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    path: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[moment]
    expires_at: Mapped[moment] = mapped_column(index=True)
    used_at: Mapped[moment | None]


class UsedIdToken(Base):
    """Hash of an ID token that has opened its one session, kept past the token's own life."""

    __tablename__ = "used_id_tokens"

    token_hash: Mapped[short] = mapped_column(primary_key=True)
    expires_at: Mapped[moment] = mapped_column(index=True)


def purchase_dates(totals: MemberTotals) -> list[date]:
    """The last distinct purchase days, newest first."""
    return [date.fromisoformat(text_) for text_ in totals.purchase_days]
