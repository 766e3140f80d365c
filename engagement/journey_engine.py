"""The engine: members begin journeys, walk through the steps, and leave.

A fact begins or ends journeys in its own transaction; a night's look finds the rest; a tick moves
on whoever is due. Enrolments, intents and whatever a step gives carry keys that are unique in the
database, so nothing happens twice, whatever is replayed, killed or run by four processes at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import Exists, Integer, bindparam, exists, or_, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.clock import at_local, local_day
from core.db import insert_into, insert_on, is_sqlite, savepoint
from core.runtime import Runtime
from engagement import (
    delivery,
    journey_shapes,
    journey_triggers,
    journeys,
    outbox,
    restoring,
    segments,
)
from engagement.journey_triggers import Candidate, Plan
from loyalty import activities, coupons, feed, personal, points, tickets
from models.activities import Activity
from models.coupons import Coupon, CouponState
from models.journeys import (
    IS_ACTIVE,
    IS_WAITING,
    Arm,
    Enrolment,
    EnrolmentState,
    Intent,
    IntentState,
    Journey,
    JourneyVersion,
)
from models.members import Member, MemberState, MemberTotals
from models.menus import Menu
from models.outbox import Message, MessageClass
from models.segments import MemberTag

BATCH = 200
#: A step that fails is tried again this much later.
RETRY_AFTER = timedelta(hours=1)
#: What is due for longer has lost its occasion and is left out, unless the wait says otherwise.
LATE_DAYS = 7
#: No message takes longer to leave or to be given up.
UNSENT_WINDOW = timedelta(days=35)
#: Steps of one walk without a pause; more is a mistake of ours, as steps only lead forward.
MAX_STEPS = 100
MAX_PATH = 200
EXIT_MET = "journeys.exit_met"
ONE_PER_PURCHASE = "journeys.one_per_purchase"
#: Why a member left, by the fact that ended it.
ENDINGS = {
    "purchases.recorded": "journeys.bought",
    "purchases.returned": "journeys.voided",
    "members.joined": "journeys.joined",
    "stamps.card_filled": "journeys.card_filled",
}
log = structlog.get_logger("journeys")


@dataclass
class Walk:
    """One member on the way through one journey, at this moment."""

    session: Session
    runtime: Runtime
    plan: Plan
    enrolment: Enrolment
    now: datetime
    #: Purchases for which this transaction has already wished a promotion.
    thanked: set[int] = field(default_factory=set)
    #: Since when the steps now taken have been due, and how long that may be ago.
    since: datetime | None = None
    late_days: int = LATE_DAYS

    def is_too_late(self) -> bool:
        """Whether the occasion of these steps has passed while nobody could take them."""
        return self.since is not None and self.now - self.since > timedelta(days=self.late_days)

    @property
    def tz(self) -> ZoneInfo:
        return self.runtime.clock.tz

    def note(self, step: str, what: str, **facts: Any) -> None:
        """Keep what happened, for whoever asks why."""
        entry = {"step": step, "at": self.now.isoformat(), "what": what, **facts}
        self.enrolment.path = [*self.enrolment.path, entry][-MAX_PATH:]


@dataclass(frozen=True)
class Next:
    """Where the walk goes: to the following step, to a named one, and when."""

    to: str | None = None
    #: Not before then.
    at: datetime | None = None
    #: Stays where it is until the message that is owed has been decided.
    stays: bool = False


# --- Facts begin and end journeys ---------------------------------------------------------------


def react(runtime: Runtime, session: Session, facts: list[Activity], now: datetime) -> None:
    """The `Reaction` of journeys: what ends first, then what begins."""
    ours = session.info.get("by_journeys", ())
    heard = [one for one in facts if one.kind in HEARD and not any(one is own for own in ours)]
    if not heard:
        return
    _leave(session, heard, now)
    for activity in heard:
        if activity.kind == "consents.withdrawn":
            journeys.end_unwanted(session, activity, now)
        elif activity.kind == "topics.changed":
            journeys.end_muted(session, activity, now)
        elif activity.kind in ("members.left", "members.unfollowed"):
            journeys.end_all(session, activity.member_id, outbox.UNREACHABLE, now)
    _begin(runtime, session, [one for one in heard if one.kind in BEGINNING], now)


BEGINNING = frozenset((*journey_shapes.ACTIVITIES, *journey_shapes.CHANGES.values()))
HEARD = BEGINNING | {
    "consents.withdrawn", "topics.changed", "members.left", "members.unfollowed",
}  # fmt: skip


def _begin(runtime: Runtime, session: Session, facts: list[Activity], now: datetime) -> None:
    if not facts:
        return
    plans = journey_triggers.plans_of(session, None, {fact.kind for fact in facts})
    wanted: list[tuple[Plan, Candidate]] = []
    for activity in facts:
        known = journey_triggers.facts_of(session, activity) if plans else {}
        for plan in plans:
            found = journey_triggers.candidate_of(session, plan, activity, known)
            if found is not None:
                wanted.append((plan, found))
    if not wanted:
        return
    recent = journey_triggers.recently(
        session, {one.member_id for _, one in wanted}, [plan for plan, _ in wanted], now
    )
    thanked: set[int] = set()
    for plan, one in wanted:
        unless = plan.definition["reentry"].get("unless")
        if (one.member_id, plan.journey.id) in recent and not (
            unless and journey_shapes.holds(unless, one.facts)
        ):
            continue
        if _is_said_for(plan, one.facts, thanked):
            continue
        enrolment = enrol(session, plan, one, now)
        if enrolment is not None and _is_light(plan):
            advance(Walk(session, runtime, plan, enrolment, now, thanked))


def _is_light(plan: Plan) -> bool:
    """Whether the first step costs the fact's transaction nothing and can harm nothing in it;
    everything else is the next tick's."""
    first = plan.step(plan.first)
    return first["kind"] == "send" or (first["kind"] == "wait" and first["how"] in ("time", "hour"))


