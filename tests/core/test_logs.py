"""Logs hold known fields, no secret and nobody's number, and never stop the service."""

from __future__ import annotations

import io
import json
import logging

import pytest
import structlog

from core import logs

SECRETS = (
    "0812345678",
    "+66 81 234 5678",
    "U0123456789abcdef0123456789abcdef",
    "Bearer abc.def",
    "Q1.0a1b2c3d.handle.1795300000.card.mac",
    "k7Q2mX9vB4tR8wZ1nL6cF3hJ5pD0sGyAk7Q2mX9vB4tR8wZ1nL6c",
)


@pytest.fixture
def written(monkeypatch):
    """The stream that set-up logs go to; logging is put back afterwards."""
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    logs.set_up("info")
    stream = io.StringIO()
    monkeypatch.setattr(root.handlers[0], "stream", stream)
    yield stream
    root.handlers[:] = kept
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("secret", SECRETS)
def test_fx16_redacts_what_looks_like_a_secret_or_a_person(written, secret):
    structlog.get_logger("test").warning("seen", reason=f"it was {secret} here")
    assert secret not in written.getvalue()
    assert logs.REDACTED in written.getvalue()


def test_drops_fields_nobody_allowed(written):
    structlog.get_logger("test").warning("seen", phone="0812345678", body="สวัสดี", count=3)
    line = json.loads(written.getvalue())
    assert line["count"] == 3
    assert not {"phone", "body"} & set(line)


def test_an_exception_leaves_its_kind_and_place_only(written):
    try:
        raise ValueError("0812345678 สมชาย")
    except ValueError:
        structlog.get_logger("test").exception("failed")
    line = json.loads(written.getvalue())
    assert line["kind"] == "ValueError"
    assert line["place"].startswith("test_logs.py:")
    assert "สมชาย" not in written.getvalue()


def test_other_libraries_are_held_to_the_same(written):
    logging.getLogger("somebody").warning("token %s", "U0123456789abcdef0123456789abcdef")
    assert "U0123456789abcdef" not in written.getvalue()


def test_fs16_a_closed_or_full_log_stops_nothing(written):
    written.close()
    structlog.get_logger("test").warning("seen", count=1)
