"""Journeys: rows that say who should hear what on which occasion, and how they become messages.

Causes only write *intents*; an intent rides a free reply inside its window or, at its deadline,
passes the gate and becomes an outbox row. There is no other way to a lifecycle message.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import exists, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from bot import theme
from bot.flex.journeys import message_bubble
from core.clock import at_local, last_day, local_day, start_of_day
from core.db import insert_into
from core.i18n import day, t
from core.runtime import Runtime
from engagement import delivery, outbox, texts
from loyalty import coupons, lifecycle, shop, tier_gifts
from models.activities import Activity
from models.coupons import Coupon, CouponState, Obtained
from models.journeys import (
    Arm,
    Enrolment,
    EnrolmentState,
    Intent,
    IntentState,
    Journey,
    JourneyVersion,
)
from models.members import Consent, Member, MemberTotals, Purpose
from models.outbox import CallKind, Message, MessageClass
from models.points import Lot

HOLDOUT_DAYS = 90
TURN_BATCH = 200
#: An intent whose words cannot be made is tried again this much later, until it is too late.
RETRY_AFTER = timedelta(hours=1)
#: Rungs of the win-back ladder keep this distance after the first, whatever the own rhythm.
SECOND_RUNG_AFTER, THIRD_RUNG_AFTER = 15, 45
#: After the last rung has been due this many days, it is not sent any more.
LADDER_ENDS_AFTER = 30
#: Nobody is written to after a year of silence.
SILENCE_WINDOW = timedelta(days=366)
SHORTEST_RHYTHM = timedelta(days=13)
LAST_NOTICE_DAYS = 7
GREETING_END_HOUR = 20
#: A birthday changed this recently is greeted without a gift (J4).
FRESH_BIRTHDAY = timedelta(days=30)
BIRTHDAY = "members.birthday"
SWITCHED_OFF = "journeys.switched_off"
POINTS_USED = "journeys.points_used"
log = structlog.get_logger("journeys")
#: What a text may name, whatever the journey.
COMMON_PLACEHOLDERS = ("name", "shop", "points", "offer", "gift", "expires", "days", "balance")


@dataclass(frozen=True)
class Plan:
    """One journey as it stands today: its row and the definition of its current version."""

    journey: Journey
    version: int
    definition: dict[str, Any]

    def step(self, key: str) -> dict[str, Any]:
        """The step of this key."""
        return next(step for step in self.definition["steps"] if step["key"] == key)


def plan_of(session: Session, key: str) -> Plan | None:
    """The journey of this key with its current version; None when it is off or unknown."""
    row = session.execute(
        select(Journey, JourneyVersion)
        .join(JourneyVersion, JourneyVersion.journey_id == Journey.id)
        .where(
            Journey.key == key,
            Journey.is_on.is_(True),
            JourneyVersion.version == Journey.current_version,
        )
    ).first()
    return Plan(row[0], row[1].version, row[1].definition) if row else None


def is_on(session: Session, intent: Intent) -> bool:
    """Whether the journey of this intent is switched on."""
    return bool(session.scalar(select(Journey.is_on).where(Journey.id == intent.journey_id)))


def wish(
    session: Session,
    plan: Plan,
    member_id: int,
    *,
    occasion: str,
    step: str,
    now: datetime,
    tz: ZoneInfo,
    facts: dict[str, Any],
    deadline: datetime | None = None,
    not_after: datetime | None = None,
    cause: str | None = None,
) -> bool:
    """Write the intent of one occasion, once for ever. True when it was new.

    `cause` names the enrolment it belongs to (a ladder has several occasions under one cause).
    The arm is drawn here, before gate and channel (M8).
    """
    definition = plan.step(step)
    rules = delivery.Rules.of(session)
    if deadline is None:
        deadline = now + timedelta(hours=definition["window_hours"])
        if plan.journey.klass != MessageClass.TRANSACTIONAL:
            deadline = max(now, rules.last_loud(deadline, tz))
    not_after = not_after or deadline + timedelta(hours=definition.get("not_after_hours", 12))
    enrolment_id = _enrol(session, plan, member_id, cause or occasion, step, now)
    arm = arm_of(session, plan.journey, member_id, now)
    held = arm == Arm.HELD_OUT
    made = session.execute(
        insert_into(session, Intent)
        .values(
            member_id=member_id,
            journey_id=plan.journey.id,
            version=plan.version,
            enrolment_id=enrolment_id,
            occasion=occasion,
            step=step,
            klass=plan.journey.klass,
            created_at=now,
            window_from=now,
            deadline=deadline,
            not_after=not_after,
            arm=arm,
            state=IntentState.HELD_OUT if held else IntentState.WAITING,
            decided_at=now if held else None,
            facts=facts,
        )
        .on_conflict_do_nothing(index_elements=["member_id", "journey_id", "occasion"])
        .returning(Intent.id)
    ).scalar()
    return made is not None


def _enrol(
    session: Session, plan: Plan, member_id: int, occasion: str, step: str, now: datetime
) -> int:
    session.execute(
        insert_into(session, Enrolment)
        .values(
            member_id=member_id,
            journey_id=plan.journey.id,
            version=plan.version,
            occasion=occasion,
            step=step,
            state=EnrolmentState.ACTIVE,
            started_at=now,
        )
        .on_conflict_do_update(
            index_elements=["member_id", "journey_id", "occasion"], set_={"step": step}
        )
    )
    return session.scalars(
        select(Enrolment.id).where(
            Enrolment.member_id == member_id,
            Enrolment.journey_id == plan.journey.id,
            Enrolment.occasion == occasion,
        )
    ).one()


def arm_of(session: Session, journey: Journey, member_id: int, now: datetime) -> Arm:
    """The hold-out arm: by hash(member, journey), stable for 90 days; none below 300 qualifying."""
    if journey.holdout_percent == 0 or journey.klass != MessageClass.PROMOTIONAL:
        return Arm.TREATED
    if not _has_enough(session, journey, now):
        return Arm.TREATED
    epoch = now.date().toordinal() // HOLDOUT_DAYS
    digest = hashlib.sha256(f"{member_id}:{journey.key}:{epoch}".encode()).digest()
    share = int.from_bytes(digest[:4]) % 100
    return Arm.HELD_OUT if share < journey.holdout_percent else Arm.TREATED


def _has_enough(session: Session, journey: Journey, now: datetime) -> bool:
    """Whether enough members qualify for a comparison to say anything; asked once a session."""
    known: set[int] = session.info.setdefault("journeys_measured", set())
    if journey.id in known:
        return True
    since = now - timedelta(days=HOLDOUT_DAYS)
    qualifying = session.scalar(
        select(func.count(func.distinct(Intent.member_id))).where(
            Intent.journey_id == journey.id, Intent.created_at > since
        )
    )
    if int(qualifying or 0) < int(shop.get(session, "messages.holdout_from")):
        return False
    known.add(journey.id)
    return True


# --- Reacting to facts ----------------------------------------------------------------------


def react(runtime: Runtime, session: Session, activities: list[Activity], now: datetime) -> None:
    """The `Reaction` of journeys: purchases thank, and end what waited for them."""
    for activity in activities:
        if activity.kind == "purchases.recorded":
            end_for(session, activity.member_id, "lifecycle.win_back", "journeys.bought", now)
            thank(session, activity, now, runtime.clock.tz)
        elif activity.kind == "purchases.returned" and activity.facts.get("is_void"):
            occasion = f"purchase:{activity.facts['purchase_id']}"
            end_for(
                session, activity.member_id, "lifecycle.thank_you", "journeys.voided", now, occasion
            )
        elif activity.kind == "consents.withdrawn":
            _end_unwanted(session, activity, now)
        elif activity.kind in ("members.left", "members.unfollowed"):
            _end_all(session, activity.member_id, outbox.UNREACHABLE, now)


def thank(session: Session, activity: Activity, now: datetime, tz: ZoneInfo) -> None:
    """Thank for a purchase: the first one, then at most every `cooldown_days`."""
    plan = plan_of(session, "lifecycle.thank_you")
    if plan is None:
        return
    cooldown = timedelta(days=plan.definition["trigger"]["cooldown_days"])
    recent = session.scalar(
        select(Intent.id)
        .where(
            Intent.member_id == activity.member_id,
            Intent.journey_id == plan.journey.id,
            Intent.created_at > now - cooldown,
            Intent.state != IntentState.SKIPPED,
        )
        .limit(1)
    )
    if recent is not None and not activity.facts.get("is_first"):
        return
    wish(
        session,
        plan,
        activity.member_id,
        occasion=f"purchase:{activity.facts['purchase_id']}",
        step="thank",
        now=now,
        tz=tz,
        facts={"points": activity.facts["points"], "purchase_id": activity.facts["purchase_id"]},
    )


def end_for(
    session: Session, member_id: int, key: str, why: str, now: datetime, occasion: str | None = None
) -> None:
    """Take back what is still unsent of one journey, and end the member's enrolments in it."""
    journey_id = session.scalar(select(Journey.id).where(Journey.key == key))
    if journey_id is None:
        return
    where = [Intent.member_id == member_id, Intent.journey_id == journey_id]
    ending = [Enrolment.member_id == member_id, Enrolment.journey_id == journey_id]
    if occasion is not None:
        where.append(Intent.occasion == occasion)
        ending.append(Enrolment.occasion == occasion)
    _withdraw(session, where, why, now)
    session.execute(
        update(Enrolment)
        .where(*ending, Enrolment.state == EnrolmentState.ACTIVE)
        .values(state=EnrolmentState.EXITED, ended_at=now, why_ended=why)
    )


