"""Cashiers and members whose figures deserve a look: the typical ways of cheating. Reads only.

A flag is a reason to look, never a verdict: each carries the numbers that raised it. The rules are
those of the sources: points of strangers' bills on a friend's account, bills voided after the
customer left, invented round amounts, bills outside opening hours, numbers looked up by the dozen.
Every rule needs a few cases before it speaks, so that a quiet till is never accused by chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, bindparam, case, func, or_, select, true
from sqlalchemy.orm import Session

from core.clock import at_local, local_day, start_of_day
from models.base import UtcDateTime
from models.members import Member, MemberState, MemberTotals
from models.purchases import Purchase, PurchaseState
from models.staff import AuditRow, Cashier

DAYS = 30
#: A cashier speaks for themselves from this many bills on.
LEAST_BILLS = 20
#: One member with more than this share of what a cashier gave (2.2 AK1), in percent.
SHARE_PERCENT = 30
LEAST_SHARE_BILLS = 5
#: One member more often than this in one local day (2.2 AK1).
BILLS_A_DAY = 3
#: Voided bills, in percent of all, and of the shop's own rate (AK4).
VOID_PERCENT, VOID_TIMES, LEAST_VOIDS = 5, 3, 3
#: Bills of whole hundreds, in percent (AK2); prices that end so are common, most bills do not.
ROUND_SATANG, ROUND_PERCENT = 10_000, 60
#: Bills outside these local hours, at least so many.
OPENS_HOUR, CLOSES_HOUR, LEAST_NIGHT = 6, 22, 3
#: Phones looked up in 30 days (AK9).
LOOK_UPS = 60
LOOKED_UP = "members.looked_up"
#: A member whose bills come back (AC6): at least so many, and that share of all.
LEAST_RETURNS, RETURN_PERCENT = 3, 50
MOST = 100
_IS_HERE = Member.state == MemberState.MEMBER
_SINCE: Any = bindparam("since", type_=UtcDateTime())


@dataclass(frozen=True)
class Flag:
    """One reason; `facts` fill its sentence `suspects.reason_<kind>`."""

    kind: str
    facts: Mapping[str, Any]


@dataclass
class Suspect:
    """Somebody with at least one flag."""

    id: int
    name: str
    public_id: str = ""
    flags: list[Flag] = field(default_factory=list)
    bills: int = 0
    satang: int = 0
    points: int = 0


def cashiers(session: Session, now: datetime, real_now: datetime, tz: ZoneInfo) -> list[Suspect]:
    """Cashiers with flags of the last 30 days, most flags first."""
    since = start_of_day(local_day(now, tz) - timedelta(days=DAYS - 1), tz)
    known = {row.id: row for row in session.execute(select(Cashier.id, Cashier.name))}
    tills = _by_cashier(session, since, now, tz)
    found: dict[int, Suspect] = {}

    def flag(cashier_id: int, kind: str, **facts: Any) -> None:
        sums = tills.get(cashier_id)
        suspect = found.setdefault(
            cashier_id,
            Suspect(
                cashier_id,
                known[cashier_id].name,
                bills=sums.bills if sums else 0,
                satang=int(sums.satang) if sums else 0,
                points=int(sums.points) if sums else 0,
            ),
        )
        suspect.flags.append(Flag(kind, facts))

    all_bills = sum(row.bills for row in tills.values())
    all_voids = sum(row.voids for row in tills.values())
    for row in tills.values():
        if row.bills < LEAST_BILLS:
            continue
        is_often = row.voids * 100 >= VOID_PERCENT * row.bills
        # The others' rate, so that somebody who voids most is not measured by themselves.
        others = (all_voids - row.voids, all_bills - row.bills)
        is_more = row.voids * others[1] >= VOID_TIMES * others[0] * row.bills
        if row.voids >= LEAST_VOIDS and is_often and is_more:
            percent = row.voids * 100 // row.bills
            flag(row.cashier_id, "voids", voids=row.voids, bills=row.bills, percent=percent)
        if row.rounds * 100 > ROUND_PERCENT * row.bills:
            percent = row.rounds * 100 // row.bills
            flag(row.cashier_id, "rounds", rounds=row.rounds, bills=row.bills, percent=percent)
        if row.nights >= LEAST_NIGHT:
            flag(row.cashier_id, "nights", bills=row.nights)
    for row in _favourites(session, since):
        sums = tills.get(row.cashier_id)
        if sums is None:
            continue  # all of it was bought before, and recorded since
        if sums.bills >= LEAST_BILLS and int(row.points) * 100 > SHARE_PERCENT * int(sums.points):
            flag(
                row.cashier_id, "favourite", member=row.name or row.member_no, bills=row.bills,
                percent=int(row.points) * 100 // int(sums.points),
            )  # fmt: skip
    for row in _often_a_day(session, since, by_cashier=True):
        flag(
            row.who, "often", member=row.name or row.member_no, bills=row.most, days=row.days
        )  # fmt: skip
    for cashier_id, count in _look_ups(session, real_now).items():
        if cashier_id in known:
            flag(cashier_id, "look_ups", count=count)
    return _ranked(found.values())


def members(session: Session, now: datetime, tz: ZoneInfo) -> list[Suspect]:
    """Members with flags of the last 30 days, most flags first."""
    since = start_of_day(local_day(now, tz) - timedelta(days=DAYS - 1), tz)
    found: dict[int, Suspect] = {}

    def flag(row: Any, kind: str, **facts: Any) -> None:
        suspect = found.setdefault(
            row.member_id, Suspect(row.member_id, row.name or row.member_no or "", row.public_id)
        )
        suspect.flags.append(Flag(kind, facts))

    for row in _often_a_day(session, since, by_cashier=False):
        flag(row, "often_member", bills=row.most, days=row.days)
    for row in _returners(session, since):
        flag(row, "returns", returns=row.returns, bills=row.bills)
    for row in _debtors(session):
        flag(row, "debt", points=row.debt)
    return _ranked(found.values())


def _ranked(found: Iterable[Suspect]) -> list[Suspect]:
    return sorted(found, key=lambda one: (-len(one.flags), -one.points, one.id))[:MOST]


def _by_cashier(session: Session, since: datetime, now: datetime, tz: ZoneInfo) -> dict[int, Any]:
    """Bills of each cashier: how many, how much, voided, round, at night."""
    first = local_day(since, tz)
    days = (local_day(now, tz) - first).days + 1
    asked: dict[str, Any] = {"since": since}
    for n in range(days):
        asked[f"opens_{n}"] = at_local(first + timedelta(days=n), OPENS_HOUR, 0, tz)
        asked[f"closes_{n}"] = at_local(first + timedelta(days=n), CLOSES_HOUR, 0, tz)
    return {row.cashier_id: row for row in session.execute(_bills_of_cashiers(days), asked)}


# Built once: every night asks the same.


@lru_cache(maxsize=4)
def _bills_of_cashiers(days: int) -> Any:
    is_void = Purchase.state == PurchaseState.VOIDED
    is_round = Purchase.amount_satang % ROUND_SATANG == 0
    at = Purchase.purchased_at
    # Opening hours day by day, so that a change of the clocks moves them with the shop.
    is_open = or_(
        *(and_(at >= bindparam(f"opens_{n}"), at < bindparam(f"closes_{n}")) for n in range(days))
    )
    return (
        select(
            Purchase.cashier_id,
            func.count().label("bills"),
            func.sum(Purchase.amount_satang).label("satang"),
            func.sum(Purchase.points).label("points"),
            func.sum(case((is_void, 1), else_=0)).label("voids"),
            func.sum(case((is_round, 1), else_=0)).label("rounds"),
            func.sum(case((is_open, 0), else_=1)).label("nights"),
        )
        .where(Purchase.cashier_id.is_not(None), Purchase.recorded_at >= _SINCE, at >= _SINCE)
        .group_by(Purchase.cashier_id)
    )


def _favourites(session: Session, since: datetime) -> Iterable[Any]:
    """Members whom one cashier has served again and again, with the points they got there."""
    return session.execute(_favourite_members(), {"since": since})


@cache
def _favourite_members() -> Any:
    grouped = (
        select(
            Purchase.cashier_id,
            Purchase.member_id,
            func.count().label("bills"),
            func.sum(Purchase.points).label("points"),
        )
        .where(Purchase.cashier_id.is_not(None), Purchase.recorded_at >= _SINCE)
        .group_by(Purchase.cashier_id, Purchase.member_id)
        .having(func.count() >= LEAST_SHARE_BILLS)
        .order_by(func.sum(Purchase.points).desc())
        .limit(MOST)
        .subquery()
    )
    return (
        select(grouped, Member.name, Member.member_no)
        .join(Member, Member.id == grouped.c.member_id)
        .order_by(grouped.c.points.desc(), grouped.c.member_id)
    )


def _often_a_day(session: Session, since: datetime, *, by_cashier: bool) -> Iterable[Any]:
    """Members with more than three bills in one local day; with one cashier, or at all."""
    return session.execute(_many_a_day(by_cashier=by_cashier), {"since": since})


@cache
def _many_a_day(*, by_cashier: bool) -> Any:
    who: Any = Purchase.cashier_id if by_cashier else None
    keys = [Purchase.member_id] if who is None else [Purchase.member_id, who]
    daily = (
        select(*keys, Purchase.local_on, func.count().label("bills"))
        .where(Purchase.recorded_at >= _SINCE, Purchase.state != PurchaseState.VOIDED)
        .group_by(*keys, Purchase.local_on)
        .having(func.count() > BILLS_A_DAY)
    )
    if who is not None:
        daily = daily.where(who.is_not(None))
    days = daily.subquery()
    # A list of members leads to their pages; whoever has left has none.
    shown = _IS_HERE if who is None else true()
    columns = [days.c.member_id] + ([] if who is None else [days.c[who.key].label("who")])
    return (
        select(
            *columns,
            Member.name,
            Member.member_no,
            Member.public_id,
            func.max(days.c.bills).label("most"),
            func.count().label("days"),
        )
        .join(Member, Member.id == days.c.member_id)
        .where(shown)
        .group_by(*(days.c[key.key] for key in keys), Member.name, Member.member_no,
                  Member.public_id)
        .order_by(func.count().desc(), days.c.member_id)
        .limit(MOST)
    )  # fmt: skip


_LOOKERS = (
    select(AuditRow.actor, func.count())
    .where(
        AuditRow.actor.like("cashier:%"),
        AuditRow.act == LOOKED_UP,
        AuditRow.at >= bindparam("since"),
    )
    .group_by(AuditRow.actor)
    .having(func.count() > LOOK_UPS)
)


def _look_ups(session: Session, real_now: datetime) -> dict[int, int]:
    """Cashiers who have looked many phones up."""
    rows = session.execute(_LOOKERS, {"since": real_now - timedelta(days=DAYS)})
    return {int(actor.removeprefix("cashier:")): count for actor, count in rows}


def _returners(session: Session, since: datetime) -> Iterable[Any]:
    """Members most of whose bills came back."""
    return session.execute(_RETURNING, {"since": since})


_CAME_BACK = func.sum(case((Purchase.state != PurchaseState.RECORDED, 1), else_=0))
_RETURNING = (
    select(
        Purchase.member_id,
        Member.name,
        Member.member_no,
        Member.public_id,
        func.count().label("bills"),
        _CAME_BACK.label("returns"),
    )
    .join(Member, Member.id == Purchase.member_id)
    .where(Purchase.recorded_at >= _SINCE, _IS_HERE)
    .group_by(Purchase.member_id, Member.name, Member.member_no, Member.public_id)
    .having(and_(_CAME_BACK >= LEAST_RETURNS, RETURN_PERCENT * func.count() <= _CAME_BACK * 100))
    .order_by(_CAME_BACK.desc(), Purchase.member_id)
    .limit(MOST)
)


def _debtors(session: Session) -> Iterable[Any]:
    """Members who used points that were taken back afterwards."""
    return session.execute(_IN_DEBT)


_IN_DEBT = (
    select(
        MemberTotals.member_id,
        MemberTotals.debt,
        Member.name,
        Member.member_no,
        Member.public_id,
    )
    .join(Member, Member.id == MemberTotals.member_id)
    .where(MemberTotals.debt > 0, _IS_HERE)
    .order_by(MemberTotals.debt.desc(), MemberTotals.member_id)
    .limit(MOST)
)
