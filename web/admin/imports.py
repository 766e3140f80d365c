"""Members from a list: looked at first, applied as a whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from functools import partial
from typing import Any

from flask import Response, abort, g, render_template, request
from sqlalchemy import select

from core.clock import local_day
from core.errors import Invalid, Refused
from core.i18n import t
from loyalty import imports as rules
from models.imports import Import, ImportState
from models.staff import Staff
from web.admin import progress
from web.admin.ground import back, blueprint
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale, outside, runtime


def _count(name: str) -> Callable[[Any], int]:
    return lambda row: int(row.Import.counts.get(name, 0))


COLUMNS = (
    Column("made", "console.made_at", Import.created_at, lambda row: row.Import.created_at,
           "moment"),
    Column("file", "imports.file_name", Import.file_name, lambda row: row.Import.file_name),
    Column("by", "imports.by", Staff.name, lambda row: row.name),
    Column("state", "console.state", Import.state,
           lambda row: t(locale(), f"imports.state_{row.Import.state.value}")),
    Column("new", "console.import_new_lines", None, _count("new"), "num"),
    Column("known", "console.import_known", None, _count("known"), "num"),
    Column("wrong", "console.import_wrong", None, _count("wrong"), "num"),
    Column("points", "console.points", None, _count("points"), "num"),
)  # fmt: skip
STATES = tuple(ImportState)


def _lists() -> Any:
    state = request.args.get("state", "")
    query = select(Import, Staff.name).outerjoin(Staff, Staff.id == Import.staff_id)
    query = query.where(Import.state == ImportState(state)) if state in STATES else query
    return found_in(query, Import.file_name, Staff.name)


IMPORTS = listed(
    Listing(
        "/imports",
        COLUMNS,
        _lists,
        "made",
        Import.id.desc(),
        "imports.read",
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
    name = given.filename if given else None
    return progress.shown(partial(_check, content, name))


def _check(content: bytes, name: str | None, told: progress.Told) -> Response:
    held = runtime()
    with held.database.read() as session:
        reading = rules.read(session, held.vault, content, _today(), told=_reading(told))
    with held.transaction() as session:
        now = held.clock.now()
        kept = rules.keep(
            session,
            held.vault,
            content,
            reading,
            g.staff.id,
            now,
            file_name=name,
        )
    return back("admin.import_page", public_id=kept.public_id)


@blueprint.get("/imports/<string:public_id>")
@staff_only("imports.read")
def import_page(public_id: str) -> str:
    """What a list would do, or did: figures, and every wrong line with its reason."""
    kept = _kept(public_id)
    return render_template(
        "admin/import.html",
        kept=kept,
        has_new=kept.counts.get("new", 0) > 0,
        needs_another=rules.needs_another(kept, kept.counts.get("points", 0), g.staff),
    )


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
    return progress.shown(partial(_apply, public_id, decision, now, actor))


def _apply(
    public_id: str, decision: str, now: datetime, actor: str, told: progress.Told
) -> Response:
    held = runtime()
    with held.database.read() as session:
        kept = session.scalar(select(Import).where(Import.public_id == public_id)) or abort(404)
        content = rules.content_of(held.vault, kept)
        reading = rules.read(session, held.vault, content, _today(), told=_reading(told))
    if reading.troubles and decision == "all":
        raise Refused("imports.has_wrong", count=len(reading.troubles))
    if rules.needs_another(kept, reading.counts["points"], g.staff):
        raise Refused("imports.same_person", status=403)
    count = len(reading.new)
    sealed = rules.seal(
        held.vault,
        reading,
        locale=held.settings.shop_locale,
        now=now,
        tz=held.clock.tz,
        told=lambda done: told("progress.sealing", done, count),
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
            told=lambda done: told("progress.writing", min(done, count), count),
        )
    return back("admin.import_page", note="console.imported", public_id=public_id)


def _reading(told: progress.Told) -> Callable[[int], None]:
    """Lines are told as they are read: nobody knows how many there are before the last."""
    return lambda lines: told("progress.reading", lines, None)


def _kept(public_id: str) -> Import:
    return db().scalar(select(Import).where(Import.public_id == public_id)) or abort(404)


def _today() -> date:
    return local_day(runtime().clock.now(), runtime().clock.tz)
