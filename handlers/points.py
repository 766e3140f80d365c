"""Points in the chat: the balance with what expires when, and the history in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot import theme
from bot.flex import members as member_cards
from bot.flex import points as cards
from bot.flex.points import HistoryLine, NextReward
from core.clock import last_day, local_day
from handlers import links
from handlers.coupons import name_of
from loyalty import coupons, points

if TYPE_CHECKING:
    from handlers.router import Context, Messages


def show(ctx: Context) -> Messages:
    """`แต้ม`: available, pending, debt, what expires when, and the next reward."""
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    balance = points.balance_of(ctx.session, ctx.member.id, ctx.now)
    tz = ctx.runtime.clock.tz
    card = cards.balance_card(
        balance.available,
        balance.pending,
        balance.debt,
        [(lot.points, last_day(lot.expires_at, tz)) for lot in balance.expiring],
        next_reward(ctx, balance.available - balance.debt),  # a debt is paid first
        ctx.locale,
    )
    return [theme.with_quick_reply(card, [links.page_action(ctx, "points")])]


def history(ctx: Context) -> Messages:
    """`ประวัติ`: the last movements in words."""
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    tz = ctx.runtime.clock.tz
    lines = [
        HistoryLine(
            words=cards.history_words(entry.kind.value, entry.facts, ctx.locale),
            points=entry.points,
            on=local_day(entry.effective_at, tz),
        )
        for entry in points.history(ctx.session, ctx.member.id, cards.LINES_SHOWN)
    ]
    card = cards.history(lines, ctx.locale)
    return [theme.with_quick_reply(card, [links.page_action(ctx, "points")])]


def next_reward(ctx: Context, available: int) -> NextReward | None:
    """The cheapest reward still out of reach, else the dearest within it."""
    found = coupons.offers_for(ctx.session, ctx.member, ctx.now, ctx.runtime.clock.tz, "points")
    prices = sorted(
        (offer.coupon.price_points or 0, name_of(offer.coupon, ctx.locale))
        for offer in found
        if offer.refusal in (None, "points.not_enough")
    )
    out_of_reach = [each for each in prices if each[0] > available]
    if not prices:
        return None
    price, name = out_of_reach[0] if out_of_reach else prices[-1]
    return NextReward(name, price, max(0, price - available))
