"""Journeys looked at without being run: one member on a date, everybody tomorrow, and why (not).

Nothing here writes. What would happen is worked out by the rules that make it happen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import at_local, local_day, start_of_day
from core.runtime import Runtime
from engagement import (
    delivery,
    journey_engine,
    journey_shapes,
    journey_triggers,
    journeys,
    segments,
)
from engagement.journey_triggers import Plan
from loyalty import coupons
from loyalty.lifecycle import thresholds
from models.activities import Activity
from models.campaigns import Campaign, CampaignRecipient
from models.coupons import Coupon, CouponState, Obtained
from models.journeys import Arm, Enrolment, EnrolmentState, Intent, IntentState, Journey
from models.members import Member, MemberTotals
from models.outbox import Message, MessageClass

#: A simulated walk is looked at this far ahead.
FURTHEST = timedelta(days=800)
#: Members named per journey in a dry run; the others are counted.
NAMED = 50
#: So many wishes and walks, and so many who begin one journey, are looked at; and to find those,
#: so many looks at the next members.
LOOKED_AT = 2_000
LOOKS = 20
MAX_MOMENTS = 60


@dataclass(frozen=True)
class Moment:
    """What would happen at one step, and why."""

    at: datetime
    step: str
    kind: str
    #: `sends`, `held_out`, `refused`, `waits`, `yes`, `no`, `part`, `does`, `superseded`, `ends`.
    what: str
    facts: dict[str, Any] = field(default_factory=dict)
    words: dict[str, str] | None = None
    #: Lies behind the date that was asked for.
    is_ahead: bool = False


@dataclass(frozen=True)
class Reason:
    """One thing that speaks for or against: a code with its facts."""

    code: str
    facts: dict[str, Any] = field(default_factory=dict)
    is_met: bool = False


# --- One member through one journey -------------------------------------------------------------


def simulate(
    session: Session,
    runtime: Runtime,
    plan: Plan,
    member: Member,
    *,
    begins: datetime,
    until: datetime,
) -> list[Moment]:
    """The member's way through the journey if it began then, as far as it can be known today.

    Branches and the gate are asked as the member is now; every later purchase would change them.
    """
    tz = runtime.clock.tz
    walker = Enrolment(
        member_id=member.id, journey_id=plan.journey.id, version=plan.version, occasion="trial",
        step=plan.first, facts=_trigger_facts(session, plan, member, begins, tz), path=[],
    )  # fmt: skip
    moments: list[Moment] = []
    at = begins
    key: str | None = plan.first
    while key is not None and len(moments) < MAX_MOMENTS and at - begins < FURTHEST:
        step = plan.step(key)
        made, at, to = _try_step(session, runtime, plan, member, walker, step, at)
        moments.append(Moment(**{**vars(made), "is_ahead": made.at > until}))
        if made.what == "no_date":
            return moments
        key = journey_shapes.after(plan.definition, key, to)
    moments.append(Moment(at, "", "end", "ends", is_ahead=at > until))
    return moments


def _try_step(
    session: Session,
    runtime: Runtime,
    plan: Plan,
    member: Member,
    walker: Enrolment,
    step: Mapping[str, Any],
    at: datetime,
) -> tuple[Moment, datetime, str | None]:
    """What the step would do at that moment, when the next one comes, and which."""
    tz, key, kind = runtime.clock.tz, step["key"], step["kind"]
    if kind in journey_engine.ACTS and journey_engine.is_superseded(
        session, plan, step, walker, at, tz
    ):
        return Moment(at, key, kind, "superseded"), at, None
    if kind == "wait":
        ends = journey_engine.wait_until(plan, step, walker, at, tz, session)
        if ends is None:
            return Moment(at, key, kind, "no_date"), at, None
        ends = max(at, ends)
        return Moment(at, key, kind, "waits", {"until": ends}), ends, None
    if kind == "branch":
        is_so = segments.includes(session, step["when"], member.id, at, tz)
        to = step.get("then" if is_so else "else")
        return Moment(at, key, kind, "yes" if is_so else "no"), at, to
    if kind == "split":
        place = journey_engine.part_of(plan, step, member.id)
        to = step["parts"][place].get("to")
        return Moment(at, key, kind, "part", {"part": place + 1}), at, to
    if kind in journey_engine.GIFTS and _is_held_out(session, plan, member, at):
        return Moment(at, key, kind, "held_out"), at, None
    if kind != "send":
        return Moment(at, key, kind, "does"), at, None
    return _try_send(session, runtime, plan, member, walker, step, at)


def _try_send(
    session: Session,
    runtime: Runtime,
    plan: Plan,
    member: Member,
    walker: Enrolment,
    step: Mapping[str, Any],
    at: datetime,
) -> tuple[Moment, datetime, str | None]:
    tz, key = runtime.clock.tz, step["key"]
    window_from, deadline, not_after = journeys.window_of(session, plan.journey.klass, step, at, tz)
    words = words_for(session, member, step, walker.facts, at, tz)
    facts: dict[str, Any] = {"from": window_from, "deadline": deadline, "not_after": not_after}
    if _is_held_out(session, plan, member, at):
        return Moment(at, key, "send", "held_out", facts, words), at, None
    decision = delivery.decide(
        session, runtime.vault, member, plan.journey.klass,
        now=deadline, tz=tz, not_after=not_after, topic=plan.definition.get("topic"),
    )  # fmt: skip
    if decision.reason is not None:
        facts["why"] = decision.reason
        return Moment(at, key, "send", "refused", facts, words), deadline, None
    sent = decision.until or deadline
    return Moment(at, key, "send", "sends", facts | {"deadline": sent}, words), sent, None


def _is_held_out(session: Session, plan: Plan, member: Member, at: datetime) -> bool:
    return journeys.arm_of(session, plan.journey, member.id, at) == Arm.HELD_OUT


def words_for(
    session: Session,
    member: Member,
    step: Mapping[str, Any],
    known: Mapping[str, Any],
    at: datetime,
    tz: ZoneInfo,
) -> dict[str, str]:
    """The words this member would read; nothing is issued."""
    gift = None
    if step.get("coupon"):
        gift = session.scalar(
            select(Coupon).where(Coupon.key == step["coupon"], Coupon.state == CouponState.LIVE)
        )
    offer = None
    if step.get("offers"):
        found = coupons.offers_for(session, member, at, tz, obtained=Obtained.CLAIM)
        offer = next((one.coupon for one in found if one.refusal is None), None)
    return journeys.words_of(session, member, step, known, at, tz, gift=gift, offer=offer)


def _trigger_facts(
    session: Session, plan: Plan, member: Member, at: datetime, tz: ZoneInfo
) -> dict[str, Any]:
    """What the trigger would know: from the last such fact of this member, or their dates."""
    trigger = plan.definition["trigger"]
    totals = session.get_one(MemberTotals, member.id)
    if trigger["on"] in ("activity", "change"):
        activity = _last_fact(session, member.id, trigger["kind"])
        return journey_triggers.facts_of(session, activity) if activity is not None else {}
    if trigger["on"] == "silence" and totals.purchase_days:
        limit = journey_triggers.silence_of(trigger, totals.own_gap_days, thresholds.of(session))
        return {"last_on": totals.purchase_days[0], "limit_days": limit}
    if trigger["on"] == "date" and trigger["kind"] in ("points", "vouchers"):
        ending = _next_ending(session, trigger["kind"], member.id, at, tz)
        if ending is None:
            return {}
        name = "expires_on" if trigger["kind"] == "points" else "vouchers_on"
        facts: dict[str, Any] = {name: ending.last_valid.isoformat()}
        return facts | (
            {"points": ending.count}
            if trigger["kind"] == "points"
            else {"voucher_id": ending.voucher_id}
        )
    if trigger["on"] == "date" and trigger["kind"] == "joined" and member.joined_at is not None:
        years = local_day(at, tz).year - local_day(member.joined_at, tz).year
        return {"years": max(1, years)}
    return {}


def _last_fact(session: Session, member_id: int, kind: str) -> Activity | None:
    return session.scalar(
        select(Activity)
        .where(Activity.member_id == member_id, Activity.kind == kind)
        .order_by(Activity.at.desc(), Activity.id.desc())
        .limit(1)
    )


def _next_ending(
    session: Session, kind: str, member_id: int, at: datetime, tz: ZoneInfo
) -> journey_triggers.Ending | None:
    look = journey_triggers.ending_points if kind == "points" else journey_triggers.ending_vouchers
    found = look(session, at, tz, 1100 if kind == "points" else 0, member_id - 1, 1)
    return next((one for one in found if one.member_id == member_id), None)


def begins_on(
    session: Session, plan: Plan, member: Member, now: datetime, tz: ZoneInfo
) -> datetime:
    """When the journey would begin for this member by itself, or now where nobody can know."""
    trigger = plan.definition["trigger"]
    facts = _trigger_facts(session, plan, member, now, tz)
    today = local_day(now, tz)
    day: date | None = None
    if trigger["on"] == "silence" and "last_on" in facts:
        limit = int(facts["limit_days"]) + 1
        day = date.fromisoformat(facts["last_on"]) + timedelta(days=limit)
    elif trigger["on"] == "date":
        day = _date_of(session, plan, member, facts, today, tz)
        if day is not None:
            day += timedelta(days=trigger["days"])
    if day is None or day <= today:
        return now
    return at_local(day, 10, 0, tz)


def _date_of(
    session: Session, plan: Plan, member: Member, facts: Mapping[str, Any], today: date, tz: ZoneInfo
) -> date | None:  # fmt: skip
    kind = plan.definition["trigger"]["kind"]
    of = {"points": "expires_on", "vouchers": "vouchers_on"}.get(kind, kind)
    walker = Enrolment(member_id=member.id, facts=dict(facts), path=[])
    return journey_engine.date_of(of, walker, today, session, tz)


# --- Everybody tomorrow -------------------------------------------------------------------------


@dataclass(frozen=True)
class Expected:
    """One member who would get one message."""

    member: Member
    at: datetime
    step: str
    #: Why the gate would refuse; None when it would go.
    why: str | None = None


@dataclass(frozen=True)
class Tomorrow:
    """What one journey would do tomorrow."""

    journey: Journey
    named: Sequence[Expected]
    #: All of them, the unnamed too; and those that the gate would refuse.
    total: int
    refused: int
    #: Whether there may be more than were looked at.
    is_cut: bool = False


def tomorrow(
    session: Session, runtime: Runtime, now: datetime, limit: int = LOOKED_AT
) -> list[Tomorrow]:
    """Who would get what tomorrow, by the rules as they are and the members as they are now."""
    tz = runtime.clock.tz
    day = local_day(now, tz) + timedelta(days=1)
    at, begins = at_local(day, 10, 0, tz), start_of_day(day, tz)
    ends = start_of_day(day + timedelta(days=1), tz)
    expected: dict[int, list[tuple[int, datetime, str]]] = {}
    plans = {plan.journey.id: plan for plan in journey_triggers.plans_of(session, None)}
    wished = session.execute(
        select(Intent.journey_id, Intent.member_id, Intent.deadline, Intent.step)
        .where(
            Intent.state == IntentState.WAITING, Intent.deadline >= begins, Intent.deadline < ends
        )
        .order_by(Intent.deadline, Intent.id)
        .limit(limit)
    ).all()
    for intent in wished:
        expected.setdefault(intent.journey_id, []).append(
            (intent.member_id, intent.deadline, intent.step)
        )
    walking = session.scalars(
        select(Enrolment)
        .where(Enrolment.state == EnrolmentState.ACTIVE, Enrolment.due_at < ends)
        .order_by(Enrolment.due_at, Enrolment.id)
        .limit(limit)
    ).all()
    versions = journey_engine.plans_under_way(session, walking)
    for one in walking:
        plan = versions[one.journey_id, one.version]
        if one.journey_id not in plans or not journey_shapes.is_current(plan.definition):
            continue
        step = plan.step(one.step)
        if step["kind"] == "send" and one.due_at is not None:
            _, deadline, _ = journeys.window_of(
                session, plan.journey.klass, step, max(now, one.due_at), tz
            )
            if begins <= deadline < ends:
                expected.setdefault(one.journey_id, []).append((one.member_id, deadline, one.step))
    are_cut = set(plans) if max(len(wished), len(walking)) == limit else set()
    for plan in plans.values():
        first = plan.step(plan.first)
        if plan.definition["trigger"]["on"] in ("activity", "change") or first["kind"] != "send":
            continue
        found, is_cut = _beginners(session, runtime, plan, at, limit)
        if is_cut:
            are_cut.add(plan.journey.id)
        recent = journey_triggers.recently(session, {one.member_id for one in found}, [plan], at)
        _, deadline, _ = journeys.window_of(session, plan.journey.klass, first, at, tz)
        rows = expected.setdefault(plan.journey.id, [])
        rows += [
            (one.member_id, deadline, plan.first)
            for one in found
            if (one.member_id, plan.journey.id) not in recent
        ]
    return [
        _summed(session, runtime, plans[journey_id], rows, at, is_cut=journey_id in are_cut)
        for journey_id, rows in expected.items()
        if journey_id in plans and rows
    ]


def _beginners(
    session: Session, runtime: Runtime, plan: Plan, at: datetime, limit: int
) -> tuple[list[journey_triggers.Candidate], bool]:
    """Who begins this journey then, and whether there may be more: one look finds those of the
    next members only."""
    found: list[journey_triggers.Candidate] = []
    after_id = 0
    for _ in range(LOOKS):
        some, after_id = journey_triggers.find(
            session, runtime.vault, plan, at, runtime.clock.tz, after_id=after_id, limit=limit
        )
        found += some
        if not after_id or len(found) >= limit:
            break
    return found, after_id > 0


def _summed(
    session: Session,
    runtime: Runtime,
    plan: Plan,
    rows: list[tuple[int, datetime, str]],
    at: datetime,
    *,
    is_cut: bool,
) -> Tomorrow:
    ids = sorted({member_id for member_id, _, _ in rows})
    members = {
        member.id: member
        for start in range(0, len(ids), 500)
        for member in session.scalars(select(Member).where(Member.id.in_(ids[start : start + 500])))
    }
    decisions = delivery.decide_many(
        session, runtime.vault, list(members.values()), plan.journey.klass,
        now=at, tz=runtime.clock.tz, topic=plan.definition.get("topic"),
    )  # fmt: skip
    named = [
        Expected(members[member_id], when, step, decisions[member_id].reason)
        for member_id, when, step in sorted(rows, key=lambda row: row[1])
    ]
    refused = sum(one.why is not None for one in named)
    return Tomorrow(plan.journey, named[:NAMED], len(named), refused, is_cut)


# --- Why, and why not ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A message to a member, or the wish for one, and what caused it."""

    at: datetime
    #: The journey's row; None for a notice, a campaign or an answer of staff.
    journey: Journey | None = None
    step: str | None = None
    intent: Intent | None = None
    message: Message | None = None
    enrolment: Enrolment | None = None
    #: The fact behind a notice, or behind the enrolment.
    activity: Activity | None = None
    campaign: Campaign | None = None
    #: A member's place in a campaign that wrote them nothing (yet).
    recipient: CampaignRecipient | None = None


