"""What members say when they are asked: CSAT 1-5 after a purchase or a claim, NPS 0-10 (L4).

A question is one row for one occasion and takes one answer, whatever is tapped twice. A low mark
opens a ticket; a high NPS that also taps the review link makes an advocate (L1). "Why" is the next
text within ten minutes, sealed under the member's key.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import bindparam, exists, literal, select, update
from sqlalchemy.orm import Session, aliased

from core.crypto import Vault
from core.db import insert_on, is_sqlite
from core.text import clean_lines
from loyalty import activities, conversations, personal, shop, tickets
from models.base import table_of
from models.members import Member
from models.scores import HIGH, LOW, SCALES, SurveyAnswer, SurveyKind

WHY_MINUTES = 10
WHY_LETTERS = 1_000
REVIEW_PURPOSE = "surveys.review"
SIGNATURE_LETTERS = 32
ANSWERS = table_of(SurveyAnswer)


class Mood(StrEnum):
    LOW = "low"
    FINE = "fine"
    HIGH = "high"


@dataclass(frozen=True)
class Answered:
    """What became of a tap: the row as it stands, and whether this tap was the answer."""

    answer: SurveyAnswer
    is_first: bool

    @property
    def mood(self) -> Mood:
        """How they feel, by the mark that counts."""
        assert self.answer.score is not None
        return mood_of(self.answer.kind, self.answer.score)


def mood_of(kind: SurveyKind, score: int) -> Mood:
    """Low, fine or high."""
    if score <= LOW[kind]:
        return Mood.LOW
    return Mood.HIGH if score >= HIGH[kind] else Mood.FINE


# --- Asking -----------------------------------------------------------------------------------


def ask(
    session: Session, member_id: int, kind: str, occasion: str, now: datetime
) -> SurveyAnswer | None:
    """The question for this occasion; None when they were asked too recently or have answered.

    Asked again for the same occasion it is the same question.
    """
    wanted = SurveyKind(kind)
    asked = {"member": member_id, "kind": wanted, "occasion": occasion}
    known = session.scalar(_OF_THIS, asked)
    if known is not None:
        return known if known.score is None else None
    since = now - timedelta(days=int(shop.get(session, f"surveys.{wanted.value}_every_days")))
    session.execute(_ask_on(is_sqlite(session), wanted), asked | {"now": now, "since": since})
    return session.scalar(_OF_THIS, asked)


_OF_THIS = select(SurveyAnswer).where(
    SurveyAnswer.member_id == bindparam("member"),
    SurveyAnswer.kind == bindparam("kind"),
    SurveyAnswer.occasion == bindparam("occasion"),
)


@cache
def _ask_on(on_sqlite: bool, kind: SurveyKind) -> Any:
    """Writes the question unless the member was asked too recently."""
    other = aliased(SurveyAnswer)
    given = {
        "member_id": bindparam("member", type_=ANSWERS.c.member_id.type),
        "kind": literal(kind.value),
        "occasion": bindparam("occasion", type_=ANSWERS.c.occasion.type),
        "asked_at": bindparam("now", type_=ANSWERS.c.asked_at.type),
    }
    lately = exists().where(
        other.member_id == bindparam("member"),
        other.kind == kind,
        other.asked_at > bindparam("since"),
    )
    insert = insert_on(on_sqlite, ANSWERS)
    return insert.from_select(
        list(given), select(*given.values()).where(~lately)
    ).on_conflict_do_nothing(index_elements=["member_id", "kind", "occasion"])


# --- Answering --------------------------------------------------------------------------------


def answer(
    session: Session, member_id: int, question_id: int, score: int, now: datetime
) -> Answered | None:
    """Take a mark. None when the question is not theirs or knows no such mark."""
    question = session.get(SurveyAnswer, question_id)
    if question is None or question.member_id != member_id:
        return None
    least, most = SCALES[question.kind]
    if not least <= score <= most:
        return None
    taken = session.scalar(
        update(SurveyAnswer)
        .where(SurveyAnswer.id == question_id, SurveyAnswer.answered_at.is_(None))
        .values(score=score, answered_at=now)
        .returning(SurveyAnswer.id)
        .execution_options(synchronize_session=False)
    )
    session.refresh(question)
    answered = Answered(question, is_first=taken is not None)
    if not answered.is_first:
        return answered
    facts = {"kind": question.kind.value, "score": score, "question_id": question_id}
    activities.record(session, member_id, "surveys.answered", now, facts)
    if answered.mood == Mood.LOW:
        subject = f"surveys.ticket_{question.kind.value} {score}"
        question.ticket_id = tickets.open_ticket(session, member_id, subject, now).id
    return answered


def take_why(
    session: Session,
    vault: Vault,
    member: Member,
    text: str,
    *,
    line_message_id: str | None,
    now: datetime,
) -> SurveyAnswer | None:
    """Keep this text as the reason for the mark just given; None when it is no such text.

    Once staff have written since, the text is for them.
    """
    since = now - timedelta(minutes=WHY_MINUTES)
    found = session.scalar(
        select(SurveyAnswer)
        .where(
            SurveyAnswer.member_id == member.id,
            SurveyAnswer.answered_at > since,
            SurveyAnswer.why_sealed.is_(None),
            SurveyAnswer.why_message_id.is_(None),
        )
        .order_by(SurveyAnswer.answered_at.desc(), SurveyAnswer.id.desc())
        .limit(1)
    )
    words = clean_lines(text, WHY_LETTERS) if found is not None else ""
    if found is None or not words or found.answered_at is None:
        return None
    chat = conversations.of(session, member)
    replied_at = chat.last_staff_reply_at if chat is not None else None
    if replied_at is not None and replied_at >= found.answered_at:
        return None
    found.why_sealed = personal.seal(session, vault, member, personal.WHY_FIELD, words, now)
    found.why_message_id = line_message_id
    return found


def unsend(session: Session, member: Member, line_message_id: str) -> bool:
    """The reason was taken back in the chat: its words go, the mark stays."""
    gone = session.scalar(
        update(SurveyAnswer)
        .where(SurveyAnswer.member_id == member.id)
        .where(SurveyAnswer.why_message_id == line_message_id)
        .values(why_sealed=None)
        .returning(SurveyAnswer.id)
    )
    return gone is not None


def why_of(session: Session, vault: Vault, member: Member, row: SurveyAnswer) -> str | None:
    """The reason in the member's words, if they gave one that can still be read."""
    try:
        return personal.unseal(session, vault, member, personal.WHY_FIELD, row.why_sealed)
    except ValueError:  # parted from a merge without its key: it is sealed for another
        return None