def _is_said_for(plan: Plan, facts: Mapping[str, Any], thanked: set[int]) -> bool:
    """Whether this purchase has its one promotion already, and this journey would speak at once."""
    return (
        facts.get("purchase_id") in thanked
        and plan.journey.klass == MessageClass.PROMOTIONAL
        and plan.step(plan.first)["kind"] == "send"
    )


_UNSENT = (
    select(Intent.enrolment_id)
    .join(Message, Message.intent_id == Intent.id)
    .where(
        Message.member_id.in_(bindparam("ids", expanding=True)),
        Message.created_at > bindparam("since"),
        Message.finished_at.is_(None),
    )
)
#: Also of those that are through: a message whose free reply was refused waits once more.
_WAITING = select(Intent.enrolment_id).where(
    Intent.member_id.in_(bindparam("ids", expanding=True)), IS_WAITING
)
#: The enrolments of some members that go on, or have a message that has not left; built once.
_THEIRS = (
    select(Enrolment, JourneyVersion.definition["exit"]["on"])
    .join(
        JourneyVersion,
        (JourneyVersion.journey_id == Enrolment.journey_id)
        & (JourneyVersion.version == Enrolment.version),
    )
    .where(
        Enrolment.member_id.in_(bindparam("ids", expanding=True)),
        or_(
            Enrolment.state == EnrolmentState.ACTIVE,
            Enrolment.id.in_(_UNSENT),
            Enrolment.id.in_(_WAITING),
        ),
    )
)


def _leave(session: Session, facts: list[Activity], now: datetime) -> None:
    """End what waited for just this, and take back what it had not sent yet."""
    ending = [one for one in facts if one.kind in BEGINNING]
    if not ending:
        return
    asked = {"ids": [*{one.member_id for one in ending}], "since": now - UNSENT_WINDOW}
    rows = session.execute(_THEIRS, asked).all()
    for enrolment, exits in rows:
        fact = next((one for one in ending if is_ended_by(exits, enrolment, one)), None)
        if fact is not None:
            why = ENDINGS.get(fact.kind, EXIT_MET)
            end(session, enrolment, why, now)
            journeys.withdraw(session, [Intent.enrolment_id == enrolment.id], why, now)


