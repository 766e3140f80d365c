"""The first scan of a code, and the hold it takes."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from core import ids
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import coupons
from loyalty.codes.format import Parsed
from loyalty.codes.rows import (
    WINDOW,
    Scan,
    find_code,
    hold_of,
    is_fresh,
    is_held,
    live_hold,
    read_again,
    scan_of,
)
from models.coupons import CodePurpose, CodeState, Voucher, VoucherState
from models.members import Member


def look(session: Session, parsed: Parsed, real_now: datetime) -> Scan:
    """What a code stands for, without scanning it; Refused `codes.expired` when it is dead."""
    code, member, voucher = find_code(session, parsed)
    if code.purpose == CodePurpose.CARD:
        return Scan(code, member, None, CodePurpose.CARD, None, None)
    if code.state == CodeState.USED or not (is_fresh(code, real_now) or is_held(code, real_now)):
        raise Refused("codes.expired")
    return Scan(code, member, voucher, code.purpose, None, None)


def scan(
    session: Session,
    parsed: Parsed,
    holder: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo | None = None,
    purpose: CodePurpose | str | None = None,
) -> Scan:
    """The first scan of a code: takes code and voucher for this holder for 5 minutes (C5).

    The same holder scanning again gets the same hold. `purpose` is what the till wants it for; a
    code of another one is refused. Refused: `codes.expired`, `codes.in_use`, `coupons.used`,
    `codes.refused`.
    """
    code, member, voucher = find_code(session, parsed)
    if purpose is not None and code.purpose != CodePurpose(purpose):
        raise Refused("codes.expired")
    if code.purpose == CodePurpose.CARD:
        return Scan(code, member, None, CodePurpose.CARD, None, None)
    # One lock: the voucher's row, or the code's own where there is no voucher. Whoever waits
    # here reads the code again afterwards, and sees what the other one has done.
    if voucher is not None:
        voucher = coupons.lock_voucher(session, voucher.id)
        code = read_again(session, code, is_locking=False)
    else:
        code = read_again(session, code, is_locking=True)
    if is_sabotaged("codes.hold"):
        return scan_of(code, member, voucher)
    if is_held(code, real_now):
        if code.held_by != holder:
            raise Refused("codes.in_use")
        return scan_of(code, member, voucher)
    if code.state == CodeState.USED and voucher is not None:
        raise coupons.used_refusal(session, voucher, tz or ZoneInfo("UTC"))
    if not is_fresh(code, real_now):
        raise Refused("codes.expired")
    if voucher is not None:
        _refuse_unusable(session, voucher, holder, now, real_now, tz)
        held = {"state": VoucherState.HELD}
        assert coupons.set_voucher(session, voucher, coupons.USABLE, held), "the row is locked"
    code.state = CodeState.HELD
    code.held_by = holder
    code.held_at = real_now
    code.hold_expires_at = real_now + WINDOW.hold
    code.hold_public_id = ids.public_id()
    session.flush()  # the hold must be there for the statements that follow
    return scan_of(code, member, voucher)


def _refuse_unusable(
    session: Session,
    voucher: Voucher,
    holder: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo | None,
) -> None:
    """Validity first, then whether it was used, then whether somebody has it."""
    if voucher.state == VoucherState.REDEEMED:
        raise coupons.used_refusal(session, voucher, tz or ZoneInfo("UTC"))
    is_over = voucher.expires_at is not None and voucher.expires_at <= now
    if is_over or voucher.state not in coupons.USABLE:
        raise Refused("codes.refused")
    if voucher.state == VoucherState.HELD:
        other = live_hold(session, voucher.id, real_now)
        if other is not None and other.held_by != holder:
            raise Refused("codes.in_use")
        if other is not None:  # the same till scanned the page's next code: one hold is enough
            other.state = CodeState.USED
            other.used_at = real_now
            session.flush()  # so that the new hold is the only one


def release(session: Session, hold_id: str, holder: str, real_now: datetime) -> bool:
    """Give a hold back before its time; False if this holder has no such hold, or no longer.

    Once it is over, the voucher may be at another till.
    """
    code = hold_of(session, hold_id, holder)
    if code is None or not is_held(code, real_now):
        return False
    voucher = coupons.lock_voucher(session, code.voucher_id) if code.voucher_id else None
    code = read_again(session, code, is_locking=voucher is None)
    if not is_held(code, real_now):
        return False
    code.state = CodeState.REVOKED  # it has had its one scan
    session.flush()  # before the voucher is free for the next code
    if voucher is not None:
        coupons.set_voucher(session, voucher, (VoucherState.HELD,), {"state": VoucherState.ISSUED})
    return True


def held(session: Session, hold_id: str, holder: str, real_now: datetime) -> Scan:
    """What this holder's hold stands for; Refused `codes.expired` once it is over."""
    code = hold_of(session, hold_id, holder)
    if code is None or not is_held(code, real_now):
        raise Refused("codes.expired")
    member = session.get_one(Member, code.member_id)
    if not member.is_member:
        raise Refused("codes.expired")
    voucher = session.get(Voucher, code.voucher_id) if code.voucher_id else None
    return scan_of(code, member, voucher)


def use_identity(session: Session, hold_id: str, holder: str, real_now: datetime) -> Member:
    """Use up a scanned `identify` code together with what it was scanned for."""
    code = hold_of(session, hold_id, holder)
    if code is None or code.purpose != CodePurpose.IDENTIFY:
        raise Refused("codes.expired")
    code = read_again(session, code, is_locking=True)
    member = session.get_one(Member, code.member_id)
    if not is_held(code, real_now) or not member.is_member:
        raise Refused("codes.expired")
    code.state = CodeState.USED
    code.used_at = real_now
    return member
