"""Chats with staff: lines are sealed under the member's key; unsent ones lose their text (M11).

Free text that is no command opens or extends the conversation and gets the help card at most once
in 12 hours; the bot keeps silent for 30 minutes after a member of staff wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.crypto import Vault
from core.db import insert_into
from core.text import clean_lines
from loyalty import activities, audit, personal
from models.conversations import Conversation, ConversationLine, ConversationState
from models.members import Member

HELP_EVERY_HOURS = 12
SILENT_MINUTES = 30
LINE_LETTERS = 5000
#: The kind of a line that only staff see.
NOTE = "note"


@dataclass(frozen=True)
class ShownLine:
    """One line as staff read it. `text` is None when it was unsent or is no text."""

    id: int
    kind: str
    text: str | None
    at: datetime
    staff_id: int | None
    is_unsent: bool


def open_for(session: Session, member: Member, now: datetime) -> Conversation:
    """The member's conversation, open."""
    conversation = of(session, member)
    if conversation is None:
        session.execute(
            insert_into(session, Conversation)
            .values(
                member_id=member.id,
                state=ConversationState.OPEN,
                opened_at=now,
                last_at=now,
                unread_count=0,
            )
            .on_conflict_do_nothing(index_elements=["member_id"])
        )
        conversation = session.scalars(
            select(Conversation).where(Conversation.member_id == member.id)
        ).one()
    if conversation.state == ConversationState.CLOSED:
        conversation.state = ConversationState.OPEN
        conversation.opened_at = now
    return conversation


def call_staff(session: Session, member: Member, now: datetime) -> Conversation:
    """Somebody asks for a person: their conversation goes to the top of the staff's list."""
    conversation = open_for(session, member, now)
    conversation.last_at = max(now, conversation.last_at)
    conversation.unread_count += 1
    activities.record(session, member.id, "conversations.opened", now)
    return conversation


def of(session: Session, member: Member) -> Conversation | None:
    """The member's conversation, if there ever was one."""
    return session.scalar(select(Conversation).where(Conversation.member_id == member.id))


def add_line(
    session: Session,
    vault: Vault,
    member: Member,
    *,
    kind: str,
    text: str | None,
    line_message_id: str | None,
    at: datetime,
    now: datetime,
) -> Conversation:
    """Keep what a member wrote or sent; `kind` is LINE's: text, sticker, image, ..."""
    conversation = open_for(session, member, now)
    sealed = None
    if text:
        cleaned = clean_lines(text, LINE_LETTERS)
        sealed = personal.seal(session, vault, member, personal.LINE_FIELD, cleaned, now)
    session.execute(
        insert_into(session, ConversationLine)
        .values(
            conversation_id=conversation.id,
            line_message_id=line_message_id,
            kind=kind,
            text_sealed=sealed,
            at=at,
        )
        .on_conflict_do_nothing()
    )
    conversation.last_at = max(at, conversation.last_at)
    conversation.unread_count += 1
    return conversation


def should_help(conversation: Conversation, now: datetime) -> bool:
    """Whether the help card may answer this line; noting that it does."""
    replied_at = conversation.last_staff_reply_at
    if replied_at is not None and now - replied_at < timedelta(minutes=SILENT_MINUTES):
        return False
    helped_at = conversation.last_help_at
    if helped_at is not None and now - helped_at < timedelta(hours=HELP_EVERY_HOURS):
        return False
    conversation.last_help_at = now
    return True


def reply_of_staff(
    session: Session, vault: Vault, member: Member, *, staff_id: int, text: str, now: datetime
) -> ConversationLine:
    """Keep what a member of staff wrote; sending it is the caller's, through the gate."""
    conversation = open_for(session, member, now)
    cleaned = clean_lines(text, LINE_LETTERS)
    line = ConversationLine(
        conversation_id=conversation.id,
        staff_id=staff_id,
        kind="text",
        text_sealed=personal.seal(session, vault, member, personal.LINE_FIELD, cleaned, now),
        at=now,
    )
    session.add(line)
    conversation.last_at = now
    conversation.last_staff_reply_at = now
    conversation.unread_count = 0
    session.flush()  # the outbox key names the line
    return line


def note(
    session: Session, vault: Vault, member: Member, *, staff_id: int, text: str, now: datetime
) -> ConversationLine:
    """A note between staff, beside the member's lines; it is never sent to anybody."""
    conversation = of(session, member)
    assert conversation is not None, "noted from its page"
    cleaned = clean_lines(text, LINE_LETTERS)
    line = ConversationLine(
        conversation_id=conversation.id,
        staff_id=staff_id,
        kind=NOTE,
        text_sealed=personal.seal(session, vault, member, personal.LINE_FIELD, cleaned, now),
        at=now,
    )
    session.add(line)
    return line


def close(session: Session, conversation: Conversation) -> None:
    """Staff are done; the next free text opens it again."""
    conversation.state = ConversationState.CLOSED
    conversation.unread_count = 0


def unsend(session: Session, member: Member, line_message_id: str, now: datetime) -> bool:
    """Remove the text of a line that its writer took back; False when we never had it.

    The stored event that brought it is emptied by the inbox.
    """
    conversation_id = select(Conversation.id).where(Conversation.member_id == member.id)
    removed = session.scalar(
        update(ConversationLine)
        .where(
            ConversationLine.line_message_id == line_message_id,
            ConversationLine.conversation_id.in_(conversation_id),
            ConversationLine.unsent_at.is_(None),
        )
        .values(text_sealed=None, unsent_at=now)
        .returning(ConversationLine.id)
    )
    if removed is not None:
        activities.record(session, member.id, "conversations.unsent", now, {"line_id": removed})
        audit.record(session, "member", "conversations.unsent", {"line_id": removed}, now)
    return removed is not None


def lines_of(
    session: Session, vault: Vault, member: Member, *, limit: int = 100
) -> list[ShownLine]:
    """The newest lines of a conversation, oldest first."""
    rows = session.scalars(
        select(ConversationLine)
        .join(Conversation, Conversation.id == ConversationLine.conversation_id)
        .where(Conversation.member_id == member.id)
        .order_by(ConversationLine.id.desc())
        .limit(limit)
    )
    shown = [
        ShownLine(
            id=row.id,
            kind=row.kind,
            text=personal.unseal(session, vault, member, personal.LINE_FIELD, row.text_sealed),
            at=row.at,
            staff_id=row.staff_id,
            is_unsent=row.unsent_at is not None,
        )
        for row in rows
    ]
    return shown[::-1]


def unread_total(session: Session) -> int:
    """How many conversations wait for staff."""
    return (
        session.scalar(
            select(func.count()).select_from(Conversation).where(Conversation.unread_count > 0)
        )
        or 0
    )
