"""Operation ids: whoever starts a write names it, and the same name gets the same answer (K3).

The row is written in the transaction of the effect, so there is never an effect without its
answer or an answer without its effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, delete, func, select, true, update
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from core.db import LOCK_TIMEOUT_SECONDS, insert_into, is_sqlite
from core.errors import Refused
from core.sabotage import is_sabotaged
from models.base import table_of
from models.purchases import Operation

OPERATIONS = table_of(Operation)
REMEMBERED = timedelta(hours=48)
WAIT_SECONDS = 5
#: PostgreSQL's word for a wait that was longer than `lock_timeout`.
LOCK_NOT_AVAILABLE = "55P03"

# PostgreSQL's wait for a lock is a setting of the transaction. The same statement that inserts
# shortens it before, as the row comes from there, and puts it back with what it returns.
_WAIT_BRIEFLY = func.set_config("lock_timeout", f"{WAIT_SECONDS}s", true())
_WAIT_AS_USUAL = func.set_config("lock_timeout", f"{LOCK_TIMEOUT_SECONDS}s", true())
_NEW_POSTGRES = (
    postgresql.insert(OPERATIONS)
    .from_select(
        ["id", "fingerprint", "created_at"],
        select(
            bindparam("id", type_=OPERATIONS.c.id.type),
            bindparam("fingerprint", type_=OPERATIONS.c.fingerprint.type),
            bindparam("created_at", type_=OPERATIONS.c.created_at.type),
        ).select_from(_WAIT_BRIEFLY.table_valued("wait")),
        include_defaults=False,
    )
    .on_conflict_do_nothing()
    .returning(OPERATIONS.c.id, _WAIT_AS_USUAL)
)


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
    for _ in range(2):
        if _insert_within(session, row):
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


def _insert_within(session: Session, row: dict[str, Any]) -> bool:
    """Insert, waiting for a concurrent duplicate no longer than an API caller would."""
    session.flush()  # so that a failure here is not somebody else's
    if is_sqlite(session):
        new = insert_into(session, OPERATIONS).values(row).on_conflict_do_nothing()
        return session.execute(new.returning(OPERATIONS.c.id)).scalar() is not None
    try:
        made = session.execute(_NEW_POSTGRES, row).first() is not None
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
            raise  # a server that is gone is nobody else's operation
        raise Refused("operations.in_progress") from error
    if not made:  # nothing was returned, so nothing has set the usual wait again
        session.execute(select(_WAIT_AS_USUAL))
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