def is_ended_by(exits: Any, enrolment: Enrolment, activity: Activity) -> bool:
    """Whether this fact of the member is one that the journey waits for to end."""
    if activity.member_id != enrolment.member_id or not isinstance(exits, list):
        return False
    for one in exits:
        if not isinstance(one, dict) or one["kind"] != activity.kind:
            continue
        same = one.get("same")
        if same and activity.facts.get(same) != enrolment.facts.get(same):
            continue
        if journey_shapes.holds(one.get("where", []), activity.facts):
            return True
    return False


# --- Beginning and ending -----------------------------------------------------------------------


def enrol(session: Session, plan: Plan, one: Candidate, now: datetime) -> Enrolment | None:
    """Begin a journey, once for each occasion; None when it has been begun before."""
    found = enrol_many(session, plan, [one], now)
    return found[0] if found else None


def enrol_many(
    session: Session, plan: Plan, candidates: Sequence[Candidate], now: datetime
) -> list[Enrolment]:
    """Begin a journey for these; returns the new enrolments."""
    if not candidates:
        return []
    rows = [
        {
            "member_id": one.member_id,
            "journey_id": plan.journey.id,
            "version": plan.version,
            "occasion": one.occasion,
            "step": plan.first,
            "state": EnrolmentState.ACTIVE,
            "started_at": now,
            "due_at": now,
            "facts": one.facts,
            "path": [],
        }
        for one in candidates
    ]
    return list(session.scalars(_enrol_on(is_sqlite(session)), rows))


@cache
def _enrol_on(on_sqlite: bool) -> Any:
    insert = insert_on(on_sqlite, Enrolment)
    return insert.on_conflict_do_nothing(
        index_elements=["member_id", "journey_id", "occasion"]
    ).returning(Enrolment)


def end(
    session: Session,
    enrolment: Enrolment,
    why: str | None,
    now: datetime,
    state: EnrolmentState = EnrolmentState.EXITED,
) -> None:
    """The member is through, or leaves; nothing of it moves any more."""
    if enrolment.state != EnrolmentState.ACTIVE:
        return
    enrolment.state, enrolment.why_ended = state, why
    enrolment.ended_at, enrolment.due_at = now, None


def begin_found(
    session: Session, runtime: Runtime, plan: Plan, now: datetime, *, after_id: int, limit: int
) -> tuple[int, int]:
    """Begin the journey for those of the next members whom its trigger finds.

    Returns (how many began, the last member looked at; 0 when nobody was left).
    """
    found, last_id = journey_triggers.find(
        session, runtime.vault, plan, now, runtime.clock.tz, after_id=after_id, limit=limit
    )
    if plan.definition["trigger"]["on"] != "segment":  # which has asked already
        recent = journey_triggers.recently(session, {one.member_id for one in found}, [plan], now)
        found = [one for one in found if (one.member_id, plan.journey.id) not in recent]
    new = enrol_many(session, plan, found, now)
    for enrolment in new:
        _advance_safely(Walk(session, runtime, plan, enrolment, now))
    return len(new), last_id


# --- The tick -----------------------------------------------------------------------------------

_DUE = (
    select(Enrolment, Member, MemberTotals)
    .join(Member, Member.id == Enrolment.member_id)
    .join(MemberTotals, MemberTotals.member_id == Enrolment.member_id)
    .join(Journey, Journey.id == Enrolment.journey_id)
    .where(IS_ACTIVE, Enrolment.due_at <= bindparam("now"), Journey.is_on.is_(True))
    .order_by(Enrolment.due_at, Enrolment.id)
    .limit(bindparam("most", type_=Integer()))
    .with_for_update(skip_locked=True, key_share=True, of=[Enrolment, MemberTotals])
)
_VERSIONS = (
    select(Journey, JourneyVersion)
    .join(JourneyVersion, JourneyVersion.journey_id == Journey.id)
    .where(Journey.id.in_(bindparam("journeys", expanding=True)))
    .where(JourneyVersion.version.in_(bindparam("versions", expanding=True)))
)
_DUE_OF_SOME = _DUE.where(Enrolment.journey_id.in_(bindparam("journeys", expanding=True)))


