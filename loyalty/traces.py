"""What stored LINE events say of a person, and how it goes when they leave.

Rows stay, because their ids keep LINE's redeliveries from counting twice; what was said does not.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, case, func, or_, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.db import is_sqlite
from models.inbox import Event, EventState, Quarantined, QuarantineState

EMPTIED = b"{}"


def forget_person(session: Session, line_user_id: str, event_id: int | None) -> None:
    """Empty every event of this person that is over, the one in hand (`event_id`) included.

    Events still waiting come after the erasure, as those of a stranger.
    """
    is_over = or_(Event.state != EventState.PENDING, Event.id == (event_id or 0))
    _run(
        session,
        update(Event)
        .where(Event.line_user_id == line_user_id, is_over)
        .values(
            line_user_id=None,
            lane=Event.webhook_event_id,
            payload=EMPTIED,
            # Nothing is left of it that a replay could do.
            state=case((Event.state == EventState.FAILED, EventState.DISMISSED), else_=Event.state),
        ),
    )
    _run(
        session,
        update(Quarantined)
        .where(_holds(session, Quarantined.content, line_user_id))
        .values(content=b"", state=QuarantineState.DISMISSED),
    )


def forget_text(session: Session, message_id: str) -> None:
    """Empty the events that could not be read and hold this message. Whole bodies that could not
    be are kept: they may hold what others said."""
    if not message_id.isdigit():
        return
    _run(
        session,
        update(Quarantined)
        .where(
            Quarantined.kind == "event",
            _holds(session, Quarantined.content, f'"{message_id}"'),
        )
        .values(content=b"", state=QuarantineState.DISMISSED),
    )


def _holds(
    session: Session, column: InstrumentedAttribute[bytes], text: str
) -> ColumnElement[bool]:
    """Whether stored bytes contain these ASCII letters."""
    wanted = text.encode("ascii", "ignore")
    if is_sqlite(session):
        return func.instr(column, wanted) > 0
    escaped = wanted.replace(b"\\", b"\\\\").replace(b"%", b"\\%").replace(b"_", b"\\_")
    return column.op("LIKE", is_comparison=True)(b"%" + escaped + b"%")


def _run(session: Session, statement: Any) -> None:
    session.execute(statement.execution_options(synchronize_session=False))
