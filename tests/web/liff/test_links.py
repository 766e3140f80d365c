"""Tracked links from outside (M8, AO10): where they lead, and who counts as a finger."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from engagement import taps
from models.outbox import Message, MessageClass, MessageState
from models.results import Tap
from tests import factories
from tests.moments import NOW

SOURCE = "journey:3:thank"
TARGET = "https://shop.example/menu?cup=latte"
PHONE = {"User-Agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Safari Line/15.9.0"}


@pytest.fixture
def address(runtime) -> str:
    """Somchai's link in a thank-you; its path."""
    with runtime.transaction() as session:
        member = factories.somchai(session)
        session.add(
            Message(
                key="intent:1", member_id=member.id, source=SOURCE, created_at=NOW, due_at=NOW,
                klass=MessageClass.PROMOTIONAL, kind="lifecycle.thank_you",
                state=MessageState.SENT,
            )
        )  # fmt: skip
        session.flush()
        made = taps.link(session, TARGET, SOURCE, NOW, member_id=member.id)
    return made.removeprefix(runtime.settings.public_url)


def count(runtime) -> int:
    with runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(Tap)) or 0


def test_M8_a_tap_is_counted_and_leads_on(client, runtime, address):
    for _ in range(2):
        answer = client.get(address, headers=PHONE)
        assert (answer.status_code, answer.headers["Location"]) == (302, TARGET)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert count(runtime) == 1


@pytest.mark.parametrize(
    "method, headers",
    [
        ("HEAD", PHONE),
        ("GET", {"User-Agent": "facebookexternalhit/1.1;line-poker/1.0"}),
        ("GET", {"User-Agent": "Googlebot/2.1"}),
        ("GET", {"User-Agent": ""}),
        ("GET", PHONE | {"Sec-Purpose": "prefetch;prerender"}),
        ("GET", PHONE | {"Purpose": "preview"}),
    ],
)
def test_M8_who_only_looks_is_no_tap(client, runtime, address, method, headers):
    answer = client.open(address, method=method, headers=headers)
    assert (answer.status_code, answer.headers["Location"]) == (302, TARGET)
    assert count(runtime) == 0


def test_AO10_nothing_of_the_request_says_where_a_link_leads(client, runtime, address):
    token = address.split("/")[2]
    for path in (f"{address}?next=//evil.example", f"/l/{token}/evil.example"):
        assert client.get(path, headers=PHONE).headers["Location"] == TARGET
    assert client.get(f"/l/{'0' * 32}/1.{'0' * 32}", headers=PHONE).status_code == 404


def test_M8_an_unknown_link_is_a_kind_page(client, runtime):
    answer = client.get("/l/unknown/-", headers=PHONE | {"Accept-Language": "th"})
    assert answer.status_code == 404
    assert "กลับไปที่แชท" in answer.text
    assert "Location" not in answer.headers
