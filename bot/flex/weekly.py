"""The owner's Monday card: the shop's week, and one thing to do next."""

from __future__ import annotations

from collections.abc import Sequence

from bot import theme
from bot.theme import Action, Message


def weekly_card(
    title: str,
    period: str,
    headline: str,
    rows: Sequence[tuple[str, str]],
    advice_title: str,
    advice: str,
    action: Action,
) -> Message:
    """Make the card from finished words: a big figure, label and value by line, the next act."""
    lines = [
        theme.row(
            theme.text(theme.clip_graphemes(label, 60), size="sm", color=theme.MUTED, flex=3),
            theme.text(
                theme.clip_graphemes(value, 60), size="sm", weight="bold", align="end", flex=4
            ),
            spacing="sm",
        )
        for label, value in rows
    ]
    next_act = theme.column(
        theme.text(advice_title, size="xs", color=theme.AMBER_DARK, weight="bold"),
        theme.text(theme.clip_graphemes(advice, theme.SENTENCE_GRAPHEMES), size="sm"),
        background=theme.SAND,
        radius=theme.RADIUS,
        padding="14px",
        spacing="xs",
        margin="lg",
    )
    words = theme.column(
        theme.text(headline, size="xl", weight="bold", color=theme.LEAF_DARK),
        *lines,
        next_act,
        padding="20px",
        spacing="md",
    )
    card = theme.bubble(
        words,
        header=theme.banner(title, eyebrow=period),
        footer=theme.footer(theme.button(action)),
    )
    return theme.flex(f"{title} {headline}", card)
