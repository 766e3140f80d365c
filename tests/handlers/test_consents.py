"""A new version of a text in the chat: shown once beside an answer, and answered by its buttons."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.i18n import t
from loyalty import consents, conversations
from models.conversations import Conversation
from models.members import Consent, Purpose
from tests.factories import NOW
from tests.handlers.chat import actions_of, words_of


@pytest.fixture
def member(chat):
    chat.joins()
    return chat


def publish(chat, purpose=Purpose.MARKETING, body="ข้อความใหม่"):
    consents.publish(
        chat.session, purpose, body_th=body, body_en="New", asks_again=True, by="staff:1", now=NOW
    )


def held(chat, purpose=Purpose.MARKETING):
    query = select(Consent.text_version).where(
        Consent.purpose == purpose, Consent.withdrawn_at.is_(None)
    )
    return chat.session.scalars(query).one_or_none()


def asked(messages) -> list[str]:
    found = [action.get("data", "") for action in actions_of(messages)]
    return [data for data in found if data.startswith("consents.")]


def test_nobody_is_asked_while_nothing_is_new(member):
    assert asked(member.says("แต้ม")) == []


def test_is_asked_once_beside_the_next_answer_and_agrees(member):
    publish(member)
    answer = member.says("แต้ม")
    assert "ข้อความใหม่" in words_of(answer)
    agree, decline = asked(answer)
    assert (agree, decline) == (
        "consents.agree?purpose=marketing&version=2",
        "consents.decline?purpose=marketing&version=2",
    )
    assert asked(member.says("แต้ม")) == []
    assert held(member) == "marketing-1"  # nothing changes by silence
    assert words_of(member.taps(agree)) == t("th", "consents.agreed")
    assert held(member) == "marketing-2"


def test_a_no_to_news_ends_them_at_once(member):
    publish(member)
    _agree, decline = asked(member.says("แต้ม"))
    assert words_of(member.taps(decline)) == t("th", "consents.declined")
    assert held(member) is None


def test_a_no_to_membership_shows_the_way_out_and_erases_nobody(member):
    publish(member, Purpose.MEMBERSHIP)
    _agree, decline = asked(member.says("แต้ม"))
    answer = member.taps(decline)
    assert "members.leave" in [action.get("data") for action in actions_of(answer)]
    assert held(member, Purpose.MEMBERSHIP) == "membership-1"
    assert member.member.is_member


def test_an_answer_to_an_older_card_is_for_those_words(member):
    publish(member)
    agree, _decline = asked(member.says("แต้ม"))
    publish(member, body="ฉบับที่สาม")
    answer = member.taps(agree)
    assert held(member) == "marketing-2"
    assert asked(answer)[0].endswith("version=3")  # beside the thanks, once
    assert asked(member.says("แต้ม")) == []


def test_nobody_is_asked_in_a_dialogue(member):
    publish(member)
    assert asked(member.taps("members.correct?field=name")) == []
    assert member.form is not None
    assert asked(member.says("ยกเลิก")) == []
    assert len(asked(member.says("แต้ม"))) == 2


def test_nobody_is_asked_while_a_person_has_the_chat(member):
    member.says("ร้านเปิดกี่โมงคะ")
    publish(member)
    conversation = member.session.scalars(select(Conversation)).one()
    conversations.take_over(conversation, member.clock.now())
    assert asked(member.says("แต้ม")) == []
    conversations.give_back(conversation)
    assert len(asked(member.says("แต้ม"))) == 2


@pytest.mark.parametrize(
    "data",
    ["consents.agree", "consents.agree?purpose=x&version=2", "consents.agree?purpose=marketing",
     "consents.decline?purpose=&version=²", "consents.agree?purpose=marketing&version=9999999"],
)  # fmt: skip
def test_odd_answers_change_nothing(member, data):
    assert words_of(member.taps(data)) == t("th", "consents.nothing_to_answer")
    assert held(member) == "marketing-1"


def test_a_friend_is_never_asked(chat):
    publish(chat)
    assert asked(chat.says("แต้ม")) == []


def test_what_is_agreed_to_on_joining_is_the_version_that_was_shown(chat):
    for words in ("สมัคร", "ยอมรับ", "รับข่าวสาร"):
        chat.says(words)
    publish(chat)  # while the dialogue is under way
    for words in ("แพรว", "081 234 5678", "ข้าม"):
        chat.says(words)
    assert held(chat) == "marketing-1"
    assert consents.stale(chat.session, chat.member.id) != []
