"""Bills by till software: earn once, vouchers in the purchase, take back."""

from __future__ import annotations

import io
import threading
import uuid
from datetime import timedelta

import pytest
from sqlalchemy import event, func, select, text

from loyalty import points
from loyalty.people import API_SCOPES
from models.coupons import CouponKind, Redemption, Voucher, VoucherState
from models.earn_rules import EarnRule, EarnRuleKind
from models.purchases import Purchase, PurchaseReturn
from models.staff import AuditRow
from models.stamps import Stamp, StampProgram, StampRule
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PHONE

ONLY_BILLS = ("purchases.write",)


def bill(member, **more):
    mine = {"member_no": member.member_no, "branch": "siam", "receipt_no": "A-1"}
    return mine | {"amount": "250.00"} | more


def nameless(member, **more):
    made = bill(member, **more)
    del made["member_no"]
    return made


def count(database, table) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_bill_earns(api, somchai):
    made = api("POST", "/purchases", bill(somchai))
    body = made.get_json()
    assert made.status_code == 201
    assert body.pop("id")
    assert body == {
        "member_no": somchai.member_no,
        "amount": "250.00",
        "points": 10,
        "base_points": 10,
        "earn_rules": [],
        "carry_satang": 0,
        "balance": 10,
        "available": 10,
        "stamps": 1,
        "vouchers_issued": [],
        "redemptions": [],
        "is_first": True,
    }


def test_member_may_be_named_by_phone_or_code(api, somchai, show):
    ways = [{"phone": PHONE}, {"code": show(somchai)}, {"code": show(somchai, purpose="card")}]
    answers = [
        api("POST", "/purchases", nameless(somchai, receipt_no=str(number), **way))
        for number, way in enumerate(ways)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert {answer.get_json()["member_no"] for answer in answers} == {somchai.member_no}


def test_member_must_be_named_exactly_once(api, somchai):
    bodies = [nameless(somchai), bill(somchai, phone=PHONE)]
    assert [api("POST", "/purchases", body).status_code for body in bodies] == [422, 422]


def test_identify_code_earns_once(api, somchai, show):
    body = nameless(somchai, code=show(somchai))
    api("POST", "/purchases", body)
    again = api("POST", "/purchases", {**body, "receipt_no": "A-2"})
    assert (again.status_code, again.get_json()["code"]) == (409, "codes.expired")


def test_voucher_code_names_nobody(api, somchai, claim, show):
    body = nameless(somchai, code=show(somchai, claim(somchai)))
    assert api("POST", "/purchases", body).get_json()["code"] == "codes.expired"


def test_missing_key_is_400_and_does_nothing(api, somchai, database):
    answer = api("POST", "/purchases", bill(somchai), key=None)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "operations.key_missing")
    assert count(database, Purchase) == 0


def test_odd_keys_are_400(api, somchai):
    odd = ["a" * 201, "\x7f", "ก".encode().decode("latin-1")]
    answers = [api("POST", "/purchases", bill(somchai), key=key) for key in odd]
    assert {answer.status_code for answer in answers} == {400}


def test_same_key_and_body_replays_the_first_answer(api, somchai, database):
    key = str(uuid.uuid4())
    first = api("POST", "/purchases", bill(somchai), key=key)
    again = api("POST", "/purchases", bill(somchai), key=key)
    assert (again.status_code, again.get_json()) == (201, first.get_json())
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert count(database, Purchase) == 1


def test_same_key_with_another_body_is_422(api, somchai):
    key = str(uuid.uuid4())
    api("POST", "/purchases", bill(somchai), key=key)
    other = api("POST", "/purchases", bill(somchai, amount="9.00"), key=key)
    assert (other.status_code, other.get_json()["code"]) == (422, "operations.other_body")
    assert other.mimetype == "application/problem+json"


