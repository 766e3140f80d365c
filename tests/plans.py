"""Whole tables that were walked through while somebody waited for the answer.

A missing index does not show in a table of ten rows, and no test would wait for ten million. So
SQLite is asked once how it means to find the rows of each statement. A walk is a fault where a
customer, a till or another system waits (`WAITING`), and in the loops that look again and again;
nights, reports and lists of the console may read everything.
"""

from __future__ import annotations

import re
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

import models  # noqa: F401
from models.base import Base

ROOT = str(Path(__file__).parent.parent) + "/"
#: Where somebody waits, a loop looks every second, or each batch of a night asks again.
WAITING = (
    "bot/committer.py",
    "bot/quarantine.py",
    "handlers/",
    "loyalty/tiers/moving.py",
    "web/api/",
    "web/cashier/",
    "web/liff/",
    "worker/",
)
#: The worker's long work that nobody waits for.
UNHURRIED = ("worker/what_if.py",)
#: Tables as large as a shop's set-up, not as its custom.
SMALL = {
    "alarms", "api_keys", "audit_head", "branches", "campaigns", "cashier_sessions", "cashiers",
    "channel_state", "code_batches", "consent_texts", "coupons", "cut_points", "devices",
    "draw_prizes", "draws", "earn_policies", "earn_rule_awards", "earn_rules", "enrolment_codes",
    "heartbeats", "imports", "item_pairs", "join_forms", "journey_versions", "journeys",
    "keyword_replies", "line_figures", "menu_pictures", "menu_plans", "menu_publications",
    "menu_upkeep", "menu_uploads", "menu_versions", "menus", "products", "quarantined", "recovery_codes",
    "retention_runs", "saved_replies", "segment_versions", "segments", "send_limits",
    "shop_logos", "shop_settings", "source_codes", "staff", "staff_sessions", "stamp_programs",
    "stamp_prizes", "tiers", "tracked_links", "webhook_targets", "what_ifs",
}  # fmt: skip
#: An index over the few rows that are of interest is meant to be walked through.
PARTIAL = {
    index.name
    for table in Base.metadata.tables.values()
    for index in table.indexes
    if index.dialect_options["sqlite"]["where"] is not None
}
_ALIAS = re.compile(r'"?(\w+)"? AS "?(\w+)"?')
_known: dict[str, list[str]] = {}
_own = threading.local()
#: What was found since it was last emptied: "handlers/x.py:12 f walks lots: SELECT …".
found: list[str] = []


def walked(statement: str, plan: list[str]) -> list[str]:
    """The large tables that a plan of SQLite's reads from one end to the other."""
    names = {alias: table for table, alias in _ALIAS.findall(statement)}
    tables = []
    for step in plan:
        words = step.split()
        if words[0] != "SCAN" or words[-1] in PARTIAL:
            continue
        table = names.get(words[1], words[1])
        if table in Base.metadata.tables and table not in SMALL:
            tables.append(table)
    return tables


def waiting_place() -> str | None:
    """The line of the product that asks, if somebody waits for it."""
    frame = sys._getframe(1)
    place = None
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(ROOT):
            inside = name.removeprefix(ROOT)
            if place is None and not inside.startswith(("tests/", ".venv/", "core/")):
                place = f"{inside}:{frame.f_lineno} {frame.f_code.co_name}"
            if inside.startswith(WAITING):
                return None if inside.startswith(UNHURRIED) else place
        frame = frame.f_back
    return None


def _look(
    connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
) -> None:
    if connection.dialect.name != "sqlite" or getattr(_own, "is_asking", False):
        return
    tables = _known.get(statement)
    if tables is None:
        _own.is_asking = True
        try:
            rows = connection.connection.dbapi_connection.execute(
                f"EXPLAIN QUERY PLAN {statement}", parameters[0] if many else parameters
            ).fetchall()
        except sqlite3.Error:  # no table yet, or a test that lets nobody in
            return
        finally:
            _own.is_asking = False
        tables = _known[statement] = walked(statement, [row[3] for row in rows])
    if tables and (place := waiting_place()):
        found.append(f"{place} walks {', '.join(tables)}: {statement}")


def watch() -> None:
    """Look at every statement of this process from now on."""
    event.listen(Engine, "before_cursor_execute", _look)
