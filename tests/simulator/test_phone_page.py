"""The phone page in a real browser, on a real simulator; the shop only notes its webhooks."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from tests.simulator.harness import LIFF_ID, Shop, Simulator, text, wait_until

playwright_api = pytest.importorskip("playwright.sync_api")
expect = playwright_api.expect

pytestmark = pytest.mark.e2e


class Phone:
    """The page as a person uses it; `troubles` are errors the browser reported."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.troubles: list[str] = []
        page.on("pageerror", self._note_error)
        page.on("console", self._note)
        page.goto(url)
        expect(self.get("shop-name")).not_to_be_empty()

    def put_down(self) -> None:
        """Leave the page as if it had never been used; the next test's has another address."""
        self.page.remove_listener("pageerror", self._note_error)
        self.page.remove_listener("console", self._note)
        for page in self.page.context.pages:
            if page is not self.page:
                page.close()
        self.page.unroute_all()
        self.page.context.clear_cookies()
        self.page.goto("about:blank")

    def get(self, name: str) -> Any:
        return self.page.get_by_test_id(name)

    def messages(self, sender: str) -> Any:
        return self.page.locator(f"[data-message-id][data-from={sender}]")

    @property
    def input(self) -> Any:
        return self.get("chat-input")

    def _note_error(self, error: Any) -> None:
        self.troubles.append(str(error))

    def _note(self, message: Any) -> None:
        # Pictures of the test's messages do not exist; everything else is a trouble.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.troubles.append(message.text)


SCREEN = {"viewport": {"width": 1280, "height": 900}}


@pytest.fixture(scope="module")
def screen(browser: Any) -> Iterator[Any]:
    """One page for all of these tests: a new one costs ten times what a visit does."""
    context = browser.new_context(**SCREEN, locale="th-TH", timezone_id="Asia/Bangkok")
    yield context.new_page()
    context.close()


@pytest.fixture
def open_phone(screen: Any) -> Iterator[Callable[[str], Phone]]:
    """`open_phone(url)` shows the phone page at this address, as on a new machine."""
    opened: list[Phone] = []

    def open_at(url: str) -> Phone:
        opened.append(Phone(screen, url))
        return opened[-1]

    yield open_at
    for phone in opened:
        phone.put_down()


@pytest.fixture
def phone(friend: str, simulator: Simulator, open_phone: Callable[[str], Phone]) -> Phone:
    """Shows c1, who is a friend of the shop."""
    return open_phone(simulator.url)


def bubble(size: str = "kilo", label: str = "รับคูปอง", **action: Any) -> dict[str, Any]:
    action = {"type": "postback", "label": label, "data": "coupons.claim?offer=1"} | action
    button = {"type": "button", "style": "primary", "action": action}
    return {
        "type": "bubble",
        "size": size,
        "body": {"type": "box", "layout": "vertical", "contents": [text("ลาเต้เย็น")]},
        "footer": {"type": "box", "layout": "vertical", "contents": [button]},
    }


def flex(contents: dict[str, Any]) -> dict[str, Any]:
    return {"type": "flex", "altText": "การ์ด", "contents": contents}


def with_quick_replies(words: str, *actions: dict[str, Any]) -> dict[str, Any]:
    items = [{"type": "action", "action": action} for action in actions]
    return text(words) | {"quickReply": {"items": items}}


def last_event(shop: Shop) -> Any:
    return shop.wait_for(1)[-1].events[-1]


# Showing


def test_shows_thai_text_as_it_was_sent(phone, simulator, friend):
    simulator.push(friend, text("ยินดีต้อนรับค่ะ ที่นี่มีน้ำแข็งไส"))
    shown = phone.messages("shop").last
    expect(shown.locator(".bubble")).to_have_text("ยินดีต้อนรับค่ะ ที่นี่มีน้ำแข็งไส")
    assert phone.page.evaluate("document.fonts.check('16px Sarabun')")


