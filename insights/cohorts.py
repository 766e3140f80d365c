"""Members by the month they joined in: how many of them come back, month after month; who the
sales come from; and what messages cost. Reads only; months are the shop's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import case, extract, func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from models.members import Member, MemberState
from models.outbox import CallKind, Message, MessageState
from models.purchases import Purchase, PurchaseState

MONTHS = 6
#: Squares are coloured in as many steps as those of the RFM grid.
HEATS = 9


@dataclass(frozen=True)
class Cohort:
    """Who joined in one month, and how many of them bought in that month and each one after."""

    first_on: date
    members: int
    bought: tuple[int, ...]

    def percent(self, place: int) -> int:
        return round(self.bought[place] * 100 / self.members) if self.members else 0

    def heat(self, place: int) -> int:
        """0 for nobody, up to nine for everybody."""
        return min(HEATS, -(-self.percent(place) * HEATS // 100))


@dataclass(frozen=True)
class MonthOfSales:
    """Net sales of one month in satang: first bills, and bills of those who came back."""

    first_on: date
    new_satang: int
    returning_satang: int
    buyers: int


@dataclass(frozen=True)
class MonthOfMessages:
    """What was sent in one month: in free replies, and paid for."""

    first_on: date
    free: int
    paid: int


def months_until(today: date, count: int = MONTHS) -> list[date]:
    """The first days of the last months, oldest first, this month included."""
    place = today.year * 12 + today.month - 1
    return [date(one // 12, one % 12 + 1, 1) for one in range(place - count + 1, place + 1)]


def cohorts(session: Session, now: datetime, tz: ZoneInfo) -> list[Cohort]:
    """The last six months of joining, oldest first. Two statements, bounded by the six months."""
    months = months_until(local_day(now, tz))
    joined = case(
        *((Member.joined_at >= start_of_day(first, tz), place)
          for place, first in reversed(list(enumerate(months)))),
    )  # fmt: skip
    since = start_of_day(months[0], tz)
    is_counted = (Member.state == MemberState.MEMBER, Member.joined_at >= since)
    counted = session.execute(select(joined, func.count()).where(*is_counted).group_by(joined))
    sizes = {row[0]: row[1] for row in counted}
    month = extract("year", Purchase.local_on) * 12 + extract("month", Purchase.local_on)
    rows = session.execute(
        select(joined, month, func.count(Purchase.member_id.distinct()))
        .join(Member, Member.id == Purchase.member_id)
        .where(
            *is_counted, Purchase.purchased_at >= since, Purchase.state != PurchaseState.VOIDED
        )
        .group_by(joined, month)
    )  # fmt: skip
    found = {(place, int(number)): count for place, number, count in rows}
    numbers = [one.year * 12 + one.month for one in months]
    return [
        Cohort(
            first_on=first,
            members=sizes.get(place, 0),
            bought=tuple(found.get((place, number), 0) for number in numbers[place:]),
        )
        for place, first in enumerate(months)
    ]


def sales(session: Session, now: datetime, tz: ZoneInfo) -> list[MonthOfSales]:
    """Whom each month's sales came from: first bills, and those who came back."""
    months = months_until(local_day(now, tz))
    month = extract("year", Purchase.local_on) * 12 + extract("month", Purchase.local_on)
    net = Purchase.amount_satang - Purchase.returned_satang
    rows = session.execute(
        select(
            month,
            func.sum(net).filter(Purchase.is_first),
            func.sum(net).filter(Purchase.is_first.is_(False)),
            func.count(Purchase.member_id.distinct()),
        )
        .where(
            Purchase.purchased_at >= start_of_day(months[0], tz),
            Purchase.state != PurchaseState.VOIDED,
        )
        .group_by(month)
    )
    found = {int(row[0]): row for row in rows}
    shown = []
    for first in months:
        row = found.get(first.year * 12 + first.month, (0, 0, 0, 0))
        shown.append(MonthOfSales(first, int(row[1] or 0), int(row[2] or 0), int(row[3] or 0)))
    return shown


def messages(session: Session, now: datetime, tz: ZoneInfo) -> list[MonthOfMessages]:
    """Messages that were sent in each month, by what they cost."""
    months = months_until(local_day(now, tz))
    sent = case(
        *((Message.finished_at >= start_of_day(first, tz), place)
          for place, first in reversed(list(enumerate(months)))),
    )  # fmt: skip
    is_free = Message.channel == CallKind.REPLY.value
    rows = session.execute(
        select(sent, func.count().filter(is_free), func.count().filter(~is_free))
        .where(
            Message.state == MessageState.SENT,
            Message.finished_at >= start_of_day(months[0], tz),
            Message.channel.is_not(None),
        )
        .group_by(sent)
    )
    found = {place: (free, paid) for place, free, paid in rows}
    return [MonthOfMessages(first, *found.get(place, (0, 0))) for place, first in enumerate(months)]
