"""Stamping a card for a cause, once, and moving on to the next as it fills."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import local_day
from core.errors import Invalid
from loyalty import activities, coupons, earning, points
from loyalty.stamps.cards import (
    CardView,
    current_programs,
    is_running,
    live_card,
    open_card,
    prizes_of,
    view_of,
)
from models.coupons import Voucher
from models.staff import Branch
from models.stamps import (
    CardExpiry,
    CardState,
    Stamp,
    StampCard,
    StampProgram,
    StampRule,
)

#: Of one programme for one bill: ten of the largest cards. More is a slip of the fingers or of a
#: till's software, and every stamp is a row and every full card a prize, all in one transaction.
MOST_AT_ONCE = 500


class Item(Protocol):
    """A line of a bill, as far as stamps care."""

    @property
    def sku(self) -> str: ...
    @property
    def quantity(self) -> int: ...


@dataclass(frozen=True)
class StampResult:
    """What a cause has given: how many stamps, the cards as they are now, prizes issued."""

    count: int
    cards: tuple[CardView, ...]
    vouchers: tuple[Voucher, ...]


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
    is_new: bool = False,
) -> StampResult:
    """Stamp the member's cards for a purchase, once per cause (T2).

    `at` is when it was bought (its local day is what limits count); `now` by default.
    `is_locked` says that the caller has locked the member, `is_new` that the cause was written in
    this transaction, so that it cannot have stamped before.

    Invalid: `stamps.too_many` (fact `most`) for more stamps than a bill may give.
    """
    if not is_locked:
        points.lock_member(session, member_id)
    at = at or now
    day = local_day(at, tz)
    due: list[tuple[StampProgram, StampCard | None, int]] = []
    for current in current_programs(session):
        card = live_card(session, member_id, current.key, now)
        if card is not None and not card.filled:
            card.program_id = current.id  # nothing is under way on it
        program = session.get_one(StampProgram, card.program_id) if card else current
        count = 0
        # Days and branches that were added later hold for cards under way, too.
        if is_running(program, day, branch) or is_running(current, day, branch):
            count = stamps_for(program, amount_satang, items)
            count = _within_day(session, member_id, program, day, count)
        if count > MOST_AT_ONCE:
            field = "items" if program.rule == StampRule.PER_ITEM else "amount"
            raise Invalid("stamps.too_many", field=field, most=MOST_AT_ONCE)
        due.append((current, card, count))
    given = 0
    views: list[CardView] = []
    vouchers: list[Voucher] = []
    for current, card, count in due:
        if count and (is_new or not _was_given(session, current.key, source, source_id)):
            marker = _Marker(session, member_id, current, card, source, source_id, at, now, tz)
            marker.mark(count)
            card = marker.card
            given += count
            vouchers += marker.vouchers
        views.append(view_of(session, current, card))
    return StampResult(given, tuple(views), tuple(vouchers))


def stamps_for(program: StampProgram, amount_satang: int, items: Iterable[Item] = ()) -> int:
    """How many stamps a bill is worth under a programme, before any limit (T1)."""
    if program.rule == StampRule.PER_VISIT:
        return int(amount_satang >= program.unit_satang)
    if program.rule == StampRule.PER_AMOUNT:
        return amount_satang // program.unit_satang if program.unit_satang else 0
    return sum(item.quantity for item in items if item.sku == program.sku)


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
        end = earning.days_later(day, program.expiry_days, self.tz)
        card.expires_at = max(end, card.expires_at or end)  # a bill may come late

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
            # After a return the same stamp comes again: a prize used meanwhile is no second one.
            if voucher is not None and voucher.state in coupons.USABLE:
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
