"""What begins a journey: facts as they happen, and what a night's look at the members finds.

Everything here only reads. Who begins is decided by the occasion, which is unique in the database.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Integer, bindparam, exists, func, or_, select
from sqlalchemy.orm import Session

from core.bulk import is_among
from core.clock import at_local, last_day, local_day, start_of_day
from core.crypto import Vault
from core.db import is_sqlite
from engagement import journey_shapes, segments
from loyalty import lifecycle, personal
from loyalty.lifecycle import thresholds
from loyalty.lifecycle.thresholds import Thresholds
from models.activities import Activity
from models.coupons import IS_USABLE, Voucher
from models.journeys import Enrolment, Intent, IntentState, Journey, JourneyVersion
from models.members import Consent, Member, MemberState, MemberTotals, Purpose
from models.points import IS_LEFT, Lot

#: Nobody is written to after a year of silence.
SILENCE_WINDOW = timedelta(days=366)
#: A birthday changed this recently is greeted without a gift (J4).
FRESH_BIRTHDAY = timedelta(days=30)
ONCE = "once"
DEFAULT_PRIORITY = 50


@dataclass(frozen=True)
class Plan:
    """One journey as it stands today, or under the version with which a member goes."""

    journey: Journey
    version: int
    definition: dict[str, Any]

    def step(self, key: str) -> Mapping[str, Any]:
        """The step of this key."""
        return journey_shapes.step_of(self.definition, key)

    @property
    def first(self) -> str:
        """The key of the first step."""
        return str(self.definition["steps"][0]["key"])

    @property
    def priority(self) -> int:
        """Among journeys that one fact begins, the lowest comes first."""
        return int(self.definition.get("priority", DEFAULT_PRIORITY))


@dataclass(frozen=True)
class Candidate:
    """A member who would begin a journey, and what the trigger knows."""

    member_id: int
    occasion: str
    facts: dict[str, Any] = field(default_factory=dict)


# --- Plans ----------------------------------------------------------------------------------


_TRIGGER = JourneyVersion.definition["trigger"]
_LIVE = (
    select(Journey, JourneyVersion)
    .join(JourneyVersion, JourneyVersion.journey_id == Journey.id)
    .where(
        Journey.is_on.is_(True),
        Journey.archived_at.is_(None),
        JourneyVersion.version == Journey.current_version,
    )
    .order_by(Journey.id)
)
# The few questions that are asked, built once: building them costs more than answering them.
_OF_KEY = _LIVE.where(Journey.key == bindparam("key"))
_ON = _LIVE.where(_TRIGGER["on"].as_string() == bindparam("on"))
_IS_OF_KIND = _TRIGGER["kind"].as_string().in_(bindparam("kinds", expanding=True))
_OF_KINDS, _ON_KINDS = _LIVE.where(_IS_OF_KIND), _ON.where(_IS_OF_KIND)


def plan_of(session: Session, key: str) -> Plan | None:
    """The journey of this key with its current version; None when it is off or unknown."""
    found = _plans(session, _OF_KEY, {"key": key})
    return found[0] if found else None


def plans_of(session: Session, on: str | None, kinds: Collection[str] = ()) -> list[Plan]:
    """The journeys that are on and begin with one of these kinds, in the order they are asked."""
    if on is None:
        return _plans(session, _OF_KINDS if kinds else _LIVE, {"kinds": list(kinds)})
    return _plans(session, _ON_KINDS if kinds else _ON, {"on": on, "kinds": list(kinds)})


def _plans(session: Session, query: Any, asked: Mapping[str, Any]) -> list[Plan]:
    rows = session.execute(query, asked)
    plans = [Plan(row[0], row[1].version, row[1].definition) for row in rows]
    return sorted(
        (plan for plan in plans if journey_shapes.is_current(plan.definition)),
        key=lambda plan: plan.priority,
    )


# --- Facts ----------------------------------------------------------------------------------


def candidate_of(
    session: Session, plan: Plan, activity: Activity, facts: dict[str, Any]
) -> Candidate | None:
    """Whom this fact begins the journey for; None when it is not what the journey waits for."""
    if why_not_begun(plan.definition, activity.kind, facts) is not None:
        return None
    return Candidate(activity.member_id, _occasion(session, plan, activity), facts)


def why_not_begun(
    definition: Mapping[str, Any], kind: str, facts: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """The first condition of the trigger that this fact does not meet; {} for another fact."""
    trigger = definition["trigger"]
    if trigger["on"] not in ("activity", "change") or trigger["kind"] != kind:
        return {}
    if (
        trigger["on"] == "change"
        and trigger["field"] != "tier"
        and (facts.get("field") != trigger["field"])
    ):
        return {}
    if trigger.get("to") and facts.get("after") not in trigger["to"]:
        return {"fact": "after", "is": "one_of", "value": trigger["to"]}
    return journey_shapes.first_unmet(trigger.get("where", []), facts)


def facts_of(session: Session, activity: Activity) -> dict[str, Any]:
    """What the fact says, and the few figures of the member that conditions may ask."""
    facts = dict(activity.facts)
    totals = session.get(MemberTotals, activity.member_id)
    if totals is not None:
        facts["purchase_days"] = totals.purchase_day_count
        facts["stage"] = totals.stage.value
        facts["level"] = totals.level.value
    if "size" in facts and "filled" in facts:
        facts["left"] = facts["size"] - facts["filled"]
    return facts


def _occasion(session: Session, plan: Plan, activity: Activity) -> str:
    if plan.definition["reentry"]["kind"] == "never":
        return ONCE
    for name in ("purchase", "voucher", "card"):
        if f"{name}_id" in activity.facts:
            return f"{name}:{activity.facts[f'{name}_id']}"
    session.flush()  # the occasion is the fact itself
    return f"{activity.kind}:{activity.id}"


def recently(
    session: Session, member_ids: Collection[int], plans: Sequence[Plan], now: datetime
) -> set[tuple[int, int]]:
    """Who must not begin again yet: (member, journey) by "at most every N days".

    One that never said anything (withdrawn, refused by the gate) does not count.
    """
    days = {
        plan.journey.id: int(plan.definition["reentry"]["days"])
        for plan in plans
        if plan.definition["reentry"]["kind"] == "days"
    }
    if not days or not member_ids:
        return set()
    rows = session.execute(
        _recent_on(is_sqlite(session)),
        {
            "ids": list(member_ids),
            "journeys": list(days),
            "since": now - timedelta(days=max(days.values())),
        },
    )
    return {
        (member_id, journey_id)
        for member_id, journey_id, started_at in rows
        if started_at > now - timedelta(days=days[journey_id])
    }


@cache
def _recent_on(on_sqlite: bool) -> Any:
    spoke = exists().where(Intent.enrolment_id == Enrolment.id, Intent.state != IntentState.SKIPPED)
    wrote = exists().where(Intent.enrolment_id == Enrolment.id)
    return (
        select(Enrolment.member_id, Enrolment.journey_id, func.max(Enrolment.started_at))
        .where(
            is_among(on_sqlite, Enrolment.member_id, "ids"),
            Enrolment.journey_id.in_(bindparam("journeys", expanding=True)),
            Enrolment.started_at > bindparam("since"),
            or_(spoke, ~wrote),
        )
        .group_by(Enrolment.member_id, Enrolment.journey_id)
    )


# --- What a night finds -----------------------------------------------------------------------


def find(
    session: Session,
    vault: Vault,
    plan: Plan,
    now: datetime,
    tz: ZoneInfo,
    *,
    after_id: int,
    limit: int,
) -> tuple[list[Candidate], int]:
    """Those of the next members after `after_id` who begin this journey, and the last one looked
    at; 0 when nobody was left to look at."""
    trigger = plan.definition["trigger"]
    if trigger["on"] == "segment":
        found, last_id = _entering(session, plan, now, tz, after_id, limit)
    elif trigger["on"] == "silence":
        found, last_id = _silent(session, plan, now, tz, after_id, limit)
    else:
        look = {"birthday": _birthdays, "joined": _anniversaries}.get(trigger["kind"])
        if look is not None:
            found, last_id = look(session, vault, plan, now, tz, after_id, limit)
        else:
            found, last_id = _ending(session, plan, now, tz, after_id, limit)
    return _new(session, plan, found), last_id


def _new(session: Session, plan: Plan, found: list[Candidate]) -> list[Candidate]:
    """Those who are still there and whose occasion is not known yet."""
    if not found:
        return []
    rows = session.execute(
        _known_on(is_sqlite(session)),
        {"journey": plan.journey.id, "ids": [one.member_id for one in found]},
    )
    known: dict[int, set[str]] = defaultdict(set)
    for member_id, occasion in rows:
        known[member_id].add(occasion)
    return [
        one for one in found if one.member_id in known and one.occasion not in known[one.member_id]
    ]


@cache
def _known_on(on_sqlite: bool) -> Any:
    """Who of these has neither left nor become another's, with the occasions they have had."""
    own = (Enrolment.member_id == Member.id) & (Enrolment.journey_id == bindparam("journey"))
    return (
        select(Member.id, Enrolment.occasion)
        .outerjoin(Enrolment, own)
        .where(is_among(on_sqlite, Member.id, "ids"), segments.IS_THERE)
    )


