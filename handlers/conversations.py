"""Talking with staff: opening a chat, whatever is no command, and taking a line back."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any

from bot import theme
from bot.flex import conversations as cards
from bot.flex import members as member_cards
from core.i18n import day, t
from core.text import clean
from handlers import joining, surveys
from loyalty import conversations, keywords
from loyalty import surveys as questions

if TYPE_CHECKING:
    from handlers.router import Context, Messages

SAID_LETTERS = 200


def open_chat(ctx: Context) -> Messages:
    """`ติดต่อพนักงาน`: staff see it at the top of their list."""
    conversations.call_staff(ctx.session, ctx.member, ctx.now)
    return [cards.staff_called(ctx.locale)]


def picked(ctx: Context) -> Messages:
    """A date or time picked from a rich menu: it goes to staff as a line of the customer's own."""
    words = _picked_words(ctx)
    if words is None:
        return open_chat(ctx)
    conversations.add_line(
        ctx.session,
        ctx.runtime.vault,
        ctx.member,
        kind="text",
        text=t(ctx.locale, "conversations.picked_line", when=words),
        line_message_id=None,
        at=ctx.happened_at,
        now=ctx.now,
    )
    conversations.call_staff(ctx.session, ctx.member, ctx.now)
    return [theme.text_message(t(ctx.locale, "conversations.picked", when=words))]


def _picked_words(ctx: Context) -> str | None:
    """What LINE's picker gave, as people say it; None for anything else."""
    chosen = ctx.postback.extra if ctx.postback else {}
    try:
        if "datetime" in chosen:
            at = datetime.strptime(chosen["datetime"], "%Y-%m-%dT%H:%M")  # noqa: DTZ007
            return f"{day(ctx.locale, at.date())} {at:%H:%M}"
        if "date" in chosen:
            return day(ctx.locale, date.fromisoformat(chosen["date"]))
        if "time" in chosen:
            return f"{time.fromisoformat(chosen['time']):%H:%M}"
    except ValueError:
        return None
    return None


def free_text(ctx: Context) -> Messages:
    """Text that is no command goes to staff; the help card comes along now and then (M11).

    Right after a mark it is the reason for it, and opens no chat; nor does a word that the shop
    has an answer for.
    """
    kept = surveys.take_why(ctx)
    if kept is not None:
        return kept
    answer = keywords.answer_to(ctx.session, ctx.member, ctx.text, ctx.now)
    if answer is not None:
        return [theme.text_message(answer)]
    return _keep(ctx, ctx.text)


def other_message(ctx: Context) -> Messages:
    """A sticker, picture, place…: noted for staff; an open question is asked again."""
    answer = _keep(ctx, said_by(ctx.message))
    if ctx.form is not None and not ctx.form.is_paused:
        return joining.ask_again(ctx)
    return answer


def said_by(message: dict[str, Any]) -> str | None:
    """What a message that is no text says, as staff can read it; its kind stands beside it.

    A place ends with `latitude,longitude`, a file with its bytes, sound and film with their
    seconds; a picture of another site is only named, because nobody fetches it.
    """
    kind = message.get("type")
    found: list[Any] = []
    if kind == "location":
        found = [message.get("title"), message.get("address")]
        place = [message.get("latitude"), message.get("longitude")]
        if all(isinstance(one, int | float) for one in place):
            found.append(f"{place[0]:.6f},{place[1]:.6f}")
    elif kind == "file":
        found = [message.get("fileName"), message.get("fileSize")]
    elif kind in ("audio", "video") and isinstance(message.get("duration"), int):
        found = [-(-message["duration"] // 1000)]
    elif kind == "sticker":
        words = message.get("keywords")
        found = [message.get("text"), *(words[:3] if isinstance(words, list) else [])]
    elif kind == "image" and isinstance(message.get("contentProvider"), dict):
        found = [message["contentProvider"].get("originalContentUrl")]
    return "\n".join(clean(str(one), SAID_LETTERS) for one in found if one) or None


def _has_picture(message: dict[str, Any]) -> bool:
    """Whether LINE itself keeps a picture of this message."""
    provider = message.get("contentProvider")
    held = provider.get("type") if isinstance(provider, dict) else None
    return message.get("type") == "image" and held == "line"


def unsend(ctx: Context) -> Messages:
    """Somebody took a line back: its text goes."""
    details = ctx.event.get("unsend")
    message_id = str(details.get("messageId", "")) if isinstance(details, dict) else ""
    if message_id:
        conversations.unsend(ctx.session, ctx.member, message_id, ctx.now)
        questions.unsend(ctx.session, ctx.member, message_id)
    return []


def _keep(ctx: Context, text: str | None) -> Messages:
    conversation = conversations.add_line(
        ctx.session,
        ctx.runtime.vault,
        ctx.member,
        kind=str(ctx.message.get("type", "text"))[:64],
        text=text,
        line_message_id=str(ctx.message.get("id", ""))[:64] or None,
        has_picture=_has_picture(ctx.message),
        at=ctx.happened_at,
        now=ctx.now,
    )
    if not conversations.should_help(conversation, ctx.now):
        return []
    return [member_cards.help_card(ctx.locale, is_member=ctx.member.is_member)]
