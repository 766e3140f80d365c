"""Taking an earn back, and giving a burn back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    func,
    select,
)
from sqlalchemy.orm import Session

from core.clock import local_day
from loyalty import earning
from loyalty.points.ledger import (
    DRAWS,
    ENTRIES,
    LOTS,
    LOTS_LEFT,
    NEW_LOT,
    Moved,
    draw,
    entry_of,
    lock_member,
    move_lots,
    move_totals,
    write_entry,
)
from loyalty.points.transfers import heirs_of
from models.points import EntryKind

GIVEN_BACK_DAYS = 7


def take_back(
    session: Session,
    member_id: int,
    points: int,
    *,
    source: str,
    source_id: str,
    earn_source: str,
    earn_source_id: str,
    returned_before: int,
    now: datetime,
    facts: dict[str, Any] | None = None,
) -> Moved:
    """Take back `points` of what a cause once earned (P6); what was burned becomes a debt.

    `returned_before` is what earlier returns of the same cause took. Points of that lot which
    expired are counted as returned, but taken only once: by their expiry. `points` of the
    result is the change of the balance.
    """
    totals = lock_member(session, member_id)
    earned = entry_of(session, earn_source, earn_source_id, EntryKind.EARN)
    before = entry_of(session, source, source_id, EntryKind.REVERSE)
    if not points or earned is None or before is not None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    lot = session.execute(
        select(LOTS.c.id, LOTS.c.member_id, LOTS.c.points, LOTS.c.remaining).where(
            LOTS.c.entry_id == earned.id
        )
    ).one()
    assert returned_before + points <= lot.points
    lots = [lot]
    if lot.remaining < points:  # rarely: some of it was used, or went over in a merge
        lots += heirs_of(session, lot.id)
    moves, wanted = [], points
    for one in lots:
        if one.member_id == member_id and (taken := min(wanted, one.remaining)):
            moves.append((one.id, -taken))
            wanted -= taken
    from_lot = points - wanted
    everything = [one.id for one in lots]
    expired = min(wanted, _expired_of(session, everything, earned.id, returned_before))
    debt = points - from_lot - expired
    if not from_lot + debt:
        move_totals(session, member_id, by=0, earned_by=-points)
        return Moved(None, 0, totals.balance, totals.debt, is_new=True)
    entry_id = write_entry(
        session, member_id, EntryKind.REVERSE, -(from_lot + debt), source, source_id, now, facts,
        reverses_id=earned.id,
    )  # fmt: skip
    if entry_id is None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    move_lots(session, entry_id, moves)
    change = -(from_lot + debt)
    move_totals(session, member_id, by=change, debt_by=debt, earned_by=-points)
    return Moved(entry_id, change, totals.balance + change, totals.debt + debt, is_new=True)


def _expired_of(
    session: Session, lot_ids: Sequence[int], earn_id: int, returned_before: int
) -> int:
    """Points of these lots that expired and that no earlier return has counted yet."""
    expired = session.scalar(
        select(func.coalesce(-func.sum(DRAWS.c.points), 0))
        .join(ENTRIES, ENTRIES.c.id == DRAWS.c.entry_id)
        .where(DRAWS.c.lot_id.in_(lot_ids), ENTRIES.c.kind == EntryKind.EXPIRE)
    )
    taken = session.scalar(
        select(func.coalesce(-func.sum(ENTRIES.c.points), 0)).where(
            ENTRIES.c.reverses_id == earn_id, ENTRIES.c.kind == EntryKind.REVERSE
        )
    )
    return int(expired or 0) - (returned_before - int(taken or 0))


def give_back(
    session: Session,
    member_id: int,
    *,
    source: str,
    source_id: str,
    burn_source: str,
    burn_source_id: str,
    now: datetime,
    tz: ZoneInfo,
    facts: dict[str, Any] | None = None,
) -> Moved:
    """Undo a burn once: its points return to the lots they came from (P6).

    Lots past their date are replaced by one new lot that lives 7 more days.
    """
    totals = lock_member(session, member_id)
    burned = entry_of(session, burn_source, burn_source_id, EntryKind.BURN)
    if burned is None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    entry_id = write_entry(
        session, member_id, EntryKind.REVERSE, -burned.points, source, source_id, now, facts,
        reverses_id=burned.id,
    )  # fmt: skip
    if entry_id is None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    drawn = _drawn_by(session, burned.id)
    own = [lot for lot in drawn if lot.member_id == member_id]
    back = [(lot.id, lot.taken) for lot in own if _is_alive(lot, now)]
    points = -burned.points
    late = points - sum(taken for _, taken in back)
    if late:
        new = {
            "member_id": member_id,
            "entry_id": entry_id,
            "points": late,
            "remaining": late,
            "earned_at": now,
            "usable_at": None,
            "expires_at": _end_of_late(drawn, member_id, now, tz),
        }
        session.execute(NEW_LOT, new)
    move_lots(session, entry_id, back)
    paid = _pay_debt(session, totals, entry_id, points)
    move_totals(session, member_id, by=points, debt_by=-paid)
    return Moved(entry_id, points, totals.balance + points, totals.debt - paid, is_new=True)


def _drawn_by(session: Session, entry_id: int) -> Sequence[Any]:
    """The lots an entry drew on, how much of each, oldest draw first."""
    drawn = (
        select(LOTS.c.id, LOTS.c.member_id, LOTS.c.expires_at, (-DRAWS.c.points).label("taken"))
        .join(LOTS, LOTS.c.id == DRAWS.c.lot_id)
        .where(DRAWS.c.entry_id == entry_id, DRAWS.c.points < 0)
        .order_by(DRAWS.c.id)
    )
    return session.execute(drawn).all()


def _end_of_late(
    drawn: Sequence[Any], member_id: int, now: datetime, tz: ZoneInfo
) -> datetime | None:
    """Until when points live that cannot go back to their lots: 7 days, or, where the lot is
    another member's since a merge, as long as it would have."""
    ends: list[Any] = [
        lot.expires_at for lot in drawn if lot.member_id != member_id and _is_alive(lot, now)
    ]
    if None in ends:
        return None
    last: datetime = max([earning.days_later(local_day(now, tz), GIVEN_BACK_DAYS, tz), *ends])
    return last


def _is_alive(lot: Any, now: datetime) -> bool:
    return lot.expires_at is None or lot.expires_at > now


def _pay_debt(session: Session, totals: Any, entry_id: int, points: int) -> int:
    """Points that have just come back pay a debt first, soonest to expire first."""
    due: int = min(totals.debt, points)
    if not due:
        return 0
    lots = session.execute(LOTS_LEFT, {"member": totals.member_id}).all()
    return due - draw(session, entry_id, lots, due)
