"""What every request shares: a body that nobody can read is an answer, never a fault."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace

import pytest

from engagement import segments
from loyalty.people import API_SCOPES
from tests.moments import NOW
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


#: What a till says, each with a letter that one engine or both cannot keep.
TOLD = (
    ("scan", {"text": "{}"}), ("confirm", {"member": "{}"}), ("confirm", {"receipt_no": "{}"}),
    ("confirm", {"holds": ["{}"]}), ("confirm", {"hold": "{}"}), ("quote", {"member": "{}"}),
    ("release", {"holds": ["{}"]}), ("void", {"purchase": "{}"}), ("void", {"redemption": "{}"}),
    ("confirm", {"approval": {"manager": "1", "pin": "{}"}}), ("confirm", {"{}": 1}),
    ("queue/settle", {"who": "{}"}), ("queue/drop", {"who": "{}"}),
)  # fmt: skip


@pytest.mark.parametrize("letter", ["\x00", "\ud800"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_letters_that_nothing_keeps_are_refused_in_every_field_of_the_till(
    till, somchai, shop, letter, encoding
):
    """FX08"""
    headers = {"X-CSRFToken": till.token(), "Content-Type": "application/json"}
    good = {
        "member": somchai.public_id, "bill": "100", "operation": "a" * 36, "mac": "0" * 64,
        "who": somchai.member_no, "cashier": shop.cashier.id, "queued_at": NOW.isoformat(),
        "sent_at": NOW.isoformat(),
    }  # fmt: skip

    def say(path, body):
        written = json.dumps({**good, **body}).replace("{}", json.dumps(letter)[1:-1])
        data = written.encode(encoding)
        return till.client.post(f"/cashier/{path}", data=data, headers=headers)

    answers = [(path, body, say(path, body)) for path, body in TOLD]
    refused = (422, {"field": "body"})
    assert not [
        (path, body, answer.status_code)
        for path, body, answer in answers
        if (answer.status_code, answer.get_json()["facts"]) != refused
    ]
    assert say("confirm", {}).status_code == 200


@pytest.mark.parametrize("letter", ["\x00", "\ud800"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-16"])
def test_letters_that_nothing_keeps_are_refused_by_the_api(app, api, somchai, letter, encoding):
    """FX08"""
    body = {"member_no": somchai.member_no, "branch": "siam", "receipt_no": letter, "amount": "9"}
    headers = {"Authorization": f"Bearer {api.key_for(API_SCOPES)}", "Idempotency-Key": "odd"}
    answer = app.test_client().post(
        "/api/v1/purchases", data=json.dumps(body).encode(encoding),
        content_type="application/json", headers=headers,
    )  # fmt: skip
    assert (answer.status_code, answer.get_json()["field"]) == (422, "body")


def test_figures_that_are_slow_to_find_are_shown_again_for_a_minute(app, monkeypatch):
    moments = iter([0.0, 0.5, 10.0, 12.0, 13.0, 71.9, 72.1, 72.2])
    monkeypatch.setattr(ground, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    found = iter(["quick", "slow", "later"])
    with app.app_context():
        seen = [ground.remembered("x", lambda: next(found)) for _ in range(5)]
    assert seen == ["quick", "slow", "slow", "slow", "later"]


#: More than a row can be numbered, and more than any machine counts.
ENDLESS = ("9" * 18, "9" * 30)
ODD = ("9" * 15, "9" * 5000, "๙" * 15, "-1", "²")
ASKED = (
    "/admin/segments/1?version={}", "/admin/what-if?like={}", "/admin/audit?page={}",
    "/admin/surveys?days={}", "/admin/lifecycle?days={}", "/admin/segments?page={}",
)  # fmt: skip


def test_numbers_without_end_are_no_address_and_no_fault(app, owner, runtime):
    with runtime.transaction() as session:
        made = segments.create(session, "ทุกคน", segments.EVERYBODY, made_by="seed", now=NOW)
    assert owner.get(f"/admin/segments/{made.id}?version=1").status_code == 200
    numbered = [rule for rule in app.url_map.iter_rules() if "<int:" in rule.rule]
    assert len(numbered) > 40
    for number in ENDLESS:
        for rule in numbered:
            path = re.sub(r"<any\((\w+).*?>", r"\1", re.sub(r"<int:\w+>", number, rule.rule))
            if "GET" in rule.methods and path.startswith("/admin/"):
                assert owner.get(path).status_code == 404, path
    for number in (*ENDLESS, *ODD):
        for path in ASKED:
            assert owner.get(path.format(number)).status_code in (200, 404), path


def test_buttons_of_the_segment_builder_that_name_no_place_do_nothing(owner):
    form = {"name": "x", "g0.join": "all", "g0.c0.field": "totals.level", "g0.c0.is": "one_of"}
    assert owner.send("/admin/segments/new", **form, do="remove.0.0").text.count("g0.c0.is") == 0
    for act in (
        "drop.-9",
        "remove.0.-9",
        "remove.-9.0",
        "add.-9",
        "add.9",
        "add.²",
        f"drop.{'9' * 30}",
    ):
        page = owner.send("/admin/segments/new", **form, do=act)
        assert (page.status_code, "g0.c0.is" in page.text) == (200, True), act
