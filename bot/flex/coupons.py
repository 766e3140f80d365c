"""Coupons to claim and vouchers to use: lists as carousels, the claimed voucher, empty states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from bot import theme
from bot.theme import Action, Component, Message
from core.i18n import day, money, t

LAST_FEW = 20  # from here on the stock is shown as running out
# A carousel holds 12 bubbles and 50 KB; ten rich ones stay below both (a test counts).
CARDS_SHOWN = 10
CONDITIONS_SHOWN = 4


@dataclass(frozen=True)
class VoucherView:
    """One voucher of a member as shown; `value` is its worth in words (see `value_words`)."""

    id: int | str
    title: str
    value: str
    expires_on: date | None
    terms: str | None = None
    picture_url: str | None = None
    is_held: bool = False
    is_waiting: bool = False  # usable only after the phone is proven or the first purchase
    conditions: Sequence[str] = ()
    left: str | None = None  # what stays on a voucher that keeps its change, in words


@dataclass(frozen=True)
class OfferView:
    """One offer to claim as shown. `left` is the stock, None when unlimited."""

    id: int | str
    title: str
    value: str
    left: int | None
    ends_on: date | None
    terms: str | None = None
    picture_url: str | None = None
    conditions: Sequence[str] = ()
    left_today: int | None = None
    #: Why it cannot be had now although there are some left, in words.
    refusal: str | None = None
    #: Makes every tap on this card's button one claim.
    key: str = ""


def value_words(
    kind: str,
    locale: str,
    *,
    amount_satang: int | None = None,
    percent: int | None = None,
    max_satang: int | None = None,
) -> str:
    """Say what a coupon is worth in a few big words, by kind."""
    if kind == "percent_off" and max_satang:
        return t(
            locale, "coupons.value_percent_max", percent=percent, baht=money(locale, max_satang)
        )
    if kind == "percent_off":
        return t(locale, "coupons.value_percent", percent=percent)
    if kind == "free_item":
        return t(locale, "coupons.value_free")
    key = "coupons.value_cash" if kind == "cash" else "coupons.value_baht"
    return t(locale, key, baht=money(locale, amount_satang or 0))


def voucher_list(vouchers: Sequence[VoucherView], locale: str) -> Message:
    """Show a member's vouchers, soonest to expire first as given, or how to get one."""
    if not vouchers:
        return _empty(locale, "coupons.no_vouchers_title", "coupons.no_vouchers_body")
    alt = t(locale, "coupons.vouchers_alt", count=len(vouchers))
    return theme.flex(
        alt, theme.carousel([_voucher(each, locale) for each in vouchers[:CARDS_SHOWN]])
    )


def offer_list(offers: Sequence[OfferView], locale: str) -> Message:
    """Show what can be claimed, with the stock, or say that there is nothing new."""
    if not offers:
        return _empty(locale, "coupons.no_offers_title", "coupons.no_offers_body")
    alt = t(locale, "coupons.offers_alt", count=len(offers))
    return theme.flex(alt, theme.carousel([_offer(each, locale) for each in offers[:CARDS_SHOWN]]))


def claimed(voucher: VoucherView, locale: str, *, is_new: bool = True) -> Message:
    """Confirm a claim: the voucher itself, ready to use; the same tap again shows it again."""
    alt = t(locale, "coupons.claimed_alt", title=theme.clip_name(voucher.title))
    eyebrow = t(locale, "coupons.claimed" if is_new else "coupons.already_obtained")
    return theme.flex(alt, _voucher(voucher, locale, eyebrow=eyebrow))


def use_action(voucher_id: int | str, locale: str) -> Action:
    """Make the tap that asks for a fresh link to the voucher's moving QR."""
    return theme.postback_action(
        t(locale, "coupons.button_use"),
        "coupons.use",
        display_text=t(locale, "coupons.button_use"),
        voucher=voucher_id,
    )


def _ticket(
    title: str,
    value: str,
    lines: Sequence[Component | None],
    foot: Component,
    *,
    picture_url: str | None,
    eyebrow: str | None,
    is_quiet: bool = False,
) -> Component:
    """Make the shape vouchers and offers share: value on colour, title and facts, one button."""
    ground = (theme.MUTED, "#46534F") if is_quiet else (theme.LEAF, theme.LEAF_DARK)
    head = theme.column(
        theme.text(eyebrow, size="xs", color=theme.ON_LEAF_SOFT if not is_quiet else theme.ON_LEAF)
        if eyebrow
        else None,
        theme.text(
            theme.clip_graphemes(value, 40),
            size="xxl",
            weight="bold",
            color=theme.ON_LEAF,
            max_lines=2,
        ),
        background=ground[0],
        background_image=theme.gradient(*ground),
        padding="18px",
        spacing="xs",
    )
    body = theme.column(
        theme.text(theme.clip_name(title), size="md", weight="bold", max_lines=3),
        *lines,
        spacing="sm",
        padding="18px",
    )
    hero = theme.image(picture_url, ratio="20:11")
    return theme.bubble(body, header=head, hero=hero, footer=theme.footer(foot), size="kilo")


