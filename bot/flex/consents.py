"""A new version of what members agree to, with its two answers."""

from __future__ import annotations

from typing import Any

from bot import theme
from bot.theme import Message
from core.i18n import t


def asked_again(
    purpose: str, version: int, words: str, locale: str, policy_url: str | None
) -> Message:
    """Show the text of this version and ask for a yes or a no."""
    title = t(locale, f"consents.asked_{purpose}")
    asked: dict[str, Any] = {"purpose": purpose, "version": version}
    body = theme.column(
        theme.text(title, size="lg", weight="bold"),
        theme.text(words, size="sm", color=theme.MUTED),
        spacing="sm",
        padding="20px",
    )
    yes = t(locale, "consents.answer_yes")
    no = t(locale, "consents.answer_no")
    buttons = [
        theme.button(theme.postback_action(yes, "consents.agree", display_text=yes, **asked)),
        theme.button(
            theme.postback_action(no, "consents.decline", display_text=no, **asked),
            style="secondary",
        ),
    ]
    if policy_url:
        read = theme.uri_action(t(locale, "members.button_policy"), policy_url)
        buttons.append(theme.button(read, style="link", color=theme.MUTED))
    return theme.flex(title, theme.bubble(body, footer=theme.footer(*buttons)))
