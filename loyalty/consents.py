"""Consents: one row per purpose, text version and moment; withdrawing is as easy as giving.

The newest open row of a purpose is in force. Texts live in `locales/`; whoever changes one raises
its version here, so that it stays known who agreed to what.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db import insert_into
from loyalty import activities
from models.members import Consent, Purpose

TEXT_VERSIONS = {
    Purpose.MEMBERSHIP: "membership-1",
    Purpose.MARKETING: "marketing-1",
    Purpose.BIRTHDAY: "birthday-1",
}
#: A marketing consent that a guardian has agreed to (members under 20, J2).
GUARDIAN = "+guardian"


def give(
    session: Session,
    member_id: int,
    purpose: Purpose,
    *,
    channel: str,
    now: datetime,
    by_guardian: bool = False,
) -> None:
    """Record consent; an open one of the same purpose stays as it is."""
    version = TEXT_VERSIONS[purpose] + (GUARDIAN if by_guardian else "")
    given = session.scalar(
        insert_into(session, Consent)
        .values(
            member_id=member_id,
            purpose=purpose,
            text_version=version,
            given_at=now,
            channel=channel,
        )
        .on_conflict_do_nothing()
        .returning(Consent.id)
    )
    if given is not None:
        facts = {"purpose": purpose.value, "version": version}
        activities.record(session, member_id, "consents.given", now, facts)


def withdraw(session: Session, member_id: int, purpose: Purpose, now: datetime) -> bool:
    """End the open consent of a purpose, effective before the next send; False without one."""
    withdrawn = session.scalar(
        update(Consent)
        .where(
            Consent.member_id == member_id,
            Consent.purpose == purpose,
            Consent.withdrawn_at.is_(None),
        )
        .values(withdrawn_at=now)
        .returning(Consent.id)
    )
    if withdrawn is not None:
        activities.record(session, member_id, "consents.withdrawn", now, {"purpose": purpose.value})
    return withdrawn is not None


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


def _open_version(session: Session, member_id: int, purpose: Purpose) -> str | None:
    return session.scalar(
        select(Consent.text_version).where(
            Consent.member_id == member_id,
            Consent.purpose == purpose,
            Consent.withdrawn_at.is_(None),
        )
    )
