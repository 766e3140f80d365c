"""Chats with staff: lines are sealed under the member's key; unsent ones lose their text (M11).

Free text that is no command opens or extends the conversation and gets the help card at most once
in 12 hours. The bot and a person never speak at once: after a word of staff, or when somebody takes
the chat over, the bot keeps silent for 30 minutes, until it is given back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core import ids
from core.crypto import Vault
from core.db import insert_into
from core.text import clean_lines
from loyalty import activities, audit, personal
from models.conversations import (
    Conversation,
    ConversationLine,
    ConversationPicture,
    ConversationState,
    PictureState,
)
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
    #: The picture of this line, and what has become of it.
    picture_id: int | None = None
    picture: PictureState | None = None


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
    has_picture: bool = False,
) -> Conversation:
    """Keep what a member wrote or sent; `kind` is LINE's: text, sticker, image, ...

    With `has_picture`, LINE holds a picture of that message, and a worker fetches it.
    """
    conversation = open_for(session, member, now)
    sealed = None
    if text:
        cleaned = clean_lines(text, LINE_LETTERS)
        sealed = personal.seal(session, vault, member, personal.LINE_FIELD, cleaned, now)
    line_id = session.scalar(
        insert_into(session, ConversationLine)
        .values(
            conversation_id=conversation.id,
            line_message_id=line_message_id,
            kind=kind,
            text_sealed=sealed,
            at=at,
        )
        .on_conflict_do_nothing()
        .returning(ConversationLine.id)
    )
    if has_picture and line_id is not None:
        session.add(
            ConversationPicture(
                line_id=line_id, state=PictureState.DUE, made_at=now, next_try_at=now
            )
        )
    conversation.last_at = max(at, conversation.last_at)
    conversation.unread_count += 1
    return conversation


def should_help(conversation: Conversation, now: datetime) -> bool:
    """Whether the help card may answer this line; noting that it does."""
    if is_bot_silent(conversation, now):
        return False
    helped_at = conversation.last_help_at
    if helped_at is not None and now - helped_at < timedelta(hours=HELP_EVERY_HOURS):
        return False
    conversation.last_help_at = now
    return True


def is_bot_silent(conversation: Conversation | None, now: datetime) -> bool:
    """Whether a person has the chat at this moment."""
    until = conversation.bot_silent_until if conversation is not None else None
    return until is not None and now < until


def take_over(conversation: Conversation, now: datetime) -> None:
    """A person answers from here on: the bot keeps silent for half an hour."""
    conversation.bot_silent_until = now + timedelta(minutes=SILENT_MINUTES)


def give_back(conversation: Conversation) -> None:
    """The bot may speak again at once."""
    conversation.bot_silent_until = None


def reply_of_staff(
    session: Session,
    vault: Vault,
    member: Member,
    *,
    staff_id: int,
    text: str,
    now: datetime,
    kind: str = "text",
) -> ConversationLine:
    """Keep what a member of staff wrote or sent; sending it is the caller's, through the gate."""
    conversation = open_for(session, member, now)
    cleaned = clean_lines(text, LINE_LETTERS)
    line = ConversationLine(
        conversation_id=conversation.id,
        staff_id=staff_id,
        kind=kind,
        text_sealed=personal.seal(session, vault, member, personal.LINE_FIELD, cleaned, now)
        if cleaned
        else None,
        at=now,
    )
    session.add(line)
    conversation.last_at = now
    conversation.last_staff_reply_at = now
    take_over(conversation, now)
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
    give_back(conversation)


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
        session.execute(
            update(ConversationPicture)
            .where(ConversationPicture.line_id == removed)
            .values(state=PictureState.GONE, content_sealed=None, next_try_at=None)
        )
        activities.record(session, member.id, "conversations.unsent", now, {"line_id": removed})
        audit.record(session, "member", "conversations.unsent", {"line_id": removed}, now)
    return removed is not None


