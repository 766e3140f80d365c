"""From an idea to its proof, end to end: whom to write to, what, and whether it paid.

The owner builds a segment in the console and starts a campaign to it, the phone rings, its member
comes by and pays at the till, and the campaign's report sets those baht against the hold-out.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.e2e.story import Story

pytestmark = pytest.mark.e2e

NEWS = "ครัวซองต์อบใหม่บ่ายสามค่ะ"


def test_a_campaign_from_its_segment_to_its_baht(story_of: Callable[[str], Story]):
    story = story_of("c1")
    story.until_daytime()
    member_no = story.joins("สมชาย ใจดี", "081 234 5678", "5 พ.ค. 2530")
    story.opens_the_console()
    people = builds_a_segment(story)
    assert people > 20  # the seeded members who have not bought yet, and this one
    starts_the_campaign(story)
    story.sees(NEWS)  # the phone rings
    held_out = reads(story, "held")
    assert held_out > 0
    assert reads(story, "treated") + held_out == people
    assert made(story) == "0"

    story.phone.get_by_test_id("chat").get_by_text("ดูคูปองที่มี", exact=True).last.click()
    story.sees("คูปอง")
    story.opens_the_till()
    story.rings_up(member_no, "600")
    assert "+24" in story.confirms()

    story.console.reload()
    assert made(story) == "+600"  # nobody who was held out has bought
    assert story.console.get_by_text("ยังบอกไม่ได้").first.is_visible()  # one bill proves nothing
    assert reads(story, "taps") == 1


def builds_a_segment(story: Story) -> int:
    """Members who have not bought anything; returns how many the builder counts."""
    console = story.console
    console.goto(f"http://127.0.0.1:{story.cafe.port}/admin/segments/new")
    console.get_by_test_id("segment-name").fill("ยังไม่เคยซื้อ")
    console.get_by_test_id("add-field-0").select_option("totals.level")
    console.get_by_test_id("add-0").click()
    console.locator("[name='g0.c0.value'][value=target]").check()
    console.get_by_test_id("save").click()
    console.wait_for_url(re.compile(r"/admin/segments/\d+"))
    return number_in(console.get_by_test_id("segment-count").inner_text())


def starts_the_campaign(story: Story) -> None:
    console = story.console
    console.goto(f"http://127.0.0.1:{story.cafe.port}/admin/campaigns/new")
    console.get_by_test_id("campaign-name").fill("ครัวซองต์บ่ายสาม")
    console.locator("[name=segment]").select_option(label="ยังไม่เคยซื้อ")
    console.locator("[name=holdout]").fill("20")
    for language, words in (("th", (NEWS, "แวะมาชิมได้เลยนะคะ คุณ{name}", "ดูคูปองที่มี")),
                            ("en", ("Fresh croissants at three", "Come by, {name}.", "Coupons"))):  # fmt: skip
        for field, text in zip(("title", "body", "button"), words, strict=True):
            console.locator(f"[name='a.{language}.default.{field}']").fill(text)
    console.get_by_test_id("look").click()
    console.get_by_test_id("start").click()
    console.get_by_test_id("state").get_by_text("ส่งเสร็จแล้ว").wait_for(timeout=60_000)


def made(story: Story) -> str:
    """The baht that the campaign made against the hold-out, as the report says it."""
    return str(story.console.get_by_test_id("made").inner_text()).strip()


def reads(story: Story, name: str) -> int:
    """A whole number of the report."""
    return number_in(story.console.get_by_test_id(f"result-{name}").inner_text())


def number_in(text: str) -> int:
    found = re.search(r"\d[\d,]*", text)
    assert found, text
    return int(found[0].replace(",", ""))
