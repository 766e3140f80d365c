"""Matters to settle with members, and members whose points are on hold: what waits for somebody."""

from __future__ import annotations

from typing import Any

from flask import render_template, request
from sqlalchemy import select

from core.i18n import t
from loyalty import tickets
from models.conversations import Ticket, TicketState
from models.members import Member, MemberTotals
from web.admin.ground import blueprint
from web.admin.members import matching
from web.admin.tables import Column, Listing, listed, said
from web.auth import staff_only
from web.ground import locale

TICKET_COLUMNS = (
    Column("at", "tickets.opened_at", Ticket.opened_at,
           lambda row: row.Ticket.opened_at, "moment"),
    Column("subject", "tickets.subject", None, lambda row: tickets.words(row.Ticket, locale())),
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name),
    Column("state", "console.state", Ticket.state,
           said("ticket_states", lambda row: row.Ticket.state)),
    Column("done", "tickets.done_at", Ticket.done_at, lambda row: row.Ticket.done_at, "moment"),
    Column("acts", ""),
)  # fmt: skip
DISPUTE_COLUMNS = (
    Column("at", "disputes.since", MemberTotals.frozen_at,
           lambda row: row.MemberTotals.frozen_at, "moment"),
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name),
    Column("number", "console.number", Member.member_no, lambda row: row.Member.member_no, "mono"),
    Column("why", "disputes.why", MemberTotals.frozen_why,
           lambda row: t(locale(), f"disputes.why_{row.MemberTotals.frozen_why or 'ledger'}")),
    Column("points", "console.points", MemberTotals.balance,
           lambda row: row.MemberTotals.balance, "num"),
    Column("acts", ""),
)  # fmt: skip


@blueprint.get("/tickets")
@staff_only("members.read")
def tickets_page() -> str:
    """Matters, newest first; `state=done` those that are settled."""
    return render_template("admin/tickets.html", table=TICKETS.page(), state=_state().value)


def _state() -> TicketState:
    is_done = request.args.get("state") == TicketState.DONE
    return TicketState.DONE if is_done else TicketState.OPEN


def _matters() -> Any:
    query = select(Ticket, Member).join(Member, Member.id == Ticket.member_id)
    return matching(query.where(Ticket.state == _state()))


TICKETS = listed(
    Listing("/tickets", TICKET_COLUMNS, _matters, "at", Ticket.id.desc(), "lists.export")
)


@blueprint.get("/disputes")
@staff_only("members.read")
def disputes_page() -> str:
    """Members who said "not me", or whose balance is not what it should be."""
    return render_template("admin/disputes.html", table=DISPUTES.page())


def _on_hold() -> Any:
    query = select(Member, MemberTotals).join(MemberTotals, MemberTotals.member_id == Member.id)
    return matching(query.where(MemberTotals.frozen_at.is_not(None)))


DISPUTES = listed(
    Listing("/disputes", DISPUTE_COLUMNS, _on_hold, "at", Member.id.desc(), "lists.export")
)
