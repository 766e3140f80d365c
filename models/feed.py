"""What other systems may know: the events feed and the outgoing webhooks that read it in order."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, bigint, moment, short


class FeedEvent(Base):
    """One public fact, written with the fact itself.

    `position` is given afterwards, by one process at a time: ids alone are taken before commits
    and would let a reader pass over a row that becomes visible late.
    """

    __tablename__ = "feed_events"
    __table_args__ = (
        Index(
            "ix_feed_events_unplaced",
            "id",
            postgresql_where=text("position IS NULL"),
            sqlite_where=text("position IS NULL"),
        ),
        Index("ix_feed_events_member_no", "member_no"),
        Index(
            "ix_feed_events_gone_member_no",
            "gone_member_no",
            postgresql_where=text("gone_member_no IS NOT NULL"),
            sqlite_where=text("gone_member_no IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    position: Mapped[int | None] = mapped_column(BigId, unique=True)
    public_id: Mapped[short] = mapped_column(unique=True)
    kind: Mapped[short]
    at: Mapped[moment]
    #: As sent: member number, amounts, ids. Never names or phones.
    body: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: Whom the body names, so that a leaver's number is found among all facts; emptied with it.
    member_no: Mapped[short | None]
    gone_member_no: Mapped[short | None]


class WebhookTarget(Base):
    """Where signed events are posted, in order, again and again until accepted."""

    __tablename__ = "webhook_targets"

    id: Mapped[bigid]
    name: Mapped[str] = mapped_column(String(100), unique=True)
    url: Mapped[str] = mapped_column(String(2000))
    secret_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    #: Empty: every kind.
    kinds: Mapped[list[str]] = mapped_column(Json, default=list)
    is_on: Mapped[bool] = mapped_column(default=True)
    #: Everything up to here was accepted, or was not wanted.
    position: Mapped[bigint] = mapped_column(default=0)
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[moment]
    lease_until: Mapped[moment | None]
    #: Kind of the last failure, never its text.
    error: Mapped[short | None]
    delivered_at: Mapped[moment | None]
    created_at: Mapped[moment]
