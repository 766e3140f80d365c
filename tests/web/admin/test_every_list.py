"""The lists of the console that people add rows to: each is searched, ordered and taken out alike."""

from __future__ import annotations

import csv
import io
import re
from urllib.parse import quote

import pytest

from engagement import definitions
from loyalty import feed
from models.conversations import KeywordReply, SavedReply
from models.coupons import Obtained
from models.earn_rules import EarnRule, EarnRuleKind, Product
from models.imports import Import
from tests import factories
from tests.moments import NOW
from web.admin import tables

#: Page, file, a search that finds, in a file of how many rows, and whether people are in it.
LISTS = [
    ("/admin/tills", "/admin/tills/branches", "สยาม", False),
    ("/admin/tills/devices", "/admin/tills/devices", "สยาม", False),
    ("/admin/tills/cashiers", "/admin/tills/cashiers", "นก", True),
    ("/admin/staff", "/admin/staff", "taem.example", True),
    ("/admin/staff/sessions", "/admin/staff/sessions", "เปรม", True),
    ("/admin/webhooks", "/admin/webhooks", "pos.example", False),
    ("/admin/replies", "/admin/replies", "WiFi", False),
    ("/admin/replies/saved", "/admin/replies/saved", "ขอบคุณ", False),
    ("/admin/messages", "/admin/messages", "วันเกิด", False),
    ("/admin/stamps", "/admin/stamps", "กาแฟ", False),
    ("/admin/earning/rules", "/admin/earning/rules", "double", False),
    ("/admin/earning/products", "/admin/earning/products", "BEAN", False),
    ("/admin/imports", "/admin/imports", "old-system", False),
    ("/admin/vouchers/given", "/admin/vouchers/given", "สมชาย", True),
]


@pytest.fixture
def rows(runtime, shop, owner, somchai):
    """One of everything that is listed."""
    with runtime.transaction() as session:
        definitions.ensure(session, NOW)
        feed.add_target(
            session, runtime.vault, name="POS", url="https://pos.example/hook", kinds=[],
            allows_local=False, now=NOW, actor="cli",
        )  # fmt: skip
        gift = factories.make_coupon(session, "gift", obtained=Obtained.STAFF)
        session.add_all(
            [
                KeywordReply(
                    words=["wifi", "ไวไฟ"], text_th="ดูใบเสร็จ", text_en="See it", made_at=NOW
                ),
                SavedReply(title="ขอบคุณ", text="ขอบคุณค่ะ", made_at=NOW),
                Product(sku="BEAN250", name_th="เมล็ด", name_en="Beans"),
                EarnRule(
                    key="double_friday", kind=EarnRuleKind.MULTIPLIER, percent=200,
                    name_th="คูณสอง", name_en="Double", created_at=NOW,
                ),
                Import(public_id="i" * 32, digest="d", file_name="old-system.csv", created_at=NOW),
            ]
        )  # fmt: skip
    owner.send(f"/admin/members/{somchai.public_id}/vouchers", coupon=str(gift.id), reason="x")


def file_of(browser, path: str, *, has_people: bool):
    return browser.send(path) if has_people else browser.get(path)


def test_each_list_is_searched_and_taken_out(owner, rows):
    for path, file, words, has_people in LISTS:
        full = owner.get(path)
        assert full.status_code == 200, path
        assert f"{file}.csv" in full.text, path
        found = owner.get(f"{path}?q={quote(words)}").text
        assert 'role="columnheader"' in found, path
        assert 'role="columnheader"' not in owner.get(f"{path}?q=zzqq").text, path
        answer = file_of(owner, f"{file}.csv?q={quote(words)}", has_people=has_people)
        lines = list(csv.reader(io.StringIO(answer.text.removeprefix("\ufeff"))))
        assert len(lines) > 1, path
        assert all(lines[0]), path
        nothing = file_of(owner, f"{file}.csv?q=zzqq", has_people=has_people)
        assert len(list(csv.reader(io.StringIO(nothing.text)))) == 1, path


def test_each_list_is_ordered_by_each_heading_both_ways(owner, rows, monkeypatch):
    for path, *_ in LISTS:
        orders = set(re.findall(r"sort=(\w+)", owner.get(path).text.partition("<thead")[2]))
        assert orders, path
        for place, (order, down) in enumerate((order, down) for order in orders for down in "01"):
            with monkeypatch.context() as hasty:
                if place > 1:  # one macro writes every heading: one, both ways, shows that it can
                    hasty.setattr("flask.templating._render", lambda *_: "")
                answer = owner.get(f"{path}?sort={order}&down={down}")
            assert answer.status_code == 200, answer.request.url


@pytest.mark.parametrize("file", [file for _, file, _, has_people in LISTS if has_people])
def test_aa5_no_list_of_people_leaves_by_a_link_or_without_the_right(owner, sign_in, rows, file):
    assert owner.get(f"{file}.csv").status_code == 405
    assert sign_in("auditor").send(f"{file}.csv").status_code == 403


def steps_of(browser, path: str):
    """The answer that a browser with our script gets."""
    kind = {"Accept": "application/x-ndjson"}
    return browser.client.post(path, data={"csrf_token": browser.token()}, headers=kind)


def test_the_steps_of_a_file_end_with_the_file_itself(owner, rows):
    plain = owner.send("/admin/tills/cashiers.csv").data
    answer = steps_of(owner, "/admin/tills/cashiers.csv")
    assert answer.mimetype == "application/x-ndjson"
    head, _, body = answer.data.partition(b'"kind": "text/csv"}\n')
    assert b'"words"' in head
    assert b'"all": 1' in head
    assert body == plain


def test_what_is_wrong_ends_the_steps_in_words(owner, rows, monkeypatch):
    monkeypatch.setattr(tables, "FILE_ROWS", 0)
    answer = steps_of(owner, "/admin/tills/cashiers.csv")
    assert '"wrong"' in answer.text.splitlines()[-1]
