"""What messages cost, what the month still holds, and the owner's hard stop (M6)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.errors import Refused
from engagement import outbox
from loyalty import shop
from models.campaigns import Campaign, CampaignRecipient, CampaignState
from models.outbox import Call, CallState, ChannelState, Message, MessageState

#: Still to leave, and counted as if they had.
_OWED = (MessageState.WAITING, MessageState.CALLING, MessageState.PARKED)
#: Written out rather than bound, so that both engines use the partial index.
IS_PENDING = text("campaign_recipients.state = 'pending'")
#: `session.info`: moment -> used and owed this month before what the session itself has queued.
MONTH_BEFORE = "costs.month_before"
_UNDER_WAY = (CampaignState.FREEZING, CampaignState.SENDING, CampaignState.PAUSED)


class OverStop(Refused):
    """This send would pass the hard monthly stop; facts `stop`, `used`, `reserved`, `messages`."""

    code = "costs.over_stop"


@dataclass(frozen=True)
class Plan:
    """What the owner pays LINE in a month; LINE's free plan until they say otherwise."""

    fee_satang: int
    included: int
    #: For each message beyond the included ones; 0 where the plan sells none.
    extra_satang: int


@dataclass(frozen=True)
class Month:
    """How the month stands."""

    #: Messages that have left, by LINE's count or ours, whichever is more.
    used: int
    #: Owed by the outbox and by campaigns under way or scheduled.
    reserved: int
    #: LINE's ceiling for this month; None without one, or before the first look.
    limit: int | None
    #: LINE's own count, and when it was asked.
    counted: int | None
    read_at: datetime | None
    #: Kept back for transactional messages.
    reserve: int
    stop: int | None

    @property
    def left(self) -> int | None:
        """What LINE still takes before the reserve; None without a ceiling."""
        return None if self.limit is None else max(0, self.limit - self.used - self.reserve)


@dataclass(frozen=True)
class Cost:
    """What so many messages cost on top, and as a share of the whole month."""

    messages: int
    month: Month
    plan: Plan
    marginal_satang: int
    average_satang: int

    @property
    def is_beyond_quota(self) -> bool:
        left = self.month.left
        return left is not None and self.messages + self.month.reserved > left

    @property
    def is_over_stop(self) -> bool:
        stop = self.month.stop
        total = self.month.used + self.month.reserved + self.messages
        return stop is not None and total > stop


def plan_of(session: Session) -> Plan:
    """What the owner entered."""
    return Plan(
        shop.get(session, "messages.plan_fee_satang"),
        shop.get(session, "messages.plan_included"),
        shop.get(session, "messages.extra_satang"),
    )


def set_plan(session: Session, plan: Plan, stop: int | None, now: datetime) -> None:
    """Keep the plan and the hard monthly stop."""
    shop.set(session, "messages.plan_fee_satang", plan.fee_satang, now)
    shop.set(session, "messages.plan_included", plan.included, now)
    shop.set(session, "messages.extra_satang", plan.extra_satang, now)
    shop.set(session, "messages.monthly_stop", stop, now)


def month_of(session: Session, now: datetime, tz: ZoneInfo) -> Month:
    """How this month stands."""
    state = session.get(ChannelState, outbox.CHANNEL_ROW)
    limit = state.quota_limit if state is not None else None
    counted = state.quota_used if state is not None else None
    read_at = state.quota_read_at if state is not None else None
    return Month(
        used=_used(session, now, tz),
        reserved=_owed(session) + _promised(session),
        limit=limit,
        counted=counted,
        read_at=read_at,
        reserve=outbox.reserve_of(session, limit),
        stop=shop.get(session, "messages.monthly_stop"),
    )


def cost_of(session: Session, messages: int, now: datetime, tz: ZoneInfo) -> Cost:
    """What `messages` more would cost this month.

    On top: what is beyond the included ones. On average: a share of everything the month costs.
    """
    month, plan = month_of(session, now, tz), plan_of(session)
    before = month.used + month.reserved
    after = before + messages
    marginal = on_top(plan, before, messages)
    whole = plan.fee_satang + _beyond(after, plan) * plan.extra_satang
    average = whole * messages // after if after else 0
    return Cost(messages, month, plan, marginal, average)


def on_top(plan: Plan, before: int, messages: int) -> int:
    """What so many messages cost in a month that has had `before` already, beyond the fee."""
    return (_beyond(before + messages, plan) - _beyond(before, plan)) * plan.extra_satang


def _beyond(messages: int, plan: Plan) -> int:
    return max(0, messages - plan.included)


def refuse_over_stop(session: Session, messages: int, now: datetime, tz: ZoneInfo) -> None:
    """Refuse what would pass the hard monthly stop."""
    stop = shop.get(session, "messages.monthly_stop")
    if stop is None:
        return
    month = month_of(session, now, tz)
    if month.used + month.reserved + messages > stop:
        raise OverStop(stop=stop, used=month.used, reserved=month.reserved, messages=messages)


def left_to_stop(session: Session, now: datetime, tz: ZoneInfo) -> int | None:
    """How many more may be written before the hard monthly stop; None without one."""
    stop = shop.get(session, "messages.monthly_stop")
    if stop is None:
        return None
    return int(stop) - _used(session, now, tz) - _owed(session)


def is_stopped(session: Session, now: datetime, tz: ZoneInfo) -> bool:
    """Whether the month has reached the hard stop: nothing that can wait leaves as a paid push.

    The month is added up once in a session for each moment, and the session's own messages are
    counted on: a batch asks this for each of its messages.
    """
    stop = shop.get(session, "messages.monthly_stop")
    if stop is None:
        return False
    queued = session.info.get(outbox.QUEUED, 0)
    known: dict[datetime, int] = session.info.setdefault(MONTH_BEFORE, {})
    if now not in known:
        known[now] = _used(session, now, tz) + _owed(session) - queued
    return bool(known[now] + queued >= int(stop))


def _used(session: Session, now: datetime, tz: ZoneInfo) -> int:
    """Messages of this month that have left, by LINE's count or ours, whichever is more."""
    state = session.get(ChannelState, outbox.CHANNEL_ROW)
    counted = state.quota_used if state is not None else None
    return max(_left_us(session, now, tz), counted or 0)


def _left_us(session: Session, now: datetime, tz: ZoneInfo) -> int:
    """Recipients of this month's accepted requests."""
    begins = start_of_day(local_day(now, tz).replace(day=1), tz)
    return int(
        session.scalar(
            select(func.coalesce(func.sum(Call.recipient_count), 0)).where(
                Call.created_at >= begins,
                Call.state == CallState.DONE,
                Call.kind.in_(outbox.KEPT_KINDS),
            )
        )
        or 0
    )


def _owed(session: Session) -> int:
    return (
        session.scalar(select(func.count()).select_from(Message).where(Message.state.in_(_OWED)))
        or 0
    )


def _promised(session: Session) -> int:
    """Recipients of campaigns whose message is not written yet, and what scheduled ones expect."""
    pending = (
        session.scalar(
            select(func.count())
            .select_from(CampaignRecipient)
            .join(Campaign, Campaign.id == CampaignRecipient.campaign_id)
            .where(
                IS_PENDING,
                Campaign.state.in_(_UNDER_WAY),
            )
        )
        or 0
    )
    unfrozen = session.scalars(
        select(Campaign.estimate).where(
            (Campaign.state == CampaignState.SCHEDULED)
            | (Campaign.state.in_(_UNDER_WAY) & Campaign.audience.is_(None))
        )
    )
    return pending + sum(int(one.get("messages", 0)) for one in unfrozen)