def test_shows_markup_as_plain_words(phone, simulator, friend):
    simulator.push(friend, text("<img src=x onerror='window.hit=1'><b>ฟรี</b>"))
    expect(phone.messages("shop").last).to_contain_text("<b>ฟรี</b>")
    assert phone.page.locator("[data-testid=chat] b").count() == 0
    assert phone.page.evaluate("window.hit") is None


def test_makes_links_of_web_addresses_only(phone, simulator, friend):
    simulator.push(friend, text("ดู https://example.com/a?b=1, แล้วก็ javascript:alert(1)"))
    links = phone.messages("shop").last.locator("a")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", "https://example.com/a?b=1")


def test_draws_the_bubbles_of_a_carousel_equally_high(phone, simulator, friend):
    tall = bubble(label="ปุ่ม")
    tall["body"]["contents"] *= 5
    simulator.push(friend, flex({"type": "carousel", "contents": [bubble(), tall, bubble()]}))
    bubbles = phone.messages("shop").last.get_by_test_id("flex-bubble")
    expect(bubbles).to_have_count(3)
    boxes = [bubbles.nth(number).bounding_box() for number in range(3)]
    assert {round(box["width"]) for box in boxes} == {260}
    assert len({round(box["height"]) for box in boxes}) == 1


def test_obeys_flex_shares_sizes_and_positions(phone, simulator, friend):
    narrow = {"type": "box", "layout": "vertical", "flex": 1, "contents": [text("1")]}
    wide = {"type": "box", "layout": "vertical", "flex": 3, "contents": [text("3")]}
    mark = {
        "type": "box",
        "layout": "vertical",
        "contents": [],
        "position": "absolute",
        "width": "30px",
        "height": "20px",
        "offsetTop": "5px",
        "offsetEnd": "7px",
        "backgroundColor": "#E23B3B",
    }
    row = {"type": "box", "layout": "horizontal", "contents": [narrow, wide, mark]}
    simulator.push(friend, flex({"type": "bubble", "size": "mega", "body": row}))
    drawn = phone.messages("shop").last.get_by_test_id("flex-bubble")
    expect(drawn).to_be_visible()
    whole = drawn.bounding_box()
    first, second, third = [
        drawn.locator(".fx-root > .fx-box").nth(number).bounding_box() for number in range(3)
    ]
    assert whole["width"] == 300
    assert (first["width"], second["width"]) == (65, 195)
    assert (third["width"], third["height"]) == (30, 20)
    assert third["y"] - whole["y"] == 5
    assert whole["x"] + whole["width"] - third["x"] - third["width"] == 7


def test_lets_no_foreign_style_into_flex(phone):
    message = flex(bubble())
    message["contents"]["body"]["backgroundColor"] = "url(http://127.0.0.1/x)"
    message["contents"]["body"]["paddingAll"] = "1px;position:fixed"
    show_instead(phone, message)
    style = phone.page.locator(".fx-body > .fx-box").get_attribute("style") or ""
    assert "url" not in style
    assert "fixed" not in style


@pytest.mark.parametrize(
    "message, words",
    [
        ({"type": "sticker", "packageId": "446", "stickerId": "1988"}, "446/1988"),
        (
            {
                "type": "location",
                "title": "ร้านกาแฟแต้มดี",
                "address": "สยาม",
                "latitude": 13.7,
                "longitude": 100.5,
            },
            "สยาม",
        ),
        (
            {
                "type": "audio",
                "originalContentUrl": "https://127.0.0.1/a.m4a",
                "duration": 63_000,
            },
            "1:03",
        ),
        ({"type": "textV2", "text": "สวัสดี {{แต้ม}}"}, "สวัสดี {แต้ม}"),
    ],
)
def test_shows_other_kinds_readably(phone, simulator, friend, message, words):
    simulator.push(friend, message)
    expect(phone.messages("shop").last).to_contain_text(words)


