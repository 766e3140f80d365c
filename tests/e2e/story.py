"""One customer's phone, the till and the console of a running demo, as the end-to-end tests use
them: every tap in a real browser."""

from __future__ import annotations

import io
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import zxingcpp
from PIL import Image

from tests.moments import BANGKOK
from tests.test_demo import Cafe

WITHIN = 15_000  # milliseconds a page may take on a busy machine


class Story:
    """One customer's phone, the till, and the shop's clock."""

    def __init__(self, cafe: Cafe, new_page: Callable[..., Any], customer: str) -> None:
        self.cafe = cafe
        self.new_page = new_page
        self.customer = customer
        self.phone = new_page(viewport={"width": 1400, "height": 960})
        self.phone.set_default_timeout(WITHIN)
        self.phone.goto(f"http://127.0.0.1:{cafe.simulator_port}/")
        self.phone.get_by_test_id(f"customer-{customer}").click()
        self.till = new_page(viewport={"width": 430, "height": 900})
        self.till.set_default_timeout(WITHIN)
        self.console = new_page(viewport={"width": 1280, "height": 900})
        self.console.set_default_timeout(WITHIN)

    # The phone

    def sees(self, text: str) -> None:
        self.phone.get_by_test_id("chat").get_by_text(text).last.wait_for(timeout=WITHIN)

    def says(self, text: str) -> None:
        self.phone.get_by_test_id("chat-input").fill(text)
        self.phone.get_by_test_id("send").click()

    def taps(self, label: str) -> None:
        self.phone.get_by_test_id("chat").get_by_text(label, exact=True).last.click()

    def joins(self, name: str, phone: str, born: str) -> str:
        """Becomes a member in the chat, and is happy to get news; returns the member number."""
        self.phone.get_by_test_id("follow").click()
        self.sees("สมัครสมาชิกฟรี")
        self.taps("สมัครสมาชิกฟรี")
        self.phone.get_by_role("button", name="ยอมรับ", exact=True).click()
        self.phone.get_by_role("button", name="รับข่าวสาร", exact=True).click()
        self.sees("ชื่อ")
        self.says(name)
        self.sees("เบอร์")
        self.says(phone)
        self.sees("วันเกิด")
        self.says(born)
        self.sees("เลขสมาชิก")
        number = re.search(r"\b(\d{3}) (\d{3}) (\d{3})\b", json.dumps(self.messages()))
        assert number
        return "".join(number.groups())

    def messages(self) -> list[dict[str, Any]]:
        return list(self.cafe.ask(f"/sim/customers/{self.customer}")["messages"])  # type: ignore[index]

    def last_link(self) -> str:
        """The address behind the newest link in the chat, as this customer's phone opens it."""
        found = [uri for message in self.messages() for uri in uris(message["message"])]
        opened = self._post(f"/sim/customers/{self.customer}/open", {"uri": found[-1]})
        return str(opened["url"])

    def until_daytime(self) -> None:
        """Move the shop's clock on, if need be, to an hour at which shops write."""
        shown = self.cafe.ask("/sim/state")["now"]  # type: ignore[index]
        now = datetime.fromisoformat(shown).astimezone(BANGKOK)
        if not 9 <= now.hour < 20:
            self._post("/sim/clock", {"advance": (10 - now.hour) % 24 * 3600})

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.cafe.simulator_port}{path}",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    # The console

    def opens_the_console(self) -> None:
        self.console.goto(f"http://127.0.0.1:{self.cafe.port}/admin/sign-in")
        self.console.locator("[name=email]").fill("owner@taem.example")
        self.console.locator("[name=password]").fill("kafae-ron-yen-2569")
        self.console.get_by_test_id("sign-in").click()
        self.console.wait_for_url(re.compile(r"/admin/?$"))

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
