"""Intake's own connections: how each engine stores events in one transaction, and how it fails.

Raw drivers, not the ORM: this is the one path on which a webhook waits. Whatever goes wrong is
told as one of two things, `Unavailable` (try again later) or `BadRow` (never will).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy.engine import make_url

from bot.events import Oddity, ReadEvent
from core.db import prepare_sqlite
from core.sabotage import is_sabotaged, reach
from core.turns import turns_of

BUSY_SECONDS = 1.0
BUSY_SECONDS_UNHEALTHY = 0.1

Result = TypeVar("Result")


class Unavailable(Exception):
    """The database cannot be written now; trying again later can help."""


class BadRow(Exception):
    """The database refuses the data itself; trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Row:
    """An event and the bot it was sent to."""

    event: ReadEvent
    destination: str | None

    @property
    def key(self) -> str:
        """What makes the row unique, so that LINE may deliver an event as often as it likes."""
        if is_sabotaged("intake.unique_event"):
            return secrets.token_hex(16)
        return self.event.webhook_event_id

    @property
    def state(self) -> str:
        return "ignored" if self.event.is_ignored else "pending"


@dataclass(slots=True)
class Notes:
    """What the health page shows of intake; written now and then, never for one request."""

    bad_signatures: int = 0
    last_bad_signature_at: datetime | None = None
    last_redelivery_at: datetime | None = None
    unknown_destination_at: datetime | None = None

    def is_empty(self) -> bool:
        return self == Notes()


class Store(Protocol):
    """One engine's own connection. `Unavailable` and `BadRow` are all it raises."""

    def write(self, rows: Sequence[Row], oddities: Sequence[Oddity]) -> int:
        """Store everything in one transaction; how many events were new."""

    def write_notes(self, notes: Notes) -> str | None:
        """Add the notes to the channel's row; returns the bot's own user id, if known."""

    def hurry(self, *, is_healthy: bool) -> None:
        """Wait shorter for locks while the database is unhealthy."""

    def is_usable(self) -> bool:
        """Whether the connection can go on after a failure."""

    def close(self) -> None: ...


def open_store(url: str) -> Store:
    """A connection of intake's own. Raises Unavailable."""
    if make_url(url).get_backend_name() == "sqlite":
        return SqliteStore(url)
    return PostgresStore(url)


_COLUMNS = (
    "webhook_event_id, kind, line_user_id, lane, event_at, is_redelivery, destination, payload, "
    "state, received_at, next_try_at, done_at, attempts"
)
_NOTES = """
INSERT INTO channel_state
    (id, bad_signatures, last_bad_signature_at, last_redelivery_at, unknown_destination_at)
VALUES (1, {0}, {0}, {0}, {0})
ON CONFLICT (id) DO UPDATE SET
    bad_signatures = channel_state.bad_signatures + excluded.bad_signatures,
    last_bad_signature_at =
        COALESCE(excluded.last_bad_signature_at, channel_state.last_bad_signature_at),
    last_redelivery_at = COALESCE(excluded.last_redelivery_at, channel_state.last_redelivery_at),
    unknown_destination_at =
        COALESCE(excluded.unknown_destination_at, channel_state.unknown_destination_at)
"""
_BOT = "SELECT bot_user_id FROM channel_state WHERE id = 1"


