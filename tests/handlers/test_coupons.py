"""Coupons in the chat: listing, claiming, using, typed codes."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.i18n import t
from handlers import router
from loyalty import codes
from models.coupons import (
    CodePurpose,
    CodeTry,
    Coupon,
    CouponKind,
    Obtained,
    Voucher,
)
from models.members import Referral, SourceCode
from tests.factories import SECRET_KEY, make_coupon, make_settings
from tests.handlers.chat import Chat, actions_of, words_of


@pytest.fixture
def member(chat):
    chat.joins()
    return chat


def taps_of(answer):
    return [tap.get("data") for tap in actions_of(answer)]


def test_shows_my_vouchers_and_what_can_be_claimed(member):
    offer = make_coupon(member.session, name_th="ลด 20 บาท", total_units=12)
    answer = member.says("คูปอง")
    assert any(f"coupons.claim?offer={offer.id}&key=" in tap for tap in taps_of(answer) if tap)
    assert "เหลือ 12 สิทธิ์" in words_of(answer)


def claim_button(answer):
    return next(tap for tap in taps_of(answer) if tap and tap.startswith("coupons.claim?"))


def test_claims_once_however_often_it_is_tapped(member):
    make_coupon(member.session, per_member=2)
    button = claim_button(member.says("คูปอง"))
    assert t("th", "coupons.claimed") in words_of(member.taps(button))
    member.clock.advance(minutes=1)
    assert t("th", "coupons.already_obtained") in words_of(member.taps(button))
    assert len(member.session.scalars(select(Voucher)).all()) == 1
    fresh = claim_button(member.says("คูปอง"))
    assert t("th", "coupons.claimed") in words_of(member.taps(fresh))
    assert len(member.session.scalars(select(Voucher)).all()) == 2
    assert not any("coupons.claim?" in tap for tap in taps_of(member.says("คูปอง")) if tap)


def test_a_button_without_a_key_gives_one_for_good(member):
    offer = make_coupon(member.session, per_member=3)
    for _ in range(3):
        member.taps(f"coupons.claim?offer={offer.id}")
        member.clock.advance(minutes=1)
    assert len(member.session.scalars(select(Voucher)).all()) == 1


def test_cards_say_when_a_coupon_works_and_what_is_left_on_it(member, session):
    make_coupon(
        session, kind=CouponKind.CASH, value_satang=10_000, keeps_change=True, per_day=3,
        conditions={"weekdays": [0, 1, 2, 3, 4], "hours": [[14, 17]]},
    )  # fmt: skip
    said = words_of(member.says("คูปอง"))
    assert "ใช้ได้วันจันทร์ถึงศุกร์ เวลา 14:00–17:00 น." in said
    assert "วันนี้เหลือ 3 สิทธิ์" in said
    member.taps(claim_button(member.says("คูปอง")))
    session.scalars(select(Voucher)).one().left_satang = 8_000
    assert "เหลือ 80 บาท" in words_of(member.says("คูปอง"))


def test_cards_say_why_an_offer_cannot_be_had_now(member, session):
    make_coupon(session, conditions={"weekdays": [0], "timed_claim": True})
    answer = member.says("คูปอง")
    assert "คูปองนี้ใช้ได้วันจันทร์" in words_of(answer)
    assert not any("coupons.claim?" in tap for tap in taps_of(answer) if tap)


def test_says_when_it_is_sold_out(member):
    offer = make_coupon(member.session, total_units=1, issued_count=1)
    answer = member.taps(f"coupons.claim?offer={offer.id}")
    assert t("th", "coupons.sold_out") in words_of(answer)


@pytest.mark.parametrize("offer", ["0", "-1", "x", "999999999999999999", "1;DROP", ""])
def test_refuses_an_offer_that_is_none(member, offer):
    assert words_of(member.taps(f"coupons.claim?offer={offer}"))
    assert member.session.scalars(select(Voucher)).all() == []


def test_a_friend_is_asked_to_join_before_claiming(chat):
    offer = make_coupon(chat.session)
    answer = chat.taps(f"coupons.claim?offer={offer.id}")
    assert t("th", "members.must_join_title") in words_of(answer)


def test_using_leads_to_the_page_by_a_fresh_link(member):
    offer = make_coupon(member.session)
    member.taps(f"coupons.claim?offer={offer.id}")
    voucher = member.session.scalars(select(Voucher)).one()
    answer = member.taps(f"coupons.use?voucher={voucher.public_id}")
    link = next(tap["uri"] for tap in actions_of(answer))
    assert link.startswith(f"{member.settings.public_url}/l/")
    again = next(
        tap["uri"] for tap in actions_of(member.taps(f"coupons.use?voucher={voucher.public_id}"))
    )
    assert again != link


def test_using_leads_through_liff_where_it_is_set_up(member):
    member.settings = make_settings(
        "sqlite://", liff_id="1-Ab", line_login_channel_id="1", liff_url="https://liff.line.me"
    )
    offer = make_coupon(member.session)
    member.taps(f"coupons.claim?offer={offer.id}")
    voucher = member.session.scalars(select(Voucher)).one()
    answer = member.taps(f"coupons.use?voucher={voucher.public_id}")
    link = next(tap["uri"] for tap in actions_of(answer))
    assert link == f"https://liff.line.me/1-Ab/coupons/{voucher.public_id}"


def test_AI1_another_members_voucher_looks_like_none(member, session, vault):
    offer = make_coupon(session)
    member.taps(f"coupons.claim?offer={offer.id}")
    voucher = session.scalars(select(Voucher)).one()
    other = Chat(session, vault, line_user_id="U" + "9" * 32)
    other.joins()
    theirs = words_of(other.taps(f"coupons.use?voucher={voucher.public_id}"))
    unknown = words_of(other.taps("coupons.use?voucher=" + "0" * 32))
    assert theirs == unknown == t("th", "coupons.not_found")


def test_an_expired_voucher_says_so(member):
    offer = make_coupon(member.session)
    member.taps(f"coupons.claim?offer={offer.id}")
    voucher = member.session.scalars(select(Voucher)).one()
    member.clock.advance(days=60)
    answer = member.taps(f"coupons.use?voucher={voucher.public_id}")
    assert words_of(answer) == t("th", "coupons.expired")


# Typed codes (C8)


@pytest.fixture
def typed(session):
    return make_coupon(session, "secret", obtained=Obtained.CODE, typed_code="ABCDEFGH2345K")


@pytest.mark.parametrize("text", ["โค้ด ABCDEFGH2345K", "code abcdefgh2345k", "โค้ด ABCDEFGH-2345K"])
def test_a_coupon_code_gives_a_voucher(member, typed, text):
    assert t("th", "coupons.claimed") in words_of(member.says(text))
    assert member.session.scalars(select(Voucher)).one().source == "code"


@pytest.mark.parametrize(
    "text", ["code\u00b4ABC", "โค้ด\u00afX", "code A\x00B", "\u200bcode ABC\x00", "code A\ud800"]
)
def test_a_code_of_odd_letters_is_refused_like_any_other(member, typed, text):
    assert words_of(member.says(text)) == t("th", "codes.refused")


def test_a_code_after_what_cannot_be_seen_is_that_code(member, typed):
    assert t("th", "coupons.claimed") in words_of(member.says("\u200b code ABCDEFGH2345K"))


@pytest.mark.parametrize("data", ["coupons.use?voucher=%00", "coupons.claim?offer=1&key=\ud800"])
def test_a_tap_that_no_button_of_ours_makes_is_unknown(member, data):
    assert router.parse_postback({"data": data}) is None
    assert member.taps(data) == member.taps("nobody.knows")


def test_AC8_every_refusal_of_a_code_is_the_same(member, typed, now):
    make_coupon(
        member.session,
        "gone",
        obtained=Obtained.CODE,
        typed_code="GONE",
        total_units=1,
        issued_count=1,
    )
    make_coupon(member.session, "late", obtained=Obtained.CODE, typed_code="LATE", ends_at=now)
    make_coupon(member.session, "open", obtained=Obtained.CLAIM, typed_code="OPEN")
    said = set()
    for code in ("NOSUCHCODE", "GONE", "LATE", "OPEN"):
        said.add(words_of(member.says(f"โค้ด {code}")))
        member.clock.advance(minutes=2)
    member.says("โค้ด ABCDEFGH2345K")
    member.clock.advance(minutes=2)
    said.add(words_of(member.says("โค้ด ABCDEFGH2345K")))
    said.add(words_of(member.says(f"โค้ด {member.member.referral_code}")))
    assert said == {t("th", "codes.refused")}


def test_five_tries_a_minute_and_a_hit_does_not_reset_them(member, typed):
    for _ in range(4):
        member.says("โค้ด WRONG")
    assert t("th", "coupons.claimed") in words_of(member.says("โค้ด ABCDEFGH2345K"))
    assert words_of(member.says("โค้ด WRONG")) == t("th", "errors.too_many", minutes=1)
    assert member.session.scalars(select(CodeTry)).all()


def test_twenty_tries_a_day(member):
    for _ in range(20):
        member.says("โค้ด WRONG")
        member.clock.advance(minutes=2)
    assert "ถี่เกินไป" in words_of(member.says("โค้ด WRONG"))


# Where a friend comes from (J5)


@pytest.fixture
def poster(session):
    source = SourceCode(code="SIAM1", kind="poster", label="โปสเตอร์สยาม")
    session.add(source)
    session.flush()
    return source


def test_J5_a_source_code_counts_until_joining_ends(chat, poster):
    assert t("th", "codes.source_noted") in words_of(chat.says("โค้ด siam1"))
    chat.says("สมัคร")
    chat.joins()
    assert chat.member.source_code == "SIAM1"
    assert words_of(chat.says("โค้ด SIAM1")) == t("th", "codes.refused")


def test_J5_a_referral_code_names_who_brought_the_friend(chat, session, vault):
    chat.joins()
    friend = Chat(session, vault, line_user_id="U" + "3" * 32)
    assert t("th", "codes.source_noted") in words_of(
        friend.says(f"โค้ด {chat.member.referral_code}")
    )
    friend.joins(name="เพื่อน")
    referral = session.scalars(select(Referral)).one()
    assert (referral.referrer_id, referral.friend_id) == (chat.member.id, friend.member.id)
    assert referral.joined_at is not None
    counts = words_of(chat.says("ชวนเพื่อน"))
    assert t("th", "referrals.joined") in counts


def test_a_second_referrer_is_refused(chat, session, vault):
    chat.joins()
    other = Chat(session, vault, line_user_id="U" + "4" * 32)
    other.joins()
    friend = Chat(session, vault, line_user_id="U" + "5" * 32)
    friend.says(f"โค้ด {chat.member.referral_code}")
    assert t("th", "codes.refused") in words_of(friend.says(f"โค้ด {other.member.referral_code}"))


def test_a_code_in_the_middle_of_joining_is_noted_and_joining_goes_on(chat, poster):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว"):
        chat.says(words)
    answer = words_of(chat.says("โค้ด SIAM1"))
    assert t("th", "codes.source_noted") in answer
    assert t("th", "members.joining_paused") in answer
    chat.says("สมัคร")
    chat.says("0812345678")
    chat.says("ข้าม")
    assert chat.member.is_member
    assert chat.member.source_code == "SIAM1"


# Rewards (R3)


@pytest.fixture
def reward(session):
    return make_coupon(
        session, "latte", obtained=Obtained.POINTS, price_points=80,
        kind=CouponKind.FREE_ITEM, name_th="ลาเต้เย็น",
    )  # fmt: skip


def give_points(chat, count):
    from loyalty import points

    points.earn(
        chat.session, chat.member.id, count, source="tests", source_id="1",
        now=chat.clock.now(), tz=chat.clock.tz,
    )  # fmt: skip


def test_the_catalogue_says_how_far_a_reward_is(member, reward):
    give_points(member, 50)
    answer = member.says("ของรางวัล")
    assert "ขาดอีก 30 แต้ม" in words_of(answer)
    assert not [tap for tap in taps_of(answer) if tap and tap.startswith("rewards.exchange")]


def test_p9_a_debt_is_part_of_how_far_a_reward_is(member, reward):
    from loyalty import points

    give_points(member, 50)
    who = {"source_id": "1", "now": member.clock.now()}
    points.burn(member.session, member.member.id, 50, source="voucher", **who)
    points.take_back(
        member.session, member.member.id, 50, source="purchase_return", earn_source="tests",
        earn_source_id="1", returned_before=0, **who,
    )  # fmt: skip
    for words in ("ของรางวัล", "แต้ม"):
        assert "ขาดอีก 130 แต้ม" in words_of(member.says(words))


def test_exchanging_asks_then_burns_once_for_any_number_of_taps(member, reward):
    from loyalty import points

    give_points(member, 100)
    asked = member.taps(f"rewards.exchange?offer={reward.id}")
    confirm = next(tap for tap in taps_of(asked) if tap.startswith("rewards.confirm"))
    for _ in range(3):
        assert "ลาเต้เย็น" in words_of(member.taps(confirm))
    assert points.balance_of(member.session, member.member.id, member.clock.now()).balance == 20
    assert len(member.session.scalars(select(Voucher)).all()) == 1
    history = words_of(member.says("ประวัติ"))
    assert t("th", "points.words_exchanged", coupon="ลาเต้เย็น") in history


def test_r3_a_price_that_has_changed_since_it_was_shown_burns_nothing(member, reward):
    give_points(member, 100)
    asked = member.taps(f"rewards.exchange?offer={reward.id}")
    confirm = next(tap for tap in taps_of(asked) if tap.startswith("rewards.confirm"))
    reward.price_points = 90
    member.session.flush()
    said = t("th", "rewards.price_changed", price="90")
    assert said in words_of(member.taps(confirm))
    assert member.session.scalars(select(Voucher)).all() == []
    reward.price_points = 80
    member.session.flush()
    member.taps(confirm)
    assert len(member.session.scalars(select(Voucher)).all()) == 1


def test_too_few_points_cost_nothing(member, reward):
    give_points(member, 10)
    answer = words_of(member.taps(f"rewards.confirm?offer={reward.id}&key=abc"))
    assert "10" in answer
    assert "80" in answer
    assert member.session.scalars(select(Voucher)).all() == []


def test_c5_a_voucher_at_the_till_says_so_in_the_list_until_time_releases_it(member):
    offer = make_coupon(member.session)
    member.taps(f"coupons.claim?offer={offer.id}")
    voucher = member.session.scalars(select(Voucher)).one()
    real = member.clock.real_now()
    code = codes.make_code(
        member.session, SECRET_KEY, CodePurpose.REDEEM, voucher.member_id, voucher_id=voucher.id,
        real_now=real,
    )  # fmt: skip
    codes.scan(member.session, codes.parse(SECRET_KEY, code), "device:1", real, real)
    assert t("th", "coupons.held") in words_of(member.says("คูปอง"))
    member.clock.advance(minutes=5, seconds=1)
    assert t("th", "coupons.held") not in words_of(member.says("คูปอง"))


def test_a_hundred_offers_stay_within_lines_limits(member):
    from tests.handlers.chat import size_of

    for number in range(30):
        make_coupon(
            member.session, f"offer{number}", terms_th="เงื่อนไข " * 100, name_th="ชื่อยาว" * 14
        )
    assert member.session.scalars(select(Coupon)).all()
    for message in member.says("คูปอง"):
        assert size_of(message) < 50 * 1024