def test_refusal_is_replayed_even_when_it_would_pass_now(api, somchai, runtime):
    key = str(uuid.uuid4())
    body = bill(somchai, branch="thonglor")
    first = api("POST", "/purchases", body, key=key)
    with runtime.transaction() as session:
        factories.make_branch(session, "thonglor")
    again = api("POST", "/purchases", body, key=key)
    assert first.status_code == again.status_code == 404
    assert first.get_json() == again.get_json()
    assert again.headers["Idempotency-Replayed"] == "true"


def test_keys_of_two_programs_are_strangers(api, somchai):
    key = str(uuid.uuid4())
    one = api("POST", "/purchases", bill(somchai), key=key)
    body = bill(somchai, receipt_no="B")
    other = api("POST", "/purchases", body, key=key, scopes=("purchases.write",))
    assert (one.status_code, other.status_code) == (201, 201)


def test_concurrent_duplicates_record_one_bill(api, somchai, database):
    key, answers = str(uuid.uuid4()), []
    api.key_for(API_SCOPES)  # made before the race

    def call():
        answers.append(api("POST", "/purchases", bill(somchai), key=key))

    threads = [threading.Thread(target=call) for _ in range(6)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.get_json()["id"] for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer.headers for answer in answers) == 5
    assert count(database, Purchase) == 1


def test_bill_number_guards_the_bill_when_the_key_is_new(api, somchai):
    first = api("POST", "/purchases", bill(somchai, receipt_no="00a 1")).get_json()
    again = api("POST", "/purchases", bill(somchai, receipt_no="Ａ1"))
    problem = again.get_json()
    assert (again.status_code, problem["code"]) == (409, "purchases.already_recorded")
    assert first["id"] in problem.values()


