"""Which migrations this code knows, read from the files once, without loading Alembic."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from core.db import Database


class Standing(StrEnum):
    """How a database stands to this code."""

    CURRENT = "ok"
    BEHIND = "old"  # or never migrated
    NEWER = "newer"
    DOWN = "down"


_FOLDER = Path(__file__).resolve().parent / "versions"
_LINE = re.compile(r'^(down_revision|revision)\b[^=]*=\s*(?:"([^"]*)"|None)', re.MULTILINE)


@cache
def newest_migration() -> str | None:
    """The revision that no other one builds on."""
    revisions, parents = _history()
    heads = revisions - parents
    return next(iter(heads)) if len(heads) == 1 else None


def standing(database: Database) -> Standing:
    """Whether it can be asked, and has the tables this code expects."""
    try:
        with database.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return Standing.DOWN
    try:
        with database.read() as session:
            held = session.scalar(text("SELECT version_num FROM alembic_version"))
    except SQLAlchemyError:
        return Standing.BEHIND
    if held == newest_migration():
        return Standing.CURRENT
    return Standing.BEHIND if held is None or knows(held) else Standing.NEWER


def knows(revision: str) -> bool:
    """Whether this code has that migration."""
    return revision in _history()[0]


@cache
def _history() -> tuple[frozenset[str], frozenset[str]]:
    """All revisions, and those that another one builds on."""
    revisions: set[str] = set()
    parents: set[str] = set()
    for path in _FOLDER.glob("*.py"):
        for name, value in _LINE.findall(path.read_text("utf-8")):
            (parents if name == "down_revision" else revisions).add(value)
    return frozenset(revisions), frozenset(parents - {""})
