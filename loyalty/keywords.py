"""Answers that the bot gives by itself to words of the shop's own, e.g. `wifi` or `ที่จอดรถ`.

The chat words of the product come first; a person who is talking with staff is left in peace.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db import once_a_batch
from core.errors import Refused
from core.text import clean, match_key
from models.conversations import Conversation, KeywordReply
from models.members import Member

MOST_WORDS = 20
WORD_LETTERS = 60
#: Longer texts are a question for a person, whatever word stands in them.
CONTAINS_LETTERS = 200


def answer_to(session: Session, member: Member, text: str, now: datetime) -> str | None:
    """What the first fitting reply says in the member's language; None without one.

    None as well while a person has the chat: two voices at once confuse.
    """
    said = match_key(text)
    rules = once_a_batch(session, "keywords", lambda: rules_in_force(session))
    found = next((one for one in rules if fits(one.words, said, is_exact=one.is_exact)), None)
    if found is None:
        return None
    until = session.scalar(
        select(Conversation.bot_silent_until).where(Conversation.member_id == member.id)
    )
    if until is not None and now < until:
        return None
    return found.text_en if member.locale == "en" else found.text_th


def fits(words: Sequence[str], said: str, *, is_exact: bool) -> bool:
    """Whether one of these folded words is the text, or stands in a short one."""
    if is_exact:
        return said in words
    return len(said) <= CONTAINS_LETTERS and any(word in said for word in words)


def rules_in_force(session: Session) -> Sequence[KeywordReply]:
    """Every reply that is on, the one that wins first."""
    is_on = select(KeywordReply).where(KeywordReply.is_on)
    return session.scalars(is_on.order_by(KeywordReply.priority, KeywordReply.id)).all()


def read_words(typed: str) -> list[str]:
    """Words typed with commas or lines between, folded. Raises Refused `keywords.words`."""
    parts = [match_key(clean(one, WORD_LETTERS)) for one in typed.replace("\n", ",").split(",")]
    words = list(dict.fromkeys(part for part in parts if part))
    if not 1 <= len(words) <= MOST_WORDS:
        raise Refused("keywords.words", status=422, most=MOST_WORDS)
    return words
