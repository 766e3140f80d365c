"""What messages brought (M8): sent, tapped, paid for, and baht against saying nothing.

Everybody who qualified counts by the arm they were put in, whether or not a message reached them.
A member's occasion is compared for 14 days; another one within those days belongs to it, so that
no baht counts twice. The interval around the difference of the means is Welch's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import NormalDist
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import DateTime, Double, cast, exists, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from models.campaigns import Campaign, CampaignRecipient
from models.inbox import Event
from models.journeys import Arm, Intent, IntentState, Journey
from models.members import Member
from models.outbox import CallKind, Message, MessageClass, MessageState
from models.purchases import Purchase
from models.results import LineFigure, Tap
from models.shop import ShopSetting

WINDOW_DAYS = 14
WINDOW = timedelta(days=WINDOW_DAYS)
#: Occasions of journeys are looked back at so far.
DAYS = 90
#: Fewer in either arm say nothing.
LEAST_PER_ARM = 30
LIKELY, CLEAR = 0.80, 0.95
UNKNOWN_WORDS, LIKELY_WORDS, CLEAR_WORDS = "results.unknown", "results.likely", "results.clear"
#: Said of what everybody gets, with nobody to compare.
UNMEASURED_WORDS = "results.unmeasured"
#: Said instead where the difference is a loss.
LOSS_WORDS = {LIKELY_WORDS: "results.likely_loss", CLEAR_WORDS: "results.clear_loss"}
#: The plan at LINE before the owner entered one, as in `loyalty/shop.py`.
PLAN = {
    "messages.plan_fee_satang": 0, "messages.plan_included": 300, "messages.extra_satang": 0,
}  # fmt: skip
#: Members who qualify before anybody is held out, as in `loyalty/shop.py`.
HOLDOUT_FROM = 300
#: Events that bring a reply token.
WITH_REPLY = ("message", "postback", "follow")
GONE_OUT = (MessageState.SENT, MessageState.SENT_UNKNOWN)


@dataclass(frozen=True)
class ArmResult:
    """One arm: occasions, and what was bought within 14 days of each, in satang."""

    count: int = 0
    satang: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.satang / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Of the sample; 0 below two occasions."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self.squares - self.satang * self.mean) / (self.count - 1))


@dataclass(frozen=True)
class Verdict:
    """What the difference of two arms is worth saying."""

    words: str = UNKNOWN_WORDS
    #: Satang made for each treated occasion, and its 80 % interval; None where nothing is known.
    lift: float = 0.0
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class VariantResult:
    """One text of a campaign."""

    variant: str
    count: int
    sent: int
    taps: int
    satang: float

    @property
    def mean(self) -> float:
        return self.satang / self.count if self.count else 0.0

    @property
    def tap_percent(self) -> int:
        return self.taps * 100 // self.sent if self.sent else 0


@dataclass(frozen=True)
class LineSays:
    """LINE's own figures of one unit; None where LINE hides what is below 20."""

    unit: str
    seen: int | None
    clicked: int | None
    as_of: date


@dataclass(frozen=True)
class Result:
    """What one journey or campaign did. Money in satang."""

    kind: str
    id: int
    since: datetime | None
    sent: dict[str, int]
    taps: int
    price_satang: int
    treated: ArmResult
    held: ArmResult
    verdict: Verdict
    #: Until then bills are still being counted; None once all windows are over.
    open_until: datetime | None = None
    #: How many are held out of a hundred; 0 for what everybody gets.
    held_percent: int = 0
    #: Members who qualified, and how many it takes until some are held out.
    qualified: int = 0
    needed: int = 0
    variants: tuple[VariantResult, ...] = ()
    line: tuple[LineSays, ...] = field(default=())

    @property
    def rides(self) -> int:
        return self.sent.get(CallKind.REPLY.value, 0)

    @property
    def pushes(self) -> int:
        return self.sent.get(CallKind.PUSH.value, 0)

    @property
    def multicasts(self) -> int:
        return self.sent.get(CallKind.MULTICAST.value, 0)

    @property
    def sent_total(self) -> int:
        return sum(self.sent.values())

    @property
    def cost_satang(self) -> int:
        """What the paid messages cost; replies are free."""
        return (self.pushes + self.multicasts) * self.price_satang

    @property
    def words(self) -> str:
        is_compared = self.held_percent or self.held.count
        return self.verdict.words if is_compared else UNMEASURED_WORDS

    @property
    def is_proven(self) -> bool:
        """Whether the difference is worth naming at all."""
        return self.words not in (UNKNOWN_WORDS, UNMEASURED_WORDS)

    @property
    def least(self) -> int:
        """Occasions that each arm must have."""
        return LEAST_PER_ARM

    @property
    def fewest(self) -> int:
        """Occasions in the smaller arm."""
        return min(self.treated.count, self.held.count)

    @property
    def lift_satang(self) -> int:
        """Made for each who qualified and was not held out."""
        return round(self.verdict.lift)

    @property
    def made_satang(self) -> int:
        """Result = (mean per treated - mean per held-out) x treated."""
        return round(self.verdict.lift * self.treated.count)

    @property
    def made_between(self) -> tuple[int, int] | None:
        """The 80 % interval of `made_satang`."""
        if self.verdict.interval is None:
            return None
        low, high = self.verdict.interval
        return round(low * self.treated.count), round(high * self.treated.count)

    @property
    def tap_percent(self) -> int:
        return self.taps * 100 // self.sent_total if self.sent_total else 0


