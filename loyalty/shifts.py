"""What was given, redeemed, taken back and approved at the tills of a branch, and by whom (K8).

Read through the cashiers' own indexes: a branch's day is the day of the people who stood there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from models.coupons import Redemption
from models.purchases import Approval, Purchase, PurchaseReturn
from models.staff import Cashier, CashierSession, Device


@dataclass
class Sums:
    """Counts, and satang or points."""

    bills: int = 0
    bills_satang: int = 0
    points: int = 0
    queued: int = 0
    redemptions: int = 0
    redeemed_satang: int = 0
    voids: int = 0
    voided_satang: int = 0
    #: Taps of this cashier that a manager's PIN allowed.
    approvals: int = 0
    approved_satang: int = 0
    #: Taps of others that this cashier's PIN allowed.
    allowed: int = 0

    def add(self, other: Sums) -> None:
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))


@dataclass(frozen=True)
class Line:
    """One cashier's part of a report."""

    cashier: Cashier
    sums: Sums


@dataclass(frozen=True)
class Report:
    """A shift of one cashier, or a day of a branch."""

    branch_id: int
    since: datetime
    until: datetime
    lines: tuple[Line, ...]
    total: Sums


def cashiers_at(
    session: Session, branch_id: int, since: datetime, until: datetime
) -> Sequence[Cashier]:
    """Everybody who works in this branch or has opened one of its tills since then."""
    opened = (
        select(CashierSession.cashier_id)
        .join(Device, Device.id == CashierSession.device_id)
        .where(Device.branch_id == branch_id, CashierSession.expires_at >= since)
    )
    rows = select(Cashier).where(or_(Cashier.branch_id == branch_id, Cashier.id.in_(opened)))
    return session.scalars(rows.order_by(Cashier.name, Cashier.id)).all()


def report(
    session: Session,
    *,
    branch_id: int,
    since: datetime,
    until: datetime,
    cashier_id: int | None = None,
) -> Report:
    """What one cashier, or everybody in the branch, did from `since` until before `until`.

    Idle cashiers are left out of a branch's report. A void counts where and when it was done.
    """
    people = (
        [session.get_one(Cashier, cashier_id)]
        if cashier_id is not None
        else cashiers_at(session, branch_id, since, until)
    )
    ids = [one.id for one in people]
    sums = {one: Sums() for one in ids}
    for name, statement in _questions(branch_id, ids, since, until).items():
        for row in session.execute(statement):
            _put(sums[row.cashier_id], name, row)
    total = Sums()
    lines = []
    for one in people:
        if cashier_id is not None or sums[one.id] != Sums():
            lines.append(Line(one, sums[one.id]))
            total.add(sums[one.id])
    return Report(branch_id, since, until, tuple(lines), total)


def _questions(
    branch_id: int, ids: Collection[int], since: datetime, until: datetime
) -> dict[str, Any]:
    def sum_of(column: Any) -> Any:
        return func.coalesce(func.sum(column), 0)

    returned_here = (
        select(Purchase.id)
        .where(Purchase.id == PurchaseReturn.purchase_id, Purchase.branch_id == branch_id)
        .exists()
    )
    return {
        "bills": select(
            Purchase.cashier_id,
            func.count().label("times"),
            sum_of(Purchase.amount_satang).label("satang"),
            sum_of(Purchase.points).label("points"),
            func.count(Purchase.queued_at).label("queued"),
        )
        .where(
            Purchase.cashier_id.in_(ids),
            Purchase.branch_id == branch_id,
            Purchase.recorded_at >= since,
            Purchase.recorded_at < until,
        )
        .group_by(Purchase.cashier_id),
        "redemptions": select(
            Redemption.cashier_id,
            func.count().label("times"),
            sum_of(Redemption.discount_satang).label("satang"),
        )
        .where(
            Redemption.cashier_id.in_(ids),
            Redemption.branch_id == branch_id,
            Redemption.at >= since,
            Redemption.at < until,
        )
        .group_by(Redemption.cashier_id),
        "voids": select(
            PurchaseReturn.cashier_id,
            func.count().label("times"),
            sum_of(PurchaseReturn.amount_satang).label("satang"),
        )
        .where(
            PurchaseReturn.cashier_id.in_(ids),
            returned_here,
            PurchaseReturn.at >= since,
            PurchaseReturn.at < until,
        )
        .group_by(PurchaseReturn.cashier_id),
        "approvals": select(
            Approval.cashier_id,
            func.count().label("times"),
            sum_of(Approval.amount_satang).label("satang"),
        )
        .where(Approval.cashier_id.in_(ids), Approval.at >= since, Approval.at < until)
        .group_by(Approval.cashier_id),
        "allowed": select(Approval.manager_id.label("cashier_id"), func.count().label("times"))
        .where(Approval.manager_id.in_(ids), Approval.at >= since, Approval.at < until)
        .group_by(Approval.manager_id),
    }


def _put(sums: Sums, name: str, row: Any) -> None:
    if name == "bills":
        sums.bills, sums.bills_satang = row.times, int(row.satang)
        sums.points, sums.queued = int(row.points), row.queued
    elif name == "redemptions":
        sums.redemptions, sums.redeemed_satang = row.times, int(row.satang)
    elif name == "voids":
        sums.voids, sums.voided_satang = row.times, int(row.satang)
    elif name == "approvals":
        sums.approvals, sums.approved_satang = row.times, int(row.satang)
    else:
        sums.allowed = row.times
