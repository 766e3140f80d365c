"""What every request shares: a body that nobody can read is an answer, never a fault."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from loyalty.people import API_SCOPES
from web import ground

DEEP = ["[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000]


@pytest.mark.parametrize("deep", DEEP)
def test_json_nested_beyond_reading_is_unreadable(app, till, api, deep):
    headers = {"X-CSRFToken": till.token(), "Accept": "application/json"}
    scanned = till.client.post(
        "/cashier/scan", data=deep, content_type="application/json", headers=headers
    )
    assert (scanned.status_code, scanned.get_json()["facts"]) == (422, {"field": "body"})
    bearer = {"Authorization": f"Bearer {api.key_for(API_SCOPES)}", "Idempotency-Key": "deep"}
    made = app.test_client().post(
        "/api/v1/purchases", data=deep, content_type="application/json", headers=bearer
    )
    assert (made.status_code, made.get_json()["field"]) == (400, "body")


def test_figures_that_are_slow_to_find_are_shown_again_for_a_minute(app, monkeypatch):
    moments = iter([0.0, 0.5, 10.0, 12.0, 13.0, 71.9, 72.1, 72.2])
    monkeypatch.setattr(ground, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    found = iter(["quick", "slow", "later"])
    with app.app_context():
        seen = [ground.remembered("x", lambda: next(found)) for _ in range(5)]
    assert seen == ["quick", "slow", "slow", "slow", "later"]
