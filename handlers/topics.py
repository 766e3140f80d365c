"""`รับข่าวอะไรบ้าง`: what a member hears about, how often, or nothing at all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot import theme
from bot.flex import members as member_cards
from bot.flex import topics as cards
from core.i18n import t
from core.text import parse_whole
from engagement import topics
from handlers import links
from loyalty import consents
from models.members import Purpose

if TYPE_CHECKING:
    from handlers.router import Context, Messages


def show(ctx: Context) -> Messages:
    """The card with every topic, and how often."""
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    choice = topics.choice_of(ctx.session, ctx.member.id)
    card = cards.choices(
        [(name, name not in choice.muted) for name in topics.TOPICS],
        choice.per_week,
        topics.per_week_choices(ctx.session),
        ctx.locale,
        accepts=consents.is_given(ctx.session, ctx.member.id, Purpose.MARKETING),
    )
    return [theme.with_quick_reply(card, [links.page_action(ctx, "topics")])]


def set_topic(ctx: Context) -> Messages:
    """A tap on a topic turns it on or off; an old card's tap says what it said."""
    params = ctx.postback.params if ctx.postback else {}
    name = params.get("topic", "")
    if ctx.member.is_member and name in topics.TOPICS:
        topics.set_topic(ctx.session, ctx.member.id, name, ctx.now, is_on=params.get("on") == "1")
    return show(ctx)


def set_often(ctx: Context) -> Messages:
    """A tap on how often."""
    number = parse_whole(ctx.postback.params.get("times", "")) if ctx.postback else None
    if ctx.member.is_member and number in topics.per_week_choices(ctx.session):
        topics.set_per_week(ctx.session, ctx.member.id, number, ctx.now)
        return [theme.text_message(t(ctx.locale, "topics.changed")), *show(ctx)]
    return show(ctx)