def advance_due(
    session: Session,
    runtime: Runtime,
    now: datetime,
    limit: int = BATCH,
    journey_ids: Collection[int] | None = None,
) -> int:
    """Move on the next enrolments whose moment has come; returns how many were looked at.

    Their members' totals are locked with them, as everything that moves value locks those first;
    a member who is busy is left to the next tick. Journeys that are switched off stand still, and
    all of them after a restore until somebody has decided.
    """
    if restoring.is_undecided(session):
        return 0
    asked: dict[str, Any] = {"now": now, "most": limit}
    query = _DUE
    if journey_ids is not None:
        query, asked = _DUE_OF_SOME, asked | {"journeys": list(journey_ids)}
    # Members and totals are found in the session as long as these rows hold them.
    due = session.execute(query, asked, execution_options={"populate_existing": True}).all()
    plans = plans_under_way(session, [enrolment for enrolment, *_ in due])
    for enrolment, *_ in due:
        plan = plans[enrolment.journey_id, enrolment.version]
        _advance_safely(Walk(session, runtime, plan, enrolment, now), is_late=True)
    return len(due)


def is_any_due(session: Session, now: datetime) -> bool:
    """Whether an enrolment waits to be moved on."""
    return bool(session.scalar(select(is_any_due_at(now))))


def is_any_due_at(now: datetime) -> Exists:
    """The same as a condition."""
    return (
        exists()
        .where(
            IS_ACTIVE,
            Enrolment.due_at <= now,
            Journey.id == Enrolment.journey_id,
            Journey.is_on.is_(True),
        )
    )  # fmt: skip


def plans_under_way(
    session: Session, enrolments: Iterable[Enrolment]
) -> dict[tuple[int, int], Plan]:
    """Each enrolment's journey under the version of its day."""
    places = {(one.journey_id, one.version) for one in enrolments}
    if not places:
        return {}
    asked = {
        "journeys": [*{journey_id for journey_id, _ in places}],
        "versions": [*{version for _, version in places}],
    }
    rows = session.execute(_VERSIONS, asked)
    return {(row[0].id, row[1].version): Plan(row[0], row[1].version, row[1].definition)
            for row in rows}  # fmt: skip


def _advance_safely(walk: Walk, *, is_late: bool = False) -> None:
    """One that fails steps aside for an hour and costs the others nothing."""
    session, enrolment = walk.session, walk.enrolment
    try:
        with savepoint(session):
            advance(walk, is_late=is_late)
    except OperationalError:
        raise  # the database, not the enrolment
    except Exception as error:
        session.refresh(enrolment)
        enrolment.due_at = walk.now + RETRY_AFTER
        walk.note(enrolment.step, "failed", kind=type(error).__name__)
        log.error("enrolment_failed", enrolment=enrolment.id, kind=type(error).__name__)


def advance(walk: Walk, *, is_late: bool = False) -> None:
    """Take steps until one waits, or the journey is over. `is_late`: it comes out of a wait."""
    enrolment, plan = walk.enrolment, walk.plan
    if why := _why_leaves(walk, is_late=is_late):
        end(walk.session, enrolment, why, walk.now)
        return
    if is_late:
        walk.since = enrolment.due_at
        walk.late_days = next(
            (one["late_days"] for one in reversed(enrolment.path) if one["what"] == "waits"),
            LATE_DAYS,
        )
    for _ in range(MAX_STEPS):
        step = plan.step(enrolment.step)
        way = _take(walk, step)
        if way.stays:
            if enrolment.due_at is not None:
                enrolment.due_at = None
            return
        to = journey_shapes.after(plan.definition, enrolment.step, way.to)
        if to is None:
            end(walk.session, enrolment, None, walk.now, EnrolmentState.DONE)
            return
        enrolment.step = to
        if way.at is not None:
            enrolment.due_at = way.at
            return
    raise AssertionError(f"{plan.journey.key} does not end")


