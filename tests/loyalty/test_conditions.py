"""What an offer asks of a member and of a bill (C2), its stacking, its budget (C9), its words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from core.errors import Refused
from core.i18n import t
from loyalty import checkout, codes, coupons, points, proof, tombstones
from loyalty.coupons import Conditions
from models.coupons import CouponKind, VoucherState
from models.tiers import MemberTier, Tier
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)


def refused(call, *arguments, **facts):
    with pytest.raises(Refused) as refusal:
        call(*arguments, **facts)
    return refusal.value


def thai(refusal):
    return t("th", refusal.code, **refusal.facts)


def english(refusal):
    return t("en", refusal.code, **refusal.facts)


@pytest.fixture
def take(session):
    """`take(member, key, **facts)` makes an offer and takes a voucher of it."""

    def make(member, key="c", now=NOW, **facts):
        coupon = factories.make_coupon(session, key, **facts)
        return coupons.claim(session, coupon.id, member, now, BANGKOK)

    return make


def local(text):
    return datetime.fromisoformat(text).replace(tzinfo=BANGKOK).astimezone(UTC)


# Days and hours; 22 November 2026 is a Sunday


@pytest.mark.parametrize(
    "conditions,moment,fits",
    [
        ({"weekdays": [0, 1, 2, 3, 4]}, "2026-11-23T00:00:00", True),
        ({"weekdays": [0, 1, 2, 3, 4]}, "2026-11-22T23:59:59", False),
        ({"hours": [[14, 17]]}, "2026-11-22T13:59:59", False),
        ({"hours": [[14, 17]]}, "2026-11-22T14:00:00", True),
        ({"hours": [[14, 17]]}, "2026-11-22T17:00:00", False),
        ({"hours": [[22, 2]]}, "2026-11-22T21:59:59", False),
        ({"hours": [[22, 2]]}, "2026-11-22T22:00:00", True),
        ({"hours": [[22, 2]]}, "2026-11-23T01:59:59", True),
        ({"hours": [[22, 2]]}, "2026-11-23T02:00:00", False),
        # Friday night runs into Saturday; Thursday night does not begin on a Friday.
        ({"weekdays": [4], "hours": [[22, 2]]}, "2026-11-28T01:30:00", True),
        ({"weekdays": [4], "hours": [[22, 2]]}, "2026-11-27T01:30:00", False),
        ({"weekdays": [6], "hours": [[22, 2]]}, "2026-11-23T01:30:00", True),
        ({"hours": [[6, 9], [18, 24]]}, "2026-11-22T23:59:59", True),
    ],
)
def test_fits_days_and_hours_also_across_midnight(session, conditions, moment, fits):
    coupon = factories.make_coupon(session, conditions=conditions)
    assert Conditions.of(coupon).fit_time(datetime.fromisoformat(moment)) is fits


@pytest.mark.parametrize(
    "conditions,thai_words,english_words",
    [
        ({"weekdays": [0, 1, 2, 3, 4]}, "ใช้ได้วันจันทร์ถึงศุกร์", "Valid Monday to Friday"),
        ({"weekdays": [5, 6]}, "ใช้ได้วันเสาร์ และอาทิตย์", "Valid Saturday and Sunday"),
        ({"weekdays": [6, 0]}, "ใช้ได้วันอาทิตย์ และจันทร์", "Valid Sunday and Monday"),
        ({"weekdays": [4, 5, 6, 0]}, "ใช้ได้วันศุกร์ถึงจันทร์", "Valid Friday to Monday"),
        (
            {"weekdays": [0, 2, 4]},
            "ใช้ได้วันจันทร์ พุธ และศุกร์",
            "Valid Monday, Wednesday and Friday",
        ),
        ({"hours": [[14, 17]]}, "ใช้ได้เวลา 14:00–17:00 น.", "Valid 14:00–17:00"),
        (
            {"weekdays": [1], "hours": [[22, 2]]},
            "ใช้ได้วันอังคาร เวลา 22:00–02:00 น.",
            "Valid Tuesday, 22:00–02:00",
        ),
        ({"weekdays": [0, 1, 2, 3, 4, 5, 6]}, None, None),
    ],
)
def test_says_days_and_hours_in_words(session, conditions, thai_words, english_words):
    coupon = factories.make_coupon(session, conditions=conditions)
    expected = ([thai_words] if thai_words else [], [english_words] if english_words else [])
    said = coupons.describe(session, coupon, "th"), coupons.describe(session, coupon, "en")
    assert said == expected


def test_every_condition_is_said_in_both_languages(session):
    factories.make_branch(session)
    factories.make_branch(session, "ari", name_th="อารีย์", name_en="Ari")
    session.add(make_tier("gold"))
    coupon = factories.make_coupon(
        session,
        kind=CouponKind.CASH,
        keeps_change=True,
        is_stackable=True,
        per_member=2,
        min_bill_satang=6_000,
        conditions={
            "branches": ["siam", "ari"],
            "tiers": ["gold"],
            "levels": ["at_risk"],
            "first_purchase": True,
        },
    )
    said = coupons.describe(session, coupon, "th")
    assert said == [
        "ใช้ได้ที่สาขาสยาม และอารีย์",
        "บิลตั้งแต่ 60 บาท",
        "สำหรับสมาชิกระดับ โกลด์",
        "สำหรับสมาชิกที่ได้รับเลือก",
        "สำหรับการซื้อครั้งแรก",
        "ใช้ไม่หมด เก็บไว้ใช้ต่อได้",
        "ใช้ร่วมกับคูปองอื่นที่ใช้ร่วมกันได้",
        "รับได้คนละ 2 ใบ",
    ]
    assert len(coupons.describe(session, coupon, "en")) == len(said)
    assert "at_risk" not in str(said)


def test_other_days_and_hours_say_when_it_works(session, till, somchai, take):
    workday = take(somchai, "a", conditions={"weekdays": [0, 1, 2, 3, 4]})
    refusal = refused(till.redeem, workday, 250)
    assert refusal.code == "coupons.other_day"
    assert thai(refusal) == "วันนี้ยังใช้ไม่ได้ค่ะ คูปองนี้ใช้ได้วันจันทร์ถึงศุกร์"
    assert "Monday to Friday" in english(refusal)
    early = take(somchai, "b", conditions={"hours": [[7, 10]]})
    refusal = refused(till.redeem, early, 250)
    assert refusal.code == "coupons.other_hours"
    assert "ใช้ได้เวลา 07:00–10:00 น." in thai(refusal)


def test_other_branches_and_small_bills_say_where_and_from_what(session, till, somchai, take):
    factories.make_branch(session, "ari", name_th="อารีย์", name_en="Ari")
    elsewhere = take(somchai, "a", conditions={"branches": ["ari"]})
    refusal = refused(till.redeem, elsewhere, 250)
    assert refusal.code == "coupons.other_branch"
    assert "ใช้ได้ที่สาขาอารีย์" in thai(refusal)
    assert "good at Ari" in english(refusal)
    small = take(somchai, "b", min_bill_satang=30_000)
    assert "300" in thai(refused(till.redeem, small, 299.99))
    assert till.redeem(small, 300)


def test_day_and_hour_hold_for_the_claim_where_the_offer_says_so(session, somchai):
    timed = {"weekdays": [0], "timed_claim": True}
    coupon = factories.make_coupon(session, conditions=timed)
    refusal = refused(coupons.claim, session, coupon.id, somchai, NOW, BANGKOK)
    assert refusal.code == "coupons.other_day"
    offer = coupons.offers_for(session, somchai, NOW, BANGKOK)[0]
    assert (offer.refusal, "Monday" in offer.facts["when"].en) == ("coupons.other_day", True)
    assert coupons.claim(session, coupon.id, somchai, NOW + DAY, BANGKOK)


# Tier, level, first purchase


def make_tier(key="gold"):
    return Tier(key=key, name_th="โกลด์", name_en="Gold", threshold=100, created_at=NOW)


def stand(session, member, tier):
    session.add(
        MemberTier(
            member_id=member.id, tier_id=tier.id, since=NOW, qualified_at=NOW,
            holds_until=NOW + 30 * DAY,
        )
    )  # fmt: skip
    session.flush()


def test_tier_opens_an_offer_and_its_voucher(session, till, somchai):
    gold = make_tier()
    session.add(gold)
    session.flush()
    coupon = factories.make_coupon(session, conditions={"tiers": ["gold"]})
    refusal = refused(coupons.claim, session, coupon.id, somchai, NOW, BANGKOK)
    assert (refusal.code, "โกลด์" in thai(refusal)) == ("coupons.other_tier", True)
    assert coupons.offers_for(session, somchai, NOW, BANGKOK)[0].refusal == "coupons.other_tier"
    stand(session, somchai, gold)
    voucher = coupons.claim(session, coupon.id, somchai, NOW, BANGKOK)
    session.delete(session.get_one(MemberTier, somchai.id))
    session.flush()
    assert refused(till.redeem, voucher, 250).code == "coupons.other_tier"


def test_tier_does_not_bind_what_the_shop_gave(session, till, somchai):
    session.add(make_tier())
    session.flush()
    coupon = factories.make_coupon(session, conditions={"tiers": ["gold"]})
    gift = coupons.issue(
        session, coupon, somchai.id, source="journey", source_id="1", now=NOW, tz=BANGKOK
    )
    assert till.redeem(gift, 250)


def test_first_purchase_offer_is_for_the_first_bill(session, till, somchai):
    coupon = factories.make_coupon(session, conditions={"first_purchase": True})
    voucher = coupons.claim(session, coupon.id, somchai, NOW, BANGKOK)
    done = checkout.confirm(
        session, member_id=somchai.id, branch=till.branch, holder="device:1", operation_id="o1",
        now=NOW, real_now=NOW, tz=BANGKOK, bill_satang=10_000, parsed=[till.code(voucher)],
    )  # fmt: skip
    assert done.paid_satang == 8_000
    malee = factories.malee(session)
    late = coupons.claim(session, coupon.id, malee, NOW, BANGKOK)
    till.buy(malee, 100)
    second = till.buy(malee, 100)
    refusal = refused(till.redeem, late, 100, purchase_id=second.purchase.id)
    assert refusal.code == "coupons.first_purchase_only"
    assert refused(till.redeem, late, 100).code == "coupons.first_purchase_only"
    assert coupons.offers_for(session, malee, NOW, BANGKOK) == []


def test_j7_whoever_came_back_has_no_second_first_purchase_offer(session, vault, somchai):
    session.info["vault"] = vault
    coupon = factories.make_coupon(session, conditions={"first_purchase": True})
    tombstones.put(session, vault, tombstones.LINE_ID, somchai.line_user_id, NOW)
    refusal = refused(coupons.claim, session, coupon.id, somchai, NOW, BANGKOK)
    assert refusal.code == "coupons.first_purchase_only"
    assert coupons.claim(session, coupon.id, factories.malee(session), NOW, BANGKOK)


# One tap, one copy


def test_the_same_button_gives_the_same_copy(session, somchai):
    coupon = factories.make_coupon(session, per_member=3, total_units=3)
    first = coupons.claim(session, coupon.id, somchai, NOW, BANGKOK, key="card-1")
    assert coupons.claim(session, coupon.id, somchai, NOW, BANGKOK, key="card-1") == first
    assert coupons.claim(session, coupon.id, somchai, NOW, BANGKOK, key="card-2") != first
    assert coupon.issued_count == 2


def test_the_same_button_after_use_gives_no_second_copy(session, till, somchai):
    coupon = factories.make_coupon(session, per_member=3)
    till.redeem(coupons.claim(session, coupon.id, somchai, NOW, BANGKOK, key="k"))
    again = refused(coupons.claim, session, coupon.id, somchai, NOW, BANGKOK, key="k")
    assert again.code == "coupons.already_claimed"


# Stacking, in one confirm and on one bill


def confirm(session, till, member, vouchers, bill=10_000, operation="o1", **facts):
    return checkout.confirm(
        session, member_id=member.id, branch=till.branch, holder="device:1",
        operation_id=operation, now=NOW, real_now=NOW, tz=BANGKOK, bill_satang=bill,
        parsed=[till.code(voucher) for voucher in vouchers], **facts,
    )  # fmt: skip


def test_stackable_coupons_go_together_one_after_the_other(session, till, somchai, take):
    percent = take(
        somchai, "a", kind=CouponKind.PERCENT_OFF, percent=10, value_satang=0, is_stackable=True
    )
    baht = take(somchai, "b", is_stackable=True)
    done = confirm(session, till, somchai, [percent, baht])
    assert [one.discount_satang for one in done.redemptions] == [1_000, 2_000]
    assert done.paid_satang == 7_000


@pytest.mark.parametrize("bill", [10_000, 2_000])  # with something to pay, and with nothing
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_that_stands_alone_refuses_company_in_both_directions(
    session, till, somchai, take, order, bill
):
    both = take(somchai, "a", is_stackable=True), take(somchai, "b")
    with session.begin_nested() as savepoint:
        refusal = refused(confirm, session, till, somchai, [both[place] for place in order], bill)
        savepoint.rollback()
    session.expire_all()
    assert refusal.code == "coupons.not_stackable"
    assert {voucher.state for voucher in both} == {VoucherState.ISSUED}


def test_one_bill_number_is_one_bill_for_stacking(session, till, somchai, take):
    alone, other = take(somchai, "a"), take(somchai, "b", is_stackable=True)
    till.redeem(alone, 100, receipt_no="A-0017")
    refusal = refused(till.redeem, other, 100, receipt_no="a-0017 ")
    assert refusal.code == "coupons.not_stackable"
    assert till.redeem(other, 100, receipt_no="A-0018")


def test_quote_of_several_says_at_once_that_they_do_not_go_together(session, till, somchai, take):
    one, two = take(somchai, "a"), take(somchai, "b", is_stackable=True)
    refusal = refused(coupons.quote, session, two, till.branch, 10_000, NOW, BANGKOK, beside=[one])
    assert refusal.code == "coupons.not_stackable"


# Change kept


CHANGE = {"kind": CouponKind.CASH, "value_satang": 10_000, "keeps_change": True}


def test_taking_back_one_part_use_leaves_the_others(session, till, somchai, take):
    voucher = take(somchai, **CHANGE)
    first = till.redeem(voucher, 40)
    till.redeem(voucher, 60)
    assert voucher.state == VoucherState.REDEEMED
    till.undo(first)
    assert (voucher.state, voucher.left_satang) == (VoucherState.ISSUED, 4_000)
    assert till.redeem(voucher, 90).discount_satang == 4_000  # emptied for the second time
    assert (voucher.state, voucher.left_satang) == (VoucherState.REDEEMED, 0)
    assert proof.check_all(session, NOW) == []


def test_price_of_a_part_used_voucher_comes_back_once_and_only_when_nothing_was_worth_it(
    session, till, somchai, earn
):
    earn(somchai, 100)
    reward = factories.make_coupon(
        session, obtained="points", price_points=50, valid_days=1, **CHANGE
    )
    voucher = coupons.buy_reward(session, reward.id, somchai, NOW, BANGKOK)
    first, second = till.redeem(voucher, 30), till.redeem(voucher, 30)
    later = NOW + 3 * DAY
    assert till.undo(first, now=later).points == 0
    assert till.undo(second, now=later).points == 50
    assert proof.check_all(session, later) == []


@pytest.fixture
def purse(session, somchai, earn):
    """A voucher of 100 baht for 50 of Somchai's 100 points, good until tomorrow."""
    earn(somchai, 100)
    reward = factories.make_coupon(
        session, obtained="points", price_points=50, valid_days=1, **CHANGE
    )
    return coupons.buy_reward(session, reward.id, somchai, NOW, BANGKOK)


