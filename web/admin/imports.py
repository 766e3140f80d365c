"""Members from a list: looked at first, applied as a whole or not at all."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Response, abort, g, render_template, request
from sqlalchemy import select

from core.clock import local_day
from core.errors import Invalid, Refused
from core.i18n import t
from loyalty import imports as rules
from models.imports import Import, ImportState
from web.admin.ground import back, blueprint
from web.admin.tables import Column, Listing, listed
from web.auth import staff_only
from web.ground import db, locale, outside, runtime

COLUMNS = (
    Column("made", "console.made_at", Import.created_at, lambda one: one.created_at, "moment"),
    Column("state", "console.state", Import.state,
           lambda one: t(locale(), f"imports.state_{one.state.value}")),
    Column("new", "console.import_new_lines", None, lambda one: one.counts.get("new", 0), "num"),
    Column("known", "console.import_known", None, lambda one: one.counts.get("known", 0), "num"),
    Column("wrong", "console.import_wrong", None, lambda one: one.counts.get("wrong", 0), "num"),
    Column("points", "console.points", None, lambda one: one.counts.get("points", 0), "num"),
)  # fmt: skip
STATES = tuple(ImportState)


def _lists() -> Any:
    state = request.args.get("state", "")
    query = select(Import)
    return query.where(Import.state == ImportState(state)) if state in STATES else query


IMPORTS = listed(
    Listing(
        "/imports",
        COLUMNS,
        _lists,
        "made",
        Import.id.desc(),
        "imports.read",
        shape=lambda row: row[0],
    )
)


@blueprint.get("/imports")
@staff_only("imports.read")
def imports() -> str:
    """Lists so far, and the form for another one."""
    return render_template(
        "admin/imports.html",
        table=IMPORTS.page(),
        headings=rules.HEADINGS,
        states=STATES,
        state=request.args.get("state", ""),
    )


@blueprint.post("/imports")
@staff_only("imports.edit")
@outside
def import_check() -> Response:
    """Look at a list and keep it, sealed, until somebody decides."""
    given = request.files.get("list")
    content = given.read() if given else b""
    if given:
        given.close()  # a larger one lies in a file of its own
    if not content:
        raise Invalid("imports.no_file")
    held = runtime()
    with held.database.read() as session:
        reading = rules.read(session, held.vault, content, _today())
    with held.transaction() as session:
        now = held.clock.now()
        kept = rules.keep(session, held.vault, content, reading, g.staff.id, now)
    return back("admin.import_page", public_id=kept.public_id)


@blueprint.get("/imports/<string:public_id>")
@staff_only("imports.read")
def import_page(public_id: str) -> str:
    """What a list would do, or did: figures, and every wrong line with its reason."""
    kept = _kept(public_id)
    can_apply = kept.state == ImportState.CHECKED and kept.counts.get("new", 0) > 0
    return render_template("admin/import.html", kept=kept, can_apply=can_apply)


@blueprint.post("/imports/<string:public_id>")
@staff_only("imports.edit")
@outside
def import_decide(public_id: str) -> Response:
    """Apply everything, the good lines only, or nothing."""
    decision = request.form.get("decision", "")
    held, actor = runtime(), f"staff:{g.staff.id}"
    now = held.clock.now()
    if decision == "drop":
        with held.transaction() as session:
            found = session.scalar(select(Import).where(Import.public_id == public_id))
            rules.drop(session, found or abort(404), now, actor)
        return back("admin.imports", note="console.dismissed")
    if decision not in ("all", "good"):
        raise Invalid("errors.invalid_field", field="decision")
    with held.database.read() as session:
        kept = session.scalar(select(Import).where(Import.public_id == public_id)) or abort(404)
        content = rules.content_of(held.vault, kept)
        reading = rules.read(session, held.vault, content, _today())
    if reading.troubles and decision == "all":
        raise Refused("imports.has_wrong", count=len(reading.troubles))
    sealed = rules.seal(
        held.vault, reading, locale=held.settings.shop_locale, now=now, tz=held.clock.tz
    )
    with held.transaction() as session:
        rules.apply(
            session,
            reading,
            sealed,
            now=now,
            tz=held.clock.tz,
            actor=actor,
            staff_id=g.staff.id,
            kept=kept,
            good_only=decision == "good",
        )
    return back("admin.import_page", note="console.imported", public_id=public_id)


def _kept(public_id: str) -> Import:
    return db().scalar(select(Import).where(Import.public_id == public_id)) or abort(404)


def _today() -> date:
    return local_day(runtime().clock.now(), runtime().clock.tz)
