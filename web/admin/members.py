"""Members: search, one member with everything that happened, and the menu set by hand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from flask import Response, abort, g, render_template, request
from sqlalchemy import or_, select

from core.errors import Invalid
from core.i18n import money, t
from core.ids import is_member_number
from core.text import western_digits
from insights.rfm import PLACE
from loyalty import activities, coupons, lifecycle, merges, personal, points, stamps
from loyalty import members as rules
from models.activities import Activity
from models.members import Consent, Level, Member, MemberState, MemberTotals, Stage
from models.menus import Menu
from models.outbox import Message
from models.scores import GROUPS, MemberScore
from models.tiers import Tier
from web import looks
from web.admin.ground import (
    back,
    blueprint,
    may,
    noted,
)
from web.admin.tables import Column, Listing, listed, said, search_text
from web.admin.words import sentence
from web.auth import staff_only
from web.ground import db, locale, runtime

TIMELINE = 60
#: More digits than end a phone begin a member number; fewer may be in a name.
LAST_DIGITS = 4
#: A square of the RFM grid: recency, and the mean of frequency and money.
_SQUARE = re.compile(r"([1-5])-([1-5])")
COLUMNS = (
    Column("name", "console.name", Member.name, lambda row: row.Member.shown_name,
           is_quick=True, is_searched=True),
    Column("number", "console.number", Member.member_no, lambda row: row.Member.member_no, "mono",
           is_quick=True),
    Column("stage", "console.stage", MemberTotals.stage,
           said("stages", lambda row: row.MemberTotals.stage)),
    Column("level", "console.level", MemberTotals.level,
           said("levels", lambda row: row.MemberTotals.level)),
    Column("points", "console.points", MemberTotals.balance,
           lambda row: row.MemberTotals.balance, "num", is_quick=True),
    Column("spent", "console.spent", MemberTotals.spent_satang,
           lambda row: row.MemberTotals.spent_satang, "money", is_quick=True),
    Column("bills", "console.bills", MemberTotals.purchase_count,
           lambda row: row.MemberTotals.purchase_count, "num"),
    Column("last", "console.last_visit", MemberTotals.last_purchase_at,
           lambda row: row.MemberTotals.last_purchase_at, "moment", is_quick=True),
    Column("joined", "console.joined", Member.joined_at,
           lambda row: row.Member.joined_at, "moment"),
)  # fmt: skip


@blueprint.get("/members")
@staff_only("members.read")
def members() -> str:
    """Everybody we know, newest first; search by name, number, phone or its last four digits."""
    return render_template(
        "admin/members.html",
        table=MEMBERS.page(),
        chosen=_filters(),
        stages=Stage,
        levels=Level,
        groups=GROUPS,
    )


def _everybody() -> Any:
    query = (
        select(Member, MemberTotals)
        .join(MemberTotals, MemberTotals.member_id == Member.id)
        .where(Member.state.in_((MemberState.MEMBER, MemberState.FRIEND)))
    )
    return _filtered(matching(query))


def matching(query: Any) -> Any:
    """Only rows of members whom the searched words mean: a part of a name, a number or how it
    begins, a phone or its last four digits."""
    text = search_text()
    return query.where(_matches(text)) if text else query


def seen_name(member: Member) -> str:
    """A name as this reader may see it: masked for whoever may not read members."""
    name = member.shown_name
    return name if may("members.read") or not name else rules.masked(name)


def _filters() -> dict[str, str]:
    """Stage, level and RFM group (or square, e.g. `5-4`) in the address; none of ours is none."""
    chosen = {name: request.args.get(name, "") for name in ("stage", "level", "rfm")}
    is_rfm = _SQUARE.fullmatch(chosen["rfm"]) or chosen["rfm"] in GROUPS
    return chosen if is_rfm else chosen | {"rfm": ""}


def _filtered(query: Any) -> Any:
    chosen = _filters()
    if chosen["stage"] in set(Stage):
        query = query.where(MemberTotals.stage == Stage(chosen["stage"]))
    if chosen["level"] in set(Level):
        query = query.where(MemberTotals.level == Level(chosen["level"]))
    square = _SQUARE.fullmatch(chosen["rfm"])
    if square or chosen["rfm"] in GROUPS:
        query = query.join(MemberScore, MemberScore.member_id == MemberTotals.member_id)
    if square:
        query = query.where(MemberScore.recency == int(square[1]), int(square[2]) == PLACE)
    elif chosen["rfm"] in GROUPS:
        query = query.where(MemberScore.rfm_group == chosen["rfm"])
    return query


MEMBERS = listed(
    Listing("/members", COLUMNS, _everybody, "joined", Member.id.desc(), "lists.export")
)


def _matches(text: str) -> Any:
    digits = "".join(western_digits(text).split())
    if is_member_number(digits):
        found = rules.by_number(db(), digits)  # a merged one's number leads to whom it is now
        return Member.id == (found.id if found else None)
    if (e164 := rules.parse_phone(text)) is not None:
        return Member.phone_index.in_(personal.phone_indexes(runtime().vault, str(e164)))
    if not digits.isdecimal():
        return rules.is_named_like(db(), text)
    if len(digits) > LAST_DIGITS:
        return rules.is_numbered_like(digits)
    known = runtime().vault.blind_indexes(personal.PHONE_LAST4_PURPOSE, digits)
    return or_(
        rules.is_named_like(db(), text),
        rules.is_numbered_like(digits),
        Member.phone_last4_index.in_(known),
    )


def member_of(public_id: str) -> Member:
    """The member of this address; 404 alike for unknown, erased and merged."""
    member = db().scalar(select(Member).where(Member.public_id == public_id))
    if member is None or member.state in (MemberState.ERASED, MemberState.MERGED):
        abort(404)
    return member


def figures_of(language: str, numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The numbers behind a level as people read them: names and figures."""
    shown = []
    for name, value in numbers.items():
        if name in ("change", "brought") or value is None:
            continue
        shown.append((t(language, f"facts.{name}"), _figure(language, name, value)))
    return shown


