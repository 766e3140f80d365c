"""What messages brought: every journey and campaign with its cost and its baht, and a report each."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, render_template, request
from sqlalchemy import select

from core.i18n import t, texts
from insights import results as figures
from insights.results import Result
from loyalty import shop
from models.campaigns import Campaign
from models.journeys import Journey
from web.admin.ground import back, blueprint, noted
from web.admin.tables import baht, spreadsheet
from web.auth import staff_only
from web.ground import db, locale, remembered, runtime

#: Campaigns on the overview, newest first; older ones are reached from their own pages.
CAMPAIGNS = 50
Rows = list[tuple[str, Result]]


@blueprint.get("/results")
@staff_only("results.read")
def results() -> str:
    """Every journey and campaign: sent, cost, baht made, in words."""
    # Journeys are named in the reader's language.
    journeys, campaigns = remembered(f"results:{locale()}", lambda: (_journeys(), _campaigns()))
    everything = journeys + campaigns
    proven = [row for row in everything if row[1].is_proven]
    best = max(proven, key=lambda row: row[1].made_satang, default=None)
    return render_template(
        "admin/results.html",
        journeys=journeys,
        campaigns=campaigns,
        total_sent=sum(found.sent_total for _, found in everything),
        total_cost=sum(found.cost_satang for _, found in everything),
        free=figures.free_share(db(), runtime().clock.now()),
        best=best[0] if best and best[1].made_satang > 0 else None,
        days=figures.DAYS,
        window_days=figures.WINDOW_DAYS,
        least=figures.LEAST_PER_ARM,
        counts_units=shop.get(db(), "messages.line_units"),
    )


@blueprint.get("/results/<any(journey, campaign):kind>/<int:subject>")
@staff_only("results.read")
def result(kind: str, subject: int) -> str:
    """The report of one journey or campaign."""
    clock = runtime().clock
    row: Journey | Campaign | None
    if kind == "journey":
        row = db().get(Journey, subject)
        measure: Any = figures.of_journey
    else:
        row = db().get(Campaign, subject)
        measure = figures.of_campaign
    if row is None:
        abort(404)
    found = measure(db(), subject, clock.now(), clock.tz)
    name = journey_name(row) if isinstance(row, Journey) else row.name
    return render_template("admin/result.html", found=found, name=name)


@blueprint.get("/results/<any(journeys, campaigns):what>.csv")
@staff_only("results.read")
def results_file(what: str) -> Response:
    """The overview as a file."""
    language = locale()
    heads = ("sent", "free", "taps", "cost", "treated", "held", "mean_treated", "mean_held", "made")
    rows: list[list[Any]] = [
        [
            t(language, "console.name"),
            *(t(language, f"results.{head}") for head in heads),
            t(language, "results.confidence"),
        ]
    ]
    for name, found in _journeys() if what == "journeys" else _campaigns():
        rows.append(
            [
                name, found.sent_total, found.rides, found.taps, baht(found.cost_satang),
                found.treated.count, found.held.count,
                baht(round(found.treated.mean)), baht(round(found.held.mean)),
                baht(found.made_satang), t(language, found.words),
            ]
        )  # fmt: skip
    return spreadsheet(rows, f"taem-results-{what}.csv")


@blueprint.post("/results/units")
@staff_only("results.edit")
def results_units() -> Response:
    """Whether LINE counts for us under names of units."""
    is_on = request.form.get("on") == "1"
    shop.set(db(), "messages.line_units", is_on, runtime().clock.now())
    noted("results.units_changed", on=is_on)
    return back("admin.results", note="console.saved")


def journey_name(journey: Journey) -> str:
    """As the owner calls it, or its name in the reader's language."""
    key = f"journeys.name_{journey.key.replace('.', '_')}"
    if journey.name or key not in texts(locale()):
        return journey.name or journey.key
    return t(locale(), key)


def _journeys() -> Rows:
    clock = runtime().clock
    rows = db().scalars(select(Journey).where(Journey.archived_at.is_(None)).order_by(Journey.id))
    found = [
        (journey_name(row), figures.of_journey(db(), row.id, clock.now(), clock.tz))
        for row in rows.all()
    ]
    return sorted(found, key=lambda row: row[1].sent_total == 0)  # the idle ones last


def _campaigns() -> Rows:
    clock = runtime().clock
    rows = db().scalars(
        select(Campaign)
        .where(Campaign.started_at.is_not(None))
        .order_by(Campaign.id.desc())
        .limit(CAMPAIGNS)
    )
    return [
        (row.name, figures.of_campaign(db(), row.id, clock.now(), clock.tz)) for row in rows.all()
    ]
