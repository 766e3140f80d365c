"""Points and stamps in the chat."""

from __future__ import annotations

import pytest

from core.i18n import t
from loyalty import purchases, stamp_pictures
from tests.factories import make_branch, make_coupon, make_policy, make_stamp_program
from tests.handlers.chat import words_of


@pytest.fixture
def buyer(chat):
    """A member who has bought for 250 baht at สยาม."""
    make_policy(chat.session)
    prize = make_coupon(chat.session, "prize", name_th="กาแฟฟรี")
    make_stamp_program(chat.session, prize=prize)
    chat.joins()
    buy(chat, "1")
    return chat


def buy(chat, operation, amount_satang=25000):
    return purchases.record_purchase(
        chat.session,
        member_id=chat.member.id,
        branch=make_branch(chat.session),
        amount_satang=amount_satang,
        operation_id=operation,
        now=chat.clock.now(),
        tz=chat.clock.tz,
    )


def test_the_balance_with_what_expires_when(buyer):
    answer = words_of(buyer.says("แต้ม"))
    assert t("th", "points.count", count=10, points=10) in answer
    assert "30 พ.ย. 2570" in answer


def test_the_history_in_words(buyer):
    assert "ซื้อ 250 บาท สาขาสยาม" in words_of(buyer.says("ประวัติ"))
    buyer.member.locale = "en"
    assert "Bought for 250 baht at Siam" in words_of(buyer.says("history"))


def test_a_void_is_told_in_words(buyer):
    from sqlalchemy import select

    from models.purchases import Purchase

    bought = buyer.session.scalars(select(Purchase)).one()
    purchases.return_purchase(
        buyer.session, purchase_public_id=bought.public_id, operation_id="v",
        now=buyer.clock.now(), tz=buyer.clock.tz,
    )  # fmt: skip
    assert "ยกเลิกบิล 250 บาท สาขาสยาม" in words_of(buyer.says("ประวัติ"))


def test_the_stamp_card_is_a_picture_whose_name_says_nothing_of_the_member(buyer):
    answer = buyer.says("แสตมป์")
    url = answer[0]["contents"]["hero"]["url"]
    token = url.rsplit("/", 1)[1].removesuffix(".png")
    drawn = stamp_pictures.read(buyer.settings.secret_key, token)
    assert drawn.filled == 1
    assert buyer.member.public_id not in url
    assert buyer.member.member_no not in url
    assert "กาแฟฟรี" in words_of(answer)


def test_the_picture_changes_with_the_stamps_only(buyer):
    first = buyer.says("แสตมป์")[0]["contents"]["hero"]["url"]
    assert buyer.says("แสตมป์")[0]["contents"]["hero"]["url"] == first
    buyer.clock.advance(days=1)
    buy(buyer, "2")
    assert buyer.says("แสตมป์")[0]["contents"]["hero"]["url"] != first
