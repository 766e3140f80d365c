"""Points that go over to another member when two rows are made one, lot by lot.

Entries and lots never change hands. What a lot has left is taken by one entry and given by
another, with the same dates, under keys that name lot and merge: each lot goes over once. A bill
or a reward may be taken back afterwards; `heirs_of` finds the lots that stand for its own by then.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from loyalty.points.ledger import (
    DRAWS,
    ENTRIES,
    LOTS,
    lock_member,
    move_lots,
    move_totals,
    write_entry,
)
from models.points import IS_LEFT, MERGE_IN, MERGE_OUT, EntryKind

REASON = "merge"


@dataclass(frozen=True)
class Transfer:
    """What went over: pairs of lots (old, new), points in them, and a debt."""

    lots: tuple[tuple[int, int], ...]
    points: int
    debt: int


def transfer(
    session: Session,
    source: int,
    target: int,
    *,
    key: str,
    now: datetime,
    staff_id: int | None,
    only: Collection[int] | None = None,
    debt_limit: int | None = None,
) -> Transfer:
    """Move lots (all, or `only` these) and the debt from one member to another.

    Both totals rows are locked by the caller. `key` names the merge; the balance of both together
    does not change.
    """
    left = select(LOTS).where(LOTS.c.member_id == source, IS_LEFT).order_by(LOTS.c.id)
    if only is not None:
        left = left.where(LOTS.c.id.in_(only))
    pairs, moved = [], 0
    for lot in session.execute(left).all():
        name = f"{lot.id}:{key}"
        taken = _entry(session, source, -lot.remaining, MERGE_OUT, name, now, staff_id)
        move_lots(session, taken, [(lot.id, -lot.remaining)])
        given = _entry(session, target, lot.remaining, MERGE_IN, name, now, staff_id)
        fresh = {
            "member_id": target,
            "entry_id": given,
            "points": lot.remaining,
            "remaining": lot.remaining,
            "earned_at": lot.earned_at,
            "usable_at": lot.usable_at,
            "expires_at": lot.expires_at,
        }
        new_id = session.execute(insert(LOTS).returning(LOTS.c.id), fresh).scalar_one()
        pairs.append((lot.id, new_id))
        moved += lot.remaining
    debt = int(lock_member(session, source).debt)
    debt = debt if debt_limit is None else min(debt, debt_limit)
    if debt:  # a debt has no lot: the entries say who bears it
        _entry(session, source, debt, MERGE_OUT, f"debt:{key}", now, staff_id)
        _entry(session, target, -debt, MERGE_IN, f"debt:{key}", now, staff_id)
    move_totals(session, source, by=debt - moved, debt_by=-debt)
    move_totals(session, target, by=moved - debt, debt_by=debt)
    return Transfer(tuple(pairs), moved, debt)


def _entry(
    session: Session, member_id: int, points: int, source: str, name: str, now: datetime,
    staff_id: int | None,
) -> int:  # fmt: skip
    made = write_entry(
        session, member_id, EntryKind.ADJUST, points, source, name, now, None,
        reason=REASON, staff_id=staff_id,
    )  # fmt: skip
    assert made is not None, "a lot goes over once"
    return made


def heirs_of(session: Session, lot_id: int) -> list[Any]:
    """The lots that points of this lot have gone over to, the nearest first."""
    found: list[Any] = []
    ask = [lot_id]
    while ask:
        names = (
            select(ENTRIES.c.source_id)
            .join(DRAWS, DRAWS.c.entry_id == ENTRIES.c.id)
            .where(DRAWS.c.lot_id.in_(ask), ENTRIES.c.source == MERGE_OUT)
        )
        rows = session.execute(
            select(LOTS.c.id, LOTS.c.member_id, LOTS.c.remaining)
            .join(ENTRIES, ENTRIES.c.id == LOTS.c.entry_id)
            .where(ENTRIES.c.source == MERGE_IN, ENTRIES.c.source_id.in_(names))
            .order_by(LOTS.c.id)
        ).all()
        found += rows
        ask = [row.id for row in rows]
    return found
