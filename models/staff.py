"""Branches, staff of the console, cashiers, tills, and keys of till software."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, LargeBinary, String, false, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, bigint, local_date, moment, short, state_of


class Role(StrEnum):
    OWNER = "owner"
    MANAGER = "manager"
    MARKETER = "marketer"
    AUDITOR = "auditor"


class Branch(Base):
    """A shop of the chain; codes are what tills and the API say."""

    __tablename__ = "branches"

    id: Mapped[bigid]
    code: Mapped[short] = mapped_column(unique=True)
    name_th: Mapped[str] = mapped_column(String(100))
    name_en: Mapped[str] = mapped_column(String(100))
    is_active: Mapped[bool] = mapped_column(default=True)
    #: Whether the till page asks for the bill number.
    needs_receipt_no: Mapped[bool] = mapped_column(default=False)


class Staff(Base):
    """Someone who signs in to the console."""

    __tablename__ = "staff"

    id: Mapped[bigid]
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[Role] = mapped_column(state_of(Role))
    password_hash: Mapped[str | None] = mapped_column(String(255))
    #: A one-time set-up secret's hash while no password is set.
    setup_hash: Mapped[short | None]
    setup_expires_at: Mapped[moment | None]
    #: The TOTP secret, wrapped.
    totp_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: The 30-second step of the newest code that was used: each is good once.
    totp_step: Mapped[bigint | None]
    branch_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("branches.id"))
    locale: Mapped[str] = mapped_column(String(2), default="th")
    is_active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[moment]
    failed_count: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[moment | None]


class RecoveryCode(Base):
    """A one-time code that stands in for the second factor when the phone is lost."""

    __tablename__ = "recovery_codes"

    id: Mapped[bigid]
    staff_id: Mapped[int] = mapped_column(BigId, ForeignKey("staff.id"), index=True)
    code_hash: Mapped[short] = mapped_column(unique=True)
    made_at: Mapped[moment]
    used_at: Mapped[moment | None]


class StaffSession(Base):
    """A console session; the cookie holds the secret, the row its hash."""

    __tablename__ = "staff_sessions"

    token_hash: Mapped[short] = mapped_column(primary_key=True)
    staff_id: Mapped[int] = mapped_column(BigId, ForeignKey("staff.id"), index=True)
    created_at: Mapped[moment]
    last_seen_at: Mapped[moment]
    expires_at: Mapped[moment]
    revoked_at: Mapped[moment | None]
    #: Password (and second factor) were last given; acts that matter ask again after a while.
    confirmed_at: Mapped[moment | None]
    #: As the browser names itself, for the list of sessions.
    browser: Mapped[str | None] = mapped_column(String(100))


class Cashier(Base):
    """Someone at a till, with a personal 6-digit PIN."""

    __tablename__ = "cashiers"

    id: Mapped[bigid]
    name: Mapped[str] = mapped_column(String(100))
    branch_id: Mapped[int] = mapped_column(BigId, ForeignKey("branches.id"), index=True)
    pin_hash: Mapped[str] = mapped_column(String(255))
    #: Links the PIN to a manager of the console.
    staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    #: The cashier's own membership: refused at their own till.
    member_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("members.id"))
    is_active: Mapped[bool] = mapped_column(default=True)
    #: Their PIN allows what is above a cashier's ceiling.
    is_manager: Mapped[bool] = mapped_column(default=False, server_default=false())
    failed_count: Mapped[int] = mapped_column(default=0)
    locked_until: Mapped[moment | None]
    created_at: Mapped[moment]


class Device(Base):
    """An enrolled till: phone, tablet or PC."""

    __tablename__ = "devices"

    id: Mapped[bigid]
    name: Mapped[str] = mapped_column(String(100))
    branch_id: Mapped[int] = mapped_column(BigId, ForeignKey("branches.id"), index=True)
    token_hash: Mapped[short] = mapped_column(unique=True)
    enrolled_at: Mapped[moment]
    last_seen_at: Mapped[moment | None]
    revoked_at: Mapped[moment | None]


class EnrolmentCode(Base):
    """A one-time code that makes a browser a till: 128 bits, 10 minutes."""

    __tablename__ = "enrolment_codes"

    code_hash: Mapped[short] = mapped_column(primary_key=True)
    branch_id: Mapped[int] = mapped_column(BigId, ForeignKey("branches.id"))
    created_at: Mapped[moment]
    expires_at: Mapped[moment]
    used_at: Mapped[moment | None]


class CashierSession(Base):
    """An open PIN on a device; at most one open per device."""

    __tablename__ = "cashier_sessions"
    __table_args__ = (
        Index(
            "uq_cashier_sessions_open",
            "device_id",
            unique=True,
            postgresql_where=text("closed_at IS NULL"),
            sqlite_where=text("closed_at IS NULL"),
        ),
    )

    token_hash: Mapped[short] = mapped_column(primary_key=True)
    cashier_id: Mapped[int] = mapped_column(BigId, ForeignKey("cashiers.id"), index=True)
    device_id: Mapped[int] = mapped_column(BigId, ForeignKey("devices.id"))
    opened_at: Mapped[moment]
    last_seen_at: Mapped[moment]
    expires_at: Mapped[moment]
    closed_at: Mapped[moment | None]


class ApiKey(Base):
    """A bearer key of till software."""

    __tablename__ = "api_keys"

    id: Mapped[bigid]
    name: Mapped[str] = mapped_column(String(100), unique=True)
    key_hash: Mapped[short] = mapped_column(unique=True)
    scopes: Mapped[list[str]] = mapped_column(Json, default=list)
    created_at: Mapped[moment]
    last_used_at: Mapped[moment | None]
    revoked_at: Mapped[moment | None]


class Look(Base):
    """Who looked at whose data on which local day: kept for a breach report, never judged by."""

    __tablename__ = "looks"

    #: `staff:3`, `api:2`.
    actor: Mapped[short] = mapped_column(primary_key=True)
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), primary_key=True)
    #: What was looked at: `members.read`, `conversations.read`, `exports.own_data`.
    what: Mapped[short] = mapped_column(primary_key=True)
    day: Mapped[local_date] = mapped_column(primary_key=True)
    first_at: Mapped[moment] = mapped_column(index=True)


class AuditRow(Base):
    """A privileged act, chained by hash: each row's digest covers the one before."""

    __tablename__ = "audit_rows"
    __table_args__ = (Index("ix_audit_rows_actor_at", "actor", "at"),)

    id: Mapped[bigid]
    at: Mapped[moment]
    #: `staff:3`, `cashier:5`, `cli`, `job`.
    actor: Mapped[short]
    #: `<noun>.<verb>`.
    act: Mapped[short]
    facts: Mapped[dict[str, Any]] = mapped_column(Json, default=dict)
    #: The exact bytes that were hashed.
    canonical: Mapped[bytes] = mapped_column(LargeBinary)
    previous: Mapped[short] = mapped_column(unique=True)
    digest: Mapped[short] = mapped_column(unique=True)


class AuditHead(Base):
    """The newest digest; locking this row serialises the chain's writers."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(primary_key=True)
    digest: Mapped[short]