class SqliteStore:
    """The embedded database, with a short patience of its own."""

    INSERT = (
        f"INSERT INTO events ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) "
        "ON CONFLICT (webhook_event_id) DO NOTHING"
    )
    QUARANTINE = (
        "INSERT INTO quarantined (kind, reason, received_at, digest, content, state, seen_count) "
        "VALUES (?, ?, ?, ?, ?, 'open', 1) "
        "ON CONFLICT (digest) DO UPDATE SET seen_count = quarantined.seen_count + 1"
    )
    BAD_ROW = (
        sqlite3.IntegrityError,
        sqlite3.DataError,
        sqlite3.ProgrammingError,
        sqlite3.InterfaceError,
        sqlite3.NotSupportedError,
        OverflowError,
        UnicodeError,
    )

    def __init__(self, url: str) -> None:
        self._is_usable = True
        self._patience = BUSY_SECONDS
        path = make_url(url).database or ":memory:"
        self._turns = turns_of(str(Path(path).resolve()))
        try:
            self._connection = sqlite3.connect(
                path,
                timeout=BUSY_SECONDS,
                check_same_thread=False,
            )
            prepare_sqlite(self._connection)
        except sqlite3.Error as error:
            raise Unavailable(type(error).__name__) from error

    def write(self, rows: Sequence[Row], oddities: Sequence[Oddity]) -> int:
        now = sqlite_moment(datetime.now(UTC))
        return self._transaction(lambda cursor: self._insert(cursor, rows, oddities, now))

    def write_notes(self, notes: Notes) -> str | None:
        def work(cursor: sqlite3.Cursor) -> str | None:
            if not notes.is_empty():
                cursor.execute(_NOTES.format("?"), _notes_values(notes, sqlite_moment))
            found = cursor.execute(_BOT).fetchone()
            return found[0] if found else None

        return self._transaction(work, is_writing=not notes.is_empty())

    def hurry(self, *, is_healthy: bool) -> None:
        self._patience = BUSY_SECONDS if is_healthy else BUSY_SECONDS_UNHEALTHY
        try:
            self._connection.execute(f"PRAGMA busy_timeout={int(self._patience * 1000)}")
        except sqlite3.Error:
            self._is_usable = False

    def is_usable(self) -> bool:
        return self._is_usable

    def close(self) -> None:
        self._connection.close()
        self._turns.rest()

    def _insert(
        self, cursor: sqlite3.Cursor, rows: Sequence[Row], oddities: Sequence[Oddity], now: str
    ) -> int:
        before = self._connection.total_changes
        cursor.executemany(self.INSERT, [_sqlite_values(row, now) for row in rows])
        new = self._connection.total_changes - before
        cursor.executemany(
            self.QUARANTINE, [(o.kind, o.reason, now, o.digest, o.content) for o in oddities]
        )
        return new

    def _transaction(
        self, work: Callable[[sqlite3.Cursor], Result], *, is_writing: bool = True
    ) -> Result:
        if not self._turns.take(self._patience, is_urgent=True):
            raise Unavailable("no turn")
        cursor = self._connection.cursor()
        try:
            cursor.execute("BEGIN IMMEDIATE" if is_writing else "BEGIN")
            result = work(cursor)
            reach("intake.written")
            cursor.execute("COMMIT")
        except self.BAD_ROW as error:
            self._roll_back(cursor)
            raise BadRow(type(error).__name__) from error
        except sqlite3.Error as error:
            self._roll_back(cursor)
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        finally:
            cursor.close()
            self._turns.give()
        return result

    def _roll_back(self, cursor: sqlite3.Cursor) -> None:
        try:
            if self._connection.in_transaction:
                cursor.execute("ROLLBACK")
        except sqlite3.Error:
            self._is_usable = False


