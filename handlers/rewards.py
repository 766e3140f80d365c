"""The reward catalogue in the chat: look, confirm, exchange."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.flex import coupons as coupon_cards
from bot.flex import errors
from bot.flex import members as member_cards
from bot.flex import rewards as cards
from bot.flex.rewards import RewardView
from core import ids
from core.errors import Refused
from core.i18n import t
from core.text import parse_whole
from handlers.coupons import name_of, voucher_view
from loyalty import coupons, points, rewards
from models.coupons import Coupon

if TYPE_CHECKING:
    from handlers.router import Context, Messages

KEY_LETTERS = 32


def show(ctx: Context) -> Messages:
    """`ของรางวัล`: what points buy, or that there is nothing yet."""
    found = coupons.offers_for(ctx.session, ctx.member, ctx.now, ctx.runtime.clock.tz, "points")
    shown = [
        _view(offer.coupon, ctx.locale)
        for offer in found
        if offer.refusal != "coupons.already_claimed"
    ]
    balance = points.balance_of(ctx.session, ctx.member.id, ctx.now)
    return [cards.catalogue(shown, balance.available, ctx.locale, debt=balance.debt)]


def exchange(ctx: Context) -> Messages:
    """A tap on a reward: ask before points are burned."""
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    reward = rewards.reward(ctx.session, _wanted(ctx))
    if reward is None:
        return [errors.sorry(t(ctx.locale, "coupons.not_available"))]
    view, key = _view(reward, ctx.locale), ids.public_id()
    return [cards.confirm_exchange(view, _available(ctx), key, ctx.locale)]


def confirm(ctx: Context) -> Messages:
    """The second tap: points burned and voucher given, or neither; a third tap changes nothing."""
    key = ctx.postback.params.get("key", "")[:KEY_LETTERS] if ctx.postback else ""
    tz = ctx.runtime.clock.tz
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    try:
        voucher = rewards.exchange(
            ctx.session, _wanted(ctx), ctx.member, key, ctx.now, tz, price=_price_seen(ctx)
        )
    except Refused as refusal:
        return [errors.sorry(t(ctx.locale, refusal.code, **refusal.facts))]
    return [coupon_cards.claimed(voucher_view(ctx, voucher), ctx.locale)]


def _wanted(ctx: Context) -> int:
    return parse_whole(ctx.postback.params.get("offer", "")) or 0 if ctx.postback else 0


def _price_seen(ctx: Context) -> int | None:
    return parse_whole(ctx.postback.params.get("price", "")) if ctx.postback else None


def _available(ctx: Context) -> int:
    return points.balance_of(ctx.session, ctx.member.id, ctx.now).available


def _view(coupon: Coupon, locale: str) -> RewardView:
    return RewardView(
        id=coupon.id,
        name=name_of(coupon, locale),
        price_points=coupon.price_points or 0,
        left=coupon.left,
        description=(coupon.terms_en if locale == "en" else coupon.terms_th) or None,
        picture_url=coupon.picture_url,
    )
