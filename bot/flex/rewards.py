"""The reward catalogue in the chat: what points buy, and the question before a tap burns them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot import theme
from bot.flex.coupons import CARDS_SHOWN, LAST_FEW
from bot.theme import Component, Message
from core.i18n import t


@dataclass(frozen=True)
class RewardView:
    """One reward as shown; `left` is the stock, None when unlimited."""

    id: int | str
    name: str
    price_points: int
    left: int | None = None
    description: str | None = None
    picture_url: str | None = None


def catalogue(
    rewards: Sequence[RewardView], available: int, locale: str, *, debt: int = 0
) -> Message:
    """Show the rewards with what each costs; those out of reach say how much is missing, a debt
    that is paid first included."""
    if not rewards:
        title = t(locale, "rewards.empty_title")
        body = theme.column(
            theme.text(title, size="lg", weight="bold"),
            theme.text(t(locale, "rewards.empty_body"), size="sm", color=theme.MUTED),
            theme.text(
                t(locale, "rewards.you_have", count=available, points=available),
                size="sm",
                weight="bold",
                color=theme.LEAF,
            ),
            spacing="sm",
            padding="20px",
        )
        return theme.flex(title, theme.bubble(body))
    bubbles = [_reward(reward, available - debt, locale) for reward in rewards[:CARDS_SHOWN]]
    return theme.flex(t(locale, "rewards.alt", count=len(rewards)), theme.carousel(bubbles))


def _reward(reward: RewardView, available: int, locale: str) -> Component:
    missing = max(0, reward.price_points - available)
    is_gone = reward.left is not None and reward.left <= 0
    head = theme.column(
        theme.text(t(locale, "rewards.price"), size="xs", color=theme.AMBER_DARK),
        theme.text(
            t(locale, "points.count", count=reward.price_points, points=reward.price_points),
            size="xxl",
            weight="bold",
            color=theme.COFFEE,
        ),
        background=theme.SAND,
        padding="18px",
        spacing="xs",
    )
    stock = reward.left if reward.left is not None and 0 < reward.left <= LAST_FEW else None
    body = theme.column(
        theme.text(theme.clip_name(reward.name), size="md", weight="bold", max_lines=3),
        theme.text(
            theme.clip_graphemes(reward.description, 160), size="xs", color=theme.MUTED, max_lines=4
        )
        if reward.description
        else None,
        theme.text(
            t(locale, "coupons.left", count=stock, left=stock),
            size="sm",
            weight="bold",
            color=theme.CORAL,
        )
        if stock
        else None,
        spacing="sm",
        padding="18px",
    )
    if is_gone or missing:
        words = (
            t(locale, "coupons.none_left")
            if is_gone
            else t(locale, "points.missing", count=missing, points=missing)
        )
        foot = theme.text(words, size="sm", color=theme.MUTED, align="center", margin="md")
    else:
        exchange = theme.postback_action(
            t(locale, "rewards.button_exchange"),
            "rewards.exchange",
            display_text=t(locale, "rewards.say_exchange", name=theme.clip_name(reward.name)),
            offer=reward.id,
        )
        foot = theme.button(exchange)
    hero = theme.image(reward.picture_url, ratio="20:11")
    return theme.bubble(body, header=head, hero=hero, footer=theme.footer(foot), size="kilo")


def confirm_exchange(reward: RewardView, available: int, key: str, locale: str) -> Message:
    """Ask before points are burned; `key` makes a doubled tap one exchange."""
    title = t(locale, "rewards.confirm_title", name=theme.clip_name(reward.name))
    body = theme.column(
        theme.text(title, size="lg", weight="bold"),
        theme.fact(t(locale, "rewards.price"), f"{reward.price_points:,}"),
        theme.fact(t(locale, "rewards.left_after"), f"{available - reward.price_points:,}"),
        spacing="md",
        padding="20px",
    )
    footer = theme.footer(
        theme.button(
            theme.postback_action(
                t(locale, "rewards.button_confirm"),
                "rewards.confirm",
                display_text=t(locale, "rewards.button_confirm"),
                offer=reward.id,
                key=key,
                price=reward.price_points,
            )
        ),
        theme.button(
            theme.postback_action(t(locale, "rewards.button_not_now"), "rewards.show"),
            style="secondary",
        ),
    )
    return theme.flex(title, theme.bubble(body, footer=footer))
