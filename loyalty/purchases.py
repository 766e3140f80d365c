"""Bills: recorded once with all they cause, and taken back once, whole or in part.

A purchase moves points, stamps, the member's running totals and the timeline in one transaction;
a void undoes every one of them, with the vouchers that were used on the bill.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, func, insert, select, update
from sqlalchemy.orm import Session, make_transient_to_detached

from core import ids
from core.clock import local_day
from core.db import insert_into
from core.errors import Invalid, NotFound, Refused
from core.i18n import money
from core.sabotage import is_sabotaged
from core.text import clean, receipt_key
from loyalty import activities, coupons, earning, points, shop, stamps, undoing
from loyalty.stamps import CardView
from models.base import table_of
from models.coupons import Voucher
from models.members import Member, MemberTotals
from models.purchases import Purchase, PurchaseItem, PurchaseReturn, PurchaseState
from models.staff import Branch, Cashier

#: 10 million baht: above any bill, far below what a column holds (FG09).
MAX_BILL_SATANG = 1_000_000_000
MAX_ITEMS = 200
#: A bill's moment may be this far ahead of ours: two clocks never agree.
CLOCK_LEEWAY = timedelta(minutes=5)
REMEMBERED_DAYS = 10
GAP_KNOWN_FROM_DAYS = 4

PURCHASES = table_of(Purchase)
RETURNS = table_of(PurchaseReturn)
TOTALS = table_of(MemberTotals)


@dataclass(frozen=True)
class BillItem:
    """A line of a bill as a till sends it."""

    sku: str
    quantity: int
    amount_satang: int


@dataclass(frozen=True)
class PurchaseResult:
    """What a bill has earned."""

    purchase: Purchase
    member_no: str
    points: int
    carry_satang: int
    balance: int
    available: int
    stamps: int
    cards: tuple[CardView, ...]
    vouchers_issued: tuple[Voucher, ...]
    is_first: bool


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


# Recording


def record_purchase(
    session: Session,
    *,
    member_id: int,
    branch: Branch,
    amount_satang: int,
    operation_id: str,
    now: datetime,
    tz: ZoneInfo,
    receipt_no: str | None = None,
    purchased_at: datetime | None = None,
    cashier_id: int | None = None,
    device_id: int | None = None,
    api_key_id: int | None = None,
    items: Sequence[BillItem] = (),
    stamps: bool = True,
) -> PurchaseResult:
    """Record a bill after discounts: points, stamps, totals, timeline.

    Refused: `members.not_joined`, `cashiers.own_account`, `errors.invalid_field`, `limits.over`,
    `purchases.too_old`, and `purchases.already_recorded` (facts `id`, `points`) for a bill
    number that this branch has had on that day. Locks the member's totals row.
    """
    bought_at = purchased_at or now
    _refuse_bad_bill(session, amount_satang, bought_at, now, api_key_id, items)
    member = session.get(Member, member_id)
    if member is None:
        raise Refused("members.not_joined")
    totals = points.lock_member(session, member_id)
    if not member.is_member:
        raise Refused("members.not_joined")
    _refuse_own_account(session, cashier_id, member_id)
    policy = points.policy_for(session, local_day(bought_at, tz))
    award = earning.award(policy, amount_satang, totals.carry_satang)
    is_first = totals.purchase_count == 0
    purchase = _write_purchase(
        session,
        {
            "public_id": ids.public_id(),
            "member_id": member_id,
            "branch_id": branch.id,
            "operation_id": operation_id,
            "receipt_no": clean(receipt_no, 64) if receipt_no else None,
            "receipt_key": receipt_key(receipt_no)[:64] if receipt_no else None,
            "local_on": local_day(bought_at, tz),
            "purchased_at": bought_at,
            "recorded_at": now,
            "amount_satang": amount_satang,
            "returned_satang": 0,
            "points": award.points,
            "carry_delta": award.carry_delta,
            "state": PurchaseState.RECORDED,
            "is_first": is_first,
            "cashier_id": cashier_id,
            "device_id": device_id,
            "api_key_id": api_key_id,
        },
    )
    _write_items(session, purchase.id, items)
    facts = {
        "amount_satang": amount_satang,
        "branch": branch.name_th,
        "branch_en": branch.name_en,
        "branch_code": branch.code,
    }
    balance, debt = totals.balance, totals.debt
    if award.points:
        moved = points.earn(
            session,
            member_id,
            award.points,
            source="purchase",
            source_id=str(purchase.id),
            now=now,
            tz=tz,
            facts=facts,
            policy=policy,
            locked=totals,
        )
        balance, debt = moved.balance, moved.debt
    _add_to_totals(session, totals, purchase)
    given = _give_stamps(session, purchase, branch, items, now, tz) if stamps else None
    activities.record(
        session,
        member_id,
        "purchases.recorded",
        now,
        {"purchase_id": purchase.id, "points": award.points, "is_first": is_first, **facts},
    )
    return PurchaseResult(
        purchase=purchase,
        member_no=member.member_no or "",
        points=award.points,
        carry_satang=award.carry_satang,
        balance=balance,
        available=0 if debt else points.usable_of(session, member_id, now),
        stamps=given.count if given else 0,
        cards=given.cards if given else (),
        vouchers_issued=given.vouchers if given else (),
        is_first=is_first,
    )


def _give_stamps(
    session: Session,
    purchase: Purchase,
    branch: Branch,
    items: Sequence[BillItem],
    now: datetime,
    tz: ZoneInfo,
) -> stamps.StampResult:
    return stamps.give_stamps(
        session,
        purchase.member_id,
        branch=branch,
        amount_satang=purchase.amount_satang,
        source="purchase",
        source_id=str(purchase.id),
        now=now,
        tz=tz,
        at=purchase.purchased_at,
        items=items,
        is_locked=True,
    )


def _refuse_bad_bill(
    session: Session,
    amount_satang: int,
    bought_at: datetime,
    now: datetime,
    api_key_id: int | None,
    items: Sequence[BillItem],
) -> None:
    if amount_satang <= 0:
        raise Invalid("errors.invalid_field", field="amount")
    if amount_satang > MAX_BILL_SATANG:
        raise Refused("limits.over")
    if len(items) > MAX_ITEMS or any(
        not 0 < item.quantity <= MAX_BILL_SATANG or not 0 <= item.amount_satang <= MAX_BILL_SATANG
        for item in items
    ):
        raise Invalid("errors.invalid_field", field="items")
    if bought_at > now + CLOCK_LEEWAY:
        raise Invalid("errors.invalid_field", field="purchased_at")
    if api_key_id is not None:
        days = int(shop.get(session, "purchases.api_age_days"))
        if bought_at < now - timedelta(days=days):
            raise Refused("purchases.too_old", days=days)


def _refuse_own_account(session: Session, cashier_id: int | None, member_id: int) -> None:
    """Nobody serves themselves (K5)."""
    if cashier_id is None:
        return
    own = select(Cashier.member_id).where(Cashier.id == cashier_id)
    if session.scalar(own) == member_id:
        raise Refused("cashiers.own_account", status=403)


def _write_purchase(session: Session, row: dict[str, Any]) -> Purchase:
    """Write the bill, unless its number or its operation is known: then refuse and name it."""
    new = insert_into(session, PURCHASES).values(row).on_conflict_do_nothing()
    purchase_id = session.execute(new.returning(PURCHASES.c.id)).scalar()
    if purchase_id is None:
        same_operation = PURCHASES.c.operation_id == row["operation_id"]
        same_bill = and_(
            PURCHASES.c.branch_id == row["branch_id"],
            PURCHASES.c.local_on == row["local_on"],
            PURCHASES.c.receipt_key == row["receipt_key"],
        )
        known = session.execute(
            select(PURCHASES.c.public_id, PURCHASES.c.points).where(same_operation | same_bill)
        ).first()
        facts = {"id": known.public_id, "points": known.points} if known else {}
        raise Refused("purchases.already_recorded", **facts)
    purchase = Purchase(id=purchase_id, voided_at=None, **row)
    make_transient_to_detached(purchase)  # the row is there: the object need not be read again
    session.add(purchase)
    return purchase


def _write_items(session: Session, purchase_id: int, items: Sequence[BillItem]) -> None:
    if items:
        session.execute(
            insert(table_of(PurchaseItem)),
            [
                {
                    "purchase_id": purchase_id,
                    "sku": clean(item.sku, 64)[:64],
                    "quantity": item.quantity,
                    "amount_satang": item.amount_satang,
                }
                for item in items
            ],
        )


# Running totals


def _add_to_totals(session: Session, row: Any, purchase: Purchase) -> None:
    """Add one bill to the member's running figures (performance.md: totals live on one row)."""
    member_id = purchase.member_id
    values: dict[str, Any] = {
        "purchase_count": TOTALS.c.purchase_count + 1,
        "spent_satang": TOTALS.c.spent_satang + purchase.amount_satang,
        "carry_satang": TOTALS.c.carry_satang + purchase.carry_delta,
        "first_purchase_at": min(row.first_purchase_at or purchase.purchased_at,
                                 purchase.purchased_at),
        "last_purchase_at": max(row.last_purchase_at or purchase.purchased_at,
                                purchase.purchased_at),
    }  # fmt: skip
    day = purchase.local_on.isoformat()
    if day not in row.purchase_days:
        if row.purchase_day_count >= REMEMBERED_DAYS and day < row.purchase_days[-1]:
            # Older than the ten we remember: whether it is a new day only the bills can tell.
            values |= _days_from_bills(session, member_id)
        else:
            days = sorted([day, *row.purchase_days], reverse=True)[:REMEMBERED_DAYS]
            values["purchase_days"] = days
            values["purchase_day_count"] = row.purchase_day_count + 1
            values["own_gap_days"] = own_gap(days)
    session.execute(update(TOTALS).where(TOTALS.c.member_id == member_id).values(values))
    points.forget_totals(session, member_id)


