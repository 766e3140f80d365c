"""Members by till software: looked up, and made as walk-ins."""

from __future__ import annotations

import pytest
from sqlalchemy import event, func, select

from loyalty.people import API_SCOPES
from models.members import Member
from models.staff import ApiKey, AuditRow
from models.tiers import MemberTier, Tier
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PHONE
from web.limits import limiter


def test_number_finds_one_member(api, somchai):
    found = api("GET", f"/members/{somchai.member_no}").get_json()
    assert (found["member_no"], found["name"], found["locale"]) == (
        somchai.member_no, "สมชาย", "th",
    )  # fmt: skip
    assert found["points"] == {"balance": 0, "available": 0, "pending": 0, "debt": 0}


def test_r1_tills_learn_the_tier(api, runtime, somchai):
    assert api("GET", f"/members/{somchai.member_no}").get_json()["tier"] is None
    with runtime.transaction() as session:
        gold = Tier(
            key="gold", name_th="ทอง", name_en="Gold", threshold=1, percent_off=5, created_at=NOW
        )
        session.add(gold)
        session.flush()
        session.add(
            MemberTier(
                member_id=somchai.id, tier_id=gold.id, since=NOW, qualified_at=NOW, holds_until=NOW
            )
        )
    found = api("GET", f"/members/{somchai.member_no}").get_json()
    assert found["tier"] == {"key": "gold", "percent_off": 5}


def test_unknown_and_odd_numbers_are_404(api, runtime, shop):
    with runtime.transaction() as session:
        factories.friend(session)
    odd = ["123456782", "0", "x" * 60, "%00", "' OR 1=1", "๑"]
    assert {api("GET", f"/members/{one}").status_code for one in odd} == {404}


def test_phone_and_card_show_a_masked_name(api, somchai, show):
    by_phone = api("GET", "/members?phone=0812345678").get_json()
    by_card = api("GET", f"/members?code={show(somchai, purpose='card')}").get_json()
    by_code = api("GET", f"/members?code={show(somchai)}").get_json()
    assert by_phone["name"] == by_card["name"] == "ส***"
    assert by_code["name"] == "สมชาย"


def test_heads_write_nothing(api, somchai, database):
    written: list[str] = []

    def note(_connection, _cursor, statement, *_more):
        if statement.startswith(("UPDATE", "INSERT", "DELETE")):
            written.append(statement)

    api.key_for(API_SCOPES)  # made before
    event.listen(database.engine, "before_cursor_execute", note)
    try:
        assert api("HEAD", f"/members/{somchai.member_no}").status_code == 200
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    assert written == []


def test_looking_is_no_scan(api, somchai, show):
    code = show(somchai)
    api("GET", f"/members?code={code}")
    body = {"code": code, "branch": "siam", "receipt_no": "1", "amount": "25"}
    assert api("POST", "/purchases", body).status_code == 201


def test_unknown_phone_is_404_and_odd_queries_are_400(api, somchai):
    queries = ["?phone=0899999999", "?phone=abc", "", f"?phone={PHONE}&code=x"]
    statuses = [api("GET", f"/members{query}").status_code for query in queries]
    assert statuses == [404, 404, 400, 400]


def test_K4_phone_look_ups_are_limited_and_written_down(api, somchai, database, clock):
    statuses = [
        api("GET", f"/members?phone=08{number}").status_code
        for number in range(10_000_000, 10_000_121)
    ]
    assert statuses == [404] * 120 + [429]
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(AuditRow)) == 120
    clock.advance(minutes=61)
    assert api("GET", "/members?phone=0812345678").status_code == 200


def test_walk_in_is_made_with_consent(api, runtime, shop):
    body = {"phone": "0898765432", "name": "Lek", "consent": True, "locale": "en"}
    made = api("POST", "/members", body)
    found = api("GET", "/members?phone=%2B66898765432")
    assert (made.status_code, made.get_json()["name"]) == (201, "Lek")
    assert found.get_json()["member_no"] == made.get_json()["member_no"]
    with runtime.database.read() as session:
        assert session.scalars(select(Member.phone_proven_by)).one() == "api"


def test_walk_in_needs_consent_and_a_phone(api, shop):
    bodies = [
        {"phone": "0898765432", "consent": False},
        {"phone": "0898765432"},
        {"phone": "12", "consent": True},
        {"phone": "0898765432", "consent": "true"},
        {"phone": "0898765432", "consent": True, "locale": "fr"},
    ]
    assert {api("POST", "/members", body).status_code for body in bodies} == {422}


