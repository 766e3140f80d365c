"""Privacy: what members agree to and its versions, how long data is kept, and the breach report."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flask import Response, g, make_response, render_template, request

from core.clock import local_day, start_of_day
from core.errors import Refused
from core.i18n import t
from engagement import texts
from insights import breach
from loyalty import consents, retention, shop
from models.members import Purpose
from web.admin import forms
from web.admin.ground import back, blueprint, freshly, may, noted
from web.admin.tables import spreadsheet
from web.auth import staff_only
from web.ground import db, locale, runtime

#: How far back a breach report looks unless it is told otherwise.
USUAL_DAYS = 90


@blueprint.get("/privacy")
@staff_only("privacy.read")
def privacy_page() -> str:
    """All of it on one page."""
    return _page()


def _page(refusal: str = "", refused: str = "") -> str:
    return render_template(
        "admin/privacy.html",
        texts=consents.texts(db()),
        holders=consents.holders(db()),
        letters=consents.TEXT_LETTERS,
        kinds=[(kind, retention.days_of(db(), kind)) for kind in retention.KINDS],
        nights=retention.history(db()),
        last_night=retention.last_night(db()),
        actors=breach.actors(db()) if may("audit.export") else [],
        refusal=refusal,
        refused=refused,
        typed=request.form,
    )


@blueprint.post("/privacy/texts/<any(membership, marketing, birthday):name>")
@staff_only("privacy.edit")
@freshly
def consent_publish(name: str) -> Any:
    """Put a new version of a text in force; members who agreed to an older one may be asked."""
    try:
        for field in ("body_th", "body_en"):
            texts.check_placeholders(
                t(locale(), f"privacy.{field}"), request.form.get(field, ""), ("shop",)
            )
        consents.publish(
            db(),
            Purpose(name),
            body_th=request.form.get("body_th", ""),
            body_en=request.form.get("body_en", ""),
            asks_again=request.form.get("asks_again") == "1",
            by=f"staff:{g.staff.id}",
            now=runtime().clock.now(),
        )
    except Refused as error:
        words = t(locale(), error.code, **error.facts)
        return make_response(_page(words, name), error.status)
    return back("admin.privacy_page", note="console.published")


@blueprint.post("/privacy/retention")
@staff_only("privacy.edit")
@freshly
def retention_save() -> Any:
    """How many days each kind is kept; the next night obeys."""
    try:
        days = {
            kind: forms.whole(kind.name, f"retention.name_{kind.name}", kind.least, kind.most)
            for kind in retention.KINDS
        }
    except Refused as error:
        words = t(locale(), error.code, **error.facts)
        return make_response(_page(words, "retention"), error.status)
    changed = {kind: value for kind, value in days.items() if shop.get(db(), kind.key) != value}
    for kind, value in changed.items():
        shop.set(db(), kind.key, value, runtime().clock.now())
    facts = {kind.name: value for kind, value in days.items()}
    noted("retention.changed", **facts)
    return back("admin.privacy_page", note="console.saved")


@blueprint.post("/privacy/breach")
@staff_only("audit.export")
@freshly
def breach_report() -> Any:
    """What an account has seen and done since a day, on the page or as a file."""
    clock = runtime().clock
    try:
        since = forms.maybe_day("since", "breach.since")
        start = since or local_day(clock.now(), clock.tz) - timedelta(days=USUAL_DAYS)
        actor = request.form.get("actor", "")[:64]
        until = clock.real_now() + timedelta(days=1)
        found = breach.report(db(), actor, start_of_day(start, clock.tz), until)
    except Refused as error:
        words = t(locale(), error.code, **error.facts)
        return make_response(_page(words, "breach"), error.status)
    noted("breach.reported", about=actor, since=start.isoformat(), members=found.member_count)
    if request.form.get("as") == "csv":
        name = f"breach-{actor.replace(':', '-')}-{start.isoformat()}.csv"
        response: Response = spreadsheet(list(breach.rows_of(found)), name)
        return response
    return render_template("admin/breach.html", report=found, since=start)
