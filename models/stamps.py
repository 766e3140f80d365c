"""Stamp programs, members' cards, and the stamps on them."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, bigid, bigint, line, local_date, moment, short, state_of


class StampRule(StrEnum):
    PER_VISIT = "per_visit"
    PER_AMOUNT = "per_amount"
    PER_ITEM = "per_item"


class CardExpiry(StrEnum):
    NEVER = "never"
    FROM_FIRST = "from_first"
    FROM_LAST = "from_last"


class CardState(StrEnum):
    OPEN = "open"
    FULL = "full"
    EXPIRED = "expired"


class StampProgram(Base):
    """One version of a programme; editing makes a new row, cards under way keep theirs."""

    __tablename__ = "stamp_programs"
    __table_args__ = (
        UniqueConstraint("key", "version"),
        CheckConstraint("size BETWEEN 1 AND 50", name="size_in_range"),
        Index(
            "uq_stamp_programs_current",
            "key",
            unique=True,
            postgresql_where=text("is_current"),
            sqlite_where=text("is_current"),
        ),
    )

    id: Mapped[bigid]
    key: Mapped[short]
    version: Mapped[int] = mapped_column(default=1)
    is_current: Mapped[bool] = mapped_column(default=True)
    is_on: Mapped[bool] = mapped_column(default=True)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    size: Mapped[int]
    rule: Mapped[StampRule] = mapped_column(state_of(StampRule), default=StampRule.PER_VISIT)
    #: Per visit: the smallest bill that counts. Per amount: satang for one stamp.
    unit_satang: Mapped[bigint] = mapped_column(default=0)
    sku: Mapped[short | None]
    daily_limit: Mapped[int | None]
    expiry: Mapped[CardExpiry] = mapped_column(state_of(CardExpiry), default=CardExpiry.NEVER)
    expiry_days: Mapped[int | None]
    #: Branch codes; NULL means every branch.
    branches: Mapped[str | None]
    starts_on: Mapped[local_date | None]
    ends_on: Mapped[local_date | None]
    design: Mapped[short] = mapped_column(default="classic")


class StampPrize(Base):
    """The coupon issued when a card reaches this many stamps; the last one is the goal."""

    __tablename__ = "stamp_prizes"
    __table_args__ = (UniqueConstraint("program_id", "at_stamp"),)

    id: Mapped[bigid]
    program_id: Mapped[int] = mapped_column(BigId, ForeignKey("stamp_programs.id"))
    at_stamp: Mapped[int]
    coupon_id: Mapped[int] = mapped_column(BigId, ForeignKey("coupons.id"))


class StampCard(Base):
    """One member's card under one version of a programme."""

    __tablename__ = "stamp_cards"
    __table_args__ = (
        UniqueConstraint("member_id", "program_key", "ordinal"),
        Index(
            "uq_stamp_cards_open",
            "member_id",
            "program_key",
            unique=True,
            postgresql_where=text("state = 'open'"),
            sqlite_where=text("state = 'open'"),
        ),
        Index(
            "ix_stamp_cards_due",
            "expires_at",
            "id",
            postgresql_where=text("state = 'open' AND expires_at IS NOT NULL"),
            sqlite_where=text("state = 'open' AND expires_at IS NOT NULL"),
        ),
        CheckConstraint("filled >= 0", name="filled_not_negative"),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    program_id: Mapped[int] = mapped_column(BigId, ForeignKey("stamp_programs.id"))
    program_key: Mapped[short]
    #: 1 for the member's first card of the programme, and so on.
    ordinal: Mapped[int]
    #: Stamps on the card now; equals its `stamps` rows that were not taken back.
    filled: Mapped[int] = mapped_column(default=0)
    state: Mapped[CardState] = mapped_column(state_of(CardState), default=CardState.OPEN)
    opened_at: Mapped[moment]
    expires_at: Mapped[moment | None]
    filled_at: Mapped[moment | None]


class Stamp(Base):
    """One mark. `source_id` and `ordinal` make it unique per cause."""

    __tablename__ = "stamps"
    __table_args__ = (UniqueConstraint("program_key", "source", "source_id", "ordinal"),)

    id: Mapped[bigid]
    card_id: Mapped[int] = mapped_column(BigId, ForeignKey("stamp_cards.id"), index=True)
    program_key: Mapped[short]
    #: `purchase` or `staff`.
    source: Mapped[short]
    source_id: Mapped[line]
    #: 1..n when one cause gives several.
    ordinal: Mapped[int] = mapped_column(default=1)
    at: Mapped[moment]
    local_on: Mapped[local_date]
    taken_back_at: Mapped[moment | None]
