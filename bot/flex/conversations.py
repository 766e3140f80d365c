"""What a conversation with a person shows: staff were called, and what staff wrote."""

from __future__ import annotations

from bot import theme
from bot.theme import Message
from core.i18n import t


def staff_called(locale: str) -> Message:
    """Confirm that staff will answer here; the bot keeps quiet meanwhile."""
    return theme.text_message(t(locale, "conversations.staff_called"))


def staff_reply(text: str, *, staff_name: str | None = None) -> Message:
    """Show what a member of staff wrote, in plain words, signed when a name is given.

    LINE shows a sender name of at most 20 characters and refuses names that look like its own.
    """
    message = theme.text_message(text)
    name = theme.clip_graphemes(staff_name or "", 20).strip()
    if not name or "line" in name.casefold() or theme.utf16_units(name) > 20:
        return message
    return message | {"sender": {"name": name}}


def staff_picture(url: str) -> Message:
    """Show a picture that a member of staff sends; small enough to be its own preview."""
    return {"type": "image", "originalContentUrl": url, "previewImageUrl": url}
