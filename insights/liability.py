"""What the shop owes in points, what becomes of them, and what coupons cost. Reads only.

Everything is a sum made by the database; what comes back is months, days and offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import case, func, or_, select
from sqlalchemy.orm import Session

from core.clock import last_day, local_day, start_of_day
from insights.days import last_days, place_of
from models.coupons import Coupon, CouponKind, CouponState
from models.members import IS_GONE, Member, MemberTotals
from models.points import IS_LEFT, MERGE_IN, MERGE_OUT, EntryKind, LedgerEntry, Lot

DAYS = 30


@dataclass(frozen=True)
class Month:
    """Points that end in one month of the shop; `first_on` is None for those that never do."""

    first_on: date | None
    points: int


@dataclass(frozen=True)
class Liability:
    """What members could still ask for, and what they owe."""

    months: tuple[Month, ...]
    pending: int
    debt: int

    @property
    def points(self) -> int:
        """Points of every month together."""
        return sum(month.points for month in self.months)


def baht_of(points: int, satang_each: int) -> int:
    """What points are worth to the shop, in satang."""
    return points * satang_each


def liability(session: Session, now: datetime, tz: ZoneInfo) -> Liability:
    """Points left in lots that are still good, by the month in which they end.

    Whoever has left asks for nothing any more, and pays nothing back.
    """
    gone = select(Member.id).where(IS_GONE)
    rows = session.execute(
        select(
            Lot.expires_at,
            func.sum(Lot.remaining),
            func.coalesce(func.sum(Lot.remaining).filter(Lot.usable_at > now), 0),
        )
        .where(
            IS_LEFT,
            or_(Lot.expires_at.is_(None), Lot.expires_at > now),
            Lot.member_id.not_in(gone),
        )
        .group_by(Lot.expires_at)
    )
    months: dict[date | None, int] = {}
    pending = 0
    for ends_at, points, not_yet in rows:
        first = last_day(ends_at, tz).replace(day=1) if ends_at else None
        months[first] = months.get(first, 0) + int(points)
        pending += int(not_yet)
    debt = session.scalar(
        select(func.sum(MemberTotals.debt)).where(
            MemberTotals.debt > 0, MemberTotals.member_id.not_in(gone)
        )
    )
    ordered = sorted(months, key=lambda first: (first is None, first or date.min))
    return Liability(
        months=tuple(Month(first, months[first]) for first in ordered),
        pending=pending,
        debt=int(debt or 0),
    )


@dataclass(frozen=True)
class Breakage:
    """Of what was ever given, what was used and what nobody used in time."""

    issued: int
    burned: int
    expired: int

    @property
    def expired_permille(self) -> int:
        """Expired points per thousand issued, floored."""
        return self.expired * 1000 // self.issued if self.issued else 0


def breakage(session: Session) -> Breakage:
    """Over the life of the programme, reversals taken off what was given and used.

    What only went over to another member was given once, and not used by that.
    """
    gives = or_(
        LedgerEntry.kind == EntryKind.EARN,
        (LedgerEntry.kind == EntryKind.ADJUST) & (LedgerEntry.points > 0),
        (LedgerEntry.kind == EntryKind.REVERSE) & (LedgerEntry.points < 0),
    )
    expires = LedgerEntry.kind == EntryKind.EXPIRE
    row = session.execute(
        select(
            func.coalesce(func.sum(case((gives, LedgerEntry.points), else_=0)), 0),
            func.coalesce(func.sum(case((expires, LedgerEntry.points), else_=0)), 0),
            func.coalesce(func.sum(LedgerEntry.points), 0),
        ).where(LedgerEntry.source.not_in((MERGE_OUT, MERGE_IN)))
    ).one()
    issued, expired, balance = int(row[0]), -int(row[1]), int(row[2])
    return Breakage(issued=issued, burned=issued - expired - balance, expired=expired)


@dataclass(frozen=True)
class Day:
    """How points moved on one local day; each figure with its own sign."""

    on: date
    earned: int = 0
    burned: int = 0
    expired: int = 0
    adjusted: int = 0
    reversed: int = 0


_NAMES = {
    EntryKind.EARN: "earned",
    EntryKind.BURN: "burned",
    EntryKind.EXPIRE: "expired",
    EntryKind.ADJUST: "adjusted",
    EntryKind.REVERSE: "reversed",
}


def by_day(session: Session, now: datetime, tz: ZoneInfo, days: int = DAYS) -> list[Day]:
    """How points moved on each of the last days, by when it counts from (P7), oldest first."""
    today = local_day(now, tz)
    shown = last_days(today, days)
    since = start_of_day(shown[0], tz)
    at = LedgerEntry.effective_at
    place = place_of(at, shown, tz)
    rows = session.execute(
        select(place.label("day"), LedgerEntry.kind, func.sum(LedgerEntry.points))
        # What counts from a day was never written before it: the index is on the writing.
        .where(LedgerEntry.created_at >= since, at >= since)
        .group_by("day", LedgerEntry.kind)
    )
    moved: dict[int, dict[str, int]] = {}
    for day, kind, points in rows:
        moved.setdefault(day, {})[_NAMES[kind]] = int(points)
    return [Day(on, **moved.get(n, {})) for n, on in enumerate(shown)]


@dataclass(frozen=True)
class CouponUse:
    """What became of one offer, and what it has cost in satang."""

    coupon: Coupon
    issued: int
    redeemed: int
    discount_satang: int
    cost_satang: int


def coupon_use(session: Session) -> list[CouponUse]:
    """Every offer that anybody has had, the dearest first.

    A discount costs what was taken off; a free item what the owner says it is worth.
    """
    rows: Sequence[Coupon] = session.scalars(
        select(Coupon).where(or_(Coupon.issued_count > 0, Coupon.state == CouponState.LIVE))
    ).all()
    uses = [
        CouponUse(
            coupon=row,
            issued=row.issued_count,
            redeemed=row.redeemed_count,
            discount_satang=row.spent_satang,
            cost_satang=row.redeemed_count * row.value_satang
            if row.kind == CouponKind.FREE_ITEM
            else row.spent_satang,
        )
        for row in rows
    ]
    return sorted(uses, key=lambda use: (-use.cost_satang, -use.redeemed, use.coupon.id))
