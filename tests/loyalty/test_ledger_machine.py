"""A model of the ledger, played against it: any history keeps every sum.

The machine buys, burns, voids, returns parts, gives back, expires and repeats earlier requests in
any order. Beside it runs a model of dictionaries that knows the rules of `product.md` 3 and none
of the tables. After each step both must agree, and the proof must find nothing.

The same histories are replayed on PostgreSQL and must end in the same state as on SQLite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.db import Database
from core.errors import Refused
from loyalty import points, proof, purchases
from models.points import LedgerEntry, Lot
from tests import factories
from tests.conftest import SOAK
from tests.moments import BANGKOK, NOW

RATE = 2500


@dataclass
class ModelLot:
    points: int
    left: int
    expires_at: datetime
    earned_at: datetime
    expired: int = 0


@dataclass
class ModelBill:
    amount: int
    earned: int
    carry: int
    lot: ModelLot | None
    returned: int = 0
    points_back: int = 0
    carry_back: int = 0
    forgiven: int = 0


@dataclass
class Model:
    """One member, by the rules as a person would write them down."""

    lots: list[ModelLot] = field(default_factory=list)
    balance: int = 0
    debt: int = 0
    carry: int = 0
    bills: dict[str, ModelBill] = field(default_factory=dict)
    burns: dict[str, list[tuple[ModelLot, int]]] = field(default_factory=dict)

    def add_lot(self, amount: int, expires_at: datetime, now: datetime) -> ModelLot:
        lot = ModelLot(amount, amount, expires_at, now)
        self.lots.append(lot)
        self.balance += amount
        self.pay_from(lot)
        return lot

    def pay_from(self, lot: ModelLot) -> None:
        paid = min(self.debt, lot.left)
        lot.left -= paid
        self.debt -= paid

    def available(self, now: datetime) -> int:
        return 0 if self.debt else sum(lot.left for lot in self.lots if lot.expires_at > now)

    def burn(self, name: str, amount: int, now: datetime) -> None:
        drawn = []
        self.balance -= amount
        for lot in sorted(self.lots, key=lambda lot: (lot.expires_at, lot.earned_at)):
            taken = min(lot.left, amount) if lot.expires_at > now else 0
            if taken:
                lot.left -= taken
                amount -= taken
                drawn.append((lot, taken))
        self.burns[name] = drawn

    def give_back(self, name: str, now: datetime) -> int:
        drawn = self.burns.pop(name)
        late = 0
        for lot, taken in drawn:
            self.balance += taken
            if lot.expires_at > now:
                lot.left += taken
            else:
                late += taken
        if late:
            end = start_of_day(local_day(now, BANGKOK) + timedelta(days=8), BANGKOK)
            self.lots.append(ModelLot(late, late, end, now))
        due = min(self.debt, sum(taken for _, taken in drawn))
        self.debt -= due
        for lot in sorted(self.lots, key=lambda lot: (lot.expires_at, lot.earned_at)):
            paid = min(lot.left, due)
            lot.left -= paid
            due -= paid
        return sum(taken for _, taken in drawn)

    def take_back(self, bill: ModelBill, satang: int) -> None:
        bill.returned += satang
        kept = bill.earned * (bill.amount - bill.returned) // bill.amount
        amount = bill.earned - kept - bill.points_back
        kept_carry = bill.carry * (bill.amount - bill.returned) // bill.amount
        carry = bill.carry - kept_carry - bill.carry_back
        bill.points_back += amount
        bill.carry_back += carry
        self.carry -= carry
        if bill.lot is None:
            return
        from_lot = min(amount, bill.lot.left)
        forgiven = min(amount - from_lot, bill.lot.expired - bill.forgiven)
        bill.forgiven += forgiven
        bill.lot.left -= from_lot
        self.balance -= amount - forgiven
        self.debt += amount - from_lot - forgiven

    def expire(self, now: datetime) -> None:
        for lot in sorted(self.lots, key=lambda lot: (lot.expires_at, lot.earned_at)):
            if lot.expires_at <= now and lot.left:
                self.pay_from(lot)
                lot.expired += lot.left
                self.balance -= lot.left
                lot.left = 0


class LedgerMachine(RuleBasedStateMachine):
    """Plays one history; `opened` gives it a session and takes it away again."""

    opened: Callable[[], Any]
    ends: list[list[Any]]

    def __init__(self) -> None:
        super().__init__()
        self.context = type(self).opened()
        self.session: Session = self.context.__enter__()
        self.now = NOW
        self.steps: list[tuple[Any, ...]] = []
        self.model = Model()
        self.done: list[Callable[[], None]] = []
        self.count = 0
        self.looks = 0

    @initialize()
    def open_the_shop(self) -> None:
        self.branch = factories.make_branch(self.session)
        self.member = factories.somchai(self.session)

    def name(self) -> str:
        self.count += 1
        return f"operation-{self.count}"

    @rule(satang=st.one_of(st.integers(1, 9_999), st.integers(10_000, 500_000)))
    def buy(self, satang: int) -> None:
        name = self.name()
        bought = purchases.record_purchase(
            self.session,
            member_id=self.member.id,
            branch=self.branch,
            amount_satang=satang,
            operation_id=name,
            now=self.now,
            tz=BANGKOK,
        )
        filled = satang + self.model.carry
        earned = max(0, filled // RATE)
        carry = filled - earned * RATE
        day = local_day(self.now, BANGKOK)
        months = day.year * 12 + day.month - 1 + 13
        end = start_of_day(day.replace(year=months // 12, month=months % 12 + 1, day=1), BANGKOK)
        lot = self.model.add_lot(earned, end, self.now) if earned else None
        delta = carry - self.model.carry
        self.model.carry = carry
        self.model.bills[bought.purchase.public_id] = ModelBill(satang, earned, delta, lot)
        assert (bought.points, bought.carry_satang) == (earned, carry)

        def again() -> None:
            with pytest.raises(Refused):
                purchases.record_purchase(
                    self.session,
                    member_id=self.member.id,
                    branch=self.branch,
                    amount_satang=satang,
                    operation_id=name,
                    now=self.now,
                    tz=BANGKOK,
                )

        self.done.append(again)

    @rule(amount=st.integers(1, 300))
    def burn(self, amount: int) -> None:
        name = self.name()
        can = amount <= self.model.available(self.now)

        def burn() -> points.Moved:
            return points.burn(
                self.session, self.member.id, amount, source="voucher", source_id=name, now=self.now
            )

        if not can:
            with pytest.raises(points.InsufficientPoints):
                burn()
            return
        assert burn().is_new
        self.model.burn(name, amount, self.now)
        self.done.append(lambda: self.expect(not burn().is_new))

    @precondition(lambda self: self.model.burns)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.model.burns)))

        def give() -> points.Moved:
            return points.give_back(
                self.session,
                self.member.id,
                source="redemption_reversal",
                source_id=name,
                burn_source="voucher",
                burn_source_id=name,
                now=self.now,
                tz=BANGKOK,
            )

        assert give().points == self.model.give_back(name, self.now)
        self.done.append(lambda: self.expect(not give().is_new))

    @precondition(lambda self: self.open_bills())
    @rule(data=st.data(), is_whole=st.booleans())
    def take_back(self, data: st.DataObject, is_whole: bool) -> None:
        public_id = data.draw(st.sampled_from(self.open_bills()))
        bill = self.model.bills[public_id]
        left = bill.amount - bill.returned
        satang = left if is_whole else data.draw(st.integers(1, left))
        name = self.name()

        def give() -> purchases.ReturnResult:
            return purchases.return_purchase(
                self.session,
                purchase_public_id=public_id,
                operation_id=name,
                amount_satang=None if is_whole else satang,
                now=self.now,
                tz=BANGKOK,
            )

        give()
        self.model.take_back(bill, satang)

        def again() -> None:
            with pytest.raises(Refused):
                give()

        self.done.append(again)

    def open_bills(self) -> list[str]:
        bills = self.model.bills.items()
        return [public_id for public_id, bill in bills if bill.returned < bill.amount]

    @rule(days=st.integers(1, 200))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule(limit=st.integers(1, 3))
    def expire(self, limit: int) -> None:
        while points.expire_lots(self.session, self.now, limit):
            pass
        self.model.expire(self.now)
        assert points.expire_lots(self.session, self.now, limit) == 0

    @precondition(lambda self: self.done)
    @rule(data=st.data())
    def repeat_an_earlier_request(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.done))()

    def expect(self, is_so: bool) -> None:
        assert is_so

    @invariant()
    def sums_hold(self) -> None:
        if not hasattr(self, "member"):
            return
        balance = points.balance_of(self.session, self.member.id, self.now)
        assert balance.balance == self.model.balance
        assert balance.debt == self.model.debt
        assert balance.available == self.model.available(self.now)
        assert self.member.totals.carry_satang == self.model.carry
        left = sum(lot.left for lot in self.model.lots)
        assert balance.balance == left - balance.debt
        assert balance.balance >= -balance.debt
        self.looks += 1
        if self.looks % 10 == 0:  # every table is read: not after each step
            assert proof.check_all(self.session, self.now) == []

    def teardown(self) -> None:
        try:
            if hasattr(self, "member"):
                assert proof.check_all(self.session, self.now) == []
                type(self).ends.append(end_of(self.session, self.member.id))
        finally:
            self.context.__exit__(None, None, None)


def end_of(session: Session, member_id: int) -> list[Any]:
    """A history's last state in words that are the same on every engine."""
    rows = session.execute(
        select(LedgerEntry.kind, LedgerEntry.points, LedgerEntry.effective_at)
        .where(LedgerEntry.member_id == member_id)
        .order_by(LedgerEntry.id)
    )
    lots = session.execute(
        select(Lot.points, Lot.remaining, Lot.expires_at)
        .where(Lot.member_id == member_id)
        .order_by(Lot.id)
    )
    return [tuple(row) for row in rows] + [tuple(row) for row in lots]