def _take(walk: Walk, step: Mapping[str, Any]) -> Next:
    if step["kind"] in ACTS and is_superseded(
        walk.session, walk.plan, step, walk.enrolment, walk.now, walk.tz
    ):
        walk.note(step["key"], "superseded")
        return Next()
    if step["kind"] in ACTS and walk.is_too_late():
        walk.note(step["key"], "too_late")
        return Next()
    if step["kind"] in GIFTS and _is_held_out(walk):
        walk.note(step["key"], "held_out")
        return Next()
    recorded = len(walk.session.info.get("activities", ()))
    way = STEPS[step["kind"]](walk, step)
    # What a step does is no fact for another journey: two could begin each other for ever.
    made = walk.session.info.get("activities", [])[recorded:]
    walk.session.info.setdefault("by_journeys", []).extend(made)
    return way


def _is_held_out(walk: Walk) -> bool:
    """Whether a gift is kept from this member to compare: who gets one is no control group (M8)."""
    journey = walk.plan.journey
    if journey.klass != MessageClass.PROMOTIONAL:
        return False
    return journeys.keep_arm(walk.session, journey, walk.enrolment, walk.now) == Arm.HELD_OUT


def _why_leaves(walk: Walk, *, is_late: bool) -> str | None:
    if not journey_shapes.is_current(walk.plan.definition):
        return EXIT_MET  # of before journeys had steps that wait
    enrolment = walk.enrolment
    if is_late:
        member = walk.session.get_one(Member, enrolment.member_id)
        if member.state in (MemberState.ERASED, MemberState.MERGED):
            return delivery.GONE
    when = walk.plan.definition.get("exit", {}).get("when")
    if when and segments.includes(walk.session, when, enrolment.member_id, walk.now, walk.tz):
        return EXIT_MET
    return None


# --- Steps --------------------------------------------------------------------------------------


def _send(walk: Walk, step: Mapping[str, Any]) -> Next:
    """Wish the message; the walk goes on once it has been said, or was not to be."""
    enrolment, plan = walk.enrolment, walk.plan
    bought = enrolment.facts.get("purchase_id")
    if bought is not None and plan.journey.klass == MessageClass.PROMOTIONAL:
        is_first_step = not enrolment.path and enrolment.started_at == walk.now
        if not is_first_step and _has_promotion(walk.session, enrolment, bought):
            walk.note(step["key"], "skipped", why=ONE_PER_PURCHASE)
            return Next()
        walk.thanked.add(bought)
    state = journeys.wish(walk.session, plan, enrolment, step, now=walk.now, tz=walk.tz)
    if state == IntentState.WAITING:
        return Next(stays=True)
    walk.note(step["key"], state.value if state else "known")
    return Next()


def _has_promotion(session: Session, enrolment: Enrolment, purchase_id: int) -> bool:
    """Whether another journey has a promotional message for this purchase (M2)."""
    return (
        session.scalar(
            select(Intent.id)
            .where(
                Intent.member_id == enrolment.member_id,
                Intent.occasion.like(f"purchase:{int(purchase_id)}:%"),
                Intent.enrolment_id != enrolment.id,
                Intent.klass == MessageClass.PROMOTIONAL,
                Intent.state != IntentState.SKIPPED,
            )
            .limit(1)
        )
        is not None
    )


def is_superseded(
    session: Session,
    plan: Plan,
    step: Mapping[str, Any],
    enrolment: Enrolment,
    now: datetime,
    tz: ZoneInfo,
) -> bool:
    """Whether the day after this step has come too: then only what follows it is done."""
    key = journey_shapes.after(plan.definition, step["key"])
    if key is None:
        return False
    following = plan.step(key)
    if following["kind"] != "wait" or following["how"] not in ("date", "silence"):
        return False
    until = wait_until(plan, following, enrolment, now, tz, session)
    return until is not None and until <= now


