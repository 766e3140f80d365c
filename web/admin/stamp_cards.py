"""Members' stamp cards: how full each is, and which are nearly there or about to end."""

from __future__ import annotations

from typing import Any

from flask import render_template, request
from sqlalchemy import select

from models.members import Member
from models.stamps import CardState, StampCard, StampProgram
from web.admin.ground import blueprint
from web.admin.members import matching
from web.admin.tables import Column, Listing, listed, said
from web.auth import staff_only
from web.ground import db, locale

COLUMNS = (
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name),
    Column("program", "stamps.program", StampProgram.name_th,
           lambda row: row.StampProgram.name_en if locale() == "en" else row.StampProgram.name_th),
    Column("filled", "stamps.filled", StampCard.filled, lambda row: row.StampCard.filled, "num"),
    Column("size", "stamps.full_at", StampProgram.size, lambda row: row.StampProgram.size, "num"),
    Column("state", "console.state", StampCard.state,
           said("card_states", lambda row: row.StampCard.state)),
    Column("opened", "stamps.opened_at", StampCard.id,
           lambda row: row.StampCard.opened_at, "moment"),
    Column("ends", "stamps.ends_at", StampCard.expires_at,
           lambda row: row.StampCard.expires_at, "moment"),
    Column("full", "stamps.filled_at", StampCard.filled_at,
           lambda row: row.StampCard.filled_at, "moment"),
)  # fmt: skip


@blueprint.get("/stamp-cards")
@staff_only("members.read")
def stamp_cards_page() -> str:
    """Cards, newest first."""
    programs = select(StampProgram).where(StampProgram.is_current).order_by(StampProgram.id)
    return render_template(
        "admin/stamp_cards.html",
        table=CARDS.page(),
        programs=db().scalars(programs).all(),
        states=CardState,
        chosen={name: request.args.get(name, "") for name in ("program", "state")},
    )


def _cards() -> Any:
    """What the address asks for; a programme or state that is none filters nothing."""
    query = (
        select(StampCard, StampProgram, Member)
        .join(StampProgram, StampProgram.id == StampCard.program_id)
        .join(Member, Member.id == StampCard.member_id)
    )
    if key := request.args.get("program", ""):
        query = query.where(StampCard.program_key == key)
    state = request.args.get("state", "")
    if state in set(CardState):
        query = query.where(StampCard.state == CardState(state))
    return matching(query)


CARDS = listed(
    Listing("/stamp-cards", COLUMNS, _cards, "opened", StampCard.id.desc(), "lists.export")
)
