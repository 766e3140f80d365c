"""Answers of staff: free while the member's reply token lives, once, and pushed only if refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from engagement import chat_replies
from loyalty import conversations
from models.inbox import Event, EventState
from models.members import Member
from models.outbox import Call, CallKind, CallState, MessageState
from models.staff import Role, Staff
from tests.worker.conftest import Post

WORDS = {"type": "text", "text": "เปิด 8 โมงค่ะ"}


@pytest.fixture
def user(post: Post) -> str:
    """Somebody whom LINE knows and who has just written."""
    user = post.line.user_id()
    now = post.runtime.clock.now()
    with post.database.write() as session:
        session.add(
            Member(public_id="a" * 32, line_user_id=user, created_at=now, is_following=True)
        )
        session.add(Staff(id=7, email="n@taem.example", name="นก", role=Role.OWNER, created_at=now))
    return user


def wrote(post: Post, user: str, token: str, *, seconds_ago: float = 1, is_used: bool = False):
    """The stored event of a message of theirs, done, with this reply token."""
    at = datetime.now(UTC) - timedelta(seconds=seconds_ago)
    with post.database.write() as session:
        event = Event(
            webhook_event_id=f"E{token[:40]}", kind="message", line_user_id=user, lane=user,
            event_at=at, received_at=at, next_try_at=at, state=EventState.DONE,
            payload=json.dumps({"replyToken": token}).encode(),
        )  # fmt: skip
        session.add(event)
        session.flush()
        if is_used:
            session.add(
                Call(
                    kind=CallKind.REPLY, klass="service", state=CallState.DONE, created_at=at,
                    next_try_at=at, event_id=event.id,
                )
            )  # fmt: skip


def answers(post: Post, user: str) -> tuple[int, bool]:
    """Staff answer; the line, and whether it was free."""
    runtime, now = post.runtime, post.runtime.clock.now()
    with runtime.transaction(now) as session:
        member = session.scalars(select(Member).where(Member.line_user_id == user)).one()
        line = conversations.reply_of_staff(
            session, runtime.vault, member, staff_id=7, text=WORDS["text"], now=now
        )
        return line.id, chat_replies.send(session, member, line, [WORDS], now)


def fate(post: Post, line_id: int) -> Any:
    with post.database.read() as session:
        member_id = session.scalars(select(Member.id)).one()
        return chat_replies.fates(session, member_id, [line_id]).get(line_id)


def test_an_answer_is_free_while_the_token_lives(post: Post, user: str, eventually: Any):
    wrote(post, user, post.line.reply_token())
    line_id, free = answers(post, user)
    assert free
    post.sender()
    eventually(lambda: fate(post, line_id).state == MessageState.SENT)
    assert fate(post, line_id).channel == "reply"
    assert post.line.answers("reply") == {"200": 1}
    assert post.line.answers("push") == {}
    assert post.calls()[0].body is None  # given once: nothing is kept


def test_a_second_answer_to_the_same_message_is_a_push(post: Post, user: str, eventually: Any):
    wrote(post, user, post.line.reply_token())
    assert [answers(post, user)[1], answers(post, user)[1]] == [True, False]
    post.sender()
    post.wait(sent=2)
    assert (post.line.answers("reply"), post.line.answers("push")) == ({"200": 1}, {"200": 1})


@pytest.mark.parametrize("how", [{"seconds_ago": 46}, {"is_used": True}])
def test_an_old_or_used_token_is_not_tried(post: Post, user: str, how: dict[str, Any]):
    wrote(post, user, "dead", **how)
    assert answers(post, user)[1] is False
    post.sender()
    post.wait(sent=1)
    assert post.line.answers("reply") == {}


def test_a_refused_reply_is_pushed_once(post: Post, user: str, eventually: Any):
    wrote(post, user, "not a token of LINE")
    line_id, free = answers(post, user)
    assert free
    post.sender()
    eventually(lambda: fate(post, line_id) is not None and fate(post, line_id).channel == "push")
    eventually(lambda: fate(post, line_id).state == MessageState.SENT)
    assert (post.line.answers("reply"), post.line.answers("push")) == ({"400": 1}, {"200": 1})


def test_a_reply_taken_too_late_is_pushed_untried(post: Post, user: str, eventually: Any):
    wrote(post, user, post.line.reply_token())
    line_id, _free = answers(post, user)
    post.runtime.clock.advance(minutes=2)  # no sender was there in time
    post.sender()
    eventually(lambda: fate(post, line_id).channel == "push")
    post.wait(sent=1)
    assert post.line.answers("reply") == {}


def test_an_answer_of_unknown_outcome_is_never_repeated(post: Post, user: str, eventually: Any):
    wrote(post, user, post.line.reply_token())
    line_id, _free = answers(post, user)
    post.line.switch(reply="500")
    post.sender()
    eventually(lambda: fate(post, line_id).state == MessageState.SENT_UNKNOWN)
    assert post.line.answers("push") == {}


def test_two_senders_give_it_once(post: Post, user: str, eventually: Any):
    wrote(post, user, post.line.reply_token())
    line_id, _free = answers(post, user)
    post.sender()
    post.sender()
    eventually(lambda: fate(post, line_id).state == MessageState.SENT)
    assert post.line.answers("reply") == {"200": 1}
