"""A question in the chat: one tap answers, thanks lead on, and the next text may say why."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from bot.flex.surveys import csat_bubble, nps_bubble
from core.i18n import t
from loyalty import shop, surveys
from models.conversations import Conversation
from models.scores import SurveyAnswer
from tests.handlers.chat import actions_of, words_of


@pytest.fixture
def member(chat):
    chat.joins()
    return chat


@pytest.fixture
def question(member):
    """`question("nps")` is the data of every button of a question just put, by mark."""

    def put(kind="csat"):
        row = surveys.ask(member.session, member.member.id, kind, "one", member.clock.now())
        card = (
            csat_bubble(row.id, "th")
            if kind == "csat"
            else nps_bubble(row.id, "th", shop_name="ร้านแต้มดี")
        )
        return [action["data"] for action in actions_of([card])]

    return put


def test_l4_every_mark_has_its_button(question):
    assert [data[-4:] for data in question("csat")] == [f"&s={n}" for n in range(1, 6)]
    assert [data.rpartition("=")[2] for data in question("nps")] == [str(n) for n in range(11)]


def test_l4_a_low_mark_is_thanked_for_and_the_reason_opens_no_chat(member, question):
    assert t("th", "surveys.thanks_low") in words_of(member.taps(question()[0]))
    assert words_of(member.says("รอนานมาก")) == t("th", "surveys.why_kept")
    assert member.session.scalars(select(Conversation)).all() == []
    member.says("ขอโต๊ะริมหน้าต่าง")
    assert len(member.session.scalars(select(Conversation)).all()) == 1


def test_l4_a_chat_word_is_no_reason(member, question):
    member.taps(question()[2])
    member.says("แต้ม")
    row = member.session.scalars(select(SurveyAnswer)).one()
    assert row.why_sealed is None


def test_l4_high_marks_lead_to_a_review(member, question):
    shop.set(member.session, "shop.review_url", "https://g.page/r/cafe", member.clock.now())
    [link] = [one for one in actions_of(member.taps(question("nps")[10])) if one["type"] == "uri"]
    assert "/r/" in link["uri"]
    assert "g.page" not in link["uri"]


def test_l4_a_stranger_s_or_odd_question_is_answered_kindly(member, question):
    question()
    for data in ("surveys.answer", "surveys.answer?q=9999&s=3", "surveys.answer?q=1&s=99"):
        assert t("th", "surveys.unknown") in words_of(member.taps(data))


def test_an_unsent_reason_is_forgotten(member, question):
    member.taps(question()[0])
    member.says("พนักงานพูดไม่ดี")
    row = member.session.scalars(select(SurveyAnswer)).one()
    assert row.why_sealed is not None
    member.hears({"type": "unsend", "unsend": {"messageId": row.why_message_id}})
    member.session.refresh(row)
    assert row.why_sealed is None
