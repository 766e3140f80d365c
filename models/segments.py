"""Segments: who a message is for, as a tree of conditions; and the tags people carry."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, moment, short


class Segment(Base):
    """A saved group. Its conditions live in versions; what was sent keeps the version it used."""

    __tablename__ = "segments"

    id: Mapped[bigid]
    name: Mapped[str] = mapped_column(String(100))
    current_version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[moment]
    #: Out of the lists; never deleted.
    archived_at: Mapped[moment | None]


class SegmentVersion(Base):
    """{"all": [node, ...]}, {"any": [...]}, {"not": node} or {"field", "is", "value", ...};
    `engagement/segments.py` says which fields there are and refuses everything else."""

    __tablename__ = "segment_versions"
    __table_args__ = (UniqueConstraint("segment_id", "version"),)

    id: Mapped[bigid]
    segment_id: Mapped[int] = mapped_column(BigId, ForeignKey("segments.id"))
    version: Mapped[int]
    tree: Mapped[dict[str, Any]] = mapped_column(Json)
    #: `seed` or `staff:<id>`.
    made_by: Mapped[short]
    made_at: Mapped[moment]


class MemberTag(Base):
    """A word that staff or a journey put on a person, e.g. `likes_matcha`."""

    __tablename__ = "member_tags"

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    tag: Mapped[short] = mapped_column(primary_key=True, index=True)
    at: Mapped[moment]
    #: `staff:<id>` or `journey:<key>`.
    by: Mapped[short]


class MemberChoice(Base):
    """What a member wants to hear about, and how often (`รับข่าวอะไรบ้าง`)."""

    __tablename__ = "member_choices"

    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    #: Topics they do not want, of `engagement/topics.py`.
    muted: Mapped[list[str]] = mapped_column(Json, default=list)
    #: Promotional messages a week at most; None leaves it to the shop. Never more than the shop's.
    per_week: Mapped[int | None]
    changed_at: Mapped[moment]