_OF_BIRTHDAY = (Consent.member_id == Member.id, Consent.purpose == Purpose.BIRTHDAY)
_MOST: Any = bindparam("most", type_=Integer())
# What the nights ask, built once.
_CELEBRATING = (
    select(Member)
    .where(
        Member.birthday_index.in_(bindparam("days", expanding=True)),
        Member.id > bindparam("after"),
        exists().where(*_OF_BIRTHDAY, Consent.withdrawn_at.is_(None))
        | ~exists().where(*_OF_BIRTHDAY),
    )
    .order_by(Member.id)
    .limit(_MOST)
)
_SILENT_SINCE = (
    select(MemberTotals.member_id, MemberTotals.purchase_days, MemberTotals.own_gap_days)
    .where(
        MemberTotals.member_id > bindparam("after"),
        MemberTotals.last_purchase_at.between(bindparam("first"), bindparam("last")),
    )
    .order_by(MemberTotals.member_id)
    .limit(_MOST)
)


@lru_cache(maxsize=64)
def _joined_within(spans: int) -> Any:
    """Members who joined in one of so many spans."""
    return (
        select(Member.id, Member.joined_at)
        .where(
            Member.id > bindparam("after"),
            Member.state == MemberState.MEMBER,
            Member.line_user_id.is_not(None),
            or_(
                *(
                    (Member.joined_at >= bindparam(f"begins_{n}"))
                    & (Member.joined_at < bindparam(f"ends_{n}"))
                    for n in range(spans)
                )
            ),
        )
        .order_by(Member.id)
        .limit(_MOST)
    )


