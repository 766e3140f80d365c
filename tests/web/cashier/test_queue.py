"""Bills a till kept without a signal: settled once, capped, by nobody else's word (K7, AK8)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from loyalty import erasure, points, shop
from models.members import Member
from models.purchases import Approval, Purchase
from models.staff import AuditRow, Branch, Cashier, Device
from tests import factories
from tests.moments import NOW
from tests.web.cashier.conftest import Kept
from tests.web.conftest import PIN


def bills(database) -> list[Purchase]:
    with database.read() as session:
        return list(session.scalars(select(Purchase).order_by(Purchase.id)))


def balance(database, member) -> int:
    with database.read() as session:
        return points.balance_of(session, member.id, NOW).balance


@pytest.fixture
def cap(runtime):
    """`cap(bills=3)` changes what a till may keep in a day."""

    def change(**values):
        with runtime.transaction() as session:
            for name, value in values.items():
                shop.set(session, f"tills.queue_{name}", value, NOW)

    return change


def test_fq14_one_queue_ten_times_reordered_and_cut_settles_each_once(kept, somchai, database):
    """The device's clock is two days off: only its own difference counts."""
    wrong = NOW + timedelta(days=2)
    for number in range(4):
        kept.keep(somchai.member_no, "100", wrong - timedelta(minutes=30 - number))
    orders = [kept.bills, kept.bills[::-1], kept.bills[:2], kept.bills[2:]] * 3
    answers = [kept.send(bill, wrong) for order in orders[:10] for bill in order]
    assert {answer.status_code for answer in answers} == {200}
    settled = bills(database)
    assert [bill.amount_satang for bill in settled] == [10_000] * 4
    assert {bill.purchased_at for bill in settled} == {NOW}
    assert settled[0].queued_at == wrong - timedelta(minutes=30)
    assert balance(database, somchai) == 16
    first = {answer.get_json()["purchase"] for answer in answers}
    assert len(first) == 4
    assert sum("is_repeated" in answer.get_json() for answer in answers) == len(answers) - 4


@pytest.mark.parametrize("limits", [{"bills": 2}, {"satang": 25_000}])
def test_fq14_above_the_cap_is_refused_with_what_to_do(kept, somchai, database, cap, limits):
    cap(**limits)
    answers = [kept.send(kept.keep(somchai.member_no, "100")) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 403, 403]
    assert answers[2].get_json()["code"] == "tills.queue_over"
    assert answers[2].get_json()["facts"]["over"] == "queue"
    assert len(bills(database)) == 2


def test_fq14_the_cap_holds_over_queues_of_one_day_and_not_longer(
    kept, somchai, database, cap, clock
):
    cap(bills=1)
    kept.send(kept.keep(somchai.member_no, "100"))
    assert kept.send(kept.keep(somchai.member_no, "100")).status_code == 403
    clock.advance(hours=24)
    again = Kept(kept.till, kept.cashier, kept.key)
    reopen(kept, clock)
    later = clock.now()
    assert again.send(again.keep(somchai.member_no, "100", later), later).status_code == 200


def reopen(kept, clock) -> None:
    """Nok opens the till with the PIN again."""
    answer = kept.till.send("/cashier/pin", cashier=str(kept.cashier), pin=PIN)
    assert answer.status_code == 303


def test_fq14_older_than_48_hours_is_refused_and_a_manager_may_let_it_pass(
    kept, somchai, database, manager
):
    just, over = NOW - timedelta(hours=48), NOW - timedelta(hours=48, seconds=1)
    assert kept.send(kept.keep(somchai.member_no, "100", just)).status_code == 200
    old = kept.keep(somchai.member_no, "100", over)
    refused = kept.send(old)
    assert (refused.status_code, refused.get_json()["code"]) == (403, "tills.queue_old")
    wrong = kept.send(old, approval={"manager": manager.id, "pin": "000000"})
    assert (wrong.status_code, wrong.get_json()["code"]) == (403, "cashiers.wrong_pin")
    allowed = kept.send(old, approval={"manager": manager.id, "pin": PIN})
    assert allowed.status_code == 200
    assert kept.send(old).get_json()["is_repeated"]
    with database.read() as session:
        approval = session.scalars(select(Approval)).one()
    assert (approval.over, approval.manager_id) == ("queue_age", manager.id)
    assert len(bills(database)) == 2


