"""The till in a real browser: without a signal, above a ceiling, and at arm's length."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import func, select

from models.coupons import Coupon, Redemption
from models.purchases import Approval, Purchase
from models.staff import Cashier, CashierSession
from tests import factories
from tests.processes import wait_until
from tests.web.conftest import PIN, PIN_HASH

pytestmark = pytest.mark.e2e


@pytest.fixture
def engine_kind():
    """The browser makes no difference between the engines."""
    return "sqlite"


@pytest.fixture
def clock():
    """The browser's own clock decides when its PIN is over; ours agrees with it here."""
    from core.clock import FixedClock
    from tests.moments import BANGKOK

    return FixedClock(datetime.now(UTC), BANGKOK)


@pytest.fixture
def manager(runtime, shop) -> Cashier:
    with runtime.transaction() as session:
        cashier = factories.nok(session, pin_hash=PIN_HASH)
        cashier.name, cashier.is_manager = "พี่แดง", True
    return cashier


@pytest.fixture
def open_till(served, shop, page) -> Any:
    """The till page with Nok's PIN, its service worker at work."""
    page.context.add_cookies([{"name": "taem_device", "value": shop.device_token, "url": served}])
    page.goto(f"{served}/cashier")
    page.get_by_text("นก", exact=True).click()
    page.get_by_test_id("pin").fill(PIN)
    page.get_by_test_id("pin-open").click()
    page.get_by_test_id("typed").wait_for()
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    # Not `wait_for_function`: what it looks at a second time is evaluated by the page, whose policy forbids that.
    wait_until(lambda: page.evaluate("navigator.serviceWorker.controller !== null"))
    wait_until(lambda: page.evaluate("caches.match('/cashier').then((kept) => Boolean(kept))"))
    return page


def ring_up(page: Any, typed: str, bill: str) -> None:
    page.get_by_test_id("typed").fill(typed)
    page.get_by_test_id("find").click()
    page.get_by_test_id("bill").fill(bill)
    page.get_by_test_id("confirm").click()


def bills(runtime) -> list[Purchase]:
    with runtime.database.read() as session:
        return list(session.scalars(select(Purchase).order_by(Purchase.id)))


def test_what_is_typed_before_the_page_is_ready_is_found_afterwards(served, shop, page, somchai):
    held = []
    page.route("**/cashier.js*", lambda script: held.append(script))  # noqa: PLW0108
    page.context.add_cookies([{"name": "taem_device", "value": shop.device_token, "url": served}])
    page.goto(f"{served}/cashier")
    page.get_by_text("นก", exact=True).click()
    page.get_by_test_id("pin").fill(PIN)
    page.get_by_test_id("pin-open").click()
    page.get_by_test_id("typed").fill(somchai.member_no)
    page.get_by_test_id("typed").press("Enter")  # a scanner's, too
    assert page.get_by_test_id("find").is_disabled()
    held[0].continue_()
    page.get_by_test_id("find").click()
    page.get_by_test_id("bill").fill("250")


def test_k7_the_till_opens_and_keeps_bills_without_a_signal(open_till, somchai, runtime):
    page = open_till
    page.context.set_offline(True)
    page.reload()  # the page itself comes from the device
    page.get_by_test_id("typed").wait_for()
    for baht in ("250", "99.50"):
        ring_up(page, somchai.member_no, baht)
        page.get_by_test_id("next").click()
    assert "2" in page.get_by_test_id("queue-sum").inner_text()
    assert "349.5" in page.get_by_test_id("queue-sum").inner_text()
    page.get_by_test_id("typed").fill("081-234-5678")
    page.get_by_test_id("find").click()
    page.get_by_test_id("notice").wait_for()
    assert "เลขสมาชิก" in page.get_by_test_id("notice").inner_text()
    page.reload()
    assert "2" in page.get_by_test_id("queue-sum").inner_text()
    assert bills(runtime) == []

    page.context.set_offline(False)
    page.get_by_test_id("queue").wait_for(state="hidden")
    settled = bills(runtime)
    assert [bill.amount_satang for bill in settled] == [25_000, 9_950]
    assert all(bill.queued_at is not None for bill in settled)
    page.reload()
    page.get_by_test_id("typed").wait_for()
    assert len(bills(runtime)) == 2


def test_k7_a_signal_lost_between_scan_and_confirm_keeps_the_bill(open_till, somchai, runtime):
    page = open_till
    page.get_by_test_id("typed").fill(somchai.member_no)
    page.get_by_test_id("find").click()
    page.get_by_test_id("bill").fill("120")
    page.context.set_offline(True)
    page.get_by_test_id("confirm").click()
    page.get_by_test_id("receipt").wait_for()
    page.context.set_offline(False)
    page.get_by_test_id("queue").wait_for(state="hidden")
    assert [bill.amount_satang for bill in bills(runtime)] == [12_000]


