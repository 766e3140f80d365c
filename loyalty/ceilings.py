"""How much a cashier may give alone: ceilings a bill, a shift and a day, by role (K5, AK2).

Above a ceiling a manager's PIN allows exactly one tap; its `Approval` is written in the
transaction of that tap. What a manager allowed does not count towards the cashier's own sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.errors import Refused
from core.i18n import money
from core.sabotage import is_sabotaged
from loyalty import audit, shop, undoing
from models.base import table_of
from models.members import Member
from models.purchases import Approval, Purchase
from models.staff import Branch, Cashier

PURCHASES = table_of(Purchase)
APPROVALS = table_of(Approval)
SETTING = "tills.ceilings"
BY_BRANCH = "tills.ceilings_by_branch"
ROLES = ("cashier", "manager")
SPANS = ("operation", "shift", "day")


class OverCeiling(Refused):
    """TX9: facts `over` (`operation`, `shift` or `day`) and `ceiling` in baht."""

    code = "limits.over"
    status = 403


@dataclass(frozen=True)
class Ceilings:
    """Satang a bill, a shift (one opening of the till with a PIN) and a local day."""

    operation: int
    shift: int
    day: int


def ceilings_for(session: Session, role: str, branch_code: str = "") -> Ceilings:
    """What holds for this role, with what the branch has of its own."""
    values: dict[str, int] = dict(shop.get(session, SETTING)[role])
    own = shop.get(session, BY_BRANCH).get(branch_code, {}).get(role, {})
    return Ceilings(**(values | own))


def set_ceilings(
    session: Session, role: str, values: dict[str, int], now: datetime, branch_code: str = ""
) -> None:
    """Change what holds for a role: everywhere, or in one branch (no values: as everywhere)."""
    assert role in ROLES
    assert set(values) <= set(SPANS)
    if not branch_code:
        shop.set(session, SETTING, {**shop.get(session, SETTING), role: values}, now)
        return
    known = dict(shop.get(session, BY_BRANCH))
    of_branch = {**known.get(branch_code, {}), role: values}
    known[branch_code] = {one: own for one, own in of_branch.items() if own}
    shop.set(session, BY_BRANCH, {one: own for one, own in known.items() if own}, now)


def lock_cashiers(session: Session, *cashier_ids: int) -> Sequence[Cashier]:
    """These cashiers' rows, locked in one order, read again: before any member's."""
    session.flush()  # what the caller has changed must not be read over
    rows = select(Cashier).where(Cashier.id.in_(cashier_ids)).order_by(Cashier.id)
    if not is_sabotaged("ceilings.lock"):
        rows = rows.with_for_update()
    return session.scalars(rows.execution_options(populate_existing=True)).all()


def over(
    session: Session,
    cashier: Cashier,
    branch: Branch,
    amount_satang: int,
    *,
    now: datetime,
    tz: ZoneInfo,
    shift_from: datetime,
) -> OverCeiling | None:
    """Which ceiling a bill of this amount would go over, if any. Locks the cashier's row first,
    so that bills of one cashier at two tills are added up one after the other (FQ12)."""
    lock_cashiers(session, cashier.id)
    role = "manager" if undoing.is_manager(session, cashier.id) else "cashier"
    ceilings = ceilings_for(session, role, branch.code)
    if amount_satang > ceilings.operation:
        return _over("operation", ceilings.operation)
    if _given(session, cashier.id, shift_from) + amount_satang > ceilings.shift:
        return _over("shift", ceilings.shift)
    midnight = start_of_day(local_day(now, tz), tz)
    if _given(session, cashier.id, midnight) + amount_satang > ceilings.day:
        return _over("day", ceilings.day)
    return None


def _over(span: str, ceiling: int) -> OverCeiling:
    return OverCeiling(over=span, ceiling=money("th", ceiling))


def _given(session: Session, cashier_id: int, since: datetime) -> int:
    """Satang this cashier has recorded alone since then, less what was returned."""
    alone = PURCHASES.c.operation_id.not_in(
        select(APPROVALS.c.operation_id).where(APPROVALS.c.cashier_id == cashier_id)
    )
    total = select(
        func.coalesce(func.sum(PURCHASES.c.amount_satang - PURCHASES.c.returned_satang), 0)
    ).where(PURCHASES.c.cashier_id == cashier_id, PURCHASES.c.recorded_at >= since, alone)
    return int(session.scalar(total) or 0)


# --- A manager's PIN -----------------------------------------------------------------------------


def managers_of(session: Session, branch_id: int) -> list[Cashier]:
    """Whose PIN allows things at the tills of this branch."""
    rows = select(Cashier).where(Cashier.branch_id == branch_id, Cashier.is_active)
    found = session.scalars(rows.order_by(Cashier.name, Cashier.id)).all()
    return [cashier for cashier in found if undoing.is_manager(session, cashier.id)]


def refuse_approver(session: Session, manager: Cashier | None, cashier: Cashier) -> Cashier:
    """The manager, if their PIN may allow what this cashier does: same branch, another person."""
    if manager is None or not manager.is_active or manager.branch_id != cashier.branch_id:
        raise Refused("approvals.not_manager", status=403)
    if manager.id == cashier.id:
        raise Refused("approvals.own_pin", status=403)
    if not undoing.is_manager(session, manager.id):
        raise Refused("approvals.not_manager", status=403)
    return manager


def approve(
    session: Session,
    *,
    operation_id: str,
    manager_id: int,
    cashier_id: int,
    what: str,
    amount_satang: int,
    now: datetime,
    real_now: datetime,
) -> None:
    """Write down that this manager allowed this one tap of this cashier."""
    session.add(
        Approval(
            operation_id=operation_id,
            manager_id=manager_id,
            cashier_id=cashier_id,
            over=what,
            amount_satang=amount_satang,
            at=now,
        )
    )
    facts: dict[str, Any] = {
        "manager": manager_id,
        "cashier": cashier_id,
        "over": what,
        "amount_satang": amount_satang,
    }
    audit.record(session, f"cashier:{manager_id}", "approvals.given", facts, real_now)


# --- Nobody serves themselves --------------------------------------------------------------------


def is_own_account(session: Session, cashier_id: int, member_id: int) -> bool:
    """Whether this member is the cashier: their linked account, or one with the same phone."""
    linked_id = session.scalar(select(Cashier.member_id).where(Cashier.id == cashier_id))
    if linked_id is None:
        return False
    linked = session.get(Member, linked_id)
    while linked is not None and linked.merged_into_id is not None:
        linked = session.get(Member, linked.merged_into_id)
    if linked is None:
        return False
    if linked.id == member_id:
        return True
    member = session.get(Member, member_id)
    return (
        member is not None
        and linked.phone_index is not None
        and member.phone_index == linked.phone_index
    )


def refuse_own_account(session: Session, member_id: int, *cashier_ids: int | None) -> None:
    """Refused `cashiers.own_account` when one of them, cashier or manager, is the customer."""
    for cashier_id in cashier_ids:
        if cashier_id is not None and is_own_account(session, cashier_id, member_id):
            raise Refused("cashiers.own_account", status=403)
