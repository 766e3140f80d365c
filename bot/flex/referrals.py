"""Inviting friends: the link, its QR and code, and how many came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bot import theme
from bot.theme import Message
from core.i18n import t

#: More of them stand on the member page.
STATUSES_SHOWN = 5


@dataclass(frozen=True)
class InviteStatus:
    """One invitation in words: a masked name, and how far it has come."""

    name: str
    step: str


@dataclass(frozen=True)
class InviteCounts:
    """What became of a member's invitations."""

    joined: int
    bought: int


def invite_card(
    link: str,
    qr_url: str | None,
    code: str,
    counts: InviteCounts,
    locale: str,
    *,
    gifts: Sequence[str] = (),
    statuses: Sequence[InviteStatus] = (),
) -> Message:
    """Show how to bring a friend: QR to scan, link to share, code to type, and their status."""
    title = t(locale, "referrals.title")
    code_picture = theme.image(qr_url, mode="fit")
    qr = (
        theme.row(
            theme.column(
                code_picture,
                width="150px",
                border=theme.LINE_COLOUR,
                border_width="1px",
                radius=theme.RADIUS,
                padding="8px",
                background=theme.PAPER,
            ),
            justify="center",
            margin="lg",
        )
        if code_picture
        else None
    )
    typed = theme.column(
        theme.text(
            t(locale, "referrals.code_label"), size="xs", color=theme.AMBER_DARK, align="center"
        ),
        theme.text(code, size="xl", weight="bold", color=theme.COFFEE, align="center", wrap=True),
        background=theme.SAND,
        radius=theme.RADIUS,
        padding="12px",
        margin="lg",
    )
    status = theme.row(
        _count(t(locale, "referrals.joined"), counts.joined),
        theme.separator(None),
        _count(t(locale, "referrals.bought"), counts.bought),
        margin="xl",
    )
    body = theme.column(
        theme.text(t(locale, "referrals.body"), size="sm", color=theme.MUTED),
        *(theme.text(gift, size="sm", weight="bold", color=theme.LEAF) for gift in gifts),
        qr,
        typed,
        status,
        *(theme.fact(theme.clip_name(one.name), one.step) for one in statuses[:STATUSES_SHOWN]),
        padding="20px",
    )
    footer = theme.footer(
        theme.button(theme.uri_action(t(locale, "referrals.button_share"), link)),
        theme.button(
            theme.clipboard_action(
                t(locale, "referrals.button_copy"), t(locale, "referrals.copied", code=code)
            ),
            style="secondary",
        ),
    )
    card = theme.bubble(body, header=theme.banner(title), footer=footer)
    return theme.flex(title, card)


def _count(label: str, number: int) -> theme.Component:
    return theme.column(
        theme.text(f"{number:,}", size="xl", weight="bold", color=theme.LEAF, align="center"),
        theme.text(label, size="xs", color=theme.MUTED, align="center"),
        flex=1,
    )