def hand_over(
    session: Session, source: Member, target: Member, now: datetime, only: list[int] | None = None
) -> list[int]:
    """Make one member's answers another's, as when two are merged; reasons under the new key.

    What both answered on one occasion stays where it is. Returns the ids that went over.
    """
    vault: Vault | None = session.info.get("vault")
    query = select(SurveyAnswer).where(SurveyAnswer.member_id == source.id)
    if only is not None:
        query = query.where(SurveyAnswer.id.in_(only))
    own = select(SurveyAnswer.kind, SurveyAnswer.occasion)
    taken = {tuple(row) for row in session.execute(own.where(SurveyAnswer.member_id == target.id))}
    moved = []
    for row in session.scalars(query).all():
        if (row.kind, row.occasion) in taken:
            continue
        if vault is not None and (why := why_of(session, vault, source, row)) is not None:
            row.why_sealed = personal.seal(session, vault, target, personal.WHY_FIELD, why, now)
        row.member_id = target.id
        moved.append(row.id)
    session.flush()  # a level looks at whose marks they are
    return moved


# --- The review link --------------------------------------------------------------------------


def review_path(session: Session, vault: Vault, row: SurveyAnswer) -> str | None:
    """The address of ours that leads to the shop's review page; None without such a page."""
    if not shop.get(session, "shop.review_url"):
        return None
    signature = vault.blind_index(REVIEW_PURPOSE, str(row.id))[:SIGNATURE_LETTERS]
    return f"/r/{row.id}.{signature}"


def review_of(session: Session, vault: Vault, question_id: int, signature: str) -> int | None:
    """The answer whose link this is; None when we did not make it."""
    ours = vault.blind_indexes(REVIEW_PURPOSE, str(question_id))
    given = signature.encode("utf-8", "replace")
    matches = [hmac.compare_digest(one[:SIGNATURE_LETTERS].encode(), given) for one in ours]
    if not any(matches):
        return None
    return session.scalar(select(SurveyAnswer.id).where(SurveyAnswer.id == question_id))


def note_review(session: Session, question_id: int, now: datetime) -> bool:
    """They tapped the review link. True the first time."""
    member_id = session.scalar(
        update(SurveyAnswer)
        .where(
            SurveyAnswer.id == question_id,
            SurveyAnswer.reviewed_at.is_(None),
            SurveyAnswer.score.is_not(None),
        )
        .values(reviewed_at=now)
        .returning(SurveyAnswer.member_id)
    )
    if member_id is None:
        return False
    activities.record(session, member_id, "surveys.reviewed", now, {"question_id": question_id})
    return True
