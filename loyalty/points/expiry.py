"""Lots past their date, closed in batches."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    insert,
    select,
    update,
)
from sqlalchemy.orm import Session

from loyalty import activities
from loyalty.points.ledger import (
    ENTRIES,
    LOTS,
    MOVE_TOTALS,
    NEW_DRAW,
    forget_totals,
    lock_members,
)
from models.points import IS_LEFT, EntryKind


def expire_lots(session: Session, now: datetime, limit: int) -> int:
    """Close up to `limit` lots past their date; returns how many. 0 means that none is left.

    However late it runs, each entry carries the midnight at which it was due (P7), and each lot
    expires once: its id is the business key.
    """
    due = select(LOTS.c.member_id).where(IS_LEFT, LOTS.c.expires_at <= now)
    members = session.scalars(due.order_by(LOTS.c.expires_at, LOTS.c.id).limit(limit))
    locked = {row.member_id: row for row in lock_members(session, {*members})}
    if not locked:
        return 0
    lots = session.execute(
        select(LOTS.c.id, LOTS.c.member_id, LOTS.c.entry_id, LOTS.c.remaining, LOTS.c.expires_at)
        .where(LOTS.c.member_id.in_(locked), IS_LEFT, LOTS.c.expires_at <= now)
        .order_by(LOTS.c.member_id, LOTS.c.expires_at, LOTS.c.id)
    ).all()
    debts = {member_id: row.debt for member_id, row in locked.items()}
    expired: dict[int, int] = dict.fromkeys(locked, 0)
    entries: list[dict[str, Any]] = []
    draws: list[dict[str, Any]] = []
    drawn_by_entry: list[int] = []
    for lot in lots:
        paid = min(debts[lot.member_id], lot.remaining)
        if paid:  # written on the earn's own entry: this is what that earn paid of a debt
            debts[lot.member_id] -= paid
            draws.append({"entry_id": lot.entry_id, "lot_id": lot.id, "points": -paid})
        if rest := lot.remaining - paid:
            expired[lot.member_id] += rest
            drawn_by_entry.append(lot.id)
            entries.append(
                {
                    "member_id": lot.member_id,
                    "kind": EntryKind.EXPIRE,
                    "points": -rest,
                    "source": "lot",
                    "source_id": str(lot.id),
                    "created_at": now,
                    "effective_at": lot.expires_at,
                    "facts": {},
                }
            )
    if entries:
        returning = insert(ENTRIES).returning(ENTRIES.c.id, sort_by_parameter_order=True)
        ids = session.execute(returning, entries).scalars()
        for entry_id, lot_id, entry in zip(ids, drawn_by_entry, entries, strict=True):
            draws.append({"entry_id": entry_id, "lot_id": lot_id, "points": entry["points"]})
    if draws:
        session.execute(NEW_DRAW, draws)
    empty = update(LOTS).where(LOTS.c.id.in_([lot.id for lot in lots])).values(remaining=0)
    session.execute(empty)
    session.connection().execute(
        MOVE_TOTALS,
        [
            {
                "member": member_id,
                "by": -points,
                "debt_by": debts[member_id] - locked[member_id].debt,
                "earned_by": 0,
            }
            for member_id, points in expired.items()
        ],
    )
    for member_id, points in expired.items():
        forget_totals(session, member_id)
        if points:
            activities.record(session, member_id, "points.expired", now, {"points": points})
    return len(lots)
