"""Stored LINE events, and what could not be read."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Index, Integer, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, bigid, moment, short, state_of


class EventState(StrEnum):
    PENDING = "pending"
    DONE = "done"
    #: Known, but nothing to do: groups, standby, unknown types.
    IGNORED = "ignored"
    #: Five tries failed; waits for a person.
    FAILED = "failed"
    #: A person decided to let it go.
    DISMISSED = "dismissed"


class Event(Base):
    """One webhook event. The payload is this event's own JSON, ASCII-escaped, as bytes:
    text columns refuse NUL on PostgreSQL and lone surrogates on both engines."""

    __tablename__ = "events"
    __table_args__ = (
        Index(
            "ix_events_due",
            "next_try_at",
            "id",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index(
            "ix_events_lane_pending",
            "lane",
            "event_at",
            "id",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index(
            "ix_events_failed",
            "id",
            postgresql_where=text("state = 'failed'"),
            sqlite_where=text("state = 'failed'"),
        ),
        Index("ix_events_received_at", "received_at", postgresql_using="brin"),
        Index("ix_events_line_user_id", "line_user_id"),
    )

    id: Mapped[bigid]
    webhook_event_id: Mapped[short] = mapped_column(unique=True)
    kind: Mapped[short]
    line_user_id: Mapped[short | None]
    #: Events of one lane run in order: the LINE user id, or the event's own id without one.
    lane: Mapped[short]
    event_at: Mapped[moment]
    #: Real time by the database server's or this machine's clock, never the demo's.
    received_at: Mapped[moment]
    is_redelivery: Mapped[bool] = mapped_column(default=False)
    destination: Mapped[short | None]
    payload: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[EventState] = mapped_column(state_of(EventState), default=EventState.PENDING)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    next_try_at: Mapped[moment]
    done_at: Mapped[moment | None]
    #: Kind of the last error and where it was raised; never its text, which may hold data.
    error: Mapped[str | None] = mapped_column(String(500))


class QuarantineState(StrEnum):
    OPEN = "open"
    REPLAYED = "replayed"
    DISMISSED = "dismissed"


class Quarantined(Base):
    """Signed bytes that could not be read as events: visible, replayable, never judged again
    by LINE (which would only send the same bytes once more)."""

    __tablename__ = "quarantined"
    __table_args__ = (Index("ix_quarantined_state_id", "state", "id"),)

    id: Mapped[bigid]
    #: `body` (a whole request) or `event` (one item of its list).
    kind: Mapped[short]
    reason: Mapped[short]
    received_at: Mapped[moment]
    #: SHA-256 of the bytes: the same bytes are kept once.
    digest: Mapped[short] = mapped_column(unique=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)
    state: Mapped[QuarantineState] = mapped_column(
        state_of(QuarantineState), default=QuarantineState.OPEN
    )
    seen_count: Mapped[int] = mapped_column(Integer, default=1)