def _days_from_bills(session: Session, member_id: int) -> dict[str, Any]:
    """Purchase days counted again from the bills that stand."""
    days = (
        select(PURCHASES.c.local_on)
        .where(PURCHASES.c.member_id == member_id, PURCHASES.c.state != PurchaseState.VOIDED)
        .distinct()
    )
    newest = session.scalars(days.order_by(PURCHASES.c.local_on.desc()).limit(REMEMBERED_DAYS))
    kept = [day.isoformat() for day in newest]
    count = session.scalar(select(func.count()).select_from(days.subquery()))
    return {
        "purchase_days": kept,
        "purchase_day_count": int(count or 0),
        "own_gap_days": own_gap(kept),
    }


def own_gap(purchase_days: Sequence[str]) -> float | None:
    """Median days between distinct purchase days (ISO, newest first); None below 4 days."""
    if len(purchase_days) < GAP_KNOWN_FROM_DAYS:
        return None
    days = [date.fromisoformat(day) for day in purchase_days]
    return float(median((newer - older).days for newer, older in pairwise(days)))


def recount_totals(session: Session, member_id: int) -> None:
    """Work the purchase figures out again from the bills, after one of them was taken back."""
    figures = session.execute(_figures().where(PURCHASES.c.member_id == member_id)).one()
    values = {
        "purchase_count": figures.bills,
        "spent_satang": int(figures.satang),
        "first_purchase_at": figures.first_at,
        "last_purchase_at": figures.last_at,
        **_days_from_bills(session, member_id),
    }
    session.execute(update(TOTALS).where(TOTALS.c.member_id == member_id).values(values))
    points.forget_totals(session, member_id)


