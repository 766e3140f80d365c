"""The stamp card in the chat: the drawn picture of this member's card and what is still missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from bot import theme
from bot.theme import Component, Message
from core.i18n import day, t


@dataclass(frozen=True)
class ShownCard:
    """One card as shown: its picture's address (and shape), how full it is, and its prize."""

    image_url: str
    filled: int
    size: int
    reward_name: str
    expires_on: date | None = None
    program_name: str | None = None
    ratio: str = "20:13"


def card_bubble(
    image_url: str,
    filled: int,
    size: int,
    reward_name: str,
    expires_on: date | None,
    locale: str,
    *,
    program_name: str | None = None,
    ratio: str = "20:13",
) -> Component:
    """Make the bubble of one card; `ratio` is the shape of its picture."""
    missing = max(0, size - filled)
    if missing:
        how_far = t(locale, "stamps.missing", count=missing, stamps=missing)
    else:
        how_far = t(locale, "stamps.full")
    body = theme.column(
        theme.row(
            theme.text(
                program_name or t(locale, "stamps.title"),
                size="lg",
                weight="bold",
                flex=1,
                max_lines=2,
            ),
            theme.pill(t(locale, "stamps.progress", filled=filled, size=size)),
            spacing="md",
            align_items="center",
        ),
        theme.text(how_far, size="sm", color=theme.LEAF, weight="bold"),
        theme.text(
            t(locale, "stamps.prize", reward=theme.clip_name(reward_name)),
            size="sm",
            color=theme.INK,
            max_lines=3,
        ),
        theme.text(
            t(locale, "stamps.expires", day=day(locale, expires_on)), size="xs", color=theme.MUTED
        )
        if expires_on
        else None,
        spacing="sm",
        padding="20px",
    )
    return theme.bubble(body, hero=theme.image(image_url, ratio=ratio, mode="cover"))


def cards(shown: Sequence[ShownCard], locale: str) -> Message:
    """Show a member's cards, or how to start one."""
    if not shown:
        return empty(locale)
    bubbles = [
        card_bubble(
            card.image_url,
            card.filled,
            card.size,
            card.reward_name,
            card.expires_on,
            locale,
            program_name=card.program_name,
            ratio=card.ratio,
        )
        for card in shown[: theme.CAROUSEL_BUBBLES]
    ]
    first = shown[0]
    alt = t(locale, "stamps.alt", filled=first.filled, size=first.size)
    return theme.flex(alt, theme.carousel(bubbles))


def empty(locale: str) -> Message:
    """Say that there is no stamp card at the moment."""
    title = t(locale, "stamps.empty_title")
    body = theme.column(
        theme.text(title, size="lg", weight="bold"),
        theme.text(t(locale, "stamps.empty_body"), size="sm", color=theme.MUTED),
        spacing="sm",
        padding="20px",
    )
    return theme.flex(title, theme.bubble(body))
