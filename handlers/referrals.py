"""Inviting friends in the chat: link, QR, code, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from bot import theme
from bot.flex import members as member_cards
from bot.flex import referrals as cards
from bot.flex.referrals import InviteCounts, InviteStatus
from core.i18n import money, t
from handlers import links
from handlers.coupons import name_of
from loyalty import referrals

if TYPE_CHECKING:
    from handlers.router import Context, Messages


def show(ctx: Context) -> Messages:
    """`ชวนเพื่อน`: my link, its QR, and how many friends came."""
    code = ctx.member.referral_code
    if not ctx.member.is_member or code is None:
        return [member_cards.must_join(ctx.locale)]
    invited = referrals.invited_by(ctx.session, ctx.member)
    path = f"/m/invite?code={quote(code)}"
    link = links.liff_url(ctx, path) or links.public_url(ctx, path)
    picture = links.public_url(ctx, f"/p/invite/{quote(code)}.png")
    counts = InviteCounts(joined=invited.joined, bought=invited.bought)
    statuses = [
        InviteStatus(one.name, t(ctx.locale, f"referrals.step_{one.step.value}"))
        for one in referrals.statuses_of(ctx.session, ctx.member)
    ]
    gifts = _gifts(ctx)
    card = cards.invite_card(
        link, picture, code, counts, ctx.locale, gifts=gifts, statuses=statuses
    )
    return [theme.with_quick_reply(card, [links.page_action(ctx, "friends")])]


def _gifts(ctx: Context) -> list[str]:
    """What both get, in a sentence each; nothing is promised that is switched off."""
    friend, referrer = referrals.gifts(ctx.session)
    lines = []
    if friend is not None:
        lines.append(t(ctx.locale, "referrals.friend_gets", gift=name_of(friend, ctx.locale)))
    if referrer is not None:
        baht = money(ctx.locale, referrals.least_bill(ctx.session))
        gift = name_of(referrer, ctx.locale)
        lines.append(t(ctx.locale, "referrals.you_get", gift=gift, baht=baht))
    return lines
