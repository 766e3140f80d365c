"""What one account of the shop has seen and done since a moment: the facts of a breach report (Z24).

Read from the audit log and from who looked at whose data. The regulator is told within 72 hours, so
this must need nobody's memory: who, what, since when, and how many people it is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import Refused
from models.members import Member
from models.staff import ApiKey, AuditRow, Cashier, Device, Look, Staff

#: Acts after which a file with people in it was in somebody's hands.
TAKEN_OUT = ("exports.made", "members.exported", "suspects.exported", "codes.exported")
MOST_ACTS = 5_000
MOST_MEMBERS = 10_000
_TABLES: dict[str, Any] = {
    "staff": Staff,
    "cashier": Cashier,
    "device": Device,
    "api": ApiKey,
}


@dataclass(frozen=True)
class Act:
    """One kind of act: how often, from when to when."""

    act: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True)
class Report:
    """Everything known of one account in a span of time."""

    actor: str
    name: str
    since: datetime
    until: datetime
    acts: list[Act]
    #: Lists taken out: moment, act, and what the audit row says of them.
    files: list[tuple[datetime, str, dict[str, Any]]]
    #: Members whose data was opened: public id, what was opened, first moment.
    members: list[tuple[str, str, datetime]]
    member_count: int
    #: More acts or members than are listed; the counts are complete.
    is_cut: bool


def report(session: Session, actor: str, since: datetime, until: datetime) -> Report:
    """The report of one account, e.g. `staff:3`. Refuses an unknown one (`breach.unknown`)."""
    name = name_of(session, actor)
    in_span = (AuditRow.actor == actor, AuditRow.at >= since, AuditRow.at < until)
    first, last = func.min(AuditRow.at), func.max(AuditRow.at)
    counted = session.execute(
        select(AuditRow.act, func.count(), first, last)
        .where(*in_span)
        .group_by(AuditRow.act)
        .order_by(AuditRow.act)
    )
    files = session.execute(
        select(AuditRow.at, AuditRow.act, AuditRow.facts)
        .where(*in_span, AuditRow.act.in_(TAKEN_OUT))
        .order_by(AuditRow.id)
        .limit(MOST_ACTS)
    ).all()
    looked = (Look.actor == actor, Look.first_at >= since, Look.first_at < until)
    seen = session.execute(
        select(Member.public_id, Look.what, func.min(Look.first_at))
        .join(Member, Member.id == Look.member_id)
        .where(*looked)
        .group_by(Member.public_id, Look.what)
        .order_by(func.min(Look.first_at))
        .limit(MOST_MEMBERS)
    ).all()
    count = session.scalar(select(func.count(func.distinct(Look.member_id))).where(*looked)) or 0
    return Report(
        actor=actor,
        name=name,
        since=since,
        until=until,
        acts=[Act(*row) for row in counted],
        files=[(row[0], row[1], row[2]) for row in files],
        members=[(row[0], row[1], row[2]) for row in seen],
        member_count=count,
        is_cut=len(files) == MOST_ACTS or len(seen) == MOST_MEMBERS,
    )


def rows_of(found: Report) -> Iterator[tuple[Any, ...]]:
    """The report as rows of a spreadsheet, with a heading."""
    yield "at", "who", "what", "about", "until_at", "count"
    for act in found.acts:
        yield act.first_at.isoformat(), found.actor, act.act, "", act.last_at.isoformat(), act.count
    for at, name, facts in found.files:
        told = " ".join(f"{key}={value}" for key, value in facts.items())
        yield at.isoformat(), found.actor, name, told, "", facts.get("rows", facts.get("count", ""))
    for public_id, what, at in found.members:
        yield at.isoformat(), found.actor, what, public_id, "", 1


def actors(session: Session) -> list[tuple[str, str]]:
    """Everybody of the shop a report can be about: account and name."""
    return [
        (f"{kind}:{one.id}", one.name)
        for kind, model in _TABLES.items()
        for one in session.scalars(select(model).order_by(model.id))
    ]


def name_of(session: Session, actor: str) -> str:
    """Whose account it is."""
    kind, _, number = actor.partition(":")
    if actor in ("cli", "job", "member"):
        return actor
    is_number = number.isascii() and number.isdigit() and len(number) < 19
    row = session.get(_TABLES[kind], int(number)) if kind in _TABLES and is_number else None
    if row is None:
        raise Refused("breach.unknown", status=404)
    return str(row.name)