@pytest.mark.parametrize("nothing", [" ", "\u200b"])
def test_K5_bill_number_of_nothing_is_none(api, somchai, database, nothing):
    answers = [api("POST", "/purchases", bill(somchai, receipt_no=nothing)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [422, 422]
    assert {answer.get_json()["field"] for answer in answers} == {"receipt_no"}
    assert count(database, Purchase) == 0


def test_bill_number_that_grows_when_composed_is_cut(api, somchai, database):
    growing = bill(somchai, receipt_no="\ufb2c" * 64)  # one letter, three in NFC
    assert api("POST", "/purchases", growing).status_code == 201
    with database.read() as session:
        assert len(session.scalars(select(Purchase.receipt_no)).one()) == 63  # 21 whole ones


def test_bill_number_is_required(api, somchai):
    without = bill(somchai)
    del without["receipt_no"]
    answer = api("POST", "/purchases", without)
    assert (answer.status_code, answer.get_json()["field"]) == (422, "receipt_no")


def test_AC7_unknown_fields_are_refused(api, somchai, database):
    fields = {"points": 1000, "member_id": 1, "userId": "U1", "shop_id": 1, "multiplier": 9}
    bodies = [bill(somchai, **{name: value}) for name, value in fields.items()]
    bodies.append(bill(somchai, items=[{"sku": "a", "qty": 1, "amount": "1", "points": 5}]))
    assert [api("POST", "/purchases", body).status_code for body in bodies] == [422] * 6
    assert count(database, Purchase) == 0


def test_odd_amounts_are_refused(api, somchai, database):
    odd = ["-1", "0", "0.00", "1e3", "250.001", "1,000", "NaN", "", " 5", "٥", "²", "1_0"]
    odd += ["9999999999", 250, 2.5, None, True, {}]
    statuses = [api("POST", "/purchases", bill(somchai, amount=one)).status_code for one in odd]
    assert dict(zip(map(repr, odd), statuses, strict=True)) == dict.fromkeys(map(repr, odd), 422)
    assert count(database, Purchase) == 0


def test_odd_bodies_are_refused(api, somchai):
    odd = [None, [], "x", 5, {}, {"amount": {"a": 1}}]
    assert {api("POST", "/purchases", body).status_code for body in odd} == {400, 422}


def test_age_of_a_bill_is_limited(api, somchai):
    moments = [
        (NOW - timedelta(days=6, hours=23)).isoformat(),
        (NOW - timedelta(days=7, minutes=1)).isoformat(),
        (NOW + timedelta(hours=1)).isoformat(),
        "2026-11-22T10:00:00",
        "yesterday",
    ]
    statuses = [
        api("POST", "/purchases", bill(somchai, purchased_at=at, receipt_no=at)).status_code
        for at in moments
    ]
    assert statuses == [201, 409, 422, 422, 422]


def test_vouchers_are_used_with_the_bill(api, somchai, claim, show, database):
    voucher = claim(somchai)
    body = bill(somchai, amount="230.00", vouchers=[show(somchai, voucher)])
    made = api("POST", "/purchases", body).get_json()
    assert made["points"] == 9
    assert made["redemptions"][0]["discount"] == "20.00"
    assert made["redemptions"][0]["amount"] == "250.00"
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).state == VoucherState.REDEEMED


@pytest.fixture
def purse(somchai, runtime, claim):
    """Somchai's voucher of 100 baht that keeps its change."""
    with runtime.transaction() as session:
        facts = {"kind": CouponKind.CASH, "value_satang": 10_000, "keeps_change": True}
        coupon = factories.make_coupon(session, "purse", **facts)
    return claim(somchai, coupon)


@pytest.mark.parametrize(
    "lines, taken, left", [(["45.00", "15.00"], "60.00", 4_000), (["130.00"], "100.00", 0)]
)
def test_bill_that_a_voucher_pays_leaves_its_change(
    api, somchai, purse, show, database, lines, taken, left
):
    items = [{"sku": "latte", "qty": 1, "amount": amount} for amount in lines]
    body = bill(somchai, amount="0.00", vouchers=[show(somchai, purse)], items=items)
    made = api("POST", "/purchases", body)
    assert (made.status_code, made.get_json()["redemptions"][0]["discount"]) == (201, taken)
    with database.read() as session:
        assert session.get_one(Voucher, purse.id).left_satang == left


@pytest.mark.parametrize("items", [[], [{"sku": "latte", "qty": 1, "amount": "0.00"}]])
def test_change_is_not_guessed_where_nothing_tells_the_bill(
    api, somchai, purse, show, database, items
):
    body = bill(somchai, amount="0.00", vouchers=[show(somchai, purse)], items=items)
    answer = api("POST", "/purchases", body)
    assert (answer.status_code, answer.get_json()["code"]) == (422, "errors.invalid_field")
    assert "amount" in answer.get_json()["title"]
    with database.read() as session:
        assert session.get_one(Voucher, purse.id).state == VoucherState.ISSUED


def test_a_percentage_is_not_used_up_on_a_bill_of_nothing(api, runtime, somchai, claim, show):
    with runtime.transaction() as session:
        tenth = factories.make_coupon(session, "tenth", kind=CouponKind.PERCENT_OFF, percent=10)
    voucher = claim(somchai, tenth)
    body = bill(somchai, amount="0.00", vouchers=[show(somchai, voucher)])
    answer = api("POST", "/purchases", body)
    assert (answer.status_code, answer.get_json()["field"]) == (422, "amount")
    assert count(runtime.database, Redemption) == 0


def test_what_takes_all_of_a_bill_leaves_nothing_that_was_paid(api, runtime, somchai, claim, show):
    with runtime.transaction() as session:
        whole = factories.make_coupon(session, "whole", kind=CouponKind.PERCENT_OFF, percent=100)
    voucher = claim(somchai, whole)
    body = bill(somchai, amount="100.00", vouchers=[show(somchai, voucher)])
    answer = api("POST", "/purchases", body)
    assert (answer.status_code, answer.get_json()["field"]) == (422, "amount")
    assert (count(runtime.database, Redemption), count(runtime.database, Purchase)) == (0, 0)


def test_refused_voucher_refuses_the_whole_bill(api, somchai, claim, show, runtime):
    with runtime.transaction() as session:
        malee = factories.malee(session)
    answer = api("POST", "/purchases", bill(somchai, vouchers=[show(malee, claim(malee))]))
    assert answer.status_code == 409
    assert count(runtime.database, Purchase) == count(runtime.database, Redemption) == 0


def test_items_are_kept_with_the_bill(api, somchai):
    items = [{"sku": "latte", "qty": 2, "amount": "180.00"}]
    assert api("POST", "/purchases", bill(somchai, items=items)).status_code == 201


@pytest.mark.parametrize(
    "rule, most, field",
    [
        ("per_item", {"items": [{"sku": "latte", "qty": 500, "amount": "1.00"}]}, "items"),
        ("per_amount", {"amount": "5000.00"}, "amount"),
    ],
)
def test_a_bill_gives_stamps_by_the_hundred_but_not_by_the_million(
    api, runtime, somchai, database, rule, most, field
):
    with runtime.transaction() as session:
        program = session.scalars(select(StampProgram)).one()
        program.rule, program.unit_satang, program.sku = StampRule(rule), 1000, "latte"
        program.size = 50  # few cards
    latte = {"sku": "latte", "qty": 1, "amount": "1.00"}
    over = {"items": [latte, *most["items"]]} if field == "items" else {"amount": "5010.00"}
    refused = api("POST", "/purchases", bill(somchai, **over), **{"Accept-Language": "en"})
    problem = refused.get_json()
    assert (refused.status_code, problem["code"]) == (422, "stamps.too_many")
    assert (problem["field"], "500" in problem["title"]) == (field, True)
    assert count(database, Purchase) == count(database, Stamp) == count(database, Voucher) == 0
    assert api("POST", "/purchases", bill(somchai, **most)).get_json()["stamps"] == 500


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount": "0"},
        {"amount": "10000000.01"},
        {"receipt_no": " "},
        {"purchased_at": "2026-11-01T10:00:00+07:00"},
        {"purchased_at": "2027-11-01T10:00:00+07:00"},
    ],
)
def test_k4_a_bill_that_is_wrong_anyway_tells_nothing_of_a_phone(api, somchai, wrong):
    known, unknown = (
        api("POST", "/purchases", nameless(somchai, phone=phone, **wrong), scopes=ONLY_BILLS)
        for phone in (PHONE, "+66899999999")
    )
    assert known.status_code == unknown.status_code >= 409
    assert known.get_json() == unknown.get_json()


