"""The look at whole tables that are walked through: what it finds, and what it lets pass."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests import plans


@pytest.fixture
def engine_kind():
    """Only SQLite is asked."""
    return "sqlite"


@pytest.fixture
def ask(session):
    """`ask(file, statement)` executes it as if that file of the product did; what was found."""

    def ask(file: str, statement: str) -> list[str]:
        code = compile("session.execute(statement)", plans.ROOT + file, "exec")
        exec(code, {"session": session, "statement": text(statement)})
        found = plans.found.copy()
        plans.found.clear()
        return found

    return ask


def test_a_walk_is_found_where_somebody_waits(ask):
    (found,) = ask("handlers/late.py", "SELECT id FROM lots WHERE points = 7")
    assert found.startswith("handlers/late.py:1 <module> walks lots")
    (found,) = ask("web/cashier/late.py", "SELECT l.id FROM lots AS l WHERE l.points = 8")
    assert found.startswith("web/cashier/late.py:1 <module> walks lots")


def test_it_is_found_again_for_whoever_asks_later(ask):
    for file in ("handlers/late.py", "web/liff/late.py"):
        (found,) = ask(file, "UPDATE members SET name = '' WHERE menu_override IS NULL")
        assert found.startswith(file)


@pytest.mark.parametrize("file", ["scheduler/night.py", "web/admin/report.py", "insights/sums.py"])
def test_nights_and_reports_may_read_everything(ask, file):
    assert ask(file, "SELECT sum(remaining) FROM lots WHERE points = 9") == []


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT id FROM lots WHERE entry_id = 1",
        "SELECT member_id FROM menu_links WHERE is_due = 1 AND next_try_at < '2026'",
        "SELECT id FROM tiers WHERE is_on = 1",
        "SELECT count(*) FROM conversations WHERE unread_count > 0",
    ],
)
def test_an_index_or_a_small_table_is_nothing(ask, statement):
    assert ask("handlers/quick.py", statement) == []
