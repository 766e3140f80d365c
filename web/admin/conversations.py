"""Human chats: read, answer, close."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, g, render_template, request
from sqlalchemy import select

from bot.flex.conversations import staff_reply
from core.errors import Invalid, Refused
from engagement import delivery, outbox
from loyalty import conversations as rules
from models.conversations import Conversation, ConversationState
from models.members import Level, Member, MemberTotals
from models.outbox import MessageClass
from web.admin.ground import Column, back, blueprint, noted, table_of
from web.auth import staff_only
from web.ground import db, runtime

COLUMNS = (
    Column("name", "console.name", Member.name),
    Column("level", "console.level", MemberTotals.level),
    Column("unread", "console.unread", Conversation.unread_count),
    Column("last", "console.last_at", Conversation.last_at),
)
LINES = 200


@blueprint.get("/conversations")
@staff_only("conversations.read")
def conversations_list() -> str:
    """Open conversations, those who need care first, then the newest."""
    state = (
        ConversationState.CLOSED
        if request.args.get("state") == "closed"
        else ConversationState.OPEN
    )
    query = (
        select(Conversation, Member, MemberTotals)
        .join(Member, Member.id == Conversation.member_id)
        .join(MemberTotals, MemberTotals.member_id == Member.id)
        .where(Conversation.state == state)
    )
    first = (MemberTotals.level == Level.HIGH_MAINTENANCE).desc()
    table = table_of(query.order_by(first), COLUMNS, default="last", tie=Conversation.id)
    return render_template("admin/conversations.html", table=table, state=state.value)


def _conversation(conversation_id: int) -> tuple[Conversation, Member]:
    row = db().get(Conversation, conversation_id)
    if row is None:
        abort(404)
    return row, db().get_one(Member, row.member_id)


@blueprint.get("/conversations/<int:conversation_id>")
@staff_only("conversations.read")
def conversation(conversation_id: int) -> str:
    """The last lines with one member, oldest first."""
    row, member = _conversation(conversation_id)
    lines = rules.lines_of(db(), runtime().vault, member, limit=LINES)
    return render_template(
        "admin/conversation.html",
        conversation=row,
        member=member,
        lines=lines,
        totals=db().get_one(MemberTotals, member.id),
    )


@blueprint.post("/conversations/<int:conversation_id>/reply")
@staff_only("conversations.reply")
def conversation_reply(conversation_id: int) -> Any:
    """Answer by push through the outbox; the bot keeps silent for half an hour."""
    row, member = _conversation(conversation_id)
    text = request.form.get("text", "").strip()
    if not text or len(text) > 2000:
        raise Invalid("errors.invalid_field", field="text")
    held = runtime()
    now = held.clock.now()
    decision = delivery.decide(
        db(), held.vault, member, MessageClass.TRANSACTIONAL, now=now, tz=held.clock.tz
    )
    if decision.reason is not None:
        raise Refused(decision.reason)
    line = rules.reply_of_staff(db(), held.vault, member, staff_id=g.staff.id, text=text, now=now)
    outbox.queue(
        db(),
        key=f"conversation_line:{line.id}",
        member=member,
        klass=MessageClass.TRANSACTIONAL,
        kind="conversations.replied",
        messages=[staff_reply(text)],
        now=now,
    )
    noted("conversations.replied", conversation=row.id)
    return back("admin.conversation", note="console.replied", conversation_id=conversation_id)


@blueprint.post("/conversations/<int:conversation_id>/close")
@staff_only("conversations.reply")
def conversation_close(conversation_id: int) -> Response:
    """Done; the member's next text opens it again."""
    row, _member = _conversation(conversation_id)
    rules.close(db(), row)
    noted("conversations.closed", conversation=row.id)
    return back("admin.conversations_list", note="console.closed")
