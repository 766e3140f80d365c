"""What could not be read or handled: seen, replayed, or let go."""

from __future__ import annotations

from flask import Response, abort, render_template, request
from sqlalchemy import select

from bot.quarantine import dismiss_event, replay_event
from bot.webhook import replay_quarantined
from models.inbox import Event, EventState, Quarantined, QuarantineState
from web.admin.ground import back, blueprint, noted
from web.admin.tables import Column, Listing, found_in, listed
from web.auth import staff_only
from web.ground import db, runtime

EVENTS = (
    Column("at", "console.received_at", Event.received_at, lambda row: row.received_at, "moment"),
    Column("kind", "console.kind", Event.kind, lambda row: row.kind, "mono"),
    Column("attempts", "console.attempts", Event.attempts, lambda row: row.attempts, "num"),
    Column("error", "console.error", Event.error, lambda row: row.error, "mono"),
    Column("acts", ""),
)
BODIES = (
    Column("at", "console.received_at", Quarantined.received_at,
           lambda row: row.received_at, "moment"),
    Column("kind", "console.kind", Quarantined.kind, lambda row: row.kind, "mono"),
    Column("reason", "console.reason", Quarantined.reason, lambda row: row.reason),
    Column("seen", "console.seen_count", Quarantined.seen_count,
           lambda row: row.seen_count, "num"),
    Column("acts", ""),
)  # fmt: skip
SHOWN_BYTES = 300


@blueprint.get("/quarantine")
@staff_only("quarantine.read")
def quarantine() -> str:
    """Failed events, or with `what=bodies` unreadable bytes; both page."""
    what = "bodies" if request.args.get("what") == "bodies" else "events"
    table = (UNREADABLE if what == "bodies" else FAILED).page()
    return render_template("admin/quarantine.html", table=table, what=what, shown=_shown)


FAILED = listed(
    Listing(
        "/quarantine",
        EVENTS,
        lambda: found_in(
            select(Event).where(Event.state == EventState.FAILED), Event.kind, Event.error
        ),
        "at",
        Event.id.desc(),
        "quarantine.read",
        shape=lambda row: row[0],
    )
)
UNREADABLE = listed(
    Listing(
        "/quarantine/bodies",
        BODIES,
        lambda: found_in(
            select(Quarantined).where(Quarantined.state == QuarantineState.OPEN),
            Quarantined.kind,
            Quarantined.reason,
        ),
        "at",
        Quarantined.id.desc(),
        "quarantine.read",
        shape=lambda row: row[0],
    )
)


def _shown(content: bytes) -> str:
    """The beginning of odd bytes, every unusual one escaped."""
    return content[:SHOWN_BYTES].decode("ascii", "backslashreplace")


@blueprint.post("/quarantine/events/<int:event_id>")
@staff_only("quarantine.decide")
def event_decide(event_id: int) -> Response:
    """Five new tries for a failed event, or let it go."""
    is_replay = request.form.get("decision") == "replay"
    act = replay_event if is_replay else dismiss_event
    if not act(db(), event_id, runtime().clock.real_now()):
        abort(404)
    noted("quarantine.decided", event=event_id, decision="replay" if is_replay else "dismiss")
    return back("admin.quarantine", note="console.replayed" if is_replay else "console.dismissed")


@blueprint.post("/quarantine/bodies/<int:body_id>")
@staff_only("quarantine.decide")
def body_decide(body_id: int) -> Response:
    """Read the bytes again with today's reader, or let them go."""
    is_replay = request.form.get("decision") == "replay"
    if is_replay:
        if replay_quarantined(db(), body_id, runtime().clock.real_now()) is None:
            abort(404)
    else:
        row = db().get(Quarantined, body_id)
        if row is None or row.state != QuarantineState.OPEN:
            abort(404)
        row.state = QuarantineState.DISMISSED
    noted("quarantine.decided", body=body_id, decision="replay" if is_replay else "dismiss")
    return back(
        "admin.quarantine",
        note="console.replayed" if is_replay else "console.dismissed",
        what="bodies",
    )
