"""One file that holds everything a shop's database says, of either engine, and reads into either.

A zip of one JSON-lines member per table, read in one snapshot, and a manifest written last with a
digest of each: a file that was cut off or changed is refused before anything is touched. What was
sealed stays sealed; the keys are never in it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Date, DateTime, LargeBinary, MetaData, Table, func, select, text
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeDecorator

from core.bulk import copy_many
from core.db import Database, is_sqlite
from core.errors import OutsideFault

FORMAT = 1
MANIFEST = "manifest.json"
BATCH = 2_000
_SQLITE = b"SQLite format 3\0"
_READ_SIZE = 1 << 16


class BadBackup(OutsideFault):
    """The file is no backup of ours, is damaged, or cannot be read into this database."""


@dataclass(frozen=True)
class Manifest:
    """What a backup says about itself. `tables` maps a name to columns, rows and SHA-256."""

    taken_at: datetime
    migration: str
    engine: str
    #: Tells whether the keys are the same, without telling anything about them.
    keys: str
    tables: Mapping[str, Mapping[str, Any]]

    @property
    def rows(self) -> int:
        return sum(int(table["rows"]) for table in self.tables.values())


def write(
    database: Database, metadata: MetaData, path: Path, *, migration: str, keys: str, now: datetime
) -> Manifest:
    """Back up a running database into `path`; the file appears whole or not at all.

    Writers are not kept waiting: the snapshot is the engine's own. The file is readable by its
    owner alone, and its sums are checked before it appears. Raises BadBackup.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    described: dict[str, dict[str, Any]] = {}
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            with (
                _snapshot(database) as session,
                zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as pack,
            ):
                for table in metadata.sorted_tables:
                    described[table.name] = _write_table(session, table, pack)
                manifest = Manifest(now, migration, _engine_of(session), keys, described)
                pack.writestr(MANIFEST, json.dumps(_as_json(manifest), indent=1))
            out.flush()
            os.fsync(out.fileno())
        read(partial)  # nothing is called a backup that does not read back
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)
    return manifest


def read(path: Path) -> Manifest:
    """The manifest of a file whose every byte was checked. Raises BadBackup."""
    if is_database(path):
        raise BadBackup(
            f"{path.name}: a copied database file, which may hold half of what was being written;"
            " make backups with: flask --app app backup FILE"
        )
    try:
        with zipfile.ZipFile(path) as pack:
            manifest = _manifest_of(pack)
            for name, described in manifest.tables.items():
                digest = hashlib.sha256()
                with pack.open(f"{name}.jsonl") as member:
                    while part := member.read(_READ_SIZE):
                        digest.update(part)
                if digest.hexdigest() != described["sha256"]:
                    raise BadBackup(f"{path.name}: {name} is damaged")
            return manifest
    except BadBackup:
        raise
    except FileNotFoundError:
        raise BadBackup(f"{path.name}: no such file") from None
    except Exception as error:  # zip and zlib have many words for damage
        raise BadBackup(f"{path.name}: damaged, or no backup ({type(error).__name__})") from None


def is_database(path: Path) -> bool:
    """Whether this is SQLite's own file, as `cp` makes it."""
    try:
        with path.open("rb") as file:
            return file.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def load(session: Session, metadata: MetaData, path: Path, manifest: Manifest) -> None:
    """Put a checked backup's rows into a database that was migrated to the backup's revision.

    What a fresh migration wrote makes room. Raises BadBackup where this code does not know a
    table or column of it.
    """
    tables = {table.name: table for table in metadata.sorted_tables}
    for name, described in manifest.tables.items():
        known = tables[name].columns.keys() if name in tables else []
        if not set(described["columns"]) <= set(known):
            raise BadBackup(f"{path.name}: made by a newer Taem ({name})")
    ordered = [table for table in metadata.sorted_tables if table.name in manifest.tables]
    if is_sqlite(session):
        session.execute(text("PRAGMA defer_foreign_keys = ON"))
    else:
        session.execute(text("SET LOCAL statement_timeout = 0"))
    for table in reversed(ordered):  # ledgers may not be deleted from, even where they are empty
        if session.execute(select(1).select_from(table).limit(1)).first() is not None:
            session.execute(table.delete())
    with zipfile.ZipFile(path) as pack:
        for table in ordered:
            _load_table(session, table, pack, manifest.tables[table.name])
    if not is_sqlite(session):
        _move_sequences(session, ordered)