def test_says_so_when_a_message_cannot_be_shown(phone):
    show_instead(phone, {"type": "hologram"})
    expect(phone.messages("shop")).to_contain_text("ข้อความชนิด hologram")


def test_shows_the_sender_a_message_names(phone, simulator, friend):
    simulator.push(friend, text() | {"sender": {"name": "น้องแต้ม"}})
    expect(phone.messages("shop").last).to_contain_text("น้องแต้ม จาก ร้านกาแฟแต้มดี")


def test_reports_no_trouble_while_showing_a_full_chat(phone, simulator, friend):
    picture = {"type": "image", "url": "https://127.0.0.1/p.png", "size": "full"}
    hero = bubble() | {"hero": picture}
    gradient = {"type": "linearGradient", "angle": "90deg"}
    hero["body"]["background"] = gradient | {"startColor": "#112233", "endColor": "#445566"}
    simulator.push(
        friend, flex(hero), with_quick_replies("เลือก", {"type": "location", "label": "ที่อยู่"})
    )
    simulator.act("c1", "sticker")
    simulator.act("c1", "image")
    expect(phone.messages("customer")).to_have_count(2)
    assert phone.troubles == []


# Tapping


def test_sends_typed_text_as_a_message(phone, shop):
    phone.input.fill("แต้ม")
    phone.input.press("Enter")
    expect(phone.messages("customer")).to_contain_text("แต้ม")
    expect(phone.input).to_have_value("")
    assert last_event(shop)["message"]["text"] == "แต้ม"


def test_taps_a_flex_button_once_although_the_card_is_tappable_too(phone, simulator, friend, shop):
    card = bubble(displayText="รับคูปองลาเต้") | {
        "action": {"type": "message", "label": "การ์ด", "text": "ทั้งการ์ด"}
    }
    simulator.push(friend, flex(card))
    phone.get("flex-button").click()
    expect(phone.messages("customer")).to_contain_text("รับคูปองลาเต้")
    assert last_event(shop)["postback"] == {"data": "coupons.claim?offer=1"}
    assert len(shop.events) == 1


def test_taps_a_card_by_keyboard(phone, simulator, friend, shop):
    card = bubble() | {"action": {"type": "message", "label": "การ์ด", "text": "ทั้งการ์ด"}}
    simulator.push(friend, flex(card))
    phone.get("flex-bubble").press("Enter")
    assert last_event(shop)["message"]["text"] == "ทั้งการ์ด"


def test_offers_quick_replies_of_the_last_message_only(phone, simulator, friend, shop):
    yes = {"type": "message", "label": "ยอมรับ", "text": "ยอมรับ"}
    simulator.push(friend, with_quick_replies("ตกลงไหม", yes))
    phone.get("quick-reply").click()
    assert last_event(shop)["message"]["text"] == "ยอมรับ"
    expect(phone.get("quick-replies")).to_be_hidden()
    simulator.push(friend, with_quick_replies("อีกครั้ง", yes), text("ข้อความหลังสุด"))
    expect(phone.messages("shop").last).to_contain_text("ข้อความหลังสุด")
    expect(phone.get("quick-replies")).to_be_hidden()


def test_drags_a_carousel_without_tapping_its_buttons(phone, simulator, friend, shop):
    simulator.push(friend, flex({"type": "carousel", "contents": [bubble()] * 4}))
    row = phone.get("flex-carousel")
    box = row.get_by_test_id("flex-button").first.bounding_box()
    mouse = phone.page.mouse
    mouse.move(box["x"] + 200, box["y"] + 20)
    mouse.down()
    mouse.move(box["x"] + 20, box["y"] + 20, steps=5)
    mouse.up()
    assert row.evaluate("row => row.scrollLeft") > 100
    phone.input.fill("จบ")
    phone.get("send").click()
    assert [event["type"] for event in shop.wait_for(1)[0].events] == ["message"]


