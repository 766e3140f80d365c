"""Codes as rows: how long they live, and who holds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core import ids
from core.errors import Refused
from loyalty.codes.format import Parsed
from models.base import table_of
from models.coupons import CodePurpose, CodeState, ScanCode, Voucher
from models.members import Member

CODES = table_of(ScanCode)


@dataclass(frozen=True)
class Window:
    """Every span of a code's life, in one place, so that none can outlive another by accident."""

    #: From issue to the last first scan.
    lifetime: timedelta
    #: How far in the future an issue time may seem: clocks of two processes differ.
    leeway: timedelta
    #: From a scan to the end of its hold.
    hold: timedelta
    #: How long a dead code is still recognised as used; far beyond anything above.
    remembered: timedelta


WINDOW = Window(
    lifetime=timedelta(seconds=60),
    leeway=timedelta(seconds=5),
    hold=timedelta(minutes=5),
    remembered=timedelta(days=30),
)


assert WINDOW.remembered > WINDOW.lifetime + WINDOW.leeway + WINDOW.hold


@dataclass(frozen=True)
class Scan:
    """What a scanned code stands for, and the hold that its scan took (none for a card)."""

    code_row: ScanCode
    member: Member
    voucher: Voucher | None
    purpose: CodePurpose
    hold_id: str | None
    hold_expires_at: datetime | None


def find_code(session: Session, parsed: Parsed) -> tuple[ScanCode, Member, Voucher | None]:
    """The row of a code and whose it is; TX2 unless everything the code says is so."""
    session.flush()  # the caller may have just written what we look for
    by_hash = select(ScanCode).where(ScanCode.handle_hash == ids.token_hash(parsed.handle))
    code = session.scalars(by_hash, execution_options={"populate_existing": True}).first()
    if code is None or code.purpose != parsed.purpose or code.state == CodeState.REVOKED:
        raise Refused("codes.expired")
    member = session.get(Member, code.member_id)
    voucher = session.get(Voucher, code.voucher_id) if code.voucher_id else None
    said = voucher.public_id if voucher else None
    if member is None or not member.is_member or said != parsed.voucher_public_id:
        raise Refused("codes.expired")
    return code, member, voucher


def is_fresh(code: ScanCode, real_now: datetime) -> bool:
    """Whether a first scan may still happen."""
    if code.state != CodeState.NEW or code.expires_at is None:
        return False
    is_early = code.issued_at > real_now + WINDOW.leeway
    return not is_early and real_now <= code.expires_at


def is_held(code: ScanCode, real_now: datetime) -> bool:
    return (
        code.state == CodeState.HELD
        and code.hold_expires_at is not None
        and code.hold_expires_at > real_now
    )


def live_hold(session: Session, voucher_id: int, real_now: datetime) -> ScanCode | None:
    """The hold that a till has on a voucher at this moment."""
    held = select(ScanCode).where(
        ScanCode.voucher_id == voucher_id,
        ScanCode.state == CodeState.HELD,
        ScanCode.hold_expires_at > real_now,
    )
    return session.scalars(held, execution_options={"populate_existing": True}).first()


def scan_of(code: ScanCode, member: Member, voucher: Voucher | None) -> Scan:
    return Scan(code, member, voucher, code.purpose, code.hold_public_id, code.hold_expires_at)


def read_again(session: Session, code: ScanCode, *, is_locking: bool) -> ScanCode:
    again = select(ScanCode).where(ScanCode.id == code.id)
    again = again.with_for_update() if is_locking else again
    return session.scalars(again, execution_options={"populate_existing": True}).one()


def hold_of(session: Session, hold_id: str, holder: str) -> ScanCode | None:
    session.flush()  # the caller may have just written what we look for
    held = select(ScanCode).where(ScanCode.hold_public_id == hold_id, ScanCode.held_by == holder)
    return session.scalars(held, execution_options={"populate_existing": True}).first()


def forget(session: Session, real_now: datetime, limit: int) -> int:
    """Delete up to `limit` codes that have been dead for 30 days; returns how many."""
    dead = (
        select(CODES.c.id)
        .where(CODES.c.expires_at < real_now - WINDOW.remembered)
        .order_by(CODES.c.expires_at)
        .limit(limit)
    )
    gone: Any = session.connection().execute(
        delete(CODES).where(CODES.c.id.in_(dead.scalar_subquery()))
    )
    return int(gone.rowcount)
