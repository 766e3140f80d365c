"""Occurrences of jobs, claimed in our own table: any number of processes runs each once."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, bigid, local_date, moment, short, state_of


class OccurrenceState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"


class Occurrence(Base):
    """One job, for one subject, on one local date."""

    __tablename__ = "occurrences"
    __table_args__ = (
        UniqueConstraint("job", "subject", "local_on"),
        Index("ix_occurrences_state", "state"),
    )

    id: Mapped[bigid]
    job: Mapped[short]
    #: Usually ``; an hour (`14`) for hourly jobs.
    subject: Mapped[short] = mapped_column(default="")
    local_on: Mapped[local_date]
    #: The moment it counts as, even when it is caught up later.
    due_at: Mapped[moment]
    state: Mapped[OccurrenceState] = mapped_column(state_of(OccurrenceState))
    claimed_by: Mapped[short]
    claimed_at: Mapped[moment]
    lease_until: Mapped[moment]
    finished_at: Mapped[moment | None]
    rows_done: Mapped[int] = mapped_column(default=0)
    #: Where a long job goes on after a stop: the last id it has finished.
    cursor: Mapped[int] = mapped_column(BigId, default=0)
    reason: Mapped[str | None] = mapped_column(String(200))


class Heartbeat(Base):
    """When each role of each process was last alive."""

    __tablename__ = "heartbeats"

    #: `worker:<host>:<pid>`.
    id: Mapped[short] = mapped_column(primary_key=True)
    role: Mapped[short]
    at: Mapped[moment] = mapped_column(index=True)
