"""Matters to settle with a member: opened by a bad mark, a journey or staff, and done by staff.

They count towards the level `high_maintenance` (L2). A ticket that the product opens says why as
a text key and its figure, so that each reader sees it in their own language.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.i18n import t
from core.text import fit
from loyalty import activities
from models.conversations import Conversation, Ticket, TicketState

SUBJECT_LETTERS = 200
#: Subjects of the product's own: `<key> <figure>`.
_OWN = ("surveys.ticket_csat", "surveys.ticket_nps")


def open_ticket(session: Session, member_id: int, subject: str, now: datetime) -> Ticket:
    """Put a matter on the staff's list; it hangs on the member's conversation if there is one."""
    ticket = Ticket(
        member_id=member_id,
        conversation_id=session.scalar(
            select(Conversation.id).where(Conversation.member_id == member_id)
        ),
        subject=fit(subject, SUBJECT_LETTERS, SUBJECT_LETTERS),
        state=TicketState.OPEN,
        opened_at=now,
    )
    session.add(ticket)
    session.flush()  # the fact names it
    activities.record(session, member_id, "tickets.opened", now, {"ticket_id": ticket.id})
    return ticket


def close(session: Session, ticket_id: int, now: datetime) -> bool:
    """Staff are done with it; False when somebody was before."""
    member_id = session.scalar(
        update(Ticket)
        .where(Ticket.id == ticket_id, Ticket.state == TicketState.OPEN)
        .values(state=TicketState.DONE, done_at=now)
        .returning(Ticket.member_id)
    )
    if member_id is None:
        return False
    activities.record(session, member_id, "tickets.closed", now, {"ticket_id": ticket_id})
    return True


def of_member(session: Session, member_id: int, limit: int = 20) -> Sequence[Ticket]:
    """A member's matters, open ones and newest first."""
    return session.scalars(
        select(Ticket)
        .where(Ticket.member_id == member_id)
        .order_by(Ticket.state.desc(), Ticket.id.desc())
        .limit(limit)
    ).all()


def words(ticket: Ticket, locale: str) -> str:
    """What it is about, in the reader's language."""
    key, _, figure = ticket.subject.partition(" ")
    return t(locale, key, score=figure) if key in _OWN else ticket.subject
