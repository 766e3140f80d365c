"""Operation ids: whoever starts a write names it, and the same name gets the same answer (K3).

The row is written in the transaction of the effect, so there is never an effect without its
answer or an answer without its effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, text, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db import insert_into, is_sqlite
from core.errors import Refused
from core.sabotage import is_sabotaged
from models.base import table_of
from models.purchases import Operation

OPERATIONS = table_of(Operation)
REMEMBERED = timedelta(hours=48)
WAIT_SECONDS = 5


@dataclass(frozen=True)
class Stored:
    """The answer this operation got the first time."""

    status: int
    answer: dict[str, Any]


def once(session: Session, operation_id: str, fingerprint: str, now: datetime) -> Stored | None:
    """Begin an operation: None means do it now and `finish` it; else here is its answer.

    While another process is at the same operation this waits, up to 5 s. Refused:
    `operations.other_body` (422) when the id comes with another body, `operations.in_progress`
    (409) when the wait was too long.
    """
    if is_sabotaged("operations.once"):
        return None
    row = {"id": operation_id, "fingerprint": fingerprint, "created_at": now}
    new = insert_into(session, OPERATIONS).values(row).on_conflict_do_nothing()
    for _ in range(2):
        if _insert_within(session, new.returning(OPERATIONS.c.id)):
            return None
        known = session.execute(
            select(
                OPERATIONS.c.fingerprint,
                OPERATIONS.c.status,
                OPERATIONS.c.answer,
                OPERATIONS.c.created_at,
            ).where(OPERATIONS.c.id == operation_id)
        ).one()
        if known.created_at > now - REMEMBERED:
            break
        # Two days old: the name is free again, and the bill number still guards the bill.
        old = delete(OPERATIONS).where(OPERATIONS.c.id == operation_id)
        session.execute(old)
    if known.fingerprint != fingerprint:
        raise Refused("operations.other_body", status=422)
    if known.status is None:
        raise Refused("operations.in_progress")
    return Stored(known.status, known.answer or {})


def _insert_within(session: Session, statement: Any) -> bool:
    """Insert, waiting for a concurrent duplicate no longer than an API caller would."""
    session.flush()  # so that a failure here is not somebody else's
    if is_sqlite(session):
        return session.execute(statement).scalar() is not None
    session.execute(text(f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s'"))
    try:
        made = session.execute(statement).scalar() is not None
    except OperationalError as error:
        raise Refused("operations.in_progress") from error
    session.execute(text("SET LOCAL lock_timeout = '10s'"))
    return made


def finish(
    session: Session, operation_id: str, status: int, answer: dict[str, Any], now: datetime
) -> None:
    """Keep the answer, in the same transaction as the effect."""
    session.execute(
        update(OPERATIONS)
        .where(OPERATIONS.c.id == operation_id)
        .values(status=status, answer=answer)
    )


def forget(session: Session, now: datetime, limit: int) -> int:
    """Delete up to `limit` answers that nobody may ask for any more; returns how many."""
    old = (
        select(OPERATIONS.c.id)
        .where(OPERATIONS.c.created_at < now - 2 * REMEMBERED)
        .order_by(OPERATIONS.c.created_at)
        .limit(limit)
    )
    gone: Any = session.connection().execute(
        delete(OPERATIONS).where(OPERATIONS.c.id.in_(old.scalar_subquery()))
    )
    return int(gone.rowcount)
