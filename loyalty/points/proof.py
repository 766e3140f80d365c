"""The ledger against itself: every balance, lot and debt."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    and_,
    bindparam,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from loyalty.points.ledger import DRAWS, ENTRIES, LOTS, TOTALS, forget_totals, lock_members
from models.points import IS_LEFT


@dataclass(frozen=True)
class Difference:
    """A figure that is not what it should be. `what` is `<noun>.<figure>`."""

    what: str
    id: int
    expected: int
    found: int


def find_wrong(session: Session, members: Collection[int] | None = None) -> list[Difference]:
    """Every balance against its entries, lots and debt; every lot against its draws. Reads only.

    Each figure is compared within one statement, so that business going on meanwhile is never
    taken for a difference. `members` limits the look to these.
    """
    session.flush()  # the check reads by plain statements
    asked = {} if members is None else {"members": list(members)}
    found: list[Difference] = []
    for row in session.execute(_wrong_balances(of_some=members is not None), asked):
        if row.balance != row.in_entries:
            found.append(
                Difference("points.balance", row.member_id, int(row.in_entries), row.balance)
            )
        left = int(row.in_lots) - row.debt
        if left != row.in_entries:
            found.append(Difference("points.lots", row.member_id, int(row.in_entries), left))
    lots = session.execute(_wrong_lots(of_some=members is not None), asked)
    return found + [
        Difference("points.lot", row.member_id, int(row.left), row.remaining) for row in lots
    ]


# Built once: every night asks.


def _are_asked_for(member_id: Any) -> Any:
    return member_id.in_(bindparam("members", expanding=True))


def _are_lots_asked_for() -> Any:
    """By member, found by the entries that made them: those have an index by member."""
    made = select(ENTRIES.c.id).where(_are_asked_for(ENTRIES.c.member_id))
    return and_(LOTS.c.entry_id.in_(made), _are_asked_for(LOTS.c.member_id))


@cache
def _wrong_balances(*, of_some: bool) -> Any:
    """Members whose balance is not the sum of their entries, or of their lots less their debt."""
    entries = _sums(ENTRIES.c.member_id, ENTRIES.c.points, of_some=of_some)
    lots = _sums(LOTS.c.member_id, LOTS.c.remaining, of_some=of_some, where=IS_LEFT)
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
        .order_by(TOTALS.c.member_id)
    )
    return wrong.where(_are_asked_for(TOTALS.c.member_id)) if of_some else wrong


def _sums(member_id: Any, points: Any, *, of_some: bool, where: Any = None) -> Any:
    sums = select(member_id, func.sum(points).label("points")).group_by(member_id)
    sums = sums if where is None else sums.where(where)
    return (sums.where(_are_asked_for(member_id)) if of_some else sums).subquery()


@cache
def _wrong_lots(*, of_some: bool) -> Any:
    """Lots whose remainder is not what they began with plus their draws (by member)."""
    sums = select(DRAWS.c.lot_id, func.sum(DRAWS.c.points).label("points")).group_by(DRAWS.c.lot_id)
    if of_some:
        sums = sums.join(LOTS, LOTS.c.id == DRAWS.c.lot_id).where(_are_lots_asked_for())
    draws = sums.subquery()
    left = LOTS.c.points + func.coalesce(draws.c.points, 0)
    wrong = (
        select(LOTS.c.member_id, left.label("left"), LOTS.c.remaining)
        .outerjoin(draws, draws.c.lot_id == LOTS.c.id)
        .where(LOTS.c.remaining != left)
        .order_by(LOTS.c.id)
    )
    return wrong.where(_are_lots_asked_for()) if of_some else wrong


def check_ledger(session: Session, now: datetime) -> list[Difference]:
    """Find and freeze in one transaction."""
    return freeze(session, {difference.id for difference in find_wrong(session)}, now)


def freeze(session: Session, suspects: Collection[int], now: datetime) -> list[Difference]:
    """Look at these members again under their locks; who still differs cannot burn any more.

    Frozen members cannot burn until someone clears them with `unfreeze`.
    """
    if not suspects:
        return []
    lock_members(session, {*suspects})
    found = find_wrong(session, suspects)
    frozen = sorted({difference.id for difference in found})
    session.execute(
        update(TOTALS)
        .where(TOTALS.c.member_id.in_(frozen), TOTALS.c.frozen_at.is_(None))
        .values(frozen_at=now, frozen_why="ledger")
    )
    for member_id in frozen:
        forget_totals(session, member_id)
    return found


def unfreeze(session: Session, member_id: int) -> None:
    """Let a member burn again, after someone has looked into the difference."""
    cleared = update(TOTALS).where(TOTALS.c.member_id == member_id)
    session.execute(cleared.values(frozen_at=None, frozen_why=None))
    forget_totals(session, member_id)