@pytest.mark.parametrize("later", [NOW, NOW + 3 * DAY])  # before and after its date
def test_price_of_a_withdrawn_part_used_voucher_comes_back_once_with_its_last_use(
    session, till, somchai, purse, later
):
    bought = till.buy(somchai, 25)
    till.redeem(purse, 40, purchase_id=bought.purchase.id)
    other = till.redeem(purse, 30)
    assert coupons.withdraw(session, purse.coupon, now=NOW, tz=BANGKOK) == 1
    assert points.balance_of(session, somchai.id, NOW).balance == 51  # a part of it was worth it
    undone = till.give_back(bought, now=later).redemptions_reversed
    assert [(one.is_voucher_back, one.points) for one in undone] == [(False, 0)]
    last = till.undo(other, now=later)
    assert (last.is_voucher_back, last.points, purse.state) == (False, 50, VoucherState.VOID)
    assert points.balance_of(session, somchai.id, later).balance == 100
    assert proof.check_all(session, later) == []


def test_price_of_a_voucher_that_came_back_is_given_back_when_it_is_withdrawn(
    session, till, somchai, purse
):
    till.undo(till.redeem(purse, 40))
    assert coupons.withdraw(session, purse.coupon, now=NOW, tz=BANGKOK) == 1
    assert points.balance_of(session, somchai.id, NOW).balance == 100
    assert proof.check_all(session, NOW) == []


