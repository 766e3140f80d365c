"""Bills: what they earn, which are refused, and what a void or part return takes back."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import func, select

from core.errors import Invalid, NotFound, Refused
from loyalty import points, proof, purchases
from models.activities import Activity
from models.purchases import Purchase, PurchaseState
from tests import factories
from tests.moments import BANGKOK, NOW

#: The last moment of 22 November 2026 in Bangkok, and the first of the 23rd.
LAST = datetime(2026, 11, 22, 16, 59, 59, 999000, tzinfo=UTC)
FIRST = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


def refusal_of(call, *arguments, **facts):
    with pytest.raises(Refused) as refusal:
        call(*arguments, **facts)
    return refusal.value


def kinds(session, member):
    session.flush()
    mine = select(Activity.kind).where(Activity.member_id == member.id)
    return list(session.scalars(mine.order_by(Activity.id)))


def test_earns_ten_points_for_250_baht(session, till, somchai):
    bought = till.buy(somchai, 250)
    assert (bought.points, bought.carry_satang) == (10, 0)
    assert (bought.balance, bought.available) == (10, 10)
    assert bought.member_no == somchai.member_no


def test_carries_the_rest_to_the_next_bill(till, somchai):
    assert till.buy(somchai, 24).points == 0
    second = till.buy(somchai, 2)
    assert (second.points, second.carry_satang) == (1, 100)


def test_marks_only_the_first_bill_as_first(till, somchai):
    assert till.buy(somchai, 100).is_first
    assert not till.buy(somchai, 100).is_first


def test_tells_the_timeline(session, till, somchai):
    bought = till.buy(somchai, 250)
    session.flush()
    told = session.scalars(select(Activity).where(Activity.kind == "purchases.recorded")).one()
    assert told.facts == {
        "purchase_id": bought.purchase.id,
        "amount_satang": 25000,
        "points": 10,
        "branch": "สยาม",
        "branch_en": "Siam",
        "branch_code": "siam",
        "is_first": True,
    }


def test_keeps_running_totals(session, till, somchai):
    for day in (0, 10, 12, 20, 20):
        till.buy(somchai, 100, now=NOW + timedelta(days=day))
    totals = somchai.totals
    assert (totals.purchase_count, totals.spent_satang) == (5, 50_000)
    assert totals.first_purchase_at == NOW
    assert totals.last_purchase_at == NOW + timedelta(days=20)
    assert totals.purchase_days == ["2026-12-12", "2026-12-04", "2026-12-02", "2026-11-22"]
    assert (totals.purchase_day_count, totals.own_gap_days) == (4, 8.0)


def test_own_gap_is_unknown_below_four_days():
    assert purchases.own_gap(["2026-11-22", "2026-11-20", "2026-11-10"]) is None
    assert purchases.own_gap(["2026-11-22", "2026-11-20", "2026-11-10", "2026-11-01"]) == 9.0


def test_remembers_the_last_ten_days_only(till, somchai):
    for day in range(12):
        till.buy(somchai, 10, now=NOW + timedelta(days=day))
    assert len(somchai.totals.purchase_days) == 10
    assert somchai.totals.purchase_day_count == 12


def test_a_late_bill_of_a_forgotten_day_counts_once(till, somchai):
    for day in range(12):
        till.buy(somchai, 10, now=NOW + timedelta(days=day))
    later = NOW + timedelta(days=12)
    till.buy(somchai, 10, now=later, purchased_at=NOW)  # a day with a bill already
    assert somchai.totals.purchase_day_count == 12
    till.buy(somchai, 10, now=later, purchased_at=NOW - timedelta(days=3))
    assert somchai.totals.purchase_day_count == 13
    assert somchai.totals.first_purchase_at == NOW - timedelta(days=3)


# Bill numbers


def test_fq13_same_bill_number_earns_once_per_branch_and_day(session, till, somchai):
    first = till.buy(somchai, 250, receipt_no="00a-17")
    refused = refusal_of(till.buy, somchai, 250, receipt_no=" A-17 ")
    assert refused.code == "purchases.already_recorded"
    assert refused.facts == {"id": first.purchase.public_id, "points": 10}
    assert points.balance_of(session, somchai.id, NOW).balance == 10


def test_fq13_same_number_at_another_branch_or_day_is_another_bill(session, till, somchai):
    till.buy(somchai, 250, receipt_no="17")
    ari = factories.make_branch(session, "ari", name_th="อารีย์", name_en="Ari")
    till.buy(somchai, 250, receipt_no="17", branch=ari)
    till.buy(somchai, 250, receipt_no="17", now=NOW + timedelta(days=1))
    assert points.balance_of(session, somchai.id, NOW).balance == 30


def test_fs04_day_of_a_bill_changes_at_midnight_in_bangkok(session, till, somchai):
    till.buy(somchai, 100, receipt_no="1", now=LAST)
    assert refusal_of(till.buy, somchai, 100, receipt_no="1", now=LAST)
    bought = till.buy(somchai, 100, receipt_no="1", now=FIRST)
    assert bought.purchase.local_on == date(2026, 11, 23)
    assert somchai.totals.purchase_days == ["2026-11-23", "2026-11-22"]


def test_bills_without_a_number_never_collide(till, somchai):
    assert till.buy(somchai, 100).points == 4
    assert till.buy(somchai, 100).points == 4


def test_same_operation_is_recorded_once(till, somchai):
    till.buy(somchai, 75)
    bought = till.buy(somchai, 100, operation_id="device:1:x")
    refused = refusal_of(till.buy, somchai, 100, operation_id="device:1:x")
    assert refused.code == "purchases.already_recorded"
    # Of the bills without a number that day it is this one.
    assert refused.facts == {"id": bought.purchase.public_id, "points": 4}


# Refusals


def test_refuses_a_friend_who_has_not_joined(session, till):
    assert refusal_of(till.buy, factories.friend(session), 100).code == "members.not_joined"


def test_refuses_the_cashiers_own_account(session, till, somchai):
    nok = factories.nok(session)
    nok.member_id = somchai.id
    session.flush()
    refused = refusal_of(till.buy, somchai, 100, cashier_id=nok.id)
    assert (refused.code, refused.status) == ("cashiers.own_account", 403)


@pytest.mark.parametrize("baht", [0, -1])
def test_refuses_an_amount_that_is_none(till, somchai, baht):
    with pytest.raises(Invalid):
        till.buy(somchai, baht)


def test_refuses_an_amount_beyond_any_bill(till, somchai):
    assert refusal_of(till.buy, somchai, 10_000_001).code == "limits.over"


def test_refuses_a_bill_from_the_future(till, somchai):
    with pytest.raises(Invalid):
        till.buy(somchai, 100, purchased_at=NOW + timedelta(minutes=6))


def test_till_software_may_be_a_week_late(session, till, somchai):
    key = make_key(session)
    week = timedelta(days=7)
    till.buy(somchai, 100, api_key_id=key, purchased_at=NOW - week)
    late = NOW - week - timedelta(seconds=1)
    refused = refusal_of(till.buy, somchai, 100, api_key_id=key, purchased_at=late)
    assert refused.code == "purchases.too_old"


def make_key(session):
    from models.staff import ApiKey

    key = ApiKey(name="pos", key_hash="hash", scopes=[], created_at=NOW)
    session.add(key)
    session.flush()
    return key.id


def test_a_refusal_leaves_nothing_behind(session, till, somchai):
    till.buy(somchai, 100, receipt_no="1")
    before = kinds(session, somchai)
    refusal_of(till.buy, somchai, 100, receipt_no="1")
    assert kinds(session, somchai) == before
    assert session.scalar(select(func.count()).select_from(Purchase)) == 1
    assert proof.check_all(session, NOW) == []


# Voids


def test_void_takes_everything_back(session, till, somchai):
    bought = till.buy(somchai, 260)
    undone = till.give_back(bought)
    assert (undone.points, undone.balance, undone.debt) == (10, 0, 0)
    totals = somchai.totals
    assert (totals.purchase_count, totals.spent_satang, totals.carry_satang) == (0, 0, 0)
    assert (totals.purchase_days, totals.first_purchase_at) == ([], None)
    assert bought.purchase.state == PurchaseState.VOIDED
    assert "purchases.returned" in kinds(session, somchai)


def test_void_lowers_the_carry_by_what_the_bill_had_added(till, somchai):
    first = till.buy(somchai, 24)
    second = till.buy(somchai, 2)
    till.give_back(first)
    assert somchai.totals.carry_satang == 100 - 2400
    assert till.buy(somchai, 25).points == 0
    till.give_back(second)
    assert somchai.totals.carry_satang == 2500 - 2300 + 2300


def test_fg05_void_happens_once(session, till, somchai):
    bought = till.buy(somchai, 250)
    till.give_back(bought)
    assert refusal_of(till.give_back, bought).code == "purchases.already_voided"
    assert points.balance_of(session, somchai.id, NOW).balance == 0


def test_void_of_spent_points_shows_the_debt(till, somchai, burn):
    bought = till.buy(somchai, 250)
    burn(somchai, 6)
    undone = till.give_back(bought)
    assert (undone.points, undone.balance, undone.available, undone.debt) == (10, -6, 0, 6)


def test_next_purchase_is_first_again_after_a_void(till, somchai):
    till.give_back(till.buy(somchai, 100))
    assert till.buy(somchai, 100).is_first


def test_cashier_voids_their_own_bill_for_ten_minutes(session, till, somchai):
    nok = factories.nok(session)
    on_time = till.buy(somchai, 100, cashier_id=nok.id)
    till.give_back(on_time, cashier_id=nok.id, now=NOW + timedelta(minutes=10))
    late = till.buy(somchai, 100, cashier_id=nok.id)
    after = NOW + timedelta(minutes=10, seconds=1)
    refused = refusal_of(till.give_back, late, cashier_id=nok.id, now=after)
    assert (refused.code, refused.status) == ("purchases.needs_manager", 403)


def test_somebody_elses_bill_needs_a_manager(session, till, somchai):
    nok, other = factories.nok(session), factories.nok(session)
    prem = factories.prem(session)
    bought = till.buy(somchai, 100, cashier_id=nok.id)
    assert refusal_of(till.give_back, bought, cashier_id=other.id).status == 403
    assert till.give_back(bought, cashier_id=other.id, staff_id=prem.id).points == 4


def test_pin_of_a_manager_voids_at_any_time(session, till, somchai):
    nok, boss = factories.nok(session), factories.nok(session)
    prem = factories.prem(session)
    boss.staff_id = prem.id
    session.flush()
    bought = till.buy(somchai, 100, cashier_id=nok.id)
    later = NOW + timedelta(days=1)
    prem.is_active = False
    assert refusal_of(till.give_back, bought, cashier_id=boss.id, now=later).status == 403
    prem.is_active = True
    assert till.give_back(bought, cashier_id=boss.id, now=later).points == 4


def test_unknown_bill_is_not_found(session, till):
    with pytest.raises(NotFound):
        purchases.return_purchase(
            session, purchase_public_id="nothing", operation_id="x", now=NOW, tz=BANGKOK
        )


# Part returns


def test_fg07_keeps_the_floor_of_what_stays_bought(till, somchai):
    bought = till.buy(somchai, 1000)
    assert till.give_back(bought, 333).points == 40 - 26
    assert till.give_back(bought, 333).points == 26 - 13
    last = till.give_back(bought, 334)
    assert (last.points, last.balance) == (13, 0)
    assert bought.purchase.state == PurchaseState.VOIDED


def test_fg07_part_returns_never_exceed_the_bill(till, somchai):
    bought = till.buy(somchai, 100)
    till.give_back(bought, 60)
    assert refusal_of(till.give_back, bought, 41).code == "purchases.returned_too_much"
    with pytest.raises(Invalid):
        till.give_back(bought, 0)


def test_part_return_keeps_the_purchase_day(till, somchai):
    bought = till.buy(somchai, 100)
    till.give_back(bought, 50)
    totals = somchai.totals
    assert (totals.purchase_count, totals.spent_satang) == (1, 5000)
    assert bought.purchase.state == PurchaseState.PARTLY_RETURNED


def test_part_returns_give_their_share_of_the_carry_back(till, somchai):
    bought = till.buy(somchai, 24)
    till.give_back(bought, 12)
    assert somchai.totals.carry_satang == 1200
    till.give_back(bought)
    assert somchai.totals.carry_satang == 0


def test_fg03_same_return_operation_takes_back_once(session, till, somchai):
    bought = till.buy(somchai, 1000)
    till.give_back(bought, 100, operation_id="device:1:r")
    refused = refusal_of(till.give_back, bought, 100, operation_id="device:1:r")
    assert refused.code == "operations.already_recorded"
    assert points.balance_of(session, somchai.id, NOW).balance == 36


def test_figures_prove_true_after_a_long_day(session, till, somchai, burn):
    bills = [till.buy(somchai, 37 * number, receipt_no=str(number)) for number in range(1, 8)]
    burn(somchai, 20)
    till.give_back(bills[6])
    till.give_back(bills[5], 50)
    assert proof.check_all(session, NOW) == []


def test_check_finds_a_wrong_sum_of_bills(session, till, somchai):
    till.buy(somchai, 100)
    somchai.totals.spent_satang += 1
    found = proof.check_all(session, NOW)
    assert found == [points.Difference("purchases.spent", somchai.id, 10_000, 10_001)]
