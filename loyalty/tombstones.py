"""Keyed hashes of erased people, kept 12 months: rejoining brings no second gift (J7)."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.crypto import Vault
from core.db import insert_into
from loyalty import personal
from models.members import Member, Tombstone

LINE_ID = "line_id"
PHONE = "phone"
KEPT_DAYS = 365


def put(session: Session, vault: Vault, kind: str, value: str, now: datetime) -> None:
    """Remember that this LINE id or phone belonged to somebody who left."""
    ends = now + timedelta(days=KEPT_DAYS)
    session.execute(
        insert_into(session, Tombstone)
        .values(keyed_hash=_hash(vault, kind, value), kind=kind, expires_at=ends)
        .on_conflict_do_update(index_elements=["keyed_hash"], set_={"expires_at": ends})
    )


def is_known(session: Session, vault: Vault, kind: str, value: str | None, now: datetime) -> bool:
    """Whether this LINE id or phone left within the last 12 months."""
    if value is None:
        return False
    hashes = vault.blind_indexes(f"tombstone.{kind}", value)
    found = session.scalar(
        select(Tombstone.keyed_hash).where(
            Tombstone.keyed_hash.in_(hashes), Tombstone.expires_at > now
        )
    )
    return found is not None


def has_come_back(session: Session, member: Member, now: datetime) -> bool:
    """Whether this is somebody who left within the last 12 months: no second first time (J7)."""
    vault: Vault | None = session.info.get("vault")
    if vault is None:
        return False
    phone = personal.phone_of(session, vault, member)
    return is_known(session, vault, LINE_ID, member.line_user_id, now) or is_known(
        session, vault, PHONE, phone, now
    )


def forget(session: Session, now: datetime, limit: int) -> int:
    """Delete what is past its 12 months. Returns how many, at most `limit`."""
    due = select(Tombstone.keyed_hash).where(Tombstone.expires_at <= now).limit(limit)
    gone = session.execute(
        delete(Tombstone).where(Tombstone.keyed_hash.in_(due)).returning(Tombstone.keyed_hash)
    )
    return len(gone.all())


def _hash(vault: Vault, kind: str, value: str) -> str:
    return vault.blind_index(f"tombstone.{kind}", value)
