"""Human chats in the console: read, answered through the outbox, closed."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from sqlalchemy import select

from loyalty import conversations
from models.conversations import Conversation, ConversationState
from models.members import Member
from models.outbox import Call, Message
from models.staff import AuditRow
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
