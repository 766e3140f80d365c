"""Stamp cards: marks for purchases, prizes on the way and at the goal, and taking marks back.

Invariant: a card's `filled` = its stamps that were not taken back; a member has at most one open
card of a programme. Everything happens under the lock of the member's totals row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from core.clock import local_day
from loyalty import activities, coupons, earning, points
from models.base import table_of
from models.coupons import Coupon, Voucher, VoucherState
from models.staff import Branch
from models.stamps import (
    CardExpiry,
    CardState,
    Stamp,
    StampCard,
    StampPrize,
    StampProgram,
    StampRule,
)

STAMPS = table_of(Stamp)
CARDS = table_of(StampCard)


class Item(Protocol):
    """A line of a bill, as far as stamps care."""

    @property
    def sku(self) -> str: ...
    @property
    def quantity(self) -> int: ...


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


@dataclass(frozen=True)
class StampResult:
    """What a cause has given: how many stamps, the cards as they are now, prizes issued."""

    count: int
    cards: tuple[CardView, ...]
    vouchers: tuple[Voucher, ...]


@dataclass(frozen=True)
class TakenBack:
    """What was taken back: how many stamps, and the unused prizes that went with them."""

    count: int
    vouchers: tuple[Voucher, ...]


# Giving


def give_stamps(
    session: Session,
    member_id: int,
    *,
    branch: Branch,
    amount_satang: int,
    source: str,
    source_id: str,
    now: datetime,
    tz: ZoneInfo,
    at: datetime | None = None,
    items: Iterable[Item] = (),
    is_locked: bool = False,
) -> StampResult:
    """Stamp the member's cards for a purchase, once per cause (T2).

    `at` is when it was bought (its local day is what limits count); `now` by default.
    `is_locked` says that the caller has locked the member.
    """
    if not is_locked:
        points.lock_member(session, member_id)
    at = at or now
    day = local_day(at, tz)
    given = 0
    views: list[CardView] = []
    vouchers: list[Voucher] = []
    for current in current_programs(session):
        card = _open_card(session, member_id, current.key, now)
        program = session.get_one(StampProgram, card.program_id) if card else current
        count = 0
        if is_running(program, day, branch):
            count = stamps_for(program, amount_satang, items)
            count = _within_day(session, member_id, program, day, count)
        if count and not _was_given(session, program.key, source, source_id):
            marker = _Marker(session, member_id, current, card, source, source_id, at, now, tz)
            marker.mark(count)
            card = marker.card
            given += count
            vouchers += marker.vouchers
        views.append(_view(session, current, card))
    return StampResult(given, tuple(views), tuple(vouchers))


def stamps_for(program: StampProgram, amount_satang: int, items: Iterable[Item] = ()) -> int:
    """How many stamps a bill is worth under a programme, before any limit (T1)."""
    if program.rule == StampRule.PER_VISIT:
        return int(amount_satang >= program.unit_satang)
    if program.rule == StampRule.PER_AMOUNT:
        return amount_satang // program.unit_satang if program.unit_satang else 0
    return sum(item.quantity for item in items if item.sku == program.sku)


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
    current = select(StampProgram).where(StampProgram.is_current, StampProgram.is_on)
    return session.scalars(current.order_by(StampProgram.id)).all()


class _Marker:
    """Puts stamps on a member's card, moving on to the next card as they fill."""

    def __init__(
        self,
        session: Session,
        member_id: int,
        current: StampProgram,
        card: StampCard | None,
        source: str,
        source_id: str,
        at: datetime,
        now: datetime,
        tz: ZoneInfo,
    ) -> None:
        self.session = session
        self.member_id = member_id
        self.current = current
        self.card = card
        self.source = source
        self.source_id = source_id
        self.at = at
        self.now = now
        self.tz = tz
        self.vouchers: list[Voucher] = []

    def mark(self, count: int) -> None:
        """Give `count` stamps; what does not fit on a card goes on the next one."""
        for ordinal in range(1, count + 1):
            if self.card is None:
                self.card = self._new_card()
            program = self.session.get_one(StampProgram, self.card.program_id)
            self.session.add(
                Stamp(
                    card_id=self.card.id,
                    program_key=program.key,
                    source=self.source,
                    source_id=self.source_id,
                    ordinal=ordinal,
                    at=self.at,
                    local_on=local_day(self.at, self.tz),
                )
            )
            self.card.filled += 1
            self._renew_expiry(program, self.card)
            self._give_prize(program, self.card)
            if self.card.filled >= program.size:
                self._close(program, self.card)
        self.session.flush()  # later statements count stamps
        if self.card is not None:
            facts = {"card_id": self.card.id, "filled": self.card.filled, "given": count}
            facts["size"] = self.session.get_one(StampProgram, self.card.program_id).size
            activities.record(self.session, self.member_id, "stamps.given", self.now, facts)

    def _new_card(self) -> StampCard:
        return open_card(self.session, self.member_id, self.current, self.now)

    def _renew_expiry(self, program: StampProgram, card: StampCard) -> None:
        """From the first stamp once, or from the last one each time (T1)."""
        if program.expiry == CardExpiry.NEVER or program.expiry_days is None:
            return
        if program.expiry == CardExpiry.FROM_FIRST and card.expires_at is not None:
            return
        day = local_day(self.at, self.tz)
        card.expires_at = earning.days_later(day, program.expiry_days, self.tz)

    def _give_prize(self, program: StampProgram, card: StampCard) -> None:
        for prize in prizes_of(self.session, program):
            if prize.at_stamp != card.filled:
                continue
            voucher = coupons.issue(
                self.session,
                prize.coupon,
                self.member_id,
                source="stamp_card",
                source_id=f"{card.id}:{prize.at_stamp}",
                now=self.now,
                tz=self.tz,
            )
            if voucher is not None:
                self.vouchers.append(voucher)

    def _close(self, program: StampProgram, card: StampCard) -> None:
        """A full card is done, and the next one lies ready."""
        card.state = CardState.FULL
        card.filled_at = self.now
        self.session.flush()  # only one card may be open
        goal = f"{card.id}:{program.size}"
        prize = next((voucher for voucher in self.vouchers if voucher.source_id == goal), None)
        facts = {"card_id": card.id, "voucher_id": prize.id if prize else None}
        activities.record(self.session, self.member_id, "stamps.card_filled", self.now, facts)
        self.card = self._new_card()


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


