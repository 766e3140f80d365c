"""The events feed: everything public, in an order that never changes, nobody's name."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.db import Database
from loyalty import feed
from models.feed import FeedEvent
from models.members import Member
from tests.moments import NOW
from worker.feed import place_events


@pytest.fixture
def buy(api, shop, somchai):
    """Somchai buys for this much."""

    def purchase(amount: str, receipt: str):
        body = {
            "member_no": somchai.member_no,
            "branch": "siam",
            "receipt_no": receipt,
            "amount": amount,
        }
        answer = api("POST", "/purchases", body)
        assert answer.status_code == 201, answer.get_json()
        return answer.get_json()

    return purchase


def test_purchase_return_and_stamps_are_told_with_public_ids(api, runtime, buy, somchai):
    made = buy("250.00", "A-1")
    back = api("POST", f"/purchases/{made['id']}/reversals", {"amount": "100.00"}).get_json()
    place_events(runtime)
    answer = api("GET", "/events").get_json()
    told = {event["kind"]: event["data"] for event in answer["events"]}
    assert told["purchases.recorded"] == {
        "member_no": somchai.member_no,
        "points": 10,
        "amount_satang": 25000,
        "is_first": True,
        "branch_code": "siam",
        "purchase_id": made["id"],
    }
    assert told["purchases.returned"]["return_id"] == back["id"]
    assert told["purchases.returned"]["points"] == 4
    assert "stamps.given" in told
    positions = [event["position"] for event in answer["events"]]
    assert positions == list(range(1, len(positions) + 1))
    assert answer["next"] == positions[-1]
    assert answer["has_more"] is False


def test_reader_goes_on_from_next_in_pages(api, runtime, buy):
    for number in range(4):
        buy("50.00", f"B-{number}")
    place_events(runtime)
    seen, after = [], 0
    for _ in range(10):
        page = api("GET", f"/events?after={after}&limit=3").get_json()
        seen += [event["id"] for event in page["events"]]
        after = page["next"]
        if not page["has_more"]:
            break
    with runtime.database.read() as session:
        everything = session.scalars(select(FeedEvent.public_id).order_by(FeedEvent.position)).all()
    assert seen == list(everything)
    assert len(seen) >= 8


def test_no_name_and_no_phone_leaves_the_house(api, runtime, buy, claim, somchai):
    buy("250.00", "C-1")
    claim(somchai)
    place_events(runtime)
    text = api("GET", "/events").get_data(as_text=True)
    assert "vouchers.issued" in text
    for secret in ("สมชาย", "812345678", "สยาม", somchai.line_user_id):
        assert secret not in text


def test_leaving_is_told_by_the_number_that_is_gone(api, runtime, somchai):
    from loyalty import erasure

    number = somchai.member_no
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        erasure.erase(session, runtime.vault, member, asked_by="member", now=NOW)
    place_events(runtime)
    events = api("GET", "/events").get_json()["events"]
    assert [(e["kind"], e["data"]) for e in events] == [("members.left", {"member_no": number})]


def test_events_need_their_own_scope(api):
    assert api("GET", "/events", scopes=("members.read",)).status_code == 403


@pytest.mark.parametrize("query", ["after=-1", "limit=0", "limit=501", "after=x", "after=1e3"])
def test_odd_positions_are_refused(api, query):
    assert api("GET", f"/events?{query}").status_code == 400


def test_the_last_position_of_the_document_is_read(api, client):
    path = client.get("/api/openapi.json").get_json()["paths"]["/api/v1/events"]["get"]
    last = path["parameters"][0]["schema"]["maximum"]
    assert api("GET", f"/events?after={last}").status_code == 200
    assert api("GET", f"/events?after={last + 1}").status_code == 400


@pytest.mark.parametrize("by", ["position", "id"])
def test_reader_never_passes_over_a_row_that_commits_late(database, engine_kind, by):
    """The control reads by id, as a naive feed would, and loses the late row."""
    if engine_kind == "sqlite":
        pytest.skip("SQLite has one writer: nobody commits late")
    event = [("points.expired", NOW, {"member_no": "1"})]
    other = Database(database.url)
    seen: list[int] = []
    after = 0

    def read():
        nonlocal after
        with database.write() as session:
            feed.place(session)
        with database.read() as session:
            if by == "position":
                rows = [(row.id, row.position) for row in feed.after(session, after, 10)]
            else:
                newer = select(FeedEvent.id).where(FeedEvent.id > after).order_by(FeedEvent.id)
                rows = [(one, one) for one in session.scalars(newer)]
        seen.extend(row for row, _ in rows)
        after = rows[-1][1] if rows else after

    with other.write() as late:
        feed.write(late, event)
        late.flush()
        with database.write() as quick:
            feed.write(quick, event)
        read()
    read()
    other.dispose()
    assert len(seen) == (2 if by == "position" else 1)


def test_old_events_go_and_positions_go_on(session):
    from datetime import timedelta

    feed.write(session, [("points.expired", NOW, {}), ("points.expired", NOW, {})])
    feed.place(session)
    assert feed.forget(session, NOW + timedelta(days=91), 100) == 1
    feed.write(session, [("points.expired", NOW, {})])
    feed.place(session)
    assert [row.position for row in feed.after(session, 0, 10)] == [2, 3]


def test_list_claim_and_merge_are_told_with_the_numbers_that_lead_on(api, runtime, somchai):
    from loyalty import imports, members, merges, merging
    from tests import factories
    from tests.moments import BANGKOK

    vault, text = runtime.vault, "phone,points,consent\n0898887777,40,yes\n0898886666,5,yes\n"
    with runtime.transaction() as session:
        reading = imports.read(session, vault, text.encode(), NOW.date())
        sealed = imports.seal(vault, reading, locale="th", now=NOW, tz=BANGKOK)
        imports.apply(session, reading, sealed, now=NOW, tz=BANGKOK, actor="cli")
    with runtime.transaction() as session:
        old, other = (
            members.by_phone(session, vault, f"+6689888{four}") for four in ("7777", "6666")
        )
        numbers = {"claimed": old.member_no, "merged": other.member_no}
        malee = factories.malee(session, vault=vault)
        members.set_phone(session, vault, malee, members.E164("+66898887777"), NOW)
        account = merging.prove_phone(session, vault, malee, NOW)
        merges.merge(
            session, vault, account.id, other.id, now=NOW, real_now=NOW, tz=BANGKOK,
            staff_id=None, actor="staff:1",
        )  # fmt: skip
        kept = account.member_no
    place_events(runtime)
    told = [(e["kind"], e["data"]) for e in api("GET", "/events").get_json()["events"]]
    joined = {data["member_no"]: data["points"] for kind, data in told if kind == "members.joined"}
    assert joined == {numbers["claimed"]: 40, numbers["merged"]: 5}
    merged = [data for kind, data in told if kind == "members.merged"]
    assert [(data["gone_member_no"], data["points"]) for data in merged] == [
        (numbers["claimed"], 40),
        (numbers["merged"], 5),
    ]
    assert {data["member_no"] for data in merged} == {kept}