def told(
    session: Session, member_id: int, limit: int = 60, *, before: datetime | None = None
) -> list[Told]:
    """Everything this member was told or was to be told, the newest first."""
    owed = _wished(Intent.member_id == member_id)
    said = select(Message).where(Message.member_id == member_id, Message.intent_id.is_(None))
    left = (
        select(CampaignRecipient, Campaign, _DECIDED.label("at"))
        .join(Campaign, Campaign.id == CampaignRecipient.campaign_id)
        .where(CampaignRecipient.member_id == member_id, CampaignRecipient.message_id.is_(None))
    )
    if before is not None:
        owed = owed.where(Intent.created_at < before)
        said = said.where(Message.created_at < before)
        left = left.where(before > _DECIDED)
    found = _owed(session, owed.order_by(Intent.created_at.desc(), Intent.id.desc()).limit(limit))
    others = session.scalars(
        said.order_by(Message.created_at.desc(), Message.id.desc()).limit(limit)
    ).all()
    found += _others(session, others)
    found += [
        Told(at, campaign=campaign, recipient=recipient)
        for recipient, campaign, at in session.execute(left.order_by(_DECIDED.desc()).limit(limit))
    ]
    return sorted(found, key=lambda one: one.at, reverse=True)[:limit]


def told_message(session: Session, message: Message) -> Told:
    """One message and what caused it."""
    if message.intent_id is not None:
        return _owed(session, _wished(Intent.id == message.intent_id))[0]
    return _others(session, [message])[0]