def test_sends_the_chosen_day_within_its_limits(phone, simulator, friend, shop):
    pick = {"type": "datetimepicker", "label": "วันเกิด", "data": "members.birthday"}
    pick |= {"mode": "date", "initial": "1990-01-01", "min": "1900-01-01", "max": "2026-01-01"}
    simulator.push(friend, with_quick_replies("วันเกิดวันไหนคะ", pick))
    phone.get("quick-reply").click()
    chosen = phone.get("moment-input")
    expect(chosen).to_have_value("1990-01-01")
    expect(chosen).to_have_attribute("max", "2026-01-01")
    chosen.fill("1995-05-04")
    phone.get("moment-send").click()
    expected = {"data": "members.birthday", "params": {"date": "1995-05-04"}}
    assert last_event(shop)["postback"] == expected


def test_sends_a_drawn_sticker(phone, shop):
    phone.get("send-sticker").click()
    phone.get("sticker-446-1988").click()
    expect(phone.messages("customer")).to_contain_text("446/1988")
    assert last_event(shop)["message"]["stickerId"] == "1988"


def test_taps_the_areas_of_an_imagemap(phone, simulator, friend, shop):
    area = {"x": 0, "y": 0, "width": 520, "height": 520}
    simulator.push(
        friend,
        {
            "type": "imagemap",
            "baseUrl": "https://127.0.0.1/map",
            "altText": "โปร",
            "baseSize": {"width": 1040, "height": 520},
            "actions": [{"type": "message", "text": "ซ้าย", "area": area}],
        },
    )
    phone.get("imagemap").locator("[role=button]").click()
    assert last_event(shop)["message"]["text"] == "ซ้าย"


def test_taps_the_buttons_of_a_template(phone, simulator, friend, shop):
    choices = [{"type": "message", "label": word, "text": word} for word in ("ใช่", "ไม่")]
    confirm = {"type": "confirm", "text": "ใช้คูปองเลยไหม", "actions": choices}
    simulator.push(friend, {"type": "template", "altText": "ยืนยัน", "template": confirm})
    phone.get("template-action").get_by_text("ใช่").click()
    assert last_event(shop)["message"]["text"] == "ใช่"


def test_puts_the_text_of_a_chat_link_into_the_input(phone, simulator, friend, shop):
    link = "https://line.me/R/oaMessage/%40taem/?%E0%B9%82%E0%B8%84%E0%B9%89%E0%B8%94%20A1"
    simulator.push(friend, text(link))
    phone.messages("shop").last.locator("a").click()
    expect(phone.input).to_have_value("โค้ด A1")
    assert shop.received == []


@pytest.mark.parametrize("uri", ["javascript:window.hit=1", "data:text/html,x", "file:///etc/x"])
def test_opens_no_link_of_a_foreign_scheme(phone, uri):
    show_instead(phone, flex(bubble(type="uri", uri=uri)))
    phone.get("flex-button").click()
    expect(phone.get("toast")).to_contain_text("เปิดไม่ได้")
    assert len(phone.page.context.pages) == 1
    assert phone.page.evaluate("window.hit") is None


# The rich menu


@pytest.fixture
def menus(simulator: Simulator) -> list[str]:
    """Two tabs that lead to each other; the first is everybody's default."""
    ids = []
    for number in (0, 1):
        switch = {"type": "richmenuswitch", "richMenuAliasId": f"tab-{1 - number}", "data": "tab"}
        points = {"type": "postback", "label": "แต้มของฉัน", "data": "points.show"}
        body = {
            "size": {"width": 1200, "height": 800},
            "selected": True,
            "name": f"menu {number}",
            "chatBarText": "เมนูสมาชิก",
            "areas": [
                {"bounds": {"x": 0, "y": 0, "width": 1200, "height": 200}, "action": switch},
                {"bounds": {"x": 0, "y": 200, "width": 600, "height": 600}, "action": points},
            ],
        }
        ids.append(simulator.line("POST", "/v2/bot/richmenu", body).json["richMenuId"])
        picture = BytesIO()
        Image.new("RGB", (1200, 800), ("#0f7a4d", "#7a4a21")[number]).save(picture, "PNG")
        headers = {"Content-Type": "image/png"}
        path = f"/v2/bot/richmenu/{ids[-1]}/content"
        assert simulator.line("POST", path, picture.getvalue(), headers=headers).status == 200
        alias = {"richMenuAliasId": f"tab-{number}", "richMenuId": ids[-1]}
        assert simulator.line("POST", "/v2/bot/richmenu/alias", alias).status == 200
    simulator.line("POST", f"/v2/bot/user/all/richmenu/{ids[0]}")
    return ids


