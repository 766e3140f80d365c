"""Stamp cards of two members who are one: full cards go over, an open one is stamped on."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from loyalty import coupons
from loyalty.stamps.cards import prizes_of
from models.stamps import CardState, Stamp, StampCard, StampProgram


def merge_cards(
    session: Session, gone: int, kept: int, now: datetime, tz: ZoneInfo
) -> dict[str, Any]:
    """Hand one member's cards to another. Returns what is needed to give them back.

    Where both have an open card the kept one is stamped on; if that fills it, its prize is issued
    and the rest of the stamps are the next card.
    """
    handed: list[list[int]] = []
    stamped: list[list[int]] = []
    cards = select(StampCard).where(StampCard.member_id == gone).order_by(StampCard.ordinal)
    for card in session.scalars(cards).all():
        own = _open_card(session, kept, card.program_key)
        if card.state == CardState.OPEN and own is not None:
            if not own.filled:  # nothing is under way on it: the other one goes on there
                own.program_id, own.expires_at = card.program_id, card.expires_at
            stamped += _stamp_on(session, card, own, now, tz)
            if not card.filled:
                continue  # an empty card stays where it is
            assert own.state == CardState.FULL
        handed.append([card.id, card.ordinal])
        card.ordinal = _next_ordinal(session, kept, card.program_key)
        card.member_id = kept
        session.flush()  # the next card counts on from this one
    return {"cards": handed, "stamps": stamped}


def split_cards(session: Session, gone: int, kept: int, moved: dict[str, Any]) -> None:
    """Give back cards and stamps, as far as they are what they were."""
    for card_id, ordinal in moved.get("cards", ()):
        card = session.get(StampCard, card_id)
        if card is not None and card.member_id == kept:
            is_free = card.state != CardState.OPEN or not _open_card(
                session, gone, card.program_key
            )
            if is_free:
                card.member_id, card.ordinal = gone, ordinal
                session.flush()  # an ordinal is taken by one card at a time
    for stamp_id, source, target in moved.get("stamps", ()):
        stamp = session.get(Stamp, stamp_id)
        home, own = session.get(StampCard, source), session.get(StampCard, target)
        if stamp is None or home is None or own is None or stamp.card_id != own.id:
            continue
        is_as_it_was = (home.member_id, home.state, own.state) == (
            gone,
            CardState.OPEN,
            CardState.OPEN,
        )
        if is_as_it_was and stamp.taken_back_at is None:
            stamp.card_id = home.id
            home.filled += 1
            own.filled -= 1
            own.expires_at = own.expires_at if own.filled else None
    session.flush()  # the caller reads cards next


def _stamp_on(
    session: Session, card: StampCard, own: StampCard, now: datetime, tz: ZoneInfo
) -> list[list[int]]:
    program = session.get_one(StampProgram, own.program_id)
    live = select(Stamp).where(Stamp.card_id == card.id, Stamp.taken_back_at.is_(None))
    marks = session.scalars(live.order_by(Stamp.id).limit(program.size - own.filled)).all()
    before, rewarded = own.filled, card.filled
    for stamp in marks:
        stamp.card_id = own.id
    own.filled += len(marks)
    card.filled -= len(marks)
    if own.filled >= program.size:
        own.state, own.filled_at = CardState.FULL, now
    session.flush()  # only one card may be open, and prizes are given by what is written
    for prize in prizes_of(session, program):
        was_given = prize.at_stamp <= rewarded and prize.at_stamp < program.size
        if before < prize.at_stamp <= own.filled and not was_given:
            coupons.issue(
                session,
                prize.coupon,
                own.member_id,
                source="stamp_card",
                source_id=f"{own.id}:{prize.at_stamp}",
                now=now,
                tz=tz,
            )
    return [[stamp.id, card.id, own.id] for stamp in marks]


def _open_card(session: Session, member_id: int, key: str) -> StampCard | None:
    return session.scalar(
        select(StampCard).where(
            StampCard.member_id == member_id,
            StampCard.program_key == key,
            StampCard.state == CardState.OPEN,
        )
    )


def _next_ordinal(session: Session, member_id: int, key: str) -> int:
    highest = select(func.max(StampCard.ordinal)).where(
        StampCard.member_id == member_id, StampCard.program_key == key
    )
    return int(session.scalar(highest) or 0) + 1
