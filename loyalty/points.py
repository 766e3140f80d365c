"""The points ledger: permanent signed entries, lots with their own expiry, debts of reversals.

Invariant, after every commit and for every member: the cached balance = the sum of entries = the
sum of what lots have left - debt. Only a reversal takes a balance below zero.

How points move, always under the lock of the member's totals row:

1. An earn makes a lot. While there is a debt, the lot pays it first.
2. A burn draws usable lots, soonest to expire first, then oldest, never-expiring last.
3. An expiry closes a lot past its date; while there is a debt, the lot pays it first.
4. Taking an earn back takes what its own lot still has; what was burned of it becomes a debt; what
   had expired of it is gone already and is not taken twice.
5. Giving a burn back returns points to the lots they came from; lots past their date are replaced
   by one new lot of 7 days. While there is a debt, these points pay it first.

Statements are Core and prebuilt: this is the hottest path of the product (performance.md B5).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from core.clock import local_day
from core.db import insert_into, is_sqlite
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import activities, earning
from models.base import UtcDateTime, table_of
from models.members import Member, MemberTotals
from models.points import EarnPolicy, EntryKind, ExpiryKind, LedgerEntry, Lot, LotDraw

#: No single movement and no balance comes near what a 64-bit column or a spreadsheet can hold.
MAX_POINTS = 10**12
GIVEN_BACK_DAYS = 7

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


@dataclass(frozen=True)
class Moved:
    """One movement of points. `is_new` is False when its cause had moved them before."""

    entry_id: int | None
    points: int
    balance: int
    debt: int
    is_new: bool


@dataclass(frozen=True)
class Difference:
    """A figure that is not what it should be. `what` is `<noun>.<figure>`."""

    what: str
    id: int
    expected: int
    found: int


# Policy


def policy_for(session: Session, day: date) -> EarnPolicy:
    """The earn policy in force on a local day; the default one where none was set."""
    known: dict[date, EarnPolicy] = session.info.setdefault("earn_policies", {})
    if day not in known:
        newest = select(EarnPolicy).where(EarnPolicy.valid_from <= day)
        policy = session.scalars(newest.order_by(EarnPolicy.valid_from.desc()).limit(1)).first()
        known[day] = policy or default_policy()
    return known[day]


def set_policy(session: Session, policy: EarnPolicy) -> EarnPolicy:
    """Add a policy for the days from `policy.valid_from` on. Old lots keep theirs."""
    session.add(policy)
    session.flush()  # so that the next look-up in this transaction sees it
    session.info.pop("earn_policies", None)
    return policy


def default_policy() -> EarnPolicy:
    """25 baht a point with carry, usable at once, good to the end of the month a year later."""
    return EarnPolicy(
        valid_from=date.min,
        satang_per_point=2500,
        has_carry=True,
        pending_days=0,
        expiry_kind=ExpiryKind.END_OF_MONTH,
        expiry_months=12,
    )


# The member's totals row is the lock of everything that is the member's

_TOTALS_OF = (
    select(
        TOTALS.c.member_id,
        TOTALS.c.balance,
        TOTALS.c.debt,
        TOTALS.c.carry_satang,
        TOTALS.c.frozen_at,
        TOTALS.c.purchase_count,
        TOTALS.c.first_purchase_at,
        TOTALS.c.last_purchase_at,
        TOTALS.c.purchase_days,
        TOTALS.c.purchase_day_count,
    )
    .where(TOTALS.c.member_id == bindparam("member"))
    .with_for_update()
)
_TOTALS_OF_MANY = (
    select(TOTALS.c.member_id, TOTALS.c.balance, TOTALS.c.debt)
    .where(TOTALS.c.member_id.in_(bindparam("members", expanding=True)))
    .order_by(TOTALS.c.member_id)
    .with_for_update()
)
_MOVE_TOTALS = (
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
    row = session.execute(_TOTALS_OF, {"member": member_id}).first()
    if row is None:
        new = insert_into(session, TOTALS).values(member_id=member_id, purchase_days=[])
        session.execute(new.on_conflict_do_nothing())
        row = session.execute(_TOTALS_OF, {"member": member_id}).one()
    loaded = session.identity_map.get(identity_key(Member, member_id))
    if loaded is not None and not is_sqlite(session):
        session.expire(loaded, ["state"])
    return row


def forget_totals(session: Session, member_id: int) -> None:
    """Let a loaded `MemberTotals` read itself again: a statement has changed its row."""
    loaded = session.identity_map.get(identity_key(MemberTotals, member_id))
    if loaded is not None:
        session.expire(loaded)


# Earning

_NEW_LOT = insert(LOTS)
_NEW_DRAW = insert(DRAWS)


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
) -> Moved:
    """Give points with a lot of their own. The same cause earns once, whatever is retried.

    `locked` is the row of `lock_member`, if the caller has locked and not changed it.
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
) -> Moved:
    assert points > 0
    _refuse_too_many(points, totals.balance)
    entry_id = _write_entry(
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
        lot_id = session.execute(_NEW_LOT.returning(LOTS.c.id), lot).scalar_one()
        draw = {"entry_id": entry_id, "lot_id": lot_id, "points": -paid}
        session.execute(_NEW_DRAW, draw)
    else:
        session.execute(_NEW_LOT, lot)
    _move_totals(session, totals.member_id, by=points, debt_by=-paid, earned_by=points)
    return Moved(entry_id, points, totals.balance + points, totals.debt - paid, is_new=True)


# Burning

_LOTS_LEFT = (
    select(LOTS.c.id, LOTS.c.remaining, LOTS.c.usable_at, LOTS.c.expires_at)
    .where(LOTS.c.member_id == bindparam("member"), LOTS.c.remaining > 0)
    .order_by(
        case((LOTS.c.expires_at.is_(None), 1), else_=0),
        LOTS.c.expires_at,
        LOTS.c.earned_at,
        LOTS.c.id,
    )
)
_USABLE = select(func.coalesce(func.sum(LOTS.c.remaining), 0)).where(
    LOTS.c.member_id == bindparam("member"),
    LOTS.c.remaining > 0,
    or_(LOTS.c.usable_at.is_(None), LOTS.c.usable_at <= bindparam("now", type_=UtcDateTime)),
    or_(LOTS.c.expires_at.is_(None), LOTS.c.expires_at > bindparam("now", type_=UtcDateTime)),
)
_DRAW_LOT = (
    update(LOTS)
    .where(LOTS.c.id == bindparam("lot"))
    .values(remaining=LOTS.c.remaining + bindparam("by"))
)


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
    if _entry_of(session, source, source_id, kind) is not None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    lots = _usable_lots(session, totals, now)
    available = sum(lot.remaining for lot in lots)
    if available < points and not is_sabotaged("points.overdraw"):
        raise InsufficientPoints(needed=points, available=available)
    entry_id = _write_entry(
        session, member_id, kind, -points, source, source_id, now, facts,
        reason=reason, staff_id=staff_id,
    )  # fmt: skip
    assert entry_id is not None
    _draw(session, entry_id, lots, points)
    _move_totals(session, member_id, by=-points)
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
    rows = session.execute(_LOTS_LEFT, {"member": totals.member_id})
    return [lot for lot in rows if _is_usable(lot, now)]


def _is_usable(lot: Any, now: datetime) -> bool:
    is_ripe = lot.usable_at is None or lot.usable_at <= now
    return is_ripe and (lot.expires_at is None or lot.expires_at > now)


def _draw(session: Session, entry_id: int, lots: Iterable[Any], points: int) -> int:
    """Draw up to `points` from these lots in order; returns what could not be drawn."""
    moves = []
    for lot in lots:
        if not points:
            break
        taken = min(lot.remaining, points)
        points -= taken
        moves.append((lot.id, -taken))
    _move_lots(session, entry_id, moves)
    return points


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


# Reversals


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
    earned = _entry_of(session, earn_source, earn_source_id, EntryKind.EARN)
    before = _entry_of(session, source, source_id, EntryKind.REVERSE)
    if not points or earned is None or before is not None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    lot = session.execute(
        select(LOTS.c.id, LOTS.c.points, LOTS.c.remaining).where(LOTS.c.entry_id == earned.id)
    ).one()
    assert returned_before + points <= lot.points
    from_lot = min(points, lot.remaining)
    expired = min(points - from_lot, _expired_of(session, lot.id, earned.id, returned_before))
    debt = points - from_lot - expired
    if not from_lot + debt:
        _move_totals(session, member_id, by=0, earned_by=-points)
        return Moved(None, 0, totals.balance, totals.debt, is_new=True)
    entry_id = _write_entry(
        session, member_id, EntryKind.REVERSE, -(from_lot + debt), source, source_id, now, facts,
        reverses_id=earned.id,
    )  # fmt: skip
    if entry_id is None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    if from_lot:
        _move_lots(session, entry_id, [(lot.id, -from_lot)])
    change = -(from_lot + debt)
    _move_totals(session, member_id, by=change, debt_by=debt, earned_by=-points)
    return Moved(entry_id, change, totals.balance + change, totals.debt + debt, is_new=True)


def _expired_of(session: Session, lot_id: int, earn_id: int, returned_before: int) -> int:
    """Points of a lot that expired and that no earlier return has counted yet."""
    expired = session.scalar(
        select(func.coalesce(-func.sum(DRAWS.c.points), 0))
        .join(ENTRIES, ENTRIES.c.id == DRAWS.c.entry_id)
        .where(DRAWS.c.lot_id == lot_id, ENTRIES.c.kind == EntryKind.EXPIRE)
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
    burned = _entry_of(session, burn_source, burn_source_id, EntryKind.BURN)
    if burned is None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    entry_id = _write_entry(
        session, member_id, EntryKind.REVERSE, -burned.points, source, source_id, now, facts,
        reverses_id=burned.id,
    )  # fmt: skip
    if entry_id is None:
        return Moved(None, 0, totals.balance, totals.debt, is_new=False)
    back = [(lot.id, lot.taken) for lot in _drawn_by(session, burned.id) if _is_alive(lot, now)]
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
            "expires_at": earning.days_later(local_day(now, tz), GIVEN_BACK_DAYS, tz),
        }
        session.execute(_NEW_LOT, new)
    _move_lots(session, entry_id, back)
    paid = _pay_debt(session, totals, entry_id, points)
    _move_totals(session, member_id, by=points, debt_by=-paid)
    return Moved(entry_id, points, totals.balance + points, totals.debt - paid, is_new=True)


def _drawn_by(session: Session, entry_id: int) -> Sequence[Any]:
    """The lots an entry drew on, how much of each, oldest draw first."""
    drawn = (
        select(LOTS.c.id, LOTS.c.expires_at, (-DRAWS.c.points).label("taken"))
        .join(LOTS, LOTS.c.id == DRAWS.c.lot_id)
        .where(DRAWS.c.entry_id == entry_id, DRAWS.c.points < 0)
        .order_by(DRAWS.c.id)
    )
    return session.execute(drawn).all()


def _is_alive(lot: Any, now: datetime) -> bool:
    return lot.expires_at is None or lot.expires_at > now


def _pay_debt(session: Session, totals: Any, entry_id: int, points: int) -> int:
    """Points that have just come back pay a debt first, soonest to expire first."""
    due: int = min(totals.debt, points)
    if not due:
        return 0
    lots = session.execute(_LOTS_LEFT, {"member": totals.member_id}).all()
    return due - _draw(session, entry_id, lots, due)


# Expiry


def expire_lots(session: Session, now: datetime, limit: int) -> int:
    """Close up to `limit` lots past their date; returns how many. 0 means that none is left.

    However late it runs, each entry carries the midnight at which it was due (P7), and each lot
    expires once: its id is the business key.
    """
    due = select(LOTS.c.member_id).where(LOTS.c.remaining > 0, LOTS.c.expires_at <= now)
    members = session.scalars(due.order_by(LOTS.c.expires_at, LOTS.c.id).limit(limit))
    locked = {row.member_id: row for row in _lock_members(session, {*members})}
    if not locked:
        return 0
    lots = session.execute(
        select(LOTS.c.id, LOTS.c.member_id, LOTS.c.entry_id, LOTS.c.remaining, LOTS.c.expires_at)
        .where(LOTS.c.member_id.in_(locked), LOTS.c.remaining > 0, LOTS.c.expires_at <= now)
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
        session.execute(_NEW_DRAW, draws)
    empty = update(LOTS).where(LOTS.c.id.in_([lot.id for lot in lots])).values(remaining=0)
    session.execute(empty)
    session.connection().execute(
        _MOVE_TOTALS,
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


def _lock_members(session: Session, member_ids: set[int]) -> Sequence[Any]:
    if not member_ids:
        return ()
    session.flush()  # Core statements must see what the caller has added so far
    return session.execute(_TOTALS_OF_MANY, {"members": sorted(member_ids)}).all()


# Looking


def balance_of(session: Session, member_id: int, now: datetime) -> Balance:
    """What a member has at this moment."""
    session.flush()  # the caller may have just written what we look for
    totals = session.execute(
        select(TOTALS.c.balance, TOTALS.c.debt).where(TOTALS.c.member_id == member_id)
    ).first()
    if totals is None:
        return Balance(0, 0, 0, 0, ())
    available = pending = 0
    expiring: dict[datetime, int] = {}
    for lot in session.execute(_LOTS_LEFT, {"member": member_id}):
        if lot.expires_at is not None and lot.expires_at <= now:
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
    return int(session.scalar(_USABLE, {"member": member_id, "now": now}) or 0)


def history(session: Session, member_id: int, limit: int) -> Sequence[LedgerEntry]:
    """A member's last movements, newest first."""
    newest = select(LedgerEntry).where(LedgerEntry.member_id == member_id)
    return session.scalars(newest.order_by(LedgerEntry.id.desc()).limit(limit)).all()


# Proof


def check_ledger(session: Session, now: datetime) -> list[Difference]:
    """Every balance against its entries, lots and debt; freezes members with a difference.

    Frozen members cannot burn until someone clears them with `unfreeze`.
    """
    session.flush()  # the check reads by plain statements
    entries = (
        select(ENTRIES.c.member_id, func.sum(ENTRIES.c.points).label("points"))
        .group_by(ENTRIES.c.member_id)
        .subquery()
    )
    lots = (
        select(LOTS.c.member_id, func.sum(LOTS.c.remaining).label("points"))
        .group_by(LOTS.c.member_id)
        .subquery()
    )
    in_entries = func.coalesce(entries.c.points, 0)
    in_lots = func.coalesce(lots.c.points, 0)
    wrong = (
        select(
            TOTALS.c.member_id,
            TOTALS.c.balance,
            TOTALS.c.debt,
            in_entries.label("in_entries"),
            in_lots.label("in_lots"),
        )
        .outerjoin(entries, entries.c.member_id == TOTALS.c.member_id)
        .outerjoin(lots, lots.c.member_id == TOTALS.c.member_id)
        .where(or_(TOTALS.c.balance != in_entries, TOTALS.c.balance != in_lots - TOTALS.c.debt))
    )
    found: list[Difference] = []
    for row in session.execute(wrong):
        if row.balance != row.in_entries:
            found.append(
                Difference("points.balance", row.member_id, int(row.in_entries), row.balance)
            )
        left = int(row.in_lots) - row.debt
        if left != row.in_entries:
            found.append(Difference("points.lots", row.member_id, int(row.in_entries), left))
    found += _wrong_lots(session)
    frozen = sorted({difference.id for difference in found})
    if frozen:
        session.execute(
            update(TOTALS)
            .where(TOTALS.c.member_id.in_(frozen), TOTALS.c.frozen_at.is_(None))
            .values(frozen_at=now)
        )
        for member_id in frozen:
            forget_totals(session, member_id)
    return found


def _wrong_lots(session: Session) -> list[Difference]:
    """Lots whose remainder is not what they began with plus their draws (by member)."""
    draws = (
        select(DRAWS.c.lot_id, func.sum(DRAWS.c.points).label("points"))
        .group_by(DRAWS.c.lot_id)
        .subquery()
    )
    left = LOTS.c.points + func.coalesce(draws.c.points, 0)
    wrong = (
        select(LOTS.c.member_id, left.label("left"), LOTS.c.remaining)
        .outerjoin(draws, draws.c.lot_id == LOTS.c.id)
        .where(LOTS.c.remaining != left)
    )
    return [
        Difference("points.lot", row.member_id, int(row.left), row.remaining)
        for row in session.execute(wrong)
    ]


def unfreeze(session: Session, member_id: int) -> None:
    """Let a member burn again, after someone has looked into the difference."""
    session.execute(update(TOTALS).where(TOTALS.c.member_id == member_id).values(frozen_at=None))
    forget_totals(session, member_id)


# Small steps


def _write_entry(
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
    new = insert_into(session, ENTRIES).on_conflict_do_nothing().returning(ENTRIES.c.id)
    entry_id: int | None = session.execute(new, row).scalar()
    return entry_id


def _entry_of(session: Session, source: str, source_id: str, kind: EntryKind) -> Any | None:
    by_key = and_(
        ENTRIES.c.source == source, ENTRIES.c.source_id == source_id, ENTRIES.c.kind == kind
    )
    return session.execute(select(ENTRIES.c.id, ENTRIES.c.points).where(by_key)).first()


def _move_lots(session: Session, entry_id: int, moves: list[tuple[int, int]]) -> None:
    """Change what lots have left, and write down which entry did it."""
    if not moves:
        return
    by_lot = [{"lot": lot_id, "by": points} for lot_id, points in moves]
    session.connection().execute(_DRAW_LOT, by_lot)
    session.execute(
        _NEW_DRAW,
        [{"entry_id": entry_id, "lot_id": lot_id, "points": points} for lot_id, points in moves],
    )


def _move_totals(
    session: Session, member_id: int, *, by: int, debt_by: int = 0, earned_by: int = 0
) -> None:
    facts = {"member": member_id, "by": by, "debt_by": debt_by, "earned_by": earned_by}
    session.connection().execute(_MOVE_TOTALS, facts)
    forget_totals(session, member_id)


def _refuse_too_many(points: int, balance: int) -> None:
    """No sum ever comes near the edge of a column (FG09)."""
    if points > MAX_POINTS or balance + points > MAX_POINTS:
        raise Refused("limits.over")
