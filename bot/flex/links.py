"""The card that opens a member page by a fresh link."""

from __future__ import annotations

from bot import theme
from bot.theme import Message
from core.i18n import t


def open_page(
    label: str, url: str, locale: str, *, body: str | None = None, minutes: int | None = 10
) -> Message:
    """Offer the link as one button and say how long it lives; None for one that stays good."""
    words = theme.column(
        theme.text(theme.clip_graphemes(label, 80), size="lg", weight="bold"),
        theme.text(body, size="sm", color=theme.MUTED) if body else None,
        theme.text(
            t(locale, "links.valid_for", count=minutes, minutes=minutes),
            size="xs",
            color=theme.MUTED,
        )
        if minutes
        else None,
        spacing="sm",
        padding="20px",
    )
    button = theme.button(theme.uri_action(t(locale, "links.button_open"), url))
    return theme.flex(label, theme.bubble(words, footer=theme.footer(button), size="kilo"))
