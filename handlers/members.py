"""Being a friend or a member: greeting, card, own data, language, help."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot import theme
from bot.flex import errors
from bot.flex import members as cards
from bot.flex.journeys import notice
from bot.flex.members import MyData
from bot.flex.tiers import progress_words
from core.clock import local_day
from core.errors import Refused
from core.i18n import t
from core.text import parse_whole
from handlers import joining, links
from loyalty import (
    codes,
    consents,
    coupons,
    disputes,
    erasure,
    members,
    personal,
    points,
    shop,
    stamps,
    tiers,
)
from loyalty.members import shown_name
from models.members import Purpose

if TYPE_CHECKING:
    from handlers.router import Context, Messages

BENEFITS = ("points", "stamps", "coupons", "birthday")


def follow(ctx: Context) -> Messages:
    """Somebody added or unblocked the account: welcomed once, welcomed back after that."""
    details = ctx.event.get("follow")
    is_unblocked = isinstance(details, dict) and bool(details.get("isUnblocked"))
    found = members.follow(
        ctx.session, ctx.member, ctx.event_at, at=ctx.happened_at, is_unblocked=is_unblocked
    )
    # A follow that comes late interrupts no joining; who blocked us half-way is welcomed back.
    is_late = found.greeting == "new" or not found.has_decided
    if found.greeting is None or (ctx.form is not None and is_late):
        return []
    shop_name = joining.shop_name(ctx)
    if ctx.member.is_member:
        available = points.balance_of(ctx.session, ctx.member.id, ctx.now).available
        return [cards.welcome_member(shop_name, shown_name(ctx.member), available, ctx.locale)]
    has_stamps = any(program.is_on for program in stamps.every_current(ctx.session))
    names = [name for name in BENEFITS if has_stamps or name != "stamps"]
    benefits = [t(ctx.locale, f"members.benefit_{name}") for name in names]
    said = (f"shop.about_{ctx.locale}", f"shop.hours_{ctx.locale}", "shop.phone")
    about = [line for key in said if (line := shop.get(ctx.session, key))]
    return [
        cards.welcome(
            shop_name,
            benefits,
            ctx.locale,
            rejoin=found.greeting == "back",
            about=about,
            map_url=shop.get(ctx.session, "shop.map_url"),
        )
    ]


def unfollow(ctx: Context) -> Messages:
    """Somebody blocked the account: nothing is sent to them until they come back."""
    members.unfollow(ctx.session, ctx.member, ctx.event_at, at=ctx.happened_at)
    return []


def card(ctx: Context) -> Messages:
    """`บัตร`: the member card with its earning QR."""
    member = ctx.member
    if not member.is_member:
        return [cards.must_join(ctx.locale)]
    tz = ctx.runtime.clock.tz
    standing = tiers.progress_of(ctx.session, member.id, ctx.now, tz)
    tier = standing.tier if standing is not None else None
    further = None
    if standing is not None and standing.next is not None and standing.missing > 0:
        name = standing.next.name_en if ctx.locale == "en" else standing.next.name_th
        further = progress_words(ctx.locale, standing.basis.value, standing.missing, name)
    secret = ctx.runtime.settings.secret_key
    code = codes.card_code(ctx.session, secret, member.id, ctx.real_now)
    shown = cards.member_card(
        shown_name(member),
        member.member_no or "",
        (tier.name_en if ctx.locale == "en" else tier.name_th) if tier is not None else None,
        points.balance_of(ctx.session, member.id, ctx.now).available,
        member.picture_url,
        links.public_url(ctx, f"/p/qr/{code}.png"),
        ctx.locale,
        shop_name=joining.shop_name(ctx),
        vip=member.menu_override == "vip",
        further=further,
        colour=tier.colour if tier is not None else None,
    )
    if standing is None:
        return [shown]
    return [theme.with_quick_reply(shown, [links.page_action(ctx, "tier")])]


def my_data(ctx: Context) -> Messages:
    """`ข้อมูลของฉัน`: what the shop keeps, and how to correct it, stop news, or leave."""
    member, session, vault = ctx.member, ctx.session, ctx.runtime.vault
    if not member.is_member:
        leave = theme.postback_action(t(ctx.locale, "members.button_forget_me"), "members.leave")
        kept = t(ctx.locale, "members.friend_data", name=shown_name(member))
        return [cards.must_join(ctx.locale), theme.text_message(kept, [leave])]
    phone = personal.phone_of(session, vault, member)
    assert member.joined_at is not None
    data = MyData(
        name=shown_name(member),
        member_no=member.member_no or "",
        phone_masked=members.masked_phone(phone) if phone else t(ctx.locale, "members.not_given"),
        is_phone_proven=member.phone_proven_at is not None,
        birthday=personal.birthday_of(session, vault, member),
        joined_on=local_day(member.joined_at, ctx.runtime.clock.tz),
        accepts_marketing=consents.is_given(session, member.id, Purpose.MARKETING),
    )
    topics = theme.postback_action(t(ctx.locale, "members.button_topics"), "topics.show")
    page = [links.page_action(ctx, "my_data"), topics]
    return [theme.with_quick_reply(cards.my_data(data, ctx.locale), page)]


def stop_marketing(ctx: Context) -> Messages:
    """No more news and offers, effective before the next send."""
    consents.withdraw(ctx.session, ctx.member.id, Purpose.MARKETING, ctx.now)
    return [cards.marketing_changed(False, ctx.locale)]


def start_marketing(ctx: Context) -> Messages:
    """News and offers again; somebody under age needs a guardian first (J2)."""
    if not ctx.member.is_member:
        return [cards.must_join(ctx.locale)]
    around = joining.surroundings(ctx)
    born = personal.birthday_of(ctx.session, ctx.runtime.vault, ctx.member)
    if born is not None and around.is_young(born):
        sentence = t(ctx.locale, "members.too_young_for_marketing", age=around.grown_up_age)
        return [errors.sorry(sentence)]
    consents.give(ctx.session, ctx.member.id, Purpose.MARKETING, channel="chat", now=ctx.now)
    return [cards.marketing_changed(True, ctx.locale)]


def leave(ctx: Context) -> Messages:
    """Ask once more, naming what would be lost."""
    balance = points.balance_of(ctx.session, ctx.member.id, ctx.now)
    vouchers = coupons.vouchers_of(ctx.session, ctx.member.id, ctx.now)
    return [cards.confirm_leave(balance.available, len(vouchers), ctx.locale)]


def confirm_leave(ctx: Context) -> Messages:
    """Erase this person; the answer is the last thing they hear."""
    locale = ctx.locale
    erasure.erase(
        ctx.session,
        ctx.runtime.vault,
        ctx.member,
        asked_by="member",
        now=ctx.now,
        event_id=ctx.event_id,
    )
    return [cards.left(locale)]


def language(ctx: Context) -> Messages:
    """`ภาษา`: ไทย or English."""
    return [cards.language_choice(ctx.locale)]


def set_language(ctx: Context) -> Messages:
    """Go on in the language that was tapped."""
    wanted = ctx.postback.params.get("locale", "th") if ctx.postback else "th"
    members.set_locale(ctx.session, ctx.member, wanted, ctx.now)
    changed = theme.text_message(t(ctx.locale, "members.language_changed"))
    return [changed, cards.help_card(ctx.locale, is_member=ctx.member.is_member)]


def help_me(ctx: Context) -> Messages:
    """`เมนู`, `ช่วยเหลือ`: what one can say here."""
    return [cards.help_card(ctx.locale, is_member=ctx.member.is_member)]


def not_me(ctx: Context) -> Messages:
    """A tap on *not me* under a notice: points and coupons rest, and the shop is told (AC3)."""
    act = parse_whole(ctx.postback.params.get("act", "")) if ctx.postback else None
    try:
        disputes.dispute(ctx.session, ctx.member.id, act or 0, ctx.now)
    except Refused as refusal:
        return [errors.sorry(t(ctx.locale, refusal.code, **refusal.facts))]
    title, body = t(ctx.locale, "members.disputed_title"), t(ctx.locale, "members.disputed_body")
    return [notice(title, body)]