def test_opens_a_selected_menu_and_taps_its_areas(menus, phone, shop):
    area = phone.get("menu-area-1")
    expect(area).to_have_attribute("aria-label", "แต้มของฉัน")
    box, menu = area.bounding_box(), phone.get("rich-menu").bounding_box()
    assert box["width"] / menu["width"] == pytest.approx(0.5, abs=0.02)
    area.click()
    assert last_event(shop)["postback"]["data"] == "points.show"


def test_switches_tabs_and_tells_the_shop(menus, phone, shop):
    phone.get("menu-area-0").click()
    shown = phone.page.locator(f"[data-menu-id={menus[1]}]")
    expect(shown).to_be_visible()
    params = {"newRichMenuAliasId": "tab-1", "status": "SUCCESS"}
    assert last_event(shop)["postback"] == {"data": "tab", "params": params}


def test_closes_and_opens_the_menu_by_its_bar(menus, phone):
    bar = phone.get("menu-bar")
    expect(bar).to_contain_text("เมนูสมาชิก")
    bar.press("Enter")
    expect(phone.get("rich-menu")).to_be_hidden()
    bar.press("Enter")
    expect(phone.get("rich-menu")).to_be_visible()


def test_obeys_the_input_option_of_a_postback(menus, phone, simulator, friend):
    option = {"inputOption": "openKeyboard", "fillInText": "โค้ด "}
    simulator.push(friend, flex(bubble(**option)))
    expect(phone.get("rich-menu")).to_be_visible()
    phone.get("flex-button").click()
    expect(phone.get("rich-menu")).to_be_hidden()
    expect(phone.input).to_be_focused()
    expect(phone.input).to_have_value("โค้ด ")


# Live


def test_shows_loading_dots_until_the_answer_comes(phone, simulator, friend):
    body = {"chatId": friend, "loadingSeconds": 20}
    simulator.line("POST", "/v2/bot/chat/loading/start", body)
    expect(phone.get("loading")).to_be_visible()
    simulator.push(friend, text("เสร็จแล้วค่ะ"))
    expect(phone.messages("shop").last).to_contain_text("เสร็จแล้วค่ะ")
    expect(phone.get("loading")).to_be_hidden()


def test_marks_what_another_customer_has_not_read(phone, simulator):
    simulator.act("c2", "follow")
    simulator.push(simulator.user_id("c2"), text("ถึงมาลี"))
    expect(phone.get("unread-c2")).to_have_text("1")
    phone.get("customer-c2").click()
    expect(phone.messages("shop")).to_contain_text("ถึงมาลี")
    expect(phone.get("unread-c2")).to_be_hidden()


def test_follows_new_messages_and_keeps_the_place_of_a_reader(phone, simulator, friend):
    for number in range(5):
        simulator.push(friend, *[text(f"ข้อความ {number}\n\n\n\n") for _ in range(5)])
    expect(phone.messages("shop")).to_have_count(25)
    place = "document.querySelector('#chat-scroll')"
    distance = f"{place}.scrollHeight - {place}.clientHeight - {place}.scrollTop"
    assert phone.page.evaluate(distance) < 2
    phone.page.evaluate(f"{place}.scrollTop = 100")
    simulator.push(friend, text("ล่าสุด"))
    expect(phone.get("newer")).to_be_visible()
    assert phone.page.evaluate(f"{place}.scrollTop") == 100
    phone.get("newer").click()
    expect(phone.messages("shop").last).to_be_in_viewport()


