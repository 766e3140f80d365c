"""A till, a branch and short words for what loyalty tests do all the time."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy.orm import Session

from loyalty import codes, points, purchases
from models.coupons import CodePurpose, Voucher
from models.members import Member
from models.staff import Branch
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture(scope="session")
def everything_loaded() -> None:
    """Every module of the product is imported.

    Hypothesis draws from the constants of whatever of ours is loaded. A module that is first needed
    in the middle would give the second of two plays other histories than the first.
    """
    for package in ("bot", "core", "engagement", "handlers", "insights", "loyalty", "models"):
        path = importlib.import_module(package).__path__
        for module in pkgutil.walk_packages(path, f"{package}."):
            importlib.import_module(module.name)


@dataclass
class Till:
    """The till of one branch: buys, voids and redeems with fresh operation ids."""

    session: Session
    branch: Branch
    holder: str = "device:1"
    operations: Any = field(default_factory=count)

    def operation(self) -> str:
        return f"device:1:{next(self.operations)}"

    def buy(
        self, member: Member, baht: float, *, now: datetime = NOW, **more: Any
    ) -> purchases.PurchaseResult:
        values = {"branch": self.branch, "operation_id": self.operation()} | more
        return purchases.record_purchase(
            self.session,
            member_id=member.id,
            amount_satang=round(baht * 100),
            now=now,
            tz=BANGKOK,
            **values,
        )

    def give_back(
        self, bought: purchases.PurchaseResult, baht: float | None = None, *,
        now: datetime = NOW + timedelta(minutes=1), **more: Any,
    ) -> purchases.ReturnResult:  # fmt: skip
        return purchases.return_purchase(
            self.session,
            purchase_public_id=bought.purchase.public_id,
            operation_id=more.pop("operation_id", None) or self.operation(),
            amount_satang=None if baht is None else round(baht * 100),
            now=now,
            tz=BANGKOK,
            **more,
        )

    def code(self, voucher: Voucher, real_now: datetime = NOW) -> codes.Parsed:
        """What the member's page shows, as a till reads it."""
        text = codes.make_code(
            self.session,
            factories.SECRET_KEY,
            CodePurpose.REDEEM,
            voucher.member_id,
            voucher_id=voucher.id,
            real_now=real_now,
        )
        return codes.parse(factories.SECRET_KEY, text)

    def redeem(
        self, voucher: Voucher, baht: float = 250, *, now: datetime = NOW, **more: Any
    ) -> codes.RedemptionResult:
        values = {
            "holder": self.holder,
            "branch": self.branch,
            "operation_id": self.operation(),
            "real_now": now,
        } | more
        if "parsed" not in values and "hold_id" not in values:
            values["parsed"] = self.code(voucher, values["real_now"])
        return codes.redeem(
            self.session, bill_satang=round(baht * 100), now=now, tz=BANGKOK, **values
        )

    def undo(self, used: codes.RedemptionResult, *, now: datetime = NOW, **more: Any) -> Any:
        return codes.reverse_redemption(
            self.session,
            redemption_public_id=used.redemption.public_id,
            operation_id=self.operation(),
            now=now,
            tz=BANGKOK,
            **more,
        )


@pytest.fixture
def till(session: Session) -> Till:
    return Till(session, factories.make_branch(session))


@pytest.fixture
def somchai(session: Session) -> Member:
    return factories.somchai(session)


@pytest.fixture
def earn(session: Session) -> Callable[..., points.Moved]:
    """`earn(member, 10)` gives points for a cause of its own."""
    causes = count(1)

    def give(member: Member, amount: int, *, now: datetime = NOW, **more: Any) -> points.Moved:
        values = {"source": "purchase", "source_id": f"test-{next(causes)}"} | more
        return points.earn(session, member.id, amount, now=now, tz=BANGKOK, **values)

    return give


@pytest.fixture
def burn(session: Session) -> Callable[..., points.Moved]:
    causes = count(1)

    def take(member: Member, amount: int, *, now: datetime = NOW, **more: Any) -> points.Moved:
        values = {"source": "voucher", "source_id": f"test-{next(causes)}"} | more
        return points.burn(session, member.id, amount, now=now, **values)

    return take
