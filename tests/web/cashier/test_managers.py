"""Above a ceiling and after ten minutes: a manager's PIN, at the till, for one tap (K5, K6, AK5)."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from loyalty import people, points
from models.coupons import Voucher, VoucherState
from models.members import Member
from models.purchases import Approval, Operation, Purchase, PurchaseState
from models.staff import AuditRow, Cashier
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PIN


@pytest.fixture
def bill(somchai):
    return {"member": somchai.public_id, "bill": "6000"}


@pytest.fixture
def with_pin(manager):
    """`with_pin(body)` adds the manager's PIN to a tap."""

    def add(body, pin=PIN, who=None):
        return {**body, "approval": {"manager": (who or manager).id, "pin": pin}}

    return add


def approvals(database) -> list[Approval]:
    with database.read() as session:
        return list(session.scalars(select(Approval)))


def purchase_count(database) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(Purchase)) or 0


def test_fq12_above_the_ceiling_the_till_is_told_to_ask(till, bill, database):
    answer = till.ask("/cashier/confirm", bill, fresh=True)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "limits.over")
    assert answer.get_json()["message"] == "เกินวงเงิน ต้องให้ผู้จัดการอนุมัติ"
    assert answer.get_json()["facts"] == {"over": "operation", "ceiling": "5,000"}
    assert purchase_count(database) == 0


def test_k5_a_managers_pin_allows_this_bill_and_no_other(till, bill, with_pin, database, manager):
    assert till.ask("/cashier/confirm", with_pin(bill), fresh=True).status_code == 200
    assert till.ask("/cashier/confirm", bill, fresh=True).status_code == 403
    assert [(one.manager_id, one.over) for one in approvals(database)] == [
        (manager.id, "operation")
    ]
    with database.read() as session:
        acts = session.execute(select(AuditRow.actor, AuditRow.act)).all()
    assert (f"cashier:{manager.id}", "approvals.given") in [tuple(row) for row in acts]


def test_k5_a_repeat_needs_no_pin_and_no_pin_is_remembered(till, bill, with_pin, database):
    tap = {**bill, "operation": str(uuid.uuid4())}
    first = till.ask("/cashier/confirm", with_pin(tap)).get_json()
    again = till.ask("/cashier/confirm", tap).get_json()
    assert again == {**first, "is_repeated": True}
    with database.read() as session:
        kept = session.scalars(select(Operation)).one()
        assert PIN not in str(kept.answer)
        rows = session.scalars(select(AuditRow)).all()
    assert all(PIN not in str(row.facts) for row in rows)


def test_k5_whose_pin_does_not_count(till, bill, with_pin, runtime, shop, database):
    with runtime.transaction() as session:
        colleague = factories.nok(session)
        elsewhere = factories.nok(session, branch=factories.make_branch(session, "ari"))
        elsewhere.is_manager = True
        gone = factories.nok(session)
        gone.is_manager, gone.is_active = True, False
        session.get_one(Cashier, shop.cashier.id).is_manager = True
    codes = [
        till.ask("/cashier/confirm", with_pin({**bill, "bill": "60000"}, who=who), fresh=True)
        .get_json()["code"]
        for who in (colleague, elsewhere, gone, shop.cashier)
    ]  # fmt: skip
    assert codes == ["approvals.not_manager"] * 3 + ["approvals.own_pin"]
    assert purchase_count(database) == 0


def test_odd_approvals_are_refused(till, bill, manager):
    odd = ["x", [], 5, {"manager": "²", "pin": PIN}, {"pin": PIN}, {"manager": "9" * 40}]
    answers = [till.ask("/cashier/confirm", {**bill, "approval": one}, fresh=True) for one in odd]
    assert {answer.status_code for answer in answers} <= {403, 422}


