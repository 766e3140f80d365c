"""Who may undo what was done at a till: the same cashier for 10 minutes, a manager later (K6)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from core.errors import Refused
from loyalty import shop
from models.staff import Cashier, Role, Staff

MANAGERS = (Role.OWNER, Role.MANAGER)


def refuse_unless_allowed(
    session: Session,
    *,
    done_by: int | None,
    done_at: datetime,
    cashier_id: int | None,
    staff_id: int | None,
    now: datetime,
    approved_by: int | None = None,
) -> None:
    """Refused `purchases.needs_manager` unless this cashier may undo what `done_by` did.

    `staff_id` or `approved_by` (a manager's PIN at the till) is a manager who agreed; a cashier
    who is a manager needs none. Till software and the console come without a cashier and are held
    by their own scopes.
    """
    if cashier_id is None or staff_id is not None or approved_by is not None:
        return
    minutes = int(shop.get(session, "purchases.void_minutes"))
    is_own = done_by == cashier_id and now - done_at <= timedelta(minutes=minutes)
    if not is_own and not is_manager(session, cashier_id):
        raise Refused("purchases.needs_manager", status=403, minutes=minutes)


def is_manager(session: Session, cashier_id: int) -> bool:
    """Whether this PIN is a manager's: by its own mark, or linked to one of the console."""
    of_console = exists().where(
        Staff.id == Cashier.staff_id, Staff.is_active, Staff.role.in_(MANAGERS)
    )
    is_one = select(Cashier.id).where(
        Cashier.id == cashier_id, Cashier.is_active, or_(Cashier.is_manager, of_console)
    )
    return session.scalar(is_one) is not None