def _end_unwanted(session: Session, activity: Activity, now: datetime) -> None:
    """Consent ended: what it carried stops before the next send, formed calls included."""
    purpose = activity.facts.get("purpose")
    if purpose == Purpose.BIRTHDAY:
        end_for(session, activity.member_id, "members.birthday", delivery.NO_CONSENT, now)
    elif purpose == Purpose.MARKETING:
        _lock_member(session, activity.member_id)
        promotions = [
            Intent.member_id == activity.member_id,
            Intent.klass == MessageClass.PROMOTIONAL,
        ]
        _withdraw(session, promotions, delivery.NO_CONSENT, now)
        outbox.withdraw_member(
            session, activity.member_id, delivery.NO_CONSENT, now, [MessageClass.PROMOTIONAL]
        )


def _end_all(session: Session, member_id: int, why: str, now: datetime) -> None:
    """Nobody is there to hear it: nothing stays owed, and no series goes on."""
    _lock_member(session, member_id)
    _withdraw(session, [Intent.member_id == member_id], why, now)
    outbox.withdraw_member(session, member_id, why, now)
    session.execute(
        update(Enrolment)
        .where(Enrolment.member_id == member_id, Enrolment.state == EnrolmentState.ACTIVE)
        .values(state=EnrolmentState.EXITED, ended_at=now, why_ended=why)
    )


