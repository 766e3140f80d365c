"""The main job, end to end: everything a newcomer does by hand after `make run`.

A friend joins in the chat, earns at the till, claims a coupon, uses it by QR, is thanked,
disappears for two months on the demo clock and is won back. Every tap goes through the phone page,
the member page and the till page in a real browser; nothing is called behind their backs.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.story import WITHIN, Story, read_qr

pytestmark = pytest.mark.e2e


def test_the_main_job_from_joining_to_being_won_back(story_of: Callable[[str], Story]):
    story = story_of("c2")
    live_through(story)
    # One test: only a café that has lived through the story has something to tell.
    no_log_holds_a_secret_or_a_person(story)


def live_through(story: Story) -> None:
    # A friend becomes a member in the chat.
    member_no = story.joins("มาลี รักกาแฟ", "๐๘๙-๘๗๖ ๕๔๓๒", "29 ก.พ. 2543")

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
