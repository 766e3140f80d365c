"""The list of human chats, those who need care first; one of them is `chat.py`."""

from __future__ import annotations

from typing import Any

from flask import g, render_template, request
from sqlalchemy import select

from models.conversations import Conversation, ConversationState
from models.members import Level, Member, MemberTotals
from models.staff import Role, Staff
from web.admin.ground import PERMISSIONS, blueprint
from web.admin.members import matching
from web.admin.tables import Column, Listing, listed, said
from web.auth import staff_only
from web.ground import db

COLUMNS = (
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name),
    Column("level", "console.level", MemberTotals.level,
           said("levels", lambda row: row.MemberTotals.level)),
    Column("unread", "console.unread", Conversation.unread_count,
           lambda row: row.Conversation.unread_count, "num"),
    Column("last", "console.last_at", Conversation.last_at,
           lambda row: row.Conversation.last_at, "moment"),
    Column("assigned", "conversations.assigned", None,
           lambda row: team().get(row.Conversation.assigned_staff_id, "")),
)  # fmt: skip


@blueprint.get("/conversations")
@staff_only("conversations.read")
def conversations_list() -> str:
    """Open conversations, those who need care first, then the newest."""
    return render_template(
        "admin/conversations.html", table=CONVERSATIONS.page(), state=_state().value, team=team()
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


def team() -> dict[int, str]:
    """Who may be asked to answer, by id."""
    able = [role for role in Role if "conversations.reply" in PERMISSIONS[role]]
    people = select(Staff).where(Staff.is_active, Staff.role.in_(able)).order_by(Staff.name)
    return {one.id: one.name for one in db().scalars(people)}