def test_ak5_a_managers_pin_is_guessed_five_times_at_all_tills_together(
    till, open_at, bill, with_pin, manager, database
):
    tills = [till, *(open_at() for _ in range(3))]
    answers = [
        tills[number % 4].ask("/cashier/confirm", with_pin(bill, f"{number:06d}"), fresh=True)
        for number in range(12)
    ]
    assert [answer.status_code for answer in answers] == [403] * 4 + [429] * 8
    right = till.ask("/cashier/confirm", with_pin(bill), fresh=True)
    assert (right.status_code, right.get_json()["code"]) == (429, "cashiers.locked")
    assert purchase_count(database) == 0


def test_ak5_a_thousand_guesses_from_ten_devices_are_five_in_a_window(
    app, open_at, runtime, shop, clock, scale, monkeypatch
):
    tried = 0
    is_right = people.is_right

    def counted(hashed, text):
        nonlocal tried
        tried += 1
        return is_right(hashed, text)

    monkeypatch.setattr(people, "is_right", counted)
    tills = [open_at() for _ in range(10)]
    tokens = [browser.token() for browser in tills]
    statuses = [
        tills[number % 10].client.post(
            "/cashier/pin",
            data={
                "csrf_token": tokens[number % 10],
                "cashier": str(shop.cashier.id),
                "pin": f"{number:06d}",
            },
        ).status_code
        for number in range(max(50, scale(1000)))
    ]  # fmt: skip
    assert tried == 5
    assert statuses[:5] == [401] * 4 + [429]
    assert set(statuses[5:]) == {429}
    clock.advance(minutes=15, seconds=1)
    with runtime.transaction() as session:
        cashier = session.get_one(Cashier, shop.cashier.id)
        assert people.try_pin(session, cashier, PIN, clock.real_now()) is None


def test_fq11_the_own_account_stays_closed_to_vouchers_and_managers(
    till, claim, show, somchai, runtime, shop, with_pin, database
):
    voucher = claim(somchai)
    with runtime.transaction() as session:
        session.get_one(Cashier, shop.cashier.id).member_id = somchai.id
    hold = till.ask("/cashier/scan", {"text": show(somchai, voucher)}).get_json()["voucher"]["hold"]
    body = {"member": somchai.public_id, "bill": "20", "holds": [hold]}
    answers = [
        till.ask("/cashier/confirm", one, fresh=True)
        for one in (body, with_pin(body), with_pin({**body, "holds": []}))
    ]
    assert {answer.get_json()["code"] for answer in answers} == {"cashiers.own_account"}
    assert {answer.status_code for answer in answers} == {403}
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).state == VoucherState.HELD
        tries = session.scalar(select(func.count()).where(AuditRow.act == "purchases.own_account"))
    assert tries == 3


def test_ak3_a_voucher_is_used_with_the_members_code_only(till, claim, somchai, show, database):
    """Neither a number, a phone nor the card brings a voucher to the till."""
    voucher = claim(somchai)
    for text in (somchai.member_no, "081-234-5678", show(somchai, purpose="card")):
        seen = till.ask("/cashier/scan", {"text": text}).get_json()
        assert (seen["kind"], "voucher" in seen, "hold" in seen) == ("member", False, False)
    body = {"member": somchai.public_id, "bill": "100"}
    for hold in (voucher.public_id, str(voucher.id), "0" * 32):
        answer = till.ask("/cashier/confirm", {**body, "holds": [hold]}, fresh=True)
        assert answer.get_json()["code"] == "codes.expired"
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).state == VoucherState.ISSUED


# Taking back (K6, AK4)


@pytest.fixture
def sold(till, somchai):
    """A bill of 250 baht by Nok."""
    body = {"member": somchai.public_id, "bill": "250"}
    return till.ask("/cashier/confirm", body, fresh=True).get_json()["purchase"]


def test_k6_after_ten_minutes_a_managers_pin_takes_it_back(
    till, sold, with_pin, clock, database, somchai
):
    clock.advance(minutes=10, seconds=1)
    alone = till.ask("/cashier/void", {"purchase": sold}, fresh=True)
    allowed = till.ask("/cashier/void", with_pin({"purchase": sold}), fresh=True)
    assert (alone.status_code, alone.get_json()["code"]) == (403, "purchases.needs_manager")
    assert (allowed.status_code, allowed.get_json()["points"]) == (200, 10)
    assert [one.over for one in approvals(database)] == ["void"]
    with database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 0


