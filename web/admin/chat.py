"""One human chat: read it live, answer in words or with a picture, take it over, give it back."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, g, make_response, render_template, request, url_for
from sqlalchemy import select

from bot.flex.conversations import staff_picture, staff_reply
from core.errors import Invalid, Refused
from core.i18n import money, t
from core.pictures import drawn_anew
from core.text import parse_whole
from engagement import chat_replies, costs, delivery, saved_replies
from loyalty import conversations as rules
from loyalty import points, tickets, tiers
from models.conversations import (
    Conversation,
    ConversationLine,
    ConversationPicture,
    PictureState,
    SavedReply,
)
from models.members import Member, MemberTotals
from models.outbox import MessageClass
from web import looks
from web.admin import forms
from web.admin.conversations import team
from web.admin.ground import back, blueprint, noted
from web.admin.surveys import tickets_of
from web.auth import staff_only
from web.ground import PHOTOGRAPH_BYTES, db, locale, runtime

LINES = 200
REPLY_LETTERS = 2000


def _conversation(conversation_id: int) -> tuple[Conversation, Member]:
    row = db().get(Conversation, conversation_id)
    if row is None:
        abort(404)
    return row, db().get_one(Member, row.member_id)


@blueprint.get("/conversations/<int:conversation_id>")
@staff_only("conversations.read")
def conversation(conversation_id: int) -> str:
    """The last lines with one member, oldest first; `?part=1` is what the open page asks for."""
    row, member = _conversation(conversation_id)
    looks.keep(f"staff:{g.staff.id}", member.id, "conversations.read")
    if request.args.get("part") == "1":
        return render_template("admin/parts/chat_live.html", **_live(row, member))
    return _page(row, member)


def _page(row: Conversation, member: Member, refusal: str = "", typed: str = "") -> str:
    session, now = db(), runtime().clock.now()
    facts = saved_replies.facts_for(session, member, staff_name=g.staff.name, now=now)
    ready = [
        (one, saved_replies.filled(one.text, facts))
        for one in session.scalars(select(SavedReply).order_by(SavedReply.title))
    ]
    chosen = request.args.get("use", type=parse_whole)
    return render_template(
        "admin/conversation.html",
        totals=session.get_one(MemberTotals, member.id),
        balance=points.balance_of(session, member.id, now),
        tier=tiers.tier_of(session, member.id, now),
        matters=tickets_of(member.id),
        team=team(),
        replies=ready,
        draft=typed or next((text for one, text in ready if one.id == chosen), ""),
        refusal=refusal,
        **_live(row, member),
    )


def _live(row: Conversation, member: Member) -> dict[str, Any]:
    """What changes while the page is open: lines, who has the chat, what an answer costs."""
    session, held = db(), runtime()
    now, tz = held.clock.now(), held.clock.tz
    lines = rules.lines_of(session, held.vault, member, limit=LINES)
    ours = [one.id for one in lines if one.staff_id and one.kind != rules.NOTE]
    silent = row.bot_silent_until if rules.is_bot_silent(row, now) else None
    reach = delivery.decide(session, held.vault, member, MessageClass.TRANSACTIONAL, now=now, tz=tz)
    return {
        "conversation": row,
        "member": member,
        "lines": lines,
        "fates": chat_replies.fates(session, member.id, ours),
        "bot_silent_until": silent,
        "minutes_silent": -(-int((silent - now).total_seconds()) // 60) if silent else 0,
        "free": chat_replies.free_reply(session, member),
        "cost": _cost(),
        "unreachable": reach.reason,
    }


def _cost() -> str:
    """What one more push costs, in words."""
    held = runtime()
    cost = costs.cost_of(db(), 1, held.clock.now(), held.clock.tz)
    left = cost.month.left
    if cost.marginal_satang:
        return t(locale(), "conversations.cost_baht", baht=money(locale(), cost.marginal_satang))
    if left is not None:
        return t(locale(), "conversations.cost_left", left=left)
    return t(locale(), "conversations.cost_included")


@blueprint.post("/conversations/<int:conversation_id>/reply")
@staff_only("conversations.reply")
def conversation_reply(conversation_id: int) -> Any:
    """Answer, free while the member's reply token lives; the bot keeps silent for half an hour.

    `words` chosen from the ready answers come as text like any other.
    """
    row, member = _conversation(conversation_id)
    picture = request.files.get("picture")
    has_picture = bool(picture and picture.filename)
    text = request.form.get("text", "").strip()
    held = runtime()
    now = held.clock.now()
    try:
        if len(text) > REPLY_LETTERS or not (text or has_picture):
            raise Invalid("errors.invalid_field", field=t(locale(), "console.your_reply"))
        decision = delivery.decide(
            db(), held.vault, member, MessageClass.TRANSACTIONAL, now=now, tz=held.clock.tz
        )
        if decision.reason is not None:
            raise Refused(decision.reason)
        photograph = picture.read(PHOTOGRAPH_BYTES + 1) if picture and has_picture else None
        free = _answer(member, text, photograph)
    except Refused as error:
        words = t(locale(), error.code, **error.facts)
        return make_response(_page(row, member, words, text), error.status)
    note = "conversations.noted_free" if free else "console.replied"
    noted("conversations.replied", conversation=row.id, has_picture=has_picture, free=free)
    return back("admin.conversation", note=note, conversation_id=conversation_id)


def _answer(member: Member, text: str, photograph: bytes | None) -> bool:
    """One answer of one or two bubbles, so that words beside a picture cost no second message."""
    session, held, now = db(), runtime(), runtime().clock.now()
    if photograph is not None and not (held.settings.is_https or held.settings.demo):
        raise Refused("pictures.needs_https")
    # All that may be refused comes before anything is written.
    drawn = drawn_anew(photograph, most_bytes=PHOTOGRAPH_BYTES) if photograph is not None else None
    words, line = [], None
    if drawn is not None:
        line, token = rules.picture_of_staff(
            session, held.vault, member, staff_id=g.staff.id, body=drawn.body, now=now
        )
        url = held.settings.public_url + url_for("member.chat_picture", token=token)
        words.append(staff_picture(url))
    if text:
        line = rules.reply_of_staff(
            session, held.vault, member, staff_id=g.staff.id, text=text, now=now
        )
        words.append(staff_reply(text))
    assert line is not None, "an answer has words or a picture"
    return chat_replies.send(session, member, line, words, now)


@blueprint.post("/conversations/<int:conversation_id>/<any(take, give_back):act>")
@staff_only("conversations.reply")
def conversation_turn(conversation_id: int, act: str) -> Response:
    """Whose turn it is: a person's for half an hour, or the bot's again at once."""
    row, _member = _conversation(conversation_id)
    if act == "take":
        rules.take_over(row, runtime().clock.now())
        row.unread_count = 0
        noted("conversations.taken", conversation=row.id)
    else:
        rules.give_back(row)
        noted("conversations.given_back", conversation=row.id)
    return back("admin.conversation", note="console.saved", conversation_id=conversation_id)


@blueprint.post("/conversations/<int:conversation_id>/note")
@staff_only("conversations.reply")
def conversation_note(conversation_id: int) -> Response:
    """A note that only the team reads."""
    row, member = _conversation(conversation_id)
    text = request.form.get("text", "").strip()
    if not text or len(text) > REPLY_LETTERS:
        raise Invalid("errors.invalid_field", field=t(locale(), "conversations.note"))
    held = runtime()
    rules.note(db(), held.vault, member, staff_id=g.staff.id, text=text, now=held.clock.now())
    noted("conversations.noted", conversation=row.id)
    return back("admin.conversation", note="console.saved", conversation_id=conversation_id)


@blueprint.post("/conversations/<int:conversation_id>/assign")
@staff_only("conversations.reply")
def conversation_assign(conversation_id: int) -> Response:
    """Hand it to somebody of the team, or to nobody."""
    row, _member = _conversation(conversation_id)
    chosen = forms.choice("staff", "conversations.assigned", ["", *map(str, team())])
    row.assigned_staff_id = int(chosen) if chosen else None
    noted("conversations.assigned", conversation=row.id, staff=row.assigned_staff_id)
    return back("admin.conversation", note="console.saved", conversation_id=conversation_id)


@blueprint.post("/conversations/<int:conversation_id>/close")
@staff_only("conversations.reply")
def conversation_close(conversation_id: int) -> Response:
    """Done; the member's next text opens it again."""
    row, _member = _conversation(conversation_id)
    rules.close(db(), row)
    noted("conversations.closed", conversation=row.id)
    return back("admin.conversations_list", note="console.closed")


