"""Answers kept ready: saved replies for staff, and words that the bot answers by itself."""

from __future__ import annotations

from typing import Any

from flask import Response, abort, make_response, render_template, request
from sqlalchemy import or_, select

from core.db import insert_into
from core.errors import Refused
from core.i18n import t
from core.text import clean_lines, match_key
from engagement import saved_replies
from loyalty import keywords
from models.conversations import KeywordReply, SavedReply
from web.admin import forms
from web.admin.ground import back, blueprint, escaped, may, noted
from web.admin.tables import Column, Listing, found_in, listed, search_text
from web.auth import staff_only
from web.ground import db, locale, runtime

MOST_PRIORITY = 999


def _words() -> Any:
    """Words whose own or whose answers' text holds what is searched for."""
    query = select(KeywordReply)
    if text := search_text():
        like, key = f"%{escaped(text)}%", match_key(text)
        rows = db().execute(select(KeywordReply.id, KeywordReply.words))
        known = [row.id for row in rows if any(key in word for word in row.words)]
        query = query.where(
            or_(
                KeywordReply.id.in_(known),
                KeywordReply.text_th.ilike(like, escape="\\"),
                KeywordReply.text_en.ilike(like, escape="\\"),
            )
        )
    return query


WORDS = listed(
    Listing(
        "/replies",
        (
            Column("priority", "replies.priority", KeywordReply.priority,
                   lambda one: one.priority, "num"),
            Column("words", "replies.words", None, lambda one: ", ".join(one.words)),
            Column("how", "replies.how", KeywordReply.is_exact,
                   lambda one: t(locale(), f"replies.{'exact' if one.is_exact else 'contains'}")),
            Column("state", "console.state", KeywordReply.is_on,
                   lambda one: t(locale(), f"console.{'on' if one.is_on else 'off'}")),
            Column("text_th", "replies.text_th", KeywordReply.text_th, lambda one: one.text_th),
            Column("text_en", "replies.text_en", KeywordReply.text_en, lambda one: one.text_en),
            Column("acts", ""),
        ),
        _words,
        "priority",
        KeywordReply.id,
        "conversations.read",
        is_down=False,
        shape=lambda row: row[0],
        home="admin.replies_page",
    )
)  # fmt: skip
SAVED = listed(
    Listing(
        "/replies/saved",
        (
            Column("title", "replies.title", SavedReply.title, lambda one: one.title),
            Column("text", "replies.text", SavedReply.text, lambda one: one.text),
            Column("made", "console.made_at", SavedReply.made_at, lambda one: one.made_at,
                   "moment"),
            Column("acts", ""),
        ),
        lambda: found_in(select(SavedReply), SavedReply.title, SavedReply.text),
        "title",
        SavedReply.id,
        "conversations.read",
        is_down=False,
        shape=lambda row: row[0],
        home="admin.replies_saved",
    )
)  # fmt: skip


@blueprint.get("/replies")
@staff_only("conversations.read")
def replies_page() -> str:
    """Words that the bot answers by itself; `?try=` shows what a text would be answered."""
    return _page()


@blueprint.get("/replies/saved")
@staff_only("conversations.read")
def replies_saved() -> str:
    """Answers that staff keep ready."""
    return _saved_page()


def _page(refusal: str = "") -> str:
    tried = request.args.get("try", "")[:200]
    said = match_key(tried)
    rules = keywords.rules_in_force(db())
    fits = (one for one in rules if keywords.fits(one.words, said, is_exact=one.is_exact))
    return render_template(
        "admin/replies.html",
        table=WORDS.page(),
        tried=tried,
        found=next(fits, None) if said else None,
        refusal=refusal,
        typed=request.form,
        can_edit=may("replies.edit"),
    )


def _saved_page(refusal: str = "") -> str:
    return render_template(
        "admin/replies_saved.html",
        table=SAVED.page(),
        placeholders=[f"{{{one}}}" for one in saved_replies.PLACEHOLDERS],
        refusal=refusal,
        typed=request.form,
        can_edit=may("replies.edit"),
    )


@blueprint.post("/replies/saved")
@staff_only("replies.edit")
def reply_add() -> Any:
    """Keep an answer; one of the same title is replaced."""
    try:
        title = forms.words("title", "replies.title", 100)
        text = _lines("text", "replies.text", 2000)
        saved_replies.check(title, text)
    except Refused as error:
        return make_response(_saved_page(t(locale(), error.code, **error.facts)), error.status)
    db().execute(
        insert_into(db(), SavedReply)
        .values(title=title, text=text, made_at=runtime().clock.now())
        .on_conflict_do_update(index_elements=["title"], set_={"text": text})
    )
    noted("replies.saved", title=title)
    return back("admin.replies_saved", note="console.saved")


@blueprint.post("/replies/saved/<int:reply_id>/drop")
@staff_only("replies.edit")
def reply_drop(reply_id: int) -> Response:
    """Throw one away."""
    known = db().get(SavedReply, reply_id) or abort(404)
    noted("replies.dropped", title=known.title)
    db().delete(known)
    return back("admin.replies_saved", note="console.saved")


@blueprint.post("/replies/words")
@staff_only("replies.edit")
def keyword_add() -> Any:
    """Words and what the bot says to them."""
    try:
        reply = KeywordReply(
            words=keywords.read_words(request.form.get("words", "")[:2000]),
            is_exact=forms.choice("how", "replies.how", ["exact", "contains"]) == "exact",
            priority=forms.whole("priority", "replies.priority", 1, MOST_PRIORITY),
            text_th=_lines("text_th", "replies.text_th", 1000),
            text_en=_lines("text_en", "replies.text_en", 1000),
            made_at=runtime().clock.now(),
        )
    except Refused as error:
        return make_response(_page(t(locale(), error.code, **error.facts)), error.status)
    db().add(reply)
    noted("keywords.added", words=reply.words)
    return back("admin.replies_page", note="console.saved")


@blueprint.post("/replies/words/<int:keyword_id>/<any(on, off, drop):act>")
@staff_only("replies.edit")
def keyword_change(keyword_id: int, act: str) -> Response:
    """On, off, or away."""
    known = db().get(KeywordReply, keyword_id) or abort(404)
    noted("keywords.changed", words=known.words, change=act)
    if act == "drop":
        db().delete(known)
    else:
        known.is_on = act == "on"
    return back("admin.replies_page", note="console.saved")


def _lines(field: str, label: str, limit: int) -> str:
    typed = request.form.get(field, "")
    text = clean_lines(typed, limit)
    if not text or len(typed) > limit:
        raise forms.bad(label)
    return text
