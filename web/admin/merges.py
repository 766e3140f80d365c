"""Two members who are one: found, shown side by side, merged, and parted again."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, g, render_template, request
from sqlalchemy import select
from sqlalchemy.orm import aliased

from core.errors import Invalid
from loyalty import members as people
from loyalty import merges as rules
from loyalty import personal
from models.imports import Merge
from models.members import Member
from web.admin.ground import back, blueprint
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, runtime

_kept, _gone = aliased(Member), aliased(Member)
COLUMNS = (
    Column("at", "console.made_at", Merge.at, lambda row: row[0].at, "moment"),
    Column("kept", "console.merge_kept", _kept.name, lambda row: row[1].shown_name),
    Column("gone", "console.merge_gone", _gone.name, lambda row: row[2].shown_name),
    Column("points", "console.points", None, lambda row: row[0].moved.get("points") or 0, "num"),
    Column("undone", "console.merge_undone", Merge.undone_at,
           lambda row: row[0].undone_at, "moment"),
    Column("acts", ""),
)  # fmt: skip


def _merges() -> Any:
    query = (
        select(Merge, _kept, _gone)
        .join(_kept, _kept.id == Merge.kept_id)
        .join(_gone, _gone.id == Merge.gone_id)
    )
    return found_in(query, _kept.name, _gone.name, _kept.member_no, _gone.member_no)


MERGES = listed(Listing("/merges", COLUMNS, _merges, "at", Merge.id.desc(), "lists.export"))


@blueprint.get("/merges")
@staff_only("merges.read")
def merges() -> str:
    """Who may be one person, and who was made one so far."""
    return render_template(
        "admin/merges.html",
        pairs=rules.duplicates(db()),
        table=MERGES.page(),
    )


@blueprint.get("/merges/compare")
@staff_only("merges.read")
def merge_compare() -> str:
    """Both side by side; whoever has LINE is kept unless chosen otherwise."""
    one, two = _given("a"), _given("b")
    if one.id == two.id:
        raise Invalid("merges.same")
    now = runtime().clock.now()
    sides = [
        {"member": who, "phone": _phone(who), **rules.units(db(), who.id, now)}
        for who in (one, two)
    ]
    keep_second = bool(two.line_user_id) and not one.line_user_id
    return render_template("admin/merge.html", sides=sides, keep_second=keep_second)


@blueprint.post("/merges")
@staff_only("merges.edit")
def merge_make() -> Response:
    """Make one of two."""
    one, two = _given("a"), _given("b")
    keep = request.form.get("keep", "")
    if keep not in (one.public_id, two.public_id):
        raise Invalid("errors.invalid_field", field="keep")
    kept, gone = (one, two) if keep == one.public_id else (two, one)
    held = runtime()
    rules.merge(
        db(),
        held.vault,
        kept.id,
        gone.id,
        now=held.clock.now(),
        real_now=held.clock.real_now(),
        tz=held.clock.tz,
        staff_id=g.staff.id,
        actor=f"staff:{g.staff.id}",
    )
    return back("admin.member", note="console.merged", public_id=kept.public_id)


@blueprint.post("/merges/<int:merge_id>/undo")
@staff_only("merges.edit")
def merge_undo(merge_id: int) -> Response:
    """Part them again, as far as that goes."""
    held = runtime()
    row = rules.unmerge(
        db(),
        merge_id,
        now=held.clock.now(),
        real_now=held.clock.real_now(),
        tz=held.clock.tz,
        staff_id=g.staff.id,
        actor=f"staff:{g.staff.id}",
    )
    kept = db().get_one(Member, row.kept_id)
    return back("admin.member", note="console.unmerged", public_id=kept.public_id)


def _given(name: str) -> Member:
    """A member by public id, number or whole address, as people paste it."""
    text = (request.values.get(name, "")).strip()[:64]
    found = people.by_public_id(db(), text) or people.by_number(db(), text)
    if found is None or not found.is_member:
        abort(404)
    return found


def _phone(member: Member) -> str | None:
    phone = personal.phone_of(db(), runtime().vault, member)
    return people.masked_phone(phone) if phone else None
