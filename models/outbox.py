"""Committed, unsent messages: `messages` (one per recipient and intent) and `calls` (one per
LINE request, with its frozen body and retry key)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, line, moment, short, state_of


class MessageClass(StrEnum):
    TRANSACTIONAL = "transactional"
    SERVICE = "service"
    PROMOTIONAL = "promotional"


class MessageState(StrEnum):
    #: Committed and owed.
    WAITING = "waiting"
    #: Its call is formed (push at birth, multicast when grouped, reply when it rides).
    CALLING = "calling"
    SENT = "sent"
    #: It rode a reply whose outcome stayed unknown; never repeated.
    SENT_UNKNOWN = "sent_unknown"
    #: The retry window closed without an answer; a person decides.
    UNCERTAIN = "uncertain"
    #: Monthly quota is used up; resumes with new quota.
    PARKED = "parked"
    SKIPPED = "skipped"
    FAILED = "failed"


class CallKind(StrEnum):
    PUSH = "push"
    MULTICAST = "multicast"
    REPLY = "reply"


class CallState(StrEnum):
    WAITING = "waiting"
    #: Claimed by a sender until `lease_until`.
    SENDING = "sending"
    DONE = "done"
    #: Definitely refused, nothing was sent: 400 and the like.
    DEAD = "dead"
    #: Replaced by new calls: a multicast that was split, or a call a person had sent again.
    REFUSED = "refused"
    PARKED = "parked"
    UNCERTAIN = "uncertain"
    #: Not-after passed, or consent withdrawn, before the first byte left.
    DROPPED = "dropped"


_OPEN = "state IN ('waiting', 'sending')"
_KEPT = "state IN ('parked', 'uncertain', 'dead')"
_OPEN_FIRST = f"klass = 'transactional' AND {_OPEN}"


class Message(Base):
    """One recipient, one intent. Written with the business change that causes it."""

    __tablename__ = "messages"
    __table_args__ = (
        Index("ix_messages_member_id_created_at", "member_id", "created_at"),
        Index(
            "ix_messages_waiting",
            "due_at",
            "id",
            postgresql_where=text("state = 'waiting'"),
            sqlite_where=text("state = 'waiting'"),
        ),
        Index("ix_messages_state", "state"),
        Index("ix_messages_call_id", "call_id"),
    )

    id: Mapped[bigid]
    #: Unique for ever, e.g. `journey:12` or `vouchers.redeemed:991`; the same cause writes one.
    key: Mapped[line] = mapped_column(unique=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    intent_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("intents.id"), index=True)
    klass: Mapped[MessageClass] = mapped_column(state_of(MessageClass))
    #: `<noun>.<verb>` of what it says, for reports, e.g. `lifecycle.thank_you`.
    kind: Mapped[short]
    #: What results add it up by: `journey:3:thank`, `campaign:7:a`; None for notices.
    source: Mapped[short | None]
    #: The LINE message objects as JSON bytes (a list); None once its call froze them.
    content: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: SHA-256 of `content`: equal ones may share a multicast.
    content_hash: Mapped[short | None]
    state: Mapped[MessageState] = mapped_column(
        state_of(MessageState), default=MessageState.WAITING
    )
    #: Why it was skipped, failed or parked: a code such as `delivery.no_consent`.
    reason: Mapped[short | None]
    #: `push`, `multicast` or `reply` once known.
    channel: Mapped[short | None]
    created_at: Mapped[moment]
    due_at: Mapped[moment]
    not_after: Mapped[moment | None]
    finished_at: Mapped[moment | None]
    call_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("calls.id"))


class Call(Base):
    """One LINE request. Key and body are frozen when the row is made, never per attempt."""

    __tablename__ = "calls"
    __table_args__ = (
        Index(
            "ix_calls_due",
            "kind",
            "next_try_at",
            "id",
            postgresql_where=text(_OPEN),
            sqlite_where=text(_OPEN),
        ),
        # What moved value is told first, however long the promotions before it are.
        Index(
            "ix_calls_due_first",
            "kind",
            "next_try_at",
            "id",
            postgresql_where=text(_OPEN_FIRST),
            sqlite_where=text(_OPEN_FIRST),
        ),
        Index(
            "ix_calls_kept", "state", "id", postgresql_where=text(_KEPT), sqlite_where=text(_KEPT)
        ),
        Index("ix_calls_created_at", "created_at", postgresql_using="brin"),
        CheckConstraint("kind = 'reply' OR retry_key IS NOT NULL", name="has_retry_key"),
    )

    id: Mapped[bigid]
    kind: Mapped[CallKind] = mapped_column(state_of(CallKind))
    klass: Mapped[MessageClass] = mapped_column(state_of(MessageClass))
    retry_key: Mapped[str | None] = mapped_column(String(36), unique=True)
    #: The whole request body; replies keep none (they are never repeated).
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    recipient_count: Mapped[int] = mapped_column(Integer, default=1)
    state: Mapped[CallState] = mapped_column(state_of(CallState), default=CallState.WAITING)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[moment]
    #: Real time of the first attempt; 23 h later the call turns uncertain.
    first_try_at: Mapped[moment | None]
    next_try_at: Mapped[moment]
    not_after: Mapped[moment | None]
    lease_until: Mapped[moment | None]
    claimed_by: Mapped[short | None]
    finished_at: Mapped[moment | None]
    status: Mapped[int | None]
    #: LINE's request id, or the accepted one of a 409.
    request_id: Mapped[short | None]
    #: LINE's `message` and `details` of a refusal, as shown to the admin.
    answer: Mapped[dict[str, Any] | None] = mapped_column(Json)
    #: The event this call answers (replies only).
    event_id: Mapped[int | None] = mapped_column(BigId, index=True)


class SendLimit(Base):
    """The pace of one LINE endpoint, shared by every sender: each leases a stretch of time that
    holds as many calls as it has in hand, in one UPDATE, and no two stretches overlap."""

    __tablename__ = "send_limits"

    endpoint: Mapped[short] = mapped_column(primary_key=True)
    #: LINE's own ceiling; senders aim a little below it.
    per_second: Mapped[int]
    #: Unix microseconds by the database's clock up to which the pace is leased.
    leased_until_us: Mapped[int] = mapped_column(BigId, default=0)


class ChannelState(Base):
    """What we know of the LINE channel; one row (id 1)."""

    __tablename__ = "channel_state"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    #: `token` (401), `forbidden` (403), `held`; None while sending.
    paused_for: Mapped[short | None]
    paused_at: Mapped[moment | None]
    #: Hash of the token that was refused; another one resumes sending by itself.
    refused_token_hash: Mapped[short | None]
    quota_exhausted_at: Mapped[moment | None]
    quota_limit: Mapped[int | None]
    quota_used: Mapped[int | None]
    quota_read_at: Mapped[moment | None]
    bot_user_id: Mapped[short | None]
    basic_id: Mapped[short | None]
    last_redelivery_at: Mapped[moment | None]
    bad_signatures: Mapped[int] = mapped_column(default=0)
    last_bad_signature_at: Mapped[moment | None]
    unknown_destination_at: Mapped[moment | None]