def _lock_member(session: Session, member_id: int) -> None:
    """Wait for whoever is writing to this member at the moment, so that their message is seen."""
    session.execute(select(Member.id).where(Member.id == member_id).with_for_update(key_share=True))


def _withdraw(session: Session, where: list[Any], why: str, now: datetime) -> None:
    session.flush()
    session.execute(
        update(Intent)
        .where(*where, Intent.state == IntentState.WAITING)
        .values(state=IntentState.SKIPPED, reason=why, decided_at=now)
    )
    turned = select(Intent.id).where(*where, Intent.state == IntentState.TURNED)
    unsent = session.scalars(
        select(Message).where(
            Message.intent_id.in_(turned),
            Message.finished_at.is_(None),
            # What rides a reply leaves with it, however soon afterwards its cause ends.
            Message.channel.is_distinct_from(CallKind.REPLY.value),
        )
    ).all()
    for message in unsent:
        if outbox.withdraw(session, message, why, now):
            session.execute(
                update(Intent)
                .where(Intent.id == message.intent_id)
                .values(state=IntentState.SKIPPED, reason=why, decided_at=now)
            )


# --- Turning intents into messages ----------------------------------------------------------


def due_intents(
    session: Session, now: datetime, limit: int, journey_key: str | None = None
) -> list[Intent]:
    """Waiting intents whose deadline has come, nearest first, locked with their members.

    Whoever turns an intent or lets it ride holds its member: two at once could pass a cap
    together. A member who is busy is left to the next tick.
    """
    query = (
        select(Intent)
        .join(Member, Member.id == Intent.member_id)
        .where(Intent.state == IntentState.WAITING, Intent.deadline <= now)
        .order_by(Intent.deadline, Intent.id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True, of=[Intent, Member])
    )
    if journey_key is not None:
        query = query.where(
            Intent.journey_id.in_(select(Journey.id).where(Journey.key == journey_key))
        )
    return list(session.scalars(query))


