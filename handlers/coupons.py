"""Coupons in the chat: my vouchers, offers to claim, using one, and typed codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot import theme
from bot.flex import coupons as cards
from bot.flex import errors
from bot.flex import members as member_cards
from bot.flex.coupons import OfferView, VoucherView
from core import ids
from core.clock import last_day
from core.errors import Refused
from core.i18n import t
from core.text import parse_whole
from handlers import links
from loyalty import coupons, typed_codes, vouchers
from models.coupons import Coupon, Voucher

if TYPE_CHECKING:
    from handlers.router import Context, Messages

KEY_LETTERS = 32


def show(ctx: Context) -> Messages:
    """`คูปอง`: my vouchers first, then what can be claimed."""
    mine = coupons.vouchers_of(ctx.session, ctx.member.id, ctx.now)
    found = _offers(ctx)
    shown: Messages = []
    if mine or not found:
        shown.append(cards.voucher_list([voucher_view(ctx, each) for each in mine], ctx.locale))
    if found:
        shown.append(cards.offer_list(found, ctx.locale))
    return shown


def offers(ctx: Context) -> Messages:
    """Only what can be claimed."""
    return [cards.offer_list(_offers(ctx), ctx.locale)]


def claim(ctx: Context) -> Messages:
    """A tap on *claim*: one voucher, once, however often this button is tapped.

    Each card carries a key of its own. A button without one, of a menu or an older card, gives one
    voucher for good.
    """
    key = ctx.postback.params.get("key", "")[:KEY_LETTERS] if ctx.postback else ""
    offer_id = parse_whole(ctx.postback.params.get("offer", "")) if ctx.postback else None
    if not ctx.member.is_member:
        return [member_cards.must_join(ctx.locale)]
    tz = ctx.runtime.clock.tz
    try:
        voucher = coupons.claim(
            ctx.session, offer_id or 0, ctx.member, ctx.now, tz, key=key or "button"
        )
    except Refused as refusal:
        look = theme.postback_action(t(ctx.locale, "members.button_coupons"), "coupons.show")
        return [errors.sorry(t(ctx.locale, refusal.code, **refusal.facts), action=look)]
    is_new = voucher.issued_at == ctx.now
    return [cards.claimed(voucher_view(ctx, voucher), ctx.locale, is_new=is_new)]


def use(ctx: Context) -> Messages:
    """A tap on *use at the shop*: the way to the page with the moving QR."""
    wanted = ctx.postback.params.get("voucher", "") if ctx.postback else ""
    voucher = vouchers.own(ctx.session, ctx.member.id, wanted)
    if voucher is None:
        return [errors.sorry(t(ctx.locale, "coupons.not_found"))]
    tz = ctx.runtime.clock.tz
    refusal = vouchers.refusal(ctx.session, voucher, ctx.now, tz)
    if refusal is not None:
        return [errors.sorry(t(ctx.locale, refusal.code, **refusal.facts))]
    label = t(ctx.locale, "links.use_voucher", name=name_of(voucher.coupon, ctx.locale))
    body = t(ctx.locale, "links.use_voucher_body")
    return [links.offer(ctx, f"/m/coupons/{voucher.public_id}", label, body)]


def enter_code(ctx: Context) -> Messages:
    """The menu has opened the keyboard with `โค้ด ` typed; there is nothing to answer yet."""
    return []


def use_code(ctx: Context) -> Messages:
    """`โค้ด X`: a source, referral or coupon code; one answer for every refusal."""
    tz = ctx.runtime.clock.tz
    try:
        used = typed_codes.use(ctx.session, ctx.member, ctx.argument, ctx.now, ctx.real_now, tz)
    except Refused as refusal:
        said = errors.sorry(t(ctx.locale, refusal.code, **refusal.facts))
        return [said] if ctx.member.is_member else [said, member_cards.must_join(ctx.locale)]
    if used.voucher is not None:
        return [cards.claimed(voucher_view(ctx, used.voucher), ctx.locale)]
    noted = theme.text_message(t(ctx.locale, "codes.source_noted"))
    return [noted, member_cards.must_join(ctx.locale)]


def ask_code(ctx: Context) -> Messages:
    """`โค้ด` alone: say how to type one."""
    return [theme.text_message(t(ctx.locale, "codes.how_to_type"))]


def name_of(coupon: Coupon, locale: str) -> str:
    """A coupon's name in one language."""
    return coupon.name_en if locale == "en" else coupon.name_th


def value_of(coupon: Coupon, locale: str) -> str:
    """A coupon's worth in a few big words."""
    return cards.value_words(
        coupon.kind.value,
        locale,
        amount_satang=coupon.value_satang,
        percent=coupon.percent,
        max_satang=coupon.max_satang,
    )


def voucher_view(ctx: Context, voucher: Voucher) -> VoucherView:
    """A voucher as the card shows it."""
    coupon, tz = voucher.coupon, ctx.runtime.clock.tz
    left = coupons.left_words(voucher.left_satang)
    return VoucherView(
        id=voucher.public_id,
        title=name_of(coupon, ctx.locale),
        value=value_of(coupon, ctx.locale),
        expires_on=last_day(voucher.expires_at, tz) if voucher.expires_at else None,
        terms=(coupon.terms_en if ctx.locale == "en" else coupon.terms_th) or None,
        picture_url=coupon.picture_url,
        is_held=vouchers.is_at_till(ctx.session, voucher, ctx.real_now),
        is_waiting=vouchers.waits_for_proof(ctx.session, voucher, ctx.member),
        conditions=coupons.describe(ctx.session, coupon, ctx.locale),
        left=left.in_(ctx.locale) if left else None,
    )


def _offers(ctx: Context) -> list[OfferView]:
    tz = ctx.runtime.clock.tz
    found = coupons.offers_for(ctx.session, ctx.member, ctx.now, tz, "claim")
    return [
        OfferView(
            id=offer.coupon.id,
            title=name_of(offer.coupon, ctx.locale),
            value=value_of(offer.coupon, ctx.locale),
            left=offer.left,
            ends_on=last_day(offer.coupon.ends_at, tz) if offer.coupon.ends_at else None,
            terms=(offer.coupon.terms_en if ctx.locale == "en" else offer.coupon.terms_th) or None,
            picture_url=offer.coupon.picture_url,
            conditions=coupons.describe(ctx.session, offer.coupon, ctx.locale),
            left_today=offer.left_today,
            refusal=t(ctx.locale, offer.refusal, **offer.facts) if offer.refusal else None,
            key=ids.public_id(),
        )
        for offer in found
        if offer.refusal != "coupons.already_claimed"
    ]
