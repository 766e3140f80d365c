"""Programmes, prizes and members' cards, for showing and for stamping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.base import table_of
from models.coupons import Coupon
from models.staff import Branch
from models.stamps import (
    CardState,
    StampCard,
    StampPrize,
    StampProgram,
)

CARDS = table_of(StampCard)
#: The programmes with their prizes, the goal last.
_CURRENT = (
    select(StampProgram, StampPrize.at_stamp, Coupon)
    .outerjoin(StampPrize, StampPrize.program_id == StampProgram.id)
    .outerjoin(Coupon, Coupon.id == StampPrize.coupon_id)
    .where(StampProgram.is_current, StampProgram.is_on)
    .order_by(StampProgram.id, StampPrize.at_stamp)
)


@dataclass(frozen=True)
class Prize:
    """What a card gives at a number of stamps."""

    at_stamp: int
    coupon: Coupon


@dataclass(frozen=True)
class CardView:
    """A card for showing. `card` is None for a programme the member has no stamp of yet."""

    program: StampProgram
    card: StampCard | None
    filled: int
    size: int
    prizes: tuple[Prize, ...]
    expires_at: datetime | None

    @property
    def goal(self) -> Coupon | None:
        """The prize of the full card."""
        return next((prize.coupon for prize in self.prizes if prize.at_stamp == self.size), None)


def is_running(program: StampProgram, day: date, branch: Branch | None) -> bool:
    """Whether a programme gives stamps on this local day at this branch."""
    if not program.is_on:
        return False
    has_begun = program.starts_on is None or program.starts_on <= day
    is_over = program.ends_on is not None and program.ends_on < day
    is_here = program.branches is None or branch is None or branch.code in branches_of(program)
    return has_begun and not is_over and is_here


def branches_of(program: StampProgram) -> list[str]:
    """The branch codes a programme is limited to."""
    return (program.branches or "").replace(",", " ").split()


def current_programs(session: Session) -> Sequence[StampProgram]:
    """The programmes in their current versions, oldest first."""
    known: dict[int, tuple[Prize, ...]] = session.info.setdefault("stamp_prizes", {})
    found: dict[StampProgram, list[Prize]] = {}
    for program, at_stamp, coupon in session.execute(_CURRENT):
        prizes = found.setdefault(program, [])
        if coupon is not None:
            prizes.append(Prize(at_stamp, coupon))
    known.update({program.id: tuple(prizes) for program, prizes in found.items()})
    return list(found)


def open_card(session: Session, member_id: int, program: StampProgram, now: datetime) -> StampCard:
    """Lay the next card of a programme ready."""
    last = select(func.max(StampCard.ordinal)).where(
        StampCard.member_id == member_id, StampCard.program_key == program.key
    )
    card = StampCard(
        member_id=member_id,
        program_id=program.id,
        program_key=program.key,
        ordinal=(session.scalar(last) or 0) + 1,
        filled=0,
        state=CardState.OPEN,
        opened_at=now,
    )
    session.add(card)
    session.flush()  # its id goes on the stamps
    return card


def live_card(session: Session, member_id: int, key: str, now: datetime) -> StampCard | None:
    """The member's open card of a programme; one past its date is closed on the way."""
    card = session.scalars(
        select(StampCard).where(
            StampCard.member_id == member_id,
            StampCard.program_key == key,
            StampCard.state == CardState.OPEN,
        ),
        execution_options={"populate_existing": True},
    ).first()
    if card is not None and card.expires_at is not None and card.expires_at <= now:
        card.state = CardState.EXPIRED
        session.flush()  # only one card may be open
        return None
    return card


def prizes_of(session: Session, program: StampProgram) -> tuple[Prize, ...]:
    """The prizes of a programme, the goal last; a version's prizes never change."""
    known: dict[int, tuple[Prize, ...]] = session.info.setdefault("stamp_prizes", {})
    if program.id not in known:
        rows = session.execute(
            select(StampPrize.at_stamp, Coupon)
            .join(Coupon, Coupon.id == StampPrize.coupon_id)
            .where(StampPrize.program_id == program.id)
            .order_by(StampPrize.at_stamp)
        )
        known[program.id] = tuple(Prize(at_stamp, coupon) for at_stamp, coupon in rows)
    return known[program.id]


def cards_of(session: Session, member_id: int, now: datetime | None = None) -> list[CardView]:
    """The member's card of every current programme; an empty one where none was begun.

    With `now`, cards past their date show as empty even before the nightly job has closed them.
    """
    session.flush()  # the caller may have just stamped
    opened = select(StampCard).where(
        StampCard.member_id == member_id, StampCard.state == CardState.OPEN
    )
    cards = {card.program_key: card for card in session.scalars(opened)}
    views = []
    for current in current_programs(session):
        card = cards.get(current.key)
        if card is not None and now and card.expires_at and card.expires_at <= now:
            card = None
        views.append(view_of(session, current, card))
    return views


def view_of(session: Session, current: StampProgram, card: StampCard | None) -> CardView:
    """A card under its own version of the programme, or an empty one under the current."""
    program = current
    if card is not None and card.filled:
        program = session.get_one(StampProgram, card.program_id)
    prizes = prizes_of(session, program)
    if card is None:
        return CardView(program, None, 0, program.size, prizes, None)
    return CardView(program, card, card.filled, program.size, prizes, card.expires_at)