# --- Statistics -------------------------------------------------------------------------------


def judge(treated: ArmResult, held: ArmResult) -> Verdict:
    """The words of M8: nothing below 30 in an arm or while the 80 % interval holds 0; likely by
    that interval; clear by the 95 % one."""
    lift = treated.mean - held.mean if treated.count and held.count else 0.0
    if min(treated.count, held.count) < LEAST_PER_ARM:
        return Verdict(UNKNOWN_WORDS, lift)
    likely = welch(treated, held, LIKELY)
    clear = welch(treated, held, CLEAR)
    if likely[0] <= 0 <= likely[1]:
        return Verdict(UNKNOWN_WORDS, lift, likely)
    words = LIKELY_WORDS if clear[0] <= 0 <= clear[1] else CLEAR_WORDS
    return Verdict(words if lift > 0 else LOSS_WORDS[words], lift, likely)


def welch(one: ArmResult, other: ArmResult, confidence: float) -> tuple[float, float]:
    """The interval of the difference of two means whose variances need not be equal.

    d ± t(ν) · √(s₁²/n₁ + s₂²/n₂), ν after Welch and Satterthwaite.
    """
    first, second = one.variance / one.count, other.variance / other.count
    difference = one.mean - other.mean
    if first + second == 0:
        return difference, difference
    freedom = (first + second) ** 2 / (first**2 / (one.count - 1) + second**2 / (other.count - 1))
    reach = t_quantile((1 + confidence) / 2, freedom) * math.sqrt(first + second)
    return difference - reach, difference + reach


def t_quantile(share: float, freedom: float) -> float:
    """Student's t from the normal quantile (Cornish and Fisher); good to 0.001 from ν = 10 on."""
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )


# --- Figures ----------------------------------------------------------------------------------


def of_journey(
    session: Session, journey_id: int, now: datetime, tz: ZoneInfo, *, days: int = DAYS
) -> Result:
    """A journey's messages and occasions of the last `days` days."""
    since = now - timedelta(days=days)
    journey = session.get_one(Journey, journey_id)
    is_compared = journey.klass == MessageClass.PROMOTIONAL
    own = (Intent.journey_id == journey_id, Intent.created_at > since, Intent.created_at <= now)
    by_channel = session.execute(
        select(Message.channel, func.count())
        .join(Intent, Intent.id == Message.intent_id)
        .where(*own, Message.state.in_(GONE_OUT))
        .group_by(Message.channel)
    )
    # Before the hold-out began everybody was treated: other weeks, nothing to compare with.
    begins = session.scalar(select(func.min(Intent.created_at)).where(*own, HELD))
    arms: dict[str, ArmResult] = {}
    if begins is not None:
        arms = _arms(
            session,
            select(
                Intent.id.label("id"),
                Intent.member_id.label("member_id"),
                Intent.arm.label("part"),
                Intent.created_at.label("at"),
                func.lag(Intent.created_at)
                .over(partition_by=Intent.member_id, order_by=(Intent.created_at, Intent.id))
                .label("before"),
            ).where(*own, Intent.created_at >= begins),
        )
    treated, held = _both(arms)
    last = session.scalar(select(func.max(Intent.created_at)).where(*own))
    source = f"journey:{journey_id}:"
    return Result(
        kind="journey",
        id=journey_id,
        since=since,
        sent=_sent(by_channel),
        taps=_taps(session, source, since),
        price_satang=price_satang(session),
        treated=treated,
        held=held,
        verdict=judge(treated, held),
        open_until=_open_until(last, now) if held.count else None,
        held_percent=journey.holdout_percent if is_compared else 0,
        qualified=session.scalar(select(func.count(func.distinct(Intent.member_id))).where(*own))
        or 0,
        needed=_holdout_from(session),
        line=line_says(session, source),
    )


