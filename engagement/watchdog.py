"""The watchdog (M9): finds what should have gone out and did not, and raises or ends its alarm.

It reads with a few statements and writes only where something has changed. Jobs that were missed
are the scheduler's to find (`scheduler/watch.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from engagement.outbox import IS_OPEN, KEPT_KINDS
from loyalty import alarms, disputes
from models.journeys import Intent, IntentState, Journey
from models.members import MemberTotals
from models.outbox import Call, CallState, ChannelState
from models.purchases import Purchase

#: A due intent or call may take this long before somebody should look.
GRACE = timedelta(minutes=30)
#: A journey has usual days from so many in a row on, with so many occasions a day at least.
USUAL_DAYS, USUAL_LEAST = 14, 3
DAY = timedelta(days=1)
OVERDUE, SILENT, STUCK = "journeys.overdue", "journeys.silent", "sending.stuck"
PAUSED, QUOTA, FROZEN = "sending.paused", "sending.quota", "ledger.frozen"
#: What one look may end: an alarm of these kinds that is not found any more is over.
WATCHED = (OVERDUE, SILENT, STUCK, PAUSED, QUOTA, FROZEN)


@dataclass(frozen=True)
class Finding:
    """Something wrong as seen now; `key` says what and about what."""

    key: str
    kind: str
    facts: Mapping[str, Any]


def look(session: Session, now: datetime) -> list[Finding]:
    """Everything that is wrong now. Reads only."""
    return [
        *_overdue(session, now),
        *_silent(session, now),
        *_sending(session, now),
        *_frozen(session),
    ]


def note(session: Session, found: list[Finding], now: datetime) -> int:
    """Raise what was found, end what was not. Returns how many alarms are new."""
    keys = {one.key for one in found}
    alarms.end_others(session, [f"{kind}:" for kind in WATCHED], keys, now)
    return sum(alarms.raise_alarm(session, one.key, one.kind, one.facts, now) for one in found)


def is_news(session: Session, found: list[Finding]) -> bool:
    """Whether `note` would change anything; a quiet look takes no write lock."""
    known = {one.key: one.facts for one in alarms.open_ones(session)}
    watched = {key for key in known if key.partition(":")[0] in WATCHED}
    return {one.key for one in found} != watched or any(
        dict(one.facts) != known[one.key] for one in found
    )


def _overdue(session: Session, now: datetime) -> list[Finding]:
    """Owed past their deadline, or failing again and again until it was too late."""
    is_late = (Intent.deadline < now - GRACE) | (Intent.not_after < now)
    rows = session.execute(
        select(Journey.key, Intent.journey_id, func.count(), func.min(Intent.deadline))
        .join(Journey, Journey.id == Intent.journey_id)
        .where(Intent.state == IntentState.WAITING, is_late)
        .group_by(Journey.key, Intent.journey_id)
    )
    return [
        Finding(
            f"{OVERDUE}:{key}",
            OVERDUE,
            {"journey_id": journey_id, "count": _rounded(count), "since": since.isoformat()},
        )
        for key, journey_id, count, since in rows
    ]


def _silent(session: Session, now: datetime) -> list[Finding]:
    """Journeys that used to have occasions every day and had none in the last one.

    A day without a single bill is a closed shop, and says nothing.
    """
    is_open = session.scalar(select(Purchase.id).where(Purchase.purchased_at > now - DAY).limit(1))
    if is_open is None:
        return []
    journeys = session.execute(
        select(Journey.id, Journey.key).where(
            Journey.is_on.is_(True), Journey.archived_at.is_(None)
        )
    ).all()
    found = []
    for journey_id, key in journeys:
        days = _daily(session, journey_id, now)
        usual = days[1:]
        if days[0] == 0 and min(usual) > 0 and sum(usual) >= USUAL_LEAST * USUAL_DAYS:
            facts = {"journey_id": journey_id, "usual": round(sum(usual) / USUAL_DAYS)}
            found.append(Finding(f"{SILENT}:{key}", SILENT, facts))
    return found


def _daily(session: Session, journey_id: int, now: datetime) -> list[int]:
    """Occasions of the last day, the one before, and so on; asked on from the first empty one."""
    counts = []
    for back in range(USUAL_DAYS + 1):
        since, until = now - (back + 1) * DAY, now - back * DAY
        count = session.scalar(
            select(func.count())
            .select_from(Intent)
            .where(
                Intent.journey_id == journey_id,
                Intent.created_at > since,
                Intent.created_at <= until,
            )
        )
        counts.append(count or 0)
        is_as_usual = back == 0 and count
        if is_as_usual or (back > 0 and not count):  # well, or never had usual days
            return [*counts, *[0] * (USUAL_DAYS + 1 - len(counts))]
    return counts


def _sending(session: Session, now: datetime) -> list[Finding]:
    state = session.get(ChannelState, 1)
    if state is not None and state.paused_for:
        return [Finding(f"{PAUSED}:{state.paused_for}", PAUSED, {"why": state.paused_for})]
    if state is not None and state.quota_exhausted_at is not None:
        return [Finding(f"{QUOTA}:month", QUOTA, {"limit": state.quota_limit or 0})]
    count, oldest = session.execute(
        select(func.count(), func.min(Call.next_try_at)).where(
            IS_OPEN,
            Call.kind.in_(KEPT_KINDS),
            Call.state == CallState.WAITING,
            Call.next_try_at < now - GRACE,
        )
    ).one()
    if not count:
        return []
    return [
        Finding(f"{STUCK}:calls", STUCK, {"count": _rounded(count), "since": oldest.isoformat()})
    ]


def _frozen(session: Session) -> list[Finding]:
    count = session.scalar(
        select(func.count())
        .select_from(MemberTotals)
        .where(
            MemberTotals.frozen_at.is_not(None),
            func.coalesce(MemberTotals.frozen_why, "") != disputes.NOT_ME,
        )
    )
    return [Finding(f"{FROZEN}:members", FROZEN, {"count": count})] if count else []


def _rounded(count: int) -> int:
    """To two figures, so that a queue which grows is not news every minute."""
    step = int(10 ** max(0, len(str(count)) - 2))
    return count // step * step