# Budget in baht (C9)


def test_budget_promises_no_more_than_it_holds(session, till, somchai, take):
    coupon = factories.make_coupon(session, budget_satang=5_000, per_member=9)
    vouchers = [coupons.claim(session, coupon.id, somchai, NOW, BANGKOK) for _ in range(2)]
    assert coupons.offers_for(session, somchai, NOW, BANGKOK)[0].left == 0
    refusal = refused(coupons.claim, session, coupon.id, somchai, NOW, BANGKOK)
    assert refusal.code == "coupons.sold_out"
    till.redeem(vouchers[0], 10)  # took 10 baht off instead of 20: what is left serves another
    assert coupons.claim(session, coupon.id, somchai, NOW, BANGKOK)
    assert coupon.spent_satang == 1_000


def test_use_that_would_pass_the_budget_is_refused(session, till, somchai, take):
    voucher = take(somchai, budget_satang=2_000)
    voucher.coupon.budget_satang = 1_999  # lowered by the owner since
    session.flush()
    with session.begin_nested() as savepoint:
        assert refused(till.redeem, voucher, 100).code == "coupons.budget_spent"
        savepoint.rollback()
    session.expire_all()
    assert voucher.coupon.spent_satang == 0
    assert till.redeem(voucher, 19.99).discount_satang == 1_999


