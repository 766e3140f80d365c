"""What two members who are one were to hear, put together when staff merge them and parted again.

Enrolments and intents go over with their occasions, which stay unique: what both were to hear, or
what the other's purchases have answered, is ended, so that one person gets nothing twice. All of it
is written down with the merge, and goes back with it as far as it is still what it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.bulk import is_one_of
from core.clock import local_day
from core.runtime import Runtime
from engagement import journey_engine, journeys
from models.activities import Activity
from models.imports import Merge
from models.journeys import Enrolment, EnrolmentState, Intent, IntentState, JourneyVersion

#: Why a journey or message ended with the merge.
SAME_PERSON = "journeys.same_person"


def react(runtime: Runtime, session: Session, facts: list[Activity], now: datetime) -> None:
    """The `Reaction` of what is owed to merges; before journeys look at the facts.

    Whoever proves the phone of a walk-in takes over an account that nothing was ever sent to.
    """
    for activity in facts:
        if activity.kind == "members.merged" and "merge_id" in activity.facts:
            _join(
                session, session.get_one(Merge, activity.facts["merge_id"]), now, runtime.clock.tz
            )
        elif activity.kind == "members.unmerged":
            _part(session, session.get_one(Merge, activity.facts["merge_id"]), now)


# --- Joining ------------------------------------------------------------------------------------


def _join(session: Session, merge: Merge, now: datetime, tz: ZoneInfo) -> None:
    session.flush()  # what is owed is looked for by statements
    ended: list[list[Any]] = []
    skipped: list[int] = []

    def stop(enrolment: Enrolment) -> None:
        waiting = select(Intent.id).where(
            Intent.enrolment_id == enrolment.id, Intent.state == IntentState.WAITING
        )
        skipped.extend(session.scalars(waiting))
        due = enrolment.due_at.isoformat() if enrolment.due_at else None
        ended.append([enrolment.id, due])
        journey_engine.end(session, enrolment, SAME_PERSON, now)
        journeys.withdraw(session, [Intent.enrolment_id == enrolment.id], SAME_PERSON, now)

    moved = _hand_over(session, Enrolment, merge.gone_id, merge.kept_id)
    moved_intents = _hand_over(session, Intent, merge.gone_id, merge.kept_id)
    for left in _active(session, merge.gone_id):  # the kept one has had the same occasion
        stop(left)
    active = _active(session, merge.kept_id)
    for enrolment in _answered(session, merge, active, set(moved), tz):
        stop(enrolment)
    for enrolment in _too_soon(session, merge.kept_id, active, set(moved), now):
        stop(enrolment)
    merge.moved = {
        **merge.moved,
        "journeys": {
            "enrolments": moved, "intents": moved_intents, "ended": ended, "skipped": skipped,
        },
    }  # fmt: skip
    session.flush()  # journeys begin and end by what is written


def _hand_over(session: Session, table: Any, gone_id: int, kept_id: int) -> list[int]:
    """Rows whose occasion the other one does not have; returns their ids."""
    taken = {
        (row.journey_id, row.occasion)
        for row in session.execute(
            select(table.journey_id, table.occasion).where(table.member_id == kept_id)
        )
    }
    rows = session.execute(
        select(table.id, table.journey_id, table.occasion).where(table.member_id == gone_id)
    ).all()
    ids = [row.id for row in rows if (row.journey_id, row.occasion) not in taken]
    _give(session, table, ids, gone_id, kept_id)
    return ids


def _give(session: Session, table: Any, ids: Sequence[int], source: int, target: int) -> None:
    session.execute(
        update(table)
        .where(is_one_of(session, table.id, ids), table.member_id == source)
        .values(member_id=target)
        .execution_options(synchronize_session=False)
    )
    session.expire_all()  # what was read before belongs to somebody else now


def _active(session: Session, member_id: int) -> list[Enrolment]:
    return list(
        session.scalars(
            select(Enrolment)
            .where(Enrolment.member_id == member_id, Enrolment.state == EnrolmentState.ACTIVE)
            .order_by(Enrolment.id)
        )
    )


def _answered(
    session: Session, merge: Merge, active: list[Enrolment], moved: set[int], tz: ZoneInfo
) -> list[Enrolment]:
    """What the other one's facts have ended: whoever misses this person has been wrong about it."""
    theirs = set(merge.moved["rows"]["activities"])
    found = []
    for enrolment in active:
        definition = _definition(session, enrolment)
        exits = definition["exit"].get("on", [])
        kinds = {one["kind"] for one in exits if isinstance(one, dict)}
        facts = session.scalars(
            select(Activity).where(
                Activity.member_id == merge.kept_id, Activity.kind.in_(kinds)
            )
        )  # fmt: skip
        if any(
            (activity.id in theirs) != (enrolment.id in moved)
            and _is_since(definition, enrolment, activity, tz)
            and journey_engine.is_ended_by(exits, enrolment, activity)
            for activity in facts
        ):
            found.append(enrolment)
    return found