def turn_due(
    session: Session,
    runtime: Runtime,
    now: datetime,
    limit: int = TURN_BATCH,
    journey_key: str | None = None,
) -> int:
    """Turn due intents into outbox rows through the gate. Returns how many were looked at.

    One that fails steps aside for an hour and costs the others nothing.
    """
    intents = due_intents(session, now, limit, journey_key)
    for intent in intents:
        try:
            with session.begin_nested():
                turn(session, runtime, intent, now)
        except OperationalError:
            raise  # the database, not the intent
        except Exception as error:
            session.refresh(intent)
            intent.deadline = now + RETRY_AFTER
            log.error("intent_failed", intent=intent.id, kind=type(error).__name__)
    return len(intents)


def turn(session: Session, runtime: Runtime, intent: Intent, now: datetime) -> None:
    """Decide one due intent: a message, a wait until the quiet hours end, or a skip."""
    member = session.get_one(Member, intent.member_id)
    decision = delivery.decide(
        session,
        runtime.vault,
        member,
        intent.klass,
        now=now,
        tz=runtime.clock.tz,
        not_after=intent.not_after,
    )
    if decision.until is not None:
        intent.deadline = decision.until
        return
    why = decision.reason or why_pointless(session, intent, now, runtime.clock.tz)
    if why is not None:
        settle(session, intent, IntentState.SKIPPED, now, why)
        return
    content = compose(session, runtime, intent, member, now)
    outbox.queue(
        session,
        key=f"intent:{intent.id}",
        member=member,
        klass=intent.klass,
        kind=key_of(session, intent),
        messages=content,
        now=now,
        not_after=intent.not_after,
        intent_id=intent.id,
    )
    settle(session, intent, IntentState.TURNED, now)


def settle(
    session: Session, intent: Intent, state: IntentState, now: datetime, why: str | None = None
) -> None:
    """Close an intent, and its enrolment with the last step."""
    intent.state, intent.reason, intent.decided_at = state, why, now
    steps = _version_of(session, intent).definition["steps"]
    if intent.step == steps[-1]["key"]:
        session.execute(
            update(Enrolment)
            .where(Enrolment.id == intent.enrolment_id, Enrolment.state == EnrolmentState.ACTIVE)
            .values(state=EnrolmentState.DONE, ended_at=now, why_ended=why)
        )


def why_pointless(session: Session, intent: Intent, now: datetime, tz: ZoneInfo) -> str | None:
    """Why this intent has nothing true to say any more; brings its figures up to date."""
    if not is_on(session, intent):
        return SWITCHED_OFF
    if "expires_on" not in intent.facts:
        return None
    last_valid = _date(intent.facts["expires_on"])
    left = session.scalar(
        select(func.sum(Lot.remaining)).where(
            Lot.member_id == intent.member_id,
            Lot.remaining > 0,
            Lot.expires_at > max(now, start_of_day(last_valid, tz)),
            Lot.expires_at <= start_of_day(last_valid + timedelta(days=1), tz),
        )
    )
    if not left:
        return POINTS_USED
    days = (last_valid - local_day(now, tz)).days
    intent.facts = {**intent.facts, "points": int(left), "days": days}
    return None


def compose(
    session: Session, runtime: Runtime, intent: Intent, member: Member, now: datetime
) -> list[dict[str, Any]]:
    """The messages of an intent; a voucher it announces is issued here, in the same transaction."""
    definition = _version_of(session, intent).definition
    step = next(one for one in definition["steps"] if one["key"] == intent.step)
    totals = session.get_one(MemberTotals, member.id)
    language = member.locale
    facts: dict[str, Any] = {
        "name": member.shown_name or t(language, "members.nameless"),
        "shop": shop.shop_name(session, language),
        "balance": max(0, totals.balance),
        **intent.facts,
    }
    gift = _gift(session, step, intent, member, now, runtime.clock.tz)
    offer = _next_offer(session, member, now, runtime.clock.tz) if step.get("offers") else None
    nothing = t(language, "journeys.offer_none")
    facts["gift"] = _name_of(gift, language) or nothing
    facts["offer"] = _name_of(offer, language) or nothing
    if "expires_on" in intent.facts:
        facts["expires"] = day(language, _date(intent.facts["expires_on"]))
    # Without anything to give, nothing is promised: such words are a variant of their own.
    is_plain = (step.get("coupon") and gift is None) or (step.get("offers") and offer is None)
    variant = texts.PLAIN if is_plain else totals.stage.value
    words = texts.words_for(step["texts"], language, variant, facts)
    action = None
    if words["button"]:
        action = theme.postback_action(words["button"], step.get("action", "coupons.show"))
    return [
        message_bubble(words["title"], words["body"], action, gift=_name_of(gift, language) or None)
    ]