def _open_card(session: Session, member_id: int, key: str, now: datetime) -> StampCard | None:
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


def _within_day(
    session: Session, member_id: int, program: StampProgram, day: date, count: int
) -> int:
    """What the daily limit leaves of `count` stamps (T1)."""
    if program.daily_limit is None or not count:
        return count
    today = (
        select(func.count())
        .select_from(Stamp)
        .join(StampCard, StampCard.id == Stamp.card_id)
        .where(
            StampCard.member_id == member_id,
            Stamp.program_key == program.key,
            Stamp.local_on == day,
            Stamp.taken_back_at.is_(None),
        )
    )
    return max(0, min(count, program.daily_limit - int(session.scalar(today) or 0)))


def _was_given(session: Session, key: str, source: str, source_id: str) -> bool:
    """Whether this cause has stamped already, whatever became of the stamps."""
    marks = select(Stamp.id).where(
        Stamp.program_key == key, Stamp.source == source, Stamp.source_id == source_id
    )
    return session.scalars(marks.limit(1)).first() is not None


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


# Showing


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
        views.append(_view(session, current, card))
    return views


def _view(session: Session, current: StampProgram, card: StampCard | None) -> CardView:
    """A card under its own version of the programme, or an empty one under the current."""
    program = session.get_one(StampProgram, card.program_id) if card else current
    prizes = prizes_of(session, program)
    if card is None:
        return CardView(program, None, 0, program.size, prizes, None)
    return CardView(program, card, card.filled, program.size, prizes, card.expires_at)


# Taking back


def take_back(
    session: Session,
    member_id: int,
    *,
    source: str,
    source_id: str,
    now: datetime,
    amount_satang: int | None = None,
    returned_satang: int | None = None,
) -> TakenBack:
    """Take back the stamps of a cause (T4); without amounts all of them.

    With amounts (a part return) only per-baht stamps go, in proportion as points do (P6).
    Later stamps move up to keep earlier cards full; a card that cannot stay full is merged into
    the open one and its prize is taken away, unless it was used: then the card stays closed.
    """
    points.lock_member(session, member_id)
    marks = select(Stamp).where(Stamp.source == source, Stamp.source_id == source_id)
    given: dict[int, list[Stamp]] = {}
    for stamp in session.scalars(marks.order_by(Stamp.ordinal.desc())):
        given.setdefault(_program_of(session, stamp).id, []).append(stamp)
    count = 0
    vouchers: list[Voucher] = []
    for program_id, stamps in given.items():
        program = session.get_one(StampProgram, program_id)
        live = [stamp for stamp in stamps if stamp.taken_back_at is None]
        keep = 0
        if amount_satang is not None and returned_satang is not None:
            keep = len(live)
            if program.rule == StampRule.PER_AMOUNT:
                keep = earning.kept_points(len(stamps), amount_satang, returned_satang)
        taken = live[: max(0, len(live) - keep)]
        for stamp in taken:
            stamp.taken_back_at = now
        if taken:
            count += len(taken)
            session.flush()  # what follows counts stamps
            vouchers += _repack(session, member_id, program.key, now)
    if count:
        facts = {"count": count, "source": source, "source_id": source_id}
        activities.record(session, member_id, "stamps.taken_back", now, facts)
    return TakenBack(count, tuple(vouchers))


