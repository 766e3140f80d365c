"""Cards past their date."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Integer, bindparam, select
from sqlalchemy.orm import Session

from core.clock import last_day, local_day, start_of_day
from loyalty import activities
from models.stamps import (
    CardState,
    StampCard,
    StampProgram,
)

#: Members are told this many days before a card ends.
NOTICE_DAYS = 7


#: Built once: most nights find few.
_DUE = (
    select(StampCard)
    .where(StampCard.state == CardState.OPEN, StampCard.expires_at <= bindparam("now"))
    .order_by(StampCard.expires_at, StampCard.id)
    .limit(bindparam("most", type_=Integer()))
    .with_for_update(skip_locked=True)
)


def expire_cards(session: Session, now: datetime, limit: int) -> int:
    """Close up to `limit` cards past their date; returns how many."""
    cards = session.scalars(_DUE, {"now": now, "most": limit}).all()
    for card in cards:
        card.state = CardState.EXPIRED
        facts = {"card_id": card.id, "filled": card.filled}
        activities.record(session, card.member_id, "stamps.card_expired", now, facts)
    return len(cards)


def notice_expiring(
    session: Session, now: datetime, tz: ZoneInfo, *, after_id: int, limit: int
) -> tuple[int, int]:
    """Note, once for each end, cards with stamps that end within a week.

    Looks at the next `limit` cards after `after_id`; returns (noted, last id looked at), the id 0
    when there was none left to look at. A card that ends later after another stamp is noted again
    then: its end is part of the key.
    """
    horizon = start_of_day(local_day(now, tz) + timedelta(days=NOTICE_DAYS + 1), tz)
    ending = (
        select(StampCard, StampProgram.size)
        .join(StampProgram, StampProgram.id == StampCard.program_id)
        .where(
            StampCard.id > after_id,
            StampCard.state == CardState.OPEN,
            StampCard.filled > 0,
            StampCard.expires_at > now,
            StampCard.expires_at <= horizon,
        )
        .order_by(StampCard.id)
        .limit(limit)
    )
    rows = session.execute(ending).all()
    noted = 0
    for card, size in rows:
        assert card.expires_at is not None
        until = last_day(card.expires_at, tz).isoformat()
        facts = {
            "card_id": card.id,
            "program_id": card.program_id,
            "filled": card.filled,
            "size": size,
            "until": until,
        }
        key = f"stamps.card_expiring:{card.id}:{until}"
        told = activities.record(
            session, card.member_id, "stamps.card_expiring", now, facts, key=key
        )
        noted += told.at == now
    return noted, rows[-1][0].id if rows else 0
