"""Proof: taps on our own links, LINE's own figures, alarms, and what-if runs (M8, M9)."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, line, local_date, moment, short, state_of


class TrackedLink(Base):
    """An address that a message leads to by way of us. Only what staff wrote can be a target."""

    __tablename__ = "tracked_links"

    id: Mapped[bigid]
    #: In the address: `/l/<token>/...`; unguessable, so that links are no open redirect.
    token: Mapped[short] = mapped_column(unique=True)
    target: Mapped[str] = mapped_column(String(2000))
    #: What it is part of: `campaign:12:a`, `journey:3:thank`.
    source: Mapped[short] = mapped_column(index=True)
    made_at: Mapped[moment]


class Tap(Base):
    """A member tapped a button or link of a message of ours; the first tap of each counts."""

    __tablename__ = "taps"
    __table_args__ = (
        Index("ix_taps_source_at", "source", "at"),
        Index("ix_taps_member_id_at", "member_id", "at"),
        # A message that goes again is asked whether somebody has tapped it.
        Index(
            "ix_taps_message_id",
            "message_id",
            postgresql_where=text("message_id IS NOT NULL"),
            sqlite_where=text("message_id IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    #: `<message id>` for a button, `<link id>:<member id>` for a link: tapped twice is one row.
    key: Mapped[line] = mapped_column(unique=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    source: Mapped[short]
    message_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("messages.id"))
    at: Mapped[moment]


class LineFigure(Base):
    """What LINE itself counted for one of our units (`customAggregationUnits`) on one day."""

    __tablename__ = "line_figures"

    unit: Mapped[short] = mapped_column(primary_key=True)
    day: Mapped[local_date] = mapped_column(primary_key=True)
    #: LINE's answer: {"overview": {"uniqueImpression": null below 20, ...}, ...}
    figures: Mapped[dict[str, Any]] = mapped_column(Json)
    fetched_at: Mapped[moment]


class Alarm(Base):
    """Something the owner must know; one row while it lasts."""

    __tablename__ = "alarms"
    __table_args__ = (
        Index(
            "uq_alarms_open",
            "key",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
            sqlite_where=text("ended_at IS NULL"),
        ),
    )

    id: Mapped[bigid]
    #: What and about what, e.g. `journeys.silent:lifecycle.thank_you`.
    key: Mapped[line]
    kind: Mapped[short]
    facts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    raised_at: Mapped[moment]
    seen_at: Mapped[moment | None]
    ended_at: Mapped[moment | None]
    #: When the owner was told on LINE.
    told_at: Mapped[moment | None]


class WhatIfState(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class WhatIf(Base):
    """A replay of the past under other rules; it writes nothing but this row."""

    __tablename__ = "what_ifs"

    id: Mapped[bigid]
    state: Mapped[WhatIfState] = mapped_column(state_of(WhatIfState), default=WhatIfState.WAITING)
    #: The changed rules as asked for.
    rules: Mapped[dict[str, Any]] = mapped_column(Json)
    result: Mapped[dict[str, Any] | None] = mapped_column(Json)
    made_by: Mapped[short]
    made_at: Mapped[moment]
    started_at: Mapped[moment | None]
    ended_at: Mapped[moment | None]
