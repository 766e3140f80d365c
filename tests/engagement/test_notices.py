from __future__ import annotations

import pytest
from sqlalchemy import select

from loyalty import codes, coupons, disputes, points
from models.activities import Activity
from models.coupons import CodePurpose
from models.outbox import Call, MessageClass
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture
def use(life):
    """`use(member)` redeems a voucher for this member; what came of it."""

    def redeem(member, **more):
        coupon = factories.make_coupon(life.session, per_member=9, name_th="ลด 20 บาท")
        voucher = coupons.claim(life.session, coupon.id, member, life.now, BANGKOK)
        code = codes.make_code(
            life.session, factories.SECRET_KEY, CodePurpose.REDEEM, member.id,
            voucher_id=voucher.id, real_now=life.now,
        )  # fmt: skip
        used = codes.redeem(
            life.session, parsed=codes.parse(factories.SECRET_KEY, code), holder="device:1",
            branch=life.branch, bill_satang=25_000, operation_id="device:1:use",
            now=life.now, real_now=life.now, tz=BANGKOK, **more,
        )  # fmt: skip
        life.settle()
        return used

    return redeem


def test_a_redemption_is_said_at_once(life, somchai, use):
    use(somchai)
    [message] = life.messages("vouchers.redeemed")
    assert (message.klass, message.due_at) == (MessageClass.TRANSACTIONAL, NOW)
    assert "ลด 20 บาท ที่สาขา สยาม ลดให้ 20 บาท" in life.words("vouchers.redeemed")


def test_a_redemption_is_said_at_night_without_marketing_consent(life, somchai, use):
    life.withdraw(somchai)
    life.at(2026, 11, 23, 2, 0)
    use(somchai)
    assert life.messages("vouchers.redeemed")[0].due_at == life.now


def test_english_members_read_the_english_branch(life, malee, use):
    use(malee)
    assert "Siam" in life.words("vouchers.redeemed")
    assert "สยาม" not in life.words("vouchers.redeemed")


def test_who_has_blocked_the_account_gets_no_notice(life, use):
    use(factories.anan(life.session))
    assert life.messages() == []


def test_a_purchase_sends_no_receipt(life, somchai):
    life.buy(somchai)
    assert life.messages() == []


def test_a_void_is_said_with_what_it_took(life, somchai):
    bought = life.buy(somchai, 100)
    life.give_back(bought)
    assert "ยกเลิกบิล 100 บาท และนำแต้มคืน 4 แต้ม" in life.words("purchases.returned")


def test_a_part_return_is_said(life, somchai):
    bought = life.buy(somchai, 100)
    life.give_back(bought, 50)
    assert "คืนสินค้า 50 บาท และนำแต้มคืน 2 แต้ม" in life.words("purchases.returned")


def test_a_void_that_brings_a_coupon_back_is_one_notice(life, somchai, use):
    bought = life.buy(somchai, 250)
    use(somchai, purchase_id=bought.purchase.id)
    life.give_back(bought)
    notices = [one for one in life.messages() if one.kind != "vouchers.redeemed"]
    assert [one.kind for one in notices] == ["purchases.returned"]
    assert "คืน ลด 20 บาท ให้คุณแล้ว" in life.words("purchases.returned")


def test_a_reversed_redemption_says_that_the_coupon_is_back(life, somchai, use):
    used = use(somchai)
    coupons.reverse(life.session, used.redemption, now=life.now, tz=BANGKOK)
    life.settle()
    assert "คืน ลด 20 บาท ให้คุณแล้ว" in life.words("vouchers.redemption_reversed")


def test_a_reversed_redemption_of_an_ended_coupon_does_not_say_so(life, somchai, use):
    used = use(somchai)
    life.later(days=60)
    coupons.reverse(life.session, used.redemption, now=life.now, tz=BANGKOK)
    life.settle()
    assert "หมดเขตแล้ว" in life.words("vouchers.redemption_reversed")


@pytest.mark.parametrize("by, words", [(30, "เพิ่มให้ 30 แต้ม"), (-3, "ปรับลด 3 แต้ม")])
def test_an_adjustment_is_said(life, somchai, by, words):
    life.buy(somchai, 250)
    staff = factories.prem(life.session)
    points.adjust(
        life.session, somchai.id, by, reason="นับผิด", staff_id=staff.id,
        source_id="adjust-1", now=life.now, tz=BANGKOK,
    )  # fmt: skip
    life.settle()
    assert words in life.words("points.adjusted")


def test_a_full_card_is_said_but_not_at_night(life, somchai):
    prize = life.coupon("stamp_coffee", name_th="กาแฟฟรี", obtained="stamps")
    factories.make_stamp_program(life.session, size=2, prize=prize)
    life.at(2026, 11, 22, 22, 0)
    life.buy(somchai)
    life.at(2026, 11, 22, 23, 0)
    life.buy(somchai)
    [message] = life.messages("stamps.card_filled")
    assert message.klass == MessageClass.SERVICE
    life.at(2026, 11, 23, 9, 0)
    assert message.due_at == life.now
    assert "กาแฟฟรี" in life.words("stamps.card_filled")


def test_one_fact_is_said_once(life, somchai, use):
    use(somchai)
    from engagement import notices
    from models.activities import Activity

    facts = list(life.session.scalars(select(Activity)))
    notices.react(life.runtime, life.session, facts, life.now)
    assert len(life.messages("vouchers.redeemed")) == 1


def test_ac3_notices_of_a_redemption_and_of_an_adjustment_can_be_objected_to(
    life, session, somchai, use
):
    use(somchai)
    points.adjust(
        session, somchai.id, 5, reason="x", staff_id=None, source_id="a", now=life.now, tz=BANGKOK
    )
    life.settle()
    for kind in ("vouchers.redeemed", "points.adjusted"):
        [act] = session.scalars(select(Activity).where(Activity.kind == kind))
        [message] = life.messages(kind)
        body = session.get_one(Call, message.call_id).body
        assert f"members.not_me?act={act.id}" in body.decode()


def test_ac3_a_released_member_is_told(life, session, somchai, use):
    use(somchai)
    act = session.scalars(select(Activity).where(Activity.kind == "vouchers.redeemed")).one()
    disputes.dispute(session, somchai.id, act.id, life.now)
    disputes.lift(session, somchai.id, life.now)
    life.settle()
    assert "ใช้แต้มและคูปองได้ตามปกติ" in life.words("members.unfrozen")
