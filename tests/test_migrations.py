"""One history for both engines: it starts from nothing, matches the models, and can step back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.script import ScriptDirectory
from alembic.util import CommandError

import models  # noqa: F401
from models.base import Base
from tests import factories, lives, postgres
from tests.conftest import alembic_config, migrate
from tests.forks import Forked, ForkedRole
from tests.processes import bare_environment, free_port


@pytest.fixture
def empty_url(
    engine_kind: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    new_database: Callable[[str], str],
    drop_database: Callable[[str], None],
) -> Iterator[str]:
    """A database that holds nothing yet."""
    if engine_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    url = new_database("postgresql")  # emptied again: CREATE DATABASE stays in one place
    postgres.execute(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    yield url
    drop_database(url)


def tables_of(url: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_table_names()) - {"alembic_version"}
    finally:
        engine.dispose()


def checks_of(url: str) -> set[tuple[str, str | None]]:
    engine = sa.create_engine(url)
    try:
        inspector = sa.inspect(engine)
        return {
            (table, check["name"])
            for table in inspector.get_table_names()
            for check in inspector.get_check_constraints(table)
        }
    finally:
        engine.dispose()


def checks_in_models() -> set[tuple[str, str | None]]:
    return {
        (table.name, str(constraint.name))
        for table in Base.metadata.sorted_tables
        for constraint in table.constraints
        if isinstance(constraint, sa.CheckConstraint)
    }


def test_history_has_one_end():
    assert len(ScriptDirectory.from_config(alembic_config("sqlite://")).get_heads()) == 1


def test_builds_every_table_from_nothing(empty_url):
    migrate(empty_url)
    assert tables_of(empty_url) == set(Base.metadata.tables)


# A fresh database of the tests is a copy of one that `migrate` has built from nothing.


def test_is_what_the_models_say(database_url):
    command.check(alembic_config(database_url))


def test_check_notices_a_column_without_migration(database_url):
    extra = sa.Column("forgotten", sa.Integer())
    table = Base.metadata.tables["members"]
    table.append_column(extra)
    try:
        with pytest.raises(CommandError, match="New upgrade operations detected"):
            command.check(alembic_config(database_url))
    finally:
        table._columns.remove(extra)


def test_holds_every_check_constraint_of_the_models(database_url):
    assert checks_of(database_url) == checks_in_models()


def test_goes_one_step_back_and_forward_again(database_url):
    command.downgrade(alembic_config(database_url), "-1")
    migrate(database_url)
    assert tables_of(database_url) == set(Base.metadata.tables)


def test_goes_back_to_nothing(database_url):
    command.downgrade(alembic_config(database_url), "base")
    assert tables_of(database_url) == set()


def test_runs_twice_without_effect(database_url):
    migrate(database_url)
    assert tables_of(database_url) == set(Base.metadata.tables)


# Killed half-way, or met by old code (FS14)


def test_fs14_a_migration_killed_half_way_is_done_by_the_next_start(empty_url):
    for statement in (5, 40, 120):
        assert Forked(lives.migrate_until, empty_url, statement).wait(60) == -signal.SIGKILL
        assert tables_of(empty_url) == set()  # a migration is there whole or not at all
    migrate(empty_url)
    assert tables_of(empty_url) == set(Base.metadata.tables)
    command.check(alembic_config(empty_url))


def test_fs14_indexes_built_beside_the_shop_are_built_again_after_a_kill(database_url, engine_kind):
    """Outside a transaction (PostgreSQL) a kill leaves some of them, and one may be no good."""
    command.downgrade(alembic_config(database_url), "0004")
    for statement in (6, 14):
        assert Forked(lives.migrate_until, database_url, statement).wait(60) == -signal.SIGKILL
    if engine_kind == "postgresql":
        postgres.execute(
            database_url,
            "DROP INDEX IF EXISTS ix_taps_message_id",
            "CREATE INDEX ix_taps_message_id ON taps (at)",
        )
    migrate(database_url)
    command.check(alembic_config(database_url))
    engine = sa.create_engine(database_url)
    (found,) = [
        index["column_names"]
        for index in sa.inspect(engine).get_indexes("taps")
        if index["name"] == "ix_taps_message_id"
    ]
    engine.dispose()
    assert found == ["message_id"]


@pytest.mark.parametrize("role", ["all", "web", "worker", "scheduler"])
def test_fs14_old_code_refuses_to_start_on_a_newer_schema(database, role, tmp_path):
    settings = factories.make_settings(database.url, port=free_port())
    with database.write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    log = tmp_path / "refused.log"
    environment = bare_environment() | factories.environment(settings)
    assert ForkedRole(role, environment, log).wait(60) == 2
    assert "migrated by a newer Taem" in log.read_text()
    assert "Traceback" not in log.read_text()