_DECIDED = func.coalesce(CampaignRecipient.decided_at, Campaign.started_at)


def _wished(*where: Any) -> Any:
    return (
        select(Intent, Journey, Message, Enrolment)
        .join(Journey, Journey.id == Intent.journey_id)
        .outerjoin(Message, Message.intent_id == Intent.id)
        .outerjoin(Enrolment, Enrolment.id == Intent.enrolment_id)
        .where(*where)
    )


def _owed(session: Session, query: Any) -> list[Told]:
    return [
        Told(intent.created_at, journey, intent.step, intent, message, enrolment)
        for intent, journey, message, enrolment in session.execute(query)
    ]


def _others(session: Session, messages: Sequence[Message]) -> list[Told]:
    """Notices with their facts, campaigns, and whatever else is no journey's."""
    facts = [_named(one) for one in messages if one.key.startswith("activity:")]
    sends = [_named(one) for one in messages if one.key.startswith("campaign")]
    by_fact = {
        one.id: one for one in session.scalars(select(Activity).where(Activity.id.in_(facts)))
    }
    by_send = {
        one.id: one for one in session.scalars(select(Campaign).where(Campaign.id.in_(sends)))
    }
    return [
        Told(
            one.created_at,
            message=one,
            activity=by_fact.get(_named(one)) if one.key.startswith("activity:") else None,
            campaign=by_send.get(_named(one)) if one.key.startswith("campaign") else None,
        )
        for one in messages
    ]


