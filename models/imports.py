"""Members brought from elsewhere, and two rows made one: what was done, so that it can be undone."""

from __future__ import annotations

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
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, moment, short, state_of


class ImportState(StrEnum):
    CHECKED = "checked"
    APPLIED = "applied"
    DROPPED = "dropped"


class Import(Base):
    """One uploaded list: checked first, applied once by a person."""

    __tablename__ = "imports"

    id: Mapped[bigid]
    public_id: Mapped[short] = mapped_column(unique=True)
    state: Mapped[ImportState] = mapped_column(state_of(ImportState), default=ImportState.CHECKED)
    digest: Mapped[short]
    #: As the browser named the file; None before there was such a column, and from the command line.
    file_name: Mapped[str | None] = mapped_column(String(200))
    #: The list itself, sealed; gone as soon as it is applied or dropped.
    content_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: How many lines would be new, known, wrong; and the wrong ones: [[line, code, field]].
    counts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    troubles: Mapped[list[Any]] = mapped_column(Json, default=list)
    staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    created_at: Mapped[moment]
    applied_at: Mapped[moment | None]


class ImportedMember(Base):
    """Whom a line of a list became: the same line again is known."""

    __tablename__ = "imported_members"
    __table_args__ = (UniqueConstraint("external_key"),)

    id: Mapped[bigid]
    #: Keyed hash of the other system's member id, or of the phone.
    external_key: Mapped[short]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    import_id: Mapped[int] = mapped_column(BigId, ForeignKey("imports.id"))


class Merge(Base):
    """Two members made one by staff; `moved` says what went over, so that it can go back."""

    __tablename__ = "merges"
    __table_args__ = (
        CheckConstraint("kept_id <> gone_id", name="two_members"),
        Index(
            "uq_merges_in_force",
            "gone_id",
            unique=True,
            postgresql_where=text("undone_at IS NULL"),
            sqlite_where=text("undone_at IS NULL"),
        ),
    )

    id: Mapped[bigid]
    kept_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    gone_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    #: {"points": n, "lots": […], "vouchers": [ids], …}: ids and figures only.
    moved: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    at: Mapped[moment]
    undone_at: Mapped[moment | None]
