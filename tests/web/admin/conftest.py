"""Every post of any console test that wrote a row must have left one in the audit chain (Z22, FX13).

And a crowd that needs a second page, with the rows of a file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import g, has_request_context, request, request_finished
from sqlalchemy import event

from models.members import Member
from tests import factories
from tests.web.admin.silent import SILENT
from web.admin.tables import PAGE_ROWS

WRITTEN = re.compile(r"\b(?:INSERT INTO|DELETE FROM|(?<!FOR )(?<!DO )UPDATE) \"?(\w+)")
AUDIT = "audit_rows"
#: When a session was last seen is written by whatever page comes next; and a form that came twice
#: has asked for its operation once more.
UNSAID = {AUDIT, "staff_sessions", "operations"}


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Endpoints that wrote and left no row; the test fails if there is one."""
    if "app" not in request.fixturenames:
        yield []
        return
    app = request.getfixturevalue("app")
    engine = request.getfixturevalue("database").engine
    caught: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        if _is_watched():
            g.setdefault("written", set()).update(WRITTEN.findall(statement))

    def after(sender: Any, response: Any, **_: Any) -> None:
        if not _is_watched() or request_endpoint() in SILENT or response.status_code >= 400:
            return
        written = g.get("written", set())
        if written - UNSAID and AUDIT not in written:
            caught.append(request_endpoint())

    event.listen(engine, "before_cursor_execute", note)
    try:
        with request_finished.connected_to(after, app):
            yield caught
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert caught == [], "these wrote without a row in the audit chain"


def _is_watched() -> bool:
    return has_request_context() and request.blueprint == "admin" and request.method == "POST"


def request_endpoint() -> str:
    """The endpoint of the request under way."""
    return str(request.endpoint)


@pytest.fixture
def crowd(runtime: Any, shop: Any) -> Member:
    """Somchai, Malee, and as many others as need a second page."""
    with runtime.transaction() as session:
        somchai = factories.somchai(session)
        factories.malee(session)
        for number in range(PAGE_ROWS):
            factories.make_member(session, f"=cmd|{number}")
    return somchai


def rows_of(answer: Any) -> list[list[str]]:
    """The rows of a CSV file that was sent."""
    return list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
