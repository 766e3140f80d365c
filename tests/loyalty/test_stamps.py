"""Stamp cards: giving, filling, prizes, limits, and taking back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from loyalty import proof, stamps
from loyalty.purchases import BillItem
from models.coupons import CouponKind, Obtained, VoucherState
from models.stamps import CardExpiry, CardState, StampCard, StampPrize, StampRule
from tests import factories
from tests.moments import BANGKOK, NOW

LAST = datetime(2026, 11, 22, 16, 59, 59, 999000, tzinfo=UTC)
FIRST = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


@pytest.fixture
def prize(session):
    return factories.make_coupon(session, "free_coffee", obtained=Obtained.STAMPS)


@pytest.fixture
def program(session, prize):
    return factories.make_stamp_program(session, size=3, prize=prize)


@pytest.fixture
def per_baht(session, prize):
    return factories.make_stamp_program(
        session, size=10, prize=prize, rule=StampRule.PER_AMOUNT, unit_satang=5000
    )


def cards(session, member):
    session.flush()
    mine = select(StampCard).where(StampCard.member_id == member.id).order_by(StampCard.ordinal)
    return [(card.filled, card.state) for card in session.scalars(mine)]


def test_stamps_once_a_visit(session, till, somchai, program):
    bought = till.buy(somchai, 60)
    assert bought.stamps == 1
    assert cards(session, somchai) == [(1, CardState.OPEN)]
    assert (bought.cards[0].filled, bought.cards[0].size) == (1, 3)


def test_small_bills_may_not_count_as_a_visit(till, somchai, program):
    program.unit_satang = 5000
    assert till.buy(somchai, 49.99).stamps == 0
    assert till.buy(somchai, 50).stamps == 1


def test_same_cause_stamps_once(session, till, somchai, program):
    for _ in range(2):
        stamps.give_stamps(
            session, somchai.id, branch=till.branch, amount_satang=100, source="staff",
            source_id="1", now=NOW, tz=BANGKOK,
        )  # fmt: skip
    assert cards(session, somchai) == [(1, CardState.OPEN)]


def test_full_card_gives_the_prize_and_opens_the_next(session, till, somchai, program, prize):
    results = [till.buy(somchai, 60) for _ in range(3)]
    assert [len(result.vouchers_issued) for result in results] == [0, 0, 1]
    assert results[2].vouchers_issued[0].coupon_id == prize.id
    assert cards(session, somchai) == [(3, CardState.FULL), (0, CardState.OPEN)]


def test_left_over_stamps_move_on(session, till, somchai, per_baht):
    bought = till.buy(somchai, 1150)
    assert bought.stamps == 23
    assert len(bought.vouchers_issued) == 2
    assert [filled for filled, _ in cards(session, somchai)] == [10, 10, 3]


def test_prizes_on_the_way(session, till, somchai, program):
    cookie = factories.make_coupon(session, "cookie", obtained=Obtained.STAMPS)
    session.add(StampPrize(program_id=program.id, at_stamp=2, coupon_id=cookie.id))
    till.buy(somchai, 60)
    assert [v.coupon_id for v in till.buy(somchai, 60).vouchers_issued] == [cookie.id]


def test_card_fills_even_when_the_prize_has_ended(session, till, somchai, program, prize):
    prize.ends_at = NOW
    for _ in range(4):
        till.buy(somchai, 60)
    assert [filled for filled, _ in cards(session, somchai)] == [3, 1]


def test_counts_items_of_the_sku(session, till, somchai, program):
    program.rule = StampRule.PER_ITEM
    program.sku = "LATTE"
    items = [BillItem("LATTE", 2, 12000), BillItem("CAKE", 1, 9000)]
    assert till.buy(somchai, 210, items=items).stamps == 2


def test_fs04_daily_limit_changes_at_midnight_in_bangkok(session, till, somchai, program):
    program.daily_limit = 1
    assert [till.buy(somchai, 60, now=LAST).stamps for _ in range(2)] == [1, 0]
    assert till.buy(somchai, 60, now=FIRST).stamps == 1


def test_daily_limit_cuts_a_big_bill(till, somchai, per_baht):
    per_baht.daily_limit = 4
    assert till.buy(somchai, 150).stamps == 3
    assert till.buy(somchai, 150).stamps == 1


def test_other_branches_give_no_stamp(session, till, somchai, program):
    program.branches = "ari"
    assert till.buy(somchai, 60).stamps == 0
    program.branches = "ari siam"
    assert till.buy(somchai, 60).stamps == 1


def test_programme_runs_only_on_its_days(till, somchai, program):
    program.starts_on = NOW.date() + timedelta(days=1)
    assert till.buy(somchai, 60).stamps == 0
    program.starts_on, program.ends_on = None, NOW.date() - timedelta(days=1)
    assert till.buy(somchai, 60).stamps == 0


def test_card_under_way_finishes_under_its_own_version(session, till, somchai, program, prize):
    till.buy(somchai, 60)
    program.is_current = False
    session.flush()
    factories.make_stamp_program(session, size=5, prize=prize, version=2)
    bought = [till.buy(somchai, 60) for _ in range(2)]
    assert bought[1].vouchers_issued
    view = stamps.cards_of(session, somchai.id)[0]
    assert (view.filled, view.size) == (0, 5)


def test_member_without_stamps_sees_an_empty_card(session, somchai, program, prize):
    view = stamps.cards_of(session, somchai.id)[0]
    assert (view.card, view.filled, view.size, view.goal) == (None, 0, 3, prize)


# Expiry


def test_card_expires_from_its_first_stamp(session, till, somchai, program):
    program.expiry, program.expiry_days = CardExpiry.FROM_FIRST, 30
    till.buy(somchai, 60)
    till.buy(somchai, 60, now=NOW + timedelta(days=20))
    end = datetime(2026, 12, 22, 17, 0, tzinfo=UTC)
    assert stamps.cards_of(session, somchai.id, end - timedelta(microseconds=1))[0].filled == 2
    assert stamps.cards_of(session, somchai.id, end)[0].filled == 0
    till.buy(somchai, 60, now=end)
    assert cards(session, somchai) == [(2, CardState.EXPIRED), (1, CardState.OPEN)]


def test_card_expires_from_its_last_stamp(session, till, somchai, program):
    program.expiry, program.expiry_days = CardExpiry.FROM_LAST, 30
    till.buy(somchai, 60)
    till.buy(somchai, 60, now=NOW + timedelta(days=20))
    assert stamps.expire_cards(session, NOW + timedelta(days=50), 10) == 0
    assert stamps.expire_cards(session, NOW + timedelta(days=52), 10) == 1
    assert stamps.expire_cards(session, NOW + timedelta(days=52), 10) == 0


# Taking back


def test_void_takes_the_stamp_back(session, till, somchai, program):
    bought = till.buy(somchai, 60)
    assert till.give_back(bought).stamps == 1
    assert cards(session, somchai) == [(0, CardState.OPEN)]
    assert proof.check_all(session, NOW) == []


def test_void_takes_an_unused_prize_back(session, till, somchai, program):
    results = [till.buy(somchai, 60) for _ in range(3)]
    undone = till.give_back(results[2])
    assert undone.vouchers_voided == results[2].vouchers_issued
    assert undone.vouchers_voided[0].state == VoucherState.VOID
    assert [filled for filled, _ in cards(session, somchai)] == [2]
    assert proof.check_all(session, NOW) == []


def test_card_gives_its_prize_again_after_a_void(session, till, somchai, program):
    results = [till.buy(somchai, 60) for _ in range(3)]
    till.give_back(results[2])
    again = till.buy(somchai, 60)
    assert len(again.vouchers_issued) == 1
    assert cards(session, somchai)[-1] == (0, CardState.OPEN)


def test_used_prize_stays_and_the_card_stays_closed(session, till, somchai, program):
    results = [till.buy(somchai, 60) for _ in range(3)]
    till.redeem(results[2].vouchers_issued[0])
    undone = till.give_back(results[2])
    assert (undone.stamps, undone.vouchers_voided) == (1, ())
    assert cards(session, somchai) == [(2, CardState.FULL), (0, CardState.OPEN)]
    assert proof.check_all(session, NOW) == []


def test_prize_used_in_part_stays_and_the_card_stays_closed(session, till, somchai):
    cash = factories.make_coupon(
        session,
        "cash",
        kind=CouponKind.CASH,
        value_satang=10_000,
        keeps_change=True,
        obtained=Obtained.STAMPS,
    )
    factories.make_stamp_program(session, size=3, prize=cash)
    results = [till.buy(somchai, 60) for _ in range(3)]
    till.redeem(results[2].vouchers_issued[0], 30)
    undone = till.give_back(results[2])
    assert (undone.stamps, undone.vouchers_voided) == (1, ())
    assert cards(session, somchai) == [(2, CardState.FULL), (0, CardState.OPEN)]
    assert till.buy(somchai, 60).vouchers_issued == ()
    assert proof.check_all(session, NOW) == []


def test_a_prize_used_meanwhile_is_not_told_a_second_time(session, till, somchai, program):
    cookie = factories.make_coupon(session, "cookie", obtained=Obtained.STAMPS)
    session.add(StampPrize(program_id=program.id, at_stamp=2, coupon_id=cookie.id))
    results = [till.buy(somchai, 60) for _ in range(2)]
    till.redeem(results[1].vouchers_issued[0])
    till.give_back(results[1])
    again = till.buy(somchai, 60)
    assert (again.cards[0].filled, again.vouchers_issued) == (2, ())


def test_later_stamps_keep_an_earlier_card_full(session, till, somchai, program):
    results = [till.buy(somchai, 60) for _ in range(5)]
    undone = till.give_back(results[0])
    assert undone.vouchers_voided == ()
    assert cards(session, somchai) == [(3, CardState.FULL), (1, CardState.OPEN)]
    assert proof.check_all(session, NOW) == []


def test_void_of_a_bill_that_filled_two_cards(session, till, somchai, per_baht):
    till.buy(somchai, 100)
    big = till.buy(somchai, 1150)
    assert [filled for filled, _ in cards(session, somchai)] == [10, 10, 5]
    undone = till.give_back(big)
    assert (undone.stamps, len(undone.vouchers_voided)) == (23, 2)
    assert cards(session, somchai) == [(2, CardState.OPEN)]
    assert proof.check_all(session, NOW) == []


def test_part_return_takes_per_baht_stamps_in_proportion(session, till, somchai, per_baht):
    bought = till.buy(somchai, 300)
    assert till.give_back(bought, 100).stamps == 2
    assert till.give_back(bought, 1).stamps == 1
    assert till.give_back(bought).stamps == 3
    assert cards(session, somchai) == [(0, CardState.OPEN)]


def test_part_return_leaves_the_stamp_of_a_visit(session, till, somchai, program):
    bought = till.buy(somchai, 300)
    assert till.give_back(bought, 100).stamps == 0
    assert till.give_back(bought).stamps == 1


def test_prize_on_the_way_survives_a_merge_of_cards(session, till, somchai, program):
    cookie = factories.make_coupon(session, "cookie", obtained=Obtained.STAMPS)
    session.add(StampPrize(program_id=program.id, at_stamp=2, coupon_id=cookie.id))
    results = [till.buy(somchai, 60) for _ in range(3)]
    till.give_back(results[2])
    undone = till.give_back(results[1])
    assert [voucher.coupon_id for voucher in undone.vouchers_voided] == [cookie.id]
    assert cards(session, somchai) == [(1, CardState.OPEN)]
    assert proof.check_all(session, NOW) == []


def test_void_after_its_card_has_ended_takes_stamp_and_prize_back(session, till, somchai, program):
    program.expiry, program.expiry_days = CardExpiry.FROM_FIRST, 30
    cookie = factories.make_coupon(session, "cookie", obtained=Obtained.STAMPS)
    session.add(StampPrize(program_id=program.id, at_stamp=2, coupon_id=cookie.id))
    results = [till.buy(somchai, 60) for _ in range(2)]
    ended = NOW + timedelta(days=31)
    stamps.expire_cards(session, ended, 10)
    undone = till.give_back(results[0], now=ended)
    assert (undone.stamps, undone.vouchers_voided) == (1, results[1].vouchers_issued)
    assert cards(session, somchai) == [(1, CardState.EXPIRED)]
    assert proof.check_all(session, NOW) == []


def test_stamps_of_a_card_that_has_ended_fill_no_other(session, till, somchai, program, prize):
    program.expiry, program.expiry_days = CardExpiry.FROM_FIRST, 30
    results = [till.buy(somchai, 60) for _ in range(5)]
    ended = NOW + timedelta(days=31)
    stamps.expire_cards(session, ended, 10)
    till.give_back(results[4], now=ended)
    till.give_back(results[0], now=ended)
    assert cards(session, somchai) == [(2, CardState.OPEN), (1, CardState.EXPIRED)]
    assert proof.check_all(session, NOW) == []


def test_check_finds_a_card_that_counts_wrong(session, till, somchai, program):
    till.buy(somchai, 60)
    card = session.scalars(select(StampCard).where(StampCard.member_id == somchai.id)).one()
    card.filled = 2
    assert [found.what for found in proof.check_all(session, NOW)] == ["stamps.filled"]
