"""Recording a bill once, with all it causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, insert, select
from sqlalchemy.orm import Session, make_transient_to_detached

from core import ids
from core.clock import local_day
from core.db import insert_into
from core.errors import Invalid, Refused
from core.text import fit, receipt_key
from loyalty import activities, earn_rules, earning, points, shop, stamps, tiers
from loyalty.earn_rules import Extra
from loyalty.purchases.totals import PURCHASES, add_to_totals
from loyalty.stamps import CardView
from models.base import table_of
from models.coupons import Voucher
from models.members import Member
from models.purchases import Purchase, PurchaseItem, PurchaseState
from models.staff import Branch, Cashier

#: 10 million baht: above any bill, far below what a column holds (FG09).
MAX_BILL_SATANG = 1_000_000_000
MAX_ITEMS = 200
#: A bill's moment may be this far ahead of ours: two clocks never agree.
CLOCK_LEEWAY = timedelta(minutes=5)


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
    #: What the bill alone earned, and what tier and rules added to that (P3).
    base_points: int = 0
    extras: tuple[Extra, ...] = field(default=())


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
    """Record a bill after discounts: points by base rule, tier and earn rules, stamps, totals,
    timeline.

    Refused: `members.not_joined`, `cashiers.own_account`, `errors.invalid_field`, `limits.over`,
    `stamps.too_many`, `purchases.too_old`, and `purchases.already_recorded` (facts `id`, `points`)
    for a bill number that this branch has had on that day. Locks the member's totals row.
    """
    bought_at = purchased_at or now
    refuse_bad_bill(
        session,
        amount_satang=amount_satang,
        bought_at=bought_at,
        now=now,
        receipt_no=receipt_no,
        api_key_id=api_key_id,
        items=items,
    )
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
    extras = earn_rules.extras_for(
        session,
        member,
        base=award.points,
        amount_satang=amount_satang,
        at=bought_at.astimezone(tz),
        branch=branch.code,
        items=items,
        level=totals.level,
        is_first=is_first,
        tier=tiers.tier_of(session, member_id, now),
    )
    earned = award.points + sum(extra.points for extra in extras)
    purchase = _write_purchase(
        session,
        {
            "public_id": ids.public_id(),
            "member_id": member_id,
            "branch_id": branch.id,
            "operation_id": operation_id,
            "receipt_no": fit(receipt_no, 64) if receipt_no else None,
            "receipt_key": receipt_key(receipt_no)[:64] if receipt_no else None,
            "local_on": local_day(bought_at, tz),
            "purchased_at": bought_at,
            "recorded_at": now,
            "amount_satang": amount_satang,
            "returned_satang": 0,
            "points": earned,
            "carry_delta": award.carry_delta,
            "state": PurchaseState.RECORDED,
            "is_first": is_first,
            "cashier_id": cashier_id,
            "device_id": device_id,
            "api_key_id": api_key_id,
        },
    )
    _write_items(session, purchase.id, items)
    earn_rules.write_awards(session, extras, member_id=member_id, purchase_id=purchase.id)
    facts: dict[str, Any] = {
        "amount_satang": amount_satang,
        "branch": branch.name_th,
        "branch_en": branch.name_en,
        "branch_code": branch.code,
    }
    if extras:
        facts["base_points"] = award.points
        facts["rules"] = [extra.as_facts() for extra in extras]
    moved = None
    if earned:
        moved = points.earn(
            session,
            member_id,
            earned,
            source="purchase",
            source_id=str(purchase.id),
            now=now,
            tz=tz,
            facts=facts,
            policy=policy,
            locked=totals,
            moves_totals=False,
        )
    usable = add_to_totals(session, totals, purchase, moved, now)
    given = _give_stamps(session, purchase, branch, items, now, tz) if stamps else None
    activities.record(
        session,
        member_id,
        "purchases.recorded",
        now,
        {"purchase_id": purchase.id, "points": earned, "is_first": is_first, **facts},
    )
    return PurchaseResult(
        purchase=purchase,
        member_no=member.member_no or "",
        points=earned,
        carry_satang=award.carry_satang,
        balance=moved.balance if moved else totals.balance,
        available=0 if (moved or totals).debt else usable,
        stamps=given.count if given else 0,
        cards=given.cards if given else (),
        vouchers_issued=given.vouchers if given else (),
        is_first=is_first,
        base_points=award.points,
        extras=tuple(extras),
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
        is_new=True,
    )


def refuse_bad_bill(
    session: Session,
    *,
    amount_satang: int,
    bought_at: datetime,
    now: datetime,
    receipt_no: str | None,
    api_key_id: int | None,
    items: Sequence[BillItem],
) -> None:
    """What can be said of a bill before anybody is looked up for it, so that the answer tells
    nothing of them. Refused as `record_purchase` says."""
    if amount_satang <= 0:
        raise Invalid("errors.invalid_field", field="amount")
    if amount_satang > MAX_BILL_SATANG:
        raise Refused("limits.over")
    if receipt_no and not receipt_key(receipt_no):
        raise Invalid("errors.invalid_field", field="receipt_no")
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
        is_same = PURCHASES.c.operation_id == row["operation_id"]
        if row["receipt_key"] is not None:  # bills without a number are not one bill
            is_same |= and_(
                PURCHASES.c.branch_id == row["branch_id"],
                PURCHASES.c.local_on == row["local_on"],
                PURCHASES.c.receipt_key == row["receipt_key"],
            )
        known = session.execute(
            select(PURCHASES.c.public_id, PURCHASES.c.points).where(is_same)
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
                    "sku": fit(item.sku, 64),
                    "quantity": item.quantity,
                    "amount_satang": item.amount_satang,
                }
                for item in items
            ],
        )