def test_k7_a_manager_may_give_a_kept_bill_up(kept, somchai, database, manager):
    old = kept.keep(somchai.member_no, "100", NOW - timedelta(days=3))
    alone = kept.till.ask("/cashier/queue/drop", old)
    dropped = kept.till.ask(
        "/cashier/queue/drop", {**old, "approval": {"manager": manager.id, "pin": PIN}}
    )
    assert (alone.status_code, dropped.status_code) == (403, 200)
    with database.read() as session:
        row = session.scalars(
            select(AuditRow).where(AuditRow.act == "purchases.queue_dropped")
        ).one()
    assert (row.facts["manager"], row.facts["amount_satang"]) == (manager.id, 10_000)


def test_ak8_forged_bills_are_refused(kept, somchai, database, open_at, shop):
    bill = kept.keep(somchai.member_no, "100")
    forged = [
        {**bill, "bill": "1000"},
        {**bill, "who": "100000029"},
        {**bill, "cashier": bill["cashier"] + 1},
        {**bill, "operation": "another-operation"},
        {**bill, "queued_at": (NOW - timedelta(hours=1)).isoformat()},
        {**bill, "mac": "0" * 64},
        {**bill, "mac": "é" * 60},
    ]
    answers = [kept.send(one) for one in forged]
    assert {answer.get_json()["code"] for answer in answers} == {"tills.queue_forged"}
    other_till = open_at()
    elsewhere = other_till.ask("/cashier/queue/settle", {**bill, "sent_at": NOW.isoformat()})
    assert elsewhere.get_json()["code"] == "tills.queue_forged"
    assert bills(database) == []


def test_ak8_nobody_signs_for_a_cashier_who_never_stood_there(kept, somchai, database, manager):
    bill = kept.keep(somchai.member_no, "100", cashier=manager.id)
    assert kept.send(bill).get_json()["code"] == "tills.queue_forged"
    assert bills(database) == []


def test_k7_a_colleague_may_send_what_another_cashier_kept(kept, somchai, database, manager, shop):
    bill = kept.keep(somchai.member_no, "100")
    kept.till.send("/cashier/pin", cashier=str(manager.id), pin=PIN)
    assert kept.send(bill).status_code == 200
    assert bills(database)[0].cashier_id == shop.cashier.id


def test_z23_a_revoked_till_settles_nothing(kept, somchai, runtime, shop):
    bill = kept.keep(somchai.member_no, "100")
    token = kept.till.token()
    with runtime.transaction() as session:
        session.get_one(Device, shop.device.id).revoked_at = NOW
    answer = kept.till.client.post(
        "/cashier/queue/settle", json={**bill, "sent_at": NOW.isoformat()},
        headers={"X-CSRFToken": token},
    )  # fmt: skip
    assert answer.status_code == 401
    assert bills(runtime.database) == []


def test_aa7_a_cashier_who_was_moved_signs_nothing_more(kept, somchai, runtime, manager, shop):
    bill = kept.keep(somchai.member_no, "100")
    with runtime.transaction() as session:
        branch = factories.make_branch(session, "ari")
        session.get_one(Cashier, shop.cashier.id).branch_id = branch.id
    kept.till.send("/cashier/pin", cashier=str(manager.id), pin=PIN)
    assert kept.send(bill).get_json()["code"] == "tills.queue_forged"


def test_fq15_a_tap_that_arrived_as_a_bill_is_not_settled_again(kept, somchai, database):
    bill = kept.keep(f"id:{somchai.public_id}", "100.00")
    tap = {"member": somchai.public_id, "bill": "100", "operation": bill["operation"]}
    assert kept.till.ask("/cashier/confirm", tap).status_code == 200
    settled = kept.send(bill)
    assert (settled.status_code, settled.get_json()["is_repeated"]) == (200, True)
    assert len(bills(database)) == 1


def test_k7_card_numbers_and_cards_only(kept, somchai, show, database):
    card = kept.send(kept.keep(show(somchai, purpose="card"), "100"))
    moving = kept.send(kept.keep(show(somchai), "100"))
    phone = kept.send(kept.keep("0812345678", "100"))
    stranger = kept.send(kept.keep("999999998", "100"))
    assert card.status_code == 200
    assert moving.get_json()["code"] == "codes.expired"
    assert phone.get_json()["code"] == "codes.foreign"
    assert stranger.status_code in (404, 409)
    assert len(bills(database)) == 1


