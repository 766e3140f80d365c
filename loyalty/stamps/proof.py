"""Cards against the stamps on them."""

from __future__ import annotations

from functools import cache
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loyalty import points
from loyalty.stamps.cards import CARDS
from loyalty.stamps.taking import STAMPS


def check_cards(session: Session) -> list[points.Difference]:
    """Every card's count against its stamps."""
    session.flush()  # the check reads by plain statements
    return [
        points.Difference("stamps.filled", row.id, int(row.stamps), row.filled)
        for row in session.execute(_wrong_cards())
    ]


@cache
def _wrong_cards() -> Any:
    marks = (
        select(STAMPS.c.card_id, func.count().label("stamps"))
        .where(STAMPS.c.taken_back_at.is_(None))
        .group_by(STAMPS.c.card_id)
        .subquery()
    )
    stamps = func.coalesce(marks.c.stamps, 0)
    return (
        select(CARDS.c.id, CARDS.c.filled, stamps.label("stamps"))
        .outerjoin(marks, marks.c.card_id == CARDS.c.id)
        .where(CARDS.c.filled != stamps)
    )
