"""Answers to a question in the chat: a mark by one tap, and in the next text perhaps why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.flex import errors
from bot.flex import surveys as cards
from core.i18n import t
from core.text import parse_whole
from handlers import links
from loyalty import referrals, surveys

if TYPE_CHECKING:
    from handlers.router import Context, Messages


def answer(ctx: Context) -> Messages:
    """A tap on a mark: the first one counts, and every one is thanked for."""
    params = ctx.postback.params if ctx.postback else {}
    question_id, score = (parse_whole(params.get(name, "")) for name in ("q", "s"))
    if question_id is None or score is None:
        return [errors.sorry(t(ctx.locale, "surveys.unknown"))]
    taken = surveys.answer(ctx.session, ctx.member.id, question_id, score, ctx.now)
    if taken is None:
        return [errors.sorry(t(ctx.locale, "surveys.unknown"))]
    path = surveys.review_path(ctx.session, ctx.runtime.vault, taken.answer)
    return [
        cards.thanks(
            taken.mood.value,
            ctx.locale,
            is_first=taken.is_first,
            review_url=links.public_url(ctx, path) if path else None,
            can_invite=ctx.member.is_member and any(referrals.gifts(ctx.session)),
        )
    ]


def take_why(ctx: Context) -> Messages | None:
    """The text after a mark, as its reason; None when there is nothing to give a reason for."""
    kept = surveys.take_why(
        ctx.session,
        ctx.runtime.vault,
        ctx.member,
        ctx.text,
        line_message_id=str(ctx.message.get("id", ""))[:64] or None,
        now=ctx.now,
    )
    return [cards.why_kept(ctx.locale)] if kept is not None else None
