"""What counts towards a tier, from when, and until when a tier is held. Days are the shop's own."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import case, cast, func, or_, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from loyalty.tiers.ladder import Basis, Rules, Window
from models.base import BigId, table_of
from models.members import Member
from models.points import EntryKind, LedgerEntry
from models.purchases import Purchase, PurchaseReturn, PurchaseState

ENTRIES = table_of(LedgerEntry)
MEMBERS = table_of(Member)
PURCHASES = table_of(Purchase)
RETURNS = table_of(PurchaseReturn)
ONE_DAY = timedelta(days=1)
#: Opening balances brought from another system were not earned here.
NOT_EARNED = ("import",)


def months_later(day: date, months: int) -> date:
    """The same day so many months later, or the last one of a shorter month."""
    place = day.year * 12 + day.month - 1 + months
    year, month = place // 12, place % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def window_start(rules: Rules, last_day: date, tz: ZoneInfo) -> datetime:
    """The beginning of the window whose last local day is `last_day`.

    Rolling: the 12 months that end with that day. Calendar year: that day's own.
    """
    if rules.window == Window.YEAR:
        return start_of_day(date(last_day.year, 1, 1), tz)
    return start_of_day(months_later(last_day, -12) + ONE_DAY, tz)


def hold_end(rules: Rules, last_day: date, tz: ZoneInfo) -> datetime:
    """The exclusive end of a hold that begins with `last_day` as the last day that counted.

    Rolling: so many months later. Calendar year: with the year in which they end.
    """
    end = months_later(last_day, rules.hold_months)
    if rules.window == Window.YEAR:
        end = date(end.year, 12, 31)
    return start_of_day(end + ONE_DAY, tz)


def figure_of(
    session: Session, rules: Rules, member_id: int, start: datetime, end: datetime | None = None
) -> int:
    """Satang spent, or points earned, from `start` until `end` (exclusive; None: until now)."""
    return figures_of(session, rules, [member_id], start, end).get(member_id, 0)


def figures_of(
    session: Session,
    rules: Rules,
    member_ids: Sequence[int],
    start: datetime,
    end: datetime | None = None,
) -> dict[int, int]:
    """The same for many members; those without any are left out. Returns are taken off."""
    if rules.basis == Basis.SPEND:
        return _spent(session, member_ids, start, end)
    return _earned(session, member_ids, start, end)


def _spent(
    session: Session, member_ids: Sequence[int], start: datetime, end: datetime | None
) -> dict[int, int]:
    net = PURCHASES.c.amount_satang - PURCHASES.c.returned_satang
    query = (
        select(PURCHASES.c.member_id, func.sum(net))
        .where(
            PURCHASES.c.member_id.in_(member_ids),
            PURCHASES.c.purchased_at >= start,
            PURCHASES.c.state != PurchaseState.VOIDED,
        )
        .group_by(PURCHASES.c.member_id)
    )
    if end is not None:
        query = query.where(PURCHASES.c.purchased_at < end)
    return {member_id: int(satang) for member_id, satang in session.execute(query)}


def _earned(
    session: Session, member_ids: Sequence[int], start: datetime, end: datetime | None
) -> dict[int, int]:
    """Points of earns in the window, less what returns, whenever they came, took of them.

    Entries never change hands: what a member earned who was merged into another counts for that
    one, as long as they are one.
    """
    earns = ENTRIES.alias("earns")
    # Only bills are taken back; of what has expired by then the ledger has no entry.
    bill_id = case((earns.c.source == "purchase", cast(earns.c.source_id, BigId)))
    taken_back = (
        select(func.coalesce(func.sum(RETURNS.c.points), 0))
        .where(RETURNS.c.purchase_id == bill_id)
        .scalar_subquery()
    )
    owner = func.coalesce(MEMBERS.c.merged_into_id, MEMBERS.c.id)
    query = (
        select(owner.label("owner"), earns.c.points - taken_back)
        .join(MEMBERS, MEMBERS.c.id == earns.c.member_id)
        .where(
            or_(MEMBERS.c.id.in_(member_ids), MEMBERS.c.merged_into_id.in_(member_ids)),
            earns.c.kind == EntryKind.EARN,
            earns.c.source.not_in(NOT_EARNED),
            earns.c.effective_at >= start,
        )
    )
    if end is not None:
        query = query.where(earns.c.effective_at < end)
    sums: dict[int, int] = {}
    for member_id, points in session.execute(query):
        sums[member_id] = sums.get(member_id, 0) + int(points)
    return sums


def day_before(end: datetime, tz: ZoneInfo) -> date:
    """The last local day before an exclusive end."""
    return local_day(end - timedelta(microseconds=1), tz)
