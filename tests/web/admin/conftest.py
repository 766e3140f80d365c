"""Every post of any console test that changed the database must have left a row in the audit chain
(Z22, FX13). SQLite tells exactly whether anything was committed, so it is watched there."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from flask import g, request, request_finished, request_started

from loyalty import audit
from tests.web.admin.silent import SILENT


@pytest.fixture(autouse=True)
def watched(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Endpoints that wrote and left no row; the test fails if there is one."""
    names = request.fixturenames
    if "app" not in names or request.getfixturevalue("engine_kind") != "sqlite":
        yield []
        return
    app = request.getfixturevalue("app")
    path = request.getfixturevalue("database_url").removeprefix("sqlite:///")
    caught: list[str] = []
    with closing(sqlite3.connect(path, check_same_thread=False)) as eye:

        def look() -> tuple[int, str]:
            version: int = eye.execute("PRAGMA data_version").fetchone()[0]
            with app.extensions["taem"].database.read() as session:
                return version, audit.head(session)

        def before(sender: Any, **_: Any) -> None:
            if _is_watched():
                g.seen_before = look()

        def after(sender: Any, response: Any, **_: Any) -> None:
            if not _is_watched() or request_endpoint() in SILENT or "seen_before" not in g:
                return
            version, head = look()
            if (
                response.status_code < 400
                and version != g.seen_before[0]
                and head == g.seen_before[1]
            ):
                caught.append(request_endpoint())

        with request_started.connected_to(before, app), request_finished.connected_to(after, app):
            yield caught
    assert caught == [], "these wrote without a row in the audit chain"


def _is_watched() -> bool:
    return request.blueprint == "admin" and request.method == "POST"


def request_endpoint() -> str:
    """The endpoint of the request under way."""
    return str(request.endpoint)
