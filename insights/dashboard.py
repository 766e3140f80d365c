"""The figures of the console's first page. Reads only; days are the shop's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from insights.days import last_days, place_of
from models.coupons import Redemption, Voucher
from models.members import IS_GONE, Level, Member, MemberState, MemberTotals, Stage
from models.outbox import ChannelState, Message, MessageState
from models.points import EntryKind, LedgerEntry
from models.purchases import Purchase, PurchaseState

DAYS = 30


@dataclass(frozen=True)
class Counts:
    """The main counts. Money in satang, points whole; windows are the last 30 days."""

    members: int
    friends: int
    new_members: int
    active_members: int
    blocked: int
    points_issued: int
    points_burned: int
    points_outstanding: int
    vouchers_issued: int
    vouchers_redeemed: int
    sales_satang: int
    messages_sent: int
    quota_used: int | None
    quota_limit: int | None


def counts(session: Session, now: datetime, tz: ZoneInfo) -> Counts:
    """Everything in a handful of statements."""
    since = start_of_day(local_day(now, tz) - timedelta(days=DAYS - 1), tz)
    people = session.execute(
        select(
            func.count().filter(Member.state == MemberState.MEMBER),
            func.count().filter(Member.state == MemberState.FRIEND, Member.is_following),
            func.count().filter(Member.state == MemberState.MEMBER, Member.joined_at >= since),
            func.count().filter(
                Member.line_user_id.is_not(None),
                Member.is_following.is_(False),
                Member.followed_at.is_not(None),
            ),
        ).select_from(Member)
    ).one()
    active = session.scalar(
        select(func.count()).select_from(MemberTotals).where(MemberTotals.last_purchase_at >= since)
    )
    moved = session.execute(
        select(
            func.sum(LedgerEntry.points).filter(LedgerEntry.kind == EntryKind.EARN),
            func.sum(LedgerEntry.points).filter(LedgerEntry.kind == EntryKind.BURN),
        ).where(LedgerEntry.created_at >= since)
    ).one()
    gone = select(Member.id).where(IS_GONE)  # what they had is owed to nobody
    outstanding = session.scalar(
        select(func.sum(MemberTotals.balance)).where(MemberTotals.member_id.not_in(gone))
    )
    issued = session.scalar(
        select(func.count()).select_from(Voucher).where(Voucher.issued_at >= since)
    )
    redeemed = session.scalar(
        select(func.count())
        .select_from(Redemption)
        .where(Redemption.at >= since, Redemption.reversed_at.is_(None))
    )
    sales = session.scalar(
        select(func.sum(Purchase.amount_satang - Purchase.returned_satang)).where(
            Purchase.purchased_at >= since, Purchase.state != PurchaseState.VOIDED
        )
    )
    sent = session.scalar(
        select(func.count())
        .select_from(Message)
        .where(Message.state == MessageState.SENT, Message.created_at >= since)
    )
    channel = session.get(ChannelState, 1)
    return Counts(
        members=people[0],
        friends=people[1],
        new_members=people[2],
        active_members=active or 0,
        blocked=people[3],
        points_issued=int(moved[0] or 0),
        points_burned=-int(moved[1] or 0),
        points_outstanding=int(outstanding or 0),
        vouchers_issued=issued or 0,
        vouchers_redeemed=redeemed or 0,
        sales_satang=int(sales or 0),
        messages_sent=sent or 0,
        quota_used=channel.quota_used if channel else None,
        quota_limit=channel.quota_limit if channel else None,
    )


def by_stage(session: Session) -> dict[Stage, int]:
    """How many people stand at each stage; all five are there."""
    rows = session.execute(
        select(MemberTotals.stage, func.count())
        .join(Member, Member.id == MemberTotals.member_id)
        .where(Member.state.in_((MemberState.FRIEND, MemberState.MEMBER)))
        .group_by(MemberTotals.stage)
    )
    found = {row[0]: row[1] for row in rows}
    return {stage: found.get(stage, 0) for stage in Stage}


def by_level(session: Session) -> dict[Level, int]:
    """How many members are at each level; all nine are there."""
    rows = session.execute(
        select(MemberTotals.level, func.count())
        .join(Member, Member.id == MemberTotals.member_id)
        .where(Member.state == MemberState.MEMBER)
        .group_by(MemberTotals.level)
    )
    found = {row[0]: row[1] for row in rows}
    return {level: found.get(level, 0) for level in Level}


def joined_by_day(session: Session, now: datetime, tz: ZoneInfo) -> list[tuple[date, int]]:
    """New members on each of the last 30 days; who left or was merged since is none."""
    days = last_days(local_day(now, tz), DAYS)
    place = place_of(Member.joined_at, days, tz)
    rows = session.execute(
        select(place.label("day"), func.count())
        .where(Member.joined_at >= start_of_day(days[0], tz), Member.state == MemberState.MEMBER)
        .group_by("day")
    )
    tally = {row[0]: row[1] for row in rows}
    return [(on, tally.get(n, 0)) for n, on in enumerate(days)]


def sales_by_day(session: Session, now: datetime, tz: ZoneInfo) -> list[tuple[date, int]]:
    """Baht (whole) sold to members on each of the last 30 days."""
    today = local_day(now, tz)
    rows = session.execute(
        select(Purchase.local_on, func.sum(Purchase.amount_satang - Purchase.returned_satang))
        .where(
            Purchase.local_on > today - timedelta(days=DAYS),
            # For the index, with a day to spare should the shop have changed its time zone.
            Purchase.purchased_at > start_of_day(today - timedelta(days=DAYS), tz),
            Purchase.state != PurchaseState.VOIDED,
        )
        .group_by(Purchase.local_on)
    )
    tally = {on: int(satang or 0) // 100 for on, satang in rows}
    return [(on, tally.get(on, 0)) for on in last_days(today, DAYS)]