def hand_over(session: Session, source: Member, target: Member, now: datetime) -> None:
    """Make one member's chat another's, as when two are merged; texts under the new key.

    Where both have one, each stays where it is.
    """
    conversation = of(session, source)
    if conversation is None or of(session, target) is not None:
        return
    vault: Vault | None = session.info.get("vault")
    conversation.member_id = target.id
    if vault is None:
        return
    lines = select(ConversationLine).where(
        ConversationLine.conversation_id == conversation.id,
        ConversationLine.text_sealed.is_not(None),
    )
    for line in session.scalars(lines).all():
        text = _read(session, vault, source, line.text_sealed)
        if text is not None:
            line.text_sealed = personal.seal(session, vault, target, personal.LINE_FIELD, text, now)
    pictures = (
        select(ConversationPicture)
        .join(ConversationLine, ConversationLine.id == ConversationPicture.line_id)
        .where(ConversationLine.conversation_id == conversation.id)
        .where(ConversationPicture.content_sealed.is_not(None))
    )
    for picture in session.scalars(pictures).all():
        body = picture_of(session, vault, source, picture)
        if body is not None:
            picture.content_sealed = personal.seal_bytes(
                session, vault, target, personal.PICTURE_FIELD, body, now
            )
    session.flush()  # the next look reads under the new key


def keep_picture(
    session: Session,
    vault: Vault,
    member: Member,
    picture: ConversationPicture,
    body: bytes,
    now: datetime,
) -> None:
    """Keep these bytes for a picture, sealed under the member's key."""
    picture.content_sealed = personal.seal_bytes(
        session, vault, member, personal.PICTURE_FIELD, body, now
    )
    picture.state, picture.next_try_at = PictureState.KEPT, None


def picture_of_staff(
    session: Session, vault: Vault, member: Member, *, staff_id: int, body: bytes, now: datetime
) -> tuple[ConversationLine, str]:
    """Keep a picture that staff send; returns its line and the secret of the link to it."""
    line = reply_of_staff(session, vault, member, staff_id=staff_id, text="", now=now, kind="image")
    token = ids.secret_token()
    picture = ConversationPicture(
        line_id=line.id, state=PictureState.KEPT, token_hash=ids.token_hash(token), made_at=now
    )
    keep_picture(session, vault, member, picture, body, now)
    session.add(picture)
    return line, token


def linked_picture(session: Session, vault: Vault, token: str) -> bytes | None:
    """The picture of staff behind a link, for whoever was given the link; None once it is gone."""
    row = session.execute(
        select(ConversationPicture, Member)
        .join(ConversationLine, ConversationLine.id == ConversationPicture.line_id)
        .join(Conversation, Conversation.id == ConversationLine.conversation_id)
        .join(Member, Member.id == Conversation.member_id)
        .where(ConversationPicture.token_hash == ids.token_hash(token))
    ).one_or_none()
    return picture_of(session, vault, row[1], row[0]) if row is not None else None


def picture_of(
    session: Session, vault: Vault, member: Member, picture: ConversationPicture
) -> bytes | None:
    """The JPEG of a kept picture; None when it is gone or was sealed for another."""
    try:
        return personal.unseal_bytes(
            session, vault, member, personal.PICTURE_FIELD, picture.content_sealed
        )
    except ValueError:
        return None


def _read(session: Session, vault: Vault, member: Member, sealed: bytes | None) -> str | None:
    """A sealed text; None as well when it was parted from its key by a merge."""
    try:
        return personal.unseal(session, vault, member, personal.LINE_FIELD, sealed)
    except ValueError:
        return None


def lines_of(
    session: Session, vault: Vault, member: Member, *, limit: int = 100
) -> list[ShownLine]:
    """The newest lines of a conversation, oldest first."""
    rows = session.execute(
        select(ConversationLine, ConversationPicture.id, ConversationPicture.state)
        .join(Conversation, Conversation.id == ConversationLine.conversation_id)
        .outerjoin(ConversationPicture, ConversationPicture.line_id == ConversationLine.id)
        .where(Conversation.member_id == member.id)
        .order_by(ConversationLine.id.desc())
        .limit(limit)
    )
    shown = [
        ShownLine(
            id=row.id,
            kind=row.kind,
            text=_read(session, vault, member, row.text_sealed),
            at=row.at,
            staff_id=row.staff_id,
            is_unsent=row.unsent_at is not None,
            picture_id=picture_id,
            picture=picture,
        )
        for row, picture_id, picture in rows
    ]
    return shown[::-1]