def test_k4_phones_that_nobody_has_count_as_look_ups(api, somchai, database, monkeypatch, clock):
    monkeypatch.setattr("web.api.members.LOOK_UPS_AN_HOUR", 3)

    def buy(phone, **more):
        return api("POST", "/purchases", nameless(somchai, phone=phone), scopes=ONLY_BILLS, **more)

    assert [buy(f"089999999{number}").status_code for number in range(3)] == [404] * 3
    with database.read() as session:
        acts = session.execute(select(AuditRow.act, AuditRow.facts)).all()
    assert [tuple(act) for act in acts] == [("members.looked_up", {"found": False})] * 3
    key = str(uuid.uuid4())
    late = buy(PHONE, key=key)
    assert (late.status_code, late.headers["Retry-After"]) == (429, "3600")
    clock.advance(minutes=61)
    assert buy(PHONE, key=key).status_code == 201, "and no answer of too often is kept"


def test_reversal_takes_the_whole_bill_back_once(api, somchai, database):
    made = api("POST", "/purchases", bill(somchai)).get_json()
    undone = api("POST", f"/purchases/{made['id']}/reversals", {})
    again = api("POST", f"/purchases/{made['id']}/reversals", {})
    body = undone.get_json()
    assert (undone.status_code, body["amount"], body["is_void"]) == (201, "250.00", True)
    assert again.status_code == 409
    with database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 0


