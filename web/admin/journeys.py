"""Journeys: one switch each, what they did, their steps in words and drawn, and every version."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import case, func, select
from werkzeug.datastructures import MultiDict

from core.errors import Refused
from core.i18n import LOCALES, t
from engagement import definitions, journey_shapes, texts
from engagement.shipped import DEFAULTS
from insights import results as figures
from loyalty import shop
from models.journeys import Enrolment, EnrolmentState, Intent, Journey
from models.members import Member
from web.admin import forms, journey_forms, journey_words
from web.admin.ground import back, blueprint, may, noted
from web.admin.journey_diagram import drawn
from web.admin.members import seen_name
from web.admin.tables import Column, Listing, listed, search_text
from web.auth import staff_only
from web.ground import db, locale, runtime

#: An invented guest's facts, for previews.
SAMPLE = {
    "points": 12, "balance": 148, "days": 60, "left": 2, "years": 1, "missing": "320",
    "amount": "250",
}  # fmt: skip
#: The last members under way that the page of a journey names.
UNDER_WAY = 20


@dataclass(frozen=True)
class Line:
    """A journey with what became of it so far."""

    journey: Journey
    definition: Mapping[str, Any]
    sums: Mapping[str, int]
    under_way: int


@dataclass(frozen=True)
class Typed:
    """What the fields of a journey's page show: what the definition says, or what was just typed.

    A definition cannot hold what was refused, such as a number that is no number (FX19).
    """

    form: MultiDict[str, str] | None = None

    def one(self, field: str, before: Any) -> Any:
        """A field's value; a field that the form did not have shows what the definition says."""
        return before if self.form is None else self.form.get(field, before)

    def many(self, field: str, before: list[str]) -> list[str]:
        """What is ticked or chosen; a form says nothing of what is not."""
        return before if self.form is None else self.form.getlist(field)


AS_SAVED = Typed()


def _shown(row: Any) -> Line:
    """One line of the list; what every journey did is counted once for a page."""
    journey = row[0]
    if "journey_sums" not in g:
        g.journey_sums = _sums()
    tally, under_way = g.journey_sums
    definition = definitions.current(db(), journey).definition
    return Line(journey, definition, tally.get(journey.id, {}), under_way.get(journey.id, 0))


def _sums() -> tuple[dict[int, dict[str, int]], dict[int, int]]:
    tally: dict[int, dict[str, int]] = {}
    for journey_id, state, count in db().execute(
        select(Intent.journey_id, Intent.state, func.count()).group_by(
            Intent.journey_id, Intent.state
        )
    ):
        tally.setdefault(journey_id, {})[state.value] = count
    under_way = (
        select(Enrolment.journey_id, func.count())
        .where(Enrolment.state == EnrolmentState.ACTIVE)
        .group_by(Enrolment.journey_id)
    )
    return tally, {row[0]: row[1] for row in db().execute(under_way)}


def _in_use() -> Any:
    """What is in use, or the archive; found by the name that the reader sees."""
    shown = Journey.archived_at.is_not(None) if _is_archive() else Journey.archived_at.is_(None)
    query = select(Journey).where(shown)
    if text := search_text().casefold():
        every = db().scalars(select(Journey).where(shown))
        found = [one.id for one in every if text in journey_words.name_of(one).casefold()]
        query = query.where(Journey.id.in_(found))
    return query


def _is_archive() -> bool:
    return request.args.get("archived") == "1"


def _intents(state: str) -> Callable[[Line], int]:
    return lambda line: line.sums.get(state, 0)


def _place(line: Line) -> int | None:
    """Which one it is of the shipped ones."""
    keys = list(DEFAULTS)
    return keys.index(line.journey.key) + 1 if line.journey.key in keys else None


