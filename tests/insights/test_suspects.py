"""A seeded month: the rules find the thief and leave the honest alone (faults 2.1, 2.2)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from insights import suspects
from loyalty import audit, points, purchases
from models.members import MemberState
from models.purchases import Purchase, PurchaseState
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture
def branch(session):
    return factories.make_branch(session)


@pytest.fixture
def till(session, branch):
    """`till(cashier, member, baht, days_ago=, hour=)` writes a bill down."""
    numbers = iter(range(10_000))

    def record(cashier, member, baht, *, days_ago=1, hour=12, is_void=False):
        at = (NOW - timedelta(days=days_ago)).astimezone(BANGKOK).replace(hour=hour)
        session.add(
            Purchase(
                public_id=f"p{next(numbers)}", member_id=member.id, branch_id=branch.id,
                operation_id=f"o{next(numbers)}", local_on=at.date(), purchased_at=at,
                recorded_at=at, amount_satang=baht * 100, points=baht // 25, carry_delta=0,
                cashier_id=cashier.id,
                state=PurchaseState.VOIDED if is_void else PurchaseState.RECORDED,
            )
        )  # fmt: skip
        session.flush()

    return record


@pytest.fixture
def nok(session, till):
    """An honest month: forty bills of twenty members, one voided."""
    nok = factories.nok(session)
    people = [factories.make_member(session, f"m{number}") for number in range(20)]
    for number in range(40):
        till(nok, people[number % 20], 85 + number, days_ago=1 + number % 25, is_void=number == 7)
    return nok


@pytest.fixture
def thief(session, branch):
    return factories.nok(session, branch=branch)


def found(session):
    session.flush()
    return {
        one.id: {flag.kind: flag.facts for flag in one.flags}
        for one in suspects.cashiers(session, NOW, NOW, BANGKOK)
    }


def test_ak1_finds_who_feeds_one_account_and_leaves_the_honest_alone(session, till, nok, thief):
    friend = factories.make_member(session, "เพื่อน")
    others = [factories.make_member(session, f"o{number}") for number in range(15)]
    for number, member in enumerate(others):
        till(thief, member, 97, days_ago=1 + number)
    for number in range(12):
        till(thief, friend, 99, days_ago=1 + number // 6)
    flags = found(session)
    assert set(flags) == {thief.id}
    assert flags[thief.id]["favourite"] == {"member": "เพื่อน", "bills": 12, "percent": 44}
    assert flags[thief.id]["often"] == {"member": "เพื่อน", "bills": 6, "days": 2}


def test_ak1_a_regular_with_three_bills_a_day_is_no_thief(session, till, nok):
    regular = factories.make_member(session, "ขาประจำ")
    for number in range(6):
        till(nok, regular, 60, days_ago=1 + number // 3)
    assert found(session) == {}
    assert suspects.members(session, NOW, BANGKOK) == []


def test_ak4_finds_who_voids_far_more_than_the_others(session, till, nok, thief):
    people = [factories.make_member(session, f"o{number}") for number in range(20)]
    for number, member in enumerate(people):
        till(thief, member, 87 + number, days_ago=1 + number, is_void=number < 4)
    assert found(session) == {thief.id: {"voids": {"voids": 4, "bills": 20, "percent": 20}}}


def test_ak2_finds_invented_round_amounts(session, till, nok, thief):
    people = [factories.make_member(session, f"o{number}") for number in range(20)]
    for number, member in enumerate(people):
        till(thief, member, 500 if number < 15 else 85, days_ago=1 + number)
    assert found(session)[thief.id]["rounds"]["percent"] == 75


def test_finds_bills_at_night_by_the_shops_clock(session, till, nok, thief):
    people = [factories.make_member(session, f"o{number}") for number in range(20)]
    for number, member in enumerate(people):
        till(thief, member, 87, days_ago=1 + number, hour=(5, 22, 23)[number] if number < 3 else 6)
    assert found(session) == {thief.id: {"nights": {"bills": 3}}}


def test_ak9_finds_who_looks_many_phones_up(session, nok):
    for number in range(61):
        audit.record(session, f"cashier:{nok.id}", "members.looked_up", {"n": number}, NOW)
    assert found(session) == {nok.id: {"look_ups": {"count": 61}}}


def test_a_few_bills_accuse_nobody(session, till, thief):
    friend = factories.make_member(session, "เพื่อน")
    for number in range(3):
        till(thief, friend, 500, days_ago=1 + number, is_void=True)
    assert found(session) == {}


def test_last_month_is_over(session, till, nok, thief):
    friend = factories.make_member(session, "เพื่อน")
    for _ in range(25):
        till(thief, friend, 500, days_ago=31)
    assert found(session) == {}


def test_ac6_finds_members_whose_bills_come_back(session, till, nok):
    returner = factories.make_member(session, "คืนบ่อย")
    for number in range(5):
        till(nok, returner, 90, days_ago=1 + number, is_void=number < 3)
    one = suspects.members(session, NOW, BANGKOK)[0]
    assert (one.name, one.flags[0].kind, one.flags[0].facts) == (
        "คืนบ่อย",
        "returns",
        {"returns": 3, "bills": 5},
    )


def test_ac6_finds_members_who_used_points_of_returned_bills(session, branch):
    somchai = factories.somchai(session)
    bought = purchases.record_purchase(
        session, member_id=somchai.id, branch=branch, amount_satang=25_000, operation_id="1",
        now=NOW, tz=BANGKOK,
    )  # fmt: skip
    points.burn(session, somchai.id, 8, source="v", source_id="1", now=NOW)
    purchases.return_purchase(
        session, purchase_public_id=bought.purchase.public_id, operation_id="2", now=NOW, tz=BANGKOK
    )
    (one,) = suspects.members(session, NOW, BANGKOK)
    assert [(flag.kind, flag.facts) for flag in one.flags] == [("debt", {"points": 8})]
    somchai.state, somchai.line_user_id = MemberState.ERASED, None
    session.flush()
    assert suspects.members(session, NOW, BANGKOK) == []
