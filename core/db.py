"""Two engines behind one face: short write transactions, plain reads, work after commit.

SQLite runs in WAL with `synchronous=FULL`; every writing transaction is `BEGIN IMMEDIATE`,
because a deferred one that reads and then writes fails at once whatever the busy timeout.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, make_transient_to_detached
from sqlalchemy.pool import ConnectionPoolEntry

from core.sabotage import is_sabotaged
from core.turns import Turns, turns_of

BUSY_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 3
#: How long PostgreSQL waits for somebody else's row.
LOCK_TIMEOUT_SECONDS = 10
#: Compiled statements that are kept: nights and pages together use more than the 500 of SQLAlchemy,
#: and compiling costs many times what asking does.
STATEMENTS_KEPT = 2_000
#: How long a writer sleeps while another process has SQLite's lock.
ASK_AGAIN_SECONDS = 0.002

Found = TypeVar("Found")


class Database:
    """One engine and the two ways to open a session on it."""

    def __init__(
        self,
        url: str,
        *,
        busy_timeout: float = BUSY_TIMEOUT_SECONDS,
        pool_size: int = 20,
        pool_timeout: float = 10.0,
        survives_power_cut: bool = True,
    ) -> None:
        """`busy_timeout` and `pool_timeout` are seconds.

        Without `survives_power_cut` SQLite's commits do not wait for the disk: a killed process
        loses nothing, a machine whose power fails may lose its last seconds.
        """
        self.url = url
        #: What every session carries in its `info`, e.g. the vault, and whom to wake after commit.
        self.session_info: dict[str, Any] = {}
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        self.engine = _make_engine(url, self.is_sqlite, busy_timeout, pool_size, pool_timeout)
        if self.is_sqlite and not survives_power_cut:
            event.listen(self.engine, "connect", _do_not_wait_for_the_disk)
        _save_cheaply(self.engine)
        self._read_engine = self.engine.execution_options(is_reading=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: returning commits, raising rolls back, then `after_commit` work runs."""
        session = Session(self.engine, expire_on_commit=False, info=dict(self.session_info))
        try:
            yield session
            session.commit()
        except BaseException:
            session.rollback()
            raise
        finally:
            session.close()
        for work in session.info.pop("after_commit", ()):
            work()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for looking only; whatever it changes is thrown away."""
        session = Session(self._read_engine, expire_on_commit=False, info=dict(self.session_info))
        try:
            yield session
        finally:
            session.close()  # rolls back, and leaves what was read as it was

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Like `read`, but every statement sees the same moment, however many there are.

        SQLite's readers do so anyway; PostgreSQL's see what was committed before each statement.
        """
        engine = self._read_engine
        if not self.is_sqlite:
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        session = Session(engine, expire_on_commit=False)
        try:
            yield session
        finally:
            session.close()

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()
        if self.is_sqlite:
            _turns_at(self.url).rest()


def after_commit(session: Session, work: Callable[[], object]) -> None:
    """Run `work` once this session's transaction is committed (never if it rolls back)."""
    session.info.setdefault("after_commit", []).append(work)


@contextmanager
def savepoint(session: Session) -> Iterator[None]:
    """A part that may fail without costing the rest: raising leaves nothing of it behind.

    Neither in the session's own notes: facts it recorded and work it wanted done after the commit
    are forgotten, and so is what it looked up. Nor in its objects: SQLite gives the ids of rows
    that were rolled back to the next ones, which must not be taken for the old.
    """
    before = {
        name: copy(value) if isinstance(value, (list, dict, set)) else value
        for name, value in session.info.items()
    }
    try:
        with session.begin_nested():
            yield
            session.flush()  # what cannot be written fails here, not beside the others
    except BaseException:
        session.info.clear()
        session.info.update(before)
        session.expire_all()
        raise


def forget_all(session: Session) -> None:
    """Undo what this session has done so far, in the database and in its own notes."""
    session.rollback()
    for note in ("activities", "after_commit"):
        session.info.pop(note, None)


def adopt(session: Session, made: object) -> None:
    """Hold `made` as the object of the row that a Core statement has just written.

    One that a rollback has left behind under the same id gives way.
    """
    make_transient_to_detached(made)
    ghost = session.identity_map.get(inspect(made).key)
    if ghost is not None:
        session.expunge(ghost)
    session.add(made)


def is_sqlite(session: Session) -> bool:
    """Whether this session speaks to SQLite (locks and a few statements differ)."""
    return session.get_bind().dialect.name == "sqlite"


def take_time(session: Session) -> None:
    """Let the statements of this transaction last: PostgreSQL ends others after a minute."""
    if not is_sqlite(session):
        session.execute(text("SET LOCAL statement_timeout = 0"))


def once_a_batch(session: Session, key: str, find: Callable[[], Found]) -> Found:
    """What `find` finds; asked only once where the edge keeps a memo (`session.info["memo"]`).

    The inbox does, for a batch of events, and forgets it as soon as one of them changed anything.
    """
    memo: dict[str, Found] | None = session.info.get("memo")
    if memo is None:
        return find()
    if key not in memo:
        memo[key] = find()
    return memo[key]