def test_k6_within_ten_minutes_a_pin_is_not_needed(till, sold, with_pin, database):
    assert till.ask("/cashier/void", with_pin({"purchase": sold}), fresh=True).status_code == 200
    assert approvals(database) == []


def test_ak4_a_bill_of_an_earlier_shift_needs_a_manager(till, sold, shop, clock):
    clock.advance(minutes=2)
    till.send("/cashier/leave")
    till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    answer = till.ask("/cashier/void", {"purchase": sold}, fresh=True)
    assert answer.get_json()["code"] == "purchases.needs_manager"


def test_ak4_a_colleagues_bill_needs_a_manager(till, sold, open_at, runtime, manager):
    with runtime.transaction() as session:
        colleague = factories.nok(session)
    answer = open_at(colleague).ask("/cashier/void", {"purchase": sold}, fresh=True)
    assert answer.get_json()["code"] == "purchases.needs_manager"
    assert open_at(manager).ask("/cashier/void", {"purchase": sold}, fresh=True).status_code == 200


def test_aa7_a_bill_of_another_branch_is_unknown_here(till, sold, open_at, runtime):
    with runtime.transaction() as session:
        there = factories.nok(session, branch=factories.make_branch(session, "ari"))
        there.is_manager = True
    answer = open_at(there).ask("/cashier/void", {"purchase": sold}, fresh=True)
    assert (answer.status_code, answer.get_json()["code"]) == (404, "purchases.not_found")


def test_k6_a_late_use_of_a_voucher_is_taken_back_by_a_manager(
    till, claim, show, somchai, with_pin, clock, database
):
    voucher = claim(somchai)
    hold = till.ask("/cashier/scan", {"text": show(somchai, voucher)}).get_json()["voucher"]["hold"]
    paid = till.ask(
        "/cashier/confirm",
        {"bill": "20", "holds": [hold], "member": somchai.public_id}, fresh=True,
    ).get_json()  # fmt: skip
    clock.advance(minutes=11)
    use = {"redemption": paid["redemptions"][0]}
    assert till.ask("/cashier/void", use, fresh=True).status_code == 403
    assert till.ask("/cashier/void", with_pin(use), fresh=True).get_json()["is_voucher_back"]
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).state == VoucherState.ISSUED


def test_recent_says_whose_pin_takes_a_bill_back(till, sold, clock, open_at, manager):
    clock.advance(minutes=11)
    mine = till.get("/cashier/recent").get_json()["bills"]
    theirs = open_at(manager).get("/cashier/recent").get_json()["bills"]
    assert (mine[0]["can_void"], mine[0]["needs_manager"], mine[0]["who"]) == (False, True, "")
    assert (theirs[0]["can_void"], theirs[0]["who"]) == (True, "นก")


def test_k6_a_manager_finds_yesterdays_bill_and_takes_it_back(
    till, sold, clock, open_at, manager, shop
):
    clock.advance(hours=24)
    browser = open_at(manager)
    yesterday = (NOW.astimezone(clock.tz)).date().isoformat()
    assert browser.get("/cashier/recent").get_json()["bills"] == []
    found = browser.get(f"/cashier/recent?day={yesterday}").get_json()["bills"]
    assert [row["purchase"] for row in found] == [sold]
    assert browser.ask("/cashier/void", {"purchase": sold}, fresh=True).status_code == 200
    colleague = open_at(shop.cashier)
    assert colleague.get(f"/cashier/recent?day={yesterday}").get_json()["bills"] == []


def test_z14_ten_tills_void_one_bill_once(till, sold, open_at, database, somchai):
    answers = [
        browser.ask("/cashier/void", {"purchase": sold}, fresh=True).status_code
        for browser in [till, *(open_at() for _ in range(3))] * 2
    ]
    assert sorted(answers) == [200] + [409] * 7
    with database.read() as session:
        assert session.scalars(select(Purchase.state)).one() == PurchaseState.VOIDED
        assert points.balance_of(session, somchai.id, NOW).balance == 0


