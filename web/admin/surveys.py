"""What members said: marks and reasons, the matters that low ones opened, and how often we ask."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Response, abort, make_response, render_template, request
from sqlalchemy import select

from core.errors import Refused
from core.i18n import t
from insights import surveys as figures
from loyalty import shop, surveys, tickets
from models.conversations import Ticket, TicketState
from models.members import Member
from models.scores import SurveyAnswer, SurveyKind
from web.admin import charts, forms
from web.admin.ground import back, blueprint, may, noted
from web.admin.members import matching
from web.admin.tables import Column, Listing, listed
from web.auth import staff_only
from web.ground import db, locale, runtime

DEFAULT_DAYS = 90
TICKETS_SHOWN = 50
COLUMNS = (
    Column("at", "surveys.answered_at", SurveyAnswer.answered_at,
           lambda one: one["answer"].answered_at, "moment"),
    Column("name", "console.name", Member.name,
           lambda one: one["member"].shown_name if may("members.read") else ""),
    Column("kind", "surveys.kind", SurveyAnswer.kind,
           lambda one: t(locale(), f"surveys.{one['answer'].kind.value}")),
    Column("score", "surveys.score", SurveyAnswer.score, lambda one: one["answer"].score, "num"),
    Column("why", "surveys.why", None, lambda one: one["why"]),
)  # fmt: skip


@blueprint.get("/surveys")
@staff_only("surveys.read")
def surveys_page() -> str:
    """CSAT and NPS of a period, the answers, and the open matters."""
    return _page()


def _page(refusal: str = "") -> str:
    session, now, language = db(), runtime().clock.now(), locale()
    days = request.args.get("days", DEFAULT_DAYS, type=int)
    days = days if days in figures.PERIODS else DEFAULT_DAYS
    csat = figures.marks(session, SurveyKind.CSAT, now, days)
    nps = figures.marks(session, SurveyKind.NPS, now, days)
    return render_template(
        "admin/surveys.html",
        csat=csat,
        nps=nps,
        charts={
            kind: charts.named_bars(
                t(language, f"surveys.{kind}"),
                [(str(score), number) for score, number in marks.by_score.items()],
            )
            for kind, marks in (("csat", csat), ("nps", nps))
        },
        days=days,
        periods=figures.PERIODS,
        table=ANSWERS.page(),
        tickets=open_tickets(),
        review_url=shop.get(session, "shop.review_url"),
        csat_days=shop.get(session, "surveys.csat_every_days"),
        nps_days=shop.get(session, "surveys.nps_every_days"),
        refusal=refusal,
        can_edit=may("surveys.edit"),
        can_see=may("members.read"),
        can_close=may("tickets.edit"),
        can_hear=may("surveys.words"),
    )


def _answers() -> Any:
    """The answers, newest first; reasons only for those who may read them."""
    query = (
        select(SurveyAnswer, Member)
        .join(Member, Member.id == SurveyAnswer.member_id)
        .where(SurveyAnswer.answered_at.is_not(None))
    )
    kind = request.args.get("kind", "")
    if kind in set(SurveyKind):
        query = query.where(SurveyAnswer.kind == SurveyKind(kind))
    return matching(query) if may("members.read") else query


def _shown(row: Any) -> dict[str, Any]:
    answer, member = row
    vault = runtime().vault
    why = surveys.why_of(db(), vault, member, answer) if may("surveys.words") else None
    mood = surveys.mood_of(answer.kind, answer.score)
    return {"answer": answer, "member": member, "why": why, "mood": mood.value}


ANSWERS = listed(
    Listing(
        "/surveys",
        COLUMNS,
        _answers,
        "at",
        SurveyAnswer.id.desc(),
        "lists.export",
        shape=_shown,
    )
)


def open_tickets() -> list[dict[str, Any]]:
    """Matters that nobody has settled yet, oldest first."""
    rows = db().execute(
        select(Ticket, Member)
        .join(Member, Member.id == Ticket.member_id)
        .where(Ticket.state == TicketState.OPEN)
        .order_by(Ticket.opened_at, Ticket.id)
        .limit(TICKETS_SHOWN)
    )
    language = locale()
    return [
        {"ticket": ticket, "member": member, "words": tickets.words(ticket, language)}
        for ticket, member in rows
    ]


def tickets_of(member_id: int) -> list[dict[str, Any]]:
    """A member's matters, for their page."""
    language = locale()
    return [
        {"ticket": one, "words": tickets.words(one, language)}
        for one in tickets.of_member(db(), member_id)
    ]


def answers_of(member: Member) -> list[dict[str, Any]]:
    """What a member said, for their page."""
    rows = db().scalars(
        select(SurveyAnswer)
        .where(SurveyAnswer.member_id == member.id, SurveyAnswer.answered_at.is_not(None))
        .order_by(SurveyAnswer.answered_at.desc())
        .limit(10)
    )
    return [_shown((row, member)) for row in rows]


@blueprint.post("/tickets/<int:ticket_id>/done")
@staff_only("tickets.edit")
def ticket_done(ticket_id: int) -> Response:
    """Somebody has looked after it."""
    ticket = db().get(Ticket, ticket_id)
    if ticket is None:
        abort(404)
    tickets.close(db(), ticket_id, runtime().clock.now())
    noted("tickets.closed", ticket=ticket_id)
    member = db().get_one(Member, ticket.member_id)
    if request.form.get("from") == "member" and may("members.read"):
        return back("admin.member", note="console.saved", public_id=member.public_id)
    chat = request.form.get("from", "").removeprefix("chat-")
    if chat.isascii() and chat.isdigit() and len(chat) < 19 and may("conversations.read"):
        return back("admin.conversation", note="console.saved", conversation_id=int(chat))
    came_from = request.form.get("from") == "tickets" and may("members.read")
    return back("admin.tickets_page" if came_from else "admin.surveys_page", note="console.saved")


@blueprint.post("/surveys/settings")
@staff_only("surveys.edit")
def surveys_settings() -> Response:
    """How often we ask, and where the happy may say so in public."""
    now = runtime().clock.now()
    try:
        csat = forms.whole("csat_days", "surveys.csat_every", 1, 365)
        nps = forms.whole("nps_days", "surveys.nps_every", 90, 365)
        review = forms.words("review_url", "surveys.review_url", 500, needed=False)
        if review and not _is_web_address(review):
            raise forms.bad("surveys.review_url")
    except Refused as error:
        return make_response(_page(t(locale(), error.code, **error.facts)), error.status)
    values = {"surveys.csat_every_days": csat, "surveys.nps_every_days": nps,
              "shop.review_url": review}  # fmt: skip
    for key, value in values.items():
        shop.set(db(), key, value, now)
    noted("surveys.settings_changed", csat=csat, nps=nps, review=review)
    return back("admin.surveys_page", note="console.saved")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_plain = url.isascii() and url.isprintable() and not set(url) & set(" <>\"'\\")
    return parts.scheme == "https" and bool(parts.hostname) and "@" not in parts.netloc and is_plain
