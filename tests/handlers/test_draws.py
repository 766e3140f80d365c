"""Lucky draws in the chat: chances in words, one tap one turn."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from core.i18n import t
from loyalty import draws
from models.coupons import Obtained, Voucher
from tests.factories import make_coupon
from tests.handlers.chat import actions_of, words_of
from tests.moments import NOW


@pytest.fixture
def member(chat):
    chat.joins()
    return chat


@pytest.fixture
def draw(session, vault):
    prize = make_coupon(session, "prize", obtained=Obtained.DRAW, total_units=12)
    made = draws.create(
        session, vault, key="coffee", name_th="ลุ้นกาแฟฟรี", name_en="Coffee draw", now=NOW,
        turns_per_day=1, prizes=[(prize.id, 1_000_000)],
    )  # fmt: skip
    draws.start(session, made)
    return made


def button(answer):
    taps = [tap.get("data") for tap in actions_of(answer)]
    return next((tap for tap in taps if tap and tap.startswith("draws.play?")), None)


def test_says_the_chance_the_stock_and_the_turns(member, draw):
    answer = member.says("ลุ้นโชค")
    said = words_of(answer)
    assert "โอกาส 100% (ประมาณ 1 ใน 1) เหลือ 12 รางวัล" in said
    assert t("th", "draws.turns", count=1) in said
    assert t("th", "draws.limited") in said
    links = [tap["uri"] for tap in actions_of(answer) if "uri" in tap]
    assert any(link.endswith("/m/draws/coffee/proof") for link in links)


def test_plays_one_turn_however_often_it_is_tapped(member, draw, session):
    tap = button(member.says("ลุ้นโชค"))
    first, again = words_of(member.taps(tap)), words_of(member.taps(tap))
    assert first == again
    assert t("th", "draws.won_title") in first
    assert session.scalar(select(func.count()).select_from(Voucher)) == 1
    after = member.says("ลุ้นโชค")
    assert button(after) is None
    assert t("th", "draws.no_turns_left") in words_of(after)


def test_z19_a_turn_tapped_before_midnight_counts_when_it_is_handled_after(member, draw):
    tap = {"type": "postback", "postback": {"data": button(member.says("ลุ้นโชค"))}}
    tapped_at = member.clock.now()
    member.clock.advance(days=1)
    assert t("th", "draws.no_such_turn") in words_of(member.hears(tap))
    assert t("th", "draws.won_title") in words_of(member.hears(tap, tapped_at))


def test_a_prize_leads_to_its_voucher(member, draw, session):
    answer = member.taps(button(member.says("ลุ้นโชค")))
    voucher = session.scalars(select(Voucher)).one()
    taps = [tap.get("data") for tap in actions_of(answer)]
    assert f"coupons.use?voucher={voucher.public_id}" in taps


@pytest.mark.parametrize(
    "data", ["draws.play", "draws.play?draw=x&turn=y", "draws.play?draw=coffee"]
)
def test_odd_taps_are_answered_kindly(member, draw, data):
    assert words_of(member.taps(data))


def test_without_a_draw_there_is_a_kind_word(member):
    assert t("th", "draws.none_title") in words_of(member.says("ลุ้นโชค"))


def test_friends_join_first(chat, draw):
    assert t("th", "members.must_join_title") in words_of(chat.says("ลุ้นโชค"))