#: Shipped ones in the order of a member's life, then the shop's own as they were made.
PLACE = case(
    {key: place for place, key in enumerate(DEFAULTS)}, value=Journey.key, else_=len(DEFAULTS)
)
JOURNEYS = listed(
    Listing(
        "/messages",
        (
            Column("place", "journeys.place", PLACE * 1_000_000 + Journey.id, _place, "num"),
            Column("name", "console.name", None,
                   lambda line: journey_words.name_of(line.journey)),
            Column("about", "journeys.what_for", None,
                   lambda line: journey_words.about(line.journey, line.definition)),
            Column("on", "console.state", Journey.is_on,
                   lambda line: t(locale(), f"console.{'on' if line.journey.is_on else 'off'}")),
            Column("turned", "journeys.sum_turned", None, _intents("turned"), "num"),
            Column("waiting", "journeys.sum_waiting", None, _intents("waiting"), "num"),
            Column("skipped", "journeys.sum_skipped", None, _intents("skipped"), "num"),
            Column("held", "journeys.sum_held", None, _intents("held_out"), "num"),
            Column("under_way", "journeys.under_way", None, lambda line: line.under_way, "num"),
        ),
        _in_use,
        "place",
        Journey.id,
        "journeys.read",
        is_down=False,
        shape=_shown,
    )
)  # fmt: skip


@blueprint.get("/messages")
@staff_only("journeys.read")
def journeys() -> str:
    """Every journey with its switch and what became of it."""
    table = JOURNEYS.page()
    like = db().scalars(select(Journey).where(Journey.archived_at.is_(None)).order_by(PLACE))
    return render_template(
        "admin/journeys.html",
        table=table,
        patterns=like.all(),
        is_archive=_is_archive(),
        words=journey_words,
    )


@blueprint.post("/messages/<int:journey_id>/switch")
@staff_only("journeys.edit")
def journey_switch(journey_id: int) -> Response:
    """On or off. What is already owed to members is not sent while it is off."""
    journey = _journey(journey_id)
    definitions.switch(journey, is_on=request.form.get("on") == "1")
    noted("journeys.switched", journey=journey.key, on=journey.is_on)
    return back("admin.journeys", note="console.saved")


@blueprint.post("/messages/<int:journey_id>/archive")
@staff_only("journeys.edit")
def journey_archive(journey_id: int) -> Response:
    """Out of the list, and off."""
    journey = _journey(journey_id)
    definitions.archive(journey, runtime().clock.now())
    noted("journeys.archived", journey=journey.key)
    return back("admin.journeys", note="console.saved")


@blueprint.post("/messages/new")
@staff_only("journeys.edit")
def journey_create() -> Response:
    """A journey of the shop's own, begun from another one."""
    like = _journey(forms.whole("like", "journeys.begin_with", 1, 2**31))
    definition = definitions.copy_of(definitions.current(db(), like).definition)
    definition.pop("priority", None)
    _refuse_points(definition)
    row = definitions.create(
        db(),
        forms.words("name", "journeys.own_name"),
        definition,
        klass=like.klass,
        made_by=f"staff:{g.staff.id}",
        now=runtime().clock.real_now(),
    )
    noted("journeys.created", journey=row.key, like=like.key)
    return back("admin.journey", note="console.saved", journey_id=row.id)


@blueprint.get("/messages/<int:journey_id>")
@staff_only("journeys.read")
def journey(journey_id: int) -> str:
    """One journey: what begins it, its steps, who is under way, and what it brought."""
    row = _journey(journey_id)
    return _page(row, definitions.current(db(), row).definition)