def test_known_phone_is_refused(api, somchai):
    answer = api("POST", "/members", {"phone": PHONE, "consent": True})
    assert (answer.status_code, answer.get_json()["code"]) == (409, "members.already_known")


def test_keys_that_are_made_up_are_counted_together(api, app, shop, monkeypatch):
    """Else each of them would have a whole allowance of its own."""
    counted = set()

    def hit(_limit, *who, **_more):
        counted.add(who)
        return True

    monkeypatch.setattr(limiter.limiter, "hit", hit)

    def counters(*keys):
        counted.clear()
        for key in keys:
            headers = {"Authorization": f"Bearer {key}"}
            app.test_client().get("/api/v1/members/123456782", headers=headers)
        return set(counted)

    good = [api.key_for(("members.read",)), api.key_for(API_SCOPES)]
    strangers = counters("x", "y", "z")
    assert len(strangers) == 1
    assert counters(*good) == strangers, "until they have shown that they are good"
    assert len(counters(*good)) == 2
    assert not counters(*good) & strangers


def test_a_key_has_one_allowance_however_its_header_is_written(api, app, shop, monkeypatch):
    counted = set()
    monkeypatch.setattr(limiter.limiter, "hit", lambda _limit, *who, **_more: not counted.add(who))
    key = api.key_for(("members.read",))
    for header in (f"Bearer {key}", f"Bearer {key}", f"bearer {key}", f"Bearer  {key}"):
        app.test_client().get("/api/v1/members/123456782", headers={"Authorization": header})
    assert len(counted) == 2, "the address, and the key once it was good"


def test_whoever_calls_too_often_is_told_when_to_come_back(api, shop, monkeypatch):
    monkeypatch.setattr(limiter.limiter, "hit", lambda *_who, **_more: False)
    answer = api("GET", "/members/123456782")
    assert (answer.status_code, answer.mimetype) == (429, "application/problem+json")
    assert answer.headers["Retry-After"] == "60"


def test_scope_is_needed(api, somchai):
    answer = api("GET", f"/members/{somchai.member_no}", scopes=("purchases.write",))
    assert (answer.status_code, answer.get_json()["code"]) == (403, "auth.forbidden")


def test_missing_wrong_and_revoked_keys_look_alike(api, app, runtime, shop):
    key = api.key_for(("members.read",))
    with runtime.transaction() as session:
        session.scalars(select(ApiKey)).one().revoked_at = NOW
    headers = ["", "Bearer nonsense", f"Bearer {key}", f"Basic {key}", "Bearer ", "Bearer \xe0"]
    answers = [
        app.test_client().get("/api/v1/members/100000017", headers={"Authorization": one})
        for one in headers
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert {answer.headers["WWW-Authenticate"] for answer in answers} == {"Bearer"}


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_scheme_is_known_in_any_letters(api, app, somchai, scheme):
    key = api.key_for(("members.read",))
    path = f"/api/v1/members/{somchai.member_no}"
    answer = app.test_client().get(path, headers={"Authorization": f"{scheme} {key}"})
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/events", "/members?phone=0812345678", "/members/100000017"])
def test_a_key_that_only_looks_is_a_used_one(api, somchai, database, path):
    api("GET", path)
    with database.read() as session:
        assert session.scalars(select(ApiKey.last_used_at)).one() == NOW


def test_Z23_revoked_key_is_refused_on_the_next_request(api, runtime, somchai):
    assert api("GET", f"/members/{somchai.member_no}").status_code == 200
    with runtime.transaction() as session:
        session.scalars(select(ApiKey)).one().revoked_at = NOW
    assert api("GET", f"/members/{somchai.member_no}").status_code == 401


def test_problems_speak_the_callers_language(api, shop):
    thai = api("GET", "/members/1", **{"Accept-Language": "th"})
    english = api("GET", "/members/1", **{"Accept-Language": "en"})
    assert thai.get_json()["code"] == english.get_json()["code"] == "members.unknown"
    assert thai.get_json()["title"] != english.get_json()["title"]
    assert thai.mimetype == "application/problem+json"
    assert set(thai.get_json()) >= {"type", "title", "status", "code"}


def test_unknown_paths_and_methods_are_problems(api, shop):
    assert api("GET", "/nothing").mimetype == "application/problem+json"
    assert api("DELETE", "/members").status_code == 405


@pytest.mark.parametrize("code", ["lottery-000123", "Q1.x", "https://example.com/pay?x=1"])
def test_a_code_that_is_nobodys_is_404(api, shop, code):
    answer = api("GET", f"/members?code={code}")
    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")
