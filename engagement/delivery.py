"""The one gate: every message but a reply passes here, and nothing else may reach the outbox.

Order (`product.md` M4): state, reach, consent, topic, cap, the owner's monthly stop, quiet hours,
not-after. The monthly quota is held by the outbox, which alone knows what LINE answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as day_time
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    ColumnElement,
    String,
    bindparam,
    case,
    cast,
    exists,
    false,
    func,
    literal,
    null,
    select,
    text,
)
from sqlalchemy.orm import Session

from core.bulk import is_among
from core.clock import at_local, local_day
from core.crypto import Vault
from core.db import is_sqlite
from engagement import costs, outbox, topics
from engagement.outbox import TOO_LATE, UNREACHABLE
from engagement.topics import Choice
from loyalty import consents, personal, shop
from loyalty.birthdays import is_minor
from models.base import UtcDateTime, table_of
from models.members import Consent, Member, MemberState, Purpose
from models.outbox import Message, MessageClass, MessageState
from models.segments import MemberChoice

GONE = "delivery.gone"
NO_CONSENT = outbox.NO_CONSENT
MINOR = "delivery.minor"
CAPPED = "delivery.capped"
MUTED = "delivery.muted"
STOPPED = "delivery.monthly_stop"
CAP_WINDOW = timedelta(days=7)
#: States in which a message has gone out or is about to: they count against the cap.
COUNTED = (
    MessageState.WAITING,
    MessageState.CALLING,
    MessageState.SENT,
    MessageState.SENT_UNKNOWN,
    MessageState.UNCERTAIN,
    MessageState.PARKED,
)


@dataclass(frozen=True)
class Rules:
    """The shop's message rules; times are on the shop's wall clock."""

    quiet_from: day_time = day_time(21)
    quiet_until: day_time = day_time(9)
    #: Where a deadline inside the quiet hours is moved to (M5).
    before_quiet: day_time = day_time(20, 55)
    weekly_cap: int = 2

    @staticmethod
    def of(session: Session) -> Rules:
        """The rules in force."""
        return Rules(
            quiet_from=day_time.fromisoformat(shop.get(session, "messages.quiet_from")),
            quiet_until=day_time.fromisoformat(shop.get(session, "messages.quiet_until")),
            before_quiet=day_time.fromisoformat(shop.get(session, "messages.before_quiet")),
            weekly_cap=shop.get(session, "messages.promotional_per_week"),
        )

    def is_quiet(self, moment: datetime, tz: ZoneInfo) -> bool:
        """Whether this moment lies in the quiet hours."""
        at = moment.astimezone(tz).time()
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= at < self.quiet_until
        return at >= self.quiet_from or at < self.quiet_until

    def next_loud(self, moment: datetime, tz: ZoneInfo) -> datetime:
        """The end of the quiet hours that hold this moment."""
        local = moment.astimezone(tz)
        day = local.date()
        if self.quiet_from > self.quiet_until and local.time() >= self.quiet_from:
            day += timedelta(days=1)
        ends = at_local(day, self.quiet_until.hour, self.quiet_until.minute, tz)
        # Where the clocks go back, the wall shows an hour twice; the end is still to come.
        return ends if ends > moment else ends + timedelta(hours=1)

    def last_loud(self, moment: datetime, tz: ZoneInfo) -> datetime:
        """A deadline inside quiet hours, moved to just before them (M5)."""
        if not self.is_quiet(moment, tz):
            return moment
        local = moment.astimezone(tz)
        day = local.date()
        if self.quiet_from > self.quiet_until and local.time() < self.quiet_until:
            day -= timedelta(days=1)
        return at_local(day, self.before_quiet.hour, self.before_quiet.minute, tz)


@dataclass(frozen=True)
class Decision:
    """Send now (`reason` and `until` None), wait `until`, or skip for `reason`."""

    reason: str | None = None
    until: datetime | None = None

    @property
    def is_go(self) -> bool:
        return self.reason is None and self.until is None


GO = Decision()


@dataclass(frozen=True)
class Known:
    """What the gate must know of a member besides their row."""

    has_consent: bool
    is_minor: bool
    #: Promotional messages of the last seven days.
    sent: int
    choice: Choice


def decide(
    session: Session,
    vault: Vault,
    member: Member,
    klass: MessageClass,
    *,
    now: datetime,
    tz: ZoneInfo,
    not_after: datetime | None = None,
    is_ride: bool = False,
    topic: str | None = None,
) -> Decision:
    """Whether this member may be sent a message of this class, about this topic, now.

    A ride on a free reply asks neither quiet hours nor reach: the member has just written.
    """
    if reason := _refused_at_once(member, now, not_after, is_ride=is_ride):
        return Decision(reason)
    if klass == MessageClass.TRANSACTIONAL:
        return GO
    rules = Rules.of(session)
    known = Known(True, False, 0, Choice())
    if klass == MessageClass.PROMOTIONAL:
        known = _look_at(session, vault, [member], now, tz)[member.id]
    elif topic is not None:
        known = Known(True, False, 0, topics.choice_of(session, member.id))
    if reason := _unwanted(known, rules, klass, topic):
        return Decision(reason)
    if is_ride:
        return GO
    if costs.is_stopped(session, now, tz):
        return Decision(STOPPED)
    return _wait(rules, now, tz, not_after)


def decide_many(
    session: Session,
    vault: Vault,
    members: Sequence[Member],
    klass: MessageClass,
    *,
    now: datetime,
    tz: ZoneInfo,
    not_after: datetime | None = None,
    topic: str | None = None,
) -> dict[int, Decision]:
    """The same for many members, in as many statements as for one."""
    rules = Rules.of(session)
    waits = GO
    if klass != MessageClass.TRANSACTIONAL:
        is_over = costs.is_stopped(session, now, tz)
        waits = Decision(STOPPED) if is_over else _wait(rules, now, tz, not_after)
    known: dict[int, Known] = {}
    if klass != MessageClass.TRANSACTIONAL:
        known = _look_at(session, vault, members, now, tz)
    decisions = {}
    for member in members:
        reason = _refused_at_once(member, now, not_after, is_ride=False)
        if reason is None and klass != MessageClass.TRANSACTIONAL:
            reason = _unwanted(known[member.id], rules, klass, topic)
        decisions[member.id] = Decision(reason) if reason else waits
    return decisions


def _refused_at_once(
    member: Member, now: datetime, not_after: datetime | None, *, is_ride: bool
) -> str | None:
    if member.state in (MemberState.ERASED, MemberState.MERGED):
        return GONE
    if not is_ride and not member.can_be_pushed:
        return UNREACHABLE
    return TOO_LATE if not_after is not None and now > not_after else None


def _unwanted(known: Known, rules: Rules, klass: MessageClass, topic: str | None) -> str | None:
    """Why this member is not to hear this: no consent, too young, not this, or enough already."""
    if klass == MessageClass.PROMOTIONAL and not known.has_consent:
        return NO_CONSENT
    if klass == MessageClass.PROMOTIONAL and known.is_minor:
        return MINOR
    if topic is not None and topic in known.choice.muted:
        return MUTED
    if klass == MessageClass.PROMOTIONAL and known.sent >= known.choice.cap(rules.weekly_cap):
        return CAPPED
    return None


def keep_quiet(session: Session, now: datetime, tz: ZoneInfo) -> None:
    """What passed the gate by day and was kept back, by the quota or by a pause, is not made up
    for at night: it leaves when the quiet hours end. For whoever lets sending go on."""
    if (until := loud_at(session, now, tz)) is not None:
        outbox.put_off(session, now, until)


def loud_at(session: Session, now: datetime, tz: ZoneInfo) -> datetime | None:
    """When customers may be written to again; None while they may be."""
    rules = Rules.of(session)
    return rules.next_loud(now, tz) if rules.is_quiet(now, tz) else None


def _wait(rules: Rules, now: datetime, tz: ZoneInfo, not_after: datetime | None) -> Decision:
    if not rules.is_quiet(now, tz):
        return GO
    until = rules.next_loud(now, tz)
    if not_after is not None and until > not_after:
        return Decision(TOO_LATE)
    return Decision(until=until)


@cache
def _look_on(on_sqlite: bool) -> Any:
    """What each of these agreed to, was sent lately and chose; built once, as every message asks."""
    members, consents_, messages, choices = map(table_of, (Member, Consent, Message, MemberChoice))
    given = select(consents_.c.text_version).where(  # of a purpose one is open at most
        consents_.c.member_id == members.c.id,
        consents_.c.purpose == Purpose.MARKETING,
        consents_.c.withdrawn_at.is_(None),
    )
    lately = (
        select(func.count())
        .select_from(messages)
        .where(
            messages.c.member_id == members.c.id,
            messages.c.klass == MessageClass.PROMOTIONAL,
            messages.c.created_at > bindparam("since", type_=UtcDateTime()),
            messages.c.state.in_(COUNTED),
        )
    )
    return (
        select(
            members.c.id,
            given.scalar_subquery().label("agreed_to"),
            lately.scalar_subquery().label("sent"),
            choices.c.muted,
            choices.c.per_week,
        )
        .select_from(members.outerjoin(choices, choices.c.member_id == members.c.id))
        .where(is_among(on_sqlite, members.c.id, "ids"))
    )


def _look_at(
    session: Session, vault: Vault, members: Sequence[Member], now: datetime, tz: ZoneInfo
) -> dict[int, Known]:
    asked = {"ids": [member.id for member in members], "since": now - CAP_WINDOW}
    rows = {row.id: row for row in session.execute(_look_on(is_sqlite(session)), asked)}
    consented: dict[int, str] = {
        row.id: row.agreed_to for row in rows.values() if row.agreed_to is not None
    }
    alone = [
        member
        for member in members
        if member.id in consented and not consents.is_by_guardian(consented[member.id])
    ]
    young = _young(session, vault, alone, local_day(now, tz))
    return {
        member.id: Known(
            has_consent=member.id in consented,
            is_minor=member.id in young,
            sent=rows[member.id].sent,
            choice=topics.choice_in(rows[member.id]),
        )
        for member in members
    }


def _young(session: Session, vault: Vault, members: Sequence[Member], today: date) -> set[int]:
    """Those of them who are too young to agree alone (J2)."""
    born = personal.birthdays_of(session, vault, members)
    age = shop.get(session, "members.guardian_age")
    return {member_id for member_id, day in born.items() if is_minor(day, today, age)}


# --- Looking ahead ------------------------------------------------------------------------------


#: In the order in which they are asked.
REASONS = (UNREACHABLE, NO_CONSENT, MINOR, MUTED, CAPPED)
#: Sealed birthdays are opened for so many; beyond that an even sample stands for the rest.
OPENED = 2_000


@dataclass(frozen=True)
class Foreseen:
    """What the gate would say of many, were it asked now."""

    messages: int
    #: Set apart by whoever asked, and so not put to the gate.
    apart: int
    #: Skips by reason, in the gate's own order.
    skipped: Mapping[str, int]

    @property
    def audience(self) -> int:
        return self.messages + self.apart + sum(self.skipped.values())


def foresee(
    session: Session,
    people: Any,
    klass: MessageClass,
    *,
    now: datetime,
    tz: ZoneInfo,
    topic: str | None = None,
    apart: ColumnElement[bool] | None = None,
) -> Foreseen:
    """What `decide_many` would say of these (a subquery with the column `id`), counted by the
    database in one pass; who is too young is looked up, as birthdays are sealed."""
    reason = _reason_in_database(session, klass, topic, now)
    aside = apart if apart is not None else false()
    rows = session.execute(
        select(case((aside, literal(_APART)), else_=reason).label("why"), func.count().label("n"))
        .select_from(people)
        .join(Member, Member.id == people.c.id)
        .group_by(text("why"))
    ).all()
    found: dict[str | None, int] = {row.why: row.n for row in rows}
    aparts = found.pop(_APART, 0)
    if klass == MessageClass.PROMOTIONAL:
        asked = select(Member, reason.label("why")).join(people, Member.id == people.c.id)
        for why, count in _minors(session, asked.where(~aside), reason, now, tz).items():
            found[why] = found.get(why, 0) - count
            found[MINOR] = found.get(MINOR, 0) + count
    messages = found.pop(None, 0)
    return Foreseen(messages, aparts, {why: found[why] for why in REASONS if found.get(why)})


_APART = "apart"


def _minors(
    session: Session, asked: Any, reason: ColumnElement[str | None], now: datetime, tz: ZoneInfo
) -> dict[str | None, int]:
    """How many of them are too young, by what the database would say of them otherwise."""
    by_guardian = exists().where(
        Consent.member_id == Member.id,
        Consent.purpose == Purpose.MARKETING,
        Consent.withdrawn_at.is_(None),
        Consent.text_version.endswith(consents.GUARDIAN),
    )
    is_asked = reason.is_(None) | reason.in_((MUTED, CAPPED))  # what comes before is said first
    known = asked.where(Member.birthday_sealed.is_not(None), is_asked, ~by_guardian)
    # Public ids are random: the first of them are an even sample.
    some = session.execute(known.order_by(Member.public_id).limit(OPENED)).all()
    vault: Vault = session.info["vault"]
    young = _young(session, vault, [row.Member for row in some], local_day(now, tz))
    found = Counter(row.why for row in some if row.Member.id in young)
    if len(some) < OPENED or not found:
        return dict(found)
    whole = session.scalar(select(func.count()).select_from(known.subquery())) or 0
    return {why: round(count * whole / len(some)) for why, count in found.items()}


def _reason_in_database(
    session: Session, klass: MessageClass, topic: str | None, now: datetime
) -> ColumnElement[str | None]:
    """Why a row of `Member` would get no message now, as an expression; all but its age."""
    is_reachable = (
        Member.line_user_id.is_not(None)
        & Member.is_following.is_(True)
        & Member.unreachable_at.is_(None)
    )
    cases: list[tuple[Any, str]] = [(~is_reachable, UNREACHABLE)]
    own = select(MemberChoice.member_id).where(MemberChoice.member_id == Member.id)
    if klass == MessageClass.PROMOTIONAL:
        given = exists().where(
            Consent.member_id == Member.id,
            Consent.purpose == Purpose.MARKETING,
            Consent.withdrawn_at.is_(None),
        )
        cases.append((~given, NO_CONSENT))
    if topic is not None and klass != MessageClass.TRANSACTIONAL:
        is_muted = cast(MemberChoice.muted, String).like(f'%"{topic}"%')
        cases.append((own.where(is_muted).exists(), MUTED))
    if klass == MessageClass.PROMOTIONAL:
        cap = Rules.of(session).weekly_cap
        wish = (
            select(MemberChoice.per_week)
            .where(MemberChoice.member_id == Member.id, MemberChoice.per_week < cap)
            .scalar_subquery()
        )
        sent = (
            select(func.count())
            .select_from(Message)
            .where(
                Message.member_id == Member.id,
                Message.klass == MessageClass.PROMOTIONAL,
                Message.created_at > now - CAP_WINDOW,
                Message.state.in_(COUNTED),
            )
            .scalar_subquery()
        )
        cases.append((sent >= func.coalesce(wish, cap), CAPPED))
    return case(*cases, else_=null())
