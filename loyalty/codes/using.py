"""Using a voucher at a till by its code, and undoing that."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, or_, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound, Refused
from core.sabotage import is_sabotaged
from loyalty import coupons, points, undoing
from loyalty.codes.format import Parsed
from loyalty.codes.rows import CODES, find_code, hold_of, is_held, read_again
from loyalty.codes.scanning import scan
from loyalty.coupons import RedemptionResult, ReversalResult
from models.coupons import CodePurpose, CodeState, Redemption, ScanCode, Voucher, VoucherState
from models.members import Member
from models.staff import Branch


def redeem(
    session: Session,
    *,
    holder: str,
    branch: Branch,
    bill_satang: int,
    operation_id: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
    parsed: Parsed | None = None,
    hold_id: str | None = None,
    receipt_no: str | None = None,
    purchase_id: int | None = None,
    member_id: int | None = None,
    cashier_id: int | None = None,
    device_id: int | None = None,
    api_key_id: int | None = None,
) -> RedemptionResult:
    """Use a voucher at a till: code, voucher, counters and the redemption in one transaction.

    With a `hold_id`, or a code that this holder has scanned, only the hold's own expiry counts;
    a code without a hold is scanned and used in one step, and its 60 s apply. `member_id` is the
    buyer of the bill, when it is known: another member's voucher is refused. Refused as `scan`
    and `coupons.refuse_unless_fits` say.
    """
    assert (parsed is None) != (hold_id is None)
    points.lock_member(session, _member_of(session, parsed, hold_id, holder))
    # Scanned and used in one step: a refusal must not leave the scan's hold behind.
    with session.begin_nested() if parsed is not None else nullcontext():
        voucher, code = _voucher_at_till(
            session, parsed, hold_id, holder, member_id, now, real_now, tz
        )
        result = coupons.use(
            session,
            voucher,
            branch=branch,
            bill_satang=bill_satang,
            operation_id=operation_id,
            now=now,
            tz=tz,
            receipt_no=receipt_no,
            purchase_id=purchase_id,
            cashier_id=cashier_id,
            device_id=device_id,
            api_key_id=api_key_id,
        )
        session.execute(
            update(CODES)
            .where(or_(CODES.c.id == code.id, _siblings(voucher.id)))
            .values(state=CodeState.USED, used_at=real_now)
        )
        session.expire(code)
    return result


def _voucher_at_till(
    session: Session,
    parsed: Parsed | None,
    hold_id: str | None,
    holder: str,
    buyer_id: int | None,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
) -> tuple[Voucher, ScanCode]:
    """The voucher this holder has at its till, locked, and the code that brought it there."""
    code = _held_code(session, parsed, hold_id, holder, now, real_now, tz)
    assert code.voucher_id is not None
    voucher = coupons.lock_voucher(session, code.voucher_id)
    code = read_again(session, code, is_locking=False)
    member = session.get_one(Member, code.member_id)
    if not is_sabotaged("codes.hold"):
        if code.state == CodeState.USED:
            raise coupons.used_refusal(session, voucher, tz)
        if not is_held(code, real_now) or code.held_by != holder:
            raise Refused("codes.expired")
    if not member.is_member:
        raise Refused("codes.expired")
    if voucher.state == VoucherState.VOID or buyer_id not in (None, member.id):
        raise Refused("codes.refused")
    return voucher, code


def _member_of(session: Session, parsed: Parsed | None, hold_id: str | None, holder: str) -> int:
    """Whose code this is: members are locked before vouchers, everywhere."""
    if parsed is not None:
        return find_code(session, parsed)[0].member_id
    code = hold_of(session, hold_id or "", holder)
    if code is None:
        raise Refused("codes.expired")
    return code.member_id


def _siblings(voucher_id: int) -> Any:
    """The page's other codes of this voucher: none of them is worth anything any more."""
    return and_(
        CODES.c.voucher_id == voucher_id, CODES.c.state.in_((CodeState.NEW, CodeState.HELD))
    )


def _held_code(
    session: Session,
    parsed: Parsed | None,
    hold_id: str | None,
    holder: str,
    now: datetime,
    real_now: datetime,
    tz: ZoneInfo,
) -> ScanCode:
    """The code this holder has, scanning it now if need be; only `redeem` codes will do."""
    if hold_id is not None:
        code = hold_of(session, hold_id, holder)
        if code is None or code.purpose != CodePurpose.REDEEM:
            raise Refused("codes.expired")
        return code
    assert parsed is not None
    if parsed.purpose != CodePurpose.REDEEM:
        raise Refused("codes.expired")
    return scan(session, parsed, holder, now, real_now, tz).code_row


def reverse_redemption(
    session: Session,
    *,
    redemption_public_id: str,
    operation_id: str,
    now: datetime,
    tz: ZoneInfo,
    cashier_id: int | None = None,
    api_key_id: int | None = None,
    staff_id: int | None = None,
    approved_by: int | None = None,
) -> ReversalResult:
    """Undo one use of a voucher, once; who may is said in `undoing`."""
    found = select(Redemption).where(Redemption.public_id == redemption_public_id)
    redemption = session.scalars(found).first()
    if redemption is None:
        raise NotFound("coupons.redemption_not_found")
    undoing.refuse_unless_allowed(
        session,
        done_by=redemption.cashier_id,
        done_at=redemption.at,
        cashier_id=cashier_id,
        staff_id=staff_id,
        now=now,
        approved_by=approved_by,
    )
    return coupons.reverse(session, redemption, now=now, tz=tz)
