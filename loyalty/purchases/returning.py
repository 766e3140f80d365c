"""Voids and part returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core import ids
from core.db import insert_into
from core.errors import Invalid, NotFound, Refused
from core.i18n import money
from core.sabotage import is_sabotaged
from loyalty import activities, coupons, earn_rules, earning, points, stamps, undoing
from loyalty.purchases.totals import TOTALS, recount_totals
from models.base import table_of
from models.coupons import Voucher
from models.purchases import Purchase, PurchaseReturn, PurchaseState
from models.staff import Branch

RETURNS = table_of(PurchaseReturn)


@dataclass(frozen=True)
class ReturnResult:
    """What a void or part return has taken back."""

    purchase: Purchase
    purchase_return: PurchaseReturn
    points: int
    debt: int
    balance: int
    available: int
    stamps: int
    vouchers_voided: tuple[Voucher, ...]
    redemptions_reversed: tuple[coupons.ReversalResult, ...] = field(default=())


def return_purchase(
    session: Session,
    *,
    purchase_public_id: str,
    operation_id: str,
    now: datetime,
    tz: ZoneInfo,
    amount_satang: int | None = None,
    cashier_id: int | None = None,
    api_key_id: int | None = None,
    staff_id: int | None = None,
    approved_by: int | None = None,
) -> ReturnResult:
    """Void a bill (`amount_satang` None) or return part of it (P6, T4, C7, K6).

    Who may is said in `undoing`. Refused: `purchases.not_found`, `purchases.already_voided`,
    `purchases.needs_manager`, `purchases.returned_too_much`.
    """
    purchase = _find_purchase(session, purchase_public_id)
    undoing.refuse_unless_allowed(
        session,
        done_by=purchase.cashier_id,
        done_at=purchase.recorded_at,
        cashier_id=cashier_id,
        staff_id=staff_id,
        now=now,
        approved_by=approved_by,
    )
    if not is_sabotaged("purchases.lock"):
        locked = None
        while locked != purchase.member_id:  # a merge may have handed the bill on meanwhile
            locked = purchase.member_id
            points.lock_member(session, locked)
            session.refresh(purchase)  # as it is under the lock
    if purchase.state == PurchaseState.VOIDED:
        raise Refused("purchases.already_voided")
    left = purchase.amount_satang - purchase.returned_satang
    amount = left if amount_satang is None else amount_satang
    if amount <= 0:
        raise Invalid("errors.invalid_field", field="amount")
    if amount > left:
        raise Refused("purchases.returned_too_much", baht=money("th", left))
    is_void = amount == left
    before = session.execute(
        select(
            func.coalesce(func.sum(RETURNS.c.points), 0).label("points"),
            func.coalesce(func.sum(RETURNS.c.carry_delta), 0).label("carry"),
        ).where(RETURNS.c.purchase_id == purchase.id)
    ).one()
    returned = purchase.returned_satang + amount
    kept = earning.kept_points(purchase.points, purchase.amount_satang, returned)
    taken = purchase.points - kept - int(before.points)
    kept_carry = earning.kept_points(purchase.carry_delta, purchase.amount_satang, returned)
    carry_taken = purchase.carry_delta - kept_carry - int(before.carry)
    made = _write_return(
        session,
        {
            "public_id": ids.public_id(),
            "purchase_id": purchase.id,
            "operation_id": operation_id,
            "amount_satang": amount,
            "points": taken,
            "carry_delta": carry_taken,
            "is_void": is_void,
            "at": now,
            "cashier_id": cashier_id,
            "api_key_id": api_key_id,
            "staff_id": staff_id,
        },
    )
    _mark_returned(session, purchase, returned, is_void=is_void, now=now)
    # Rules before coupons, as a bill takes them: two tills must not wait for each other.
    earn_rules.take_back(session, purchase.id, purchase.amount_satang, returned)
    reversed_uses = (
        coupons.reverse_of_purchase(session, purchase.id, now=now, tz=tz) if is_void else ()
    )
    debt_before = points.balance_of(session, purchase.member_id, now).debt
    moved = points.take_back(
        session,
        purchase.member_id,
        taken,
        source="purchase_return",
        source_id=str(made.id),
        earn_source="purchase",
        earn_source_id=str(purchase.id),
        returned_before=int(before.points),
        now=now,
        facts=_return_facts(session, purchase, amount, is_void=is_void),
    )
    _lower_carry(session, purchase.member_id, carry_taken)
    recount_totals(session, purchase.member_id)
    stamped = stamps.take_back(
        session,
        purchase.member_id,
        source="purchase",
        source_id=str(purchase.id),
        now=now,
        tz=tz,
        amount_satang=None if is_void else purchase.amount_satang,
        returned_satang=None if is_void else returned,
    )
    _record_return(session, purchase, made, moved.debt - debt_before, now)
    after = points.balance_of(session, purchase.member_id, now)
    return ReturnResult(
        purchase=purchase,
        purchase_return=made,
        points=taken,
        debt=after.debt,
        balance=after.balance,
        available=after.available,
        stamps=stamped.count,
        vouchers_voided=stamped.vouchers,
        redemptions_reversed=reversed_uses,
    )


def _find_purchase(session: Session, public_id: str) -> Purchase:
    session.flush()  # the caller may have just written what we look for
    purchase = session.scalars(select(Purchase).where(Purchase.public_id == public_id)).first()
    if purchase is None:
        raise NotFound("purchases.not_found")
    return purchase


def _write_return(session: Session, row: dict[str, Any]) -> PurchaseReturn:
    """Write the return; the same operation again is refused (second voids already are)."""
    new = insert_into(session, RETURNS).values(row).on_conflict_do_nothing()
    return_id = session.execute(new.returning(RETURNS.c.id)).scalar()
    if return_id is None:
        raise Refused("operations.already_recorded")
    return session.get_one(PurchaseReturn, return_id)


def _mark_returned(
    session: Session, purchase: Purchase, returned: int, *, is_void: bool, now: datetime
) -> None:
    purchase.returned_satang = returned
    purchase.state = PurchaseState.VOIDED if is_void else PurchaseState.PARTLY_RETURNED
    purchase.voided_at = now if is_void else None
    session.flush()  # the totals are counted from the bills next


def _lower_carry(session: Session, member_id: int, carry_taken: int) -> None:
    if carry_taken:
        session.execute(
            update(TOTALS)
            .where(TOTALS.c.member_id == member_id)
            .values(carry_satang=TOTALS.c.carry_satang - carry_taken)
        )


def _return_facts(
    session: Session, purchase: Purchase, amount: int, *, is_void: bool
) -> dict[str, Any]:
    branch = session.get_one(Branch, purchase.branch_id)
    return {
        "amount_satang": amount,
        "branch": branch.name_th,
        "branch_en": branch.name_en,
        "branch_code": branch.code,
        "is_void": is_void,
    }


def _record_return(
    session: Session, purchase: Purchase, made: PurchaseReturn, debt: int, now: datetime
) -> None:
    facts = {
        "purchase_id": purchase.id,
        "return_id": made.id,
        "points": made.points,
        "debt": debt,
        **_return_facts(session, purchase, made.amount_satang, is_void=made.is_void),
    }
    activities.record(session, purchase.member_id, "purchases.returned", now, facts)
