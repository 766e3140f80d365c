"""Journeys looked at without being run: one member on a date, everybody tomorrow, and why (not)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

from flask import abort, render_template, request
from sqlalchemy import select

from core.clock import at_local, local_day, start_of_day
from core.errors import Invalid
from core.i18n import t
from core.text import parse_whole
from engagement import definitions, journey_shapes, journey_trials
from engagement.journey_triggers import Plan
from loyalty import members as rules
from models.journeys import Enrolment, Journey
from models.members import Member, MemberState
from models.outbox import Message
from web.admin import journey_words
from web.admin.forms import FIRST_YEAR, LAST_YEAR
from web.admin.ground import blueprint, may
from web.admin.members import member_of, seen_name
from web.auth import staff_only
from web.ground import db, locale, runtime

STEP = timedelta(days=7)
TOLD = 60


@blueprint.get("/messages/<int:journey_id>/try")
@staff_only("journeys.read")
def journey_try(journey_id: int) -> str:
    """One member through it: what would happen when, up to a date, and why."""
    row = _journey(journey_id)
    plan = _plan(row)
    clock = runtime().clock
    now, tz = clock.now(), clock.tz
    text = request.args.get("member", "").strip()
    person = _member(text) if text else None
    shown: dict[str, Any] = {}
    if person is not None:
        begins_on = _day("begins")
        begins = (
            at_local(begins_on, 10, 0, tz)
            if begins_on is not None
            else journey_trials.begins_on(db(), plan, person, now, tz)
        )
        until = _day("until") or local_day(begins, tz) + timedelta(days=30)
        moments = journey_trials.simulate(
            db(), runtime(), plan, person,
            begins=begins, until=start_of_day(until + timedelta(days=1), tz),
        )  # fmt: skip
        shown = {
            "begins": local_day(begins, tz),
            "until": until,
            "earlier": until - STEP,
            "later": until + STEP,
            "moments": [
                (
                    one,
                    journey_words.at(one.at),
                    journey_words.moment_words(one),
                    _seen_words(one.words, person),
                )
                for one in moments
            ],
            "steps": {step["key"]: step for step in plan.definition["steps"]},
            "reasons": [
                (one, journey_words.reason_words(one))
                for one in journey_trials.why_not(db(), runtime(), row, plan, person, now)
            ],
        }
    return render_template(
        "admin/journey_try.html",
        journey=row,
        name=journey_words.name_of(row),
        text=text,
        person=person,
        seen_name=seen_name,
        words=journey_words,
        **shown,
    )


@blueprint.get("/messages/tomorrow")
@staff_only("journeys.read")
def journeys_tomorrow() -> str:
    """Who would get what tomorrow, worked out and written nowhere."""
    clock = runtime().clock
    found = journey_trials.tomorrow(db(), runtime(), clock.now())
    day = local_day(clock.now(), clock.tz) + timedelta(days=1)
    return render_template(
        "admin/journeys_tomorrow.html",
        found=found,
        day=day,
        words=journey_words,
        seen_name=seen_name,
    )


@blueprint.get("/members/<string:public_id>/messages")
@staff_only("members.read")
def member_messages(public_id: str) -> str:
    """Why this member got what they got; and for any journey, why they are (not) on it."""
    person = member_of(public_id)
    told = journey_trials.told(db(), person.id, TOLD, before=_before())
    older = None
    if len(told) == TOLD:  # what shares the last moment is the next page's, all of it
        told = [one for one in told if one.at > told[-1].at] or told
        older = told[-1].at.isoformat()
    asked = _asked_about(person)
    rows = (
        db()
        .scalars(select(Journey).where(Journey.archived_at.is_(None)).order_by(Journey.id))
        .all()
    )
    chosen = next((row for row in rows if str(row.id) == request.args.get("journey", "")), None)
    reasons: list[Any] = []
    enrolments: list[Enrolment] = []
    if chosen is not None:
        plan = _plan(chosen)
        now = runtime().clock.now()
        reasons = [
            (one, journey_words.reason_words(one))
            for one in journey_trials.why_not(db(), runtime(), chosen, plan, person, now)
        ]
        enrolments = list(
            db().scalars(
                select(Enrolment)
                .where(Enrolment.member_id == person.id, Enrolment.journey_id == chosen.id)
                .order_by(Enrolment.id.desc())
                .limit(10)
            )
        )
    return render_template(
        "admin/member_messages.html",
        member=person,
        told=told,
        older=older,
        is_older="before" in request.args,
        asked=asked,
        journeys=rows,
        chosen=chosen,
        reasons=reasons,
        enrolments=enrolments,
        words=journey_words,
    )


def _before() -> datetime | None:
    """From where on the page shows what was told."""
    text = request.args.get("before", "")
    try:
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):  # the first and the last hours of the calendar
        abort(404)


def _asked_about(person: Member) -> journey_trials.Told | None:
    """The message that the outbox led here for."""
    asked = request.args.get("message", "")
    if not asked:
        return None
    number = parse_whole(asked)
    message = db().get(Message, number) if number is not None else None
    if message is None or message.member_id != person.id:
        abort(404)
    return journey_trials.told_message(db(), message)


def _journey(journey_id: int) -> Journey:
    row = db().get(Journey, journey_id)
    if row is None:
        abort(404)
    return row


def _plan(row: Journey) -> Plan:
    version = definitions.current(db(), row)
    if not journey_shapes.is_current(version.definition):
        abort(404)
    return Plan(row, version.version, version.definition)


def _day(field: str) -> date | None:
    text = request.args.get(field, "").strip()
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise Invalid("errors.invalid_field", field=t(locale(), "journeys.try_day"))
    return day


def _seen_words(words: dict[str, str] | None, person: Member) -> dict[str, str] | None:
    """What a message says, with the name in it as this reader may see it."""
    name = rules.called(person)
    if words is None or not name or may("members.read"):
        return words
    return {field: said.replace(name, rules.masked(name)) for field, said in words.items()}


def _member(text: str) -> Member:
    """By number, or by the address of their page."""
    found = rules.by_number(db(), text)
    if found is None:
        found = db().scalar(select(Member).where(Member.public_id == text[:64]))
    if found is None or found.state in (MemberState.ERASED, MemberState.MERGED):
        raise Invalid("errors.invalid_field", field=t(locale(), "console.number"))
    return found
