"""From scan to receipt: what vouchers take off, one confirm, the same receipt again, taking back."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import func, select

from loyalty import erasure, points
from models.coupons import Redemption, Voucher, VoucherState
from models.members import Member
from models.purchases import Purchase
from models.staff import AuditRow, Branch, Cashier
from tests import factories
from tests.moments import NOW
from tests.web.conftest import Browser


@pytest.fixture
def bill(somchai):
    return {"member": somchai.public_id, "bill": "250"}


def scanned(till: Browser, text: str) -> dict:
    answer = till.ask("/cashier/scan", {"text": text})
    assert answer.status_code == 200, answer.text
    return answer.get_json()


def balance(database, member) -> int:
    with database.read() as session:
        return points.balance_of(session, member.id, NOW).balance


def test_bill_earns_points_and_a_stamp(till, bill, somchai, database):
    receipt = till.ask("/cashier/confirm", bill, fresh=True).get_json()
    assert receipt["points"] == 10
    assert receipt["stamps"] == 1
    assert receipt["paid"] == "250"
    assert balance(database, somchai) == 10


def test_FQ15_same_tap_again_gives_the_same_receipt(till, bill, database, somchai):
    tap = {**bill, "operation": str(uuid.uuid4())}
    first = till.ask("/cashier/confirm", tap).get_json()
    again = till.ask("/cashier/confirm", tap).get_json()
    assert again == {**first, "is_repeated": True}
    assert balance(database, somchai) == 10


def test_K3_same_operation_with_another_bill_is_an_error(till, bill, database, somchai):
    tap = {**bill, "operation": str(uuid.uuid4())}
    till.ask("/cashier/confirm", tap)
    other = till.ask("/cashier/confirm", {**tap, "bill": "2500"})
    assert other.status_code == 422
    assert other.get_json()["code"] == "operations.other_body"
    assert balance(database, somchai) == 10


def test_operation_of_one_tap_cannot_serve_another(till, bill, database):
    tap = {**bill, "operation": str(uuid.uuid4())}
    receipt = till.ask("/cashier/confirm", tap).get_json()
    other = {"operation": tap["operation"], "purchase": receipt["purchase"]}
    assert till.ask("/cashier/void", other).status_code == 422


def test_refusal_is_not_kept_so_that_the_next_try_may_succeed(till, bill, runtime, shop):
    with runtime.transaction() as session:
        session.get_one(Branch, shop.branch.id).needs_receipt_no = True
    tap = {**bill, "operation": str(uuid.uuid4())}
    refused = till.ask("/cashier/confirm", tap)
    assert (refused.status_code, refused.get_json()["code"]) == (422, "cashiers.receipt_needed")
    assert till.ask("/cashier/confirm", {**tap, "receipt_no": "A1"}).status_code == 200


def test_K5_bill_number_of_nothing_is_refused(till, bill):
    tap = {**bill, "receipt_no": "\u200b"}
    answers = [till.ask("/cashier/confirm", tap, fresh=True) for _ in range(2)]
    assert [answer.get_json().get("facts") for answer in answers] == [{"field": "receipt_no"}] * 2


ODD_AMOUNTS = ["", "0", "-5", "1e3", "NaN", "0x10", "1_000", "²", "10.005", "9" * 20, "๐", None, 5]


def test_odd_amounts_are_refused(till, bill):
    statuses = {
        amount: till.ask("/cashier/confirm", {**bill, "bill": amount}, fresh=True).status_code
        for amount in ODD_AMOUNTS
    }
    assert statuses == dict.fromkeys(ODD_AMOUNTS, 422)


def test_amount_in_thai_digits_counts(till, bill):
    receipt = till.ask("/cashier/confirm", {**bill, "bill": "๒๕๐"}, fresh=True).get_json()
    assert receipt["points"] == 10


def test_odd_operation_ids_are_refused(till, bill):
    odd = ["", "short", "a" * 65, "with space", "ขายดี-2569-11-22", None, 12345678]
    answers = [till.ask("/cashier/confirm", {**bill, "operation": one}) for one in odd]
    assert {answer.status_code for answer in answers} == {422}


def test_odd_bodies_are_refused(till):
    headers = {"X-CSRFToken": till.token(), "Content-Type": "application/json"}
    answers = [
        till.client.post("/cashier/confirm", data=body, headers=headers)
        for body in (b"", b"[]", b"null", b"{", b'"x"', b"\xff\xfe")
    ]
    assert {answer.status_code for answer in answers} == {422}


def test_odd_lists_of_holds_are_refused(till, bill):
    odd = ["x", [1], [""], ["h"] * 11, {"a": 1}, [["x"]]]
    answers = [till.ask("/cashier/quote", {**bill, "holds": holds}) for holds in odd]
    assert {answer.status_code for answer in answers} == {422}


def test_FQ11_own_account_is_refused_and_written_down(till, bill, shop, somchai, runtime):
    with runtime.transaction() as session:
        session.get_one(Cashier, shop.cashier.id).member_id = somchai.id
    answer = till.ask("/cashier/confirm", bill, fresh=True)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "cashiers.own_account")
    assert balance(runtime.database, somchai) == 0
    with runtime.database.read() as session:
        acts = session.scalars(select(AuditRow.act)).all()
    assert acts == ["purchases.own_account"]


def test_scanned_member_is_shown_and_used_once(till, somchai, show):
    seen = scanned(till, show(somchai))
    paid = till.ask("/cashier/confirm", {"hold": seen["hold"], "bill": "100"}, fresh=True)
    again = till.ask("/cashier/confirm", {"hold": seen["hold"], "bill": "100"}, fresh=True)
    assert paid.status_code == 200
    assert (again.status_code, again.get_json()["code"]) == (409, "codes.expired")


def test_FQ17_member_erased_between_scan_and_confirm_earns_nothing(till, somchai, show, runtime):
    seen = scanned(till, show(somchai))
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        erasure.erase(session, runtime.vault, member, asked_by="cli", now=NOW)
    by_code = till.ask("/cashier/confirm", {"hold": seen["hold"], "bill": "9"}, fresh=True)
    by_id = till.ask("/cashier/confirm", {"member": seen["member"]["id"], "bill": "9"}, fresh=True)
    assert [by_code.status_code, by_id.status_code] == [409, 409]
    assert by_code.get_json()["code"] == by_id.get_json()["code"] == "codes.expired"
    with runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Purchase)) == 0


def test_voucher_is_quoted_used_and_shown_on_the_receipt(till, somchai, claim, show, database):
    voucher = claim(somchai)
    seen = scanned(till, show(somchai, voucher))
    held = {"bill": "250", "holds": [seen["voucher"]["hold"]]}
    quote = till.ask("/cashier/quote", held).get_json()
    assert (quote["lines"][0]["off"], quote["pay"]) == ("20", "230")
    receipt = till.ask(
        "/cashier/confirm", {**held, "member": somchai.public_id}, fresh=True
    ).get_json()
    assert (receipt["paid"], receipt["points"]) == ("230", 9)
    assert receipt["vouchers"][0]["off"] == "20"
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).state == VoucherState.REDEEMED


def test_used_voucher_is_refused_with_a_reason(till, somchai, claim, show):
    voucher = claim(somchai)
    text = show(somchai, voucher)
    hold = scanned(till, text)["voucher"]["hold"]
    till.ask(
        "/cashier/confirm",
        {"bill": "250", "holds": [hold], "member": somchai.public_id}, fresh=True,
    )  # fmt: skip
    again = till.ask("/cashier/scan", {"text": text})
    assert (again.status_code, again.get_json()["code"]) == (409, "coupons.used")


def test_another_members_voucher_is_refused_on_this_bill(till, bill, claim, show, runtime):
    with runtime.transaction() as session:
        malee = factories.malee(session)
    hold = scanned(till, show(malee, claim(malee)))["voucher"]["hold"]
    answer = till.ask("/cashier/confirm", {**bill, "holds": [hold]}, fresh=True)
    assert answer.status_code == 409
    with runtime.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Redemption)) == 0
        assert session.scalar(select(func.count()).select_from(Purchase)) == 0


def test_released_voucher_is_free_again(till, somchai, claim, show, database):
    voucher = claim(somchai)
    hold = scanned(till, show(somchai, voucher))["voucher"]["hold"]
    assert till.ask("/cashier/release", {"holds": [hold]}).status_code == 200
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).state == VoucherState.ISSUED
    quote = till.ask("/cashier/quote", {"bill": "250", "holds": [hold]})
    assert quote.get_json()["code"] == "codes.expired"


def test_late_cancel_leaves_the_voucher_to_the_till_that_has_it_now(
    till, open_at, bill, somchai, claim, show, clock
):
    voucher = claim(somchai)
    late = scanned(till, show(somchai, voucher))["voucher"]["hold"]
    clock.advance(minutes=5)
    other = open_at()
    hold = scanned(other, show(somchai, voucher))["voucher"]["hold"]
    assert till.ask("/cashier/release", {"holds": [late]}).status_code == 200
    receipt = other.ask("/cashier/confirm", {**bill, "holds": [hold]}, fresh=True)
    assert (receipt.status_code, receipt.get_json()["paid"]) == (200, "230")


def test_void_takes_everything_back_once(till, bill, somchai, claim, show, database):
    voucher = claim(somchai)
    hold = scanned(till, show(somchai, voucher))["voucher"]["hold"]
    receipt = till.ask("/cashier/confirm", {**bill, "holds": [hold]}, fresh=True).get_json()
    tap = {"purchase": receipt["purchase"], "operation": str(uuid.uuid4())}
    undone = till.ask("/cashier/void", tap).get_json()
    again = till.ask("/cashier/void", tap).get_json()
    other = till.ask("/cashier/void", {"purchase": receipt["purchase"]}, fresh=True)
    assert (undone["points"], again["is_repeated"]) == (9, True)
    assert other.status_code == 409
    assert balance(database, somchai) == 0
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).state == VoucherState.ISSUED


def test_K6_late_void_needs_a_manager(till, bill, clock, somchai, database):
    receipt = till.ask("/cashier/confirm", bill, fresh=True).get_json()
    clock.advance(minutes=10, seconds=1)
    answer = till.ask("/cashier/void", {"purchase": receipt["purchase"]}, fresh=True)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "purchases.needs_manager")
    assert balance(database, somchai) == 10


def test_unknown_bill_cannot_be_voided(till):
    assert till.ask("/cashier/void", {"purchase": "0" * 32}, fresh=True).status_code == 404


def test_recent_lists_own_bills_with_what_can_be_taken_back(till, bill, clock):
    first = till.ask("/cashier/confirm", bill, fresh=True).get_json()
    till.ask("/cashier/void", {"purchase": first["purchase"]}, fresh=True)
    till.ask("/cashier/confirm", {**bill, "bill": "99"}, fresh=True)
    clock.advance(minutes=11)
    till.ask("/cashier/confirm", {**bill, "bill": "45.50"}, fresh=True)
    rows = till.get("/cashier/recent").get_json()["bills"]
    assert [row["amount"] for row in rows] == ["45.50", "99", "250"]
    assert [row["can_void"] for row in rows] == [True, False, False]
    assert rows[2]["is_voided"]


def test_voucher_that_pays_everything_leaves_no_bill(till, somchai, claim, show):
    hold = scanned(till, show(somchai, claim(somchai)))["voucher"]["hold"]
    receipt = till.ask(
        "/cashier/confirm",
        {"bill": "20", "holds": [hold], "member": somchai.public_id}, fresh=True,
    ).get_json()  # fmt: skip
    assert (receipt["paid"], receipt["purchase"]) == ("0", None)
    undone = till.ask("/cashier/void", {"redemption": receipt["redemptions"][0]}, fresh=True)
    assert undone.get_json()["is_voucher_back"]
    assert till.get("/cashier/recent").get_json()["uses"][0]["is_voided"]


def test_confirm_is_written_to_the_audit_chain(till, bill, database, shop):
    till.ask("/cashier/confirm", bill, fresh=True)
    with database.read() as session:
        row = session.scalars(select(AuditRow)).one()
    assert (row.actor, row.act) == (f"cashier:{shop.cashier.id}", "purchases.confirmed")
    assert row.facts["device"] == shop.device.id
