"""The ledger against itself: every balance, lot and debt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import (
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from loyalty.points.ledger import DRAWS, ENTRIES, LOTS, TOTALS, forget_totals


@dataclass(frozen=True)
class Difference:
    """A figure that is not what it should be. `what` is `<noun>.<figure>`."""

    what: str
    id: int
    expected: int
    found: int


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