def _named(message: Message) -> int:
    """The id of what a message's key names: `activity:7`, `campaign:3:41`; 0 without one."""
    number = message.key.split(":")[1] if ":" in message.key else ""
    return int(number) if number.isdigit() else 0


def why_not(
    session: Session, runtime: Runtime, journey: Journey, plan: Plan, member: Member, now: datetime
) -> list[Reason]:
    """What a journey asks of this member, one line each, met or not, in the order it is asked."""
    tz = runtime.clock.tz
    reasons = [Reason("journeys.why_is_on", is_met=journey.is_on)]
    under_way = session.scalar(
        select(Enrolment)
        .where(Enrolment.member_id == member.id, Enrolment.journey_id == journey.id)
        .order_by(Enrolment.id.desc())
        .limit(1)
    )
    if under_way is not None and under_way.state == EnrolmentState.ACTIVE:
        facts = {"step": under_way.step, "due_at": under_way.due_at, "at": under_way.started_at}
        reasons.append(Reason("journeys.why_under_way", facts, is_met=True))
    else:
        reasons.append(_reentry(plan, under_way, now))
        reasons += _trigger_reasons(session, runtime, plan, member, now)
    when = plan.definition.get("exit", {}).get("when")
    if when:
        is_in = segments.includes(session, when, member.id, now, tz)
        reasons.append(Reason("journeys.why_exit", is_met=not is_in))
    decision = delivery.decide(
        session, runtime.vault, member, journey.klass,
        now=now, tz=tz, topic=plan.definition.get("topic"),
    )  # fmt: skip
    why = {"why": decision.reason, "until": decision.until}
    reasons.append(Reason("journeys.why_gate", why, is_met=decision.reason is None))
    if journey.klass == MessageClass.PROMOTIONAL:
        is_held = journeys.arm_of(session, journey, member.id, now) == Arm.HELD_OUT
        reasons.append(Reason("journeys.why_arm", is_met=not is_held))
    return reasons