def test_taken_back_use_frees_its_budget(session, till, somchai, take):
    voucher = take(somchai, budget_satang=2_000)
    used = till.redeem(voucher, 100)
    assert voucher.coupon.spent_satang == 2_000
    till.undo(used)
    assert voucher.coupon.spent_satang == 0


def test_offers_say_what_is_left_today(session, somchai):
    coupon = factories.make_coupon(session, per_day=1, per_member=2, total_units=12)
    offer = coupons.offers_for(session, somchai, NOW, BANGKOK)[0]
    assert (offer.left, offer.left_today) == (12, 1)
    coupons.claim(session, coupon.id, somchai, NOW, BANGKOK)
    offer = coupons.offers_for(session, somchai, NOW, BANGKOK)[0]
    assert (offer.left, offer.left_today, offer.refusal) == (11, 0, "coupons.sold_out_today")


def test_gifts_do_not_count_against_the_day(session, somchai):
    coupon = factories.make_coupon(session, per_day=1)
    for number in range(3):
        assert coupons.issue(
            session, coupon, somchai.id, source="journey", source_id=str(number), now=NOW,
            tz=BANGKOK,
        )  # fmt: skip
    assert coupons.claim(session, coupon.id, somchai, NOW, BANGKOK)


def test_code_is_read_once_more_only_by_its_holder(session, till, somchai, take):
    """Two vouchers of one confirm keep their own holds."""
    vouchers = take(somchai, "a", is_stackable=True), take(somchai, "b", is_stackable=True)
    holds = [
        codes.scan(session, till.code(voucher), "device:1", NOW, NOW, BANGKOK).hold_id
        for voucher in vouchers
    ]
    assert len(set(holds)) == 2