def _birthdays(
    session: Session, vault: Vault, plan: Plan, now: datetime, tz: ZoneInfo, after_id: int,
    limit: int,
) -> tuple[list[Candidate], int]:  # fmt: skip
    """Whose birthday it is (less the days of the trigger), but for those who took that consent
    back; one changed within 30 days of the date brings no gift (J4)."""
    day = local_day(now, tz) - timedelta(days=plan.definition["trigger"]["days"])
    days = list(personal.celebrated_on(vault, day))
    asked = {"days": days, "after": after_id, "most": limit}
    members = session.scalars(_CELEBRATING, asked).all()
    found = []
    for member in members:
        changed = member.birthday_changed_at
        is_fresh = changed is not None and now - changed < FRESH_BIRTHDAY
        facts: dict[str, Any] = {"no_gift": True} if is_fresh else {}
        found.append(Candidate(member.id, f"birthday:{day.year}", facts))
    return found, members[-1].id if members else 0


def _anniversaries(
    session: Session, vault: Vault, plan: Plan, now: datetime, tz: ZoneInfo, after_id: int,
    limit: int,
) -> tuple[list[Candidate], int]:  # fmt: skip
    """Who joined on this day of an earlier year; 29 February is kept on the 28th otherwise."""
    del vault
    day = local_day(now, tz) - timedelta(days=plan.definition["trigger"]["days"])
    asked: dict[str, Any] = {"after": after_id, "most": limit}
    earlier = range(day.year - 1, max(2000, day.year - 60), -1)
    days = [joined for year in earlier for joined in _same_days(day, year)]
    for place, joined in enumerate(days):
        asked[f"begins_{place}"] = start_of_day(joined, tz)
        asked[f"ends_{place}"] = start_of_day(joined + timedelta(1), tz)
    rows = session.execute(_joined_within(len(days)), asked).all()
    found = []
    for member_id, at in rows:
        assert at is not None, "chosen by it"
        years = day.year - local_day(at, tz).year
        found.append(Candidate(member_id, f"joined:{day.year}", {"years": years}))
    return found, rows[-1].id if rows else 0


