"""What a cashier may give alone, whose PIN lifts it, and who is one's own customer (K5, AK1, AK2)."""

from __future__ import annotations

from datetime import timedelta
from itertools import count

import pytest
from sqlalchemy import select

from core.errors import Refused
from loyalty import ceilings, checkout, undoing
from models.members import Member
from models.purchases import Approval
from models.staff import AuditRow, Role
from tests import factories
from tests.moments import BANGKOK, NOW

LIMITS = {"operation": 100_00, "shift": 250_00, "day": 400_00}
_taps = count(1)


@pytest.fixture
def cashier(session):
    factories.make_policy(session)
    ceilings.set_ceilings(session, "cashier", LIMITS, NOW)
    return factories.nok(session)


@pytest.fixture
def manager(session, cashier):
    manager = factories.nok(session)
    manager.is_manager = True
    session.flush()
    return manager


@pytest.fixture
def ring(session, cashier, somchai):
    """`ring(100)` is a bill of 100 baht by the cashier, alone unless a manager is named."""

    def confirm(baht, *, now=NOW, shift_from=NOW, manager=None, member=None):
        return checkout.confirm(
            session,
            member_id=(member or somchai).id,
            branch=factories.make_branch(session),
            holder="device:1",
            bill_satang=round(baht * 100),
            operation_id=f"device:1:{next(_taps)}",
            now=now,
            real_now=now,
            tz=BANGKOK,
            cashier_id=cashier.id,
            shift_from=shift_from,
            manager_id=manager.id if manager else None,
        )

    return confirm


def refusal(act, *given, **more) -> Refused:
    with pytest.raises(Refused) as caught:
        act(*given, **more)
    return caught.value


def test_fq12_one_bill_at_the_ceiling_and_one_satang_above(ring):
    ring(99.99)
    ring(100)
    over = refusal(ring, 100.01)
    assert (over.code, over.facts["over"], over.facts["ceiling"]) == (
        "limits.over", "operation", "100",
    )  # fmt: skip


def test_fq12_shift_at_the_ceiling_and_one_satang_above(ring):
    ring(100)
    ring(100)
    assert refusal(ring, 50.01).facts["over"] == "shift"
    ring(50)
    assert refusal(ring, 0.01).facts["over"] == "shift"


def test_fq12_day_at_the_ceiling_counts_over_shifts_until_midnight(ring):
    for _ in range(2):
        ring(100)
    later = NOW + timedelta(hours=1)
    for _ in range(2):
        ring(100, now=later, shift_from=later)
    assert refusal(ring, 0.01, now=later, shift_from=later).facts["over"] == "day"
    tomorrow = NOW + timedelta(days=1)
    ring(100, now=tomorrow, shift_from=tomorrow)


def test_k5_manager_allows_exactly_one_bill(ring, manager, session, cashier):
    ring(500, manager=manager)
    approval = session.scalars(select(Approval)).one()
    assert (approval.manager_id, approval.cashier_id, approval.over, approval.amount_satang) == (
        manager.id, cashier.id, "operation", 50_000,
    )  # fmt: skip
    row = session.scalars(select(AuditRow).where(AuditRow.act == "approvals.given")).one()
    assert (row.facts["manager"], row.facts["cashier"]) == (manager.id, cashier.id)
    assert refusal(ring, 500).code == "limits.over"
    ring(100)  # what was allowed does not count as the cashier's own


def test_k5_a_managers_pin_that_was_not_needed_leaves_no_approval(ring, manager, session):
    ring(50, manager=manager)
    assert session.scalars(select(Approval)).all() == []


def test_what_was_voided_is_free_again(ring, session, till):
    first = ring(100)
    ring(100)
    till.give_back(first.purchase)
    ring(100)
    assert refusal(ring, 100).facts["over"] == "shift"


def test_ceilings_of_a_branch_come_before_those_of_the_shop(ring, session):
    ceilings.set_ceilings(session, "cashier", {"operation": 5_000}, NOW, "siam")
    assert refusal(ring, 50.01).facts["ceiling"] == "50"
    ceilings.set_ceilings(session, "cashier", {}, NOW, "siam")
    ring(100)
    assert ceilings.ceilings_for(session, "cashier", "siam").operation == 10_000


def test_manager_has_ceilings_too(ring, session, cashier):
    cashier.is_manager = True
    session.flush()
    ceilings.set_ceilings(session, "manager", {**LIMITS, "operation": 200_00}, NOW)
    ring(200)
    assert refusal(ring, 200.01).facts["over"] == "operation"


def test_whose_pin_is_a_managers(session, cashier, manager):
    owner = factories.prem(session, role=Role.OWNER)
    linked = factories.nok(session)
    linked.staff_id = owner.id
    session.flush()
    assert not undoing.is_manager(session, cashier.id)
    assert undoing.is_manager(session, manager.id)
    assert undoing.is_manager(session, linked.id)
    owner.is_active = False
    manager.is_active = False
    session.flush()
    assert not undoing.is_manager(session, linked.id)
    assert not undoing.is_manager(session, manager.id)


def test_k5_only_another_manager_of_the_same_branch_approves(session, cashier, manager):
    elsewhere = factories.nok(session, branch=factories.make_branch(session, "ari"))
    elsewhere.is_manager = True
    session.flush()
    assert refusal(ceilings.refuse_approver, session, None, cashier).code == "approvals.not_manager"
    assert (
        refusal(ceilings.refuse_approver, session, elsewhere, cashier).code
        == "approvals.not_manager"
    )
    assert refusal(ceilings.refuse_approver, session, manager, manager).code == "approvals.own_pin"
    assert ceilings.refuse_approver(session, manager, cashier) is manager


def test_fq11_own_account_is_refused_even_with_a_managers_pin(ring, session, cashier, manager):
    own = factories.malee(session)
    cashier.member_id = own.id
    session.flush()
    assert refusal(ring, 50, member=own).code == "cashiers.own_account"
    assert refusal(ring, 500, member=own, manager=manager).code == "cashiers.own_account"


def test_fq11_managers_own_account_is_refused_too(ring, session, manager):
    own = factories.malee(session)
    manager.member_id = own.id
    session.flush()
    assert refusal(ring, 500, member=own, manager=manager).code == "cashiers.own_account"


def test_fq11_another_account_with_the_same_phone_is_ones_own(ring, session, cashier):
    own, other = factories.malee(session), factories.make_member(session, "สอง")
    own.phone_index = other.phone_index = "f" * 64
    cashier.member_id = own.id
    session.flush()
    assert refusal(ring, 50, member=other).code == "cashiers.own_account"


def test_fq11_an_account_merged_away_is_still_ones_own(ring, session, cashier, somchai):
    gone = factories.malee(session)
    gone.merged_into_id = session.get_one(Member, somchai.id).id
    cashier.member_id = gone.id
    session.flush()
    assert refusal(ring, 50).code == "cashiers.own_account"
