"""Any history of the whole programme keeps every sum, on both engines alike.

Where `test_ledger_machine.py` knows what one member's points must be, this machine plays everything
at once (bills with vouchers, claims, scans, uses, returns, adjustments, expiry, merges, repeats) and
asks only what must always hold: the proof finds nothing, stocks and budgets are kept, limits stand,
an answered request stays answered. The same histories end alike on both engines.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.crypto import Vault
from core.errors import Refused
from loyalty import (
    adjustments,
    checkout,
    codes,
    coupons,
    earn_rules,
    merges,
    points,
    proof,
    purchases,
    shop,
    stamps,
)
from models.coupons import Coupon, CouponKind, Obtained, Redemption, Voucher, VoucherState
from models.earn_rules import EarnRule, EarnRuleKind
from models.imports import Merge
from models.members import Member, MemberState
from models.points import LedgerEntry, Lot
from models.purchases import Purchase, PurchaseState
from models.stamps import StampCard, StampPrize
from tests import factories
from tests.conftest import SOAK
from tests.loyalty.test_ledger_machine import opener
from tests.moments import BANGKOK, NOW

PEOPLE = 3
TILL = "device:1"
WALK_IN: dict[str, Any] = {"line_user_id": None, "is_following": False}


class ProgrammeMachine(RuleBasedStateMachine):
    """Three members, two branches, every kind of coupon, a stamp card, rules and tiers."""

    opened: Callable[[], Any]
    ends: list[list[Any]]

    def __init__(self) -> None:
        super().__init__()
        self.context = type(self).opened()
        self.session: Session = self.context.__enter__()
        self.now = NOW
        self.count = self.looks = 0
        self.repeats: list[Callable[[], None]] = []
        self.vault = Vault((factories.DATA_KEY,), (factories.INDEX_KEY,))

    @initialize()
    def open_the_shop(self) -> None:
        session = self.session
        self.branches = [factories.make_branch(session), factories.make_branch(session, "ARI")]
        # All but the first are walk-ins: two LINE accounts are never merged.
        people = [
            factories.make_member(session, f"คน{number}", **({} if number == 0 else WALK_IN))
            for number in range(PEOPLE)
        ]
        self.people = [one.id for one in people]
        self.staff = factories.prem(session)
        shop.set(session, "adjustments.owner_ceiling", 500, self.now)
        make = factories.make_coupon
        factories.make_policy(session)
        self.coupons = [
            make(session, key="few", total_units=4, per_member=2).id,
            make(session, key="bought", obtained=Obtained.POINTS, price_points=7, per_member=99).id,
            make(
                session, key="purse", kind=CouponKind.CASH, value_satang=9_000, keeps_change=True,
                per_member=3,
            ).id,
            make(
                session, key="tenth", kind=CouponKind.PERCENT_OFF, percent=10, max_satang=5_000,
                budget_satang=20_000, per_member=9, is_stackable=True,
            ).id,
        ]  # fmt: skip
        prize = make(session, key="prize", obtained=Obtained.STAMPS, total_units=3)
        program = factories.make_stamp_program(session, size=3, prize=prize)
        session.add(StampPrize(program_id=program.id, at_stamp=2, coupon_id=prize.id))
        session.add(
            EarnRule(
                key="double", kind=EarnRuleKind.MULTIPLIER, percent=200, name_th="คูณสอง",
                name_en="Double", conditions={"branches": ["ARI"]}, total_cap=40,
                per_member_cap=25, created_at=self.now,
            )
        )  # fmt: skip
        session.flush()

    def name(self) -> str:
        self.count += 1
        return f"operation-{self.count}"

    def attempt(self, act: Callable[[], Any]) -> Any:
        """What came of it; refused leaves nothing behind, as at the edges."""
        savepoint = self.session.begin_nested()
        try:
            done = act()
            self.session.flush()
        except Refused:
            savepoint.rollback()
            self.session.info.pop("activities", None)
            return None
        savepoint.commit()
        return done

    def answered(self, act: Callable[[], Any]) -> Any:
        """Do it; if it was done, the same request later has no second effect."""
        done = self.attempt(act)
        if done is not None:
            self.repeats.append(lambda: self.expect_nothing(act))
        return done

    def expect_nothing(self, act: Callable[[], Any]) -> None:
        before = self.entries()
        self.attempt(act)
        assert self.entries() == before

    def entries(self) -> int:
        return self.session.scalar(select(func.count()).select_from(LedgerEntry)) or 0

    def one(self, data: st.DataObject, model: Any, *conditions: Any) -> Any:
        found = self.session.scalars(select(model).where(*conditions).order_by(model.id)).all()
        return data.draw(st.sampled_from(found)) if found else None

    def code_of(self, voucher: Voucher) -> codes.Parsed:
        code = codes.make_code(
            self.session, factories.SECRET_KEY, "redeem", voucher.member_id,
            voucher_id=voucher.id, real_now=self.now,
        )  # fmt: skip
        return codes.parse(factories.SECRET_KEY, code)

    @rule(data=st.data(), satang=st.integers(1, 90_000), branch=st.integers(0, 1))
    def buy(self, data: st.DataObject, satang: int, branch: int) -> None:
        member = data.draw(st.sampled_from(self.people))
        usable = (Voucher.member_id == member, Voucher.state == VoucherState.ISSUED)
        voucher = self.one(data, Voucher, *usable) if data.draw(st.booleans()) else None
        parsed = [self.code_of(voucher)] if voucher is not None else []
        name = self.name()
        self.answered(
            lambda: checkout.confirm(
                self.session, member_id=member, branch=self.branches[branch], holder=TILL,
                operation_id=name, bill_satang=satang, parsed=parsed, now=self.now,
                real_now=self.now, tz=BANGKOK,
            )
        )  # fmt: skip

    @rule(data=st.data(), which=st.integers(0, 3))
    def get_a_coupon(self, data: st.DataObject, which: int) -> None:
        member = self.session.get_one(Member, data.draw(st.sampled_from(self.people)))
        take = coupons.buy_reward if which == 1 else coupons.claim
        coupon = self.coupons[which]
        self.attempt(lambda: take(self.session, coupon, member, self.now, BANGKOK))

    @rule(data=st.data(), is_released=st.booleans())
    def scan(self, data: st.DataObject, is_released: bool) -> None:
        voucher = self.one(data, Voucher, Voucher.state == VoucherState.ISSUED)
        if voucher is None:
            return
        parsed = self.code_of(voucher)
        held = self.attempt(
            lambda: codes.scan(self.session, parsed, TILL, self.now, self.now, BANGKOK)
        )
        if held is not None and is_released:
            assert codes.release(self.session, held.hold_id, TILL, self.now)

    @rule(data=st.data(), satang=st.integers(1, 40_000))
    def use(self, data: st.DataObject, satang: int) -> None:
        voucher = self.one(data, Voucher, Voucher.state == VoucherState.ISSUED)
        if voucher is None:
            return
        parsed, name = self.code_of(voucher), self.name()
        self.answered(
            lambda: codes.redeem(
                self.session, parsed=parsed, holder=TILL, branch=self.branches[0],
                bill_satang=satang, operation_id=name, now=self.now, real_now=self.now, tz=BANGKOK,
            )
        )  # fmt: skip

    @rule(data=st.data())
    def undo_a_use(self, data: st.DataObject) -> None:
        used = self.one(data, Redemption, Redemption.reversed_at.is_(None))
        if used is not None:
            name, public_id = self.name(), used.public_id
            self.answered(
                lambda: codes.reverse_redemption(
                    self.session, redemption_public_id=public_id, operation_id=name,
                    now=self.now, tz=BANGKOK,
                )
            )  # fmt: skip

    @rule(data=st.data(), is_whole=st.booleans())
    def return_a_bill(self, data: st.DataObject, is_whole: bool) -> None:
        bill = self.one(data, Purchase, Purchase.state != PurchaseState.VOIDED)
        if bill is None:
            return
        left = bill.amount_satang - bill.returned_satang
        satang = None if is_whole else data.draw(st.integers(1, left))
        name, public_id = self.name(), bill.public_id
        self.answered(
            lambda: purchases.return_purchase(
                self.session, purchase_public_id=public_id, operation_id=name,
                amount_satang=satang, now=self.now, tz=BANGKOK,
            )
        )  # fmt: skip

    @rule(data=st.data(), amount=st.integers(-600, 600).filter(bool))
    def adjust(self, data: st.DataObject, amount: int) -> None:
        member = self.session.get_one(Member, data.draw(st.sampled_from(self.people)))
        self.attempt(
            lambda: adjustments.give(
                self.session, member, amount, reason="ชดเชย", staff=self.staff, now=self.now,
                tz=BANGKOK,
            )
        )  # fmt: skip

    @rule(days=st.integers(1, 120))
    def wait(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule()
    def night(self) -> None:
        while points.expire_lots(self.session, self.now, 2):
            pass
        while coupons.expire_vouchers(self.session, self.now, self.now, 2):
            pass

    @precondition(lambda self: hasattr(self, "people"))
    @rule(data=st.data())
    def merge(self, data: st.DataObject) -> None:
        kept, gone = data.draw(st.permutations(self.people))[:2]
        done = self.attempt(lambda: self.merge_two(kept, gone))
        if done is not None and data.draw(st.booleans()):
            self.attempt(lambda: self.undo_merge(done))

    def merge_two(self, kept: int, gone: int) -> Merge:
        return merges.merge(
            self.session, self.vault, kept, gone, now=self.now, real_now=self.now, tz=BANGKOK,
            staff_id=self.staff.id, actor="staff:1",
        )  # fmt: skip

    def undo_merge(self, done: Merge) -> Merge:
        return merges.unmerge(
            self.session, done.id, now=self.now, real_now=self.now, tz=BANGKOK,
            staff_id=self.staff.id, actor="staff:1",
        )  # fmt: skip

    @precondition(lambda self: self.repeats)
    @rule(data=st.data())
    def repeat_an_earlier_request(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.repeats))()

    @invariant()
    def everything_holds(self) -> None:
        if not hasattr(self, "people"):
            return
        session = self.session
        session.flush()
        self.looks += 1
        if self.looks % 5 == 0:  # every table is read: not after each step
            assert proof.check_all(session, self.now) == []
        total = session.scalar(select(func.coalesce(func.sum(LedgerEntry.points), 0)))
        balances = [points.balance_of(session, one, self.now) for one in self.people]
        assert total == sum(balance.balance for balance in balances)
        assert all(balance.available >= 0 for balance in balances)
        for coupon in session.scalars(select(Coupon).execution_options(populate_existing=True)):
            assert coupon.total_units is None or coupon.issued_count <= coupon.total_units
            assert coupon.budget_satang is None or coupon.spent_satang <= coupon.budget_satang
            off = select(func.coalesce(func.sum(Redemption.discount_satang), 0))
            mine = off.join(Voucher, Voucher.id == Redemption.voucher_id).where(
                Voucher.coupon_id == coupon.id, Redemption.reversed_at.is_(None)
            )
            assert session.scalar(mine) == coupon.spent_satang
        rule_ = session.scalars(select(EarnRule).execution_options(populate_existing=True)).one()
        assert rule_.given_points <= 40
        assert earn_rules.check_awards(session) == []
        assert stamps.check_cards(session) == []
        shadows = select(Member.id).where(Member.state == MemberState.MERGED)
        for gone in session.scalars(shadows):
            assert points.balance_of(session, gone, self.now).balance == 0

    def teardown(self) -> None:
        try:
            if hasattr(self, "people"):
                assert proof.check_all(self.session, self.now) == []
                type(self).ends.append(end_of(self.session))
        finally:
            self.context.__exit__(None, None, None)


def end_of(session: Session) -> list[Any]:
    """The last state in words that are the same on every engine."""
    rows: list[Any] = []
    for columns in (
        (LedgerEntry.kind, LedgerEntry.points, LedgerEntry.effective_at),
        (Lot.points, Lot.remaining, Lot.expires_at),
        (Redemption.discount_satang, Redemption.is_whole),
        (Purchase.points, Purchase.returned_satang, Purchase.carry_delta),
        (StampCard.filled, StampCard.state),
    ):
        model = columns[0].class_
        rows += [tuple(row) for row in session.execute(select(*columns).order_by(model.id))]
    owned = select(Coupon.key, Voucher.state, Voucher.left_satang).join(Voucher.coupon)
    rows += [tuple(row) for row in session.execute(owned.order_by(Voucher.id))]
    return [tuple(plain(value) for value in row) for row in rows]


def plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def play(database: Any, examples: int) -> list[list[Any]]:
    """The ends of `examples` histories, the same ones on every engine."""
    ends: list[list[Any]] = []
    machine = type(
        "Machine", (ProgrammeMachine,), {"opened": staticmethod(opener(database)), "ends": ends}
    )
    test = machine.TestCase
    test.settings = settings(
        max_examples=examples,
        stateful_step_count=30 if SOAK else 15,
        # A failure is found again by its seed: making it smaller costs minutes.
        phases=[Phase.generate],
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    test().runTest()
    return ends


@pytest.mark.soak
@pytest.mark.usefixtures("everything_loaded")
def test_z10_any_history_of_the_programme_keeps_every_sum_alike_on_both_engines(shared_databases):
    examples = 200 if SOAK else 6
    on_sqlite = play(shared_databases("sqlite"), examples)
    on_postgresql = play(shared_databases("postgresql"), examples)
    assert len(on_sqlite) >= examples
    assert on_sqlite == on_postgresql


def test_the_machine_would_notice_points_that_are_not_there(shared_databases, monkeypatch):
    monkeypatch.setenv("TAEM_TESTING", "1")
    monkeypatch.setenv("TAEM_SABOTAGE", "points.overdraw")
    with pytest.raises((AssertionError, BaseExceptionGroup, pytest.fail.Exception)):
        play(shared_databases("sqlite"), 10)
