"""The one gate: every message but a reply passes here, and nothing else may reach the outbox.

Order (`product.md` M4): reach, state, consent, cap, quiet hours, not-after. The monthly quota is
held by the outbox, which alone knows what LINE answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as day_time
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import at_local, local_day
from core.crypto import Vault
from engagement.outbox import TOO_LATE, UNREACHABLE
from loyalty import consents, personal, shop
from loyalty.birthdays import is_minor
from models.members import Member, MemberState, Purpose
from models.outbox import Message, MessageClass, MessageState

GONE = "delivery.gone"
NO_CONSENT = "delivery.no_consent"
MINOR = "delivery.minor"
CAPPED = "delivery.capped"
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
) -> Decision:
    """Whether this member may be sent a message of this class now.

    A ride on a free reply asks neither quiet hours nor reach: the member has just written.
    """
    rules = Rules.of(session)
    if member.state in (MemberState.ERASED, MemberState.MERGED):
        return Decision(GONE)
    if not is_ride and not member.can_be_pushed:
        return Decision(UNREACHABLE)
    if not_after is not None and now > not_after:
        return Decision(TOO_LATE)
    if klass == MessageClass.TRANSACTIONAL:
        return GO
    if klass == MessageClass.PROMOTIONAL and (
        reason := promotion_refused(session, vault, member, rules, now=now, tz=tz)
    ):
        return Decision(reason)
    if not is_ride and rules.is_quiet(now, tz):
        until = rules.next_loud(now, tz)
        if not_after is not None and until > not_after:
            return Decision(TOO_LATE)
        return Decision(until=until)
    return GO


def promotion_refused(
    session: Session, vault: Vault, member: Member, rules: Rules, *, now: datetime, tz: ZoneInfo
) -> str | None:
    """Why this member gets no promotion now: no consent, too young, or enough this week."""
    if not consents.is_given(session, member.id, Purpose.MARKETING):
        return NO_CONSENT
    if is_unguarded_minor(session, vault, member, local_day(now, tz)):
        return MINOR
    sent = session.scalar(
        select(func.count())
        .select_from(Message)
        .where(
            Message.member_id == member.id,
            Message.klass == MessageClass.PROMOTIONAL,
            Message.created_at > now - CAP_WINDOW,
            Message.state.in_(COUNTED),
        )
    )
    return CAPPED if (sent or 0) >= rules.weekly_cap else None


def is_unguarded_minor(session: Session, vault: Vault, member: Member, today: date) -> bool:
    """Whether the member is too young to agree alone, and no guardian has (J2)."""
    born = personal.birthday_of(session, vault, member)
    if born is None or not is_minor(born, today, shop.get(session, "members.guardian_age")):
        return False
    return not consents.has_guardian(session, member.id)