def _reentry(plan: Plan, before: Enrolment | None, now: datetime) -> Reason:
    reentry = plan.definition["reentry"]
    facts = {"at": before.started_at if before else None, "days": reentry.get("days")}
    if before is None:
        return Reason("journeys.why_first_time", is_met=True)
    if reentry["kind"] == "never":
        return Reason("journeys.why_only_once", facts)
    if reentry["kind"] == "days":
        is_met = before.started_at <= now - timedelta(days=reentry["days"])
        return Reason("journeys.why_every_days", facts, is_met=is_met)
    return Reason("journeys.why_each", facts, is_met=True)


def _trigger_reasons(
    session: Session, runtime: Runtime, plan: Plan, member: Member, now: datetime
) -> list[Reason]:
    trigger, tz = plan.definition["trigger"], runtime.clock.tz
    if trigger["on"] in ("activity", "change"):
        activity = _last_fact(session, member.id, trigger["kind"])
        facts = {"kind": trigger["kind"], "at": activity.at if activity else None}
        reasons = [Reason("journeys.why_fact", facts, is_met=activity is not None)]
        if activity is not None:
            known = journey_triggers.facts_of(session, activity)
            unmet = journey_triggers.why_not_begun(plan.definition, activity.kind, known)
            if unmet is not None:
                have = known.get(unmet.get("fact", ""))
                reasons.append(Reason("journeys.why_condition", {**unmet, "have": have}))
            reasons += _said_already(session, plan, member, known)
        return reasons
    if trigger["on"] == "segment":
        return _segment_reasons(session, trigger["tree"], member, now, tz)
    known = _trigger_facts(session, plan, member, now, tz)
    if trigger["on"] == "silence":
        if "last_on" not in known:
            return [Reason("journeys.why_never_bought")]
        silent = (local_day(now, tz) - date.fromisoformat(known["last_on"])).days
        limit = known["limit_days"]
        facts = {"silent": silent, "limit": f"{limit:g}"}
        return [Reason("journeys.why_silent", facts, is_met=silent > limit)]
    return _date_reasons(session, plan, member, known, now, tz)