def test_fq15_an_answer_lost_on_the_way_back_settles_to_the_same_bill(open_till, somchai, runtime):
    page = open_till
    page.get_by_test_id("typed").fill(somchai.member_no)
    page.get_by_test_id("find").click()
    page.get_by_test_id("bill").fill("120")

    def lose(route: Any) -> None:
        route.fetch()  # the server has done it
        route.abort()

    page.route("**/cashier/confirm", lose)
    page.get_by_test_id("confirm").click()
    page.get_by_test_id("receipt").wait_for()
    page.get_by_test_id("queue").wait_for(state="hidden")
    assert [bill.amount_satang for bill in bills(runtime)] == [12_000]


def look_for(page: Any, typed: str) -> None:
    page.get_by_test_id("typed").fill(typed)
    page.get_by_test_id("find").click()


def test_fq15_a_coupon_bill_of_a_lost_answer_is_booked_once(
    open_till, somchai, claim, show, runtime
):
    page = open_till
    look_for(page, show(somchai, claim(somchai)))
    page.get_by_test_id("bill").fill("120")

    def lose(route: Any) -> None:
        route.fetch()  # the server has done it
        route.abort()

    page.route("**/cashier/confirm", lose, times=1)
    page.get_by_test_id("confirm").click()
    expect(page.get_by_test_id("notice")).to_contain_text("ยังไม่แน่ใจ")
    page.wait_for_timeout(400)  # what the coupon is worth was to be asked in a quarter of a second
    expect(page.get_by_test_id("notice")).to_contain_text("ยังไม่แน่ใจ")
    page.get_by_role("button", name="เอาออก").click()
    page.get_by_test_id("confirm").click()
    page.get_by_test_id("receipt").wait_for()
    assert "บันทึกแล้ว" in page.get_by_test_id("receipt").inner_text()
    assert [bill.amount_satang for bill in bills(runtime)] == [10_000]  # with its coupon, as sent


def test_j8_what_was_asked_or_typed_for_one_customer_is_no_others(open_till, somchai, runtime):
    with runtime.transaction() as session:
        malee = factories.malee(session)
    page = open_till
    for phone in ("089-999-9990", "089-999-9991"):
        look_for(page, phone)
        name, yes = page.locator("#walk-in-name"), page.locator("#walk-in-consent")
        expect(page.locator("#walk-in")).to_have_js_property("dataset.phone", phone)
        assert (name.input_value(), yes.is_checked()) == ("", False)
        name.fill("ป้าแดง")
        yes.check()
    look_for(page, somchai.member_no)
    page.get_by_test_id("bill").fill("120")
    look_for(page, malee.member_no)
    expect(page.get_by_test_id("bill")).to_have_value("")
    shown = page.get_by_test_id("who-name").inner_text()

    held: list[Any] = []
    page.route("**/cashier/scan", lambda route: held.append(route), times=1)  # noqa: PLW0108
    look_for(page, somchai.member_no)
    look_for(page, malee.member_no)
    expect(page.get_by_test_id("typed")).to_have_value("")
    with page.expect_response("**/cashier/scan"):
        held[0].continue_()
    page.wait_for_timeout(200)
    assert page.get_by_test_id("who-name").inner_text() == shown


#: A scanner at the amount: each key, then Enter, which sends the form unless somebody stops it.
SCANNED = """(text) => {
  const bill = document.getElementById("bill");
  const press = (key) => bill.dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  for (const key of text) {
    press(key);
    if (bill.value.length < bill.maxLength) bill.value += key;
  }
  if (press("Enter")) bill.form.requestSubmit();
}"""


def test_a_scan_while_the_amount_has_the_focus_is_no_amount(open_till, somchai, runtime):
    with runtime.transaction() as session:
        malee = factories.malee(session)
    page = open_till
    look_for(page, malee.member_no)
    before = page.get_by_test_id("who-name")
    expect(before).to_be_visible()
    other = before.inner_text()
    page.get_by_test_id("bill").fill("95")
    page.evaluate(SCANNED, malee.member_no)
    expect(page.get_by_test_id("bill")).to_have_value("95")
    page.evaluate(SCANNED, somchai.member_no)
    expect(page.get_by_test_id("who-name")).not_to_have_text(other)
    assert bills(runtime) == []
    page.wait_for_timeout(100)  # a hand that types fast is one after all
    page.evaluate(SCANNED, "1250.50")
    page.get_by_test_id("receipt").wait_for()
    assert [bill.amount_satang for bill in bills(runtime)] == [125_050]


