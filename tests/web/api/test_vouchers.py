"""Vouchers by till software: quote and hold, release, redeem once, undo."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import select

from models.coupons import CouponKind, Voucher, VoucherState
from models.purchases import Purchase
from tests import factories


@pytest.fixture
def voucher(somchai, claim):
    return claim(somchai)


@pytest.fixture
def body(somchai, voucher, show):
    return {"code": show(somchai, voucher), "branch": "siam", "amount": "250.00"}


def state(database, voucher):
    with database.read() as session:
        return session.get_one(Voucher, voucher.id).state


def test_quote_holds_and_says_what_to_take_off(api, body, voucher, somchai, database):
    quoted = api("POST", "/vouchers/quote", body)
    answer = quoted.get_json()
    assert (quoted.status_code, answer["discount"]) == (201, "20.00")
    assert answer["member_no"] == somchai.member_no
    assert answer["hold_expires_at"].startswith("2026-11-22T07:05")
    assert state(database, voucher) == VoucherState.HELD


def test_released_voucher_is_free(api, body, voucher, database):
    hold = api("POST", "/vouchers/quote", body).get_json()["hold_id"]
    key = str(uuid.uuid4())
    gone = api("DELETE", f"/vouchers/holds/{hold}", key=key)
    again = api("DELETE", f"/vouchers/holds/{hold}", key=key)
    other = api("DELETE", f"/vouchers/holds/{hold}")
    assert (gone.status_code, gone.get_json()) == (200, {"hold_id": hold, "released": True})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert other.status_code == 404
    assert state(database, voucher) == VoucherState.ISSUED


def test_release_needs_a_key(api, body):
    hold = api("POST", "/vouchers/quote", body).get_json()["hold_id"]
    assert api("DELETE", f"/vouchers/holds/{hold}", key=None).status_code == 400


def test_hold_of_another_program_is_unknown(api, body):
    hold = api("POST", "/vouchers/quote", body).get_json()["hold_id"]
    other = api("DELETE", f"/vouchers/holds/{hold}", scopes=("vouchers.write",))
    assert other.status_code == 404


def test_voucher_is_redeemed_once(api, body, voucher, database):
    first = api("POST", "/vouchers/redemptions", {**body, "receipt_no": "1"})
    again = api("POST", "/vouchers/redemptions", {**body, "receipt_no": "1"})
    assert (first.status_code, first.get_json()["discount"]) == (201, "20.00")
    assert (again.status_code, again.get_json()["code"]) == (409, "coupons.used")
    assert state(database, voucher) == VoucherState.REDEEMED


def test_quoted_voucher_is_redeemed_under_its_hold_with_another_amount(api, body, clock):
    api("POST", "/vouchers/quote", body)
    clock.advance(minutes=4)
    done = api("POST", "/vouchers/redemptions", {**body, "amount": "15.00", "receipt_no": "1"})
    assert (done.status_code, done.get_json()["discount"]) == (201, "15.00")


def test_K5_bill_number_of_nothing_redeems_nothing(api, body, voucher, database):
    answer = api("POST", "/vouchers/redemptions", {**body, "receipt_no": " "})
    assert (answer.status_code, answer.get_json()["field"]) == (422, "receipt_no")
    assert state(database, voucher) == VoucherState.ISSUED


@pytest.mark.parametrize(
    "amount, status, code",
    [("0.00", 422, "errors.invalid_field"), ("10000000.01", 409, "limits.over")],
)
def test_a_bill_of_nothing_or_of_too_much_uses_nothing_up(
    api, body, voucher, database, amount, status, code
):
    odd = {**body, "amount": amount}
    quoted = api("POST", "/vouchers/quote", odd)
    used = api("POST", "/vouchers/redemptions", {**odd, "receipt_no": "1"})
    assert {(one.status_code, one.get_json()["code"]) for one in (quoted, used)} == {(status, code)}
    assert state(database, voucher) == VoucherState.ISSUED


def test_a_gift_needs_no_bill(api, runtime, somchai, claim, show, shop):
    with runtime.transaction() as session:
        cookie = factories.make_coupon(session, "cookie", kind=CouponKind.FREE_ITEM, value_satang=0)
    code = show(somchai, claim(somchai, cookie))
    body = {"code": code, "branch": "siam", "amount": "0.00", "receipt_no": "1"}
    assert api("POST", "/vouchers/redemptions", body).status_code == 201


def test_without_a_hold_sixty_seconds_apply(api, body, clock):
    clock.advance(seconds=61)
    late = api("POST", "/vouchers/redemptions", {**body, "receipt_no": "1"})
    assert (late.status_code, late.get_json()["code"]) == (409, "codes.expired")


def test_hold_ends_after_five_minutes(api, body, clock):
    api("POST", "/vouchers/quote", body)
    clock.advance(minutes=5, seconds=1)
    late = api("POST", "/vouchers/redemptions", {**body, "receipt_no": "1"})
    assert late.get_json()["code"] == "codes.expired"


def test_voucher_at_another_till_is_in_use(api, body):
    api("POST", "/vouchers/quote", body)
    other = api("POST", "/vouchers/quote", body, scopes=("vouchers.write",))
    assert (other.status_code, other.get_json()["code"]) == (409, "codes.in_use")


def test_FQ03_other_codes_redeem_nothing(api, somchai, show, voucher):
    codes = [show(somchai), show(somchai, purpose="card")]
    bodies = [{"code": code, "branch": "siam", "amount": "9"} for code in codes]
    answers = [api("POST", "/vouchers/quote", body) for body in bodies]
    answers += [api("POST", "/vouchers/redemptions", body | {"receipt_no": "1"}) for body in bodies]
    assert {answer.get_json()["code"] for answer in answers} == {"codes.expired"}


def test_redemption_is_undone_once(api, body, voucher, database):
    made = api("POST", "/vouchers/redemptions", {**body, "receipt_no": "1"}).get_json()
    path = f"/redemptions/{made['id']}/reversals"
    undone, again = api("POST", path), api("POST", path)
    assert (undone.status_code, undone.get_json()["is_voucher_back"]) == (201, True)
    assert again.status_code == 409
    assert state(database, voucher) == VoucherState.ISSUED


def test_undoing_refuses_fields_it_does_not_know(api, body):
    made = api("POST", "/vouchers/redemptions", {**body, "receipt_no": "1"}).get_json()
    answer = api("POST", f"/redemptions/{made['id']}/reversals", {"amount": "5"})
    assert answer.status_code == 422


def test_unknown_redemption_is_404(api, shop):
    assert api("POST", f"/redemptions/{'0' * 32}/reversals").status_code == 404


def test_redeeming_alone_books_no_bill(api, body, database):
    api("POST", "/vouchers/redemptions", {**body, "receipt_no": "1"})
    with database.read() as session:
        assert session.scalars(select(Purchase)).all() == []


def test_foreign_code_says_so(api, shop):
    body = {"code": "00020101021129370016A00000067", "branch": "siam", "amount": "9"}
    assert api("POST", "/vouchers/quote", body).get_json()["code"] == "codes.foreign"
