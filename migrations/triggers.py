"""What the database itself refuses: changing or deleting what may only ever be added.

The initial migration runs `install`; nothing else may.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

#: Nothing of these rows may change, ever.
APPEND_ONLY = ("ledger_entries", "lot_draws", "audit_rows")
#: These rows stay; of a lot only what remains may change.
KEPT = ("lots",)
LOT_COLUMNS = ("id", "member_id", "entry_id", "points", "earned_at", "usable_at", "expires_at")


def statements(dialect: str) -> list[str]:
    """The DDL for `sqlite` or `postgresql`, in order."""
    return _sqlite() if dialect == "sqlite" else _postgresql()


def removals(dialect: str) -> list[str]:
    """The DDL that takes them away again."""
    if dialect == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {name}" for name in _sqlite_names()]
    return [
        *(f"DROP TRIGGER IF EXISTS {table}_kept ON {table}" for table in (*APPEND_ONLY, *KEPT)),
        "DROP TRIGGER IF EXISTS lots_settled ON lots",
        "DROP FUNCTION IF EXISTS refuse_change()",
    ]


def install(connection: Connection) -> None:
    """Create the triggers on this connection's database."""
    for statement in statements(connection.dialect.name):
        connection.execute(text(statement))


def remove(connection: Connection) -> None:
    """Drop them; only a migration that goes down may."""
    for statement in removals(connection.dialect.name):
        connection.execute(text(statement))


def _sqlite() -> list[str]:
    columns = ", ".join(LOT_COLUMNS)
    return [
        *(_sqlite_refusal(f"{table}_no_update", "UPDATE", table) for table in APPEND_ONLY),
        *(
            _sqlite_refusal(f"{table}_no_delete", "DELETE", table)
            for table in (*APPEND_ONLY, *KEPT)
        ),
        _sqlite_refusal("lots_settled", f"UPDATE OF {columns}", "lots"),
    ]


def _sqlite_refusal(name: str, change: str, table: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _sqlite_names() -> list[str]:
    return [statement.split()[2] for statement in _sqlite()]


_REFUSE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$
"""


def _postgresql() -> list[str]:
    columns = ", ".join(LOT_COLUMNS)
    return [
        _REFUSE,
        *(
            _refusal(f"{table}_kept", "UPDATE OR DELETE OR TRUNCATE", table)
            for table in APPEND_ONLY
        ),
        *(_refusal(f"{table}_kept", "DELETE OR TRUNCATE", table) for table in KEPT),
        _refusal("lots_settled", f"UPDATE OF {columns}", "lots"),
    ]


def _refusal(name: str, change: str, table: str) -> str:
    return (
        f"CREATE TRIGGER {name} BEFORE {change} ON {table} "
        "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )
