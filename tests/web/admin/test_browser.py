"""The console in a real browser: by keyboard alone, with questions before grave acts, what was
typed kept, files with their progress, and the look that somebody chose."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy import select

from loyalty import conversations, people
from models.members import Member
from models.staff import ApiKey, Staff, StaffSession
from tests.moments import NOW
from tests.web.conftest import PASSWORD, PASSWORD_HASH

pytestmark = pytest.mark.e2e


@pytest.fixture
def engine_kind():
    """The browser makes no difference between the engines."""
    return "sqlite"


@pytest.fixture
def console(served, owner, new_page) -> Callable[..., Any]:
    """`console("/admin/members")` is that page, open for the owner."""

    def open_page(path: str, **options: Any) -> Any:
        page = new_page(**({"viewport": {"width": 1280, "height": 900}} | options))
        token = owner.client.get_cookie("taem_staff").value
        page.context.add_cookies([{"name": "taem_staff", "value": token, "url": served}])
        page.goto(f"{served}{path}")
        return page

    return open_page


@pytest.fixture
def key(runtime) -> str:
    """A key of till software that somebody may revoke."""
    with runtime.transaction() as session:
        people.create_api_key(session, "จุดขาย", list(people.API_SCOPES[:1]), now=NOW, actor="cli")
    return "จุดขาย"


def revoked(runtime) -> list[bool]:
    with runtime.database.read() as session:
        return [row.revoked_at is not None for row in session.scalars(select(ApiKey))]


def test_the_first_tab_leads_past_the_menu(console):
    page = console("/admin/members")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


def test_the_menu_of_a_phone_opens_and_closes_by_keyboard(console):
    page = console("/admin/members", viewport={"width": 390, "height": 800})
    button = page.locator(".menu-toggle")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_attribute("aria-expanded", "true")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#side a").first).to_be_focused()
    page.keyboard.press("Escape")
    expect(button).to_be_focused()
    expect(page.locator("#side")).to_be_hidden()


def test_a_list_is_sorted_and_its_columns_are_chosen_by_keyboard(console, somchai):
    page = console("/admin/members")
    page.get_by_role("link", name="แต้ม", exact=False).and_(page.locator("th a")).first.focus()
    page.keyboard.press("Enter")
    expect(page.locator('th[aria-sort="descending"]')).to_contain_text("แต้ม")
    box = page.locator(".list-tools summary").first
    box.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator('input[name="column"]').first).to_be_focused()
    page.keyboard.press("Escape")
    expect(box).to_be_focused()
    expect(page.locator('input[name="column"]').first).to_be_hidden()
    page.keyboard.press("Enter")
    page.locator('input[name="column"][value="level"]').press("Space")
    page.locator(".drop-body button").first.press("Enter")
    expect(page.locator("th", has_text="ระดับ")).to_have_count(0)
    assert "sort=points" in page.url


def test_what_cannot_be_taken_back_is_asked_first(console, runtime, key):
    page = console("/admin/api-keys")
    button = page.get_by_role("button", name="ยกเลิก").first
    button.press("Enter")
    dialog = page.locator("#confirm")
    expect(dialog).to_contain_text(key)
    expect(dialog.get_by_role("button", name="ไม่ใช่ตอนนี้")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    assert revoked(runtime) == [False]
    button.press("Enter")
    dialog.locator("[value=yes]").press("Enter")
    expect(page.get_by_role("status").first).to_be_visible()
    assert revoked(runtime) == [True]


def test_what_was_typed_stays_with_the_reason_beside_its_field(console, runtime):
    page = console("/admin/adjustments")
    field = page.locator('input[name="manager"]')
    page.locator('input[name="owner"]').fill("777")
    field.fill("มากหน่อย")
    field.press("Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("มากหน่อย")
    expect(page.locator('input[name="owner"]')).to_have_value("777")
    said = page.locator(f"#{field.get_attribute('aria-describedby')}")
    expect(said).to_be_visible()
    expect(field).to_be_focused()
    field.fill("500")
    expect(said).to_have_count(0)
    field.press("Enter")
    expect(page.locator(".alert-success")).to_be_visible()
    assert page.evaluate("sessionStorage.length") <= 1


def test_what_was_typed_waits_while_the_password_is_asked_for(console, runtime):
    page = console("/admin/privacy")
    part = page.locator("#marketing")
    part.get_by_text("เผยแพร่ฉบับใหม่").click()
    part.locator("textarea").first.fill("{name}")
    part.get_by_role("button").click()
    expect(part.get_by_role("alert")).to_be_visible()
    with runtime.transaction() as session:
        session.scalars(select(Staff)).one().password_hash = PASSWORD_HASH
        session.scalars(select(StaffSession)).one().created_at -= timedelta(hours=1)
    part.locator("textarea").first.fill("เราจะส่งข่าวที่คุณอยากอ่าน")
    part.locator('input[name="asks_again"]').uncheck()
    part.get_by_role("button").click()
    field = page.locator('input[name="password"]')
    field.fill("ผิดแน่นอน")
    field.press("Enter")
    expect(page.get_by_role("alert")).to_be_visible()
    field.fill(PASSWORD)
    field.press("Enter")
    expect(part.locator("textarea").first).to_have_value("เราจะส่งข่าวที่คุณอยากอ่าน")
    expect(part.locator("textarea").first).to_be_visible()
    expect(part.locator('input[name="asks_again"]')).not_to_be_checked()
    part.get_by_role("button").click()
    expect(page.locator(".alert-success")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_what_has_to_be_put_right_is_shown_although_its_kind_hides_it(console):
    page = console("/admin/offers/new")
    page.locator('input[name="name_th"]').fill("ลดยี่สิบ")
    page.locator('select[name="kind"]').select_option("percent_off")
    page.locator('input[name="percent"]').fill("มาก")
    page.locator('select[name="kind"]').select_option("baht_off")
    page.locator('input[name="value"]').fill("20")
    expect(page.locator('input[name="percent"]')).to_be_hidden()
    page.get_by_test_id("save").click()
    expect(page.locator('input[name="percent"]')).to_be_visible()
    expect(page.locator('label:has(input[name="percent"]) small[role=alert]')).to_be_visible()


def test_fx06_opening_the_till_in_this_browser_loses_nothing_typed_in_the_console(console):
    page = console("/admin/campaigns/new")  # one of its fields is named "action"
    page.locator('input[name="name"]').fill("ฝนตก ลด 20")
    page.context.clear_cookies(name="taem_session")  # as a right PIN does
    page.get_by_test_id("save").click()
    expect(page.locator(".alert-danger").first).to_contain_text("หน้านี้เก่าแล้ว")
    expect(page.locator('input[name="name"]')).to_have_value("ฝนตก ลด 20")


def test_a_field_left_empty_says_so_beside_itself(console):
    page = console("/admin/api-keys")
    page.get_by_role("button", name="สร้าง").click()
    field = page.locator('input[name="name"]')
    expect(field).to_be_focused()
    expect(page.locator("#wrong-name")).to_be_visible()


def test_a_file_comes_with_its_progress(console, somchai):
    page = console("/admin/members")
    page.locator(".list-tools summary").nth(1).click()
    with page.expect_download() as download:
        page.get_by_test_id("xlsx").click()
    assert re.fullmatch(r"taem-members-.*\.xlsx", download.value.suggested_filename)
    expect(page.locator(".file-status")).to_contain_text("ได้ไฟล์แล้ว")


def test_an_open_chat_stays_where_somebody_reads_until_a_line_comes(console, runtime, somchai):
    def write(count: int) -> int:
        with runtime.transaction() as session:
            for _ in range(count):
                member = session.get_one(Member, somchai.id)
                chat = conversations.add_line(
                    session, runtime.vault, member, kind="text", text="ร้านเปิดกี่โมงคะ",
                    line_message_id=uuid.uuid4().hex, at=NOW, now=NOW,
                )  # fmt: skip
            session.flush()
            return chat.id

    def look() -> int:
        with page.expect_response("**part=1**"):
            page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(100)
        return page.evaluate("document.querySelector('.chat').scrollTop")

    page = console(f"/admin/conversations/{write(40)}")
    end = look()
    assert end > 100
    page.evaluate("document.querySelector('.chat').scrollTop = 50")
    assert look() == 50
    write(1)
    assert look() > end


def test_the_look_follows_the_system_until_the_switch_is_pressed(console, served):
    page = console("/admin/members", color_scheme="dark")
    look = "document.documentElement.dataset.bsTheme"
    assert page.evaluate(look) == "dark"
    page.locator("[data-look]").click()
    assert page.evaluate(look) == "light"
    for path in ("/admin", "/m/privacy", "/cashier/enrol"):
        page.goto(f"{served}{path}")
        assert page.evaluate(look) == "light"
    page.locator("[data-look]").click()
    assert page.evaluate(look) == "dark"
    page.emulate_media(color_scheme="light")
    # The system decides again.
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
