"""Many rows in one statement, the quick way of each engine.

PostgreSQL takes one array per column: a statement of thousands of values would be taken apart,
value by value, by the driver. SQLite, which lives in this process, takes row after row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from sqlalchemy import BigInteger, Table, any_, literal, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.db import is_sqlite

_POSTGRES = postgresql.dialect()  # type: ignore[no-untyped-call]


def insert_many(
    session: Session,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    *,
    returning: Sequence[str] = (),
    unique: str | None = None,
) -> list[Any]:
    """Insert rows that all have the same keys; returns the `returning` columns of the written.

    `unique` names a column whose duplicates are left out silently. Defaults of the model are not
    applied: the rows say everything.
    """
    if not rows:
        return []
    if is_sqlite(session):
        return _insert_sqlite(session, table, rows, returning, unique)
    return _insert_postgres(session, table, rows, returning, unique)


def _insert_sqlite(
    session: Session,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    returning: Sequence[str],
    unique: str | None,
) -> list[Any]:
    statement: Any = sqlite.insert(table)
    if unique is not None:
        statement = statement.on_conflict_do_nothing(index_elements=[unique])
    if returning:
        statement = statement.returning(*(table.c[name] for name in returning))
    result = session.connection().execute(statement, list(rows))
    return list(result.all()) if returning else []


def _insert_postgres(
    session: Session,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    returning: Sequence[str],
    unique: str | None,
) -> list[Any]:
    names = list(rows[0])
    arrays = [
        f"CAST(:{name} AS {table.c[name].type.compile(dialect=_POSTGRES)}[])" for name in names
    ]
    sql = f"INSERT INTO {table.name} ({', '.join(names)}) SELECT * FROM unnest({', '.join(arrays)})"
    if unique is not None:
        sql += f" ON CONFLICT ({unique}) DO NOTHING"
    if returning:
        sql += f" RETURNING {', '.join(returning)}"
    columns = {name: [_plain(row[name]) for row in rows] for name in names}
    result = session.execute(text(sql), columns)
    return list(result.all()) if returning else []


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def is_one_of(session: Session, column: Any, ids: Sequence[int]) -> Any:
    """`column IN ids`, as one array on PostgreSQL: hundreds of values cost the driver dearly."""
    if is_sqlite(session):
        return column.in_(ids)
    return column == any_(literal(list(ids), postgresql.ARRAY(BigInteger)))
