"""Business facts in a member's timeline: what rules write and messages react to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.bulk import copy_many, take_ids
from core.db import insert_into
from models.activities import Activity
from models.base import table_of

TABLE = table_of(Activity)


def record(
    session: Session,
    member_id: int,
    kind: str,
    at: datetime,
    facts: dict[str, Any] | None = None,
    key: str | None = None,
) -> Activity:
    """Write a fact and hand it to the reactions that run before this transaction commits.

    With a `key` the fact is written once, ever: the second time the first one is returned and
    nobody reacts again.
    """
    if key is None:
        activity = Activity(member_id=member_id, kind=kind, at=at, facts=facts or {})
        session.add(activity)
    else:
        session.flush()  # what the fact speaks of must be there before a Core statement runs
        row = {"member_id": member_id, "kind": kind, "at": at, "facts": facts or {}, "key": key}
        insert = insert_into(session, TABLE).values(row).on_conflict_do_nothing()
        made = session.execute(insert.returning(TABLE.c.id)).scalar()
        by_key = select(Activity).where(Activity.key == key)
        activity = session.scalars(by_key).one()
        if made is None:
            return activity
    session.info.setdefault("activities", []).append(activity)
    return activity


def record_many(
    session: Session, kind: str, at: datetime, rows: Sequence[tuple[int, dict[str, Any]]]
) -> None:
    """`record` for very many members: (id, facts), written in bulk and handed on unattached."""
    if not rows:
        return
    ids = take_ids(session, TABLE, len(rows))
    written = [
        {"id": number, "member_id": member_id, "kind": kind, "at": at, "facts": facts}
        for number, (member_id, facts) in zip(ids, rows, strict=True)
    ]
    copy_many(session, TABLE, written)
    session.info.setdefault("activities", []).extend(Activity(**row) for row in written)
