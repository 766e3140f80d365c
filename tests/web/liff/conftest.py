"""Telephones on the member pages: browsers that keep cookies and know the form's token."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from config import Settings
from loyalty import doors, joining, members
from loyalty.joining import Answers, Surroundings
from tests import factories
from tests.moments import BANGKOK, NOW

LOGIN_CHANNEL = "1650000002"
LOGIN_SECRET = "login-channel-secret-of-the-tests-0123"


@pytest.fixture
def settings(database_url):
    """LIFF is set up; tokens of the tests are signed with the login channel's secret."""
    return _with_liff().model_copy(update={"database_url": database_url})


@cache
def _with_liff() -> Settings:
    return factories.make_settings(
        "sqlite:///never-opened.db",
        line_login_channel_id=LOGIN_CHANNEL,
        line_login_channel_secret=LOGIN_SECRET,
        liff_id=f"{LOGIN_CHANNEL}-AbcdEfgh",
    )


@dataclass
class Phone:
    """One browser."""

    client: Any

    def get(self, path: str, **more: Any) -> Any:
        return self.client.get(path, **more)

    def send(self, path: str, page: str | None = None, **form: str) -> Any:
        """Submit a form of `page` (the path's own page by default) with its hidden token."""
        token = self.token(page or path)
        return self.client.post(path, data={"csrf_token": token, **form})

    def ask(self, path: str, page: str, body: dict[str, Any] | None = None) -> Any:
        """What a page's script posts."""
        headers = {"X-CSRFToken": self.token(page), "Accept": "application/json"}
        return self.client.post(path, json=body or {}, headers=headers)

    def token(self, page: str) -> str:
        found = re.search(r'name="csrf-token" content="([^"]+)"', self.get(page).text)
        assert found is not None
        return found[1]


@pytest.fixture
def open_phone(app, runtime) -> Iterator[Callable[..., Phone]]:
    """`open_phone()` is a stranger's browser; `open_phone(member)` is signed in."""

    def open_one(member: Any = None) -> Phone:
        client = app.test_client()
        if member is not None:
            with runtime.transaction() as session:
                token = doors.open_session(session, member, "link", runtime.clock.real_now())
            client.set_cookie("taem_member", token)
        return Phone(client)

    return open_one


@pytest.fixture
def somebody(runtime) -> Callable[..., Any]:
    """`somebody("แพรว")` is a member who joined through the rules; `joins=False` a friend."""

    def make(name: str, *, joins: bool = True, **answers: Any) -> Any:
        with runtime.transaction() as session:
            member = members.friend_for(session, factories.line_id(name), NOW)
            if joins:
                given = {"name": name, "phone": "+66812345678", "marketing": True} | answers
                around = Surroundings(session, runtime.vault, member, NOW, BANGKOK)
                joining.join(around, Answers(**given), channel="chat")
        return member

    return make
