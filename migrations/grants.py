"""Rights of the role that Taem runs as, on PostgreSQL: what is only ever added it cannot change.

The tables belong to the role that migrates. The one in `DATABASE_URL` may be another, and then not
even a mistake of ours, or somebody with our password, can switch the triggers off and rewrite
history (AA4). Run it again after each migration: new tables need their rights too.
"""

from __future__ import annotations

import re

from sqlalchemy import Connection, text

from migrations.triggers import APPEND_ONLY, KEPT

_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
EVERYTHING = "SELECT, INSERT, UPDATE, DELETE"


def statements(role: str) -> list[str]:
    """What gives `role` all it needs and nothing that rewrites. Raises ValueError for odd names."""
    if not _ROLE.fullmatch(role):
        raise ValueError(role)
    rewritten = ", ".join(APPEND_ONLY)
    kept = ", ".join(KEPT)
    return [
        f'GRANT USAGE ON SCHEMA public TO "{role}"',
        f'GRANT {EVERYTHING} ON ALL TABLES IN SCHEMA public TO "{role}"',
        f'GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO "{role}"',
        f'REVOKE UPDATE, DELETE, TRUNCATE ON {rewritten} FROM "{role}"',
        f'REVOKE UPDATE, DELETE, TRUNCATE ON {kept} FROM "{role}"',
        f'GRANT UPDATE (remaining) ON lots TO "{role}"',
        f'REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM "{role}"',
    ]


def apply(connection: Connection, role: str) -> None:
    """Give and take the rights, as the owner of the tables."""
    for statement in statements(role):
        connection.execute(text(statement))
