"""Jobs of our own, whose every effect leaves a mark that nothing but the claim makes unique."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import time

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.runtime import Runtime
from loyalty import activities
from models.activities import Activity
from models.members import Member
from models.schedule import Occurrence
from scheduler.jobs import Run
from scheduler.schedule import JOBS, CatchUp, Job
from tests import factories


def mark(session: Session, run: Run) -> int:
    """Leave one mark for each member, `run.limit` of them in a batch."""
    next_ones = select(Member.id).where(Member.id > run.cursor).order_by(Member.id).limit(run.limit)
    ids = list(session.scalars(next_ones))
    for member_id in ids:
        activities.record(session, member_id, "tests.marked", run.now)
    if ids:
        run.cursor = ids[-1]
    return len(ids)


def job(catch_up: CatchUp = CatchUp.ALWAYS, at: time = time(9, 0), **more: object) -> Job:
    return Job("tests.mark", at, **({"work": mark, "catch_up": catch_up, "limit": 3} | more))


@pytest.fixture
def people(runtime: Runtime) -> list[int]:
    """Ten members."""
    with runtime.database.write() as session:
        return [factories.make_member(session, f"{n} ลูกค้า").id for n in range(10)]


@pytest.fixture
def marks(runtime: Runtime) -> Callable[[], Counter[int]]:
    """How many marks each member has."""

    def count() -> Counter[int]:
        with runtime.database.read() as session:
            query = select(Activity.member_id).where(Activity.kind == "tests.marked")
            return Counter(session.scalars(query))

    return count


@pytest.fixture
def runs(runtime: Runtime) -> Callable[..., list[Occurrence]]:
    """The occurrences so far, oldest first."""

    def read(job_id: str | None = None) -> list[Occurrence]:
        query = select(Occurrence).order_by(Occurrence.due_at, Occurrence.id)
        if job_id is not None:
            query = query.where(Occurrence.job == job_id)
        with runtime.database.read() as session:
            return list(session.scalars(query))

    return read


@pytest.fixture
def only_ours(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the schedule hold these jobs alone."""

    def set_table(*ours: Job) -> None:
        for name in list(JOBS):
            monkeypatch.delitem(JOBS, name)
        for one in ours:
            monkeypatch.setitem(JOBS, one.id, one)

    return set_table
