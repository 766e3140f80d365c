"""What a shift did, for the one who closes it and for managers of the branch (K8)."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from loyalty import shifts
from models.staff import Cashier
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PIN


@pytest.fixture
def busy_till(till, somchai, claim, show, manager):
    """Three bills, one of them approved and one taken back, and a voucher of 20 baht."""
    voucher = claim(somchai)
    hold = till.ask("/cashier/scan", {"text": show(somchai, voucher)}).get_json()["voucher"]["hold"]
    body = {"member": somchai.public_id, "bill": "120", "holds": [hold]}
    till.ask("/cashier/confirm", body, fresh=True)
    wrong = till.ask(
        "/cashier/confirm", {"member": somchai.public_id, "bill": "50"}, fresh=True
    ).get_json()
    till.ask("/cashier/void", {"purchase": wrong["purchase"]}, fresh=True)
    big = {"member": somchai.public_id, "bill": "6000"}
    approval = {"manager": manager.id, "pin": PIN}
    till.ask("/cashier/confirm", {**big, "approval": approval}, fresh=True)
    return till


def words(page) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text))


def test_k8_sums_of_a_shift(busy_till, database, shop, manager, clock):
    with database.read() as session:
        done = shifts.report(
            session, branch_id=shop.branch.id, since=NOW, until=NOW + timedelta(hours=1)
        )
    by_name = {line.cashier.name: line.sums for line in done.lines}
    nok, boss = by_name["นก"], by_name["พี่แดง"]
    assert (nok.bills, nok.bills_satang, nok.redemptions, nok.redeemed_satang) == (
        3, 615_000, 1, 2_000,
    )  # fmt: skip
    assert (nok.voids, nok.voided_satang, nok.approvals, nok.approved_satang) == (
        1, 5_000, 1, 600_000,
    )  # fmt: skip
    assert (boss.bills, boss.allowed) == (0, 1)
    assert done.total.bills == 3
    assert done.total.allowed == 1


def test_k8_report_of_another_branch_or_day_is_empty(busy_till, database, runtime, shop):
    with runtime.transaction() as session:
        other = factories.make_branch(session, "ari")
    with database.read() as session:
        elsewhere = shifts.report(
            session, branch_id=other.id, since=NOW, until=NOW + timedelta(hours=1)
        )
        tomorrow = shifts.report(
            session, branch_id=shop.branch.id, since=NOW + timedelta(days=1),
            until=NOW + timedelta(days=2),
        )  # fmt: skip
    assert (elsewhere.lines, tomorrow.lines) == ((), ())


def test_k8_on_demand_and_at_closing(busy_till):
    now = words(busy_till.get("/cashier/report"))
    assert "นก" in now
    assert "6,150 บาท" in now
    closed = busy_till.client.post(
        "/cashier/leave", data={"csrf_token": busy_till.token()}, follow_redirects=True
    )
    assert "ปิดกะแล้ว" in words(closed)
    assert "6,150 บาท" in words(closed)


def test_k8_a_closed_till_forgets_its_report_after_a_quarter_of_an_hour(till, clock):
    till.send("/cashier/leave")
    clock.advance(minutes=16)
    assert till.get("/cashier/closed").status_code == 302


def test_k8_a_shift_shows_only_its_own(busy_till, shop, clock):
    clock.advance(minutes=5)
    busy_till.send("/cashier/leave")
    busy_till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    assert "6,150" not in words(busy_till.get("/cashier/report"))


def test_k8_the_branchs_day_is_for_a_managers_pin(busy_till, manager, open_at):
    wrong = busy_till.send("/cashier/report", manager=str(manager.id), pin="000000")
    right = busy_till.send("/cashier/report", manager=str(manager.id), pin=PIN)
    assert wrong.status_code == 403
    assert "ทั้งสาขา" in words(right)
    assert "พี่แดง" in words(right)
    own = words(open_at(manager).get("/cashier/report"))
    assert "นก" in own


def test_k8_odd_days_show_today(open_at, manager):
    browser = open_at(manager)
    odd = ["", "x", "2026-13-40", "0001-01-01", "9999-12-31", "²"]
    assert {browser.get(f"/cashier/report?day={day}").status_code for day in odd} == {200}


def test_k8_a_plain_cashier_cannot_name_a_day(busy_till, runtime):
    page = words(busy_till.get("/cashier/report?day=2026-11-22"))
    assert "สรุปกะนี้" in page


def test_a_cashier_who_moved_still_counts_where_they_stood(busy_till, database, runtime, shop):
    with runtime.transaction() as session:
        other = factories.make_branch(session, "ari")
        session.get_one(Cashier, shop.cashier.id).branch_id = other.id
    with database.read() as session:
        done = shifts.report(
            session, branch_id=shop.branch.id, since=NOW, until=NOW + timedelta(hours=1)
        )
    assert done.total.bills == 3
