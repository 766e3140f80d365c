"""Many rows in one statement, the quick way of each engine.

PostgreSQL takes one array per column: a statement of thousands of values would be taken apart,
value by value, by the driver. SQLite, which lives in this process, takes row after row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Table,
    Text,
    any_,
    bindparam,
    func,
    literal,
    select,
    text,
)
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


def update_many(
    session: Session, table: Table, key: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Set columns of rows by their key; all have the same names, the key among them."""
    if not rows:
        return
    names = [key, *(name for name in rows[0] if name != key)]
    dialect = session.get_bind().dialect
    bound = [
        (_type_of(table.c[name]).dialect_impl(dialect).bind_processor(dialect), name)
        for name in names
    ]
    if is_sqlite(session):
        changed = ", ".join(f'"{name}" = ?' for name in names[1:])
        cursor: Any = session.connection().connection.cursor()
        cursor.executemany(
            f'UPDATE "{table.name}" SET {changed} WHERE "{key}" = ?',
            ([_bound(make, row[name]) for make, name in [*bound[1:], bound[0]]] for row in rows),
        )
        return
    arrays = ", ".join(
        f"CAST(:{name} AS {table.c[name].type.compile(dialect=_POSTGRES)}[])" for name in names
    )
    changed = ", ".join(f'"{name}" = given."{name}"' for name in names[1:])
    given = ", ".join(f'"{name}"' for name in names)
    sql = (
        f'UPDATE "{table.name}" SET {changed} FROM unnest({arrays}) AS given({given})'
        f' WHERE "{table.name}"."{key}" = given."{key}"'
    )
    session.execute(text(sql), {n: [_bound(make, row[n]) for row in rows] for make, n in bound})


def copy_many(session: Session, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write very many rows: COPY where the engine has it, else one prepared statement.

    Rows may leave columns out; those are NULL, or what the database itself fills in when no row
    names them.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not rows:
        return
    dialect = session.get_bind().dialect
    bound = [  # as INSERT does, without a dictionary and a compiled statement for each row
        (_type_of(table.c[name]).dialect_impl(dialect).bind_processor(dialect), name)
        for name in names
    ]
    cells = ([_bound(make, row.get(name)) for make, name in bound] for row in rows)
    columns = ", ".join(f'"{name}"' for name in names)
    cursor: Any = session.connection().connection.cursor()
    if is_sqlite(session):
        places = ", ".join("?" * len(names))
        cursor.executemany(
            f'INSERT INTO "{table.name}" ({columns}) VALUES ({places})',
            cells,
        )
        return
    with cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN') as copy:
        for row in cells:
            copy.write_row(row)


def _type_of(column: Column[Any]) -> Any:
    """The column's type; what is not there is NULL, never the JSON word `null`."""
    return JSON(none_as_null=True) if isinstance(column.type, JSON) else column.type


def _bound(make: Callable[[Any], Any] | None, value: Any) -> Any:
    return value if make is None or value is None else make(value)


def take_ids(session: Session, table: Table, count: int) -> list[int]:
    """Ids for `count` rows that are about to be written in bulk."""
    if is_sqlite(session):  # one writer: nobody takes them in between
        highest = session.scalar(select(func.max(table.c.id))) or 0
        return list(range(highest + 1, highest + 1 + count))
    sequence = func.pg_get_serial_sequence(table.name, "id")
    drawn = select(func.nextval(sequence)).select_from(func.generate_series(1, count))
    return list(session.scalars(drawn))


def is_one_of(session: Session, column: Any, ids: Sequence[int]) -> Any:
    """`column IN ids`, as one array on PostgreSQL: hundreds of values cost the driver dearly."""
    if is_sqlite(session):
        return column.in_(ids)
    return column == any_(literal(list(ids), postgresql.ARRAY(BigInteger)))


def is_among(on_sqlite: bool, column: Any, name: str) -> Any:
    """`is_one_of` for statements built once: the ids are given by this name."""
    if on_sqlite:
        return column.in_(bindparam(name, expanding=True))
    return column == any_(bindparam(name, type_=postgresql.ARRAY(BigInteger)))


def is_one_text(session: Session, column: Any, texts: Sequence[str]) -> Any:
    """`column IN texts`, bound as one value: thousands of them would each be put in by hand."""
    if is_sqlite(session):
        each = func.json_each(json.dumps(list(texts))).table_valued("value")
        return column.in_(select(each.c.value))
    return column == any_(literal(list(texts), postgresql.ARRAY(Text)))