def test_part_return_takes_part_of_the_points(api, somchai):
    made = api("POST", "/purchases", bill(somchai)).get_json()
    path = f"/purchases/{made['id']}/reversals"
    undone = api("POST", path, {"amount": "100.00"}).get_json()
    assert (undone["is_void"], undone["balance"], undone["amount"]) == (False, 6, "100.00")
    assert api("POST", path, {"amount": "150.01"}).status_code in (409, 422)


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_return_sent_as_a_form_voids_no_bill(api, app, somchai, database, kind):
    """As `curl -d` sends it without being told otherwise."""
    made = api("POST", "/purchases", bill(somchai)).get_json()
    answer = give_back(api, app, made, data='{"amount": "70.00"}', content_type=kind)
    assert (answer.status_code, answer.get_json()["field"]) == (400, "body")
    assert count(database, PurchaseReturn) == 0


@pytest.mark.parametrize(
    "said, came",
    [
        ({"CONTENT_LENGTH": "19"}, b""),
        ({"CONTENT_LENGTH": "19"}, b'{"amount"'),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, b""),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, b'{"amount"'),
    ],
)
def test_a_return_that_was_lost_half_way_voids_no_bill_and_is_done_when_sent_again(
    api, app, somchai, said, came
):
    """As granian hands it on: what has come, as if it were all."""
    made = api("POST", "/purchases", bill(somchai)).get_json()
    environ = {"wsgi.input": io.BytesIO(came), "wsgi.input_terminated": True, **said}
    lost = give_back(api, app, made, environ_overrides=environ, content_type="application/json")
    again = give_back(api, app, made, json={"amount": "70.00"})
    assert lost.status_code == 400
    assert (again.status_code, again.get_json()["amount"]) == (201, "70.00")


def give_back(api, app, made, **sent):
    """The same key each time, as a till keeps it for the retry."""
    key = api.key_for(API_SCOPES)
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "return-1"}
    path = f"/api/v1/purchases/{made['id']}/reversals"
    return app.test_client().post(path, headers=headers, **sent)


def test_unknown_bill_is_404(api, somchai):
    assert api("POST", f"/purchases/{'0' * 32}/reversals", {}).status_code == 404
    assert api("POST", "/purchases/%00/reversals", {}).status_code == 404


def test_unknown_member_is_404(api, somchai):
    answer = api("POST", "/purchases", bill(somchai, member_no="123456782"))
    assert (answer.status_code, answer.get_json()["code"]) == (404, "members.unknown")


def test_fx08_a_nul_inside_the_body_is_a_wrong_field(api, shop, somchai):
    body = {"member_no": somchai.member_no, "branch": "SI\x00AM", "receipt_no": "1", "amount": "1"}
    assert api("POST", "/purchases", body).status_code == 422


def test_key_is_free_again_after_48_hours_and_the_bill_number_still_guards(api, somchai, clock):
    key = str(uuid.uuid4())
    first = api("POST", "/purchases", bill(somchai), key=key).get_json()
    clock.advance(hours=49)
    again = api("POST", "/purchases", bill(somchai, purchased_at=NOW.isoformat()), key=key)
    assert (again.status_code, again.get_json()["id"]) == (409, first["id"])
    assert again.get_json()["code"] == "purchases.already_recorded"
    assert "Idempotency-Replayed" not in again.headers
    other = api("POST", "/purchases", bill(somchai, receipt_no="A-2"), key=key)
    assert other.status_code == 422, "the answer just stored is remembered like any other"
    clock.advance(hours=49)
    other = api("POST", "/purchases", bill(somchai, receipt_no="A-2"), key=key)
    assert other.status_code == 201, "a key used for another bill days later is no duplicate"


def test_fault_is_not_stored_and_the_same_key_may_try_again(api, somchai, monkeypatch, database):
    from loyalty import checkout

    key, right = str(uuid.uuid4()), checkout.confirm

    def broken(*arguments, **named):
        right(*arguments, **named)
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(checkout, "confirm", broken)
        assert api("POST", "/purchases", bill(somchai), key=key).status_code == 500
    assert count(database, Purchase) == 0
    again = api("POST", "/purchases", bill(somchai), key=key)
    assert again.status_code == 201
    assert "Idempotency-Replayed" not in again.headers