# --- Tables ------------------------------------------------------------------------------------


def _write_table(session: Session, table: Table, pack: zipfile.ZipFile) -> dict[str, Any]:
    columns = list(table.columns)
    writers = [_writer_of(column.type) for column in columns]
    digest, count = hashlib.sha256(), 0
    found = session.execute(
        select(*columns).order_by(*table.primary_key.columns),
        execution_options={"yield_per": BATCH},
    )
    with pack.open(f"{table.name}.jsonl", "w", force_zip64=True) as member:
        for rows in found.partitions():
            lines = [
                json.dumps(
                    [
                        value if make is None or value is None else make(value)
                        for make, value in zip(writers, row, strict=True)
                    ],
                    ensure_ascii=False,
                    separators=(",", ":"),
                )
                for row in rows
            ]
            part = ("\n".join(lines) + "\n").encode()
            digest.update(part)
            member.write(part)
            count += len(lines)
    names = [column.name for column in columns]
    return {"columns": names, "rows": count, "sha256": digest.hexdigest()}


def _load_table(
    session: Session, table: Table, pack: zipfile.ZipFile, described: Mapping[str, Any]
) -> None:
    names = described["columns"]
    readers = [_reader_of(table.columns[name].type) for name in names]

    def rows() -> Iterator[dict[str, Any]]:
        with pack.open(f"{table.name}.jsonl") as member:
            for line in member:
                yield {
                    name: value if make is None or value is None else make(value)
                    for name, make, value in zip(names, readers, json.loads(line), strict=True)
                }

    batch: list[dict[str, Any]] = []
    # Rows of one table may name each other, so PostgreSQL gets them in one statement.
    size = BATCH if is_sqlite(session) or not _names_itself(table) else 10**9
    for row in rows():
        batch.append(row)
        if len(batch) >= size:
            copy_many(session, table, batch)
            batch = []
    copy_many(session, table, batch)


def _names_itself(table: Table) -> bool:
    return any(key.column.table is table for key in table.foreign_keys)


def _move_sequences(session: Session, tables: list[Table]) -> None:
    """Let ids go on behind those that were loaded."""
    for table in tables:
        column = table.autoincrement_column
        if column is None:
            continue
        sequence = session.scalar(select(func.pg_get_serial_sequence(table.name, column.name)))
        highest = session.scalar(select(func.max(column)))
        if sequence is not None and highest is not None:
            session.execute(select(func.setval(sequence, highest)))


def _writer_of(kind: Any) -> Callable[[Any], Any] | None:
    if isinstance(kind, LargeBinary):
        return lambda value: base64.b64encode(value).decode()
    if isinstance(_plain(kind), Date | DateTime):
        return lambda value: value.isoformat()
    return None


def _reader_of(kind: Any) -> Callable[[Any], Any] | None:
    if isinstance(kind, LargeBinary):
        return base64.b64decode
    if isinstance(_plain(kind), Date):
        return date.fromisoformat
    if isinstance(_plain(kind), DateTime):
        return datetime.fromisoformat
    return None


def _plain(kind: Any) -> Any:
    return kind.impl if isinstance(kind, TypeDecorator) else kind


# --- Around them -------------------------------------------------------------------------------


@contextmanager
def _snapshot(database: Database) -> Iterator[Session]:
    """A session in which nothing changes any more, however long it reads."""
    with database.read() as session:
        if not is_sqlite(session):
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            session.execute(text("SET TRANSACTION READ ONLY"))
            session.execute(text("SET LOCAL statement_timeout = 0"))
        yield session


def _engine_of(session: Session) -> str:
    return "sqlite" if is_sqlite(session) else "postgresql"


def _as_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "taken_at": manifest.taken_at.astimezone(UTC).isoformat(),
        "migration": manifest.migration,
        "engine": manifest.engine,
        "keys": manifest.keys,
        "tables": manifest.tables,
    }


def _manifest_of(pack: zipfile.ZipFile) -> Manifest:
    held = json.loads(pack.read(MANIFEST))
    if held["format"] != FORMAT:
        raise BadBackup("made by a newer Taem")
    return Manifest(
        datetime.fromisoformat(held["taken_at"]),
        held["migration"],
        held["engine"],
        held["keys"],
        held["tables"],
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