def _figures() -> Any:
    """Count, net sum, first and last of the bills that stand."""
    net = PURCHASES.c.amount_satang - PURCHASES.c.returned_satang
    return select(
        func.count().label("bills"),
        func.coalesce(func.sum(net), 0).label("satang"),
        func.min(PURCHASES.c.purchased_at).label("first_at"),
        func.max(PURCHASES.c.purchased_at).label("last_at"),
    ).where(PURCHASES.c.state != PurchaseState.VOIDED)


# Returning


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
    )
    if not is_sabotaged("purchases.lock"):
        points.lock_member(session, purchase.member_id)
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


# Proof


def check_totals(session: Session) -> list[points.Difference]:
    """Every member's purchase figures against the bills."""
    session.flush()  # the check reads by plain statements
    bills = _figures().add_columns(PURCHASES.c.member_id).group_by(PURCHASES.c.member_id).subquery()
    count = func.coalesce(bills.c.bills, 0)
    satang = func.coalesce(bills.c.satang, 0)
    rows = session.execute(
        select(
            TOTALS.c.member_id,
            TOTALS.c.purchase_count,
            TOTALS.c.spent_satang,
            count.label("bills"),
            satang.label("satang"),
        )
        .outerjoin(bills, bills.c.member_id == TOTALS.c.member_id)
        .where((TOTALS.c.purchase_count != count) | (TOTALS.c.spent_satang != satang))
    )
    return [difference for row in rows for difference in _wrong_totals(row)]


def _wrong_totals(row: Any) -> list[points.Difference]:
    figures = (
        ("purchases.count", row.bills, row.purchase_count),
        ("purchases.spent", int(row.satang), row.spent_satang),
    )
    return [
        points.Difference(what, row.member_id, expected, found)
        for what, expected, found in figures
        if expected != found
    ]
