"""Alarms: what the owner must know, one open row for each thing while it lasts.

Whoever finds something wrong raises it, as often as it looks; whoever finds it well again ends
it. Telling the owner is `engagement/watchdog.py`'s business.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import bindparam, or_, select, text, update
from sqlalchemy.orm import Session

from core.db import insert_into
from models.results import Alarm

# Written out rather than bound, as in the index that it names (models/results.py).
IS_OPEN = text("alarms.ended_at IS NULL")
#: The audit log's own alarm, which the health page looks at.
AUDIT = "audit.broken:chain"
#: Told at once, whatever the hour; the others wait for the day's digest.
GRAVE = frozenset(
    {
        "ledger.difference",
        "audit.broken",
        "sending.paused",
        "sending.quota",
        "journeys.overdue",
        "jobs.missed",
        "members.disputed",
    }
)
#: What has happened once and lasts no longer than until somebody has taken note.
ONCE = frozenset({"exports.made"})


def raise_alarm(
    session: Session, key: str, kind: str, facts: Mapping[str, Any], now: datetime
) -> bool:
    """Say that something is wrong, once while it lasts. True when it was not known yet.

    The facts of an open alarm follow what is found now; it stays as old as it is, and whoever was
    told is not told again.
    """
    made = session.execute(
        insert_into(session, Alarm)
        .values(key=key, kind=kind, facts=dict(facts), raised_at=now)
        .on_conflict_do_nothing(index_elements=["key"], index_where=text("ended_at IS NULL"))
        .returning(Alarm.id)
    ).scalar()
    if made is not None:
        return True
    known = session.scalar(select(Alarm).where(IS_OPEN, Alarm.key == key))
    if known is not None and known.facts != dict(facts):
        known.facts = dict(facts)
    return False


def end_alarm(session: Session, key: str, now: datetime) -> bool:
    """Say that it is well again. True when there was an alarm to end."""
    ended: Any = session.execute(
        update(Alarm).where(IS_OPEN, Alarm.key == key).values(ended_at=now)
    )
    return bool(ended.rowcount)


@lru_cache(maxsize=16)
def _open_keys(prefixes: int) -> Any:
    """The open alarms whose keys begin with one of so many prefixes."""
    begin = (Alarm.key.startswith(bindparam(f"prefix_{n}")) for n in range(prefixes))
    return select(Alarm.key).where(IS_OPEN, or_(*begin))


def end_others(
    session: Session, prefixes: Sequence[str], still: Collection[str], now: datetime
) -> int:
    """End the open alarms whose key begins like one of these and which were not found any more."""
    # `_` stands for any letter here, so that they are looked at once more.
    asked = {f"prefix_{n}": prefix for n, prefix in enumerate(prefixes)}
    near = session.scalars(_open_keys(len(prefixes)), asked).all()
    found = [key for key in near if key.startswith(tuple(prefixes))]
    return sum(end_alarm(session, key, now) for key in found if key not in still)


def see(session: Session, alarm_id: int, now: datetime) -> bool:
    """Somebody has seen it. True the first time."""
    seen: Any = session.execute(
        update(Alarm).where(Alarm.id == alarm_id, Alarm.seen_at.is_(None)).values(seen_at=now)
    )
    session.execute(
        update(Alarm)
        .where(Alarm.id == alarm_id, Alarm.kind.in_(ONCE), Alarm.ended_at.is_(None))
        .values(ended_at=now)
    )
    return bool(seen.rowcount)


def open_ones(session: Session) -> list[Alarm]:
    """What is wrong now, newest first."""
    return list(session.scalars(select(Alarm).where(IS_OPEN).order_by(Alarm.id.desc())))


def is_open(session: Session, key: str) -> bool:
    """Whether this is wrong now, as far as anybody has looked."""
    return bool(session.scalar(select(Alarm.id).where(IS_OPEN, Alarm.key == key)))