# One tap, for two days (Z12)


def test_z12_a_tap_repeated_for_two_days_and_over_restarts_is_one_bill(
    runtime, shop, somchai, clock, till, database
):
    from app import create_app
    from tests.web.conftest import Browser

    tap = {"member": somchai.public_id, "bill": "250", "operation": str(uuid.uuid4())}
    first = till.ask("/cashier/confirm", tap).get_json()
    repeats = 100
    browser, started = till, []
    for number in range(repeats):
        clock.advance(minutes=28)
        if number % 25 == 24:  # the server starts anew
            application = create_app(runtime=runtime)
            started.append(application)
            client = application.test_client()
            client.set_cookie("taem_device", shop.device_token)
            browser = Browser(client)
        if number % 20 == 0 or number % 25 == 24:  # a shift is over, or this browser is new
            browser.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
        answer = browser.ask("/cashier/confirm", tap)
        assert answer.get_json() == {**first, "is_repeated": True}, number
    for application in started:
        application.extensions["taem_intake"].close()
    assert purchase_count(database) == 1
    other = browser.ask("/cashier/confirm", {**tap, "bill": "251"})
    assert (other.status_code, other.get_json()["code"]) == (422, "operations.other_body")
    clock.advance(hours=2)
    browser.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    late = browser.ask("/cashier/confirm", tap)
    assert (late.status_code, late.get_json()["code"]) == (409, "purchases.already_recorded")
    assert purchase_count(database) == 1


# Revoked means now (Z23)


def test_z23_revoked_in_one_process_is_refused_in_all_also_mid_operation(
    till, claim, show, somchai, runtime, shop, database
):
    """Nok has a voucher on the screen when the till is revoked from another process."""
    from app import create_app
    from tests.web.conftest import Browser

    voucher = claim(somchai)
    hold = till.ask("/cashier/scan", {"text": show(somchai, voucher)}).get_json()["voucher"]["hold"]
    other = create_app(runtime=runtime)
    client = other.test_client()
    for name in ("taem_device", "taem_cashier"):
        client.set_cookie(name, till.client.get_cookie(name).value)
    tills = [till, Browser(client)]
    tokens = [browser.token() for browser in tills]
    with runtime.transaction() as session:
        device = session.merge(shop.device)
        people.revoke_device(session, device, now=NOW, actor="staff:1")
    body = {
        "member": somchai.public_id, "bill": "100", "holds": [hold],
        "operation": str(uuid.uuid4()),
    }  # fmt: skip
    statuses = [
        browser.client.post("/cashier/confirm", json=body, headers={"X-CSRFToken": token})
        .status_code
        for browser, token in zip(tills, tokens, strict=True)
    ]  # fmt: skip
    other.extensions["taem_intake"].close()
    assert statuses == [401, 401]
    assert purchase_count(database) == 0
    with database.read() as session:
        assert session.get_one(Voucher, voucher.id).redeemed_at is None
        assert session.get_one(Member, somchai.id) is not None


def test_aa1_a_dismissed_cashiers_tills_close_everywhere(till, open_at, runtime, shop):
    second = open_at()
    with runtime.transaction() as session:
        cashier = session.get_one(Cashier, shop.cashier.id)
        people.change_cashier(
            session, cashier, name="นก", branch_id=cashier.branch_id, is_manager=False,
            is_active=False, member_id=None, staff_id=None, now=NOW, actor="staff:1",
        )  # fmt: skip
    assert till.ask("/cashier/scan", {"text": "1"}).status_code == 401
    assert second.ask("/cashier/scan", {"text": "1"}).status_code == 401


def test_aa1_a_new_pin_closes_what_the_old_one_opened(till, runtime, shop):
    with runtime.transaction() as session:
        cashier = session.get_one(Cashier, shop.cashier.id)
        pin = people.reset_pin(session, cashier, now=NOW + timedelta(minutes=1), actor="staff:1")
    assert till.ask("/cashier/scan", {"text": "1"}).status_code == 401
    assert till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=pin).status_code == 303
