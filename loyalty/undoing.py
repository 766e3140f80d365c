"""Who may undo what was done at a till: the same cashier for 10 minutes, a manager later (K6)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select
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
) -> None:
    """Refused `purchases.needs_manager` unless this cashier may undo what `done_by` did.

    `staff_id` is a manager who agreed; a cashier whose PIN is linked to a manager is one. Till
    software and the console come without a cashier and are held by their own scopes.
    """
    if cashier_id is None or staff_id is not None:
        return
    minutes = int(shop.get(session, "purchases.void_minutes"))
    is_own = done_by == cashier_id and now - done_at <= timedelta(minutes=minutes)
    if not is_own and not is_manager(session, cashier_id):
        raise Refused("purchases.needs_manager", status=403, minutes=minutes)


def is_manager(session: Session, cashier_id: int) -> bool:
    """Whether this PIN belongs to a manager or owner of the console."""
    linked = (
        select(Staff.role)
        .join(Cashier, Cashier.staff_id == Staff.id)
        .where(Cashier.id == cashier_id, Staff.is_active)
    )
    return session.scalar(linked) in MANAGERS
