"""What a member hears about, as one card: each topic a tap, and how often at most."""

from __future__ import annotations

from collections.abc import Sequence

from bot import theme
from bot.theme import Component, Message
from core.i18n import t


def choices(
    topics: Sequence[tuple[str, bool]],
    per_week: int | None,
    offered: Sequence[int],
    locale: str,
    *,
    accepts: bool,
) -> Message:
    """The card of `รับข่าวอะไรบ้าง`: topics with whether they are heard, and times a week.

    `offered` are the numbers a member may choose; without consent only the way back is shown.
    """
    title = t(locale, "topics.title")
    if not accepts:
        words = theme.column(
            theme.text(title, size="lg", weight="bold"),
            theme.text(t(locale, "topics.stopped"), size="sm", color=theme.MUTED),
            spacing="sm",
            padding="20px",
        )
        again = theme.postback_action(t(locale, "topics.start_again"), "members.start_marketing")
        return theme.flex(title, theme.bubble(words, footer=theme.footer(theme.button(again))))
    often = offered[-1] if per_week is None else per_week
    body = theme.column(
        theme.text(title, size="lg", weight="bold"),
        theme.text(t(locale, "topics.lead"), size="sm", color=theme.MUTED, margin="sm"),
        theme.separator("lg"),
        *(_line(name, is_on, locale) for name, is_on in topics),
        theme.separator("lg"),
        theme.text(t(locale, "topics.how_often"), size="sm", weight="bold", margin="lg"),
        theme.text(
            t(locale, "topics.now_times", often=times(often, locale)), size="sm", color=theme.MUTED
        ),
        padding="20px",
    )
    stop = theme.postback_action(t(locale, "topics.stop_all"), "members.stop_marketing")
    buttons = [
        theme.button(
            theme.postback_action(times(number, locale), "topics.often", times=str(number)),
            style="primary" if number == often else "secondary",
        )
        for number in offered
    ]
    foot = theme.footer(*buttons, theme.button(stop, style="link", color=theme.CORAL))
    return theme.flex(title, theme.bubble(body, footer=foot))


def times(number: int, locale: str) -> str:
    """A number of messages a week in words."""
    return t(locale, "topics.times", count=number) if number else t(locale, "topics.never")


def _line(name: str, is_on: bool, locale: str) -> Component:
    words = t(locale, f"topics.name_{name}")
    act = t(locale, "topics.turn_off" if is_on else "topics.turn_on")
    return theme.row(
        theme.text(words, size="sm", flex=8),
        theme.text(
            t(locale, "topics.on" if is_on else "topics.off"),
            size="sm",
            weight="bold",
            color=theme.LEAF if is_on else theme.MUTED,
            align="end",
            flex=3,
        ),
        spacing="md",
        padding_top="9px",
        padding_bottom="9px",
        align_items="center",
        action=theme.postback_action(
            act, "topics.set", display_text=f"{act}: {words}", topic=name, on="0" if is_on else "1"
        ),
    )
