"""What staff give by hand up to a ceiling alone, and above it with a second person (P8, C2).

Points (`adjustments.py`) and vouchers (`coupons/giving.py`) share it: a day's gifts of one giver
count together, nobody gives or agrees to what is their own, and a waiting row is decided once.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, Table, select, true, update
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import ceilings, shop
from models.staff import Cashier, Role, Staff


def ceiling(session: Session, keys: Mapping[Role, str], role: Role) -> int:
    """What somebody of this role may give in a day alone; 0 for who has no setting in `keys`."""
    key = keys.get(role)
    return int(shop.get(session, key)) if key else 0


def lock_giver(session: Session, staff: Staff) -> None:
    """Hold the giver's row: two gifts of one person at once would both find room."""
    session.execute(select(Staff.id).where(Staff.id == staff.id).with_for_update())


def is_given_alone(table: Table, staff: Staff, now: datetime, tz: ZoneInfo) -> ColumnElement[bool]:
    """Rows of this giver's local day that nobody else has agreed to."""
    return (
        (table.c.staff_id == staff.id)
        & table.c.decided_by_id.is_(None)
        & (table.c.at >= start_of_day(local_day(now, tz), tz))
    )


def is_own_account(session: Session, member_id: int, staff: Staff) -> bool:
    """Whether this member is the same person as this member of staff, by any PIN of theirs."""
    pins = session.scalars(select(Cashier.id).where(Cashier.staff_id == staff.id)).all()
    return any(ceilings.is_own_account(session, one, member_id) for one in pins)


def take_decision(
    session: Session,
    table: Table,
    row_id: int,
    *,
    staff: Staff,
    waiting: object,
    values: Mapping[str, Any],
    now: datetime,
    sabotage: str,
) -> None:
    """Write what a second person has decided of a row that waits; who comes second finds none.

    Refused: `adjustments.already_decided`. `sabotage` names the guard for its positive control.
    """
    still_waits: ColumnElement[bool] = table.c.state == waiting
    if is_sabotaged(sabotage):
        still_waits = true()
    taken: Any = session.execute(
        update(table)
        .where(table.c.id == row_id, still_waits, table.c.staff_id != staff.id)
        .values(decided_by_id=staff.id, decided_at=now, **values)
    )
    if not taken.rowcount:
        raise Refused("adjustments.already_decided")