def _figure(language: str, name: str, value: Any) -> str:
    if name == "tier":
        tier = db().scalar(select(Tier).where(Tier.key == value))
        return str(value) if tier is None else tier.name_th if language == "th" else tier.name_en
    if name.startswith("spent_") or name.endswith("_satang"):
        return t(language, "facts.baht", baht=money(language, int(value)))
    return f"{value:,.1f}".removesuffix(".0")


def change_of(language: str, numbers: Mapping[str, Any]) -> str:
    """What would change a level, in a sentence with its figures."""
    change = numbers.get("change")
    if not change:
        return ""
    names = ("limit_days", "next_days", "needs_days", "needs_tickets", "tickets_days", "csat_days",
             "potential_days", "vip_satang", "tier")  # fmt: skip
    facts = {
        name: _figure(language, name, numbers[name]) if numbers.get(name) is not None else "–"
        for name in names
    }
    key = f"facts.change_{change}"
    if numbers.get("next_days") is not None:
        key = "facts.change_buys_or_gone"
    return t(language, key, **facts)


@blueprint.get("/members/<string:public_id>")
@staff_only("members.read")
def member(public_id: str) -> str:
    """One member: figures, why this level, vouchers, consents, messages, timeline."""
    session, held, language = db(), runtime(), locale()
    person = member_of(public_id)
    looks.keep(f"staff:{g.staff.id}", person.id, "members.read")
    now = held.clock.now()
    phone = personal.phone_of(session, held.vault, person)
    totals = session.get_one(MemberTotals, person.id)
    verdict = lifecycle.explain(session, totals, now, held.clock.tz)
    timeline = session.scalars(
        select(Activity)
        .where(Activity.member_id == person.id)
        .order_by(Activity.at.desc(), Activity.id.desc())
        .limit(TIMELINE)
    ).all()
    return render_template(
        "admin/member.html",
        member=person,
        totals=totals,
        why=figures_of(language, verdict.why),
        change=change_of(language, verdict.why),
        score=session.get(MemberScore, person.id),
        balance=points.balance_of(session, person.id, now),
        phone=rules.masked_phone(phone) if phone else None,
        entries=points.history(session, person.id, 20),
        vouchers=coupons.vouchers_of(session, person.id, now),
        cards=stamps.cards_of(session, person.id, now),
        consents=session.scalars(
            select(Consent).where(Consent.member_id == person.id).order_by(Consent.id.desc())
        ).all(),
        messages=session.scalars(
            select(Message)
            .where(Message.member_id == person.id)
            .order_by(Message.id.desc())
            .limit(20)
        ).all(),
        timeline=[(row, sentence(row, language)) for row in timeline],
        menus=session.scalars(select(Menu).order_by(Menu.priority)).all(),
        can_edit=may("members.edit"),
        merged=merges.of_member(session, person.id),
    )


@blueprint.post("/members/<string:public_id>/menu")
@staff_only("members.edit")
def member_menu(public_id: str) -> Response:
    """Set a rich menu by hand (VIP until tiers exist), or none."""
    person = member_of(public_id)
    chosen = request.form.get("menu", "")
    overrides = {
        str(menu.audience["override"])
        for menu in db().scalars(select(Menu))
        if "override" in menu.audience
    }
    if chosen and chosen not in overrides:
        raise Invalid("errors.invalid_field", field=t(locale(), "console.menu"))
    person.menu_override = chosen or None
    activities.record(
        db(), person.id, "members.menu_set", runtime().clock.now(), {"menu": chosen or None}
    )
    noted("members.menu_set", member=person.public_id, menu=chosen)
    return back("admin.member", note="console.saved", public_id=public_id)
