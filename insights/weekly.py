"""The shop's week in figures, for the owner's Monday card: Monday to Sunday, the shop's days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from insights import results
from models.journeys import Journey
from models.members import Level, Member, MemberState, MemberTotals
from models.outbox import CallKind, Message, MessageState
from models.points import EntryKind, LedgerEntry
from models.purchases import Purchase, PurchaseState
from models.results import Alarm

WEEK = timedelta(days=7)
#: Levels that ask for an act, the dearest first.
ASKING = (Level.HIGH_MAINTENANCE, Level.AT_RISK, Level.POTENTIAL_HIGH_VALUE, Level.INACTIVE)


@dataclass(frozen=True)
class Best:
    """The journey that made most, of those that are proven."""

    journey_id: int
    key: str
    name: str | None
    made_satang: int
    words: str


@dataclass(frozen=True)
class Week:
    """One week. Money in satang."""

    first_on: date
    last_on: date
    new_members: int
    active_members: int
    bills: int
    sales_satang: int
    sales_before_satang: int
    points_issued: int
    points_burned: int
    messages: int
    free_messages: int
    cost_satang: int
    best: Best | None
    #: What to do next: `alarms`, a level that asks for an act, or `calm`; and how many.
    next_act: str
    next_count: int

    @property
    def change_percent(self) -> int | None:
        """Against the week before; None without one."""
        if not self.sales_before_satang:
            return None
        difference = self.sales_satang - self.sales_before_satang
        return round(difference * 100 / self.sales_before_satang)


def monday_of(now: datetime, tz: ZoneInfo) -> date:
    """The Monday on which the last whole week began."""
    today = local_day(now, tz)
    return today - timedelta(days=today.weekday() + 7)


def of_week(session: Session, first_on: date, now: datetime, tz: ZoneInfo) -> Week:
    """The figures of the week that begins on this Monday."""
    since = start_of_day(first_on, tz)
    until = start_of_day(first_on + WEEK, tz)
    joined = session.scalar(
        select(func.count())
        .select_from(Member)
        .where(Member.joined_at >= since, Member.joined_at < until)
        .where(Member.state == MemberState.MEMBER)
    )
    bought = session.execute(
        select(
            func.count(func.distinct(Purchase.member_id)),
            func.count(),
            func.sum(Purchase.amount_satang - Purchase.returned_satang),
        ).where(*_within(since, until))
    ).one()
    before = session.scalar(
        select(func.sum(Purchase.amount_satang - Purchase.returned_satang)).where(
            *_within(start_of_day(first_on - WEEK, tz), since)
        )
    )
    moved = session.execute(
        select(
            func.sum(LedgerEntry.points).filter(LedgerEntry.kind == EntryKind.EARN),
            func.sum(LedgerEntry.points).filter(LedgerEntry.kind == EntryKind.BURN),
        ).where(LedgerEntry.created_at >= since, LedgerEntry.created_at < until)
    ).one()
    is_free = Message.channel == CallKind.REPLY.value
    gone_out = (MessageState.SENT, MessageState.SENT_UNKNOWN)
    sent = session.execute(
        select(func.count(), func.count().filter(is_free)).where(
            Message.created_at >= since, Message.created_at < until, Message.state.in_(gone_out)
        )
    ).one()
    act, how_many = next_act(session)
    return Week(
        first_on=first_on,
        last_on=first_on + timedelta(days=6),
        new_members=joined or 0,
        active_members=bought[0],
        bills=bought[1],
        sales_satang=int(bought[2] or 0),
        sales_before_satang=int(before or 0),
        points_issued=int(moved[0] or 0),
        points_burned=-int(moved[1] or 0),
        messages=sent[0],
        free_messages=sent[1],
        cost_satang=(sent[0] - sent[1]) * results.price_satang(session),
        best=best_journey(session, now, tz),
        next_act=act,
        next_count=how_many,
    )


def next_act(session: Session) -> tuple[str, int]:
    """The first thing worth doing, and for how many: alarms, then the levels that ask for it."""
    unseen = session.scalar(
        select(func.count()).where(Alarm.ended_at.is_(None), Alarm.seen_at.is_(None))
    )
    if unseen:
        return "alarms", unseen
    by_level = dict(
        session.execute(
            select(MemberTotals.level, func.count())
            .join(Member, Member.id == MemberTotals.member_id)
            .where(Member.state == MemberState.MEMBER, MemberTotals.level.in_(ASKING))
            .group_by(MemberTotals.level)
        ).all()
    )
    for level in ASKING:
        if by_level.get(level):
            return level.value, by_level[level]
    return "calm", 0


def best_journey(session: Session, now: datetime, tz: ZoneInfo) -> Best | None:
    """The journey that made most baht; only one whose words say that it works."""
    found = None
    rows = session.execute(
        select(Journey.id, Journey.key, Journey.name).where(Journey.archived_at.is_(None))
    )
    for row in rows.all():
        result = results.of_journey(session, row.id, now, tz)
        is_proven = result.words in (results.LIKELY_WORDS, results.CLEAR_WORDS)
        if is_proven and (found is None or result.made_satang > found.made_satang):
            found = Best(row.id, row.key, row.name, result.made_satang, result.words)
    return found


def _within(since: datetime, until: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        Purchase.purchased_at >= since,
        Purchase.purchased_at < until,
        Purchase.state != PurchaseState.VOIDED,
    )