@blueprint.post("/messages/<int:journey_id>")
@staff_only("journeys.edit")
def journey_save(journey_id: int) -> Any:
    """Save as a new version, or show the same page with what is wrong (FX19)."""
    row = _journey(journey_id)
    is_own = definitions.is_own(row)
    before = definitions.current(db(), row).definition
    made = before
    try:
        made = journey_forms.read(before, is_own=is_own)
        if is_own and (act := request.form.get("act", "")):
            made = journey_forms.moved(made, act)
        _refuse_points(made)
        held_out = forms.maybe_whole("held_out", "journeys.held_out", 0, 100)
        with db().begin_nested():  # what is refused half-way is not kept by the page that says so
            number = definitions.save(
                db(), row, made, made_by=f"staff:{g.staff.id}", now=runtime().clock.real_now()
            )
            if held_out is not None and held_out != row.holdout_percent:
                definitions.set_held_out(row, held_out)
                noted("journeys.held_out_changed", journey=row.key, percent=held_out)
    except Refused as error:
        # Nothing half-saved: the page shows what was typed, and the rows stay as they were.
        db().expire(row)
        said = t(locale(), error.code, **forms.placed(error.facts))
        page = _page(row, made, said, Typed(request.form))
        return make_response(page, error.status)
    noted("journeys.changed", journey=row.key, version=number)
    return back("admin.journey", note="console.saved", journey_id=journey_id)


@blueprint.get("/messages/<int:journey_id>/history")
@staff_only("journeys.read")
def journey_history(journey_id: int) -> str:
    """Every version with what it changed, in words."""
    row = _journey(journey_id)
    rows = definitions.versions(db(), row)
    shown = []
    for place, version in enumerate(rows):
        older = rows[place + 1] if place + 1 < len(rows) else None
        is_readable = journey_shapes.is_current(version.definition) and (
            older is None or journey_shapes.is_current(older.definition)
        )
        changes = (
            journey_words.changes(older.definition, version.definition)
            if older is not None and is_readable
            else []
        )
        shown.append((version, changes, older is None))
    return render_template(
        "admin/journey_history.html", journey=row, versions=shown, words=journey_words
    )


def _refuse_points(definition: Mapping[str, Any]) -> None:
    """Whoever gives no points by hand plans no journey that gives them."""
    if journey_shapes.gives_points(definition) and not may("adjustments.give"):
        raise Refused("journeys.no_points", status=403)


def _journey(journey_id: int) -> Journey:
    row = db().get(Journey, journey_id)
    if row is None:
        abort(404)
    return row


def _page(
    row: Journey, definition: dict[str, Any], refusal: str = "", typed: Typed = AS_SAVED
) -> str:
    clock = runtime().clock
    under_way = db().execute(
        select(Enrolment, Member)
        .join(Member, Member.id == Enrolment.member_id)
        .where(Enrolment.journey_id == row.id, Enrolment.state == EnrolmentState.ACTIVE)
        .order_by(Enrolment.id.desc())
        .limit(UNDER_WAY)
    )
    name = journey_words.name_of(row)
    return render_template(
        "admin/journey.html",
        journey=row,
        name=name,
        version=row.current_version,
        definition=definition,
        steps=definition["steps"],
        is_own=definitions.is_own(row),
        refusal=refusal,
        typed=typed,
        variants=texts.VARIANTS,
        fields=texts.FIELDS,
        limits=texts.LIMITS,
        placeholders=journey_shapes.COMMON_PLACEHOLDERS,
        previews={step["key"]: _preview(step) for step in journey_shapes.sends(definition)},
        diagram=drawn(name, definition),
        under_way=under_way.all(),
        found=figures.of_journey(db(), row.id, clock.now(), clock.tz),
        words=journey_words,
        seen_name=seen_name,
        **journey_forms.choices(),
    )


def _preview(step: Any) -> dict[str, dict[str, str]]:
    """Each language as a member would read it, with an invented guest's facts."""
    shown = {}
    for language in LOCALES:
        facts = {
            **SAMPLE,
            "name": t(language, "console.sample_name"),
            "shop": shop.shop_name(db(), language),
            "offer": t(language, "console.sample_offer"),
            "gift": t(language, "console.sample_gift"),
            "tier": t(language, "console.sample_tier"),
            "best": t(language, "journeys.best_none"),
            "item": t(language, "journeys.item_none"),
            "expires": t(language, "console.sample_day"),
        }
        shown[language] = texts.words_for(step["texts"], language, texts.DEFAULT, facts)
    return shown
