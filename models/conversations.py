"""Human chats and tickets. Texts are encrypted under the member's key, so erasure ends them."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ForeignKey, Index, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, bigid, moment, short, state_of


class ConversationState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Conversation(Base):
    """One member's chat with the staff; there is one per person, opened and closed again."""

    __tablename__ = "conversations"
    __table_args__ = (Index("ix_conversations_state_last_at", "state", "last_at"),)

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), unique=True)
    state: Mapped[ConversationState] = mapped_column(state_of(ConversationState))
    opened_at: Mapped[moment]
    last_at: Mapped[moment]
    unread_count: Mapped[int] = mapped_column(default=0)
    last_staff_reply_at: Mapped[moment | None]
    last_help_at: Mapped[moment | None]
    assigned_staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))


class ConversationLine(Base):
    """One text of a conversation. `text_sealed` is None once the member unsent it."""

    __tablename__ = "conversation_lines"
    __table_args__ = (Index("ix_conversation_lines_conversation_id_id", "conversation_id", "id"),)

    id: Mapped[bigid]
    conversation_id: Mapped[int] = mapped_column(BigId, ForeignKey("conversations.id"))
    #: NULL when the member wrote it.
    staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    line_message_id: Mapped[short | None] = mapped_column(unique=True)
    #: `text`, `sticker`, `image`, ...
    kind: Mapped[short]
    text_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    at: Mapped[moment]
    unsent_at: Mapped[moment | None]


class TicketState(StrEnum):
    OPEN = "open"
    DONE = "done"


class Ticket(Base):
    """A matter to settle; counted for the high-maintenance level."""

    __tablename__ = "tickets"
    __table_args__ = (Index("ix_tickets_member_id_opened_at", "member_id", "opened_at"),)

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    conversation_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("conversations.id"))
    subject: Mapped[str] = mapped_column(String(200))
    state: Mapped[TicketState] = mapped_column(state_of(TicketState), default=TicketState.OPEN)
    opened_at: Mapped[moment]
    done_at: Mapped[moment | None]
    assigned_staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