def _version_of(session: Session, intent: Intent) -> JourneyVersion:
    """The version under which this intent was written; read once in a session."""
    known: dict[tuple[int, int], JourneyVersion]
    known = session.info.setdefault("journey_versions", {})
    place = (intent.journey_id, intent.version)
    if place not in known:
        known[place] = session.scalars(
            select(JourneyVersion).where(
                JourneyVersion.journey_id == intent.journey_id,
                JourneyVersion.version == intent.version,
            )
        ).one()
    return known[place]


def _name_of(coupon: Coupon | None, language: str) -> str:
    if coupon is None:
        return ""
    return coupon.name_th if language == "th" else coupon.name_en


def _gift(
    session: Session,
    step: dict[str, Any],
    intent: Intent,
    member: Member,
    now: datetime,
    tz: ZoneInfo,
) -> Coupon | None:
    if not step.get("coupon") or intent.facts.get("no_gift"):
        return None
    own = None
    if key_of(session, intent) == BIRTHDAY:  # a tier may have a birthday gift of its own (R2)
        own = tier_gifts.birthday_coupon(session, member.id, now)
    live = select(Coupon).where(Coupon.state == CouponState.LIVE)
    coupon = session.scalar(live.where(Coupon.key == own)) if own else None
    coupon = coupon or session.scalar(live.where(Coupon.key == step["coupon"]))
    if coupon is None:
        return None
    voucher = coupons.issue(
        session, coupon, member.id, source="intent", source_id=str(intent.id), now=now, tz=tz
    )
    return coupon if voucher is not None else None


def _next_offer(session: Session, member: Member, now: datetime, tz: ZoneInfo) -> Coupon | None:
    offers = coupons.offers_for(session, member, now, tz, obtained=Obtained.CLAIM)
    return next((offer.coupon for offer in offers if offer.refusal is None), None)


def key_of(session: Session, intent: Intent) -> str:
    """The key of this intent's journey, e.g. `lifecycle.thank_you`."""
    return session.scalars(select(Journey.key).where(Journey.id == intent.journey_id)).one()


def _date(text: str) -> date:
    return date.fromisoformat(text)


# --- Intents that time causes: each is a job ---------------------------------------------------


def wish_birthdays(
    session: Session, runtime: Runtime, now: datetime, members: Iterable[Member]
) -> int:
    """Wish these members a happy birthday until 20:00 today; a birthday changed within 30 days
    of the date is greeted without a gift (J4)."""
    plan = plan_of(session, "members.birthday")
    if plan is None:
        return 0
    tz = runtime.clock.tz
    today = local_day(now, tz)
    until = at_local(today, GREETING_END_HOUR, 0, tz)
    rules = delivery.Rules.of(session)
    loud = rules.next_loud(now, tz) if rules.is_quiet(now, tz) else now
    made = 0
    for member in members:
        changed = member.birthday_changed_at
        is_fresh = changed is not None and now - changed < FRESH_BIRTHDAY
        made += wish(
            session,
            plan,
            member.id,
            occasion=f"birthday:{today.year}",
            step="greet",
            now=now,
            tz=tz,
            facts={"no_gift": True} if is_fresh else {},
            deadline=min(loud, until),
            not_after=until,
        )
    return made


def silent_members(
    session: Session, now: datetime, after_id: int, limit: int
) -> list[MemberTotals]:
    """Buyers silent for two weeks (the shortest own rhythm that can be at risk) to a year."""
    return list(
        session.scalars(
            select(MemberTotals)
            .where(
                MemberTotals.member_id > after_id,
                MemberTotals.last_purchase_at.between(now - SILENCE_WINDOW, now - SHORTEST_RHYTHM),
            )
            .order_by(MemberTotals.member_id)
            .limit(limit)
        )
    )