def _terms(terms: str | None) -> Component | None:
    if not terms:
        return None
    return theme.text(theme.clip_graphemes(terms, 160), size="xs", color=theme.MUTED, max_lines=4)


def _conditions(conditions: Sequence[str]) -> list[Component | None]:
    """When and where it works, a line each; a card has room for a few."""
    return [
        theme.text(theme.clip_graphemes(line, 90), size="xs", color=theme.MUTED, max_lines=2)
        for line in conditions[:CONDITIONS_SHOWN]
    ]


def _voucher(voucher: VoucherView, locale: str, *, eyebrow: str | None = None) -> Component:
    until = (
        t(locale, "coupons.until", day=day(locale, voucher.expires_on))
        if voucher.expires_on
        else None
    )
    note = "coupons.held" if voucher.is_held else "coupons.waiting" if voucher.is_waiting else None
    lines = [
        theme.text(voucher.left, size="md", weight="bold", color=theme.LEAF)
        if voucher.left
        else None,
        theme.text(until or t(locale, "coupons.no_end"), size="sm", color=theme.MUTED),
        theme.text(t(locale, note), size="xs", color=theme.AMBER_DARK) if note else None,
        *_conditions(voucher.conditions),
        _terms(voucher.terms),
    ]
    return _ticket(
        voucher.title,
        voucher.value,
        lines,
        theme.button(use_action(voucher.id, locale)),
        picture_url=voucher.picture_url,
        eyebrow=eyebrow or t(locale, "coupons.voucher"),
    )


def _offer(offer: OfferView, locale: str) -> Component:
    is_gone = offer.left is not None and offer.left <= 0
    is_gone_today = offer.left_today is not None and offer.left_today <= 0
    lines = [
        theme.text(
            t(locale, "coupons.until", day=day(locale, offer.ends_on)), size="sm", color=theme.MUTED
        )
        if offer.ends_on
        else None,
        _stock(offer.left, locale) if offer.left is not None else None,
        _stock_today(offer.left_today, locale)
        if offer.left_today is not None and not is_gone
        else None,
        *_conditions(offer.conditions),
        _terms(offer.terms),
    ]
    params: dict[str, Any] = {"offer": offer.id} | ({"key": offer.key} if offer.key else {})
    claim = theme.postback_action(
        t(locale, "coupons.button_claim"),
        "coupons.claim",
        display_text=t(locale, "coupons.say_claim", title=theme.clip_name(offer.title)),
        **params,
    )
    over = "coupons.gone" if is_gone or not is_gone_today else "coupons.sold_out_today"
    is_off = is_gone or is_gone_today or offer.refusal is not None
    gone = theme.text(
        t(locale, over) if is_gone or is_gone_today else offer.refusal or t(locale, over),
        size="sm",
        weight="bold",
        color=theme.MUTED,
        align="center",
        margin="md",
        max_lines=3,
    )
    return _ticket(
        offer.title,
        offer.value,
        lines,
        gone if is_off else theme.button(claim),
        picture_url=offer.picture_url,
        eyebrow=t(locale, "coupons.offer"),
        is_quiet=is_off,
    )


def _stock_today(left: int, locale: str) -> Component | None:
    if left <= 0:
        return None
    words = t(locale, "coupons.left_today", count=left, left=left)
    return theme.text(words, size="sm", color=theme.CORAL if left <= LAST_FEW else theme.LEAF)


def _stock(left: int, locale: str) -> Component:
    if left <= 0:
        return theme.text(t(locale, "coupons.none_left"), size="sm", color=theme.MUTED)
    is_few = left <= LAST_FEW
    return theme.text(
        t(locale, "coupons.left", count=left, left=left),
        size="sm",
        weight="bold" if is_few else "regular",
        color=theme.CORAL if is_few else theme.LEAF,
    )


def _empty(locale: str, title_key: str, body_key: str) -> Message:
    title = t(locale, title_key)
    body = theme.column(
        theme.text(title, size="lg", weight="bold"),
        theme.text(t(locale, body_key), size="sm", color=theme.MUTED),
        spacing="sm",
        padding="20px",
    )
    return theme.flex(title, theme.bubble(body))