def test_duplicate_of_a_request_still_at_work_waits_then_says_when_to_come_back(
    api, somchai, database, engine_kind, monkeypatch
):
    """On SQLite the wait is for the one writer's turn, so there the first one just comes first."""
    if engine_kind == "sqlite":
        return
    from loyalty import operations

    monkeypatch.setattr(operations, "WAIT_SECONDS", 1)
    key = str(uuid.uuid4())
    api("GET", "/members/1")  # makes the caller's key
    from models.staff import ApiKey

    with database.read() as session:
        caller = session.scalars(select(ApiKey.id)).one()
    with database.write() as session:
        operations.once(session, f"api:{caller}:{key}", "x", NOW)
        answer = api("POST", "/purchases", bill(somchai), key=key)
        session.rollback()
    assert answer.status_code == 409
    assert answer.get_json()["code"] == "operations.in_progress"
    assert answer.headers["Retry-After"] == "1"
    assert api("POST", "/purchases", bill(somchai), key=key).status_code == 201


def test_server_that_is_lost_is_no_operation_under_way(api, somchai, database, engine_kind):
    """SQLite has no server to lose."""
    if engine_kind == "sqlite":
        return

    def cut(connection, _cursor, statement, *_more):
        if statement.startswith("INSERT INTO operations"):
            process = connection.connection.dbapi_connection.info.backend_pid
            with database.read() as other:
                other.execute(text(f"SELECT pg_terminate_backend({process}, 5000)"))

    event.listen(database.engine, "before_cursor_execute", cut)
    try:
        answer = api("POST", "/purchases", bill(somchai))
    finally:
        event.remove(database.engine, "before_cursor_execute", cut)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "errors.temporary")
    assert api("POST", "/purchases", bill(somchai)).status_code == 201


def test_problems_are_rfc_9457_documents(api, somchai):
    answer = api("POST", "/purchases", bill(somchai, amount="0"), **{"Accept-Language": "en"})
    problem = answer.get_json()
    assert answer.mimetype == "application/problem+json"
    assert {"type", "title", "status", "code", "field"} <= problem.keys()
    assert problem["type"] == f"urn:taem:problem:{problem['code']}"
    assert (problem["status"], answer.status_code) == (422, 422)


def test_sum_of_items_need_not_be_the_amount(api, somchai):
    """Discounts of the bill and service lie between; an item alone can never be odd."""
    items = [{"sku": "latte", "qty": 2, "amount": "300.00"}]
    assert api("POST", "/purchases", bill(somchai, items=items)).status_code == 201
    items[0]["qty"] = 0
    assert api("POST", "/purchases", bill(somchai, items=items)).status_code == 422


def test_p3_answer_says_what_rules_added(api, runtime, somchai):
    with runtime.transaction() as session:
        session.add(
            EarnRule(
                key="bonus", kind=EarnRuleKind.BONUS, bonus_points=9, name_th="โบนัส",
                name_en="Bonus", created_at=NOW,
            )
        )  # fmt: skip
    body = api("POST", "/purchases", bill(somchai)).get_json()
    assert (body["points"], body["base_points"]) == (19, 10)
    assert body["earn_rules"] == [{"key": "bonus", "name": "โบนัส", "points": 9}]


def test_b6_a_bill_asks_the_database_about_thirty_things(api, somchai, database):
    """Half of it is the rule, half what follows; a bill that asks more needs a good reason."""
    api("POST", "/purchases", bill(somchai))
    asked: list[str] = []

    def listener(_connection, _cursor, statement, *_more):
        asked.append(statement)

    event.listen(database.engine, "before_cursor_execute", listener)
    try:
        assert api("POST", "/purchases", bill(somchai, receipt_no="A-2")).status_code == 201
    finally:
        event.remove(database.engine, "before_cursor_execute", listener)
    assert len(asked) <= 32
    changed = [one for one in asked if one.startswith("UPDATE member_totals")]
    assert len(changed) == 1  # points, debt, figures and carry with one statement
