"""Fetches the pictures that customers sent from LINE, before LINE forgets them.

No transaction is open while LINE is asked. A picture is taken with a lease, so that two workers
seldom fetch the same one; if they do, both write the same bytes.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from bot.gateway import Line
from core.errors import OutsideFault, Refused
from core.pictures import Picture, drawn_anew
from core.runtime import Runtime
from loyalty import conversations
from models.conversations import (
    Conversation,
    ConversationLine,
    ConversationPicture,
    PictureState,
)
from models.members import Member

#: As much as the gateway reads.
MAX_BYTES = 12_000_000
LEASE = timedelta(minutes=2)
#: LINE may need a moment before it gives what was just sent.
PAUSES = tuple(timedelta(seconds=one) for one in (3, 15, 60, 300, 1800, 7200))


def fetch_next(runtime: Runtime, line: Line) -> int:
    """Fetch the picture that is owed longest; 0 when none is due."""
    now = runtime.clock.now()
    due = (
        select(ConversationPicture.id)
        .where(ConversationPicture.state == PictureState.DUE)
        .where(ConversationPicture.next_try_at <= now)
        .order_by(ConversationPicture.next_try_at)
        .limit(1)
    )
    with runtime.database.read() as session:  # an idle sweep takes no write lock
        if session.scalar(due) is None:
            return 0
    with runtime.database.write() as session:
        picture_id = session.scalar(due.with_for_update(skip_locked=True))
        if picture_id is None:
            return 0
        picture = session.get_one(ConversationPicture, picture_id)
        picture.next_try_at = now + LEASE
        picture.attempts += 1
        message_id = session.get_one(ConversationLine, picture.line_id).line_message_id
    found, is_hopeless = _fetch(line, message_id or "")
    with runtime.database.write() as session:
        _keep(session, runtime, picture_id, found, is_hopeless)
    return 1


def _fetch(line: Line, message_id: str) -> tuple[Picture | None, bool]:
    """The picture drawn anew; without one, whether asking again is of no use."""
    try:
        content = line.content(message_id)
    except OutsideFault as fault:
        return None, fault.is_permanent
    if content is None:
        return None, False
    try:
        return drawn_anew(content.body, most_bytes=MAX_BYTES), False
    except Refused:
        return None, True


def _keep(
    session: Session, runtime: Runtime, picture_id: int, found: Picture | None, is_hopeless: bool
) -> None:
    picture = session.get(ConversationPicture, picture_id, with_for_update=True)
    if picture is None or picture.state != PictureState.DUE:  # erased or unsent in the meantime
        return
    now = runtime.clock.now()
    if found is not None:
        member = session.scalars(
            select(Member)
            .join(Conversation, Conversation.member_id == Member.id)
            .join(ConversationLine, ConversationLine.conversation_id == Conversation.id)
            .where(ConversationLine.id == picture.line_id)
        ).one()
        conversations.keep_picture(session, runtime.vault, member, picture, found.body, now)
    elif is_hopeless or picture.attempts > len(PAUSES):
        picture.state, picture.next_try_at = PictureState.FAILED, None
    else:
        picture.next_try_at = now + PAUSES[picture.attempts - 1]
