"""Journeys: who should hear what, when. Jobs write intents; delivery turns due ones into
outbox rows. Nothing else may cause a lifecycle message."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, moment, short, state_of
from models.outbox import MessageClass


class Journey(Base):
    """An automated series with one switch. Its definition lives in versions."""

    __tablename__ = "journeys"

    id: Mapped[bigid]
    #: `lifecycle.thank_you`, `lifecycle.win_back`, `members.birthday`, `points.expiring_notice`.
    key: Mapped[short] = mapped_column(unique=True)
    klass: Mapped[MessageClass] = mapped_column(state_of(MessageClass))
    is_on: Mapped[bool] = mapped_column(default=True)
    current_version: Mapped[int] = mapped_column(default=1)
    #: Percent of qualifying members held out; 0 for transactional, service, welcome, birthday.
    holdout_percent: Mapped[int] = mapped_column(default=10)
    #: As the owner calls it; None for shipped ones, whose names are in the locales.
    name: Mapped[str | None] = mapped_column(String(100))
    #: Out of the lists, and off; never deleted.
    archived_at: Mapped[moment | None]


class JourneyVersion(Base):
    """A versioned definition as data:
    {"trigger": {...}, "steps": [{"key", "kind": "send", "window_hours", "not_after_hours",
    "coupon": key | null, "texts": {locale: {variant: {"title", "body", "button"}}}, ...}]}"""

    __tablename__ = "journey_versions"
    __table_args__ = (UniqueConstraint("journey_id", "version"),)

    id: Mapped[bigid]
    journey_id: Mapped[int] = mapped_column(BigId, ForeignKey("journeys.id"))
    version: Mapped[int]
    definition: Mapped[dict[str, Any]] = mapped_column(Json)
    #: `seed` or `staff:<id>`.
    made_by: Mapped[short]
    made_at: Mapped[moment]


class EnrolmentState(StrEnum):
    ACTIVE = "active"
    DONE = "done"
    EXITED = "exited"


class Enrolment(Base):
    """One member in one journey for one occasion, under the version of that day."""

    __tablename__ = "enrolments"
    __table_args__ = (
        UniqueConstraint("member_id", "journey_id", "occasion"),
        Index(
            "ix_enrolments_due",
            "due_at",
            "id",
            postgresql_where=text("state = 'active' AND due_at IS NOT NULL"),
            sqlite_where=text("state = 'active' AND due_at IS NOT NULL"),
        ),
        Index(
            "ix_enrolments_active",
            "journey_id",
            "id",
            postgresql_where=text("state = 'active'"),
            sqlite_where=text("state = 'active'"),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    journey_id: Mapped[int] = mapped_column(BigId, ForeignKey("journeys.id"))
    version: Mapped[int]
    #: What it is about: `purchase:<id>`, `birthday:2026`, `silence:2026-09-01`.
    occasion: Mapped[str] = mapped_column(String(120))
    step: Mapped[short]
    state: Mapped[EnrolmentState] = mapped_column(
        state_of(EnrolmentState), default=EnrolmentState.ACTIVE
    )
    started_at: Mapped[moment]
    ended_at: Mapped[moment | None]
    why_ended: Mapped[short | None]
    #: When the step it waits at goes on; None while a message of it is owed, and after its end.
    due_at: Mapped[moment | None]
    #: What the trigger knew: {"purchase_id": 7, "points": 10, ...}.
    facts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict, server_default="{}")
    #: Steps taken so far: [{"step", "at", "what", ...}], what the console explains it by.
    path: Mapped[list[dict[str, Any]]] = mapped_column(Json, default=list, server_default="[]")


class Arm(StrEnum):
    TREATED = "treated"
    HELD_OUT = "held_out"


class IntentState(StrEnum):
    #: Owed; may ride a free reply until the deadline, then becomes a push.
    WAITING = "waiting"
    #: A message row exists (ride or push).
    TURNED = "turned"
    #: In the hold-out: nothing is sent, results are compared.
    HELD_OUT = "held_out"
    SKIPPED = "skipped"


class Intent(Base):
    """The wish to tell one member one thing on one occasion."""

    __tablename__ = "intents"
    __table_args__ = (
        # Never twice, whatever is replayed, restarted or run on four machines.
        UniqueConstraint("member_id", "journey_id", "occasion"),
        Index(
            "ix_intents_due",
            "deadline",
            "id",
            postgresql_where=text("state = 'waiting'"),
            sqlite_where=text("state = 'waiting'"),
        ),
        Index(
            "ix_intents_rides",
            "member_id",
            postgresql_where=text("state = 'waiting'"),
            sqlite_where=text("state = 'waiting'"),
        ),
        Index("ix_intents_journey_id_created_at", "journey_id", "created_at"),
        # What one run of a journey has said and is about to say.
        Index(
            "ix_intents_enrolment_id",
            "enrolment_id",
            postgresql_where=text("enrolment_id IS NOT NULL"),
            sqlite_where=text("enrolment_id IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    journey_id: Mapped[int] = mapped_column(BigId, ForeignKey("journeys.id"))
    version: Mapped[int]
    enrolment_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("enrolments.id"))
    #: Includes the step: `purchase:<id>`, `silence:2026-09-01:60d`.
    occasion: Mapped[str] = mapped_column(String(120))
    step: Mapped[short]
    klass: Mapped[MessageClass] = mapped_column(state_of(MessageClass))
    created_at: Mapped[moment]
    #: From here on it may ride a reply.
    window_from: Mapped[moment]
    #: Here it becomes a paid push.
    deadline: Mapped[moment]
    not_after: Mapped[moment]
    arm: Mapped[Arm] = mapped_column(state_of(Arm), default=Arm.TREATED)
    state: Mapped[IntentState] = mapped_column(state_of(IntentState), default=IntentState.WAITING)
    #: `delivery.<why>` of a skip.
    reason: Mapped[short | None]
    decided_at: Mapped[moment | None]
    #: What the texts need: {"points": 10, "coupon_id": 3, "voucher_id": 99, ...}.
    facts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


# Written out rather than bound: both engines use a partial index only where they can read that
# its condition holds. They repeat the conditions of the indexes above and must change with them.
IS_WAITING = text("intents.state = 'waiting'")
IS_ACTIVE = text("enrolments.state = 'active' AND enrolments.due_at IS NOT NULL")