def _same_days(day: date, year: int) -> list[date]:
    """The days of a year that are kept on this one."""
    is_leap_year = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if (day.month, day.day) == (2, 29):
        return [date(year, 2, 29)] if is_leap_year else []
    days = [day.replace(year=year)]
    if (day.month, day.day) == (2, 28) and is_leap_year and (day + timedelta(1)).day == 1:
        days.append(date(year, 2, 29))
    return days


def _silent(
    session: Session, plan: Plan, now: datetime, tz: ZoneInfo, after_id: int, limit: int
) -> tuple[list[Candidate], int]:
    """Buyers who have been silent for longer than their own limit, or the trigger's without a
    known rhythm; not for ever: those silent since long ago are left alone."""
    trigger = plan.definition["trigger"]
    limits = thresholds.of(session)
    # Nobody's own rhythm makes them silent sooner than the shop's floor; a day less, as the
    # clock's hours do not count.
    shortest = timedelta(days=min(limits.at_risk_floor - 1, trigger["days"]))
    span = {"first": now - SILENCE_WINDOW, "last": now - shortest}
    rows = session.execute(_SILENT_SINCE, span | {"after": after_id, "most": limit}).all()
    today = local_day(now, tz)
    found = []
    for member_id, days, gap in rows:
        if not days:
            continue
        silent = (today - date.fromisoformat(days[0])).days
        limit_days = silence_of(trigger, gap, limits)
        ends = max(trigger["last_days"], limit_days + trigger["last_days"] - trigger["days"])
        if limit_days < silent <= ends:
            facts = {"days": silent, "last_on": days[0], "limit_days": limit_days}
            found.append(Candidate(member_id, f"silence:{days[0]}", facts))
    return found, rows[-1].member_id if rows else 0


def silence_of(trigger: Mapping[str, Any], gap: float | None, limits: Thresholds) -> float:
    """More silent days than this begin the journey for a member of this rhythm."""
    if gap is None or not trigger.get("own_rhythm"):
        return float(trigger["days"])
    return lifecycle.at_risk_after(gap, limits)


def silent_until(
    trigger: Mapping[str, Any], step: Mapping[str, Any], facts: Mapping[str, Any], tz: ZoneInfo
) -> datetime | None:
    """When the silence has lasted as long as this wait asks; later for those of a slow rhythm, who
    keep the same distance from the beginning as everybody."""
    if "last_on" not in facts:
        return None
    distance = step["days"] - trigger.get("days", step["days"])
    needed = math.ceil(max(step["days"], facts.get("limit_days", 0) + distance))
    day = date.fromisoformat(facts["last_on"]) + timedelta(days=needed)
    return at_local(day, step.get("hour") or 0, 0, tz)


@dataclass(frozen=True)
class Ending:
    """Points or vouchers of one member that end together."""

    member_id: int
    #: The last local day on which they can be used.
    last_valid: date
    #: Points, or how many vouchers.
    count: int
    voucher_id: int | None = None


def _ending(
    session: Session, plan: Plan, now: datetime, tz: ZoneInfo, after_id: int, limit: int
) -> tuple[list[Candidate], int]:
    trigger = plan.definition["trigger"]
    look = ending_points if trigger["kind"] == "points" else ending_vouchers
    endings = look(session, now, tz, -trigger["days"], after_id, limit)
    today = local_day(now, tz)
    found = []
    for one in endings:
        facts: dict[str, Any] = {"days": (one.last_valid - today).days}
        if trigger["kind"] == "points":
            facts |= {"points": one.count, "expires_on": one.last_valid.isoformat()}
            occasion = f"expiry:{one.last_valid.isoformat()}"
        else:
            facts |= {
                "vouchers_on": one.last_valid.isoformat(),
                "voucher_id": one.voucher_id,
                "count": one.count,
            }
            occasion = f"vouchers:{one.last_valid.isoformat()}"
        found.append(Candidate(one.member_id, occasion, facts))
    return found, endings[-1].member_id if endings else 0