def opener(database: Database) -> Callable[[], Any]:
    """Sessions on one database whose work is rolled back when a history ends."""

    @contextmanager
    def opened() -> Iterator[Session]:
        with database.engine.connect() as connection:
            transaction = connection.begin()
            session = Session(connection, join_transaction_mode="create_savepoint")
            yield session
            session.close()
            transaction.rollback()

    return opened


def play(database: Database, examples: int, phases: Iterable[Phase] = Phase) -> list[list[Any]]:
    """The ends of `examples` histories; the same ones on every engine, by one fixed seed."""
    ends: list[list[Any]] = []
    machine = type(
        "Machine", (LedgerMachine,), {"opened": staticmethod(opener(database)), "ends": ends}
    )
    test = machine.TestCase
    test.settings = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=tuple(phases),
        suppress_health_check=list(HealthCheck),
    )
    test().runTest()
    return ends


@pytest.mark.usefixtures("everything_loaded")
def test_any_history_keeps_every_sum_and_ends_alike_on_both_engines(shared_databases):
    examples = 500 if SOAK else 25
    on_sqlite = play(shared_databases("sqlite"), examples)
    on_postgresql = play(shared_databases("postgresql"), examples)
    assert len(on_sqlite) >= examples
    assert on_sqlite == on_postgresql


def test_model_would_notice_a_ledger_that_overdraws(shared_databases, monkeypatch):
    monkeypatch.setenv("TAEM_TESTING", "1")
    monkeypatch.setenv("TAEM_SABOTAGE", "points.overdraw")
    with pytest.raises((AssertionError, BaseExceptionGroup, pytest.fail.Exception)):
        play(
            shared_databases("sqlite"), 25, [Phase.generate]
        )  # the shortest proof is not asked for
