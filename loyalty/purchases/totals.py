"""The member's running purchase figures, kept with each bill and proven from them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from functools import cache
from itertools import pairwise
from statistics import median
from typing import Any

from sqlalchemy import String, and_, bindparam, cast, func, select, update
from sqlalchemy.orm import Session

from loyalty import points
from models.base import table_of
from models.members import MemberTotals
from models.points import EntryKind, LedgerEntry
from models.purchases import Purchase, PurchaseState

REMEMBERED_DAYS = 10
GAP_KNOWN_FROM_DAYS = 4
ENTRIES = table_of(LedgerEntry)
PURCHASES = table_of(Purchase)
TOTALS = table_of(MemberTotals)


#: Built once: every bill runs it. What can be used is summed by the same statement, after the lot
#: of this bill was written.
_ADD_BILL = (
    update(TOTALS)
    .where(TOTALS.c.member_id == bindparam("member"))
    .values(
        balance=TOTALS.c.balance + bindparam("by"),
        debt=TOTALS.c.debt + bindparam("debt_by"),
        earned_total=TOTALS.c.earned_total + bindparam("by"),
        purchase_count=TOTALS.c.purchase_count + 1,
        spent_satang=TOTALS.c.spent_satang + bindparam("amount"),
        carry_satang=TOTALS.c.carry_satang + bindparam("carry_by"),
        first_purchase_at=bindparam("first_at"),
        last_purchase_at=bindparam("last_at"),
        purchase_days=bindparam("days"),
        purchase_day_count=bindparam("day_count"),
        own_gap_days=bindparam("gap"),
    )
    .returning(points.USABLE.scalar_subquery().label("usable"))
)


def add_to_totals(
    session: Session, row: Any, purchase: Purchase, moved: points.Moved | None, now: datetime
) -> int:
    """Add one bill, and the points it moved, to the member's running figures.

    Totals live on one row (performance.md), `row` as it was locked. Returns what can be used now.
    """
    day, at = purchase.local_on.isoformat(), purchase.purchased_at
    kept: dict[str, Any] = {
        "purchase_days": list(row.purchase_days),
        "purchase_day_count": row.purchase_day_count,
        "own_gap_days": own_gap(row.purchase_days),
    }
    if day not in row.purchase_days:
        if row.purchase_day_count >= REMEMBERED_DAYS and day < row.purchase_days[-1]:
            # Older than the ten we remember: whether it is a new day only the bills can tell.
            kept = _days_from_bills(session, purchase.member_id)
        else:
            days = sorted([day, *row.purchase_days], reverse=True)[:REMEMBERED_DAYS]
            kept = {
                "purchase_days": days,
                "purchase_day_count": row.purchase_day_count + 1,
                "own_gap_days": own_gap(days),
            }
    facts = {
        "member": purchase.member_id,
        "now": now,
        "by": moved.points if moved else 0,
        "debt_by": moved.debt - row.debt if moved else 0,
        "amount": purchase.amount_satang,
        "carry_by": purchase.carry_delta,
        "first_at": min(row.first_purchase_at or at, at),
        "last_at": max(row.last_purchase_at or at, at),
        "days": kept["purchase_days"],
        "day_count": kept["purchase_day_count"],
        "gap": kept["own_gap_days"],
    }
    usable = session.connection().execute(_ADD_BILL, facts).scalar_one()
    points.forget_totals(session, purchase.member_id)
    return int(usable)


def _days_from_bills(session: Session, member_id: int) -> dict[str, Any]:
    """Purchase days counted again from the bills that stand."""
    days = (
        select(PURCHASES.c.local_on)
        .where(PURCHASES.c.member_id == member_id, PURCHASES.c.state != PurchaseState.VOIDED)
        .distinct()
    )
    newest = session.scalars(days.order_by(PURCHASES.c.local_on.desc()).limit(REMEMBERED_DAYS))
    kept = [day.isoformat() for day in newest]
    count = session.scalar(select(func.count()).select_from(days.subquery()))
    return {
        "purchase_days": kept,
        "purchase_day_count": int(count or 0),
        "own_gap_days": own_gap(kept),
    }


def own_gap(purchase_days: Sequence[str]) -> float | None:
    """Median days between distinct purchase days (ISO, newest first); None below 4 days."""
    if len(purchase_days) < GAP_KNOWN_FROM_DAYS:
        return None
    days = [date.fromisoformat(day) for day in purchase_days]
    return float(median((newer - older).days for newer, older in pairwise(days)))


def recount_totals(session: Session, member_id: int) -> None:
    """Work the purchase figures out again from the bills, after one of them was taken back."""
    figures = session.execute(_figures().where(PURCHASES.c.member_id == member_id)).one()
    values = {
        "purchase_count": figures.bills,
        "spent_satang": int(figures.satang),
        "first_purchase_at": figures.first_at,
        "last_purchase_at": figures.last_at,
        **_days_from_bills(session, member_id),
    }
    session.execute(update(TOTALS).where(TOTALS.c.member_id == member_id).values(values))
    points.forget_totals(session, member_id)


def _figures() -> Any:
    """Count, net sum, first and last of the bills that stand."""
    net = PURCHASES.c.amount_satang - PURCHASES.c.returned_satang
    return select(
        func.count().label("bills"),
        func.coalesce(func.sum(net), 0).label("satang"),
        func.min(PURCHASES.c.purchased_at).label("first_at"),
        func.max(PURCHASES.c.purchased_at).label("last_at"),
    ).where(PURCHASES.c.state != PurchaseState.VOIDED)


def check_totals(session: Session) -> list[points.Difference]:
    """Every member's purchase figures against the bills."""
    session.flush()  # the check reads by plain statements
    rows = session.execute(_wrong_figures())
    return [difference for row in rows for difference in _wrong_totals(row)]


@cache
def _wrong_figures() -> Any:
    bills = _figures().add_columns(PURCHASES.c.member_id).group_by(PURCHASES.c.member_id).subquery()
    count = func.coalesce(bills.c.bills, 0)
    satang = func.coalesce(bills.c.satang, 0)
    return (
        select(
            TOTALS.c.member_id,
            TOTALS.c.purchase_count,
            TOTALS.c.spent_satang,
            count.label("bills"),
            satang.label("satang"),
        )
        .outerjoin(bills, bills.c.member_id == TOTALS.c.member_id)
        .where((TOTALS.c.purchase_count != count) | (TOTALS.c.spent_satang != satang))
    )


def _wrong_totals(row: Any) -> list[points.Difference]:
    figures = (
        ("purchases.count", row.bills, row.purchase_count),
        ("purchases.spent", int(row.satang), row.spent_satang),
    )
    return [
        points.Difference(what, row.member_id, expected, found)
        for what, expected, found in figures
        if expected != found
    ]


def check_points(session: Session) -> list[points.Difference]:
    """Every bill's points against its one ledger entry."""
    session.flush()  # the check reads by plain statements
    return [
        points.Difference("purchases.points", row.id, int(row.found), row.points)
        for row in session.execute(_wrong_points())
    ]


@cache
def _wrong_points() -> Any:
    entry = and_(
        ENTRIES.c.source == "purchase",
        ENTRIES.c.kind == EntryKind.EARN,
        ENTRIES.c.source_id == cast(PURCHASES.c.id, String),
    )
    found = func.coalesce(ENTRIES.c.points, 0)
    return (
        select(PURCHASES.c.id, PURCHASES.c.points, found.label("found"))
        .select_from(PURCHASES.outerjoin(ENTRIES, entry))
        .where(PURCHASES.c.points != found)
    )