def _said_already(
    session: Session, plan: Plan, member: Member, known: Mapping[str, Any]
) -> list[Reason]:
    """One promotional message for each purchase: another journey may have taken this one (M2)."""
    bought = known.get("purchase_id")
    if bought is None or plan.journey.klass != MessageClass.PROMOTIONAL:
        return []
    other = session.scalar(
        select(Journey)
        .join(Intent, Intent.journey_id == Journey.id)
        .where(
            Intent.member_id == member.id,
            Intent.occasion.startswith(f"purchase:{int(bought)}:"),
            Intent.klass == MessageClass.PROMOTIONAL,
            Journey.id != plan.journey.id,
        )
        .limit(1)
    )
    return [] if other is None else [Reason("journeys.why_one_per_purchase", {"journey": other})]


def _date_reasons(
    session: Session,
    plan: Plan,
    member: Member,
    known: Mapping[str, Any],
    now: datetime,
    tz: ZoneInfo,
) -> list[Reason]:
    trigger, today = plan.definition["trigger"], local_day(now, tz)
    if trigger["kind"] == "birthday" and member.birthday_sealed is None:
        return [Reason("journeys.why_no_birthday")]
    day = _date_of(session, plan, member, known, today, tz)
    if day is None:
        return [Reason(f"journeys.why_no_{trigger['kind']}")]
    begins = day + timedelta(days=trigger["days"])
    facts = {"day": day, "begins": begins, "kind": trigger["kind"]}
    is_yearly = trigger["kind"] in ("birthday", "joined")
    is_met = begins == today if is_yearly else begins <= today
    return [Reason("journeys.why_date", facts, is_met=is_met)]


def _segment_reasons(
    session: Session, tree: Mapping[str, Any], member: Member, now: datetime, tz: ZoneInfo
) -> list[Reason]:
    """Each condition of the group by itself, so that the one that fails is seen."""
    parts = tree.get("all") or [tree]
    return [
        Reason(
            "journeys.why_segment",
            {"tree": part},
            is_met=segments.includes(session, part, member.id, now, tz),
        )
        for part in parts
    ]