def test_draws_no_message_twice(phone, simulator, friend):
    simulator.push(friend, flex(bubble()))
    first = phone.get("flex-bubble")
    expect(first).to_be_visible()
    first.evaluate("node => { node.isTheSame = true; }")
    simulator.push(friend, text("อีกข้อความ"))
    expect(phone.messages("shop")).to_have_count(2)
    assert first.evaluate("node => node.isTheSame")


def test_catches_up_after_the_line_was_lost(phone, simulator, friend):
    phone.page.route("**/sim/stream", lambda route: route.abort())
    phone.page.reload()
    expect(phone.page.locator("#link-lost")).to_be_visible()
    simulator.push(friend, text("ระหว่างที่หลุด"))
    phone.page.wait_for_timeout(500)
    assert phone.messages("shop").count() == 0
    phone.page.unroute("**/sim/stream")
    expect(phone.messages("shop")).to_contain_text("ระหว่างที่หลุด", timeout=15_000)
    expect(phone.page.locator("#link-lost")).to_be_hidden()


# Customers


def test_blocks_and_unblocks(phone, simulator, friend, shop):
    phone.get("block").click()
    expect(phone.get("friend-banner")).to_contain_text("บล็อก")
    expect(phone.input).to_be_disabled()
    assert last_event(shop)["type"] == "unfollow"
    phone.get("unblock").click()
    expect(phone.input).to_be_enabled()
    wait_until(lambda: shop.events[-1]["type"] == "follow")
    assert shop.events[-1]["follow"] == {"isUnblocked": True}


def test_adds_a_customer_who_joins(phone, shop):
    phone.get("customer-add").click()
    phone.get("new-customer-name").fill("นก แคชเชียร์")
    phone.get("new-customer-save").click()
    expect(phone.get("customer-c4")).to_contain_text("นก แคชเชียร์")
    phone.get("banner-follow").click()
    expect(phone.get("friend-banner")).to_be_hidden()
    assert last_event(shop)["type"] == "follow"


def test_renames_a_customer_while_messages_arrive(phone, simulator, friend):
    phone.get("customer-name").fill("สมชาย คนใหม่")
    simulator.push(friend, text("ระหว่างพิมพ์"))
    expect(phone.messages("shop")).to_have_count(1)
    expect(phone.get("customer-name")).to_have_value("สมชาย คนใหม่")
    phone.get("customer-save").click()
    expect(phone.get("customer-c1")).to_contain_text("สมชาย คนใหม่")


# The panel beside the phone


def test_leads_to_cashier_and_console(phone, shop):
    expect(phone.get("link-cashier")).to_have_attribute("href", f"{shop.url}/cashier")
    expect(phone.get("link-console")).to_have_attribute("href", f"{shop.url}/admin")


def test_moves_the_shops_clock(phone, shop):
    phone.get("clock-+1d").click()
    expect(phone.get("clock-report")).to_contain_text("เลื่อนเวลาแล้ว")
    assert shop.clock_moves == [{"advance": 86_400}]


def test_walks_through_a_year_week_by_week(phone, shop):
    phone.get("clock-+1y").click()
    expect(phone.get("clock-report")).to_contain_text("เลื่อนเวลาแล้ว", timeout=60_000)
    assert [move["advance"] for move in shop.clock_moves] == [7 * 86_400] * 52 + [86_400]


