"""Which migration this code was written for, read from the files once, without loading Alembic."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent / "versions"
_LINE = re.compile(r'^(down_revision|revision)\b[^=]*=\s*(?:"([^"]*)"|None)', re.MULTILINE)


@cache
def newest_migration() -> str | None:
    """The revision that no other one builds on."""
    revisions: set[str] = set()
    parents: set[str] = set()
    for path in _FOLDER.glob("*.py"):
        for name, value in _LINE.findall(path.read_text("utf-8")):
            (parents if name == "down_revision" else revisions).add(value)
    heads = revisions - parents - {""}
    return next(iter(heads)) if len(heads) == 1 else None
