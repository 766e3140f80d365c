"""Cards about points: the balance with what expires when, and the history in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from bot import theme
from bot.theme import Component, Message
from core.i18n import day, money, t

EXPIRIES_SHOWN = 3
LINES_SHOWN = 10


@dataclass(frozen=True)
class NextReward:
    """The nearest thing a member can exchange points for, and how many points are missing."""

    name: str
    price_points: int
    missing_points: int


@dataclass(frozen=True)
class HistoryLine:
    """One movement in words ("ซื้อ 250 บาท สาขาสยาม") with its signed points."""

    words: str
    points: int
    on: date


def signed(points: int) -> str:
    """Write points with their sign, using the true minus."""
    return f"+{points:,}" if points > 0 else f"{points:,}".replace("-", "−")


def history_words(kind: str, facts: Mapping[str, Any], locale: str) -> str:
    """Say what a movement was: `ซื้อ 250 บาท สาขาสยาม`. Unknown causes still get true words."""
    is_thai = locale != "en"
    branch = facts.get("branch") if is_thai else facts.get("branch_en") or facts.get("branch")
    coupon = facts.get("coupon_th" if is_thai else "coupon_en")
    baht = money(locale, facts["amount_satang"]) if "amount_satang" in facts else None
    if baht is not None and branch and kind in ("earn", "reverse"):
        undone = "voided" if facts.get("is_void") else "returned"
        key = "purchase" if kind == "earn" else undone
        words = t(locale, f"points.words_{key}", baht=baht, branch=branch)
        rules = rule_words(facts, locale)
        if kind != "earn" or not rules:
            return words
        base = facts.get("base_points", 0)
        return t(locale, "points.words_with_rules", words=words, base=base, rules=rules)
    if coupon and kind in ("burn", "reverse"):
        key = "exchanged" if kind == "burn" else "given_back"
        return t(locale, f"points.words_{key}", coupon=theme.clip_name(coupon))
    plain = {"earn": "earned", "burn": "burned", "expire": "expired", "adjust": "adjusted"}
    return t(locale, f"points.words_{plain.get(kind, 'corrected')}")


def rule_words(facts: Mapping[str, Any], locale: str) -> str:
    """Say what tier and earn rules added to a bill: `ศุกร์คูณสอง +10, เดือนเกิด +20`."""
    name = "en" if locale == "en" else "th"
    rules = facts.get("rules") or ()
    return ", ".join(f"{theme.clip_name(rule[name])} {signed(rule['points'])}" for rule in rules)


def balance_card(
    available: int,
    pending: int,
    debt: int,
    expiring: Sequence[tuple[int, date]],
    next_reward: NextReward | None,
    locale: str,
) -> Message:
    """Show what can be burned, what waits, what is owed, what expires, and what is next."""
    facts = [
        theme.fact(t(locale, "points.pending"), f"{pending:,}") if pending else None,
        theme.fact(t(locale, "points.debt"), f"{debt:,}", color=theme.CORAL) if debt else None,
        theme.text(t(locale, "points.debt_explained"), size="xs", color=theme.MUTED)
        if debt
        else None,
    ]
    expiries = [
        theme.fact(day(locale, on), t(locale, "points.count", count=points, points=points))
        for points, on in expiring[:EXPIRIES_SHOWN]
    ]
    soon = (
        theme.column(
            theme.text(
                t(locale, "points.expiring"), size="xs", weight="bold", color=theme.AMBER_DARK
            ),
            *expiries,
            background=theme.SAND,
            radius=theme.RADIUS,
            padding="14px",
            spacing="sm",
        )
        if expiries
        else theme.text(t(locale, "points.nothing_expires"), size="sm", color=theme.MUTED)
    )
    header = theme.banner(
        t(locale, "points.count", count=available, points=available),
        eyebrow=t(locale, "points.available"),
    )
    header["contents"][-1]["size"] = "3xl"
    body = theme.column(
        *facts,
        soon,
        _next_reward(next_reward, locale) if next_reward else None,
        spacing="lg",
        padding="20px",
    )
    footer = theme.footer(
        theme.button(
            theme.postback_action(
                t(locale, "points.button_rewards"),
                "rewards.show",
                display_text=t(locale, "members.word_rewards"),
            )
        ),
        theme.button(
            theme.postback_action(
                t(locale, "points.button_history"),
                "points.history",
                display_text=t(locale, "members.word_history"),
            ),
            style="secondary",
        ),
    )
    alt = t(locale, "points.alt", count=available, points=available)
    return theme.flex(alt, theme.bubble(body, header=header, footer=footer))


def _next_reward(reward: NextReward, locale: str) -> Component:
    """Show how far the next reward is, with a bar."""
    done = max(0, reward.price_points - reward.missing_points)
    percent = min(100, 100 * done // reward.price_points) if reward.price_points > 0 else 100
    if reward.missing_points > 0:
        how_far = t(
            locale, "points.missing", count=reward.missing_points, points=reward.missing_points
        )
    else:
        how_far = t(locale, "points.enough")
    return theme.column(
        theme.text(t(locale, "points.next_reward"), size="xs", color=theme.MUTED),
        theme.row(
            theme.text(theme.clip_name(reward.name), weight="bold", flex=1, max_lines=2),
            theme.text(
                f"{reward.price_points:,}", size="sm", color=theme.MUTED, flex=0, wrap=False
            ),
            spacing="md",
        ),
        progress_bar(percent),
        theme.text(how_far, size="sm", color=theme.LEAF, weight="bold"),
        spacing="sm",
    )


def progress_bar(percent: int) -> Component:
    """Draw a bar filled to `percent`; a started one always shows a little."""
    shown = max(3, min(100, percent))
    return theme.column(
        theme.column(width=f"{shown}%", height="8px", radius="4px", background=theme.AMBER),
        height="8px",
        radius="4px",
        background=theme.LINE_COLOUR,
    )


def history(lines: Sequence[HistoryLine], locale: str, *, page_url: str | None = None) -> Message:
    """Show the last movements in words, newest first."""
    title = t(locale, "points.history_title")
    shown = [_history_line(line, locale) for line in lines[:LINES_SHOWN]]
    empty = theme.text(t(locale, "points.history_empty"), size="sm", color=theme.MUTED, margin="lg")
    body = theme.column(
        theme.text(title, size="lg", weight="bold"),
        theme.separator("lg"),
        *(shown or [empty]),
        padding="20px",
    )
    more = theme.uri_action(t(locale, "points.button_history_page"), page_url) if page_url else None
    footer = theme.footer(theme.button(more, style="secondary")) if more else None
    return theme.flex(title, theme.bubble(body, footer=footer))


def _history_line(line: HistoryLine, locale: str) -> Component:
    return theme.row(
        theme.column(
            theme.text(theme.clip_graphemes(line.words, 120), size="sm", max_lines=3),
            theme.text(day(locale, line.on), size="xs", color=theme.MUTED),
            flex=1,
        ),
        theme.text(
            signed(line.points),
            size="md",
            weight="bold",
            color=theme.LEAF
            if line.points > 0
            else theme.CORAL
            if line.points < 0
            else theme.MUTED,
            flex=0,
            wrap=False,
        ),
        spacing="md",
        margin="lg",
        align_items="center",
    )