def wish_win_back(session: Session, runtime: Runtime, now: datetime, totals: MemberTotals) -> int:
    """The rung of the ladder that this silence has reached, if it was not yet climbed (M2).

    Only the highest reached rung is wished, so that a long down-time never sends three at once.
    """
    plan = plan_of(session, "lifecycle.win_back")
    if plan is None or not totals.purchase_days:
        return 0
    last = totals.purchase_days[0]
    silent = (local_day(now, runtime.clock.tz) - _date(last)).days
    step = rung_of(session, silent, totals.own_gap_days)
    if step is None:
        return 0
    cause = f"silence:{last}"
    return int(
        wish(
            session,
            plan,
            totals.member_id,
            occasion=f"{cause}:{step}",
            step=step,
            now=now,
            tz=runtime.clock.tz,
            facts={"days": silent},
            cause=cause,
        )
    )


def rung_of(session: Session, silent_days: int, own_gap_days: float | None) -> str | None:
    """The rung that so many silent days have reached; None before the first and after the last.

    1. At risk: past the member's own limit, or the shop's without a known rhythm.
    2. 60 and 90 days, later for those whose rhythm is slow: nobody is missed before they are late.
    3. A month after the third rung, silence.
    """
    at_risk = lifecycle.at_risk_after(own_gap_days)
    if own_gap_days is None:
        at_risk = float(shop.get(session, "win_back.at_risk_days"))
    second = max(float(shop.get(session, "win_back.second_days")), at_risk + SECOND_RUNG_AFTER)
    third = max(float(shop.get(session, "win_back.third_days")), at_risk + THIRD_RUNG_AFTER)
    if silent_days <= at_risk or silent_days > third + LADDER_ENDS_AFTER:
        return None
    if silent_days >= third:
        return "90"
    return "60" if silent_days >= second else "at_risk"


@dataclass(frozen=True)
class Ending:
    """Points of one member that end together."""

    member_id: int
    #: The last local day on which they can be used.
    last_valid: date
    points: int


def ending_points(
    session: Session, now: datetime, tz: ZoneInfo, days_ahead: int, after_id: int, limit: int
) -> list[Ending]:
    """What ends within `days_ahead` days, for the next `limit` members after `after_id`."""
    horizon = start_of_day(local_day(now, tz) + timedelta(days=days_ahead + 1), tz)
    is_ending = (Lot.remaining > 0, Lot.expires_at > now, Lot.expires_at <= horizon)
    member_ids = list(
        session.scalars(
            select(Lot.member_id)
            .where(*is_ending, Lot.member_id > after_id)
            .distinct()
            .order_by(Lot.member_id)
            .limit(limit)
        )
    )
    rows = session.execute(
        select(Lot.member_id, Lot.expires_at, Lot.remaining).where(
            *is_ending, Lot.member_id.in_(member_ids)
        )
    )
    sums: dict[tuple[int, date], int] = defaultdict(int)
    for member_id, expires_at, remaining in rows:
        assert expires_at is not None, "chosen by it"
        sums[member_id, last_day(expires_at, tz)] += int(remaining)
    return [Ending(*place, points) for place, points in sorted(sums.items())]


def wish_expiry_notice(session: Session, runtime: Runtime, now: datetime, ending: Ending) -> int:
    """Tell that points end: 30 days before, and again 7 days before (P7)."""
    plan = plan_of(session, "points.expiring_notice")
    if plan is None:
        return 0
    left = (ending.last_valid - local_day(now, runtime.clock.tz)).days
    step = "7" if left <= LAST_NOTICE_DAYS else "30"
    cause = f"expiry:{ending.last_valid.isoformat()}"
    return int(
        wish(
            session,
            plan,
            ending.member_id,
            occasion=f"{cause}:{step}",
            step=step,
            now=now,
            tz=runtime.clock.tz,
            facts={
                "points": ending.points,
                "expires_on": ending.last_valid.isoformat(),
                "days": left,
            },
            cause=cause,
        )
    )


def members_by_index(
    session: Session, indexes: list[str], after_id: int, limit: int
) -> list[Member]:
    """Members whose birthday index is one of these, but for those who took that consent back."""
    birthday = (Consent.member_id == Member.id, Consent.purpose == Purpose.BIRTHDAY)
    is_open = exists().where(*birthday, Consent.withdrawn_at.is_(None))
    was_given = exists().where(*birthday)
    return list(
        session.scalars(
            select(Member)
            .where(Member.birthday_index.in_(indexes), Member.id > after_id, is_open | ~was_given)
            .order_by(Member.id)
            .limit(limit)
        )
    )
