"""Human chats: read, answer, close."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, g, render_template, request
from sqlalchemy import select

from bot.flex.conversations import staff_reply
from core.errors import Invalid, Refused
from core.i18n import t
from engagement import delivery, outbox
from loyalty import conversations as rules
from models.conversations import Conversation, ConversationState, SavedReply
from models.members import Level, Member, MemberTotals
from models.outbox import MessageClass
from models.staff import Role, Staff
from web.admin import forms
from web.admin.ground import PERMISSIONS, back, blueprint, noted
from web.admin.members import matching
from web.admin.tables import Column, Listing, listed, said
from web.auth import staff_only
from web.ground import db, locale, runtime

COLUMNS = (
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name),
    Column("level", "console.level", MemberTotals.level,
           said("levels", lambda row: row.MemberTotals.level)),
    Column("unread", "console.unread", Conversation.unread_count,
           lambda row: row.Conversation.unread_count, "num"),
    Column("last", "console.last_at", Conversation.last_at,
           lambda row: row.Conversation.last_at, "moment"),
    Column("assigned", "conversations.assigned", None,
           lambda row: _team().get(row.Conversation.assigned_staff_id, "")),
)  # fmt: skip
LINES = 200
REPLY_LETTERS = 2000


@blueprint.get("/conversations")
@staff_only("conversations.read")
def conversations_list() -> str:
    """Open conversations, those who need care first, then the newest."""
    return render_template(
        "admin/conversations.html", table=CONVERSATIONS.page(), state=_state().value, team=_team()
    )


def _state() -> ConversationState:
    is_closed = request.args.get("state") == "closed"
    return ConversationState.CLOSED if is_closed else ConversationState.OPEN


def _chats() -> Any:
    query = (
        select(Conversation, Member, MemberTotals)
        .join(Member, Member.id == Conversation.member_id)
        .join(MemberTotals, MemberTotals.member_id == Member.id)
        .where(Conversation.state == _state())
    )
    if request.args.get("mine") == "1":
        query = query.where(Conversation.assigned_staff_id == g.staff.id)
    return matching(query)


CONVERSATIONS = listed(
    Listing(
        "/conversations",
        COLUMNS,
        _chats,
        "last",
        Conversation.id,
        "lists.export",
        first=(MemberTotals.level == Level.HIGH_MAINTENANCE).desc(),
    )
)


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
        team=_team(),
        replies=db().scalars(select(SavedReply).order_by(SavedReply.title)).all(),
    )


def _team() -> dict[int, str]:
    """Who may be asked to answer, by id."""
    able = [role for role in Role if "conversations.reply" in PERMISSIONS[role]]
    people = select(Staff).where(Staff.is_active, Staff.role.in_(able)).order_by(Staff.name)
    return {one.id: one.name for one in db().scalars(people)}


@blueprint.post("/conversations/<int:conversation_id>/assign")
@staff_only("conversations.reply")
def conversation_assign(conversation_id: int) -> Response:
    """Hand it to somebody of the team, or to nobody."""
    row, _member = _conversation(conversation_id)
    chosen = forms.choice("staff", "conversations.assigned", ["", *map(str, _team())])
    row.assigned_staff_id = int(chosen) if chosen else None
    noted("conversations.assigned", conversation=row.id, staff=row.assigned_staff_id)
    return back("admin.conversation", note="console.saved", conversation_id=conversation_id)


@blueprint.post("/conversations/<int:conversation_id>/note")
@staff_only("conversations.reply")
def conversation_note(conversation_id: int) -> Response:
    """A note that only the team reads."""
    row, member = _conversation(conversation_id)
    text = _typed()
    held = runtime()
    rules.note(db(), held.vault, member, staff_id=g.staff.id, text=text, now=held.clock.now())
    noted("conversations.noted", conversation=row.id)
    return back("admin.conversation", note="console.saved", conversation_id=conversation_id)


def _typed() -> str:
    text = request.form.get("text", "").strip()
    if not text or len(text) > REPLY_LETTERS:
        raise Invalid("errors.invalid_field", field=t(locale(), "console.your_reply"))
    return text


@blueprint.post("/conversations/<int:conversation_id>/reply")
@staff_only("conversations.reply")
def conversation_reply(conversation_id: int) -> Any:
    """Answer by push through the outbox; the bot keeps silent for half an hour."""
    row, member = _conversation(conversation_id)
    text = _typed()
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
