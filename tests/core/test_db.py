"""Transactions on both engines: returning commits, raising rolls back, then comes the rest."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from core.db import after_commit
from models.staff import Branch


def branches(database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Branch))


def add(session, code="SIAM") -> None:
    session.add(Branch(code=code, name_th="สยาม", name_en="Siam"))


def test_returning_commits_and_then_the_rest_runs(database):
    seen = []
    with database.write() as session:
        add(session)
        after_commit(session, lambda: seen.append(branches(database)))
        assert seen == []
    assert seen == [1]


def test_raising_rolls_back_and_the_rest_never_runs(database):
    seen = []
    with pytest.raises(RuntimeError), database.write() as session:
        add(session)
        after_commit(session, lambda: seen.append(1))
        raise RuntimeError
    assert branches(database) == 0
    assert seen == []


def test_what_a_reading_session_changes_is_thrown_away(database):
    with database.read() as session:
        add(session)
        session.flush()
    assert branches(database) == 0
