"""Every chat word of the contract, in Thai and English, for members and for friends."""

from __future__ import annotations

import unicodedata

import pytest

from core.i18n import t
from handlers import router
from tests.handlers.chat import words_of

# What each word does: words, the text that shows it to a member, and to a friend.
MUST_JOIN = "members.must_join_title"
WORDS = [
    (("สมัคร", "สมัครสมาชิก", "join"), "members.card_hint", "members.ask_consent"),
    (("แต้ม", "คะแนน", "points"), "points.available", MUST_JOIN),
    (("ประวัติ", "history"), "points.history_title", MUST_JOIN),
    (("แสตมป์", "stamps"), "stamps.empty_title", MUST_JOIN),
    (("คูปอง", "coupons"), "coupons.no_vouchers_title", "coupons.no_vouchers_title"),
    (("ลุ้นโชค", "lucky draw", "draw"), "draws.none_title", MUST_JOIN),
    (("ของรางวัล", "rewards"), "rewards.empty_title", "rewards.empty_title"),
    (("บัตร", "บัตรสมาชิก", "card"), "members.card_hint", MUST_JOIN),
    (("ชวนเพื่อน", "invite"), "referrals.title", MUST_JOIN),
    (("ข้อมูลของฉัน", "my data"), "members.my_data_title", MUST_JOIN),
    (("รับข่าวอะไรบ้าง", "what news"), "topics.title", MUST_JOIN),
    (("ภาษา", "language"), "members.language_title", "members.language_title"),
    (("เมนู", "ช่วยเหลือ", "menu", "help"), "members.help_title", "members.help_title"),
    (("ติดต่อพนักงาน", "staff"), "conversations.staff_called", "conversations.staff_called"),
    (("โค้ด", "code"), "codes.how_to_type", "codes.how_to_type"),
]
CASES = [(word, member, friend) for words, member, friend in WORDS for word in words]
# A person answers after these: each ends a chat of its own, the others follow one another.
LAST = ("ติดต่อพนักงาน", "staff")
CHATS = [
    [case for case in CASES if case[0] not in LAST],
    *([case] for case in CASES if case[0] in LAST),
]


@pytest.mark.parametrize("said", CHATS, ids=["bot", *LAST])
def test_a_member_is_answered(chat, said):
    chat.joins()
    for word, member_hears, _ in said:
        assert t("th", member_hears) in words_of(chat.says(word)), word


@pytest.mark.parametrize("said", CHATS, ids=["bot", *LAST])
def test_a_friend_is_answered(chat, said):
    for word, _, friend_hears in said:
        assert t("th", friend_hears) in words_of(chat.says(word)), word


@pytest.mark.parametrize("said", CHATS, ids=["bot", *LAST])
def test_an_english_member_is_answered_in_english(chat, said):
    chat.joins()
    chat.member.locale = "en"
    for word, member_hears, _ in said:
        assert t("en", member_hears) in words_of(chat.says(word)), word


def test_every_word_of_the_tables_is_tested():
    tested = {word for word, _, _ in CASES}
    assert set(router.WORDS) == tested
    assert set(router.PREFIXES) <= tested


@pytest.mark.parametrize(
    "typed",
    [
        "  แต้ม ",
        "แต้\u200bม",
        "ＰＯＩＮＴＳ",
        "PoInTs",
        unicodedata.normalize("NFD", "แต้ม"),
        "my   data",
    ],
)
def test_matches_folded_and_trimmed(chat, typed):
    assert t("th", MUST_JOIN) in words_of(chat.says(typed))


@pytest.mark.parametrize("typed", ["แต้มๆ", "แต้ม ได้ไหม", "pointsx", "ขอดูแต้ม"])
def test_matches_nothing_but_the_word(chat, typed):
    assert router.find_word(typed) is None


def test_am_typed_decomposed_is_the_same_word():
    decomposed = "ติดต\u0e48อพนักงาน"
    assert router.find_word(decomposed) == router.find_word("ติดต่อพนักงาน")
