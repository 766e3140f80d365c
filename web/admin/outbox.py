"""The outbox: what is owed, what happened to it, and what only a person can decide."""

from __future__ import annotations

from typing import Any

from flask import Response, g, render_template, request
from sqlalchemy import select

from bot.gateway import SdkLine
from core.errors import Invalid, Refused
from engagement import delivery, restoring
from engagement import outbox as rules
from models.members import Member
from models.outbox import Call, ChannelState, Message, MessageState
from web.admin.ground import back, blueprint, may, noted
from web.admin.members import matching, seen_name
from web.admin.tables import Column, Listing, listed, said
from web.admin.words import message_kind
from web.auth import staff_only
from web.ground import db, locale, opened, outside, runtime

COLUMNS = (
    Column("made", "console.made_at", Message.id,
           lambda row: row.Message.created_at, "moment"),
    Column("kind", "console.kind", Message.kind,
           lambda row: message_kind(row.Message.kind, locale())),
    Column("class", "console.class", Message.klass, said("classes", lambda row: row.Message.klass)),
    Column("state", "console.state", Message.state,
           said("messages", lambda row: row.Message.state)),
    Column("due", "console.due_at", Message.due_at, lambda row: row.Message.due_at, "moment"),
    Column("to", "console.to", None, lambda row: seen_name(row.Member)),
    Column("answer", "console.answer", None, lambda row: row.Call and row.Call.status),
)  # fmt: skip
DECISIONS = {"sent": rules.mark_sent, "again": rules.send_again, "drop": rules.drop}


@blueprint.get("/outbox")
@staff_only("outbox.read")
def outbox() -> str:
    """Messages by state, newest first; uncertain ones on top with their choices."""
    return render_template(
        "admin/outbox.html",
        table=OUTBOX.page(),
        restored=restoring.pending(db()),
        counts=rules.counts(db()),
        backlog=rules.backlog(db(), runtime().clock.now()),
        channel=db().get(ChannelState, 1),
        uncertain=rules.uncertain_calls(db()),
        states=list(MessageState),
        state=request.args.get("state", ""),
    )


def _messages() -> Any:
    query = (
        select(Message, Member, Call)
        .join(Member, Member.id == Message.member_id)
        .outerjoin(Call, Call.id == Message.call_id)
    )
    state = request.args.get("state", "")
    if state in set(MessageState):
        query = query.where(Message.state == MessageState(state))
    if not may("members.read"):  # a search would tell what is masked
        return query
    return matching(query)


OUTBOX = listed(Listing("/outbox", COLUMNS, _messages, "made", Message.id.desc(), "lists.export"))


@blueprint.post("/outbox/calls/<int:call_id>")
@staff_only("outbox.decide")
def outbox_decide(call_id: int) -> Response:
    """Settle an uncertain request: it arrived, send again under a new key, or let it go."""
    decision = request.form.get("decision", "")
    if decision not in DECISIONS:
        raise Invalid("errors.invalid_field", field="decision")
    DECISIONS[decision](db(), call_id, runtime().clock.now())
    noted("outbox.decided", call=call_id, decision=decision)
    return back("admin.outbox", note="console.decided")


@blueprint.post("/outbox/resume")
@staff_only("outbox.decide")
def outbox_resume() -> Response:
    """Sending was paused (token, plan): try again now, parked messages too."""
    if restoring.pending(db()) is not None:
        raise Refused("backups.undecided")
    clock = runtime().clock
    now = clock.now()
    rules.resume_sending(db())
    rules.resume_parked(db(), now)
    delivery.keep_quiet(db(), now, clock.tz)
    noted("outbox.resumed")
    return back("admin.outbox", note="console.resumed")


@blueprint.post("/outbox/release")
@staff_only("outbox.decide")
@outside
def outbox_release() -> Response:
    """After a restore: what was pending is sent or dropped, and sending goes on (Z17)."""
    fate, held = request.form.get("pending", ""), runtime()
    if fate not in ("send", "drop"):
        raise Invalid("errors.invalid_field", field="pending")
    restoring.refuse_while_elsewhere(SdkLine(held.settings), held.settings.public_url)
    with opened() as session:
        actor, clock = f"staff:{g.staff.id}", held.clock
        restoring.release(
            session, is_sent=fate == "send", actor=actor, now=clock.now(), tz=clock.tz
        )
    return back("admin.outbox", note="backups.released")