def test_a_long_walk_shows_how_far_it_is_and_can_be_stopped(phone, shop):
    shop.clock_seconds = 0.3
    phone.get("clock-+1y").click()
    expect(phone.get("clock-report")).to_contain_text("7 จาก 365 วัน")
    expect(phone.get("clock-progress")).to_have_attribute("max", str(365 * 86_400))
    phone.get("clock-stop").click()
    expect(phone.get("clock-report")).to_contain_text("หยุดเมื่อเลื่อนไปได้")
    expect(phone.get("clock-+1y")).to_be_enabled()
    moved = len(shop.clock_moves)
    assert 0 < moved < 52
    expect(phone.get("clock-report")).to_contain_text(f"{moved * 7} จาก 365 วัน")


def test_says_when_the_shop_does_not_answer(phone, shop):
    shop.stop()
    phone.get("clock-+7d").click()
    expect(phone.get("toast")).to_contain_text("ไม่สำเร็จ")
    expect(phone.get("clock-+7d")).to_be_enabled()


def test_switches_faults_and_shows_those_switched_elsewhere(phone, simulator):
    simulator.faults(webhook_reorder=True, extra_token="abc")
    expect(phone.get("fault-webhook_reorder")).to_be_checked()
    expect(phone.get("fault-extra_token")).to_be_checked()
    phone.get("fault-group-sending").locator("summary").click()
    phone.get("fault-push").select_option("429month")
    wait_until(lambda: simulator.world.faults.values.get("push") == "429month")
    phone.get("faults-clear").click()
    expect(phone.get("fault-webhook_reorder")).not_to_be_checked()
    assert simulator.world.faults.values == {}


def test_sends_the_last_webhook_again(phone, shop):
    phone.input.fill("ครั้งเดียว")
    phone.get("send").click()
    shop.wait_for(1)
    phone.get("webhook-last").click()
    expect(phone.get("toast")).to_contain_text("ส่งซ้ำแล้ว 1")
    first, again = (one.events[0] for one in shop.wait_for(2))
    assert again["deliveryContext"] == {"isRedelivery": True}
    assert again["webhookEventId"] == first["webhookEventId"]


def test_counts_webhooks_that_nobody_took(phone, shop):
    shop.answers = [500] * 30
    phone.input.fill("มีใครอยู่ไหม")
    phone.get("send").click()
    expect(phone.get("webhook-pending")).to_contain_text("1 รายการ")


def test_starts_over_only_when_told_twice(phone, simulator, friend):
    simulator.sim("POST", "/clock", {"advance": 86_400})
    simulator.push(friend, text("จะหายไป"))
    expect(phone.messages("shop")).to_have_count(1)
    phone.get("reset").click()
    expect(phone.messages("shop")).to_have_count(1)
    phone.get("reset-go").click()
    expect(phone.page.locator("[data-message-id]")).to_have_count(0)
    expect(phone.get("friend-banner")).to_contain_text("ยังไม่อยู่ในรายชื่อเพื่อน")
    assert simulator.state["clockOffsetSeconds"] == 86_400, "the shop has not gone back either"


def test_speaks_english_when_asked(phone):
    expect(phone.get("send")).to_have_attribute("aria-label", "ส่ง")
    phone.get("language").click()
    expect(phone.get("send")).to_have_attribute("aria-label", "Send")
    expect(phone.get("clock-+30d")).to_have_text("+30 days")
    phone.page.reload()
    expect(phone.get("send")).to_have_attribute("aria-label", "Send")


def test_fits_a_narrow_screen_with_panels_in_drawers(friend, simulator, new_page):
    phone = Phone(new_page(viewport={"width": 390, "height": 780}), simulator.url)
    expect(phone.input).to_be_in_viewport()
    expect(phone.get("customer-c2")).not_to_be_visible()
    phone.get("drawer-customers").click()
    phone.get("customer-c2").click()
    expect(phone.get("customer-c2")).not_to_be_visible()
    phone.get("drawer-controls").click()
    expect(phone.get("clock-+1h")).to_be_in_viewport()
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390


# Member pages


