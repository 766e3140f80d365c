"""Points in and points out: earns, burns, adjustments."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from core.clock import local_day
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import activities, earning
from loyalty.points.ledger import (
    LOTS,
    LOTS_LEFT,
    MAX_POINTS,
    NEW_DRAW,
    NEW_LOT,
    InsufficientPoints,
    Moved,
    draw,
    entry_of,
    lock_member,
    move_totals,
    write_entry,
)
from loyalty.points.policies import policy_for
from models.points import EarnPolicy, EntryKind


def earn(
    session: Session,
    member_id: int,
    points: int,
    *,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    facts: dict[str, Any] | None = None,
    policy: EarnPolicy | None = None,
    locked: Any = None,
    moves_totals: bool = True,
) -> Moved:
    """Give points with a lot of their own. The same cause earns once, whatever is retried.

    `locked` is the row of `lock_member`, if the caller has locked and not changed it. Whoever
    changes that row anyway says `moves_totals=False` and moves the points with the same statement.
    """
    totals = locked or lock_member(session, member_id)
    day = local_day(now, tz)
    policy = policy or policy_for(session, day)
    return _add(
        session,
        totals,
        points,
        kind=EntryKind.EARN,
        source=source,
        source_id=source_id,
        now=now,
        expires_at=earning.expires_at(policy, day, tz),
        usable_at=earning.usable_at(policy, day, tz),
        facts=facts,
        moves_totals=moves_totals,
    )


def _add(
    session: Session,
    totals: Any,
    points: int,
    *,
    kind: EntryKind,
    source: str,
    source_id: str,
    now: datetime,
    expires_at: datetime | None,
    usable_at: datetime | None = None,
    facts: dict[str, Any] | None = None,
    reason: str | None = None,
    staff_id: int | None = None,
    moves_totals: bool = True,
) -> Moved:
    assert points > 0
    _refuse_too_many(points, totals.balance)
    entry_id = write_entry(
        session, totals.member_id, kind, points, source, source_id, now, facts,
        reason=reason, staff_id=staff_id,
    )  # fmt: skip
    if entry_id is None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    paid = min(totals.debt, points)
    lot = {
        "member_id": totals.member_id,
        "entry_id": entry_id,
        "points": points,
        "remaining": points - paid,
        "earned_at": now,
        "usable_at": usable_at,
        "expires_at": expires_at,
    }
    if paid:
        lot_id = session.execute(NEW_LOT.returning(LOTS.c.id), lot).scalar_one()
        draw = {"entry_id": entry_id, "lot_id": lot_id, "points": -paid}
        session.execute(NEW_DRAW, draw)
    else:
        session.execute(NEW_LOT, lot)
    if moves_totals:
        move_totals(session, totals.member_id, by=points, debt_by=-paid, earned_by=points)
    return Moved(entry_id, points, totals.balance + points, totals.debt - paid, is_new=True)


def burn(
    session: Session,
    member_id: int,
    points: int,
    *,
    source: str,
    source_id: str,
    now: datetime,
    facts: dict[str, Any] | None = None,
    kind: EntryKind = EntryKind.BURN,
    reason: str | None = None,
    staff_id: int | None = None,
) -> Moved:
    """Take usable points, naming the lots they come from.

    Raises InsufficientPoints, or Refused `points.frozen` while the ledger check has doubts;
    nothing is written then. The same cause burns once.
    """
    assert points > 0
    totals = lock_member(session, member_id)
    if entry_of(session, source, source_id, kind) is not None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    lots = _usable_lots(session, totals, now)
    available = sum(lot.remaining for lot in lots)
    if available < points and not is_sabotaged("points.overdraw"):
        raise InsufficientPoints(needed=points, available=available)
    entry_id = write_entry(
        session, member_id, kind, -points, source, source_id, now, facts,
        reason=reason, staff_id=staff_id,
    )  # fmt: skip
    assert entry_id is not None
    draw(session, entry_id, lots, points)
    move_totals(session, member_id, by=-points)
    return Moved(entry_id, -points, totals.balance - points, totals.debt, is_new=True)


def available_for_burn(session: Session, member_id: int, now: datetime) -> int:
    """Lock the member and say how many points can be burned; Refused `points.frozen`."""
    return sum(lot.remaining for lot in _usable_lots(session, lock_member(session, member_id), now))


def _usable_lots(session: Session, totals: Any, now: datetime) -> list[Any]:
    """Lots that can be burned now, in the order in which they are drawn; none while in debt."""
    if totals.frozen_at is not None:
        raise Refused("points.frozen")
    if totals.debt:
        return []
    rows = session.execute(LOTS_LEFT, {"member": totals.member_id})
    return [lot for lot in rows if _is_usable(lot, now)]


def _is_usable(lot: Any, now: datetime) -> bool:
    is_ripe = lot.usable_at is None or lot.usable_at <= now
    return is_ripe and (lot.expires_at is None or lot.expires_at > now)


def adjust(
    session: Session,
    member_id: int,
    points: int,
    *,
    reason: str,
    staff_id: int | None,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
) -> Moved:
    """Correct a balance by hand (P8): up as a lot under today's policy, down like a burn.

    Raises InsufficientPoints when more is to be taken than the member can use.
    """
    assert points
    if points > 0:
        totals = lock_member(session, member_id)
        day = local_day(now, tz)
        moved = _add(
            session,
            totals,
            points,
            kind=EntryKind.ADJUST,
            source="staff",
            source_id=source_id,
            now=now,
            expires_at=earning.expires_at(policy_for(session, day), day, tz),
            reason=reason,
            staff_id=staff_id,
        )
    else:
        moved = burn(
            session,
            member_id,
            -points,
            source="staff",
            source_id=source_id,
            now=now,
            kind=EntryKind.ADJUST,
            reason=reason,
            staff_id=staff_id,
        )
    if moved.is_new:
        facts = {"points": points, "reason": reason}
        activities.record(session, member_id, "points.adjusted", now, facts)
    return moved


def _refuse_too_many(points: int, balance: int) -> None:
    """No sum ever comes near the edge of a column (FG09)."""
    if points > MAX_POINTS or balance + points > MAX_POINTS:
        raise Refused("limits.over")
