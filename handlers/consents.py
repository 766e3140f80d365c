"""Consents in the chat: a new version of a text is shown once beside an answer, and answered there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot import theme
from bot.flex import consents as cards
from core.i18n import t
from handlers import links
from loyalty import consents, conversations
from models.members import JoinForm, Purpose

if TYPE_CHECKING:
    from handlers.router import Context, Messages

#: LINE takes five messages in one reply.
ROOM = 5


def ask_beside(ctx: Context, answer: Messages) -> Messages:
    """The answer, and after it what a member has to be asked again; never in a dialogue or a chat
    that a person has."""
    is_fit = ctx.member.is_member and ctx.can_reply and ctx.form is None
    if not is_fit or not 0 < len(answer) < ROOM:
        return answer
    if not consents.stale(ctx.session, ctx.member.id):
        return answer
    if ctx.session.get(JoinForm, ctx.member.id) is not None:  # this very answer began a dialogue
        return answer
    if conversations.is_bot_silent(conversations.of(ctx.session, ctx.member), ctx.now):
        return answer
    text = consents.ask_once(ctx.session, ctx.member, ctx.now)
    if text is None:
        return answer
    words = consents.words(ctx.session, text.purpose, ctx.locale)
    policy = links.public_url(ctx, "/m/privacy")
    return [*answer, cards.asked_again(text.purpose.value, text.version, words, ctx.locale, policy)]


def agree(ctx: Context) -> Messages:
    """Agreed to a version by its button: that version is what is recorded."""
    purpose, version = _named(ctx)
    if purpose is None or not consents.is_given(ctx.session, ctx.member.id, purpose):
        return [theme.text_message(t(ctx.locale, "consents.nothing_to_answer"))]
    consents.give(ctx.session, ctx.member.id, purpose, channel="chat", now=ctx.now, version=version)
    return [theme.text_message(t(ctx.locale, "consents.agreed"))]


def decline(ctx: Context) -> Messages:
    """Not agreed: the consent ends, and with membership the way out is shown."""
    purpose, _version = _named(ctx)
    if purpose is None:
        return [theme.text_message(t(ctx.locale, "consents.nothing_to_answer"))]
    if purpose == Purpose.MEMBERSHIP:
        leave = theme.postback_action(t(ctx.locale, "members.button_leave"), "members.leave")
        said = theme.text_message(t(ctx.locale, "consents.declined_membership"))
        return [theme.with_quick_reply(said, [leave])]
    consents.withdraw(ctx.session, ctx.member.id, purpose, ctx.now)
    return [theme.text_message(t(ctx.locale, "consents.declined"))]


def _named(ctx: Context) -> tuple[Purpose | None, int]:
    found = ctx.postback
    params = found.params if found is not None else {}
    version = params.get("version", "")
    is_known = params.get("purpose") in set(Purpose) and version.isascii() and version.isdigit()
    if not is_known or len(version) > 6:
        return None, 0
    return Purpose(params["purpose"]), int(version)
