"""Transactions on both engines: returning commits, raising rolls back, then comes the rest."""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from core.db import Database, adopt, after_commit, savepoint
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


# A part that may fail alone


def test_a_part_that_fails_leaves_nothing_and_costs_the_rest_nothing(database):
    seen = []
    with database.write() as session:
        add(session)
        session.info["activities"] = ["joined"]
        with pytest.raises(RuntimeError), savepoint(session):
            add(session, "ARI")
            session.info["activities"].append("bought")
            session.info["links"] = {"known"}
            after_commit(session, lambda: seen.append("bought"))
            raise RuntimeError
        assert session.info["activities"] == ["joined"]
        assert "links" not in session.info
    assert branches(database) == 1
    assert seen == []


def test_a_part_that_succeeds_stays_with_what_it_noted(database):
    seen = []
    with database.write() as session:
        with savepoint(session):
            add(session)
            session.info["activities"] = ["joined"]
            after_commit(session, lambda: seen.append("joined"))
        assert session.info["activities"] == ["joined"]
    assert (branches(database), seen) == (1, ["joined"])


def test_what_cannot_be_written_fails_in_its_own_part(database):
    with database.write() as session:
        add(session)
        session.flush()
        with pytest.raises(IntegrityError), savepoint(session):
            add(session)
    assert branches(database) == 1


def test_a_row_that_takes_the_id_of_one_rolled_back_is_not_mistaken_for_it(database):
    left = []

    def write(session, row):
        session.execute(insert(Branch.__table__), row)
        adopt(session, Branch(**row))
        left.append(session.get_one(Branch, row["id"]))

    with database.write() as session:
        with pytest.raises(RuntimeError), savepoint(session):
            write(session, {"id": 7, "code": "ARI", "name_th": "อารีย์", "name_en": "Ari"})
            raise RuntimeError
        write(session, {"id": 7, "code": "SIAM", "name_th": "สยาม", "name_en": "Siam"})
        assert [one.code for one in left[1:]] == ["SIAM"]
        assert session.get_one(Branch, 7) is left[1]


@pytest.mark.parametrize("survives, level", [(True, 2), (False, 1)])  # FULL, NORMAL
def test_only_who_says_so_does_not_wait_for_the_disk(tmp_path, survives, level):
    database = Database(f"sqlite:///{tmp_path}/one.db", survives_power_cut=survives)
    with database.read() as session:
        assert session.scalar(text("PRAGMA synchronous")) == level
    database.dispose()