class MemberSite:
    """Stands for the shop's member pages: a Lax session cookie and the stand-in LIFF script."""

    def __init__(self) -> None:
        self.script = ""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._answer("{}", "application/json")

            def do_GET(self) -> None:
                who = self.headers["Host"].split(":")[0]
                cookie = self.headers["Cookie"] or "none"
                page = (
                    f"<p id=who>{who}</p><p id=cookie>{cookie}</p><a id=next href=/m/next>ต่อ</a>"
                    f"<script src='{site.script}'></script>"
                    "<button id=close onclick='liff.closeWindow()'>ปิด</button>"
                    "<button id=escape onclick='top.location.href=\"/away\"'>หนี</button>"
                )
                self._answer(page, "text/html; charset=utf-8", who)

            def _answer(self, body: str, kind: str, who: str = "") -> None:
                raw = body.encode()
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(raw)))
                if who:
                    self.send_header("Set-Cookie", f"taem=of-{who}; Path=/; HttpOnly; SameSite=Lax")
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *args: Any) -> None:
                """The page shows what matters."""

        return Handler


@pytest.fixture
def site() -> Iterator[MemberSite]:
    site = MemberSite()
    yield site
    site.stop()


@pytest.fixture
def member_phone(
    site: MemberSite,
    start_simulator: Callable[..., Simulator],
    open_phone: Callable[[str], Phone],
) -> Phone:
    """A phone whose shop has member pages, with a card that opens one."""
    simulator = start_simulator(taem_url=site.url)
    site.script = f"{simulator.url}/liff/sdk.js"
    for customer in ("c1", "c2"):
        simulator.act(customer, "follow")
        open_it = {"type": "uri", "label": "เปิด", "uri": f"https://liff.line.me/{LIFF_ID}/card"}
        card = bubble()
        card["footer"]["contents"][0]["action"] = open_it
        simulator.push(simulator.user_id(customer), flex(card))
    return open_phone(simulator.url)


def test_opens_member_pages_signed_in_as_each_customer(member_phone):
    inside = member_phone.page.frame_locator("[data-testid=webview-frame]")
    for customer in ("c1", "c2"):
        member_phone.get(f"customer-{customer}").click()
        member_phone.get("flex-button").click()
        expect(inside.locator("#who")).to_have_text(f"{customer}.localhost")
        inside.locator("#next").click()
        expect(inside.locator("#cookie")).to_have_text(f"taem=of-{customer}.localhost")
        member_phone.get("sheet-close").click()


def test_lets_a_member_page_close_itself(member_phone):
    member_phone.get("flex-button").click()
    member_phone.page.frame_locator("[data-testid=webview-frame]").locator("#close").click()
    expect(member_phone.get("webview")).to_be_hidden()


def test_keeps_a_member_page_from_leading_the_phone_away(member_phone):
    member_phone.get("flex-button").click()
    inside = member_phone.page.frame_locator("[data-testid=webview-frame]")
    inside.locator("#escape").click()
    expect(inside.locator("#who")).to_have_text("c1.localhost")
    assert "/away" not in member_phone.page.url


def test_opens_member_pages_in_a_tab_when_told_to(member_phone):
    member_phone.get("setting-new-tab").check()
    with member_phone.page.expect_popup() as opened:
        member_phone.get("flex-button").click()
    expect(opened.value.locator("#who")).to_have_text("c1.localhost")


def show_instead(phone: Phone, message: dict[str, Any]) -> None:
    """Let c1's chat hold this one message, as no LINE would have accepted it."""

    def answer(route: Any) -> None:
        body = route.fetch().json()
        line = {"id": "m1", "from": "shop", "at": "2026-03-05T03:00:00.000Z", "message": message}
        words = json.dumps(body | {"messages": [line]})
        with suppress(playwright_api.Error):  # the page has been left meanwhile
            route.fulfill(body=words, content_type="application/json")

    phone.page.route("**/sim/customers/c1", answer)
    phone.page.reload()
    expect(phone.messages("shop")).to_have_count(1)
