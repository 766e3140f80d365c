"""Telling the owner on LINE: grave alarms at once, the others in one message a day (M9).

An alarm is told once, whoever looks and however often. What is told at once is transactional, the
digest and the weekly card are service: the gate keeps them out of the quiet hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot import theme
from bot.flex.journeys import notice
from core.i18n import moment, t, texts
from core.runtime import Runtime
from engagement import delivery, outbox
from loyalty import alarms, shop
from models.journeys import Journey
from models.members import Member
from models.outbox import MessageClass
from models.results import Alarm
from models.staff import Cashier, Staff

OWNERS = "alerts.members"
MAX_OWNERS = 5
#: What comes and goes is told again this much later at the soonest.
REST = timedelta(hours=6)
#: Lines of one digest; the console holds the rest.
MOST_LINES = 8


def owners(session: Session) -> list[Member]:
    """The members who hear of alarms; whoever was merged is who they are now."""
    found: dict[int, Member] = {}
    for member_id in shop.get(session, OWNERS):
        member = session.get(Member, member_id)
        if member is not None and member.merged_into_id is not None:
            member = session.get(Member, member.merged_into_id)
        if member is not None and member.is_member:
            found[member.id] = member
    return list(found.values())[:MAX_OWNERS]


def reached(
    session: Session, runtime: Runtime, klass: MessageClass, now: datetime
) -> list[tuple[Member, datetime]]:
    """Whom of them the gate lets through now, and when. An alarm is taken only for somebody: what
    nobody could be told waits for the next look."""
    found = []
    for person in owners(session):
        decision = delivery.decide(
            session, runtime.vault, person, klass, now=now, tz=runtime.clock.tz
        )
        if decision.reason is None:
            found.append((person, decision.until or now))
    return found


def words(session: Session, alarm: Alarm, locale: str, tz: ZoneInfo) -> tuple[str, str]:
    """What is wrong and what to do about it, in a reader's language."""
    name = alarm.kind.replace(".", "_")
    facts = {**alarm.facts, **_names(session, alarm, locale)}
    if "due" in facts:
        facts["due"] = moment(locale, datetime.fromisoformat(facts["due"]), tz)
    return t(locale, f"alarms.title_{name}", **facts), t(locale, f"alarms.body_{name}", **facts)


def _names(session: Session, alarm: Alarm, locale: str) -> dict[str, str]:
    facts, named = alarm.facts, {}
    if "journey_id" in facts:
        journey = session.get(Journey, facts["journey_id"])
        key = f"journeys.name_{journey.key.replace('.', '_')}" if journey else ""
        own = (journey.name or journey.key) if journey else "?"
        named["journey"] = t(locale, key) if key in texts(locale) else own
    if "cashier_id" in facts:
        cashier = session.get(Cashier, facts["cashier_id"])
        named["cashier"] = cashier.name if cashier else "?"
    if "member_id" in facts:
        member = session.get(Member, facts["member_id"])
        named["member_no"] = (member.member_no if member else None) or "–"
    if "staff_id" in facts:
        staff = session.get(Staff, facts["staff_id"])
        named["staff"] = staff.name if staff else "?"
    if "list" in facts:
        key = f"console.{facts['list']}"
        named["what"] = t(locale, key) if key in texts(locale) else facts["list"]
    if "disputed" in facts:
        named["what"] = t(locale, f"alarms.disputed_{facts['disputed'].replace('.', '_')}")
    if "job" in facts:
        key = f"alarms.job_{facts['job'].replace('.', '_')}"
        named["job"] = t(locale, key) if key in texts(locale) else facts["job"]
    if alarm.kind == "sending.paused":
        why = f"alarms.paused_{facts.get('why')}"
        named["why"] = t(locale, why if why in texts(locale) else "alarms.paused_other")
    return named


def tell_grave(session: Session, runtime: Runtime, now: datetime) -> int:
    """Tell the owner of grave alarms nobody was told of. Returns how many."""
    people = reached(session, runtime, MessageClass.TRANSACTIONAL, now)
    if not people:
        return 0
    told = 0
    for alarm in _untold(session, is_grave=True):
        if _was_told_lately(session, alarm, now) or not _take(session, alarm, now):
            continue
        told += 1
        for person, at in people:
            title, body = words(session, alarm, person.locale, runtime.clock.tz)
            card = notice(title, body, action=_open(runtime, person))
            _push(
                session, person, f"alarm:{alarm.id}:{person.id}", "alarms.raised",
                MessageClass.TRANSACTIONAL, card, at, now,
            )  # fmt: skip
    return told


def tell_rest(session: Session, runtime: Runtime, now: datetime, day: str) -> int:
    """The day's digest of what is open and untold. Returns how many alarms it names."""
    people = reached(session, runtime, MessageClass.SERVICE, now)
    untold = _untold(session, is_grave=None) if people else []
    taken = [alarm for alarm in untold if _take(session, alarm, now)]
    if not taken:
        return 0
    for person, at in people:
        titles = [words(session, alarm, person.locale, runtime.clock.tz)[0] for alarm in taken]
        body = "\n".join(f"• {title}" for title in titles[:MOST_LINES])
        if len(titles) > MOST_LINES:
            body += "\n" + t(person.locale, "alarms.more", count=len(titles) - MOST_LINES)
        heading = t(person.locale, "alarms.digest", count=len(titles))
        card = notice(heading, body, action=_open(runtime, person))
        send_card(session, person, f"alarms:{day}:{person.id}", "alarms.digest", card, at, now)
    return len(taken)


def send_card(
    session: Session,
    person: Member,
    key: str,
    kind: str,
    card: dict[str, Any],
    due_at: datetime,
    now: datetime,
) -> bool:
    """Send the owner a card at the moment that `reached` gave, once for its key."""
    return _push(session, person, key, kind, MessageClass.SERVICE, card, due_at, now)


def _untold(session: Session, *, is_grave: bool | None) -> Sequence[Alarm]:
    query = select(Alarm).where(alarms.IS_OPEN, Alarm.told_at.is_(None)).order_by(Alarm.id)
    if is_grave:
        query = query.where(Alarm.kind.in_(sorted(alarms.GRAVE)))
    return session.scalars(query).all()


def _take(session: Session, alarm: Alarm, now: datetime) -> bool:
    """Whoever sets the moment tells it; nobody else does."""
    taken: Any = session.execute(
        update(Alarm).where(Alarm.id == alarm.id, Alarm.told_at.is_(None)).values(told_at=now)
    )
    return bool(taken.rowcount)


def _was_told_lately(session: Session, alarm: Alarm, now: datetime) -> bool:
    lately = select(Alarm.id).where(Alarm.key == alarm.key, Alarm.told_at > now - REST)
    return session.scalar(lately.limit(1)) is not None


def _push(
    session: Session,
    person: Member,
    key: str,
    kind: str,
    klass: MessageClass,
    card: dict[str, Any],
    due_at: datetime,
    now: datetime,
) -> bool:
    queued = outbox.queue(
        session, key=key, member=person, klass=klass, kind=kind, messages=[card], now=now,
        due_at=due_at,
    )  # fmt: skip
    return queued is not None


def _open(runtime: Runtime, person: Member) -> theme.Action:
    address = f"{runtime.settings.public_url}/admin/alarms"
    return theme.uri_action(t(person.locale, "alarms.open"), address)
