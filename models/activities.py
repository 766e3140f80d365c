"""The timeline: business facts about members, the seam between rules and messages."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, line, moment, short


class Activity(Base):
    """A fact in a member's timeline. `kind` is `<noun>.<verb>`, e.g. `purchases.recorded`."""

    __tablename__ = "activities"
    __table_args__ = (
        Index("ix_activities_member_id_at", "member_id", "at"),
        Index("ix_activities_at", "at", postgresql_using="brin"),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    kind: Mapped[short]
    at: Mapped[moment]
    #: What the words need: amounts in satang, points, ids; never personal data.
    facts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: Makes the fact unique where it must be, e.g. `members.joined:42`.
    key: Mapped[line | None] = mapped_column(unique=True)
