"""The two engines as the tests get them: fresh for each test, whatever the one before did."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from core.db import Database
from tests import factories, postgres
from tests.conftest import Shelf


@pytest.fixture
def pool(postgres_url, new_database):
    pool = postgres.Pool(postgres_url, lambda: new_database("postgresql"))
    yield pool
    pool.close()


def count(url: str, table: str) -> int:
    database = Database(url)
    with database.read() as session:
        found = session.scalar(sa.text(f"SELECT count(*) FROM {table}"))
    database.dispose()
    return found


def fill(url: str) -> None:
    database = Database(url)
    with database.write() as session:
        factories.somchai(session)
        factories.nok(session)
    database.dispose()


def statements(url: str, *texts: str) -> None:
    postgres.execute(url, *texts)


def test_fresh_database_holds_no_member(database_url):
    assert count(database_url, "members") == 0
    fill(database_url)
    assert count(database_url, "members") == 1


def test_lent_database_comes_back_empty(pool, postgres_url):
    url = pool.take()
    fill(url)
    pool.give_back(url)
    again = pool.take()
    assert again == url
    assert count(again, "members") == 0
    postgres.drop(postgres_url, again)


def test_lent_database_counts_from_one_again(pool, postgres_url):
    url = pool.take()
    fill(url)
    pool.give_back(url)
    database = Database(pool.take())
    with database.write() as session:
        assert factories.friend(session).id == 1
    database.dispose()
    postgres.drop(postgres_url, url)


def test_lent_database_comes_back_without_sessions_of_the_one_before(pool, postgres_url):
    url = pool.take()
    database = Database(url)
    with database.engine.connect() as left_open:
        left_open.execute(sa.text("SELECT 1"))
        pool.give_back(url)
        with pytest.raises(sa.exc.OperationalError):
            left_open.execute(sa.text("SELECT 1"))
        left_open.invalidate()
    database.dispose()
    postgres.drop(postgres_url, url)


def test_one_session_left_behind_serves_the_next_test(pool, postgres_url):
    shelf, url = Shelf(), pool.take()
    served_by = []
    for _ in range(2):
        database = shelf.open(url)
        with database.write() as session:
            assert factories.friend(session).id == 1  # nothing of the one before
            served_by.append(session.scalar(sa.text("SELECT pg_backend_pid()")))
        shelf.close(database)
        assert pool.give_back(url, shelf.kept[url])
        assert pool.take() == url
    assert served_by[0] == served_by[1]
    shelf.forget(url)
    postgres.drop(postgres_url, url)


def test_lent_database_comes_back_even_when_every_session_was_cut(pool, postgres_url):
    url = pool.take()
    fill(url)
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
    statements(url, f"{cut} AND datname = current_database()")
    pool.give_back(url)
    assert pool.take() == url
    assert count(url, "members") == 0
    postgres.drop(postgres_url, url)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE vouchers DROP CONSTRAINT ck_vouchers_left_not_negative",
        "ALTER TABLE members ADD COLUMN extra integer",
        "DROP INDEX uq_members_proven_phone",
        "CREATE TABLE extra (id integer)",
        "ALTER TABLE audit_rows DISABLE TRIGGER USER",
    ],
)
def test_database_with_a_guard_removed_is_not_lent_again(pool, postgres_url, change):
    url = pool.take()
    statements(url, change)
    pool.give_back(url)
    other = pool.take()
    assert other != url
    postgres.drop(postgres_url, other)


def test_session_is_rolled_back_a(session):
    assert session.scalar(sa.text("SELECT count(*) FROM branches")) == 0
    factories.make_branch(session)
    session.commit()


def test_session_is_rolled_back_b(session):
    assert session.scalar(sa.text("SELECT count(*) FROM branches")) == 0
    factories.make_branch(session)
    session.commit()