def _wait(walk: Walk, step: Mapping[str, Any]) -> Next:
    until = wait_until(walk.plan, step, walk.enrolment, walk.now, walk.tz, walk.session)
    if until is None:
        walk.note(step["key"], "no_date")
        return Next(to=journey_shapes.END)
    late_days = int(step.get("late_days", LATE_DAYS))
    if until <= walk.now:
        walk.since, walk.late_days = until, late_days
        return Next()
    walk.note(step["key"], "waits", until=until.isoformat(), late_days=late_days)
    return Next(at=until)


def wait_until(
    plan: Plan,
    step: Mapping[str, Any],
    enrolment: Enrolment,
    now: datetime,
    tz: ZoneInfo,
    session: Session,
) -> datetime | None:
    """When a wait that begins now ends; None when the member has no such date."""
    hour = step.get("hour")
    if step["how"] == "time":
        return _at_hour(now + timedelta(minutes=step["minutes"]), hour, tz)
    if step["how"] == "hour":
        return _at_hour(now, hour, tz)
    if step["how"] == "silence":
        return journey_triggers.silent_until(plan.definition["trigger"], step, enrolment.facts, tz)
    day = date_of(step["of"], enrolment, local_day(now, tz), session, tz)
    if day is None:
        return None
    return at_local(day + timedelta(days=step["days"]), hour or 0, 0, tz)


def _at_hour(moment: datetime, hour: int | None, tz: ZoneInfo) -> datetime:
    """This moment, or the next time that the shop's clock shows the hour."""
    if hour is None:
        return moment
    day = local_day(moment, tz)
    at = at_local(day, hour, 0, tz)
    return at if at >= moment else at_local(day + timedelta(days=1), hour, 0, tz)


def date_of(
    of: str, enrolment: Enrolment, today: date, session: Session, tz: ZoneInfo
) -> date | None:
    """A date of the member or of the occasion; a yearly one is the next."""
    if of in ("birthday", "joined"):
        member = session.get_one(Member, enrolment.member_id)
        if of == "joined":
            born = local_day(member.joined_at, tz) if member.joined_at else None
        else:
            born = personal.birthday_of(session, session.info["vault"], member)
        if born is None:
            return None
        return min(day for year in (today.year, today.year + 1)
                   if (day := _in_year(born, year)) >= today)  # fmt: skip
    try:
        return date.fromisoformat(str(enrolment.facts.get(of)))
    except ValueError:
        return None


def _in_year(day: date, year: int) -> date:
    try:
        return day.replace(year=year)
    except ValueError:  # 29 February
        return date(year, 2, 28)


def _branch(walk: Walk, step: Mapping[str, Any]) -> Next:
    member_id = walk.enrolment.member_id
    is_so = segments.includes(walk.session, step["when"], member_id, walk.now, walk.tz)
    walk.note(step["key"], "yes" if is_so else "no")
    return Next(to=step.get("then" if is_so else "else"))


def _split(walk: Walk, step: Mapping[str, Any]) -> Next:
    place = part_of(walk.plan, step, walk.enrolment.member_id)
    walk.note(step["key"], "part", part=place + 1)
    return Next(to=step["parts"][place].get("to"))


def part_of(plan: Plan, step: Mapping[str, Any], member_id: int) -> int:
    """Which part of a split is this member's, always the same one."""
    digest = hashlib.sha256(f"{member_id}:{plan.journey.key}:{step['key']}".encode()).digest()
    share = int.from_bytes(digest[:4]) % 100
    for place, part in enumerate(step["parts"]):
        share -= part["percent"]
        if share < 0:
            return place
    raise AssertionError("parts hold a hundred percent")


