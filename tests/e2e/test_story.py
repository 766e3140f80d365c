"""The main job, end to end: everything a newcomer does by hand after `make run`.

A friend joins in the chat, earns at the till, claims a coupon, uses it by QR, is thanked,
disappears for two months on the demo clock and is won back. Every tap goes through the phone page,
the member page and the till page in a real browser; nothing is called behind their backs.
"""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zxingcpp
from PIL import Image

from tests.processes import Processes
from tests.test_demo import Cafe, start_again

pytestmark = pytest.mark.e2e

DAY = 24 * 3600
WITHIN = 15_000  # milliseconds a page may take on a busy machine


@pytest.fixture(scope="module")
def cafe(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cafe]:
    """`make run` on a machine of its own, where the café has opened before."""
    processes = Processes(tmp_path_factory.mktemp("story"))
    try:
        yield start_again(run_folder, tmp_path_factory.mktemp("story-cafe") / "taem", processes)
    finally:
        processes.stop_all(politely=True)


class Story:
    """One customer's phone, the till, and the shop's clock."""

    def __init__(self, cafe: Cafe, new_page: Callable[..., Any], customer: str = "c2") -> None:
        self.cafe = cafe
        self.new_page = new_page
        self.customer = customer
        self.phone = new_page(viewport={"width": 1400, "height": 960})
        self.phone.set_default_timeout(WITHIN)
        self.phone.goto(f"http://127.0.0.1:{cafe.simulator_port}/")
        self.phone.get_by_test_id(f"customer-{customer}").click()
        self.till = new_page(viewport={"width": 430, "height": 900})
        self.till.set_default_timeout(WITHIN)

    # The phone

    def sees(self, text: str) -> None:
        self.phone.get_by_test_id("chat").get_by_text(text).last.wait_for(timeout=WITHIN)

    def says(self, text: str) -> None:
        self.phone.get_by_test_id("chat-input").fill(text)
        self.phone.get_by_test_id("send").click()

    def taps(self, label: str) -> None:
        self.phone.get_by_test_id("chat").get_by_text(label, exact=True).last.click()

    def messages(self) -> list[dict[str, Any]]:
        return list(self.cafe.ask(f"/sim/customers/{self.customer}")["messages"])  # type: ignore[index]

    def last_link(self) -> str:
        """The address behind the newest link in the chat, as this customer's phone opens it."""
        found = [uri for message in self.messages() for uri in uris(message["message"])]
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.cafe.simulator_port}/sim/customers/{self.customer}/open",
            json.dumps({"uri": found[-1]}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(json.load(answer)["url"])

    # The till

    def opens_the_till(self) -> None:
        self.till.goto(f"http://127.0.0.1:{self.cafe.port}/cashier")
        self.till.get_by_test_id("enrol-demo").click()
        self.till.get_by_text("นก", exact=True).click()
        self.till.get_by_test_id("pin").fill("246810")
        self.till.get_by_test_id("pin-open").click()
        self.till.get_by_test_id("typed").wait_for()

    def rings_up(self, typed: str, bill: str) -> None:
        self.till.get_by_test_id("typed").fill(typed)
        self.till.get_by_test_id("find").click()
        self.till.get_by_test_id("bill").fill(bill)

    def confirms(self) -> str:
        self.till.get_by_test_id("confirm").click()
        receipt = self.till.get_by_test_id("receipt")
        receipt.wait_for()
        text: str = receipt.inner_text()
        self.till.get_by_test_id("next").click()
        return text


def uris(part: Any) -> Iterator[str]:
    """Every link inside a LINE message."""
    if isinstance(part, dict):
        if part.get("type") == "uri":
            yield str(part["uri"])
        for value in part.values():
            yield from uris(value)
    elif isinstance(part, list):
        for value in part:
            yield from uris(value)


def read_qr(page: Any) -> str:
    """What a scanner in front of this screen reads."""
    picture = Image.open(io.BytesIO(page.screenshot()))
    found = zxingcpp.read_barcodes(picture.convert("L"))
    assert found, "no QR on the screen"
    return str(found[0].text)


@pytest.fixture(scope="module")
def story(cafe: Cafe, browser: Any) -> Iterator[Story]:
    contexts: list[Any] = []

    def new_page(**options: Any) -> Any:
        contexts.append(browser.new_context(locale="th-TH", **options))
        return contexts[-1].new_page()

    yield Story(cafe, new_page)
    for context in contexts:
        context.close()


def test_the_main_job_from_joining_to_being_won_back(story: Story):
    live_through(story)
    # One test: only a café that has lived through the story has something to tell.
    no_log_holds_a_secret_or_a_person(story)


def live_through(story: Story) -> None:
    # A friend becomes a member in the chat.
    story.phone.get_by_test_id("follow").click()
    story.sees("สมัครสมาชิกฟรี")
    story.taps("สมัครสมาชิกฟรี")
    story.phone.get_by_role("button", name="ยอมรับ", exact=True).click()
    story.phone.get_by_role("button", name="รับข่าวสาร", exact=True).click()
    story.sees("ชื่อ")
    story.says("มาลี รักกาแฟ")
    story.sees("เบอร์")
    story.says("๐๘๙-๘๗๖ ๕๔๓๒")
    story.sees("วันเกิด")
    story.says("29 ก.พ. 2543")
    story.sees("เลขสมาชิก")
    number = re.search(r"\b(\d{3}) (\d{3}) (\d{3})\b", json.dumps(story.messages()))
    assert number
    member_no = "".join(number.groups())

    # At the till: the phone is proven, points and a stamp are earned.
    story.opens_the_till()
    story.rings_up(member_no, "250")
    story.till.get_by_test_id("prove-phone").fill("089 876 5432")
    story.till.get_by_test_id("prove").click()
    story.till.get_by_test_id("prove").wait_for(state="hidden")
    story.till.get_by_test_id("bill").fill("250")
    receipt = story.confirms()
    assert "+10" in receipt
    assert "1/10" in receipt

    # In the chat: a coupon is claimed, and the thanks ride the free reply.
    story.says("คูปอง")
    story.sees("ยินดีที่ได้เจอกันครั้งแรก")
    story.phone.get_by_test_id("chat").get_by_text("รับคูปอง", exact=True).first.click()
    story.sees("รับคูปองแล้วค่ะ")
    story.taps("ใช้ที่ร้าน")
    story.sees("เปิดหน้านี้ที่เคาน์เตอร์")

    # The member page shows a QR; the till scans it, and the page turns to used.
    member = story.new_page(viewport={"width": 390, "height": 844}, device_scale_factor=2)
    member.set_default_timeout(WITHIN)
    member.goto(story.last_link())
    member.locator("img[src^='data:image'], canvas, svg.qr").first.wait_for()
    member.wait_for_timeout(500)
    code = read_qr(member)
    assert f":{story.cafe.port}/s/Q1." in code
    story.rings_up(code, "120")
    story.till.get_by_test_id("pay").wait_for()
    assert "100" in story.till.get_by_test_id("pay").inner_text()
    assert "−20" in story.confirms()
    member.get_by_text("ใช้แล้ว").first.wait_for()
    story.sees("ใช้คูปองเรียบร้อยแล้ว")

    # Replayed, the same code is worth nothing.
    story.till.get_by_test_id("typed").fill(code)
    story.till.get_by_test_id("find").click()
    story.till.get_by_test_id("notice").wait_for()

    # Two months of silence on the demo clock; then the shop writes, with a gift.
    before = len(story.messages())
    story.phone.get_by_test_id("clock-+60d").click()
    story.phone.get_by_test_id("chat").get_by_text("คิดถึงคุณ").or_(
        story.phone.get_by_test_id("chat").get_by_text("แวะมาอีกครั้งนะคะ")
    ).first.wait_for(timeout=300_000)
    assert len(story.messages()) > before

    # The gift is there to be used, and the ledger is clean.
    story.says("คูปอง")
    story.sees("คิดถึงนะ")


def no_log_holds_a_secret_or_a_person(story: Story) -> None:
    """FX16: what was typed, scanned and signed in the story above is in no log."""
    instance = story.cafe.folder / "instance"
    planted = [
        line.split("=", 1)[1]
        for line in (instance / "demo.env").read_text().splitlines()
        if "KEY" in line or "SECRET" in line or "TOKEN" in line
    ]
    planted += ["0898765432", "089 876 5432", "+66898765432", "มาลี", "/s/Q1.", "Q1."]
    planted += [part["userId"] for part in story.cafe.ask("/sim/state")["customers"]]  # type: ignore[index]
    logs = [path.read_text("utf-8", "replace") for path in instance.glob("*.log")]
    assert logs
    assert [one for one in planted for log in logs if one and one in log] == []
