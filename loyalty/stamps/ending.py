"""Cards past their date."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from loyalty import activities
from models.stamps import (
    CardState,
    StampCard,
)


def expire_cards(session: Session, now: datetime, limit: int) -> int:
    """Close up to `limit` cards past their date; returns how many."""
    due = select(StampCard).where(StampCard.state == CardState.OPEN, StampCard.expires_at <= now)
    cards = session.scalars(
        due.order_by(StampCard.expires_at, StampCard.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    for card in cards:
        card.state = CardState.EXPIRED
        facts = {"card_id": card.id, "filled": card.filled}
        activities.record(session, card.member_id, "stamps.card_expired", now, facts)
    return len(cards)