def ending_points(
    session: Session, now: datetime, tz: ZoneInfo, days_ahead: int, after_id: int, limit: int
) -> list[Ending]:
    """What ends within `days_ahead` days, for the next `limit` members after `after_id`."""
    horizon = start_of_day(local_day(now, tz) + timedelta(days=days_ahead + 1), tz)
    asked = {"now": now, "horizon": horizon, "after": after_id, "most": limit}
    rows = session.execute(_ENDING_POINTS, asked)
    sums: dict[tuple[int, date], int] = defaultdict(int)
    for member_id, expires_at, remaining in rows:
        assert expires_at is not None, "chosen by it"
        sums[member_id, last_day(expires_at, tz)] += int(remaining)
    return [Ending(*place, points) for place, points in sorted(sums.items())]


def ending_vouchers(
    session: Session, now: datetime, tz: ZoneInfo, days_ahead: int, after_id: int, limit: int
) -> list[Ending]:
    """Vouchers that can be used within `days_ahead` days for the last time; not those that were
    given only that recently, whose end was said with them."""
    horizon = start_of_day(local_day(now, tz) + timedelta(days=days_ahead + 1), tz)
    asked = {
        "now": now,
        "horizon": horizon,
        "given_before": now - timedelta(days=days_ahead),
        "after": after_id,
        "most": limit,
    }
    rows = session.execute(_ENDING_VOUCHERS, asked)
    found: dict[tuple[int, date], list[int]] = defaultdict(list)
    for member_id, expires_at, voucher_id in rows:
        assert expires_at is not None, "chosen by it"
        found[member_id, last_day(expires_at, tz)].append(voucher_id)
    return [Ending(*place, len(ids), min(ids)) for place, ids in sorted(found.items())]


def _of_next(query: Any, member_id: Any, *where: Any) -> Any:
    """What of this the next members have."""
    some = select(member_id).where(*where, member_id > bindparam("after")).distinct()
    ids = some.order_by(member_id).limit(_MOST).scalar_subquery()
    return query.where(*where, member_id.in_(ids))


_ENDING_POINTS = _of_next(
    select(Lot.member_id, Lot.expires_at, Lot.remaining),
    Lot.member_id,
    IS_LEFT,
    Lot.expires_at > bindparam("now"),
    Lot.expires_at <= bindparam("horizon"),
)
_ENDING_VOUCHERS = _of_next(
    select(Voucher.member_id, Voucher.expires_at, Voucher.id),
    Voucher.member_id,
    IS_USABLE,
    Voucher.expires_at > bindparam("now"),
    Voucher.expires_at <= bindparam("horizon"),
    Voucher.issued_at < bindparam("given_before"),
)


def _entering(
    session: Session, plan: Plan, now: datetime, tz: ZoneInfo, after_id: int, limit: int
) -> tuple[list[Candidate], int]:
    """Those of a segment who have not gone through the journey yet, or not for long enough."""
    definition = plan.definition
    own: list[Any] = [
        Enrolment.member_id == Member.id,
        Enrolment.journey_id == plan.journey.id,
    ]
    occasion = ONCE
    if definition["reentry"]["kind"] == "days":
        since = now - timedelta(days=definition["reentry"]["days"])
        own.append(Enrolment.started_at > since)
        occasion = f"entered:{local_day(now, tz).isoformat()}"
    ids = session.scalars(
        segments.ids_of(session, definition["trigger"]["tree"], now, tz)
        .where(Member.id > after_id, ~exists().where(*own))
        .order_by(Member.id)
        .limit(limit)
    ).all()
    return [Candidate(one, occasion) for one in ids], ids[-1] if ids else 0
