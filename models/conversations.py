"""Human chats and tickets. Texts are encrypted under the member's key, so erasure ends them."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import ForeignKey, Index, LargeBinary, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, BigId, Json, bigid, moment, short, state_of


class ConversationState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


class Conversation(Base):
    """One member's chat with the staff; there is one per person, opened and closed again."""

    __tablename__ = "conversations"
    __table_args__ = (
        Index("ix_conversations_state_last_at", "state", "last_at"),
        # Every page of the console counts them.
        Index(
            "ix_conversations_unread",
            "id",
            postgresql_where=text("unread_count > 0"),
            sqlite_where=text("unread_count > 0"),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"), unique=True)
    state: Mapped[ConversationState] = mapped_column(state_of(ConversationState))
    opened_at: Mapped[moment]
    last_at: Mapped[moment]
    unread_count: Mapped[int] = mapped_column(default=0)
    last_staff_reply_at: Mapped[moment | None]
    last_help_at: Mapped[moment | None]
    #: Until then a person has the chat and the bot keeps silent; None: the bot has it.
    bot_silent_until: Mapped[moment | None]
    assigned_staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))


class ConversationLine(Base):
    """One text of a conversation. `text_sealed` is None once the member unsent it."""

    __tablename__ = "conversation_lines"
    __table_args__ = (
        Index("ix_conversation_lines_conversation_id_id", "conversation_id", "id"),
        # What a night may have to throw away (`loyalty/retention.py`).
        Index(
            "ix_conversation_lines_kept",
            "at",
            postgresql_where=text("text_sealed IS NOT NULL"),
            sqlite_where=text("text_sealed IS NOT NULL"),
        ),
    )

    id: Mapped[bigid]
    conversation_id: Mapped[int] = mapped_column(BigId, ForeignKey("conversations.id"))
    #: NULL when the member wrote it.
    staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))
    line_message_id: Mapped[short | None] = mapped_column(unique=True)
    #: `text`, `sticker`, `image`, ...; `note` is between staff and never leaves.
    kind: Mapped[short]
    text_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    at: Mapped[moment]
    unsent_at: Mapped[moment | None]


class PictureState(StrEnum):
    #: Its content is still to be fetched from LINE.
    DUE = "due"
    KEPT = "kept"
    #: LINE has it no longer, or it is none that we would show.
    FAILED = "failed"
    #: Thrown away after the shop's own number of days, or unsent.
    GONE = "gone"


class ConversationPicture(Base):
    """A picture of a conversation: fetched from LINE, or sent by staff; always re-encoded by us."""

    __tablename__ = "conversation_pictures"
    __table_args__ = (
        Index(
            "ix_conversation_pictures_due",
            "next_try_at",
            "id",
            postgresql_where=text("state = 'due'"),
            sqlite_where=text("state = 'due'"),
        ),
        Index("ix_conversation_pictures_made_at", "made_at"),
    )

    id: Mapped[bigid]
    line_id: Mapped[int] = mapped_column(BigId, ForeignKey("conversation_lines.id"), unique=True)
    state: Mapped[PictureState] = mapped_column(state_of(PictureState))
    #: The re-encoded bytes under the member's key.
    content_sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    #: Hash of the link under which LINE and the member fetch what staff sent.
    token_hash: Mapped[short | None] = mapped_column(unique=True)
    made_at: Mapped[moment]
    attempts: Mapped[int] = mapped_column(default=0)
    next_try_at: Mapped[moment | None]


class TicketState(StrEnum):
    OPEN = "open"
    DONE = "done"


_HAS_SUBJECT = "subject <> ''"
#: Written out rather than bound: it repeats the condition of an index.
HAS_SUBJECT = text(f"tickets.{_HAS_SUBJECT}")


class Ticket(Base):
    """A matter to settle; counted for the high-maintenance level."""

    __tablename__ = "tickets"
    __table_args__ = (
        Index("ix_tickets_member_id_opened_at", "member_id", "opened_at"),
        # A chat that goes with its member is asked for the tickets out of it.
        Index(
            "ix_tickets_conversation_id",
            "conversation_id",
            postgresql_where=text("conversation_id IS NOT NULL"),
            sqlite_where=text("conversation_id IS NOT NULL"),
        ),
        # What a night may have to throw away (`loyalty/retention.py`).
        Index(
            "ix_tickets_kept",
            "done_at",
            postgresql_where=text(_HAS_SUBJECT),
            sqlite_where=text(_HAS_SUBJECT),
        ),
    )

    id: Mapped[bigid]
    member_id: Mapped[int] = mapped_column(BigId, ForeignKey("members.id"))
    conversation_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("conversations.id"))
    subject: Mapped[str] = mapped_column(String(200))
    state: Mapped[TicketState] = mapped_column(state_of(TicketState), default=TicketState.OPEN)
    opened_at: Mapped[moment]
    done_at: Mapped[moment | None]
    assigned_staff_id: Mapped[int | None] = mapped_column(BigId, ForeignKey("staff.id"))


class SavedReply(Base):
    """An answer that staff give often, ready to be sent or changed first."""

    __tablename__ = "saved_replies"

    id: Mapped[bigid]
    title: Mapped[str] = mapped_column(String(100), unique=True)
    text: Mapped[str] = mapped_column(String(2000))
    made_at: Mapped[moment]


class KeywordReply(Base):
    """What the bot answers by itself to a word that is no chat word."""

    __tablename__ = "keyword_replies"
    __table_args__ = (Index("ix_keyword_replies_priority", "priority", "id"),)

    id: Mapped[bigid]
    #: As `match_key` folds them, e.g. ["wifi", "ไวไฟ"].
    words: Mapped[list[str]] = mapped_column(Json)
    #: True: the whole text is the word; False: it stands somewhere in it.
    is_exact: Mapped[bool] = mapped_column(default=True)
    #: The smallest number wins where several fit.
    priority: Mapped[int] = mapped_column(default=100)
    text_th: Mapped[str] = mapped_column(String(1000))
    text_en: Mapped[str] = mapped_column(String(1000))
    is_on: Mapped[bool] = mapped_column(default=True)
    made_at: Mapped[moment]
