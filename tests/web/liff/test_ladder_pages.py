"""Tier, friends and rewards on the member's own pages."""

from __future__ import annotations

import pytest

from loyalty import purchases, shop, tier_gifts
from models.coupons import Obtained
from models.members import Member, Referral
from models.tiers import Tier
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture
def praew(runtime, somebody):
    """A silver member 1,250 baht below gold, who has brought a friend; gifts for both are on."""
    member = somebody("แพรว")
    with runtime.transaction() as session:
        factories.make_policy(session)
        factories.make_coupon(session, "hello", obtained=Obtained.JOURNEY, name_th="เค้กต้อนรับ")
        factories.make_coupon(
            session, "secret", obtained=Obtained.CODE, typed_code="SILVER5", name_th="ลดเงิน"
        )
        factories.make_coupon(
            session, "mug", obtained=Obtained.POINTS, price_points=50, total_units=3,
            picture_url="https://pictures.example/mug.png", name_th="แก้วเก็บเย็น",
        )  # fmt: skip
        shop.set(session, "referrals.friend_gift", "hello", NOW)
        for key, thai, baht, benefits in (
            ("silver", "เงิน", 1000, {"code_coupon": "secret", "early_days": 2}),
            ("gold", "ทอง", 5000, {"birthday_coupon": "hello"}),
        ):
            session.add(
                Tier(key=key, name_th=thai, name_en=key.title(), threshold=baht * 100,
                     colour="#9AA1A8", benefits=benefits, earn_percent=150, created_at=NOW)
            )  # fmt: skip
        friend = factories.make_member(session, "น้ำหวาน ใจดี")
        session.add(Referral(friend_id=friend.id, referrer_id=member.id, at=NOW, joined_at=NOW))
        purchases.record_purchase(
            session, member_id=member.id, branch=factories.make_branch(session),
            amount_satang=375_000, operation_id="1", now=NOW, tz=BANGKOK,
        )  # fmt: skip
        tier_gifts.requalify(session, member.id, NOW, BANGKOK)
    return member


def test_r1_home_shows_the_tier_and_how_far_the_next_one_is(open_phone, praew):
    home = open_phone(praew).get("/m/home").text
    assert "เงิน" in home
    assert "อีก 1,250 บาทถึงระดับทอง" in home
    assert 'value="75"' in home
    assert "style=" not in home


def test_r2_the_tier_page_says_what_each_tier_brings(open_phone, praew):
    page = open_phone(praew).get("/m/tier").text
    for words in ("แต้ม ×1.5", "SILVER5", "รับข้อเสนอก่อนใคร 2 วัน", "ของขวัญวันเกิดพิเศษ",
                  "ซื้อครบ 5,000 บาท", "ระดับของคุณ"):  # fmt: skip
        assert words in page


def test_a_shop_without_tiers_shows_nothing_of_them(open_phone, somebody):
    phone = open_phone(somebody("มาลี"))
    assert 'data-testid="standing"' not in phone.get("/m/home").text
    assert phone.get("/m/tier").headers["Location"].endswith("/m/home")


def test_r4_the_friends_page_shows_code_gifts_and_status(open_phone, praew, runtime):
    page = open_phone(praew).get("/m/friends").text
    with runtime.database.read() as session:
        code = session.get_one(Member, praew.id).referral_code
    assert code in page
    for words in ("เค้กต้อนรับ", "น้ำ*** ใ***", "สมัครแล้ว รอซื้อครั้งแรก"):
        assert words in page
    assert "ใจดี" not in page


def test_r3_rewards_show_picture_price_and_stock(open_phone, praew):
    page = open_phone(praew).get("/m/rewards").text
    for words in ("แก้วเก็บเย็น", "https://pictures.example/mug.png", "เหลือ 3 สิทธิ์"):
        assert words in page


@pytest.mark.parametrize("path", ["tier", "friends"])
def test_no_stranger_sees_them(open_phone, praew, path):
    assert open_phone().get(f"/m/{path}").status_code == 401
