"""Taking stamps back, and bringing cards and prizes in line with what is left."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Select, delete, or_, select, update
from sqlalchemy.orm import Session

from loyalty import activities, coupons, earning, points
from loyalty.stamps.cards import CARDS, prizes_of
from models.base import table_of
from models.coupons import Voucher, VoucherState
from models.stamps import (
    CardExpiry,
    CardState,
    Stamp,
    StampCard,
    StampProgram,
    StampRule,
)

STAMPS = table_of(Stamp)


@dataclass(frozen=True)
class TakenBack:
    """What was taken back: how many stamps, and the unused prizes that went with them."""

    count: int
    vouchers: tuple[Voucher, ...]


def take_back(
    session: Session,
    member_id: int,
    *,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    amount_satang: int | None = None,
    returned_satang: int | None = None,
) -> TakenBack:
    """Take back the stamps of a cause (T4); without amounts all of them.

    With amounts (a part return) only per-baht stamps go, in proportion as points do (P6).
    Later stamps move up to keep earlier cards full; a card that cannot stay full is merged into
    the open one and its prize is taken away, unless it was used: then the card stays closed.
    """
    points.lock_member(session, member_id)
    marks = select(Stamp).where(  # the programmes are named for the index they lead
        Stamp.program_key.in_(select(StampProgram.key)),
        Stamp.source == source,
        Stamp.source_id == source_id,
    )
    given: dict[str, list[Stamp]] = {}
    for stamp in session.scalars(marks.order_by(Stamp.ordinal.desc())):
        given.setdefault(stamp.program_key, []).append(stamp)
    count = 0
    vouchers: list[Voucher] = []
    for key, stamps in given.items():
        live = [stamp for stamp in stamps if stamp.taken_back_at is None]
        keep = 0
        if amount_satang is not None and returned_satang is not None:
            keep = len(live)
            # The version of the card that was stamped first has decided how many there were.
            if _program_of(session, stamps[-1]).rule == StampRule.PER_AMOUNT:
                keep = earning.kept_points(len(stamps), amount_satang, returned_satang)
        taken = live[: max(0, len(live) - keep)]
        for stamp in taken:
            stamp.taken_back_at = now
        if taken:
            count += len(taken)
            session.flush()  # what follows counts stamps
            cause = select(Stamp.card_id).where(
                Stamp.program_key == key,
                Stamp.source == source,
                Stamp.source_id == source_id,
            )
            owners = select(StampCard.member_id).where(StampCard.id.in_(cause)).distinct()
            # An un-merge may have left some on a card of the other member.
            for owner in session.scalars(owners.order_by(StampCard.member_id)).all():
                points.lock_member(session, owner)
                vouchers += _repack(session, owner, key, cause, now, tz)
    if count:
        facts = {"count": count, "source": source, "source_id": source_id}
        activities.record(session, member_id, "stamps.taken_back", now, facts)
    return TakenBack(count, tuple(vouchers))


def _program_of(session: Session, stamp: Stamp) -> StampProgram:
    card = session.get_one(StampCard, stamp.card_id)
    return session.get_one(StampProgram, card.program_id)


def _repack(
    session: Session, member_id: int, key: str, cause: Select[int], now: datetime, tz: ZoneInfo
) -> list[Voucher]:
    """Bring cards and prizes in line with the stamps that are left; returns prizes taken away.

    `cause` are the cards that stamps were taken from. Of those past their date only these are
    looked at: they count what is left and lose their unused prizes, and never give stamps on.

    1. Holes in full cards are filled with the earliest stamps of later cards.
    2. A card that is still short loses its unused prizes; if its goal was one of them, its
       stamps move to the open card and it is gone; it is opened again where that one is empty.
    3. The open card ends as its own stamps say, not as those that were taken back had said.
    """
    found = select(StampCard).where(
        StampCard.member_id == member_id,
        StampCard.program_key == key,
        or_(StampCard.state != CardState.EXPIRED, StampCard.id.in_(cause)),
    )
    cards = list(session.scalars(found.order_by(StampCard.ordinal)))
    live = {card.id: _live_stamps(session, card) for card in cards}
    program_of = {card.id: session.get_one(StampProgram, card.program_id) for card in cards}
    for place, card in enumerate(cards):
        size = program_of[card.id].size
        for later in cards[place + 1 :] if card.state == CardState.FULL else ():
            gives = later.state != CardState.EXPIRED
            while gives and len(live[card.id]) < size and live[later.id]:
                moved = live[later.id].pop(0)
                moved.card_id = card.id
                live[card.id].append(moved)
    session.flush()  # stamps lie where they belong before cards are counted and removed
    opened = next((card for card in cards if card.state == CardState.OPEN), None)
    voided: list[Voucher] = []
    removed: set[int] = set()
    for card in cards:
        if card.id in removed:
            continue
        program = program_of[card.id]
        card.filled = len(live[card.id])
        if card.filled >= program.size:
            continue
        gone, has_goal_gone = _take_prizes(session, card, program, now)
        voided += gone
        if card.state != CardState.FULL or not has_goal_gone:
            continue
        if opened is not None and live[opened.id]:
            live[opened.id] += live[card.id]
            opened.filled = len(live[opened.id])
            _merge_into(session, card, opened)
            continue
        if opened is not None:  # nothing is on the next card: this one goes on, as it was
            opened.filled = 0
            unfounded, _ = _take_prizes(session, opened, program_of[opened.id], now)
            voided += unfounded
            _merge_into(session, opened, card)
            removed.add(opened.id)
        card.state = CardState.OPEN
        card.filled_at = None
        opened = card
    if opened is not None:
        _renew_end(session, opened, live[opened.id], tz)
    session.flush()  # the caller reads cards next
    return voided


def _renew_end(session: Session, card: StampCard, marks: list[Stamp], tz: ZoneInfo) -> None:
    program = session.get_one(StampProgram, card.program_id)
    if program.expiry == CardExpiry.NEVER or program.expiry_days is None:
        return
    days = [mark.local_on for mark in marks]
    if not days:
        card.expires_at = None
        return
    counted = min(days) if program.expiry == CardExpiry.FROM_FIRST else max(days)
    card.expires_at = earning.days_later(counted, program.expiry_days, tz)


def _live_stamps(session: Session, card: StampCard) -> list[Stamp]:
    marks = select(Stamp).where(Stamp.card_id == card.id, Stamp.taken_back_at.is_(None))
    return list(session.scalars(marks.order_by(Stamp.id)))


def _take_prizes(
    session: Session, card: StampCard, program: StampProgram, now: datetime
) -> tuple[list[Voucher], bool]:
    """Take away the unused prizes the card no longer has the stamps for.

    Also says whether nothing stands in the way of filling the card again: its goal was taken
    away, or never given (the offer had ended).
    """
    voided: list[Voucher] = []
    has_goal_gone = True
    for prize in prizes_of(session, program):
        if prize.at_stamp <= card.filled:
            continue
        given = select(Voucher).where(
            Voucher.member_id == card.member_id,
            Voucher.coupon_id == prize.coupon.id,
            Voucher.source == "stamp_card",
            Voucher.source_id == f"{card.id}:{prize.at_stamp}",
        )
        voucher = session.scalars(given).first()
        if voucher is None:
            continue
        if coupons.void(session, voucher, now=now, reason="stamps.taken_back"):
            voided.append(voucher)
        elif prize.at_stamp == program.size:
            has_goal_gone = False
    return voided, has_goal_gone


def _merge_into(session: Session, card: StampCard, opened: StampCard) -> None:
    """Move everything from one card to another that stays open, and remove it."""
    moved = update(STAMPS).where(STAMPS.c.card_id == card.id).values(card_id=opened.id)
    session.flush()  # Core statements must see what the ORM has changed so far
    session.execute(moved)
    kept = select(Voucher).where(
        Voucher.member_id == card.member_id,
        Voucher.source == "stamp_card",
        Voucher.source_id.startswith(f"{card.id}:", autoescape=True),
        Voucher.state != VoucherState.VOID,
    )
    taken = set(
        session.scalars(
            select(Voucher.source_id).where(
                Voucher.member_id == card.member_id,
                Voucher.source == "stamp_card",
                Voucher.source_id.startswith(f"{opened.id}:", autoescape=True),
            )
        )
    )
    for voucher in session.scalars(kept):  # prizes on the way stay with the stamps they are for
        source_id = voucher.source_id.replace(f"{card.id}:", f"{opened.id}:", 1)
        if source_id not in taken:  # used on both cards: each keeps its own
            voucher.source_id = source_id
    session.flush()  # before the card they speak of is gone
    session.expunge(card)
    session.execute(delete(CARDS).where(CARDS.c.id == card.id))
