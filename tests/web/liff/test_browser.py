"""The member pages in a real browser: the moving code, the till's answer, and signing in again."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Response
from sqlalchemy import select

from loyalty import codes, coupons, doors, purchases
from models.coupons import Coupon, Voucher
from models.members import Member
from tests import factories
from tests.moments import BANGKOK, NOW
from tests.web.liff.conftest import LOGIN_CHANNEL, LOGIN_SECRET

pytestmark = pytest.mark.e2e

# LINE's script as seen from our page: it signs in, hands out a token, and counts what we ask.
FAKE_LIFF = """
window.calls = JSON.parse(sessionStorage.getItem("calls") || "[]");
const note = (what) => { calls.push(what); sessionStorage.setItem("calls", JSON.stringify(calls)); };
window.liff = {
  init: async () => note("init"),
  isLoggedIn: () => true,
  getIDToken: () => "%s",
  logout: () => note("logout"),
  login: (options) => { note("login"); location.replace(options.redirectUri); },
};
"""


@pytest.fixture
def settings(database_url):
    return factories.make_settings(
        database_url,
        line_login_channel_id=LOGIN_CHANNEL,
        line_login_channel_secret=LOGIN_SECRET,
        liff_id=f"{LOGIN_CHANNEL}-AbcdEfgh",
        liff_sdk_url="http://127.0.0.1:1/liff.js",
    )


@pytest.fixture
def engine_kind():
    """The browser makes no difference between the engines."""
    return "sqlite"


@pytest.fixture
def voucher(runtime, somebody):
    """A voucher of แพรว's, her session, and the branch she is at."""
    member = somebody("แพรว")
    with runtime.transaction() as session:
        factories.make_coupon(session, "offer")
        branch = factories.make_branch(session)
        offer = session.scalars(select(Coupon)).one()
        mine = coupons.claim(session, offer.id, session.get(Member, member.id), NOW, BANGKOK)
        token = doors.open_session(session, member, "link", NOW)
    return mine, token, branch


def sign_in(page: Any, address: str, token: str) -> None:
    page.context.add_cookies([{"name": "taem_member", "value": token, "url": address}])


def test_the_page_shows_a_code_then_held_then_used(page, served, runtime, voucher):
    mine, token, branch = voucher
    sign_in(page, served, token)
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(f"{served}/m/coupons/{mine.public_id}")
    page.locator("[data-picture]").wait_for(state="visible")
    assert page.locator("[data-clock]").inner_text().count(":") == 2
    with runtime.transaction() as session:
        code = codes.make_code(
            session, runtime.settings.secret_key, "redeem", mine.member_id, voucher_id=mine.id,
            real_now=NOW,
        )  # fmt: skip
        parsed = codes.parse(runtime.settings.secret_key, code)
        codes.scan(session, parsed, "device:1", NOW, NOW)
    page.locator("[data-held]").wait_for(state="visible")
    assert not page.locator("[data-picture]").is_visible()
    with runtime.transaction() as session:
        codes.redeem(
            session, parsed=parsed, holder="device:1", branch=session.merge(branch),
            bill_satang=10000, operation_id="r", now=NOW, real_now=NOW, tz=BANGKOK,
        )  # fmt: skip
    page.locator("[data-result]").wait_for(state="visible")
    assert "ใช้แล้ว" in page.locator("[data-result]").inner_text()
    assert "ลดไป 20 บาท" in page.locator("[data-result]").inner_text()
    assert complaints == []
    with runtime.database.read() as session:
        assert session.get(Voucher, mine.id).state == "redeemed"


def test_a_released_hold_brings_a_fresh_code(page, served, runtime, voucher):
    mine, token, _ = voucher
    with runtime.transaction() as session:
        code = codes.make_code(
            session, runtime.settings.secret_key, "redeem", mine.member_id, voucher_id=mine.id,
            real_now=NOW,
        )  # fmt: skip
        hold = codes.scan(
            session, codes.parse(runtime.settings.secret_key, code), "device:1", NOW, NOW
        )
    sign_in(page, served, token)
    page.goto(f"{served}/m/coupons/{mine.public_id}")
    page.locator("[data-held]").wait_for(state="visible")
    with runtime.transaction() as session:
        assert codes.release(session, hold.hold_id, "device:1", NOW)
    page.locator("[data-picture]").wait_for(state="visible")


def with_liff(page: Any, token: str) -> list[str]:
    """Serve LINE's script; returns the posts our page makes to sign in, as they come."""
    page.route("**/liff.js", lambda route: route.fulfill(
        body=FAKE_LIFF % token, content_type="text/javascript"
    ))  # fmt: skip
    posts: list[str] = []
    page.on(
        "request",
        lambda request: (
            posts.append(request.url) if request.url.endswith("/liff/session") else None
        ),
    )
    return posts


