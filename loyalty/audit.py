"""Privileged acts, chained by hash: each row's digest covers the bytes of the one before.

An edit, a deletion or a change of order breaks the chain and `verify` finds the place. One head
row is locked by every writer, so that the chain cannot fork; the bytes that were hashed are kept,
so that no database can round them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.db import insert_into
from core.sabotage import is_sabotaged
from models.base import table_of
from models.staff import AuditHead, AuditRow

HEAD = table_of(AuditHead)
ROWS = table_of(AuditRow)
HEAD_ID = 1
GENESIS = "0" * 64


@dataclass(frozen=True)
class Broken:
    """Where the chain does not hold: the row, and what is wrong with it."""

    row_id: int | None
    what: str


def record(
    session: Session, actor: str, act: str, facts: dict[str, Any], now: datetime
) -> AuditRow:
    """Write one act at the end of the chain.

    `actor` is `staff:3`, `cashier:5`, `cli` or `job`; `facts` hold ids and figures, never a
    phone or a text. Locks the chain's head until commit, so call it late in the transaction.
    """
    session.flush()  # Core statements must see what the caller has added so far
    previous = _lock_head(session)
    content = {
        "at": now.astimezone(UTC).isoformat(),
        "actor": actor,
        "act": act,
        "facts": facts,
        "previous": previous,
    }
    canonical = canonical_bytes(content)
    digest = hashlib.sha256(canonical).hexdigest()
    row = AuditRow(
        at=now,
        actor=actor,
        act=act,
        facts=facts,
        canonical=canonical,
        previous=previous,
        digest=digest,
    )
    session.add(row)
    session.execute(update(HEAD).where(HEAD.c.id == HEAD_ID).values(digest=digest))
    session.flush()  # a fork is refused here, not at a stranger's commit
    return row


def _lock_head(session: Session) -> str:
    locked = select(HEAD.c.digest).where(HEAD.c.id == HEAD_ID)
    if not is_sabotaged("audit.head_lock"):
        locked = locked.with_for_update()
    digest = session.execute(locked).scalar()
    if digest is None:
        first = insert_into(session, HEAD).values(id=HEAD_ID, digest=GENESIS)
        session.execute(first.on_conflict_do_nothing())
        digest = session.execute(locked).scalar_one()
    return str(digest)


def canonical_bytes(content: dict[str, Any]) -> bytes:
    """The one way to write a row's content: sorted keys, no spaces, ASCII."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def count(session: Session, actor: str, act: str, since: datetime) -> int:
    """How often this actor has done this after a moment: limits that survive a restart."""
    done = select(func.count()).where(ROWS.c.actor == actor, ROWS.c.act == act, ROWS.c.at > since)
    return session.scalar(done) or 0


def verify(session: Session, *, newest: int | None = None) -> Broken | None:
    """Walk the whole chain, or its newest rows only; None when every link holds."""
    previous, after = GENESIS, 0
    if newest is not None:
        before = select(ROWS.c.id, ROWS.c.digest).order_by(ROWS.c.id.desc()).offset(newest).limit(1)
        if (last := session.execute(before).first()) is not None:
            after, previous = last
    every_row = select(
        ROWS.c.id,
        ROWS.c.at,
        ROWS.c.actor,
        ROWS.c.act,
        ROWS.c.facts,
        ROWS.c.canonical,
        ROWS.c.previous,
        ROWS.c.digest,
    )
    every_row = every_row.where(ROWS.c.id > after).order_by(ROWS.c.id)
    with session.execute(every_row, execution_options={"yield_per": 1000}) as rows:
        for row in rows:
            if broken := _broken_at(row, previous):
                return broken
            previous = row.digest
    head = session.scalar(select(HEAD.c.digest).where(HEAD.c.id == HEAD_ID))
    if (head or GENESIS) != previous:
        return Broken(None, "rows at the end are missing")
    return None


def _broken_at(row: Any, previous: str) -> Broken | None:
    content = {
        "at": row.at.astimezone(UTC).isoformat(),
        "actor": row.actor,
        "act": row.act,
        "facts": row.facts,
        "previous": row.previous,
    }
    if row.previous != previous:
        return Broken(row.id, "a row before this one is missing or was moved")
    if canonical_bytes(content) != row.canonical:
        return Broken(row.id, "the row was changed")
    if hashlib.sha256(row.canonical).hexdigest() != row.digest:
        return Broken(row.id, "the hashed bytes were changed")
    return None


def head(session: Session) -> str:
    """The newest digest, to be noted somewhere else (a chain alone does not stop its owner)."""
    found = session.scalar(select(HEAD.c.digest).where(HEAD.c.id == HEAD_ID))
    return found or GENESIS
