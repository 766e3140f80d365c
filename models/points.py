"""The points ledger: permanent signed entries, the lots of each earn, and what drew on them.

Entries are append-only; the migration installs triggers that refuse UPDATE and DELETE.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, bigint, line, local_date, moment, short, state_of


class EntryKind(StrEnum):
    EARN = "earn"
    BURN = "burn"
    EXPIRE = "expire"
    ADJUST = "adjust"
    REVERSE = "reverse"


#: Sources of entries that hand points over to another member.
MERGE_OUT, MERGE_IN = "merge_out", "merge_in"


class ExpiryKind(StrEnum):
    NEVER = "never"
    END_OF_MONTH = "end_of_month"
    END_OF_YEAR = "end_of_year"


class EarnPolicy(Base):
    """How points are earned and when they expire, from a day on. Old lots never change."""

    __tablename__ = "earn_policies"
    __table_args__ = (
        CheckConstraint("satang_per_point > 0", name="rate_positive"),
        CheckConstraint("pending_days >= 0", name="pending_not_negative"),
        CheckConstraint("expiry_months BETWEEN 1 AND 120", name="expiry_months_sane"),
    )

    id: Mapped[bigid]
    valid_from: Mapped[local_date] = mapped_column(unique=True)
    satang_per_point: Mapped[bigint] = mapped_column(default=2500)
    has_carry: Mapped[bool] = mapped_column(default=True)
    pending_days: Mapped[int] = mapped_column(default=0)
    expiry_kind: Mapped[ExpiryKind] = mapped_column(
        state_of(ExpiryKind), default=ExpiryKind.END_OF_MONTH
    )
    expiry_months: Mapped[int] = mapped_column(default=12)


class LedgerEntry(Base):
    """One signed, permanent points row."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        # The business key: the same purchase earns once, whatever is retried.
        UniqueConstraint("source", "source_id", "kind"),
        CheckConstraint("kind <> 'earn' OR points > 0", name="earn_adds"),
        CheckConstraint("kind NOT IN ('burn', 'expire') OR points < 0", name="burn_takes"),
        CheckConstraint("points <> 0", name="moves_points"),
        CheckConstraint("kind <> 'adjust' OR reason IS NOT NULL", name="adjust_has_reason"),
        Index("ix_ledger_entries_member_id_id", "member_id", "id"),
        Index("ix_ledger_entries_created_at", "created_at", postgresql_using="brin"),
        # What was taken back of an earn: asked at every return.
        Index(
            "ix_ledger_entries_reverses_id",
            "reverses_id",
            postgresql_where=text("reverses_id IS NOT NULL"),
            sqlite_where=text("reverses_id IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    kind: Mapped[EntryKind] = mapped_column(state_of(EntryKind))
    points: Mapped[bigint]
    #: What caused it: `purchase`, `purchase_return`, `voucher`, `lot`, `staff`, `redemption`, ...
    source: Mapped[short]
    source_id: Mapped[line]
    created_at: Mapped[moment]
    #: When it counts from: a late expiry carries the midnight it was due.
    effective_at: Mapped[moment]
    reverses_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("ledger_entries.id"))
    reason: Mapped[str | None]
    staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    #: For history in words: {"amount_satang": 25000, "branch": "สยาม", ...}.
    facts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)


#: What is left to use or to expire. Written out rather than bound: it repeats the condition of an
#: index, and PostgreSQL need not plan anew for every value.
IS_LEFT = text("lots.remaining > 0")


class Lot(Base):
    """Points of one earn: what remains of them and until when."""

    __tablename__ = "lots"
    __table_args__ = (
        UniqueConstraint("entry_id"),
        CheckConstraint("remaining >= 0 AND remaining <= points", name="remaining_in_lot"),
        CheckConstraint("points > 0", name="points_positive"),
        Index(
            "ix_lots_open",
            "member_id",
            "expires_at",
            postgresql_where=text("remaining > 0"),
            sqlite_where=text("remaining > 0"),
        ),
        Index(
            "ix_lots_due",
            "expires_at",
            "id",
            postgresql_where=text("remaining > 0 AND expires_at IS NOT NULL"),
            sqlite_where=text("remaining > 0 AND expires_at IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    entry_id: Mapped[int] = mapped_column(BigId, ForeignKey("ledger_entries.id"))
    points: Mapped[bigint]
    remaining: Mapped[bigint]
    earned_at: Mapped[moment]
    #: Pending until then; None when usable at once.
    usable_at: Mapped[moment | None]
    #: Exclusive: local 00:00 of the day after the last valid day; None never expires.
    expires_at: Mapped[moment | None]


class LotDraw(Base):
    """How an entry moved a lot: negative takes from it, positive gives back."""

    __tablename__ = "lot_draws"
    __table_args__ = (CheckConstraint("points <> 0", name="moves_points"),)

    id: Mapped[bigid]
    entry_id: Mapped[int] = mapped_column(BigId, ForeignKey("ledger_entries.id"), index=True)
    lot_id: Mapped[int] = mapped_column(BigId, ForeignKey("lots.id"), index=True)
    points: Mapped[bigint]


class AdjustmentState(StrEnum):
    WAITING = "waiting"
    DONE = "done"
    REFUSED = "refused"


class Adjustment(Base):
    """Points given or taken by staff (P8); above the role's ceiling a second person decides."""

    __tablename__ = "adjustments"
    __table_args__ = (
        CheckConstraint("points <> 0", name="moves_points"),
        CheckConstraint("decided_by_id IS NULL OR decided_by_id <> staff_id", name="second_person"),
        Index("ix_adjustments_state", "state", "id"),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), index=True)
    points: Mapped[bigint]
    reason: Mapped[line]
    state: Mapped[AdjustmentState] = mapped_column(
        state_of(AdjustmentState), default=AdjustmentState.WAITING
    )
    staff_id: Mapped[int] = mapped_column(BigId, ForeignKey("staff.id"))
    at: Mapped[moment]
    decided_by_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    decided_at: Mapped[moment | None]
    entry_id: Mapped[int | None] = mapped_column(
        BigId, ForeignKey("ledger_entries.id"), unique=True
    )
