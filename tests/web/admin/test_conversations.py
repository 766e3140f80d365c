"""Human chats in the console: read, answered through the outbox, closed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from loyalty import conversations, exports
from models.conversations import Conversation, ConversationState, KeywordReply, SavedReply
from models.members import Member
from models.outbox import Call, Message
from models.staff import AuditRow, Staff
from tests.moments import NOW


@pytest.fixture
def chat(runtime, somchai) -> int:
    """Somchai has asked something."""
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        made = conversations.add_line(
            session, runtime.vault, member, kind="text", text="<b>ร้านเปิดกี่โมง</b>",
            line_message_id="m1", at=NOW, now=NOW,
        )  # fmt: skip
        session.flush()
        return made.id


def test_lists_and_shows_what_was_written_as_text(owner, chat):
    assert f"/admin/conversations/{chat}" in owner.get("/admin/conversations").text
    page = owner.get(f"/admin/conversations/{chat}").text
    assert "&lt;b&gt;ร้านเปิดกี่โมง" in page


def test_answer_goes_through_the_outbox_and_silences_the_bot(owner, chat, database, somchai):
    owner.send(f"/admin/conversations/{chat}/reply", text="เปิด 8 โมงค่ะ")
    with database.read() as session:
        message = session.scalars(select(Message)).one()
        body = json.loads(session.get_one(Call, message.call_id).body)
        row = session.get_one(Conversation, chat)
        acts = session.scalars(select(AuditRow.act)).all()
    assert (message.kind, message.member_id) == ("conversations.replied", somchai.id)
    assert "เปิด 8 โมงค่ะ" in json.dumps(body, ensure_ascii=False)
    assert row.unread_count == 0
    assert not conversations.should_help(row, NOW + timedelta(minutes=29))
    assert acts == ["conversations.replied"]


def test_empty_and_endless_answers_are_refused(owner, chat, database):
    answers = [
        owner.send(f"/admin/conversations/{chat}/reply", text=one) for one in ("", " ", "x" * 2001)
    ]
    assert [answer.status_code for answer in answers] == [422] * 3
    with database.read() as session:
        assert session.scalars(select(Message)).all() == []


def test_somebody_who_blocked_us_cannot_be_answered(owner, chat, runtime, somchai):
    with runtime.transaction() as session:
        session.get_one(Member, somchai.id).is_following = False
    assert owner.send(f"/admin/conversations/{chat}/reply", text="x").status_code == 409


def test_closed_chat_moves_to_the_closed_ones(owner, chat, database):
    owner.send(f"/admin/conversations/{chat}/close")
    assert f"/admin/conversations/{chat}" not in owner.get("/admin/conversations").text
    assert f"/admin/conversations/{chat}" in owner.get("/admin/conversations?state=closed").text
    with database.read() as session:
        assert session.get_one(Conversation, chat).state == ConversationState.CLOSED


def test_a_chat_is_handed_to_somebody_of_the_team(owner, sign_in, chat, database):
    marketer = sign_in("marketer", name="คนทำการตลาด")
    with database.read() as session:
        ids = {one.role.value: one.id for one in session.scalars(select(Staff))}
    path = f"/admin/conversations/{chat}/assign"
    assert owner.send(path, staff=str(ids["marketer"])).status_code == 422  # may not answer
    assert owner.send(path, staff=str(ids["owner"])).status_code == 303
    assert f"/admin/conversations/{chat}" in owner.get("/admin/conversations?mine=1").text
    assert owner.send(path, staff="").status_code == 303
    assert f"/admin/conversations/{chat}" not in owner.get("/admin/conversations?mine=1").text
    assert marketer.send(path, staff="").status_code == 403


def test_a_note_is_for_the_team_alone(owner, chat, database, runtime, somchai):
    owner.send(f"/admin/conversations/{chat}/note", text="<i>ลูกค้าประจำ</i> ใจเย็น ๆ")
    assert "&lt;i&gt;ลูกค้าประจำ" in owner.get(f"/admin/conversations/{chat}").text
    with database.read() as session:
        assert session.scalars(select(Message)).all() == []
        member = session.get_one(Member, somchai.id)
        own = exports.own_data(session, runtime.vault, member, NOW)["chat"]
        row = session.get_one(Conversation, chat)
        assert conversations.should_help(row, NOW)  # nobody has answered yet
    assert len(own) == 1
    assert "ลูกค้าประจำ" not in str(own)


def test_ready_answers_are_kept_used_and_dropped(owner, chat, database):
    assert owner.send("/admin/replies/saved", title="เวลา", text="8-18 น.").status_code == 303
    assert owner.send("/admin/replies/saved", title="เวลา", text="7-18 น.").status_code == 303
    assert owner.send("/admin/replies/saved", title="", text="x").status_code == 422
    page = owner.get(f"/admin/conversations/{chat}").text
    assert "7-18 น." in page
    assert "8-18 น." not in page
    with database.read() as session:
        reply_id = session.scalars(select(SavedReply.id)).one()
    assert owner.send(f"/admin/replies/saved/{reply_id}/drop").status_code == 303
    assert "7-18 น." not in owner.get("/admin/replies").text


WORD = {"words": "WiFi, ไวไฟ", "how": "exact", "priority": "10",
        "text_th": "ดูที่ใบเสร็จค่ะ", "text_en": "See the receipt"}  # fmt: skip


def test_words_the_bot_answers_are_added_tried_and_switched(owner, database):
    assert owner.send("/admin/replies/words", **WORD).status_code == 303
    assert "ดูที่ใบเสร็จค่ะ</p>" in owner.get("/admin/replies?try=WIFI").text
    with database.read() as session:
        row = session.scalars(select(KeywordReply)).one()
    assert row.words == ["wifi", "ไวไฟ"]
    assert owner.send(f"/admin/replies/words/{row.id}/off").status_code == 303
    assert "ดูที่ใบเสร็จค่ะ</p>" not in owner.get("/admin/replies?try=wifi").text
    assert owner.send(f"/admin/replies/words/{row.id}/drop").status_code == 303


@pytest.mark.parametrize(
    "odd",
    [{"words": " , "}, {"how": "x"}, {"priority": "0"}, {"text_en": ""}, {"text_th": "ก" * 1001}],
)
def test_wrong_words_come_back(owner, database, odd):
    answer = owner.send("/admin/replies/words", **WORD | odd)
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    with database.read() as session:
        assert session.scalars(select(KeywordReply)).all() == []
