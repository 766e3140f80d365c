"""Vouchers past their date, ended in batches."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from loyalty import activities
from loyalty.coupons.rows import CODES, USABLE, VOUCHERS, forget_loaded
from models.coupons import (
    CodeState,
    VoucherState,
)


def expire_vouchers(session: Session, now: datetime, limit: int) -> int:
    """End up to `limit` vouchers past their date; returns how many. 0 means that none is left.

    A voucher that a till holds at this moment is left alone: at use only the hold counts.
    """
    live_hold = exists().where(
        CODES.c.voucher_id == VOUCHERS.c.id,
        CODES.c.state == CodeState.HELD,
        CODES.c.hold_expires_at > now,
    )
    due = (
        select(VOUCHERS.c.id)
        .where(VOUCHERS.c.state.in_(USABLE), VOUCHERS.c.expires_at <= now, ~live_hold)
        .order_by(VOUCHERS.c.expires_at, VOUCHERS.c.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=VOUCHERS)
    )
    ended = session.connection().execute(
        update(VOUCHERS)
        .where(VOUCHERS.c.id.in_(due.scalar_subquery()), VOUCHERS.c.state.in_(USABLE))
        .values(state=VoucherState.EXPIRED)
        .returning(VOUCHERS.c.id, VOUCHERS.c.member_id, VOUCHERS.c.coupon_id)
    )
    rows = ended.all()
    for row in sorted(rows, key=lambda row: int(row.id)):
        facts = {"voucher_id": row.id, "coupon_id": row.coupon_id}
        activities.record(session, row.member_id, "vouchers.expired", now, facts)
    forget_loaded(session)
    return len(rows)