def insert_into(session: Session, table: Any) -> Any:
    """An INSERT of this engine's own dialect, which knows `on_conflict_do_nothing` and `..._update`."""
    return insert_on(is_sqlite(session), table)


def insert_on(on_sqlite: bool, table: Any) -> Any:
    """`insert_into` for statements built once for each engine."""
    return (sqlite if on_sqlite else postgresql).insert(table)


def _make_engine(
    url: str, is_sqlite_url: bool, busy_timeout: float, pool_size: int, pool_timeout: float
) -> Engine:
    if not is_sqlite_url:
        return create_engine(
            url,
            pool_size=pool_size,
            max_overflow=10,
            pool_timeout=pool_timeout,
            pool_pre_ping=True,
            hide_parameters=True,  # an error's text may be read by anybody; they are of people
            query_cache_size=STATEMENTS_KEPT,
            connect_args={
                "connect_timeout": CONNECT_TIMEOUT_SECONDS,
                "options": (
                    f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_SECONDS}s"
                    " -c statement_timeout=60s"
                ),
            },
        )
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=10,
        pool_timeout=pool_timeout,
        hide_parameters=True,
        query_cache_size=STATEMENTS_KEPT,
        connect_args={
            "timeout": busy_timeout,
            "check_same_thread": False,
            # Of a connection's own: a night has more than the 128 of Python's, and would have every
            # one of them read and planned again.
            "cached_statements": STATEMENTS_KEPT,
        },
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: object) -> None:
        prepare_sqlite(connection)

    is_hasty = is_sabotaged("db.immediate")
    turns = _turns_at(url)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("is_reading") or is_hasty:
            connection.connection.execute("BEGIN")
            return
        until = time.monotonic() + busy_timeout
        # A connection kept for several transactions (a migration) keeps its turn until handed back.
        if not connection.info.get("has_turn") and not turns.take(busy_timeout):
            locked = sqlite3.OperationalError("database is locked")
            raise OperationalError("BEGIN IMMEDIATE", None, locked)
        try:
            begin_immediate(connection.connection.dbapi_connection, until, busy_timeout)
        except BaseException as error:
            connection.info.pop("has_turn", None)
            turns.give()
            if isinstance(error, sqlite3.Error):
                raise OperationalError("BEGIN IMMEDIATE", None, error) from error
            raise
        connection.info["has_turn"] = True

    def _give(_connection: object, record: ConnectionPoolEntry, *_more: object) -> None:
        if record.info.pop("has_turn", False):
            turns.give()

    # A session hands its connection back as soon as its transaction has ended.
    for end in ("checkin", "invalidate", "close"):
        event.listen(engine, end, _give)
    return engine


def _save_cheaply(engine: Engine) -> None:
    """Let savepoints go to the driver as they are: each has another name, so that SQLAlchemy would
    compile a statement for each of them, twice."""

    def say(words: str) -> Callable[[Connection, str], None]:
        def run(connection: Connection, name: str) -> None:
            cursor = connection.connection.cursor()
            try:
                cursor.execute(f"{words} {name}")  # a name that SQLAlchemy has made
            finally:
                cursor.close()

        return run

    dialect: Any = engine.dialect
    dialect.do_savepoint = say("SAVEPOINT")
    dialect.do_release_savepoint = say("RELEASE SAVEPOINT")
    dialect.do_rollback_to_savepoint = say("ROLLBACK TO SAVEPOINT")


def _do_not_wait_for_the_disk(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")


def _turns_at(url: str) -> Turns:
    """Whose turn it is to write this SQLite database; one in memory has no other writers."""
    path = make_url(url).database
    return turns_of(str(Path(path).resolve())) if path and path != ":memory:" else Turns()


def begin_immediate(connection: Any, until: float, busy_timeout: float) -> None:
    """Take SQLite's write lock, trying until `until` (monotonic seconds). Raises sqlite3.Error.

    SQLite's own waiting sleeps up to 100 ms between two tries, so a process whose writers hand the
    lock on to each other would keep it from all others for seconds. Asking every two milliseconds
    finds the short moment between two of them.
    """
    connection.execute("PRAGMA busy_timeout=0")
    try:
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not is_busy or time.monotonic() >= until:
                    raise
            time.sleep(ASK_AGAIN_SECONDS)
    finally:
        connection.execute(f"PRAGMA busy_timeout={int(busy_timeout * 1000)}")


def prepare_sqlite(connection: Any) -> None:
    """Set the pragmas Taem promises on a raw sqlite3 connection."""
    connection.isolation_level = None  # transactions begin where we say so, nowhere else
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "secure_delete=ON",  # what is erased leaves no bytes behind; builds differ in their default
    ):
        cursor.execute(f"PRAGMA {pragma}")
    if pages := os.environ.get("TAEM_TEST_MAX_PAGES"):  # the disk-full tests set a small limit
        cursor.execute(f"PRAGMA max_page_count={int(pages)}")
    cursor.close()


def database_now(session: Session) -> datetime:
    """The moment by the clock that stamps rows: the server's, or on SQLite this machine's."""
    if is_sqlite(session):
        return datetime.now(UTC)
    now: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
    return now.astimezone(UTC)
