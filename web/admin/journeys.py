"""Lifecycle messages: one switch each, Thai and English words with variants, and a preview."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import func, select

from core.errors import Refused
from core.i18n import LOCALES, t
from engagement import definitions, texts
from engagement.journeys import COMMON_PLACEHOLDERS
from loyalty import shop
from models.journeys import Intent, Journey, JourneyVersion
from web.admin.ground import back, blueprint, noted
from web.auth import staff_only
from web.ground import db, locale, runtime

SAMPLE = {
    "points": 12,
    "balance": 148,
    "days": 60,
    "expires": "31 ม.ค. 2570",
}


@blueprint.get("/messages")
@staff_only("journeys.read")
def journeys() -> str:
    """Every lifecycle message with its switch and what became of it."""
    tally: dict[int, dict[str, int]] = {}
    for journey_id, state, count in db().execute(
        select(Intent.journey_id, Intent.state, func.count()).group_by(
            Intent.journey_id, Intent.state
        )
    ):
        tally.setdefault(journey_id, {})[state.value] = count
    rows = db().scalars(select(Journey).order_by(Journey.id)).all()
    return render_template("admin/journeys.html", journeys=rows, tally=tally)


@blueprint.post("/messages/<int:journey_id>/switch")
@staff_only("journeys.edit")
def journey_switch(journey_id: int) -> Response:
    """On or off. What is already owed to members stays owed."""
    journey = _journey(journey_id)
    journey.is_on = request.form.get("on") == "1"
    noted("journeys.switched", journey=journey.key, on=journey.is_on)
    return back("admin.journeys", note="console.saved")


@blueprint.get("/messages/<int:journey_id>")
@staff_only("journeys.read")
def journey(journey_id: int) -> str:
    """The words of one message, step by step, with a preview."""
    return _page(_journey(journey_id), None, "")


@blueprint.post("/messages/<int:journey_id>")
@staff_only("journeys.edit")
def journey_save(journey_id: int) -> Any:
    """Save as a new version, or show the same page with what is wrong (FX19)."""
    row = _journey(journey_id)
    words = _read(row)
    try:
        number = definitions.save_texts(
            db(), row, words, made_by=f"staff:{g.staff.id}", now=runtime().clock.real_now()
        )
    except Refused as error:
        page = _page(row, words, t(locale(), error.code, **error.facts))
        return make_response(page, error.status)
    noted("journeys.changed", journey=row.key, version=number)
    return back("admin.journey", note="console.saved", journey_id=journey_id)


def _journey(journey_id: int) -> Journey:
    row = db().get(Journey, journey_id)
    if row is None:
        abort(404)
    return row


def _version(row: Journey) -> JourneyVersion:
    return (
        db()
        .scalars(
            select(JourneyVersion).where(
                JourneyVersion.journey_id == row.id, JourneyVersion.version == row.current_version
            )
        )
        .one()
    )


def _read(row: Journey) -> dict[str, Any]:
    """The form's words: step -> language -> variant -> field. Empty variants fall away."""
    found: dict[str, Any] = {}
    for step in _version(row).definition["steps"]:
        book: dict[str, Any] = {}
        for language in LOCALES:
            for variant in texts.VARIANTS:
                name = f"{step['key']}.{language}.{variant}"
                words = {
                    field: request.form.get(f"{name}.{field}", "")[:2000].strip()
                    for field in texts.FIELDS
                }
                if variant == texts.DEFAULT or any(words.values()):
                    book.setdefault(language, {})[variant] = words
        found[step["key"]] = book
    return found


def _page(row: Journey, words: dict[str, Any] | None, refusal: str) -> str:
    version = _version(row)
    steps = [
        {**step, "texts": words[step["key"]] if words else step["texts"]}
        for step in version.definition["steps"]
    ]
    return render_template(
        "admin/journey.html",
        journey=row,
        version=version,
        steps=steps,
        refusal=refusal,
        variants=texts.VARIANTS,
        fields=texts.FIELDS,
        limits=texts.LIMITS,
        placeholders=COMMON_PLACEHOLDERS,
        previews=[_preview(step) for step in steps],
    )


def _preview(step: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Each language as a member would read it, with an invented guest's facts."""
    shown = {}
    for language in LOCALES:
        facts = {
            **SAMPLE,
            "name": t(language, "console.sample_name"),
            "shop": shop.shop_name(db(), language),
            "offer": t(language, "console.sample_offer"),
            "gift": t(language, "console.sample_gift"),
        }
        shown[language] = texts.words_for(step["texts"], language, texts.DEFAULT, facts)
    return shown
