"""What a person decides about an event that failed: five new tries, or let it go."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from models.inbox import Event, EventState


def replay_event(session: Session, event_id: int, now: datetime) -> bool:
    """Give a failed or dismissed event five new tries; False if it is neither."""
    replayed = session.execute(
        update(Event)
        .where(
            Event.id == event_id,
            Event.state.in_((EventState.FAILED, EventState.DISMISSED)),
            Event.line_user_id.is_not(None),  # whoever sent it has left, and took it along
        )
        .values(state=EventState.PENDING, attempts=0, next_try_at=now, error=None)
        .returning(Event.id)
    )
    return replayed.first() is not None


def dismiss_event(session: Session, event_id: int, now: datetime) -> bool:
    """Let a failed event go; False if it has not failed."""
    dismissed = session.execute(
        update(Event)
        .where(Event.id == event_id, Event.state == EventState.FAILED)
        .values(state=EventState.DISMISSED, done_at=now)
        .returning(Event.id)
    )
    return dismissed.first() is not None
