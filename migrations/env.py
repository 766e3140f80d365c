"""Runs the migrations on either engine, each one in its own transaction.

The URL is the caller's (`config.attributes["url"]`, or `-x url=…`), else DATABASE_URL, else the
default of `config.py`. Migrations need no secrets, so none are asked for.
"""

from __future__ import annotations

from typing import Any

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON, Connection, text

import models  # noqa: F401  (fills the registry)
from config import Settings
from core.db import Database
from migrations import name_search
from models.base import Base, UtcDateTime

# A migration runs while the old code still serves: it must not queue behind a long reader and
# make everybody queue behind itself (docs/adding-a-feature.md).
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "10min"


def database_url() -> str:
    """The database to migrate."""
    given = context.config.attributes.get("url") or context.get_x_argument(as_dictionary=True).get(
        "url"
    )
    return str(given) if given else Settings().database_url


def render_item(kind: str, item: Any, autogenerate: AutogenContext) -> str | bool:
    """Write our own types as what the database sees, so that old migrations need no model code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        autogenerate.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    return False


def is_ours(_item: object, name: str | None, kind: str, _is_there: bool, _other: object) -> bool:
    """Whether tables and models are compared in this: models cannot say what PostgreSQL alone has."""
    return not (kind == "index" and name == name_search.INDEX)


def migrate(connection: Connection) -> None:
    """Bring this connection's database to the revision asked for."""
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=is_sqlite,
        render_item=render_item,
        include_object=is_ours,
        compare_type=True,
        compare_server_default=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def run() -> None:
    """Open the database and migrate it."""
    database = Database(database_url())
    try:
        with database.engine.connect() as connection:
            migrate(connection)
    finally:
        database.dispose()


if context.is_offline_mode():
    raise SystemExit("Taem migrates a live database: leave --sql out.")
run()