class PostgresStore:
    """PostgreSQL: a whole group is one statement, stamped with the server's own clock."""

    INSERT = f"""
        INSERT INTO events ({_COLUMNS})
        SELECT new.*, clock.now, clock.now, CASE WHEN new.state = 'ignored' THEN clock.now END, 0
        FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[],
                    %b::boolean[], %b::text[], %b::bytea[], %b::text[])
            AS new (webhook_event_id, kind, line_user_id, lane, event_at, is_redelivery,
                    destination, payload, state),
            (SELECT clock_timestamp() AS now) AS clock
        ON CONFLICT (webhook_event_id) DO NOTHING
    """
    QUARANTINE = """
        INSERT INTO quarantined (kind, reason, received_at, digest, content, state, seen_count)
        VALUES (%s, %s, clock_timestamp(), %s, %s, 'open', 1)
        ON CONFLICT (digest) DO UPDATE SET seen_count = quarantined.seen_count + 1
    """

    def __init__(self, url: str) -> None:
        import psycopg

        self._psycopg = psycopg
        self._bad_row = (
            psycopg.DataError,
            psycopg.IntegrityError,
            psycopg.NotSupportedError,
            OverflowError,
            UnicodeError,
        )
        plain = make_url(url).set(drivername="postgresql")
        milliseconds = int(BUSY_SECONDS * 1000)
        try:
            self._connection = psycopg.connect(
                plain.render_as_string(hide_password=False),
                autocommit=True,
                connect_timeout=2,
                keepalives_idle=2,
                keepalives_interval=1,
                keepalives_count=2,
                tcp_user_timeout=1500,
                application_name="taem-intake",
                options=f"-c timezone=UTC -c lock_timeout={milliseconds} "
                f"-c statement_timeout={milliseconds} -c synchronous_commit=on",
            )
        except psycopg.Error as error:
            raise Unavailable(type(error).__name__) from error

    def write(self, rows: Sequence[Row], oddities: Sequence[Oddity]) -> int:
        if not oddities:  # one statement is its own transaction: one round trip
            return self._guard(lambda: self._insert(rows))

        def work() -> int:
            with self._connection.transaction():
                new = self._insert(rows)
                for o in oddities:
                    self._connection.execute(
                        self.QUARANTINE, (o.kind, o.reason, o.digest, o.content)
                    )
            return new

        return self._guard(work)

    def write_notes(self, notes: Notes) -> str | None:
        def work() -> str | None:
            with self._connection.transaction():
                self._connection.execute("SET LOCAL lock_timeout = 200")
                if not notes.is_empty():
                    self._connection.execute(
                        _NOTES.format("%s"), _notes_values(notes, lambda moment: moment)
                    )
                found = self._connection.execute(_BOT).fetchone()
            return found[0] if found else None

        return self._guard(work)

    def hurry(self, *, is_healthy: bool) -> None:
        """Nothing to set: locks are never waited for longer than a second."""

    def is_usable(self) -> bool:
        return not self._connection.closed

    def close(self) -> None:
        self._connection.close()

    def _insert(self, rows: Sequence[Row]) -> int:
        if not rows:
            return 0
        events = [row.event for row in rows]
        cursor = self._connection.execute(
            self.INSERT,
            (
                [row.key for row in rows],
                [event.kind for event in events],
                [event.line_user_id for event in events],
                [event.lane for event in events],
                [event.event_at for event in events],
                [event.is_redelivery for event in events],
                [row.destination for row in rows],
                [event.payload for event in events],
                [row.state for row in rows],
            ),
            prepare=True,
        )
        return cursor.rowcount

    def _guard(self, work: Callable[[], Result]) -> Result:
        try:
            return work()
        except self._bad_row as error:
            raise BadRow(type(error).__name__) from error
        except self._psycopg.Error as error:
            raise Unavailable(type(error).__name__) from error


def sqlite_moment(moment: datetime) -> str:
    """As `models.base.UtcDateTime` stores it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def _sqlite_values(row: Row, now: str) -> tuple[Any, ...]:
    event = row.event
    return (
        row.key,
        event.kind,
        event.line_user_id,
        event.lane,
        sqlite_moment(event.event_at),
        int(event.is_redelivery),
        row.destination,
        event.payload,
        row.state,
        now,
        now,
        now if event.is_ignored else None,
    )


def _notes_values(notes: Notes, write: Callable[[datetime], Any]) -> tuple[Any, ...]:
    moments = (
        notes.last_bad_signature_at,
        notes.last_redelivery_at,
        notes.unknown_destination_at,
    )
    return (notes.bad_signatures, *(write(at) if at else None for at in moments))
