"""Keeps LINE in line with the rows: whose turn it is to publish, and when to try again.

What should be live is a wish in the rows (`menus.published_version`); this module brings LINE to
it, now or after a fault, and never twice at once. The wish is committed first, so a stop at any
point costs a repeat and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from bot.gateway import Line, LineRefused
from core.db import insert_into
from core.errors import OutsideFault, Refused
from core.runtime import Runtime
from models.menus import MenuUpkeep
from rich_menus import publish

log = structlog.get_logger("menus")
#: LINE takes 100 new menus an hour: tries do not run into that wall again and again.
RETRY_MINUTES = (1, 2, 5, 15, 30)
HELD = timedelta(minutes=5)
#: Menus that were replaced are removed once the last person stands elsewhere.
LEFT_OVER = timedelta(minutes=5)
JUST_NOW = timedelta(hours=1)

#: What hears of each picture: how many are there, of how many.
Told = Callable[[int, int], None]


def _untold(_done: int, _all: int) -> None:
    """Nobody waits for the pictures."""


def ask(session: Session, real_now: datetime) -> None:
    """Have LINE brought in line as soon as somebody is free to."""
    due = {"due_at": real_now, "attempts": 0, "problem": None}
    session.execute(
        insert_into(session, MenuUpkeep)
        .values(id=1, **due)
        .on_conflict_do_update(index_elements=["id"], set_=due)
    )


def of(session: Session) -> MenuUpkeep | None:
    """How far LINE agrees; None before anything was published."""
    return session.get(MenuUpkeep, 1)


def has_just_agreed(session: Session, real_now: datetime) -> bool:
    """Whether LINE was found in line within the hour: a night that comes sooner (the demo's are
    seconds apart) need not compare again."""
    row = of(session)
    return (
        row is not None
        and row.agreed_at is not None
        and real_now - JUST_NOW < row.agreed_at <= real_now
    )


def is_due(session: Session, real_now: datetime) -> bool:
    """Whether LINE is to be brought in line now."""
    due = select(MenuUpkeep.id).where(_is_free(real_now), MenuUpkeep.due_at <= real_now)
    return session.scalar(due) is not None


def is_sweeping(session: Session) -> bool:
    """Whether everybody is being looked at again."""
    asked = select(MenuUpkeep.id).where(MenuUpkeep.sweep_after_id.is_not(None))
    return session.scalar(asked) is not None


def keep(runtime: Runtime, line: Line) -> int:
    """The worker's step: bring LINE in line if that is due. Returns 1 when it was tried."""
    with runtime.database.read() as session:  # an idle look takes no write lock
        if not is_due(session, runtime.clock.real_now()):
            return 0
    try:
        bring(runtime, line)
    except OutsideFault:
        pass  # noted in the row, with the next try
    except Refused:
        return 0  # somebody else is at it
    return 1


def publish_newest(runtime: Runtime, line: Line, *, dry_run: bool = False) -> publish.Report:
    """Choose the newest version of every menu and bring LINE there; with `dry_run` only say what
    that would do. Raises as `bring` does; run it again."""
    if dry_run:
        return publish.bring(runtime, line, dry_run=True)
    real_now = runtime.clock.real_now()
    with runtime.transaction() as session:
        publish.choose_newest(session)
        ask(session, real_now)
        # In the same transaction: a worker that sees the wish must not come first.
        is_ours = _take(session, real_now)
    if not is_ours:  # whoever is at it now, or a worker after them, brings the newest as well
        raise Refused("menus.publishing_now")
    return _bring(runtime, line)


def bring(runtime: Runtime, line: Line, told: Told = _untold) -> publish.Report:
    """Bring LINE to what the rows say, in this thread. Raises the gateway's errors, which are
    noted with the next try, and `menus.publishing_now` while somebody else is at it."""
    with runtime.database.write() as session:
        is_ours = _take(session, runtime.clock.real_now())
    if not is_ours:
        raise Refused("menus.publishing_now")
    return _bring(runtime, line, told)


def _bring(runtime: Runtime, line: Line, told: Told = _untold) -> publish.Report:
    try:
        report = publish.bring(runtime, line, told=told)
    except BaseException as error:
        _give_back(runtime, error)
        raise
    _give_back(runtime, None, is_left_over=report.is_left_over)
    return report


def _is_free(real_now: datetime) -> ColumnElement[bool]:
    return or_(MenuUpkeep.held_until.is_(None), MenuUpkeep.held_until < real_now)


def _take(session: Session, real_now: datetime) -> bool:
    """Whether it is our turn from now on."""
    session.execute(
        insert_into(session, MenuUpkeep)
        .values(id=1, attempts=0)
        .on_conflict_do_nothing(index_elements=["id"])
    )
    taken = session.execute(
        update(MenuUpkeep)
        .where(MenuUpkeep.id == 1, _is_free(real_now))
        .values(held_until=real_now + HELD)
        .returning(MenuUpkeep.id)
    ).scalar()
    return taken is not None


def _give_back(
    runtime: Runtime, error: BaseException | None, *, is_left_over: bool = False
) -> None:
    real = runtime.clock.real_now()
    with runtime.database.write() as session:
        row = session.get_one(MenuUpkeep, 1, with_for_update=True)
        row.held_until = None
        if error is None:
            row.attempts, row.problem, row.agreed_at = 0, None, real
            row.due_at = real + LEFT_OVER if is_left_over else None
            return
        is_refused = isinstance(error, LineRefused)
        row.problem = "menus.line_refused" if is_refused else "menus.line_failed"
        row.due_at = real + timedelta(
            minutes=RETRY_MINUTES[min(row.attempts, len(RETRY_MINUTES) - 1)]
        )
        row.attempts += 1
    log.warning("menus_not_published", kind=type(error).__name__)
