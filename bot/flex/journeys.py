"""The card a journey or campaign sends: a title, some words, one button, perhaps a picture."""

from __future__ import annotations

from bot import theme
from bot.theme import Action, Message


def message_bubble(
    title: str,
    body: str,
    action: Action | None = None,
    *,
    picture_url: str | None = None,
    gift: str | None = None,
    eyebrow: str | None = None,
    vip: bool = False,
) -> Message:
    """Make the card used by thank-you, win-back, birthday and expiry notices.

    `gift` names a voucher that comes with it; title and body arrive finished, in the member's
    language, with every name already cleaned.
    """
    present = (
        theme.row(
            theme.column(width="4px", background=theme.AMBER, radius="2px", flex=0),
            theme.text(
                theme.clip_graphemes(gift, 120),
                weight="bold",
                color=theme.COFFEE,
                flex=1,
                max_lines=4,
            ),
            background=theme.SAND,
            radius=theme.RADIUS,
            padding="14px",
            spacing="md",
            margin="lg",
        )
        if gift
        else None
    )
    words = theme.column(
        theme.text(
            theme.clip_graphemes(body, theme.WRITTEN_GRAPHEMES), size="sm", line_spacing="4px"
        ),
        present,
        padding="20px",
    )
    card = theme.bubble(
        words,
        header=theme.banner(theme.clip_graphemes(title, 120), eyebrow=eyebrow, vip=vip),
        hero=theme.image(picture_url, ratio="20:13"),
        footer=theme.footer(theme.button(action)) if action else None,
    )
    return theme.flex(f"{title} {body}", card)


def notice(
    title: str, body: str, *, action: Action | None = None, object_to: Action | None = None
) -> Message:
    """Make the quiet card of a transactional notice: a redemption, a void, an adjustment.

    `object_to` is the small button under it, for whom it should never have happened.
    """
    words = theme.column(
        theme.text(theme.clip_graphemes(title, 120), size="lg", weight="bold"),
        theme.text(
            theme.clip_graphemes(body, theme.SENTENCE_GRAPHEMES), size="sm", color=theme.MUTED
        ),
        spacing="sm",
        padding="20px",
    )
    buttons = [
        theme.button(action, style="secondary") if action else None,
        theme.button(object_to, style="link", color=theme.MUTED) if object_to else None,
    ]
    foot = theme.footer(*buttons) if any(buttons) else None
    return theme.flex(f"{title} {body}", theme.bubble(words, footer=foot))
