"""Offers, claims, rewards, discounts, and vouchers that are used and given back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, func, select

from core.clock import local_day
from core.errors import NotFound, Refused
from loyalty import checkout, codes, coupons, earn_rules, points, proof
from models.activities import Activity
from models.coupons import (
    CodeTry,
    Coupon,
    CouponKind,
    CouponState,
    Obtained,
    Voucher,
    VoucherState,
)
from models.earn_rules import EarnRule, EarnRuleKind
from models.members import Level
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)


def refusal_of(call, *arguments, **facts):
    with pytest.raises(Refused) as refusal:
        call(*arguments, **facts)
    return refusal.value


@pytest.fixture
def coupon(session):
    return factories.make_coupon(session)


@pytest.fixture
def claim(session):
    def take(coupon, member, now=NOW):
        return coupons.claim(session, coupon.id, member, now, BANGKOK)

    return take


def vouchers(session, member):
    mine = select(func.count()).select_from(Voucher).where(Voucher.member_id == member.id)
    return session.scalar(mine)


# Claiming


def test_claims_a_voucher(somchai, coupon, claim):
    voucher = claim(coupon, somchai)
    assert (voucher.state, voucher.coupon_id) == (VoucherState.ISSUED, coupon.id)
    assert coupon.issued_count == 1


def test_voucher_is_good_to_the_end_of_its_last_day(somchai, coupon, claim):
    assert claim(coupon, somchai).expires_at == datetime(2026, 12, 22, 17, 0, tzinfo=UTC)


def test_voucher_without_days_ends_with_its_offer(session, somchai, claim):
    coupon = factories.make_coupon(session, valid_days=None, ends_at=NOW + DAY)
    assert claim(coupon, somchai).expires_at == NOW + DAY


def test_claims_no_second_copy(session, somchai, coupon, claim):
    claim(coupon, somchai)
    assert refusal_of(claim, coupon, somchai).code == "coupons.already_claimed"
    assert (vouchers(session, somchai), coupon.issued_count) == (1, 1)


def test_claims_as_many_as_each_member_may(session, somchai, claim):
    coupon = factories.make_coupon(session, per_member=2)
    claim(coupon, somchai)
    claim(coupon, somchai)
    assert refusal_of(claim, coupon, somchai).code == "coupons.already_claimed"


def test_sells_out(session, somchai, claim):
    coupon = factories.make_coupon(session, total_units=1)
    claim(coupon, factories.malee(session))
    assert refusal_of(claim, coupon, somchai).code == "coupons.sold_out"
    assert (vouchers(session, somchai), coupon.left) == (0, 0)


def test_sells_out_for_whoever_read_the_stock_a_moment_too_early(session, somchai, claim):
    coupon = factories.make_coupon(session, total_units=1)
    session.connection().execute(
        Coupon.__table__.update().where(Coupon.id == coupon.id).values(issued_count=1)
    )  # somebody else's claim, unseen by the object read before
    assert coupon.issued_count == 0
    assert refusal_of(claim, coupon, somchai).code == "coupons.sold_out"
    assert vouchers(session, somchai) == 0


def test_budget_stops_the_offer(session, somchai, claim):
    coupon = factories.make_coupon(session, budget_satang=2000, spent_satang=2000)
    assert refusal_of(claim, coupon, somchai).code == "coupons.sold_out"


@pytest.mark.parametrize(
    "facts",
    [
        {"state": CouponState.CLOSED},
        {"starts_at": NOW + timedelta(microseconds=1)},
        {"ends_at": NOW},
        {"obtained": Obtained.STAMPS},
        {"conditions": {"levels": ["vip"]}},
    ],
)
def test_refuses_offers_that_are_not_open_to_the_member(session, somchai, claim, facts):
    coupon = factories.make_coupon(session, **facts)
    assert refusal_of(claim, coupon, somchai).code == "coupons.not_available"


def test_drafts_do_not_exist(session, somchai, claim):
    with pytest.raises(NotFound):
        claim(factories.make_coupon(session, state=CouponState.DRAFT), somchai)


def test_friends_join_first(session, coupon, claim):
    assert refusal_of(claim, coupon, factories.friend(session)).code == "members.not_joined"


def test_levels_open_offers(session, somchai, claim):
    somchai.totals.level = Level.VIP
    assert claim(factories.make_coupon(session, conditions={"levels": ["vip"]}), somchai)


def test_fs04_daily_units_come_back_at_midnight_in_bangkok(session, somchai, claim):
    coupon = factories.make_coupon(session, per_day=1, per_member=9)
    last = datetime(2026, 11, 22, 16, 59, 59, 999000, tzinfo=UTC)
    claim(coupon, somchai, last)
    assert refusal_of(claim, coupon, somchai, last).code == "coupons.sold_out_today"
    assert claim(coupon, somchai, datetime(2026, 11, 22, 17, 0, tzinfo=UTC))


def test_fg15_fewer_units_than_issued_never_make_a_negative_rest(session, somchai, claim):
    coupon = factories.make_coupon(session, total_units=3)
    for name in ("a", "b"):
        claim(coupon, factories.make_member(session, name))
    with pytest.raises(Exception, match="stock"), session.begin_nested():
        coupon.total_units = 1
        session.flush()
    session.refresh(coupon)
    assert coupon.left == 1


# Issuing


def give(session, coupon, member, cause="1", now=NOW):
    return coupons.issue(
        session, coupon, member.id, source="intent", source_id=cause, now=now, tz=BANGKOK
    )


def test_fg14_issues_once_per_cause(session, somchai, coupon):
    first = give(session, coupon, somchai)
    assert give(session, coupon, somchai) == first
    assert coupon.issued_count == 1


def test_gifts_do_not_count_against_what_a_member_may_claim(session, somchai, coupon, claim):
    give(session, coupon, somchai, "1")
    give(session, coupon, somchai, "2")
    assert claim(coupon, somchai).ordinal == 3


def test_issues_nothing_of_an_ended_offer(session, somchai):
    assert give(session, factories.make_coupon(session, ends_at=NOW), somchai) is None


def test_issues_nothing_of_a_sold_out_offer(session, somchai):
    coupon = factories.make_coupon(session, total_units=1)
    give(session, coupon, factories.malee(session))
    assert give(session, coupon, somchai) is None
    assert vouchers(session, somchai) == 0


# Rewards


@pytest.fixture
def reward(session):
    return factories.make_coupon(session, "mug", obtained=Obtained.POINTS, price_points=10)


def test_exchanges_points_for_a_voucher(session, somchai, earn, reward):
    earn(somchai, 12)
    voucher = coupons.buy_reward(session, reward.id, somchai, NOW, BANGKOK)
    assert voucher.state == VoucherState.ISSUED
    assert points.balance_of(session, somchai.id, NOW).balance == 2


def test_too_few_points_cost_nothing_and_give_nothing(session, somchai, earn, reward):
    earn(somchai, 9)
    refused = refusal_of(coupons.buy_reward, session, reward.id, somchai, NOW, BANGKOK)
    assert (refused.code, refused.facts) == ("points.not_enough", {"available": 9, "needed": 10})
    assert vouchers(session, somchai) == 0


def test_a_sold_out_reward_costs_no_points(session, somchai, earn, reward):
    earn(somchai, 50)
    reward.total_units = 1
    session.flush()
    coupons.buy_reward(session, reward.id, somchai, NOW, BANGKOK)
    refused = refusal_of(coupons.buy_reward, session, reward.id, somchai, NOW, BANGKOK)
    assert refused.code == "coupons.sold_out"
    assert points.balance_of(session, somchai.id, NOW).balance == 40
    assert proof.check_all(session, NOW) == []


def test_catalogue_says_what_is_in_the_way(session, somchai, earn, reward):
    earn(somchai, 9)
    offer = coupons.offers_for(session, somchai, NOW, BANGKOK, "points")[0]
    assert (offer.coupon, offer.refusal) == (reward, "points.not_enough")
    earn(somchai, 1)
    assert coupons.offers_for(session, somchai, NOW, BANGKOK, "points")[0].refusal is None


def test_offers_show_stock_and_hide_what_is_not_open(session, somchai, claim):
    coupon = factories.make_coupon(session, total_units=12)
    factories.make_coupon(session, "later", starts_at=NOW + DAY)
    factories.make_coupon(session, "closed", state=CouponState.CLOSED)
    shown = coupons.offers_for(session, somchai, NOW, BANGKOK)
    assert [(offer.coupon.key, offer.left, offer.refusal) for offer in shown] == [
        ("welcome", 12, None)
    ]
    claim(coupon, somchai)
    assert (
        coupons.offers_for(session, somchai, NOW, BANGKOK)[0].refusal == "coupons.already_claimed"
    )


def test_lists_usable_vouchers_soonest_to_expire_first(session, somchai, claim):
    for key, days in (("late", 20), ("soon", 2), ("never", None)):
        claim(factories.make_coupon(session, key, valid_days=days), somchai)
    mine = coupons.vouchers_of(session, somchai.id, NOW)
    assert [voucher.coupon.key for voucher in mine] == ["soon", "late", "never"]
    assert len(coupons.vouchers_of(session, somchai.id, NOW + 5 * DAY)) == 2


# Typed codes


@pytest.fixture
def typed(session):
    return factories.make_coupon(
        session, "typed", obtained=Obtained.CODE, typed_code="ABCDEFGHJKM23"
    )


def test_typed_code_gives_the_voucher_however_it_is_written(session, somchai, typed):
    got = coupons.claim_by_code(session, " abcde-fghjk m23", somchai, NOW, NOW, BANGKOK)
    assert got.coupon_id == typed.id


def test_every_refused_code_looks_the_same(session, somchai, typed):
    typed.ends_at = NOW
    for text in ("ABCDEFGHJKM23", "NOTHING", "", "' OR 1=1"):
        refused = refusal_of(coupons.claim_by_code, session, text, somchai, NOW, NOW, BANGKOK)
        assert (refused.code, refused.status, refused.facts) == ("codes.refused", 409, {})


def test_sixth_code_in_a_minute_waits_even_if_right(session, somchai, typed):
    for _ in range(5):
        refusal_of(coupons.claim_by_code, session, "WRONG", somchai, NOW, NOW, BANGKOK)
    text = typed.typed_code
    refused = refusal_of(coupons.claim_by_code, session, text, somchai, NOW, NOW, BANGKOK)
    assert (refused.code, refused.status, refused.facts) == ("errors.too_many", 429, {"minutes": 1})
    later = NOW + timedelta(minutes=1)
    assert coupons.claim_by_code(session, text, somchai, NOW, later, BANGKOK)


def test_twenty_first_code_of_a_day_waits_for_midnight(session, somchai):
    for minute in range(20):
        coupons.count_try(session, somchai.id, NOW + timedelta(minutes=minute), BANGKOK)
    late = NOW + timedelta(minutes=60)
    refused = refusal_of(coupons.count_try, session, somchai.id, late, BANGKOK)
    assert refused.facts == {"minutes": 9 * 60 + 1}
    coupons.count_try(session, somchai.id, NOW + timedelta(hours=10), BANGKOK)


def test_counters_of_tries_go_when_their_day_is_over_everywhere(session, somchai):
    for days in (0, 0, 3):
        coupons.count_try(session, somchai.id, NOW + timedelta(days=days), BANGKOK)
    later = NOW + timedelta(days=4)
    assert coupons.forget_tries(session, NOW + timedelta(days=1), 100) == 0
    assert coupons.forget_tries(session, later, 1) == 1
    assert [coupons.forget_tries(session, later, 100) for _ in range(2)] == [1, 0]
    assert session.scalars(select(func.count(CodeTry.id))).one() == 2


# What to take off


def off(bill, *, left=None, **facts):
    coupon = Coupon(
        **({"kind": CouponKind.BAHT_OFF, "value_satang": 0, "keeps_change": False} | facts)
    )
    return coupons.discount_for(coupon, Voucher(left_satang=left), bill)


@pytest.mark.parametrize(
    "bill,facts,satang,left",
    [
        (25_000, {"value_satang": 2000}, 2000, None),
        (1500, {"value_satang": 2000}, 1500, None),
        (25_000, {"kind": CouponKind.PERCENT_OFF, "percent": 10}, 2500, None),
        (9_999, {"kind": CouponKind.PERCENT_OFF, "percent": 15}, 1499, None),
        (
            90_000,
            {"kind": CouponKind.PERCENT_OFF, "percent": 50, "max_satang": 10_000},
            10_000,
            None,
        ),
        (900, {"kind": CouponKind.PERCENT_OFF, "percent": 100}, 900, None),
        (25_000, {"kind": CouponKind.CASH, "value_satang": 10_000}, 10_000, None),
        (4_000, {"kind": CouponKind.CASH, "value_satang": 10_000}, 4_000, None),
        (
            4_000,
            {"kind": CouponKind.CASH, "value_satang": 10_000, "keeps_change": True},
            4_000,
            6_000,
        ),
        (25_000, {"kind": CouponKind.FREE_ITEM, "item_th": "ลาเต้"}, 0, None),
        (25_000, {"kind": CouponKind.FREE_ITEM, "value_satang": 7_500}, 7_500, None),
    ],
)
def test_says_exactly_what_to_take_off(bill, facts, satang, left):
    assert off(bill, **facts) == coupons.Discount(satang, left)


def test_change_is_what_is_left_on_the_voucher():
    facts = {"kind": CouponKind.CASH, "value_satang": 10_000, "keeps_change": True}
    assert off(9_000, left=6_000, **facts) == coupons.Discount(6_000, 0)


# Using


def test_redeems_at_the_till(session, till, somchai, coupon, claim):
    used = till.redeem(claim(coupon, somchai), 250)
    assert used.discount_satang == 2000
    assert used.voucher.state == VoucherState.REDEEMED
    assert (coupon.redeemed_count, coupon.spent_satang) == (1, 2000)


def test_cash_voucher_keeps_its_change_until_it_is_spent(session, till, somchai, claim):
    facts = {"kind": CouponKind.CASH, "value_satang": 10_000, "keeps_change": True}
    voucher = claim(factories.make_coupon(session, **facts), somchai)
    assert till.redeem(voucher, 40).discount_satang == 4000
    assert (voucher.state, voucher.left_satang) == (VoucherState.ISSUED, 6000)
    assert till.redeem(voucher, 100).discount_satang == 6000
    assert (voucher.state, voucher.left_satang) == (VoucherState.REDEEMED, 0)
    assert proof.check_all(session, NOW) == []


@pytest.mark.parametrize(
    "facts,code",
    [
        ({"min_bill_satang": 25_001}, "coupons.min_bill"),
        ({"conditions": {"branches": ["ari"]}}, "coupons.other_branch"),
        ({"conditions": {"weekdays": [0, 1]}}, "coupons.other_day"),
        ({"conditions": {"hours": [[9, 14]]}}, "coupons.other_hours"),
    ],
)
def test_refuses_a_bill_that_does_not_fit(session, till, somchai, claim, facts, code):
    voucher = claim(factories.make_coupon(session, **facts), somchai)
    assert refusal_of(till.redeem, voucher, 250).code == code
    assert coupons.vouchers_of(session, somchai.id, NOW) == [voucher]


@pytest.mark.parametrize(
    "facts",
    [
        {"min_bill_satang": 25_000},
        {"conditions": {"branches": ["siam"]}},
        {"conditions": {"weekdays": [6]}},
        {"conditions": {"hours": [[9, 11], [14, 15]]}},
    ],
)
def test_takes_a_bill_that_fits(session, till, somchai, claim, facts):
    assert till.redeem(claim(factories.make_coupon(session, **facts), somchai), 250)


def test_joining_gift_waits_for_a_phone_or_the_first_bill(session, till, somchai, coupon):
    voucher = coupons.issue(
        session, coupon, somchai.id, source="join", source_id="1", now=NOW, tz=BANGKOK,
        needs_proof=True,
    )  # fmt: skip
    assert refusal_of(till.redeem, voucher).code == "coupons.needs_proof"
    quoted = coupons.quote(
        session, voucher, till.branch, 25_000, NOW, BANGKOK, is_with_purchase=True
    )
    assert quoted.satang == 2000
    bought = till.buy(somchai, 230)
    assert till.redeem(voucher, 250, purchase_id=bought.purchase.id)


def test_joining_gift_opens_with_a_proven_phone(session, till, somchai, coupon):
    voucher = coupons.issue(
        session, coupon, somchai.id, source="join", source_id="1", now=NOW, tz=BANGKOK,
        needs_proof=True,
    )  # fmt: skip
    somchai.phone_proven_at = NOW
    assert till.redeem(voucher)


def test_only_stackable_coupons_share_a_bill(session, till, somchai, claim):
    bill = till.buy(somchai, 200).purchase.id
    one, two = (
        claim(factories.make_coupon(session, key, is_stackable=True), somchai) for key in "ab"
    )
    alone = claim(factories.make_coupon(session, "c"), somchai)
    till.redeem(one, purchase_id=bill)
    till.redeem(two, purchase_id=bill)
    assert refusal_of(till.redeem, alone, purchase_id=bill).code == "coupons.not_stackable"


def test_one_member_cannot_pay_with_anothers_voucher(session, till, somchai, coupon, claim):
    voucher = claim(coupon, somchai)
    malee = factories.malee(session)
    assert refusal_of(till.redeem, voucher, member_id=malee.id).code == "codes.refused"


# Giving back


def test_reversal_brings_the_voucher_back_while_valid(session, till, somchai, coupon, claim):
    used = till.redeem(claim(coupon, somchai))
    undone = till.undo(used)
    assert (undone.is_voucher_back, undone.voucher.state) == (True, VoucherState.ISSUED)
    assert (coupon.redeemed_count, coupon.spent_satang) == (0, 0)
    assert till.redeem(undone.voucher)
    assert proof.check_all(session, NOW) == []


def test_fg05_reversal_happens_once(till, somchai, coupon, claim):
    used = till.redeem(claim(coupon, somchai))
    till.undo(used)
    assert refusal_of(till.undo, used).code == "coupons.already_reversed"


def test_fg06_reversal_after_the_end_gives_the_points_back(session, till, somchai, earn, reward):
    earn(somchai, 10)
    voucher = coupons.buy_reward(session, reward.id, somchai, NOW, BANGKOK)
    used = till.redeem(voucher)
    undone = till.undo(used, now=voucher.expires_at)
    assert (undone.is_voucher_back, undone.points) == (False, 10)
    assert voucher.state == VoucherState.EXPIRED
    assert points.balance_of(session, somchai.id, voucher.expires_at).balance == 10
    assert proof.check_all(session, voucher.expires_at) == []


def test_voucher_that_comes_back_costs_no_second_points(session, till, somchai, earn, reward):
    earn(somchai, 10)
    used = till.redeem(coupons.buy_reward(session, reward.id, somchai, NOW, BANGKOK))
    assert till.undo(used).points == 0
    assert points.balance_of(session, somchai.id, NOW).balance == 0


def test_reversal_returns_the_change(session, till, somchai, claim):
    facts = {"kind": CouponKind.CASH, "value_satang": 10_000, "keeps_change": True}
    voucher = claim(factories.make_coupon(session, **facts), somchai)
    till.undo(till.redeem(voucher, 40))
    assert voucher.left_satang == 10_000
    till.redeem(voucher, 30)
    till.undo(till.redeem(voucher, 500))
    assert (voucher.left_satang, voucher.state) == (7000, VoucherState.ISSUED)


def test_void_of_the_bill_gives_its_vouchers_back(session, till, somchai, coupon, claim):
    voucher = claim(coupon, somchai)
    bought = till.buy(somchai, 230)
    till.redeem(voucher, 250, purchase_id=bought.purchase.id)
    undone = till.give_back(bought)
    assert [result.voucher for result in undone.redemptions_reversed] == [voucher]
    assert voucher.state == VoucherState.ISSUED
    assert proof.check_all(session, NOW) == []


def test_part_return_leaves_the_voucher_used(session, till, somchai, coupon, claim):
    voucher = claim(coupon, somchai)
    bought = till.buy(somchai, 230)
    till.redeem(voucher, 250, purchase_id=bought.purchase.id)
    assert till.give_back(bought, 100).redemptions_reversed == ()
    assert voucher.state == VoucherState.REDEEMED


def test_cashier_undoes_their_own_redemption_for_ten_minutes(session, till, somchai, claim, coupon):
    nok = factories.nok(session)
    used = till.redeem(claim(coupon, somchai), cashier_id=nok.id)
    late = NOW + timedelta(minutes=10, seconds=1)
    assert refusal_of(till.undo, used, cashier_id=nok.id, now=late).status == 403
    assert till.undo(used, cashier_id=nok.id, now=NOW + timedelta(minutes=10))


# Ending


def test_expires_vouchers_past_their_date_once(session, somchai, coupon, claim):
    voucher = claim(coupon, somchai)
    end = voucher.expires_at
    assert coupons.expire_vouchers(session, end - timedelta(microseconds=1), NOW, 10) == 0
    assert coupons.expire_vouchers(session, end, NOW, 10) == 1
    assert coupons.expire_vouchers(session, end, NOW, 10) == 0
    assert voucher.state == VoucherState.EXPIRED


def test_leaves_a_voucher_that_a_till_holds(session, till, somchai, coupon, claim):
    voucher = claim(coupon, somchai)
    end = voucher.expires_at
    before = end - timedelta(seconds=1)
    parsed = till.code(voucher, before)
    codes.scan(session, parsed, till.holder, before, before)
    assert coupons.expire_vouchers(session, end, end, 10) == 0
    assert till.redeem(voucher, now=end, parsed=parsed).voucher.state == VoucherState.REDEEMED


def test_c5_a_hold_keeps_real_time_while_the_demo_clock_moves(
    session, till, somchai, coupon, claim
):
    voucher = claim(coupon, somchai)
    parsed = till.code(voucher, NOW)
    codes.scan(session, parsed, till.holder, NOW, NOW)
    later = voucher.expires_at + timedelta(days=1)
    assert coupons.expire_vouchers(session, later, NOW, 10) == 0
    used = till.redeem(voucher, now=later, real_now=NOW, parsed=parsed)
    assert used.voucher.state == VoucherState.REDEEMED


def test_taking_vouchers_away_returns_their_units(session, somchai, coupon, claim):
    claim(coupon, somchai)
    give(session, coupon, somchai)
    assert coupons.void_all(session, somchai.id, now=NOW) == 2
    assert coupon.issued_count == 0
    assert proof.check_all(session, NOW) == []


def test_check_finds_wrong_counters(session, till, somchai, coupon, claim):
    till.redeem(claim(coupon, somchai))
    coupon.issued_count, coupon.redeemed_count, coupon.spent_satang = 2, 0, 1
    found = {difference.what for difference in proof.check_all(session, NOW)}
    assert found == {"coupons.issued", "coupons.redeemed", "coupons.spent"}


# The rush (B7)


@pytest.fixture
def asked(session):
    """What is asked of the database from now on, statement by statement."""
    statements: list[str] = []

    def listener(_connection, _cursor, statement, *_more):
        statements.append(statement)

    event.listen(session.get_bind(), "before_cursor_execute", listener)
    yield statements
    event.remove(session.get_bind(), "before_cursor_execute", listener)


def test_b7_the_scarce_row_is_taken_with_the_last_statement(session, somchai, asked):
    coupon = factories.make_coupon(session, total_units=5)
    session.flush()
    asked.clear()
    coupons.claim(session, coupon.id, somchai, NOW, BANGKOK, key="button")
    session.flush()
    assert len(asked) <= 7
    assert [statement.startswith("UPDATE coupons") for statement in asked].count(True) == 1
    assert asked[-1].startswith("UPDATE coupons")


def test_b7_what_is_returned_is_what_is_stored(session, somchai):
    coupon = factories.make_coupon(session, total_units=5, valid_days=30)
    voucher = coupons.claim(session, coupon.id, somchai, NOW, BANGKOK, key="button")
    told = {column.key: getattr(voucher, column.key) for column in Voucher.__table__.columns}
    session.expire(voucher)
    assert told == {
        column.key: getattr(voucher, column.key) for column in Voucher.__table__.columns
    }
    assert coupon.issued_count == 1


def test_b7_whoever_comes_too_late_leaves_nothing_behind(session, somchai, asked):
    coupon = factories.make_coupon(session, total_units=1)
    other = factories.make_member(session, "somsri")
    session.flush()
    # Another process takes the last unit after we have read that there is one.
    session.connection().exec_driver_sql(
        f"UPDATE coupons SET issued_count = 1 WHERE id = {coupon.id}"
    )
    assert (
        refusal_of(coupons.claim, session, coupon.id, other, NOW, BANGKOK, key="button").code
        == "coupons.sold_out"
    )
    assert any(statement.startswith("DELETE FROM vouchers") for statement in asked)
    assert vouchers(session, other) == 0
    told = select(func.count()).select_from(Activity).where(Activity.member_id == other.id)
    assert session.scalar(told) == 0
    assert not session.info.get("activities")


# The order in which rows are taken: another order at another till, and each waits for the other


def first(statements, *words) -> int:
    """The place of the first statement with all of these words."""
    return next(
        place for place, said in enumerate(statements) if all(word in said for word in words)
    )


def test_a_void_takes_rules_before_coupons_as_a_bill_does(
    session, till, somchai, coupon, claim, asked
):
    rule = EarnRule(
        key="bonus", kind=EarnRuleKind.BONUS, bonus_points=9, total_cap=100, name_th="โบนัส",
        name_en="Bonus", created_at=NOW, starts_on=local_day(NOW, BANGKOK),
    )  # fmt: skip
    earn_rules.create(session, rule, today=local_day(NOW, BANGKOK))
    parsed = till.code(claim(coupon, somchai))
    asked.clear()
    done = checkout.confirm(
        session, member_id=somchai.id, branch=till.branch, holder=till.holder, operation_id="o1",
        now=NOW, real_now=NOW, tz=BANGKOK, bill_satang=10_000, parsed=[parsed],
    )  # fmt: skip
    assert first(asked, "UPDATE earn_rules") < first(asked, "UPDATE coupons")
    asked.clear()
    till.give_back(done.purchase)
    assert first(asked, "UPDATE earn_rules") < first(asked, "UPDATE coupons")


def test_a_bill_takes_its_member_before_its_scanned_vouchers(
    session, till, somchai, coupon, claim, asked
):
    parsed = till.code(claim(coupon, somchai))
    asked.clear()
    checkout.confirm(
        session, member_id=somchai.id, branch=till.branch, holder=till.holder, operation_id="o1",
        now=NOW, real_now=NOW, tz=BANGKOK, paid_satang=8_000, parsed=[parsed],
    )  # fmt: skip
    assert first(asked, "FROM member_totals") < first(asked, "UPDATE vouchers")


def test_a_bill_takes_coupons_in_one_order_and_tells_of_them_in_that_of_the_scans(
    session, till, somchai, coupon, claim
):
    coupon.is_stackable = True
    later = factories.make_coupon(session, "later", is_stackable=True, value_satang=500)
    bill = {
        "member_id": somchai.id, "branch": till.branch, "holder": till.holder, "now": NOW,
        "real_now": NOW, "tz": BANGKOK, "operation_id": "o1", "bill_satang": 10_000,
    }  # fmt: skip
    parsed = [till.code(claim(one, somchai)) for one in (later, coupon)]
    done = checkout.confirm(session, parsed=parsed, **bill)
    assert [used.voucher.coupon_id for used in done.redemptions] == [later.id, coupon.id]
    assert [used.redemption.bill_satang for used in done.redemptions] == [10_000, 9_500]
    ids = [used.redemption.id for used in done.redemptions]
    assert ids == sorted(ids, reverse=True)


def test_a_code_that_is_no_vouchers_pays_no_bill(session, till, somchai):
    text = codes.make_code(session, factories.SECRET_KEY, "identify", somchai.id, real_now=NOW)
    parsed = codes.parse(factories.SECRET_KEY, text)
    hold = codes.scan(session, parsed, till.holder, NOW, NOW, BANGKOK).hold_id
    refusal = refusal_of(
        checkout.confirm, session, member_id=somchai.id, branch=till.branch, holder=till.holder,
        operation_id="o1", now=NOW, real_now=NOW, tz=BANGKOK, bill_satang=10_000, holds=[hold],
    )  # fmt: skip
    assert refusal.code == "codes.refused"


def test_withdrawing_an_offer_takes_its_members_before_the_coupon(
    session, somchai, coupon, claim, asked
):
    held_by = [claim(coupon, one).member_id for one in (somchai, factories.malee(session))]
    session.flush()
    asked.clear()
    assert coupons.withdraw(session, coupon, now=NOW, tz=BANGKOK) == len(held_by)
    members = first(asked, "FROM member_totals", "IN (SELECT", "ORDER BY member_totals.member_id")
    assert members < first(asked, "UPDATE coupons")
