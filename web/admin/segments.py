"""Segments in the console: built from conditions, counted as you go, kept in versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import delete, select

from core.db import insert_into
from core.errors import Invalid, Refused
from core.i18n import t
from core.text import parse_whole
from engagement import segments, topics
from engagement.topics import Choice
from loyalty import activities
from models.members import Member, MemberTotals
from models.segments import MemberTag, Segment, SegmentVersion
from web.admin import forms, segment_forms
from web.admin.ground import back, blueprint, may, noted
from web.admin.members import member_of
from web.admin.segment_forms import Form, described
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

SAMPLE = 8


COLUMNS = (
    Column("name", "console.name", Segment.name, lambda one: one["row"].name),
    Column("words", "segments.words", None, lambda one: one["words"]),
    Column("count", "segments.count_now", None, lambda one: one["count"], "num"),
    Column("made", "console.made_at", Segment.id, lambda one: one["row"].created_at, "moment"),
    Column("acts", ""),
)


@blueprint.get("/segments")
@staff_only("segments.read")
def segments_page() -> str:
    """Every segment, with its words and how many people it holds now."""
    return render_template(
        "admin/segments.html", table=SEGMENTS.page(), is_archive=_is_archive(), ready=_ready()
    )


def _is_archive() -> bool:
    return request.args.get("archived") == "1"


def _segments() -> Any:
    archived = Segment.archived_at
    is_shown = archived.is_not(None) if _is_archive() else archived.is_(None)
    return found_in(select(Segment).where(is_shown), Segment.name)


def _row_of(found: Any) -> dict[str, Any]:
    """A segment in words; those in use are counted."""
    row, clock = found[0], runtime().clock
    tree = segments.tree_of(db(), row.id)
    count = None if _is_archive() else segments.count(db(), tree, clock.now(), clock.tz)
    return {"row": row, "words": described(tree, locale()), "count": count}


SEGMENTS = listed(
    Listing(
        "/segments", COLUMNS, _segments, "made", Segment.id.desc(), "segments.read", shape=_row_of
    )
)


def _ready() -> list[dict[str, str]]:
    language = locale()
    return [
        {
            "key": key,
            "name": t(language, f"segments.ready_{key}"),
            "words": described(tree, language),
        }
        for key, tree in segments.READY.items()
    ]


@blueprint.get("/segments/new")
@staff_only("segments.edit")
def segment_new() -> str:
    """An empty builder, or one that begins with a ready-made segment."""
    ready = request.args.get("ready", "")
    form = Form()
    if ready in segments.READY:
        name = t(locale(), f"segments.ready_{ready}")
        form = segment_forms.form_of(name, segments.READY[ready]) or form
    return _builder(None, form, "")


@blueprint.post("/segments/new")
@staff_only("segments.edit")
def segment_create() -> Any:
    """One step in the builder, or the save."""
    return _worked(None)


@blueprint.get("/segments/<int:segment_id>")
@staff_only("segments.read")
def segment_page(segment_id: int) -> str:
    """One segment: the builder for whoever may, words and history for everybody."""
    segment = _segment(segment_id)
    number = request.args.get("version", type=parse_whole)
    try:
        tree = segments.tree_of(db(), segment.id, number)
    except Refused:
        abort(404)
    return _builder(segment, segment_forms.form_of(segment.name, tree), "", tree)


@blueprint.post("/segments/<int:segment_id>")
@staff_only("segments.edit")
def segment_save(segment_id: int) -> Any:
    """One step in the builder, or the save as another version."""
    return _worked(_segment(segment_id))


@blueprint.post("/segments/count")
@staff_only("segments.edit")
def segment_count() -> Any:
    """How many people the form holds as it stands, and some of them; asked while typing."""
    form = segment_forms.read(request.form)
    try:
        found = _found(form)
    except Refused as error:
        return render_template(
            "admin/segment_count.html", found=None, refusal=t(locale(), error.code, **error.facts)
        )
    return render_template("admin/segment_count.html", found=found, refusal="")


@blueprint.post("/segments/<int:segment_id>/archive")
@staff_only("segments.edit")
def segment_archive(segment_id: int) -> Response:
    """Out of the list, or back into it; campaigns keep the version they used."""
    segment = _segment(segment_id)
    is_back = request.form.get("back") == "1"
    segment.archived_at = None if is_back else runtime().clock.now()
    noted("segments.archived", segment=segment.id, back=is_back)
    return back("admin.segments_page", note="console.saved")


@blueprint.post("/members/<string:public_id>/tester")
@staff_only("members.edit")
def member_tester(public_id: str) -> Response:
    """Have test sends go to this member, or not any more."""
    person = member_of(public_id)
    person.is_test = request.form.get("on") == "1"
    noted("members.tester", member=person.public_id, on=person.is_test)
    return back("admin.member", note="console.saved", public_id=public_id)


@blueprint.post("/members/<string:public_id>/tags")
@staff_only("members.edit")
def member_tags(public_id: str) -> Response:
    """Put a tag on this member, or take one off."""
    person = member_of(public_id)
    taken = request.form.get("take", "")
    tag = taken or forms.words("tag", "segments.field_tags", segments.MAX_LETTERS)
    made_by, now = f"staff:{g.staff.id}", runtime().clock.now()
    if taken:
        work: Any = delete(MemberTag).where(MemberTag.member_id == person.id, MemberTag.tag == tag)
    else:
        work = insert_into(db(), MemberTag).values(
            member_id=person.id, tag=tag, at=now, by=made_by
        ).on_conflict_do_nothing(index_elements=["member_id", "tag"])  # fmt: skip
    # A form that came twice has done nothing more.
    if db().execute(work.returning(MemberTag.tag)).first() is not None:
        kind = "members.untagged" if taken else "members.tagged"
        activities.record(db(), person.id, kind, now, {"tag": tag})
    noted("members.tag_taken" if taken else "members.tagged", member=person.public_id, tag=tag)
    return back("admin.member", note="console.saved", public_id=public_id)


def tags_of(member: Member) -> list[str]:
    """The words that staff and journeys put on somebody."""
    own = select(MemberTag.tag).where(MemberTag.member_id == member.id)
    return list(db().scalars(own.order_by(MemberTag.tag)))


def choice_of(member: Member) -> Choice:
    """What this member wants to hear about."""
    return topics.choice_of(db(), member.id)


def _segment(segment_id: int) -> Segment:
    segment = db().get(Segment, segment_id)
    if segment is None:
        abort(404)
    return segment


def _worked(segment: Segment | None) -> Any:
    form = segment_forms.read(request.form)
    act = request.form.get("do", "")
    if act != "save":
        segment_forms.change(form, act, request.form)
        return _builder(segment, form, "")
    try:
        if not form.name:
            raise Invalid("errors.invalid_field", field=t(locale(), "segments.name"))
        tree = segment_forms.tree_of(form)
        with db().begin_nested():
            segment = _kept(segment, form.name, tree)
    except Refused as error:
        page = _builder(segment, form, t(locale(), error.code, **error.facts))
        return make_response(page, error.status)
    noted("segments.saved", segment=segment.id, version=segment.current_version)
    return back("admin.segment_page", note="console.saved", segment_id=segment.id)


def _kept(segment: Segment | None, name: str, tree: dict[str, Any]) -> Segment:
    made_by, now = f"staff:{g.staff.id}", runtime().clock.now()
    if segment is None:
        return segments.create(db(), name, tree, made_by=made_by, now=now)
    segments.save(db(), segment, name, tree, made_by=made_by, now=now)
    return segment


def _builder(
    segment: Segment | None, form: Form | None, refusal: str, tree: dict[str, Any] | None = None
) -> str:
    found, language = None, locale()
    if tree is None and form is not None:
        try:
            tree = segment_forms.tree_of(form)
        except Refused:
            tree = None  # half typed: no count yet
    if tree is not None:
        found = _counted(tree)
    versions: Sequence[SegmentVersion] = ()
    if segment is not None:
        versions = (
            db()
            .scalars(
                select(SegmentVersion)
                .where(SegmentVersion.segment_id == segment.id)
                .order_by(SegmentVersion.version.desc())
            )
            .all()
        )
    return render_template(
        "admin/segment.html",
        segment=segment,
        form=form,
        found=found,
        refusal=refusal,
        words=described(tree, language) if tree is not None else "",
        versions=[(one, described(one.tree, language)) for one in versions],
        grouped=segment_forms.GROUPED,
        ways=segments.WAYS,
        bare=segments.BARE,
        kinds={name: one.kind.value for name, one in segments.FIELDS.items()},
        is_money={name for name, one in segments.FIELDS.items() if one.is_money},
        field_words=lambda name: segment_forms.field_words(name, language),
        choices_of=lambda name: segment_forms.choices_of(name, language),
        details_of=lambda part: segment_forms.details_of(part, language),
        can_edit=may("segments.edit") and form is not None,
        max_rows=segment_forms.MAX_ROWS,
        max_groups=segment_forms.MAX_GROUPS,
    )


def _found(form: Form) -> dict[str, Any]:
    tree = segment_forms.tree_of(form)
    segments.check(tree)
    return _counted(tree)


def _counted(tree: dict[str, Any]) -> dict[str, Any]:
    """How many, and the newest few; names only for those who may read members."""
    held = runtime()
    now, tz = held.clock.now(), held.clock.tz
    newest = segments.ids_of(db(), tree, now, tz).order_by(Member.id.desc()).limit(SAMPLE)
    ids = db().scalars(newest).all()
    people = (
        db()
        .execute(
            select(Member, MemberTotals)
            .join(MemberTotals, MemberTotals.member_id == Member.id)
            .where(Member.id.in_(ids))
            .order_by(Member.id.desc())
        )
        .all()
    )
    is_open = may("members.read")
    return {
        "count": segments.count(db(), tree, now, tz),
        "is_open": is_open,
        "people": [
            {
                "name": person.shown_name if is_open else masked(person.shown_name),
                "public_id": person.public_id if is_open else None,
                "totals": totals,
            }
            for person, totals in people
        ],
    }


def masked(name: str) -> str:
    """The first letter of a name."""
    return f"{name[:1]}•••" if name else "•••"