def test_FQ05_an_old_token_is_tried_again_once_and_then_helped(page, served):
    posts = with_liff(page, "old.token.stuck")
    page.goto(f"{served}/m/points")
    page.locator("[data-help]").wait_for(state="visible")
    page.wait_for_timeout(1000)
    assert len(posts) == 2
    calls = page.evaluate("window.calls")
    assert calls == ["init", "logout", "login", "init"]
    assert "กลับไปที่แชท" in page.locator("[data-help]").inner_text()


def test_a_good_token_leads_to_the_page_that_was_asked_for(page, served, somebody):
    from tests.web.liff.test_session import id_token

    somebody("แพรว")
    posts = with_liff(page, id_token("แพรว"))
    page.goto(f"{served}/m/points")
    page.locator(".sum-figure").wait_for(state="visible")
    assert (len(posts), page.url) == (1, f"{served}/m/points")


def test_without_lines_script_there_is_help(page, served):
    page.route("**/liff.js", lambda route: route.abort())
    page.goto(f"{served}/m/points")
    page.locator("[data-help]").wait_for(state="visible")


def test_a_session_that_ends_under_an_open_page_leads_to_the_sign_in(
    page, served, runtime, voucher
):
    mine, token, _ = voucher
    sign_in(page, served, token)
    with_liff(page, "old.token.stuck")
    page.goto(f"{served}/m/coupons/{mine.public_id}")
    page.locator("[data-picture]").wait_for(state="visible")
    with runtime.transaction() as session:
        doors.close_session(session, token, NOW)
    page.locator("[data-help]").wait_for(state="visible", timeout=15_000)


def test_a_doubled_tap_on_a_chat_links_button_opens_its_page(page, served, runtime, somebody):
    member = somebody("แพรว")
    with runtime.transaction() as session:
        token = doors.make_link(session, member, "/m/points", NOW)
    sent: list[str] = []

    def slowly(route: Any) -> None:
        if route.request.method == "POST":
            sent.append(route.request.url)
            answer = route.fetch()
            page.wait_for_timeout(600)
            route.fulfill(response=answer)
        else:
            route.continue_()

    page.route("**/l/*", slowly)
    page.goto(f"{served}/l/{token}")
    # The second tap comes when the first has burned the link and its page has not come.
    page.evaluate(
        """() => {
          const button = document.querySelector("form .button");
          button.click();
          setTimeout(() => button.click(), 200);
        }"""
    )
    page.locator(".sum-figure").wait_for(state="visible")
    assert len(sent) == 1


def test_r3_points_are_spent_after_the_question_even_before_the_pages_script(
    page, served, runtime, somebody
):
    member = somebody("แพรว")
    with runtime.transaction() as session:
        factories.make_policy(session)
        factories.make_coupon(session, "latte", obtained="points", price_points=10)
        purchases.record_purchase(
            session, member_id=member.id, branch=factories.make_branch(session),
            amount_satang=50000, operation_id="1", now=NOW, tz=BANGKOK,
        )  # fmt: skip
        sign_in(page, served, doors.open_session(session, member, "link", NOW))
    held: list[Any] = []
    answers, asked = ["no", "yes"], []

    def answer(dialog: Any) -> None:
        asked.append(dialog.message)
        if answers.pop(0) == "yes":
            dialog.accept()
        else:
            dialog.dismiss()

    def bought() -> int:
        with runtime.database.read() as session:
            return len(session.scalars(select(Voucher)).all())

    page.on("dialog", answer)
    page.route("**/member.js*", lambda script: held.append(script))  # noqa: PLW0108
    page.goto(f"{served}/m/rewards", wait_until="commit")
    page.locator("button.ticket-go").click()
    page.wait_for_timeout(300)
    assert (len(asked), bought()) == (1, 0)
    held[0].continue_()
    page.wait_for_load_state()
    page.locator("button.ticket-go").click()
    page.wait_for_url("**/m/coupons**")
    assert (len(asked), bought()) == (2, 1)


def test_FX01_no_script_of_a_strangers_name_runs(page, served, runtime, voucher):
    mine, token, _ = voucher
    with runtime.transaction() as session:
        session.get(Member, mine.member_id).name = "<img src=x onerror=alert(1)>"
    sign_in(page, served, token)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.message) or dialog.dismiss())
    for path in ("home", "card", "me"):
        page.goto(f"{served}/m/{path}")
        page.wait_for_timeout(200)
    assert dialogs == []


def test_control_the_script_of_the_test_is_what_is_served(served, app):
    """Without the route above, LINE's script would not load: the page names another address."""
    answer: Response = app.test_client().get("/m/points")
    assert "http://127.0.0.1:1/liff.js" in answer.text