@blueprint.post("/conversations/<int:conversation_id>/ticket")
@staff_only("tickets.edit")
def conversation_ticket(conversation_id: int) -> Response:
    """Put a matter of this member on the list; it counts for their level."""
    row, member = _conversation(conversation_id)
    subject = forms.words("subject", "conversations.ticket_subject", tickets.SUBJECT_LETTERS)
    ticket = tickets.open_ticket(db(), member.id, subject, runtime().clock.now())
    noted("tickets.opened", ticket=ticket.id)
    return back("admin.conversation", note="console.saved", conversation_id=row.id)


@blueprint.get("/conversations/<int:conversation_id>/pictures/<int:picture_id>.jpg")
@staff_only("conversations.read")
def conversation_picture(conversation_id: int, picture_id: int) -> Response:
    """A picture of this chat, for staff."""
    _row, member = _conversation(conversation_id)
    picture = db().scalar(
        select(ConversationPicture)
        .join(ConversationLine, ConversationLine.id == ConversationPicture.line_id)
        .where(
            ConversationPicture.id == picture_id,
            ConversationPicture.state == PictureState.KEPT,
            ConversationLine.conversation_id == conversation_id,
        )
    )
    body = rules.picture_of(db(), runtime().vault, member, picture) if picture else None
    if body is None:
        abort(404)
    response = make_response(body)
    response.mimetype = "image/jpeg"
    response.headers["Cache-Control"] = "private, no-store"
    return response
