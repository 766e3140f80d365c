"""What the bot says when something cannot be done."""

from __future__ import annotations

from bot import theme
from bot.theme import Action, Message


def sorry(text: str, *, action: Action | None = None) -> Message:
    """Say a refusal or a fault in one sentence, with a way on when there is one."""
    return theme.text_message(text, [action] if action else None)
