"""How long the shop keeps what people said and sent, and the nightly throwing away of the rest.

Each kind has a number of days with a floor and a ceiling; figures, ids and the proof of what was
done stay. A row is emptied rather than deleted where something refers to it or a repetition must be
recognised (a LINE event is known by its id for ever). What each night removed is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Integer, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from core.db import insert_on, is_sqlite
from loyalty import imports, shop
from models.base import UtcDateTime, table_of
from models.conversations import (
    HAS_SUBJECT,
    ConversationLine,
    ConversationPicture,
    PictureState,
    Ticket,
    TicketState,
)
from models.inbox import Event, EventState, Quarantined, QuarantineState
from models.outbox import Call, CallState, Message, MessageState
from models.scores import SurveyAnswer
from models.shop import RetentionRun
from models.staff import Look

RUNS = table_of(RetentionRun)
#: Up to which row of a growing table everything was looked at.
REACHED = "retention.reached"
_SETTLED_CALLS = frozenset({CallState.DONE, CallState.DEAD, CallState.REFUSED, CallState.DROPPED})
_OWED = frozenset({MessageState.WAITING, MessageState.CALLING, MessageState.PARKED})

#: `(session, cutoff, limit)` -> how many rows were emptied or deleted.
Sweep = Callable[[Session, datetime, int], int]


@dataclass(frozen=True)
class Kind:
    """One kind of data: how long it may and must be kept, and who throws it away."""

    name: str
    least: int
    most: int
    sweep: Sweep
    #: Whether its moments are the machine's: the demo's clock never reaches those.
    is_real_time: bool = False

    @property
    def key(self) -> str:
        """Its setting."""
        return f"retention.{self.name}_days"


def sweep(
    session: Session, *, now: datetime, real_now: datetime, day: date, limit: int, place: int = 0
) -> tuple[int, int]:
    """One batch of tonight's work, from the kind at this place on: those before it are through.

    Returns (rows removed, the place it has reached); 0 rows when nothing is left that is too old.
    """
    done: list[dict[str, Any]] = []
    removed = 0
    while place < len(KINDS) and not removed:
        kind = KINDS[place]
        days = days_of(session, kind)
        at = real_now if kind.is_real_time else now
        removed = kind.sweep(session, at - timedelta(days=days), limit)
        done.append(
            {"day": day, "kind": kind.name, "kept_days": days, "removed": removed, "at": now}
        )
        place += not removed
    if done:
        session.execute(_note_on(is_sqlite(session)), done)
    return removed, place


def days_of(session: Session, kind: Kind) -> int:
    """How many days the shop keeps it."""
    return min(max(int(shop.get(session, kind.key)), kind.least), kind.most)


def days(session: Session) -> dict[str, int]:
    """The same of every kind, by name."""
    return {kind.name: days_of(session, kind) for kind in KINDS}


def history(session: Session, limit: int = 60) -> list[RetentionRun]:
    """What the last nights removed, newest first; nights without anything are left out."""
    removed = select(RetentionRun).where(RetentionRun.removed > 0)
    newest = removed.order_by(RetentionRun.day.desc(), RetentionRun.kind).limit(limit)
    return list(session.scalars(newest))


def last_night(session: Session) -> RetentionRun | None:
    """The newest row of any kind: when somebody last looked."""
    return session.scalars(select(RetentionRun).order_by(RetentionRun.at.desc()).limit(1)).first()


@cache
def _note_on(on_sqlite: bool) -> Any:
    """Adds to what a night has removed of each kind."""
    row = insert_on(on_sqlite, RUNS)
    new = row.excluded
    return row.on_conflict_do_update(
        index_elements=["day", "kind"],
        set_={"removed": RUNS.c.removed + new.removed, "kept_days": new.kept_days, "at": new.at},
    )


def _emptying(table: Any, *where: Any, **values: Any) -> Any:
    """Empties up to `most` such rows; built once, as most nights find none."""
    ids = select(table.id).where(*where).limit(bindparam("most", type_=Integer()))
    return update(table).where(table.id.in_(ids)).values(**values).returning(table.id)


_CUTOFF: Any = bindparam("cutoff", type_=UtcDateTime())
_LINES = _emptying(
    ConversationLine,
    ConversationLine.text_sealed.is_not(None),
    ConversationLine.at < _CUTOFF,
    text_sealed=None,
)
_WHYS = _emptying(
    SurveyAnswer,
    SurveyAnswer.why_sealed.is_not(None),
    SurveyAnswer.answered_at < _CUTOFF,
    why_sealed=None,
)
_SUBJECTS = _emptying(
    Ticket,
    Ticket.state == TicketState.DONE,
    Ticket.done_at < _CUTOFF,
    HAS_SUBJECT,
    subject="",
)
_PICTURES = _emptying(
    ConversationPicture,
    ConversationPicture.made_at < _CUTOFF,
    ConversationPicture.state != PictureState.GONE,
    content_sealed=None,
    token_hash=None,
    next_try_at=None,
    state=PictureState.GONE,
)
_QUARANTINED = _emptying(
    Quarantined,
    Quarantined.received_at < _CUTOFF,
    (Quarantined.content != b"") | (Quarantined.state == QuarantineState.OPEN),
    content=b"",
    state=QuarantineState.DISMISSED,
)


# --- What is thrown away ----------------------------------------------------------------------


def _chats(session: Session, cutoff: datetime, limit: int) -> int:
    """Lines of chats, reasons given in surveys, and subjects of matters that are settled."""
    return sum(_empty(session, one, cutoff, limit) for one in (_LINES, _WHYS, _SUBJECTS))


def _pictures(session: Session, cutoff: datetime, limit: int) -> int:
    """Pictures of chats, both ways; their links end with them."""
    return _empty(session, _PICTURES, cutoff, limit)


def _events(session: Session, cutoff: datetime, limit: int) -> int:
    """Bodies of LINE events; their ids stay, so that a repetition is still known.

    One that waited for a person all that time is let go.
    """
    rows = _next(session, "events", select(Event.id, Event.received_at, Event.state), cutoff, limit)
    given_up = [row.id for row in rows if row.state == EventState.FAILED]
    ids = [row.id for row in rows if row.state != EventState.PENDING]
    if given_up:
        session.execute(
            update(Event).where(Event.id.in_(given_up)).values(state=EventState.DISMISSED)
        )
    if ids:
        session.execute(update(Event).where(Event.id.in_(ids)).values(payload=b"{}"))
    return len(ids) + _empty(session, _QUARANTINED, cutoff, limit)


def _calls(session: Session, cutoff: datetime, limit: int) -> int:
    """Bodies and answers of calls to LINE, and words of messages that are settled."""
    calls = _next(session, "calls", select(Call.id, Call.created_at, Call.state), cutoff, limit)
    settled = [row.id for row in calls if row.state in _SETTLED_CALLS]
    if settled:
        session.execute(update(Call).where(Call.id.in_(settled)).values(body=None, answer=None))
    messages = _next(
        session, "messages", select(Message.id, Message.created_at, Message.state), cutoff, limit
    )
    over = [row.id for row in messages if row.state not in _OWED]
    if over:
        session.execute(update(Message).where(Message.id.in_(over)).values(content=None))
    return len(settled) + len(over)


def _files(session: Session, cutoff: datetime, limit: int) -> int:
    """Lists brought in that nobody decided about; those taken out are never kept."""
    return imports.forget(session, cutoff, limit)


_OLDEST_LOOK = select(func.max(Look.first_at)).where(Look.first_at < _CUTOFF)


def _looks(session: Session, cutoff: datetime, limit: int) -> int:
    """Who looked at whose data."""
    if session.scalar(_OLDEST_LOOK, {"cutoff": cutoff}) is None:
        return 0
    first = select(Look.first_at).where(Look.first_at < cutoff).order_by(Look.first_at)
    until = session.scalar(first.offset(limit).limit(1)) or cutoff
    gone: Any = session.execute(delete(Look).where(Look.first_at < until))
    return int(gone.rowcount)


def _empty(session: Session, emptying: Any, cutoff: datetime, limit: int) -> int:
    asked = {"cutoff": cutoff, "most": limit}
    emptied = session.execute(emptying, asked, execution_options={"synchronize_session": False})
    return len(emptied.all())


def _next(session: Session, name: str, columns: Any, cutoff: datetime, limit: int) -> list[Any]:
    """The next rows of a table that only grows, as far as they are old; each is seen once."""
    reached = dict(shop.get(session, REACHED))
    ids = columns.selected_columns[0]
    ahead = columns.where(ids > reached.get(name, 0)).order_by(ids)
    first = session.execute(ahead.limit(1)).first()
    if first is None or first[1] >= cutoff:
        return []  # most nights: what is kept need not be read to know that
    rows = session.execute(ahead.limit(limit)).all()
    old = []
    for row in rows:
        if row[1] >= cutoff:
            break
        old.append(row)
    if old:
        reached[name] = old[-1].id
        shop.set(session, REACHED, reached, cutoff)
    return old


KINDS = (
    Kind("chats", 30, 3650, _chats),
    Kind("pictures", 7, 1825, _pictures),
    # Statistics and repairs look back a week; longer than a year nobody needs.
    Kind("events", 14, 365, _events, is_real_time=True),
    Kind("calls", 14, 730, _calls),
    Kind("files", 1, 365, _files, is_real_time=True),
    Kind("looks", 90, 730, _looks, is_real_time=True),
)