def _is_since(
    definition: dict[str, Any], enrolment: Enrolment, activity: Activity, tz: ZoneInfo
) -> bool:
    """Whether a fact is late enough to end this. What is said once in a life is about the first
    time, whenever that was; a silence is since its day; the rest since it began."""
    if definition["reentry"]["kind"] == "never":
        return True
    if "last_on" in enrolment.facts:
        return local_day(activity.at, tz) > date.fromisoformat(enrolment.facts["last_on"])
    return activity.at > enrolment.started_at


def _too_soon(
    session: Session, member_id: int, active: list[Enrolment], moved: set[int], now: datetime
) -> list[Enrolment]:
    """What is said at most every so many days and now stands there twice: one of the two goes on,
    the one that has spoken or else the kept member's own."""
    ended: list[Enrolment] = []
    for enrolment in active:
        reentry = _definition(session, enrolment)["reentry"]
        if enrolment.state != EnrolmentState.ACTIVE or reentry["kind"] != "days":
            continue
        rivals = select(Enrolment).where(
            Enrolment.member_id == member_id,
            Enrolment.journey_id == enrolment.journey_id,
            Enrolment.started_at > now - timedelta(days=reentry["days"]),
            Enrolment.id != enrolment.id,
        )
        own = _rank(session, enrolment, moved)
        if any(
            (rival.id in moved) != (enrolment.id in moved) and _rank(session, rival, moved) > own
            for rival in session.scalars(rivals)
        ):
            ended.append(enrolment)
    return ended


def _rank(session: Session, enrolment: Enrolment, moved: set[int]) -> tuple[int, bool]:
    """2: has spoken, 1: is about to, 0: was not to speak; then the kept member's own first."""
    states = set(
        session.scalars(select(Intent.state).where(Intent.enrolment_id == enrolment.id))
    )  # fmt: skip
    is_own = enrolment.id not in moved
    if states & {IntentState.TURNED, IntentState.HELD_OUT}:
        return 2, is_own
    return int(enrolment.state == EnrolmentState.ACTIVE), is_own


def _definition(session: Session, enrolment: Enrolment) -> dict[str, Any]:
    found: dict[str, Any] = session.scalars(
        select(JourneyVersion.definition).where(
            JourneyVersion.journey_id == enrolment.journey_id,
            JourneyVersion.version == enrolment.version,
        )
    ).one()
    return found


# --- Parting ------------------------------------------------------------------------------------


def _part(session: Session, merge: Merge, now: datetime) -> None:
    moved = merge.moved.get("journeys")
    if moved is None:
        return  # of a merge from before
    session.flush()  # what went over is handed back by statements
    _give(session, Enrolment, moved["enrolments"], merge.kept_id, merge.gone_id)
    _give(session, Intent, moved["intents"], merge.kept_id, merge.gone_id)
    owed = set(
        session.scalars(
            update(Intent)
            .where(
                is_one_of(session, Intent.id, moved["skipped"]),
                Intent.state == IntentState.SKIPPED,
                Intent.reason == SAME_PERSON,
                Intent.not_after > now,
            )
            .values(state=IntentState.WAITING, reason=None, decided_at=None)
            .returning(Intent.enrolment_id)
            .execution_options(synchronize_session=False)
        )
    )
    session.expire_all()
    for enrolment_id, due in moved["ended"]:
        enrolment = session.get(Enrolment, enrolment_id)
        if enrolment is None or enrolment.why_ended != SAME_PERSON:
            continue
        if due is None and enrolment_id not in owed:
            continue  # its message is too late by now
        enrolment.state, enrolment.ended_at, enrolment.why_ended = EnrolmentState.ACTIVE, None, None
        enrolment.due_at = datetime.fromisoformat(due) if due else None
    session.flush()  # journeys go on by what is written
