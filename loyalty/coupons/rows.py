"""Vouchers and coupons as rows: their tables, locks and compare-and-set."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select, update
from sqlalchemy.orm import Session

from core.errors import NotFound, Refused
from core.sabotage import is_sabotaged
from models.base import table_of
from models.coupons import (
    CodeTry,
    Coupon,
    CouponState,
    Redemption,
    ScanCode,
    Voucher,
    VoucherState,
)

COUPONS = table_of(Coupon)
VOUCHERS = table_of(Voucher)
CODES = table_of(ScanCode)
REDEMPTIONS = table_of(Redemption)
TRIES = table_of(CodeTry)
USABLE = (VoucherState.ISSUED, VoucherState.HELD)
#: What the member asked for counts against `per_member` and `per_day`; what the shop owes or gives
#: does not.
ASKED_FOR = ("claim", "code", "points")


def coupon_of(session: Session, coupon_id: int) -> Coupon:
    coupon = session.get(Coupon, coupon_id)
    if coupon is None or coupon.state == CouponState.DRAFT:
        raise NotFound("coupons.not_found")
    return coupon


def refuse_unless(is_fine: bool, code: str) -> None:
    if not is_fine:
        raise Refused(code)


def forget_loaded(session: Session) -> None:
    """Let loaded vouchers and coupons read themselves again: statements have changed many."""
    for loaded in session.identity_map.values():
        if isinstance(loaded, Voucher | Coupon):
            session.expire(loaded)


def lock_voucher(session: Session, voucher_id: int) -> Voucher:
    """Lock a voucher's row and read it afresh. Codes may still be made for it: a page that shows
    one and a till that uses it must not wait for each other."""
    locked = (
        select(Voucher).where(Voucher.id == voucher_id).with_for_update(of=Voucher, key_share=True)
    )
    return session.scalars(locked, execution_options={"populate_existing": True}).one()


def set_voucher(
    session: Session,
    voucher: Voucher,
    before: tuple[VoucherState, ...],
    values: dict[str, Any],
) -> bool:
    """Compare-and-set: change a voucher only if it is in one of these states."""
    guard = VOUCHERS.c.id == voucher.id
    if not is_sabotaged("codes.hold"):
        guard = and_(guard, VOUCHERS.c.state.in_(before))
    done: Any = session.connection().execute(update(VOUCHERS).where(guard).values(values))
    session.refresh(voucher)
    return bool(done.rowcount == 1)
