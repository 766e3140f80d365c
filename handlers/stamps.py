"""Stamps in the chat: the member's cards, drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.flex import members as member_cards
from bot.flex import stamps as cards
from bot.flex.stamps import ShownCard
from core.clock import last_day
from core.i18n import t
from handlers import links
from handlers.coupons import name_of
from loyalty import stamp_pictures, stamps

if TYPE_CHECKING:
    from handlers.router import Context, Messages


def show(ctx: Context) -> Messages:
    """`แสตมป์`: each card as a picture, what is still missing, and the prize."""
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    views = stamps.cards_of(ctx.session, ctx.member.id, ctx.now)
    return [cards.cards([_shown(ctx, view) for view in views], ctx.locale)]


def _shown(ctx: Context, view: stamps.CardView) -> ShownCard:
    secret, program = ctx.runtime.settings.secret_key, view.program
    token = stamp_pictures.token_of(secret, program.id, view.filled, ctx.locale)
    goal = view.goal
    return ShownCard(
        image_url=links.public_url(ctx, f"/p/stamps/{token}.png"),
        filled=view.filled,
        size=view.size,
        reward_name=name_of(goal, ctx.locale) if goal else t(ctx.locale, "stamps.no_prize"),
        expires_on=last_day(view.expires_at, ctx.runtime.clock.tz) if view.expires_at else None,
        program_name=program.name_en if ctx.locale == "en" else program.name_th,
    )
