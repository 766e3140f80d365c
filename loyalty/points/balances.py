"""What a member has, and how it came about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    and_,
    bindparam,
    func,
    or_,
    select,
)
from sqlalchemy.orm import Session

from loyalty.points.ledger import LOTS, TOTALS
from models.base import UtcDateTime
from models.points import IS_LEFT, LedgerEntry


@dataclass(frozen=True)
class Expiring:
    """Points that are usable until `expires_at` (exclusive)."""

    points: int
    expires_at: datetime


@dataclass(frozen=True)
class Balance:
    """What a member has: the sum, what can be burned now, and the rest of the story (P9)."""

    balance: int
    available: int
    pending: int
    debt: int
    expiring: tuple[Expiring, ...]


#: What can be used of the lots of `member` at `now`.
USABLE = select(func.coalesce(func.sum(LOTS.c.remaining), 0)).where(
    LOTS.c.member_id == bindparam("member"),
    IS_LEFT,
    or_(LOTS.c.usable_at.is_(None), LOTS.c.usable_at <= bindparam("now", type_=UtcDateTime)),
    or_(LOTS.c.expires_at.is_(None), LOTS.c.expires_at > bindparam("now", type_=UtcDateTime)),
)


#: Totals beside each lot that is left, soonest to expire first: the whole answer in one round trip.
_BALANCE = (
    select(TOTALS.c.balance, TOTALS.c.debt, LOTS.c.remaining, LOTS.c.usable_at, LOTS.c.expires_at)
    .select_from(TOTALS.outerjoin(LOTS, and_(LOTS.c.member_id == TOTALS.c.member_id, IS_LEFT)))
    .where(TOTALS.c.member_id == bindparam("member"))
    .order_by(LOTS.c.expires_at, LOTS.c.id)
)


def balance_of(session: Session, member_id: int, now: datetime) -> Balance:
    """What a member has at this moment."""
    session.flush()  # the caller may have just written what we look for
    rows = session.execute(_BALANCE, {"member": member_id}).all()
    if not rows:
        return Balance(0, 0, 0, 0, ())
    totals = rows[0]
    available = pending = 0
    expiring: dict[datetime, int] = {}
    for lot in rows:
        if lot.remaining is None or (lot.expires_at is not None and lot.expires_at <= now):
            continue
        if lot.expires_at is not None:
            expiring[lot.expires_at] = expiring.get(lot.expires_at, 0) + lot.remaining
        if lot.usable_at is None or lot.usable_at <= now:
            available += lot.remaining
        else:
            pending += lot.remaining
    return Balance(
        balance=totals.balance,
        available=0 if totals.debt else available,
        pending=pending,
        debt=totals.debt,
        expiring=tuple(Expiring(points, at) for at, points in expiring.items()),
    )


def usable_of(session: Session, member_id: int, now: datetime) -> int:
    """The sum of a member's usable lots; what can be burned, unless there is a debt."""
    return int(session.scalar(USABLE, {"member": member_id, "now": now}) or 0)


def history(session: Session, member_id: int, limit: int) -> Sequence[LedgerEntry]:
    """A member's last movements, newest first."""
    newest = select(LedgerEntry).where(LedgerEntry.member_id == member_id)
    return session.scalars(newest.order_by(LedgerEntry.id.desc()).limit(limit)).all()
