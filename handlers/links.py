"""Ways from the chat into the member pages: LIFF when it is set up, else a fresh one-time link."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot import theme
from bot.flex import links as cards
from core.i18n import t
from loyalty import doors

if TYPE_CHECKING:
    from bot.theme import Action
    from handlers.router import Context, Messages

#: Page names that postbacks may ask for, and what the card that opens them says.
PAGES = {
    "home": "/m/home",
    "points": "/m/points",
    "stamps": "/m/stamps",
    "coupons": "/m/coupons",
    "my_data": "/m/me",
    "topics": "/m/topics",
    "friends": "/m/friends",
    "tier": "/m/tier",
    "card": "/m/card",
}


def public_url(ctx: Context, path: str) -> str:
    """An address of ours that anyone may open."""
    return ctx.runtime.settings.public_url + path


def liff_url(ctx: Context, path: str) -> str | None:
    """A member page's LIFF address; None while LIFF is not set up. `path` begins with /m/."""
    settings = ctx.runtime.settings
    if not settings.has_liff:
        return None
    return f"{settings.liff_url}/{settings.liff_id}{path.removeprefix('/m')}"


def fresh_url(ctx: Context, path: str) -> str:
    """An address that opens this member page now; a chat link lives 10 minutes."""
    liff = liff_url(ctx, path)
    if liff:
        return liff
    token = doors.make_link(ctx.session, ctx.member, path, ctx.real_now)
    return public_url(ctx, f"/l/{token}")


def page_action(ctx: Context, page: str) -> Action:
    """A button to a page: straight through LIFF, else asking for a fresh link when tapped."""
    label = t(ctx.locale, f"links.page_{page}")
    liff = liff_url(ctx, PAGES[page])
    if liff:
        return theme.uri_action(label, liff)
    return theme.postback_action(label, "links.open", page=page)


def open_page(ctx: Context) -> Messages:
    """A tap that asks for a page: answered with a link that has just been made."""
    page = ctx.postback.params.get("page", "") if ctx.postback else ""
    page = page if page in PAGES else "home"
    return [offer(ctx, PAGES[page], t(ctx.locale, f"links.page_{page}"))]


def offer(ctx: Context, path: str, label: str, body: str | None = None) -> dict[str, object]:
    """The card with one button that opens a page."""
    minutes = None if ctx.runtime.settings.has_liff else doors.LINK_MINUTES
    return cards.open_page(label, fresh_url(ctx, path), ctx.locale, body=body, minutes=minutes)
