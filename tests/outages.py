"""A database that is locked or gone for a while."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests import postgres


class LockedSqlite:
    """Somebody holds the write lock."""

    def __init__(self, url):
        self.connection = sqlite3.connect(
            make_url(url).database, isolation_level=None, check_same_thread=False
        )

    def __enter__(self):
        self.connection.execute("BEGIN IMMEDIATE")

    def __exit__(self, *error):
        self.connection.execute("ROLLBACK")
        self.connection.close()


class LockedPostgres:
    """Somebody holds the whole table."""

    def __init__(self, url):
        self.connection = psycopg.connect(postgres.plain_url(url))

    def __enter__(self):
        self.connection.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")

    def __exit__(self, *error):
        self.connection.rollback()
        self.connection.close()


def locked(database):
    return LockedSqlite(database.url) if database.is_sqlite else LockedPostgres(database.url)


def take_away(database_url, request):
    """Make the database unreachable; returns what brings it back."""
    if database_url.startswith("sqlite"):
        path = Path(make_url(database_url).database)
        away = path.with_suffix(".away")
        path.rename(away)
        path.mkdir()  # or SQLite would make an empty one

        def bring_back():
            path.rmdir()
            away.rename(path)
    else:
        name = make_url(database_url).database
        server = request.getfixturevalue("postgres_url")
        postgres.execute(
            server,
            f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

        def bring_back():
            postgres.execute(server, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')

    return bring_back
