"""Inviting friends in the chat: link, QR, code, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from bot.flex import members as member_cards
from bot.flex import referrals as cards
from bot.flex.referrals import InviteCounts
from handlers import links
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
    return [cards.invite_card(link, picture, code, counts, ctx.locale)]