def test_k5_a_kept_bill_of_ones_own_waits_for_a_colleague(
    open_till, served, manager, somchai, runtime
):
    page = open_till
    page.on("dialog", lambda asked: asked.accept())
    page.route("**/cashier/queue/settle", lambda route: route.abort())
    with runtime.transaction() as session:
        session.get_one(Cashier, manager.id).member_id = somchai.id
    page.context.set_offline(True)
    page.reload()
    page.get_by_test_id("typed").wait_for()
    ring_up(page, somchai.member_no, "120")
    page.get_by_test_id("receipt").wait_for()
    page.context.set_offline(False)
    for name in ("พี่แดง", "นก"):
        page.get_by_role("button", name="ออก").click()
        page.get_by_test_id("report").wait_for()
        page.unroute_all()
        page.goto(f"{served}/cashier")
        page.get_by_text(name, exact=True).click()
        page.get_by_test_id("pin").fill(PIN)
        page.get_by_test_id("pin-open").click()
        page.get_by_test_id("typed").wait_for()
        if name == "พี่แดง":
            page.get_by_text("บิลนี้เป็นของบัญชีคุณเอง").wait_for()
            assert bills(runtime) == []
    page.get_by_test_id("queue").wait_for(state="hidden")
    assert [bill.amount_satang for bill in bills(runtime)] == [12_000]


def test_closing_the_till_shows_the_report_whatever_else_is_under_way(open_till, runtime, clock):
    """What is refused after the closing must not take the place of the page that closes."""
    page, held = open_till, []
    page.route("**/cashier/leave", lambda route: held.append(route))  # noqa: PLW0108
    with runtime.transaction() as session:  # closed, but the browser has not heard it yet
        session.scalars(select(CashierSession)).one().closed_at = clock.now()
    with page.expect_response("**/cashier/queue/key") as refused:
        # All in the page: Playwright's own clicks wait for what they open.
        page.get_by_role("button", name="ออก").evaluate(
            "button => setTimeout(() => { button.click(); dispatchEvent(new Event('online')); })"
        )
    assert refused.value.status == 401
    page.wait_for_timeout(300)
    held[0].fulfill(status=303, headers={"Location": "/cashier/closed"})
    page.get_by_test_id("report").wait_for(timeout=10_000)


def test_k6_taking_back_a_receipt_without_a_bill_gives_every_coupon_back(
    open_till, shop, somchai, claim, show, runtime
):
    with runtime.transaction() as session:
        session.get_one(Coupon, shop.coupon.id).is_stackable = True
    page = open_till
    for place in range(2):
        look_for(page, show(somchai, claim(somchai)))
        expect(page.locator(".voucher")).to_have_count(place + 1)
    page.get_by_test_id("bill").fill("40")
    page.get_by_test_id("confirm").click()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_test_id("void").click()
    expect(page.get_by_test_id("void")).to_be_hidden()
    with runtime.database.read() as session:
        uses = session.scalars(select(Redemption)).all()
    assert [use.reversed_at is not None for use in uses] == [True, True]
    assert bills(runtime) == []


def test_fx06_a_sign_in_to_the_console_of_this_browser_does_not_stop_the_till(open_till, somchai):
    page = open_till
    page.context.clear_cookies(name="taem_session")  # as signing in does
    look_for(page, somchai.member_no)
    expect(page.get_by_test_id("who-name")).to_be_visible()


def test_k7_a_closed_till_shows_nothing_without_a_signal(open_till):
    page = open_till
    page.get_by_role("button", name="ออก").click()
    page.get_by_test_id("report").wait_for()
    assert page.evaluate("caches.match('/cashier').then((kept) => Boolean(kept))") is False


def test_k5_a_managers_pin_allows_one_bill_above_the_ceiling(open_till, manager, somchai, runtime):
    page = open_till
    page.reload()
    ring_up(page, somchai.member_no, "6000")
    page.get_by_test_id("approval-pin").fill("000000")
    page.get_by_test_id("approval-ok").click()
    page.get_by_test_id("approval-refusal").wait_for()
    page.get_by_test_id("approval-pin").fill(PIN)
    page.get_by_test_id("approval-ok").click()
    page.get_by_test_id("receipt").wait_for()
    with runtime.database.read() as session:
        approval = session.scalars(select(Approval)).one()
        assert (approval.manager_id, approval.over) == (manager.id, "operation")
    kept = page.evaluate("JSON.stringify(localStorage)")
    assert PIN not in kept
    assert session.scalar(select(func.count()).select_from(Purchase)) == 1


def test_k1_k2_one_screen_from_number_to_receipt_with_big_targets(open_till, somchai):
    page = open_till
    page.get_by_test_id("typed").fill("00020101021129370016A000000677010111011300668123456785802TH")
    page.get_by_test_id("find").click()
    page.get_by_test_id("notice").wait_for()
    assert "QR" in page.get_by_test_id("notice").inner_text()
    began = time.monotonic()
    ring_up(page, somchai.member_no, "250")
    page.get_by_test_id("receipt").wait_for()
    assert time.monotonic() - began < 10
    low = page.evaluate(
        """() => [...document.querySelectorAll("button, input:not([type=hidden]), select, a")]
          .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 44)
          .map((one) => one.outerHTML.slice(0, 80))"""
    )
    assert low == []
    for width in (390, 820):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