def test_fq11_own_account_is_refused_from_the_queue_too(kept, somchai, runtime, shop):
    with runtime.transaction() as session:
        session.get_one(Cashier, shop.cashier.id).member_id = somchai.id
    answer = kept.send(kept.keep(somchai.member_no, "100"))
    assert (answer.status_code, answer.get_json()["code"]) == (403, "cashiers.own_account")
    with runtime.database.read() as session:
        acts = session.scalars(select(AuditRow.act)).all()
    assert "purchases.own_account" in acts


def test_k5_nobody_sends_a_bill_for_their_own_account_under_a_colleagues_name(
    kept, somchai, runtime, shop, manager
):
    bill = kept.keep(somchai.member_no, "100")  # signed as Nok's
    with runtime.transaction() as session:
        session.get_one(Cashier, manager.id).member_id = somchai.id
    kept.till.send("/cashier/pin", cashier=str(manager.id), pin=PIN)
    refused = kept.send(bill)
    assert (refused.status_code, refused.get_json()["code"]) == (403, "tills.queue_own")
    with runtime.database.read() as session:
        tried = select(AuditRow).where(AuditRow.act == "purchases.own_account")
        assert session.scalars(tried).one().actor == f"cashier:{manager.id}"
    assert bills(runtime.database) == []
    kept.till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    assert kept.send(bill).status_code == 200  # it had stayed, and was somebody's bill


def test_fq12_ceilings_hold_for_kept_bills(kept, somchai, database, manager):
    big = kept.keep(somchai.member_no, "6000")
    refused = kept.send(big)
    assert (refused.status_code, refused.get_json()["code"]) == (403, "limits.over")
    assert kept.send(big, approval={"manager": manager.id, "pin": PIN}).status_code == 200
    assert len(bills(database)) == 1


def test_fq17_member_erased_meanwhile_gets_nothing(kept, somchai, runtime):
    bill = kept.keep(f"id:{somchai.public_id}", "100")
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        erasure.erase(session, runtime.vault, member, asked_by="cli", now=NOW)
    assert kept.send(bill).get_json()["code"] == "codes.expired"


def test_kept_bill_needs_its_number_where_the_branch_asks(kept, somchai, runtime, shop):
    with runtime.transaction() as session:
        session.get_one(Branch, shop.branch.id).needs_receipt_no = True
    without = kept.send(kept.keep(somchai.member_no, "100"))
    first = kept.send(kept.keep(somchai.member_no, "100", receipt_no="A-1"))
    again = kept.send(kept.keep(somchai.member_no, "100", receipt_no="a-1"))
    assert without.get_json()["code"] == "cashiers.receipt_needed"
    assert first.status_code == 200
    assert again.get_json()["code"] == "purchases.already_recorded"


def test_odd_bills_are_refused(kept, somchai):
    good = kept.keep(somchai.member_no, "100")
    odd = [
        {**good, "queued_at": "yesterday"}, {**good, "queued_at": "2026-11-22T10:00:00"},
        {**good, "queued_at": "0001-01-01T00:00:00+00:00"}, {**good, "cashier": "1"},
        {**good, "cashier": True}, {**good, "operation": "x"}, {**good, "who": ""},
        {**good, "bill": None},
    ]  # fmt: skip
    assert {kept.send(one).status_code for one in odd} == {422}
    zero = kept.send(kept.keep(somchai.member_no, "0"))
    assert zero.get_json()["code"] == "cashiers.bad_amount"


def test_key_differs_between_devices_and_needs_the_pin(kept, open_at, till):
    other = open_at().get("/cashier/queue/key").get_json()["key"]
    assert other != till.get("/cashier/queue/key").get_json()["key"]
    till.send("/cashier/leave")
    assert till.get("/cashier/queue/key", headers={"Accept": "application/json"}).status_code == 401


def test_service_worker_may_look_after_the_till_page(client):
    with client.get("/cashier/worker.js") as answer:
        assert answer.headers["Service-Worker-Allowed"] == "/cashier"
        assert answer.mimetype in ("text/javascript", "application/javascript")


def test_only_an_open_till_is_marked_for_keeping(till):
    assert till.get("/cashier").headers["X-Taem-Till"] == "open"
    till.send("/cashier/leave")
    assert "X-Taem-Till" not in till.get("/cashier").headers
