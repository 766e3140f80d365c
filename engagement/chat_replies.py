"""What staff write in a chat, on its way to the member: a free reply while there is one, else a push.

The reply token of the member's last message lives about a minute. It is the event's, stored with
it; an answer of the bot, or of a colleague, uses it up. An unknown outcome is never repeated, and a
definite refusal becomes a push (`outbox.queue_reply`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from bot.events import TOKEN_SECONDS, usable_token
from core.db import database_now
from engagement import outbox
from models.conversations import Conversation, ConversationLine
from models.inbox import Event, EventState
from models.members import Member
from models.outbox import Call, CallKind, Message, MessageClass, MessageState

KIND = "conversations.replied"
#: A sender needs a moment too: what is shown as free must still be when it leaves.
MARGIN = timedelta(seconds=5)


@dataclass(frozen=True)
class Free:
    """A reply token that nobody has used yet; `expires_at` is real time."""

    event_id: int
    token: str
    expires_at: datetime
    seconds_left: int


@dataclass(frozen=True)
class Fate:
    """What became of an answer; `channel` is reply (free) or push, `reason` why it was not sent."""

    state: MessageState
    channel: str | None
    reason: str | None


def free_reply(session: Session, member: Member) -> Free | None:
    """The newest unused reply token of this member, while LINE still takes it."""
    if member.line_user_id is None:
        return None
    real_now = database_now(session)
    used = exists().where(Call.event_id == Event.id, Call.kind == CallKind.REPLY)
    newest = (
        select(Event.id, Event.payload, Event.received_at, Event.event_at, Event.is_redelivery)
        .where(
            Event.line_user_id == member.line_user_id,
            Event.state == EventState.DONE,
            Event.received_at > real_now - timedelta(seconds=TOKEN_SECONDS),
            ~used,
        )
        .order_by(Event.id.desc())
        .limit(5)
    )
    for event in session.execute(newest).all():
        token = usable_token(json.loads(event.payload), event, real_now + MARGIN)
        if token is not None:
            expires_at = event.received_at + timedelta(seconds=TOKEN_SECONDS)
            left = int((expires_at - MARGIN - real_now).total_seconds())
            return Free(event.id, token, expires_at, max(left, 0))
    return None


def send(
    session: Session,
    member: Member,
    line: ConversationLine,
    messages: Sequence[dict[str, Any]],
    now: datetime,
) -> bool:
    """Put an answer of staff on its way; whether it is free.

    Locks the conversation, so that two colleagues never use one token.
    """
    session.execute(
        select(Conversation.id).where(Conversation.id == line.conversation_id).with_for_update()
    )
    free = free_reply(session, member)
    if free is None:
        outbox.queue(
            session, key=_key(line.id), member=member, klass=MessageClass.TRANSACTIONAL, kind=KIND,
            messages=messages, now=now,
        )  # fmt: skip
        return False
    outbox.queue_reply(
        session, key=_key(line.id), member=member, kind=KIND, token=free.token, messages=messages,
        event_id=free.event_id, expires_at=free.expires_at, now=now,
    )  # fmt: skip
    return True


def fates(session: Session, member_id: int, line_ids: Sequence[int]) -> dict[int, Fate]:
    """What became of these lines of staff to a member; a refused reply is what became of its push.

    A part of a key is in no index that both engines use: those of the member are looked through.
    """
    wanted = {_key(line_id): line_id for line_id in line_ids}
    columns = (Message.key, Message.state, Message.channel, Message.reason)
    found = {
        wanted[row.key]: Fate(row.state, row.channel, row.reason)
        for row in session.execute(select(*columns).where(Message.key.in_(wanted)))
    }
    theirs = select(Member.id).where(
        or_(Member.id == member_id, Member.merged_into_id == member_id)
    )
    for line_id in set(line_ids) - set(found):
        refused = select(Message.call_id).where(
            Message.member_id.in_(theirs), Message.key.like(f"{_key(line_id)}:refused:%")
        )
        call_id = session.scalar(refused.limit(1))
        pushed = select(*columns).where(Message.key == f"reply:{call_id}")
        if call_id is not None and (row := session.execute(pushed).one_or_none()):
            found[line_id] = Fate(row.state, row.channel, row.reason)
    return found


def _key(line_id: int) -> str:
    return f"conversation_line:{line_id}"
