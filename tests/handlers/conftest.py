"""A chat for every handler's test."""

from __future__ import annotations

import pytest

from tests.handlers.chat import Chat


@pytest.fixture
def chat(session, vault):
    """Somebody new, before their first word."""
    return Chat(session, vault)
