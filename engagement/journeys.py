"""Journeys: rows that say who should hear what on which occasion, and how they become messages.

Causes only write *intents*; an intent rides a free reply inside its window or, at its deadline,
passes the gate and becomes an outbox row. There is no other way to a lifecycle message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bot import theme
from bot.flex.journeys import message_bubble
from core.clock import local_day
from core.db import upsert
from core.i18n import day, t
from core.runtime import Runtime
from engagement import delivery, outbox, texts
from loyalty import coupons, shop
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
from models.members import Member, MemberTotals
from models.outbox import Message, MessageClass
from models.points import Lot

HOLDOUT_NEEDS = 300
HOLDOUT_DAYS = 90
TURN_BATCH = 200
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
        upsert(session, Intent)
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
        upsert(session, Enrolment)
        .values(
            member_id=member_id, journey_id=plan.journey.id, version=plan.version,
            occasion=occasion, step=step, state=EnrolmentState.ACTIVE, started_at=now,
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
    since = now - timedelta(days=HOLDOUT_DAYS)
    qualifying = session.scalar(
        select(func.count(func.distinct(Intent.member_id))).where(
            Intent.journey_id == journey.id, Intent.created_at > since
        )
    )
    if (qualifying or 0) < HOLDOUT_NEEDS:
        return Arm.TREATED
    epoch = now.date().toordinal() // HOLDOUT_DAYS
    digest = hashlib.sha256(f"{member_id}:{journey.key}:{epoch}".encode()).digest()
    share = int.from_bytes(digest[:4]) % 100
    return Arm.HELD_OUT if share < journey.holdout_percent else Arm.TREATED


# --- Reacting to facts ----------------------------------------------------------------------


def react(
    runtime: Runtime, session: Session, activities: list[Activity], now: datetime
) -> None:
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
            _end_promotions(session, activity.member_id, now)
        elif activity.kind in ("members.left", "members.unfollowed"):
            _end_all(session, activity.member_id, "delivery.unreachable", now)


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
        session, plan, activity.member_id,
        occasion=f"purchase:{activity.facts['purchase_id']}", step="thank", now=now,
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


def _end_promotions(session: Session, member_id: int, now: datetime) -> None:
    where = [Intent.member_id == member_id, Intent.klass == MessageClass.PROMOTIONAL]
    _withdraw(session, where, "delivery.no_consent", now)


def _end_all(session: Session, member_id: int, why: str, now: datetime) -> None:
    _withdraw(session, [Intent.member_id == member_id], why, now)


def _withdraw(session: Session, where: list[Any], why: str, now: datetime) -> None:
    session.execute(
        update(Intent)
        .where(*where, Intent.state == IntentState.WAITING)
        .values(state=IntentState.SKIPPED, reason=why, decided_at=now)
    )
    turned = select(Intent.id).where(*where, Intent.state == IntentState.TURNED)
    unsent = session.scalars(
        select(Message).where(Message.intent_id.in_(turned), Message.finished_at.is_(None))
    ).all()
    for message in unsent:
        outbox.withdraw(session, message, why, now)


# --- Turning intents into messages ----------------------------------------------------------


def due_intents(
    session: Session, now: datetime, limit: int, journey_key: str | None = None
) -> list[Intent]:
    """Waiting intents whose deadline has come, dearest class first, locked for this transaction."""
    query = (
        select(Intent)
        .where(Intent.state == IntentState.WAITING, Intent.deadline <= now)
        .order_by(Intent.deadline, Intent.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    if journey_key is not None:
        query = query.join(Journey, Journey.id == Intent.journey_id).where(
            Journey.key == journey_key
        )
    return list(session.scalars(query))


def turn_due(
    session: Session,
    runtime: Runtime,
    now: datetime,
    limit: int = TURN_BATCH,
    journey_key: str | None = None,
) -> int:
    """Turn due intents into outbox rows through the gate. Returns how many were decided."""
    intents = due_intents(session, now, limit, journey_key)
    for intent in intents:
        turn(session, runtime, intent, now)
    return len(intents)


def turn(session: Session, runtime: Runtime, intent: Intent, now: datetime) -> None:
    """Decide one due intent: a message, a wait until the quiet hours end, or a skip."""
    member = session.get_one(Member, intent.member_id)
    decision = delivery.decide(
        session, runtime.vault, member, intent.klass,
        now=now, tz=runtime.clock.tz, not_after=intent.not_after,
    )
    if decision.until is not None:
        intent.deadline = decision.until
        return
    intent.decided_at = now
    if decision.reason is not None:
        intent.state, intent.reason = IntentState.SKIPPED, decision.reason
        return
    content = compose(session, runtime, intent, member, now)
    outbox.queue(
        session, key=f"intent:{intent.id}", member=member, klass=intent.klass,
        kind=_key_of(session, intent), messages=content, now=now,
        not_after=intent.not_after, intent_id=intent.id,
    )
    intent.state = IntentState.TURNED


def compose(
    session: Session, runtime: Runtime, intent: Intent, member: Member, now: datetime
) -> list[dict[str, Any]]:
    """The messages of an intent; a voucher it announces is issued here, in the same transaction."""
    version = session.scalars(
        select(JourneyVersion).where(
            JourneyVersion.journey_id == intent.journey_id, JourneyVersion.version == intent.version
        )
    ).one()
    step = next(one for one in version.definition["steps"] if one["key"] == intent.step)
    totals = session.get_one(MemberTotals, member.id)
    language = member.locale
    facts: dict[str, Any] = {
        "name": member.shown_name or t(language, "members.nameless"),
        "shop": shop.shop_name(session, language),
        "balance": totals.balance,
        **intent.facts,
    }
    gift = _gift(session, step, intent, member, now, runtime.clock.tz)
    if gift is not None:
        facts["gift"] = gift.name_th if language == "th" else gift.name_en
    offer = _next_offer(session, member, now, runtime.clock.tz) if step.get("offers") else None
    facts["offer"] = (
        (offer.name_th if language == "th" else offer.name_en)
        if offer is not None
        else t(language, "journeys.offer_none")
    )
    if "expires_on" in intent.facts:
        facts["expires"] = day(language, _date(intent.facts["expires_on"]))
    words = texts.words_for(step["texts"], language, totals.stage.value, facts)
    action = None
    if words["button"]:
        action = theme.postback_action(words["button"], step.get("action", "coupons.show"))
    return [
        message_bubble(
            words["title"], words["body"], action, gift=facts.get("gift"),
        )
    ]


def _gift(
    session: Session, step: dict[str, Any], intent: Intent, member: Member, now: datetime,
    tz: ZoneInfo,
) -> Coupon | None:
    if not step.get("coupon") or intent.facts.get("no_gift"):
        return None
    coupon = session.scalar(
        select(Coupon).where(Coupon.key == step["coupon"], Coupon.state == CouponState.LIVE)
    )
    if coupon is None:
        return None
    voucher = coupons.issue(
        session, coupon, member.id, source="intent", source_id=str(intent.id), now=now, tz=tz
    )
    return coupon if voucher is not None else None


def _next_offer(session: Session, member: Member, now: datetime, tz: ZoneInfo) -> Coupon | None:
    offers = coupons.offers_for(session, member, now, tz, obtained=Obtained.CLAIM)
    return next((offer.coupon for offer in offers if offer.refusal is None), None)


def _key_of(session: Session, intent: Intent) -> str:
    return session.scalars(select(Journey.key).where(Journey.id == intent.journey_id)).one()


def _date(text: str) -> Any:
    return datetime.fromisoformat(text).date()


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
    until = now.astimezone(tz).replace(hour=20, minute=0, second=0, microsecond=0)
    made = 0
    for member in members:
        changed = member.birthday_changed_at
        is_fresh = changed is not None and now - changed < timedelta(days=30)
        made += wish(
            session, plan, member.id, occasion=f"birthday:{today.year}", step="greet",
            now=now, tz=tz, facts={"no_gift": True} if is_fresh else {},
            deadline=now, not_after=until,
        )
    return made


def silent_members(
    session: Session, now: datetime, tz: ZoneInfo, after_id: int, limit: int
) -> list[MemberTotals]:
    """Buyers silent for two weeks (the shortest own rhythm that can be at risk) to half a year."""
    return list(
        session.scalars(
            select(MemberTotals)
            .where(
                MemberTotals.member_id > after_id,
                MemberTotals.last_purchase_at.between(
                    now - timedelta(days=183), now - timedelta(days=13)
                ),
            )
            .order_by(MemberTotals.member_id)
            .limit(limit)
        )
    )


def wish_win_back(
    session: Session, runtime: Runtime, now: datetime, totals: MemberTotals, at_risk_days: float
) -> int:
    """The rung of the ladder that this silence has reached, if it was not yet climbed (M2).

    Rungs: at risk (own rhythm, or 45 days without one), 60, 90 days; then silence. Only the
    highest reached rung is wished, so that a long down-time never sends three at once.
    """
    plan = plan_of(session, "lifecycle.win_back")
    if plan is None or not totals.purchase_days:
        return 0
    last = totals.purchase_days[0]
    silent = (local_day(now, runtime.clock.tz) - _date(last)).days
    rungs = [("at_risk", at_risk_days + 1), ("60", 60.0), ("90", 90.0)]
    reached = [name for name, days_ in rungs if silent >= days_]
    give_up = plan.definition["trigger"]["silence_after_days"]
    if not reached or silent > give_up:
        return 0
    step = reached[-1]
    cause = f"silence:{last}"
    return int(
        wish(
            session, plan, totals.member_id, occasion=f"{cause}:{step}", step=step, now=now,
            tz=runtime.clock.tz, facts={"days": silent}, cause=cause,
        )
    )


def expiring_lots(
    session: Session, now: datetime, tz: ZoneInfo, days_ahead: int, after_id: int, limit: int
) -> list[tuple[int, str, int]]:
    """(member id, last valid day, points) of what expires within `days_ahead` days."""
    horizon = now + timedelta(days=days_ahead + 1)
    rows = session.execute(
        select(Lot.member_id, Lot.expires_at, func.sum(Lot.remaining))
        .where(
            Lot.remaining > 0, Lot.expires_at > now, Lot.expires_at <= horizon,
            Lot.member_id > after_id,
        )
        .group_by(Lot.member_id, Lot.expires_at)
        .order_by(Lot.member_id, Lot.expires_at)
        .limit(limit)
    )
    today = local_day(now, tz)
    found = []
    for member_id, expires_at, points in rows:
        last_valid = local_day(expires_at - timedelta(seconds=1), tz)
        if (last_valid - today).days <= days_ahead:
            found.append((member_id, last_valid.isoformat(), int(points)))
    return found


def wish_expiry_notice(
    session: Session, runtime: Runtime, now: datetime, member_id: int, last_valid: str, points: int
) -> int:
    """Tell that points end: 30 days before, and again 7 days before (P7)."""
    plan = plan_of(session, "points.expiring_notice")
    if plan is None:
        return 0
    left = (_date(last_valid) - local_day(now, runtime.clock.tz)).days
    step = "7" if left <= 7 else "30"
    return int(
        wish(
            session, plan, member_id, occasion=f"expiry:{last_valid}:{step}", step=step, now=now,
            tz=runtime.clock.tz,
            facts={"points": points, "expires_on": last_valid, "days": left},
            cause=f"expiry:{last_valid}",
        )
    )


def members_by_index(session: Session, indexes: list[str], after_id: int, limit: int) -> list[Member]:
    """Members whose birthday index is one of these."""
    return list(
        session.scalars(
            select(Member)
            .where(Member.birthday_index.in_(indexes), Member.id > after_id)
            .order_by(Member.id)
            .limit(limit)
        )
    )
