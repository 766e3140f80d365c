"""Consents: one row per purpose, text version and moment; withdrawing is as easy as giving.

The newest open row of a purpose is in force. The first version of each text comes with the product
(`locales/`); the shop publishes later ones (`consent_texts`), whose rows never change, so that it
stays known who agreed to which words. Agreeing to a newer version ends the row of the older one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db import insert_into, once_a_batch
from core.errors import Refused
from core.i18n import fill, t
from core.text import clean_lines
from loyalty import activities, audit, shop
from models.members import Consent, ConsentAsk, ConsentText, Member, Purpose

#: The texts of the first version.
FIRST_TEXTS = {
    Purpose.MEMBERSHIP: "members.consent_text",
    Purpose.MARKETING: "members.marketing_text",
    Purpose.BIRTHDAY: "pages.birthday_purpose",
}
#: A marketing consent that a guardian has agreed to (members under 20, J2).
GUARDIAN = "+guardian"
TEXT_LETTERS = 1000
_VERSION = re.compile(r"-(\d{1,6})(?:\+|$)")


@dataclass(frozen=True)
class Text:
    """A version of what members agree to; `published_at` is None for the first one."""

    purpose: Purpose
    version: int
    body_th: str
    body_en: str
    asks_again: bool = False
    published_at: datetime | None = None
    published_by: str | None = None

    def body(self, locale: str) -> str:
        """Its words in a reader's language."""
        return self.body_en if locale == "en" else self.body_th


def give(
    session: Session,
    member_id: int,
    purpose: Purpose,
    *,
    channel: str,
    now: datetime,
    by_guardian: bool = False,
    version: int | None = None,
) -> None:
    """Record consent to the text in force, or to the older `version` that was really shown.

    An open one to the same text stays as it is; one to an older text ends here.
    """
    number = min(version or current(session, purpose).version, current(session, purpose).version)
    held = _open_version(session, member_id, purpose)
    if held is not None and version_of(held) < number:
        _close(session, member_id, purpose, now)
        by_guardian = by_guardian or held.endswith(GUARDIAN)
    text_version = f"{purpose.value}-{number}" + (GUARDIAN if by_guardian else "")
    given = session.scalar(
        insert_into(session, Consent)
        .values(
            member_id=member_id,
            purpose=purpose,
            text_version=text_version,
            given_at=now,
            channel=channel,
        )
        .on_conflict_do_nothing()
        .returning(Consent.id)
    )
    if given is not None:
        facts = {"purpose": purpose.value, "version": text_version}
        activities.record(session, member_id, "consents.given", now, facts)


def withdraw(session: Session, member_id: int, purpose: Purpose, now: datetime) -> bool:
    """End the open consent of a purpose, effective before the next send; False without one."""
    withdrawn = _close(session, member_id, purpose, now)
    if withdrawn is not None:
        activities.record(session, member_id, "consents.withdrawn", now, {"purpose": purpose.value})
    return withdrawn is not None


def _close(session: Session, member_id: int, purpose: Purpose, now: datetime) -> int | None:
    return session.scalar(
        update(Consent)
        .where(
            Consent.member_id == member_id,
            Consent.purpose == purpose,
            Consent.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=now)
        .returning(Consent.id)
    )


def is_given(session: Session, member_id: int, purpose: Purpose) -> bool:
    """Whether a consent to this purpose is in force."""
    return _open_version(session, member_id, purpose) is not None


def was_withdrawn(session: Session, member_id: int, purpose: Purpose) -> bool:
    """Whether consent to this purpose was given once and is not in force any more."""
    given = select(Consent.id).where(Consent.member_id == member_id, Consent.purpose == purpose)
    return session.scalar(given.limit(1)) is not None and not is_given(session, member_id, purpose)


def has_guardian(session: Session, member_id: int) -> bool:
    """Whether a guardian has agreed to the marketing consent in force."""
    return is_by_guardian(_open_version(session, member_id, Purpose.MARKETING) or "")


def is_by_guardian(text_version: str) -> bool:
    """Whether a consent of this text version was a guardian's."""
    return text_version.endswith(GUARDIAN)


def history(session: Session, member_id: int) -> Sequence[Consent]:
    """Everything somebody has agreed to and taken back, newest first."""
    mine = select(Consent).where(Consent.member_id == member_id)
    return session.scalars(mine.order_by(Consent.id.desc())).all()


def _open_version(session: Session, member_id: int, purpose: Purpose) -> str | None:
    return session.scalar(
        select(Consent.text_version).where(
            Consent.member_id == member_id,
            Consent.purpose == purpose,
            Consent.withdrawn_at.is_(None),
        )
    )


