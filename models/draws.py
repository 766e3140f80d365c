"""Lucky draws with a stated chance and a seed that can be proven afterwards (C2).

The seed's hash is shown from the start and the seed when the draw has ended: everybody can then
compute every turn's number again.
"""

from __future__ import annotations

from enum import StrEnum

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

from models.base import Base, BigId, bigid, bigint, line, moment, short, state_of


class DrawState(StrEnum):
    DRAFT = "draft"
    LIVE = "live"
    ENDED = "ended"


class Draw(Base):
    """One lucky draw: who gets turns, and until when."""

    __tablename__ = "draws"
    __table_args__ = (
        CheckConstraint("turns_per_day >= 0", name="turns_per_day"),
        CheckConstraint("min_bill_satang >= 0", name="min_bill_not_negative"),
    )

    id: Mapped[bigid]
    key: Mapped[short] = mapped_column(unique=True)
    state: Mapped[DrawState] = mapped_column(state_of(DrawState), default=DrawState.DRAFT)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    starts_at: Mapped[moment | None]
    ends_at: Mapped[moment | None]
    #: Free turns a local day (0: none), and one for every bill of at least so much (0: none).
    turns_per_day: Mapped[int] = mapped_column(default=0)
    min_bill_satang: Mapped[bigint] = mapped_column(default=0)
    #: Sealed until the draw has ended; SHA-256 of it, shown from the start.
    seed_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    seed_hash: Mapped[short]
    #: Hex, once revealed.
    seed: Mapped[short | None]
    created_at: Mapped[moment]


class DrawPrize(Base):
    """One prize and its chance; what the chances leave open to a million wins nothing."""

    __tablename__ = "draw_prizes"
    __table_args__ = (CheckConstraint("per_million BETWEEN 1 AND 1000000", name="chance"),)

    id: Mapped[bigid]
    draw_id: Mapped[int] = mapped_column(BigId, ForeignKey("draws.id"), index=True)
    coupon_id: Mapped[int] = mapped_column(BigId, ForeignKey("coupons.id"))
    per_million: Mapped[int]


class DrawTurn(Base):
    """One turn: earned by a cause, played once, its number computed from seed and ordinal."""

    __tablename__ = "draw_turns"
    __table_args__ = (
        UniqueConstraint("draw_id", "member_id", "ordinal"),
        UniqueConstraint("draw_id", "source", "source_id"),
        Index("ix_draw_turns_member_id", "member_id"),
        # A voucher that goes again is asked whether a turn won it.
        Index(
            "ix_draw_turns_voucher_id",
            "voucher_id",
            postgresql_where=text("voucher_id IS NOT NULL"),
            sqlite_where=text("voucher_id IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    draw_id: Mapped[int] = mapped_column(BigId, ForeignKey("draws.id"))
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    #: The member's first, second, … turn in this draw.
    ordinal: Mapped[int]
    #: `day` with the local date, or `purchase` with its id.
    source: Mapped[short]
    source_id: Mapped[line]
    given_at: Mapped[moment]
    #: 0-999,999 once played.
    number: Mapped[int | None]
    played_at: Mapped[moment | None]
    prize_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("draw_prizes.id"))
    voucher_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("vouchers.id"))
