"""Journeys as rows: the shipped ones made, own ones created, every change kept as a version.

Members under way go on under the version with which they began.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.errors import Refused
from core.text import fit
from engagement import journey_shapes
from engagement.shipped import DEFAULTS
from models.journeys import Enrolment, EnrolmentState, Journey, JourneyVersion
from models.outbox import MessageClass

SEED = "seed"
NAME_LETTERS = 100
MAX_OWN = 200
MAX_HELD_OUT = 50
_OWN = re.compile(r"own\.(\d+)")


def ensure(session: Session, now: datetime) -> int:
    """Make the journeys that are not there yet, and bring those of old onto the engine. Returns
    how many were new."""
    known = {journey.key: journey for journey in session.scalars(select(Journey))}
    new = []
    for key, (klass, percent, definition) in DEFAULTS.items():
        journey = known.get(key)
        if journey is not None:
            _renew(session, journey, definition, now)
            continue
        new.append((Journey(key=key, klass=klass, holdout_percent=percent), definition))
    _add(session, new, SEED, now)
    return len(new)


def _add(
    session: Session,
    new: Sequence[tuple[Journey, dict[str, Any]]],
    made_by: str,
    now: datetime,
) -> None:
    session.add_all(journey for journey, _ in new)
    session.flush()  # the versions need their journeys' ids
    session.add_all(
        JourneyVersion(
            journey_id=journey.id, version=1, definition=definition, made_by=made_by, made_at=now
        )
        for journey, definition in new
    )


def _renew(session: Session, journey: Journey, definition: dict[str, Any], now: datetime) -> None:
    """A definition of before there were steps that wait: the new one, with the shop's own words.
    Who is under way goes on behind the message they have had."""
    before = current(session, journey)
    if journey_shapes.is_current(before.definition):
        return
    renewed = copy.deepcopy(definition)
    if before.made_by != SEED:
        words = {step["key"]: step["texts"] for step in before.definition["steps"]}
        for step in journey_shapes.sends(renewed):
            step["texts"] = words.get(step["key"], step["texts"])  # type: ignore[index]
    number = _keep(session, journey, renewed, SEED, now)
    under_way = (Enrolment.journey_id == journey.id, Enrolment.state == EnrolmentState.ACTIVE)
    for step in list(journey_shapes.sends(renewed)):
        following = journey_shapes.after(renewed, step["key"])
        values: dict[str, Any] = {"version": number, "due_at": now, "step": following}
        if following is None:
            values = {"state": EnrolmentState.DONE, "ended_at": now}
        session.execute(
            update(Enrolment)
            .where(*under_way, Enrolment.version < number, Enrolment.step == step["key"])
            .values(**values)
        )


def current(session: Session, journey: Journey) -> JourneyVersion:
    """The version that members begin with today."""
    return version_of(session, journey, journey.current_version)


def version_of(session: Session, journey: Journey, number: int) -> JourneyVersion:
    """One version of a journey."""
    return session.scalars(
        select(JourneyVersion).where(
            JourneyVersion.journey_id == journey.id, JourneyVersion.version == number
        )
    ).one()


def versions(session: Session, journey: Journey) -> Sequence[JourneyVersion]:
    """Every version, the newest first."""
    return session.scalars(
        select(JourneyVersion)
        .where(JourneyVersion.journey_id == journey.id)
        .order_by(JourneyVersion.version.desc())
    ).all()


def save(
    session: Session,
    journey: Journey,
    definition: Mapping[str, Any],
    *,
    made_by: str,
    now: datetime,
) -> int:
    """Keep another version if something changed; returns the number of the current one.

    Refuses what could fail later here, at the save (FX19).
    """
    journey_shapes.check(definition)
    session.refresh(journey, with_for_update=True)
    if current(session, journey).definition == definition:
        return journey.current_version
    return _keep(session, journey, dict(definition), made_by, now)


def _keep(
    session: Session, journey: Journey, definition: dict[str, Any], made_by: str, now: datetime
) -> int:
    number = journey.current_version + 1
    session.add(
        JourneyVersion(
            journey_id=journey.id, version=number, made_by=made_by, made_at=now,
            definition=definition,
        )
    )  # fmt: skip
    journey.current_version = number
    session.flush()
    return number


def save_texts(
    session: Session, journey: Journey, words: Mapping[str, Any], *, made_by: str, now: datetime
) -> int:
    """Save new words (step key -> texts) as the journey's next version. Returns its number."""
    definition = copy.deepcopy(current(session, journey).definition)
    for step in definition["steps"]:
        if step["key"] in words:
            step["texts"] = words[step["key"]]
    return save(session, journey, definition, made_by=made_by, now=now)


def create(
    session: Session,
    name: str,
    definition: Mapping[str, Any],
    *,
    klass: MessageClass = MessageClass.PROMOTIONAL,
    made_by: str,
    now: datetime,
) -> Journey:
    """A journey of the shop's own; switched off until somebody has looked at it."""
    title = fit(name, NAME_LETTERS)
    if not title:
        raise Refused("journeys.needs_name", status=422)
    journey_shapes.check(definition)
    own = [int(found[1]) for key in session.scalars(select(Journey.key))
           if (found := _OWN.fullmatch(key))]  # fmt: skip
    if len(own) >= MAX_OWN:
        raise Refused("journeys.too_many", most=MAX_OWN)
    journey = Journey(
        key=f"own.{max(own, default=0) + 1}", klass=klass, name=title, is_on=False,
        holdout_percent=0 if klass != MessageClass.PROMOTIONAL else 10,
    )  # fmt: skip
    _add(session, [(journey, copy.deepcopy(dict(definition)))], made_by, now)
    return journey


def copy_of(definition: Mapping[str, Any]) -> dict[str, Any]:
    """A definition to begin another journey with."""
    return copy.deepcopy(dict(definition))


def is_own(journey: Journey) -> bool:
    """Whether the shop made it: its steps may be added, moved and taken out."""
    return journey.name is not None


def switch(journey: Journey, *, is_on: bool) -> None:
    """On or off. Members under way stand still meanwhile; what is owed is not sent."""
    if is_on and journey.archived_at is not None:
        raise Refused("journeys.archived")
    journey.is_on = is_on


def archive(journey: Journey, now: datetime) -> None:
    """Out of the lists, and off; never deleted. Shipped journeys are only switched off."""
    if not is_own(journey):
        raise Refused("journeys.shipped_stays")
    journey.archived_at, journey.is_on = now, False


def set_held_out(journey: Journey, percent: int) -> None:
    """How many of a hundred are left alone, so that the others can be compared with them."""
    if journey.klass != MessageClass.PROMOTIONAL and percent:
        raise Refused("journeys.no_hold_out", status=422)
    if not 0 <= percent <= MAX_HELD_OUT:
        raise Refused("journeys.hold_out_too_large", status=422, most=MAX_HELD_OUT)
    journey.holdout_percent = percent
