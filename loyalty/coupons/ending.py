"""Vouchers past their date, ended in batches."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Integer, bindparam, exists, select, update
from sqlalchemy.orm import Session

from loyalty import activities
from loyalty.coupons.rows import CODES, VOUCHERS, forget_loaded
from models.coupons import IS_USABLE, CodeState, VoucherState

_HAS_LIVE_HOLD = exists().where(
    CODES.c.voucher_id == VOUCHERS.c.id,
    CODES.c.state == CodeState.HELD,
    CODES.c.hold_expires_at > bindparam("real_now"),
)
_DUE = (
    select(VOUCHERS.c.id)
    .where(IS_USABLE, VOUCHERS.c.expires_at <= bindparam("now"), ~_HAS_LIVE_HOLD)
    .order_by(VOUCHERS.c.expires_at, VOUCHERS.c.id)
    .limit(bindparam("most", type_=Integer()))
    .with_for_update(skip_locked=True, of=VOUCHERS)
)
# Built once: most nights find few.
_END_DUE = (
    update(VOUCHERS)
    .where(VOUCHERS.c.id.in_(_DUE.scalar_subquery()), IS_USABLE)
    .values(state=VoucherState.EXPIRED)
    .returning(VOUCHERS.c.id, VOUCHERS.c.member_id, VOUCHERS.c.coupon_id)
)


def expire_vouchers(session: Session, now: datetime, real_now: datetime, limit: int) -> int:
    """End up to `limit` vouchers past their date; returns how many. 0 means that none is left.

    A voucher that a till holds at this moment is left alone: at use only the hold counts. Holds
    keep real time, whatever the shop's clock says.
    """
    due = {"now": now, "real_now": real_now, "most": limit}
    ended = session.connection().execute(_END_DUE, due)
    rows = ended.all()
    for row in sorted(rows, key=lambda row: int(row.id)):
        facts = {"voucher_id": row.id, "coupon_id": row.coupon_id}
        activities.record(session, row.member_id, "vouchers.expired", now, facts)
    forget_loaded(session)
    return len(rows)