def _issue_voucher(walk: Walk, step: Mapping[str, Any]) -> Next:
    coupon = walk.session.scalar(
        select(Coupon).where(Coupon.key == step["coupon"], Coupon.state == CouponState.LIVE)
    )
    voucher = None
    if coupon is not None:
        voucher = coupons.issue(
            walk.session,
            coupon,
            walk.enrolment.member_id,
            source="journey",
            source_id=_source(walk, step),
            now=walk.now,
            tz=walk.tz,
        )
    if voucher is None:
        walk.note(step["key"], "no_coupon", coupon=step["coupon"])
        return Next()
    walk.enrolment.facts = {**walk.enrolment.facts, "gift_id": voucher.coupon_id}
    walk.note(step["key"], "issued", coupon=step["coupon"])
    return Next()


def _give_points(walk: Walk, step: Mapping[str, Any]) -> Next:
    """As the shop, which nobody decides twice: the entry's key is this step of this occasion."""
    member = walk.session.get_one(Member, walk.enrolment.member_id)
    if not member.is_member:
        walk.note(step["key"], "not_joined")
        return Next()
    moved = points.adjust(
        walk.session,
        member.id,
        int(step["points"]),
        reason=step["reason"],
        staff_id=None,
        source_id=_source(walk, step),
        now=walk.now,
        tz=walk.tz,
    )
    walk.note(step["key"], "given" if moved.is_new else "known", points=step["points"])
    return Next()


def _source(walk: Walk, step: Mapping[str, Any]) -> str:
    """What this step of this occasion is called in the ledger and on vouchers."""
    return f"journey:{walk.enrolment.id}:{step['key']}"


def _tag(walk: Walk, step: Mapping[str, Any]) -> Next:
    walk.session.execute(
        insert_into(walk.session, MemberTag)
        .values(
            member_id=walk.enrolment.member_id,
            tag=step["tag"],
            at=walk.now,
            by=f"journey:{walk.plan.journey.id}",
        )
        .on_conflict_do_nothing()
    )
    activities.record(
        walk.session,
        walk.enrolment.member_id,
        "members.tagged",
        walk.now,
        {"tag": step["tag"]},
    )
    walk.note(step["key"], "tagged", tag=step["tag"])
    return Next()


def _set_menu(walk: Walk, step: Mapping[str, Any]) -> Next:
    menu = step.get("menu")
    known = {
        row.audience["override"]
        for row in walk.session.scalars(select(Menu))
        if "override" in row.audience
    }
    if menu is not None and menu not in known:
        walk.note(step["key"], "no_menu", menu=menu)
        return Next()
    member = walk.session.get_one(Member, walk.enrolment.member_id)
    member.menu_override = menu
    activities.record(walk.session, member.id, "members.menu_set", walk.now, {"menu": menu})
    walk.note(step["key"], "menu", menu=menu)
    return Next()


def _open_ticket(walk: Walk, step: Mapping[str, Any]) -> Next:
    tickets.open_ticket(walk.session, walk.enrolment.member_id, step["subject"], walk.now)
    walk.note(step["key"], "ticket")
    return Next()


def _call_webhook(walk: Walk, step: Mapping[str, Any]) -> Next:
    """A line of the events feed, which the signed outgoing webhooks post until it is accepted."""
    member = walk.session.get_one(Member, walk.enrolment.member_id)
    if member.member_no is None:
        walk.note(step["key"], "not_joined")
        return Next()
    body = {
        "member_no": member.member_no,
        "journey": walk.plan.journey.key,
        "step": step["key"],
        "occasion": walk.enrolment.occasion,
    }
    feed.write(walk.session, [(feed.JOURNEY, walk.now, body)])
    walk.note(step["key"], "called")
    return Next()


#: Steps that do something for the member; left out when their day is over.
ACTS = frozenset(journey_shapes.KINDS) - {"wait", "branch", "split"}
#: Steps that give something of worth.
GIFTS = frozenset({"issue_voucher", "give_points"})
STEPS: dict[str, Callable[[Walk, Mapping[str, Any]], Next]] = {
    "send": _send,
    "wait": _wait,
    "branch": _branch,
    "split": _split,
    "issue_voucher": _issue_voucher,
    "give_points": _give_points,
    "tag": _tag,
    "set_menu": _set_menu,
    "open_ticket": _open_ticket,
    "call_webhook": _call_webhook,
}