# --- Versions of the texts ----------------------------------------------------------------------


def version_of(text_version: str) -> int:
    """The number in `marketing-2+guardian`; 1 for what was written before there were others."""
    found = _VERSION.search(text_version)
    return int(found[1]) if found else 1


def texts(session: Session) -> Mapping[Purpose, list[Text]]:
    """Every version of every purpose, newest first."""
    found = {purpose: [_first(purpose)] for purpose in FIRST_TEXTS}
    for row in _published(session):
        found[row.purpose].insert(0, row)
    return found


def current(session: Session, purpose: Purpose) -> Text:
    """The version in force."""
    newest = [row for row in _published(session) if row.purpose == purpose]
    return newest[-1] if newest else _first(purpose)


def words(session: Session, purpose: Purpose, locale: str) -> str:
    """The text in force, as it is shown to somebody."""
    return fill(current(session, purpose).body(locale), {"shop": shop.shop_name(session, locale)})


def publish(
    session: Session,
    purpose: Purpose,
    *,
    body_th: str,
    body_en: str,
    asks_again: bool,
    by: str,
    now: datetime,
) -> Text:
    """Put a new version in force. With `asks_again`, whoever agreed to an older one is asked.

    Refused: `consents.text_missing`, `consents.text_too_long`, `consents.text_same`.
    """
    bodies = [clean_lines(body, TEXT_LETTERS + 1) for body in (body_th, body_en)]
    if not all(bodies):
        raise Refused("consents.text_missing", status=422)
    if any(len(body) > TEXT_LETTERS for body in bodies):
        raise Refused("consents.text_too_long", status=422, limit=TEXT_LETTERS)
    before = current(session, purpose)
    if (before.body_th, before.body_en) == (bodies[0], bodies[1]):
        raise Refused("consents.text_same", status=409)
    row = ConsentText(
        purpose=purpose, version=before.version + 1, body_th=bodies[0], body_en=bodies[1],
        asks_again=asks_again, published_at=now, published_by=by,
    )  # fmt: skip
    session.add(row)
    session.flush()  # two at once: the second finds its number taken
    facts = {"purpose": purpose.value, "version": row.version, "asks_again": asks_again}
    audit.record(session, by, "consents.published", facts, now)
    return _text_of(row)


def holders(session: Session) -> dict[Purpose, dict[int, int]]:
    """How many members hold which version in force, by purpose."""
    found: dict[Purpose, dict[int, int]] = {purpose: {} for purpose in FIRST_TEXTS}
    counted = (
        select(Consent.purpose, Consent.text_version, func.count())
        .where(Consent.withdrawn_at.is_(None))
        .group_by(Consent.purpose, Consent.text_version)
    )
    for purpose, text_version, count in session.execute(counted):
        number = version_of(text_version)
        found[purpose][number] = found[purpose].get(number, 0) + count
    return found


def stale(session: Session, member_id: int) -> list[Text]:
    """Newer versions that somebody who agreed to an older one has to be asked about."""
    asking: dict[Purpose, int] = {}
    for row in _published(session):
        if row.asks_again:
            asking[row.purpose] = row.version
    if not asking:
        return []
    held = session.execute(
        select(Consent.purpose, Consent.text_version).where(
            Consent.member_id == member_id,
            Consent.purpose.in_(asking),
            Consent.withdrawn_at.is_(None),
        )
    )
    return [
        current(session, purpose)
        for purpose, text_version in held
        if version_of(text_version) < asking[purpose]
    ]


def ask_once(session: Session, member: Member, now: datetime) -> Text | None:
    """What this member is to be shown in the chat now; each version once."""
    for text in stale(session, member.id):
        asked = session.scalar(
            insert_into(session, ConsentAsk)
            .values(member_id=member.id, purpose=text.purpose, version=text.version, asked_at=now)
            .on_conflict_do_nothing()
            .returning(ConsentAsk.version)
        )
        if asked is not None:
            return text
    return None


def _published(session: Session) -> list[Text]:
    """Published versions, oldest first."""
    return once_a_batch(session, "consent_texts", lambda: _read(session))


def _read(session: Session) -> list[Text]:
    rows = session.scalars(select(ConsentText).order_by(ConsentText.version))
    return [_text_of(row) for row in rows]


def _text_of(row: ConsentText) -> Text:
    return Text(
        row.purpose, row.version, row.body_th, row.body_en,
        row.asks_again, row.published_at, row.published_by,
    )  # fmt: skip


def _first(purpose: Purpose) -> Text:
    key = FIRST_TEXTS[purpose]
    return Text(purpose, 1, t("th", key, shop="{shop}"), t("en", key, shop="{shop}"))
