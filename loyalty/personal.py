"""Personal data at rest: sealed under the member's own key, looked up through blind indexes.

The purposes and field names below are part of the stored data: changing one orphans rows.
"""

from __future__ import annotations

from calendar import isleap
from collections.abc import Sequence
from datetime import date, datetime
from functools import cache
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bulk import is_among
from core.crypto import Vault
from core.db import insert_into, is_sqlite
from models.members import Member, MemberKey

PHONE_FIELD = "members.phone"
BIRTHDAY_FIELD = "members.birthday"
ANSWERS_FIELD = "join_forms.answers"
LINE_FIELD = "conversation_lines.text"
WHY_FIELD = "survey_answers.why"
PICTURE_FIELD = "conversation_pictures.content"

PHONE_PURPOSE = "phone"
PHONE_LAST4_PURPOSE = "phone_last4"
BIRTHDAY_PURPOSE = "birthday"


def key_of(session: Session, vault: Vault, member: Member, now: datetime) -> bytes:
    """The member's wrapped key, made at the first need."""
    wrapped = session.scalar(select(MemberKey.wrapped).where(MemberKey.member_id == member.id))
    if wrapped is not None:
        return wrapped
    fresh = vault.new_member_key(member.public_id)
    session.execute(
        insert_into(session, MemberKey)
        .values(member_id=member.id, wrapped=fresh, created_at=now)
        .on_conflict_do_nothing(index_elements=["member_id"])
    )
    return session.scalars(select(MemberKey.wrapped).where(MemberKey.member_id == member.id)).one()


def seal(
    session: Session, vault: Vault, member: Member, field: str, text: str, now: datetime
) -> bytes:
    """`text` encrypted under the member's key, bound to `field`."""
    wrapped = key_of(session, vault, member, now)
    return vault.encrypt(wrapped, member.public_id, field, text)


def unseal(
    session: Session, vault: Vault, member: Member, field: str, sealed: bytes | None
) -> str | None:
    """What `seal` took; None when nothing is stored or the key is gone."""
    if sealed is None:
        return None
    wrapped = session.scalar(select(MemberKey.wrapped).where(MemberKey.member_id == member.id))
    if wrapped is None:
        return None
    return vault.decrypt(wrapped, member.public_id, field, sealed)


def seal_bytes(
    session: Session, vault: Vault, member: Member, field: str, plain: bytes, now: datetime
) -> bytes:
    """`seal` for what is no text."""
    wrapped = key_of(session, vault, member, now)
    return vault.encrypt_bytes(wrapped, member.public_id, field, plain)


def unseal_bytes(
    session: Session, vault: Vault, member: Member, field: str, sealed: bytes | None
) -> bytes | None:
    """What `seal_bytes` took; None when nothing is stored or the key is gone."""
    wrapped = session.scalar(select(MemberKey.wrapped).where(MemberKey.member_id == member.id))
    if sealed is None or wrapped is None:
        return None
    return vault.decrypt_bytes(wrapped, member.public_id, field, sealed)


def phone_of(session: Session, vault: Vault, member: Member) -> str | None:
    """The member's phone in E.164, or None."""
    return unseal(session, vault, member, PHONE_FIELD, member.phone_sealed)


def birthday_of(session: Session, vault: Vault, member: Member) -> date | None:
    """The member's birthday, or None."""
    text = unseal(session, vault, member, BIRTHDAY_FIELD, member.birthday_sealed)
    return date.fromisoformat(text) if text else None


def birthdays_of(session: Session, vault: Vault, members: Sequence[Member]) -> dict[int, date]:
    """The birthdays of these, of whom one is known, in two statements at most."""
    known = [member for member in members if member.birthday_sealed is not None]
    keys: dict[int, bytes] = dict(
        session.execute(
            _keys_on(is_sqlite(session)), {"ids": [member.id for member in known]}
        ).all()
        if known
        else ()
    )
    return {
        member.id: date.fromisoformat(
            vault.decrypt(keys[member.id], member.public_id, BIRTHDAY_FIELD, member.birthday_sealed)
        )
        for member in known
        if member.id in keys and member.birthday_sealed is not None
    }


@cache
def _keys_on(on_sqlite: bool) -> Any:
    return select(MemberKey.member_id, MemberKey.wrapped).where(
        is_among(on_sqlite, MemberKey.member_id, "ids")
    )


def phone_index(vault: Vault, e164: str) -> str:
    """The blind index of a phone."""
    return vault.blind_index(PHONE_PURPOSE, e164)


def phone_indexes(vault: Vault, e164: str) -> list[str]:
    """The same under every active key, the newest first, for look-ups."""
    return vault.blind_indexes(PHONE_PURPOSE, e164)


def birthday_index(vault: Vault, month: int, day: int) -> str:
    """The blind index of a birthday; 29 February has its own, asked for by `celebrated_on`."""
    return birthday_indexes(vault, month, day)[0]


def birthday_indexes(vault: Vault, month: int, day: int) -> list[str]:
    """The same under every active key, the newest first, for look-ups."""
    return vault.blind_indexes(BIRTHDAY_PURPOSE, f"{month:02d}-{day:02d}")


def celebrated_on(vault: Vault, day: date) -> list[str]:
    """The indexes, under every active key, of the birthdays celebrated on this day: 29 Feb on
    28 Feb in common years (J4)."""
    days = [(day.month, day.day)]
    if days == [(2, 28)] and not isleap(day.year):
        days.append((2, 29))
    return [index for found in days for index in birthday_indexes(vault, *found)]
