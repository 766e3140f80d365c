"""Finding a member by any part of a name, on PostgreSQL: every letter and pair of letters, indexed.

Written with what every server has: `pg_trgm` may be missing, and in many locales it takes Thai
vowels for gaps between words. SQLite, whose shops are small, looks at every name.
"""

from __future__ import annotations

from sqlalchemy import Connection

INDEX = "ix_members_name_parts"
# Neither calls the other: an index is built without our own schema in sight. Letters as an array
# and a plain loop: taking a text apart by set functions costs eight times as much.
_PARTS = """
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
    DECLARE
      letters text[] := string_to_array(lower(%s), NULL);
      parts text[] := coalesce(letters, '{}');
    BEGIN
      FOR place IN 1 .. coalesce(array_length(letters, 1), 0) - 1 LOOP
        parts := parts || (letters[place] || letters[place + 1]);
      END LOOP;
      RETURN parts;
    END $$
"""
_BOTH = "coalesce($1, '') || chr(10) || coalesce($2, '')"
_STATEMENTS = (
    "CREATE FUNCTION name_parts(given text) RETURNS text[]" + _PARTS % "$1",
    "CREATE FUNCTION member_name_parts(name text, line_name text) RETURNS text[]" + _PARTS % _BOTH,
    f"CREATE INDEX {INDEX} ON members USING gin (member_name_parts(name, line_name))",
)
_REMOVALS = (
    f"DROP INDEX {INDEX}",
    "DROP FUNCTION member_name_parts(text, text)",
    "DROP FUNCTION name_parts(text)",
)


def install(connection: Connection) -> None:
    """Make the functions and their index."""
    _run(connection, _STATEMENTS)


def remove(connection: Connection) -> None:
    """Take them away again."""
    _run(connection, _REMOVALS)


def _run(connection: Connection, statements: tuple[str, ...]) -> None:
    if connection.dialect.name == "postgresql":
        for statement in statements:
            connection.exec_driver_sql(statement)