def of_campaign(session: Session, campaign_id: int, now: datetime, tz: ZoneInfo) -> Result:
    """A campaign's messages, and its recipients by the arm they were frozen in."""
    del tz
    campaign = session.get_one(Campaign, campaign_id)
    own = (CampaignRecipient.campaign_id == campaign_id,)
    by_channel = session.execute(
        select(Message.channel, func.count())
        .join(CampaignRecipient, CampaignRecipient.message_id == Message.id)
        .where(*own, Message.state.in_(GONE_OUT))
        .group_by(Message.channel)
    )
    began = campaign.started_at
    arms: dict[str, ArmResult] = {}
    by_variant: dict[str, ArmResult] = {}
    if began is not None:
        people = select(
            CampaignRecipient.id.label("id"),
            CampaignRecipient.member_id.label("member_id"),
            CampaignRecipient.arm.label("part"),
        ).where(*own)
        arms = _arms_from(session, people, began)
        treated_ones = select(
            CampaignRecipient.id.label("id"),
            CampaignRecipient.member_id.label("member_id"),
            CampaignRecipient.variant.label("part"),
        ).where(*own, CampaignRecipient.arm == Arm.TREATED, CampaignRecipient.variant.is_not(None))
        by_variant = _arms_from(session, treated_ones, began)
    treated, held = _both(arms)
    source = f"campaign:{campaign_id}:"
    return Result(
        kind="campaign",
        id=campaign_id,
        since=began,
        sent=_sent(by_channel),
        taps=_taps(session, source, began),
        price_satang=price_satang(session),
        treated=treated,
        held=held,
        verdict=judge(treated, held),
        open_until=_open_until(began, now),
        held_percent=campaign.held_percent,
        variants=_variants(session, campaign_id, by_variant),
        line=line_says(session, source),
    )


def price_satang(session: Session) -> int:
    """What one more message costs: the price per extra, or its share of the fee without one."""
    rows = session.scalars(select(ShopSetting).where(ShopSetting.key.in_(PLAN)))
    plan = PLAN | {row.key: int(row.value["value"]) for row in rows}
    extra, included = plan["messages.extra_satang"], plan["messages.plan_included"]
    if extra or not included:
        return extra
    return -(-plan["messages.plan_fee_satang"] // included)


def _holdout_from(session: Session) -> int:
    row = session.get(ShopSetting, "messages.holdout_from")
    return int(row.value["value"]) if row is not None else HOLDOUT_FROM


@dataclass(frozen=True)
class FreeShare:
    """How lifecycle messages left in the last 30 days (M5)."""

    rode: int
    paid: int
    #: Paid although the member wrote or tapped inside the window: a ride that was missed.
    missed: int = 0

    @property
    def percent(self) -> int | None:
        whole = self.rode + self.paid
        return self.rode * 100 // whole if whole else None

    @property
    def caught_percent(self) -> int | None:
        """Of those whose member came by inside the window, how many rode (M5: 90 and more)."""
        whole = self.rode + self.missed
        return self.rode * 100 // whole if whole else None


def free_share(session: Session, now: datetime, *, days: int = 30) -> FreeShare:
    """Of the intents that became messages: how many rode a free reply, and how many could have.

    Whether somebody came by is known by LINE's clock, which a demo's does not move.
    """
    gone_out = (
        Intent.created_at > now - timedelta(days=days + DAYS),
        Intent.state == IntentState.TURNED,
        Intent.decided_at > now - timedelta(days=days),
        Message.state.in_(GONE_OUT),
    )
    rows = session.execute(
        select(Message.channel, func.count())
        .join(Intent, Intent.id == Message.intent_id)
        .where(*gone_out)
        .group_by(Message.channel)
    )
    came_by = exists().where(
        Event.line_user_id == Member.line_user_id,
        Event.kind.in_(WITH_REPLY),
        Event.event_at > Intent.window_from,
        Event.event_at < Intent.decided_at,
    )
    missed = session.scalar(
        select(func.count())
        .select_from(Intent)
        .join(Message, Message.intent_id == Intent.id)
        .join(Member, Member.id == Intent.member_id)
        .where(*gone_out, Message.channel != CallKind.REPLY.value, came_by)
    )
    sent = _sent(rows)
    rode = sent.pop(CallKind.REPLY.value, 0)
    return FreeShare(rode, sum(sent.values()), missed or 0)


def line_says(session: Session, source: str) -> tuple[LineSays, ...]:
    """What LINE counted for the units of this source, each as last fetched."""
    prefix = source.replace(":", "_")
    rows = session.scalars(
        select(LineFigure)
        .where(LineFigure.unit.startswith(prefix, autoescape=True))
        .order_by(LineFigure.unit, LineFigure.day)
    )
    newest = {row.unit: row for row in rows}
    return tuple(
        LineSays(
            unit=row.unit,
            seen=row.figures.get("overview", {}).get("uniqueImpression"),
            clicked=row.figures.get("overview", {}).get("uniqueClick"),
            as_of=row.day,
        )
        for row in newest.values()
    )


HELD = Intent.arm == Arm.HELD_OUT


class WindowEnd(FunctionElement[datetime]):
    """A moment and 14 days."""

    type = DateTime(timezone=True)
    inherit_cache = True
    name = "window_end"


@compiles(WindowEnd, "postgresql")
def _window_end_postgresql(element: Any, compiler: Any, **more: Any) -> str:
    moment = compiler.process(element.clauses, **more)
    return f"({moment} + interval '{WINDOW_DAYS} days')"


@compiles(WindowEnd, "sqlite")
def _window_end_sqlite(element: Any, compiler: Any, **more: Any) -> str:
    moment = compiler.process(element.clauses, **more)
    return f"(strftime('%Y-%m-%d %H:%M:%f', {moment}, '+{WINDOW_DAYS} days') || '000')"


def _arms(session: Session, occasions: Any) -> dict[str, ArmResult]:
    """Sums of each arm over the occasions that are not part of an earlier one's 14 days."""
    listed = occasions.cte("occasions")
    is_own = listed.c.before.is_(None) | (WindowEnd(listed.c.before) <= listed.c.at)
    spent = (
        select(
            listed.c.part,
            func.coalesce(func.sum(NET), 0).label("satang"),
        )
        .outerjoin(
            Purchase,
            (Purchase.member_id == listed.c.member_id)
            & (Purchase.purchased_at > listed.c.at)
            & (Purchase.purchased_at <= WindowEnd(listed.c.at)),
        )
        .where(is_own)
        .group_by(listed.c.id, listed.c.part)
        .cte("spent")
    )
    return _sums(session, spent)


def _arms_from(session: Session, people: Any, began: datetime) -> dict[str, ArmResult]:
    """Sums of each part of a frozen audience whose 14 days began together."""
    listed = people.cte("people")
    spent = (
        select(listed.c.part, func.coalesce(func.sum(NET), 0).label("satang"))
        .outerjoin(
            Purchase,
            (Purchase.member_id == listed.c.member_id)
            & (Purchase.purchased_at > began)
            & (Purchase.purchased_at <= began + WINDOW),
        )
        .group_by(listed.c.id, listed.c.part)
        .cte("spent")
    )
    return _sums(session, spent)


NET = Purchase.amount_satang - Purchase.returned_satang


def _sums(session: Session, spent: Any) -> dict[str, ArmResult]:
    satang = cast(spent.c.satang, Double)
    rows = session.execute(
        select(spent.c.part, func.count(), func.sum(satang), func.sum(satang * satang)).group_by(
            spent.c.part
        )
    )
    return {
        str(part): ArmResult(count, float(total or 0), float(squares or 0))
        for part, count, total, squares in rows
    }


def _both(arms: dict[str, ArmResult]) -> tuple[ArmResult, ArmResult]:
    return arms.get(Arm.TREATED.value, ArmResult()), arms.get(Arm.HELD_OUT.value, ArmResult())


def _sent(rows: Iterable[Any]) -> dict[str, int]:
    return {str(channel): count for channel, count in rows if channel is not None}


def _taps(session: Session, source: str, since: datetime | None) -> int:
    query = select(func.count(func.distinct(Tap.message_id))).where(
        Tap.source.startswith(source, autoescape=True)
    )
    if since is not None:
        query = query.where(Tap.at > since)
    return session.scalar(query) or 0


def _open_until(began: datetime | None, now: datetime) -> datetime | None:
    if began is None or began + WINDOW <= now:
        return None
    return began + WINDOW


def _variants(
    session: Session, campaign_id: int, spent: dict[str, ArmResult]
) -> tuple[VariantResult, ...]:
    own = CampaignRecipient.campaign_id == campaign_id
    sent = session.execute(
        select(CampaignRecipient.variant, func.count(), func.count(func.distinct(Tap.message_id)))
        .join(Message, Message.id == CampaignRecipient.message_id)
        .outerjoin(Tap, Tap.message_id == Message.id)
        .where(own, Message.state.in_(GONE_OUT), CampaignRecipient.variant.is_not(None))
        .group_by(CampaignRecipient.variant)
    )
    found = {str(variant): (messages, taps) for variant, messages, taps in sent}
    return tuple(
        VariantResult(variant, arm.count, *found.get(variant, (0, 0)), satang=arm.satang)
        for variant, arm in sorted(spent.items())
    )