def _program_of(session: Session, stamp: Stamp) -> StampProgram:
    card = session.get_one(StampCard, stamp.card_id)
    return session.get_one(StampProgram, card.program_id)


def _repack(session: Session, member_id: int, key: str, now: datetime) -> list[Voucher]:
    """Bring cards and prizes in line with the stamps that are left; returns prizes taken away.

    1. Holes in full cards are filled with the earliest stamps of later cards.
    2. A card that is still short loses its unused prizes; if its goal was one of them, its
       stamps move to the open card and it is gone.
    """
    found = select(StampCard).where(
        StampCard.member_id == member_id,
        StampCard.program_key == key,
        StampCard.state != CardState.EXPIRED,
    )
    cards = list(session.scalars(found.order_by(StampCard.ordinal)))
    live = {card.id: _live_stamps(session, card) for card in cards}
    for place, card in enumerate(cards):
        size = session.get_one(StampProgram, card.program_id).size
        for later in cards[place + 1 :] if card.state == CardState.FULL else ():
            while len(live[card.id]) < size and live[later.id]:
                moved = live[later.id].pop(0)
                moved.card_id = card.id
                live[card.id].append(moved)
    session.flush()  # stamps lie where they belong before cards are counted and removed
    opened = next((card for card in cards if card.state == CardState.OPEN), None)
    voided: list[Voucher] = []
    for card in cards:
        program = session.get_one(StampProgram, card.program_id)
        card.filled = len(live[card.id])
        if card.filled >= program.size:
            continue
        gone, has_goal_gone = _take_prizes(session, card, program, now)
        voided += gone
        if card.state != CardState.FULL or not has_goal_gone:
            continue
        if opened is None:
            card.state = CardState.OPEN
            card.filled_at = None
            opened = card
        else:
            live[opened.id] += live[card.id]
            opened.filled = len(live[opened.id])
            _merge_into(session, card, opened)
    session.flush()  # the caller reads cards next
    return voided


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
    """Move everything from a card that is full no longer to the open one, and remove it."""
    moved = update(STAMPS).where(STAMPS.c.card_id == card.id).values(card_id=opened.id)
    session.flush()  # Core statements must see what the ORM has changed so far
    session.execute(moved)
    kept = select(Voucher).where(
        Voucher.member_id == card.member_id,
        Voucher.source == "stamp_card",
        Voucher.source_id.startswith(f"{card.id}:", autoescape=True),
        Voucher.state != VoucherState.VOID,
    )
    for voucher in session.scalars(kept):  # prizes on the way stay with the stamps they are for
        voucher.source_id = voucher.source_id.replace(f"{card.id}:", f"{opened.id}:", 1)
    session.flush()  # before the card they speak of is gone
    session.expunge(card)
    session.execute(delete(CARDS).where(CARDS.c.id == card.id))


# Expiry and proof


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


def check_cards(session: Session) -> list[points.Difference]:
    """Every card's count against its stamps."""
    session.flush()  # the check reads by plain statements
    marks = (
        select(STAMPS.c.card_id, func.count().label("stamps"))
        .where(STAMPS.c.taken_back_at.is_(None))
        .group_by(STAMPS.c.card_id)
        .subquery()
    )
    stamps = func.coalesce(marks.c.stamps, 0)
    wrong = (
        select(CARDS.c.id, CARDS.c.filled, stamps.label("stamps"))
        .outerjoin(marks, marks.c.card_id == CARDS.c.id)
        .where(CARDS.c.filled != stamps)
    )
    return [
        points.Difference("stamps.filled", row.id, int(row.stamps), row.filled)
        for row in session.execute(wrong)
    ]
