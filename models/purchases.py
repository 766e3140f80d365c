"""Bills: what was bought where, what it earned, and what was returned of it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, bigint, line, local_date, moment, short, state_of


class PurchaseState(StrEnum):
    RECORDED = "recorded"
    PARTLY_RETURNED = "partly_returned"
    VOIDED = "voided"


class Purchase(Base):
    """One bill of a member, after discounts."""

    __tablename__ = "purchases"
    __table_args__ = (
        # A bill number counts once per branch and local day, after normalising.
        Index(
            "uq_purchases_receipt",
            "branch_id",
            "local_on",
            "receipt_key",
            unique=True,
            postgresql_where=text("receipt_key IS NOT NULL"),
            sqlite_where=text("receipt_key IS NOT NULL"),
        ),
        CheckConstraint("amount_satang > 0", name="amount_positive"),
        CheckConstraint(
            "returned_satang >= 0 AND returned_satang <= amount_satang", name="returned_within"
        ),
        Index("ix_purchases_member_id_purchased_at", "member_id", "purchased_at"),
        Index("ix_purchases_cashier_id_recorded_at", "cashier_id", "recorded_at"),
        Index("ix_purchases_purchased_at_id", "purchased_at", "id"),
    )

    id: Mapped[bigid]
    public_id: Mapped[short] = mapped_column(unique=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    branch_id: Mapped[int] = mapped_column(BigId, ForeignKey("branches.id"))
    #: Made by whoever started it: the device, or the API caller's key.
    operation_id: Mapped[line] = mapped_column(unique=True)
    receipt_no: Mapped[str | None] = mapped_column(String(64))
    receipt_key: Mapped[str | None] = mapped_column(String(64))
    local_on: Mapped[local_date]
    purchased_at: Mapped[moment]
    recorded_at: Mapped[moment]
    amount_satang: Mapped[bigint]
    returned_satang: Mapped[bigint] = mapped_column(default=0)
    points: Mapped[bigint] = mapped_column(default=0)
    #: What the bill added to the member's carry (negative when it used some up).
    carry_delta: Mapped[bigint] = mapped_column(default=0)
    state: Mapped[PurchaseState] = mapped_column(
        state_of(PurchaseState), default=PurchaseState.RECORDED
    )
    is_first: Mapped[bool] = mapped_column(default=False)
    cashier_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("cashiers.id"))
    device_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("devices.id"))
    api_key_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("api_keys.id"))
    voided_at: Mapped[moment | None]
    #: What the till's own clock said when it was put into its queue without a signal (K7).
    queued_at: Mapped[moment | None]


class PurchaseItem(Base):
    """A line of a bill; kept for product rules and suggestions."""

    __tablename__ = "purchase_items"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity_positive"),)

    id: Mapped[bigid]
    purchase_id: Mapped[int] = mapped_column(BigId, ForeignKey("purchases.id"), index=True)
    sku: Mapped[short]
    quantity: Mapped[int]
    amount_satang: Mapped[bigint]


class PurchaseReturn(Base):
    """A void or a part return of a bill, with what it took back."""

    __tablename__ = "purchase_returns"
    __table_args__ = (
        CheckConstraint("amount_satang > 0", name="amount_positive"),
        Index("ix_purchase_returns_at", "at", postgresql_using="brin"),
        Index(
            "uq_purchase_returns_void",
            "purchase_id",
            unique=True,
            postgresql_where=text("is_void"),
            sqlite_where=text("is_void"),
        ),
    )

    id: Mapped[bigid]
    public_id: Mapped[short] = mapped_column(unique=True)
    purchase_id: Mapped[int] = mapped_column(BigId, ForeignKey("purchases.id"), index=True)
    operation_id: Mapped[line] = mapped_column(unique=True)
    amount_satang: Mapped[bigint]
    points: Mapped[bigint]
    carry_delta: Mapped[bigint] = mapped_column(default=0)
    is_void: Mapped[bool]
    at: Mapped[moment]
    cashier_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("cashiers.id"))
    api_key_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("api_keys.id"))
    staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))


class Approval(Base):
    """A manager's PIN for one tap above a ceiling, or for a late void (K5, K6)."""

    __tablename__ = "approvals"

    #: The tap it allows.
    operation_id: Mapped[line] = mapped_column(primary_key=True)
    manager_id: Mapped[int] = mapped_column(BigId, ForeignKey("cashiers.id"), index=True)
    cashier_id: Mapped[int] = mapped_column(BigId, ForeignKey("cashiers.id"), index=True)
    #: The ceiling it went over: `operation`, `shift`, `day` or `void`.
    over: Mapped[short]
    amount_satang: Mapped[bigint]
    at: Mapped[moment]


class Operation(Base):
    """An operation id and the answer it got: the same id again gets the same answer (K3)."""

    __tablename__ = "operations"
    __table_args__ = (Index("ix_operations_created_at", "created_at"),)

    #: `device:<id>:<operation>`, `api:<key id>:<idempotency key>` or `staff:<id>:<form's key>`.
    id: Mapped[line] = mapped_column(primary_key=True)
    #: SHA-256 of method, path and body.
    fingerprint: Mapped[short]
    created_at: Mapped[moment]
    #: None while the first request is still at work.
    status: Mapped[int | None]
    answer: Mapped[dict[str, Any] | None] = mapped_column(Json)
