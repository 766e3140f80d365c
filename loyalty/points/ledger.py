"""The ledger's own steps: locking a member, writing entries, moving lots and totals.

Statements are Core and prebuilt: this is the hottest path of the product (performance.md B5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    and_,
    bindparam,
    case,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from core.db import insert_into, is_sqlite
from core.errors import Refused
from models.base import table_of
from models.members import Member, MemberTotals
from models.points import IS_LEFT, EntryKind, LedgerEntry, Lot, LotDraw

#: No single movement and no balance comes near what a 64-bit column or a spreadsheet can hold.
MAX_POINTS = 10**12
TOTALS = table_of(MemberTotals)
ENTRIES = table_of(LedgerEntry)
LOTS = table_of(Lot)
DRAWS = table_of(LotDraw)


class InsufficientPoints(Refused):
    """Fewer points can be burned now than are needed; facts `available` and `needed`."""

    code = "points.not_enough"

    def __init__(self, *, needed: int, available: int) -> None:
        self.needed = needed
        self.available = available
        super().__init__(needed=needed, available=available)


@dataclass(frozen=True)
class Moved:
    """One movement of points. `is_new` is False when its cause had moved them before."""

    entry_id: int | None
    points: int
    balance: int
    debt: int
    is_new: bool


TOTALS_OF = (
    select(
        TOTALS.c.member_id,
        TOTALS.c.balance,
        TOTALS.c.debt,
        TOTALS.c.carry_satang,
        TOTALS.c.frozen_at,
        TOTALS.c.level,
        TOTALS.c.purchase_count,
        TOTALS.c.first_purchase_at,
        TOTALS.c.last_purchase_at,
        TOTALS.c.purchase_days,
        TOTALS.c.purchase_day_count,
    )
    .where(TOTALS.c.member_id == bindparam("member"))
    .with_for_update()
)


TOTALS_OF_MANY = (
    select(TOTALS.c.member_id, TOTALS.c.balance, TOTALS.c.debt)
    .where(TOTALS.c.member_id.in_(bindparam("members", expanding=True)))
    .order_by(TOTALS.c.member_id)
    .with_for_update()
)


MOVE_TOTALS = (
    update(TOTALS)
    .where(TOTALS.c.member_id == bindparam("member"))
    .values(
        balance=TOTALS.c.balance + bindparam("by"),
        debt=TOTALS.c.debt + bindparam("debt_by"),
        earned_total=TOTALS.c.earned_total + bindparam("earned_by"),
    )
)


def lock_member(session: Session, member_id: int) -> Any:
    """Lock and read a member's totals; the row is made if the member has none yet.

    PostgreSQL keeps others out by the row; SQLite's writers are one at a time anyway. Whoever had
    to wait here may have waited for an erasure: a loaded member's state is read again after it.
    """
    session.flush()  # Core statements must see what the caller has added so far
    row = session.execute(TOTALS_OF, {"member": member_id}).first()
    if row is None:
        new = insert_into(session, TOTALS).values(member_id=member_id, purchase_days=[])
        session.execute(new.on_conflict_do_nothing())
        row = session.execute(TOTALS_OF, {"member": member_id}).one()
    loaded = session.identity_map.get(identity_key(Member, member_id))
    if loaded is not None and not is_sqlite(session):
        session.expire(loaded, ["state"])
    return row


def forget_totals(session: Session, member_id: int) -> None:
    """Let a loaded `MemberTotals` read itself again: a statement has changed its row."""
    loaded = session.identity_map.get(identity_key(MemberTotals, member_id))
    if loaded is not None:
        session.expire(loaded)


#: Built once: putting a statement together costs more than sending it.
_NEW_ENTRY_SQLITE = sqlite.insert(ENTRIES).on_conflict_do_nothing().returning(ENTRIES.c.id)
_NEW_ENTRY_POSTGRES = postgresql.insert(ENTRIES).on_conflict_do_nothing().returning(ENTRIES.c.id)
NEW_LOT = insert(LOTS)
NEW_DRAW = insert(DRAWS)


LOTS_LEFT = (
    select(LOTS.c.id, LOTS.c.remaining, LOTS.c.usable_at, LOTS.c.expires_at)
    .where(LOTS.c.member_id == bindparam("member"), IS_LEFT)
    .order_by(
        case((LOTS.c.expires_at.is_(None), 1), else_=0),
        LOTS.c.expires_at,
        LOTS.c.earned_at,
        LOTS.c.id,
    )
)


_DRAW_LOT = (
    update(LOTS)
    .where(LOTS.c.id == bindparam("lot"))
    .values(remaining=LOTS.c.remaining + bindparam("by"))
)


def draw(session: Session, entry_id: int, lots: Iterable[Any], points: int) -> int:
    """Draw up to `points` from these lots in order; returns what could not be drawn."""
    moves = []
    for lot in lots:
        if not points:
            break
        taken = min(lot.remaining, points)
        points -= taken
        moves.append((lot.id, -taken))
    move_lots(session, entry_id, moves)
    return points


def lock_members(session: Session, member_ids: set[int]) -> Sequence[Any]:
    if not member_ids:
        return ()
    session.flush()  # Core statements must see what the caller has added so far
    return session.execute(TOTALS_OF_MANY, {"members": sorted(member_ids)}).all()


def write_entry(
    session: Session,
    member_id: int,
    kind: EntryKind,
    points: int,
    source: str,
    source_id: str,
    now: datetime,
    facts: dict[str, Any] | None,
    *,
    reverses_id: int | None = None,
    reason: str | None = None,
    staff_id: int | None = None,
) -> int | None:
    """Write one entry; None when its business key is taken, that is, when it happened before."""
    row = {
        "member_id": member_id,
        "kind": kind,
        "points": points,
        "source": source,
        "source_id": source_id,
        "created_at": now,
        "effective_at": now,
        "reverses_id": reverses_id,
        "reason": reason,
        "staff_id": staff_id,
        "facts": facts or {},
    }
    new = _NEW_ENTRY_SQLITE if is_sqlite(session) else _NEW_ENTRY_POSTGRES
    entry_id: int | None = session.execute(new, row).scalar()
    return entry_id


def entry_of(session: Session, source: str, source_id: str, kind: EntryKind) -> Any | None:
    by_key = and_(
        ENTRIES.c.source == source, ENTRIES.c.source_id == source_id, ENTRIES.c.kind == kind
    )
    return session.execute(select(ENTRIES.c.id, ENTRIES.c.points).where(by_key)).first()


def move_lots(session: Session, entry_id: int, moves: list[tuple[int, int]]) -> None:
    """Change what lots have left, and write down which entry did it."""
    if not moves:
        return
    by_lot = [{"lot": lot_id, "by": points} for lot_id, points in moves]
    session.connection().execute(_DRAW_LOT, by_lot)
    session.execute(
        NEW_DRAW,
        [{"entry_id": entry_id, "lot_id": lot_id, "points": points} for lot_id, points in moves],
    )


def move_totals(
    session: Session, member_id: int, *, by: int, debt_by: int = 0, earned_by: int = 0
) -> None:
    facts = {"member": member_id, "by": by, "debt_by": debt_by, "earned_by": earned_by}
    session.connection().execute(MOVE_TOTALS, facts)
    forget_totals(session, member_id)
