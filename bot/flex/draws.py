"""Lucky draws in the chat: what can be won and how likely, the button, and what came of a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from bot import theme
from bot.theme import Component, Message
from core.i18n import day, t

CHANCES_SHOWN = 6


@dataclass(frozen=True)
class DrawView:
    """One draw as shown; `turn` is the name of the turn that the button plays."""

    key: str
    title: str
    rules: Sequence[str]
    chances: Sequence[str]
    turns: int
    turn: str | None
    ends_on: date | None
    proof_url: str


@dataclass(frozen=True)
class ResultView:
    """What a turn came to, in words."""

    title: str
    words: str
    number: str
    has_won: bool
    voucher: str | None = None
    next_turn: str | None = None


def draw_list(draws: Sequence[DrawView], locale: str) -> Message:
    """Show what can be played, or say that there is nothing."""
    if not draws:
        title = t(locale, "draws.none_title")
        body = theme.column(
            theme.text(title, size="lg", weight="bold"),
            theme.text(t(locale, "draws.none_body"), size="sm", color=theme.MUTED),
            spacing="sm",
            padding="20px",
        )
        return theme.flex(title, theme.bubble(body))
    bubbles = [_draw(each, locale) for each in draws[:10]]
    return theme.flex(t(locale, "draws.title"), theme.carousel(bubbles))


def _draw(draw: DrawView, locale: str) -> Component:
    head = theme.column(
        theme.text(t(locale, "draws.title"), size="xs", color=theme.AMBER_DARK),
        theme.text(
            theme.clip_name(draw.title), size="xl", weight="bold", color=theme.COFFEE, max_lines=2
        ),
        background=theme.SAND,
        padding="18px",
        spacing="xs",
    )
    shown = draw.chances[:CHANCES_SHOWN]
    body = theme.column(
        theme.text(
            t(locale, "draws.turns", count=draw.turns)
            if draw.turns
            else t(locale, "draws.no_turns_left"),
            size="md",
            weight="bold",
            color=theme.LEAF if draw.turns else theme.MUTED,
        ),
        *(theme.text(rule, size="xs", color=theme.MUTED, max_lines=2) for rule in draw.rules),
        theme.separator("md"),
        *(theme.text(theme.clip_graphemes(line, 140), size="sm", max_lines=3) for line in shown),
        theme.text(t(locale, "draws.limited"), size="xxs", color=theme.MUTED, max_lines=4),
        theme.text(
            t(locale, "draws.until", day=day(locale, draw.ends_on)), size="xs", color=theme.MUTED
        )
        if draw.ends_on
        else None,
        spacing="sm",
        padding="18px",
    )
    play = _play(draw.key, draw.turn, t(locale, "draws.button_play")) if draw.turn else None
    proof = theme.button(
        theme.uri_action(t(locale, "draws.button_proof"), draw.proof_url), style="secondary"
    )
    footer = theme.footer(theme.button(play) if play else None, proof)
    return theme.bubble(body, header=head, footer=footer, size="kilo")


def result(key: str, view: ResultView, locale: str) -> Message:
    """Say what the turn came to; whoever won goes on to the voucher."""
    body = theme.column(
        theme.text(
            view.title,
            size="xl",
            weight="bold",
            color=theme.LEAF if view.has_won else theme.COFFEE,
            align="center",
            max_lines=2,
        ),
        theme.text(theme.clip_graphemes(view.words, 200), size="md", align="center", max_lines=5),
        theme.text(view.number, size="xs", color=theme.MUTED, align="center"),
        spacing="md",
        padding="20px",
        background=theme.SAND if view.has_won else None,
    )
    use = (
        theme.postback_action(t(locale, "draws.see_coupon"), "coupons.use", voucher=view.voucher)
        if view.voucher
        else None
    )
    again = _play(key, view.next_turn, t(locale, "draws.button_again")) if view.next_turn else None
    footer = theme.footer(
        theme.button(use) if use else None,
        theme.button(again, style="secondary" if use else "primary") if again else None,
    )
    return theme.flex(
        theme.clip_graphemes(view.title, 100),
        theme.bubble(body, footer=footer if use or again else None),
    )


def _play(key: str, turn: str, label: str) -> theme.Action:
    return theme.postback_action(label, "draws.play", display_text=label, draw=key, turn=turn)
