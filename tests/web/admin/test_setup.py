"""Opening a shop step by step, and the poster that brings the first members."""

from __future__ import annotations

from io import BytesIO

import pytest
import zxingcpp
from PIL import Image
from sqlalchemy import select

from bot import poster
from loyalty import shop
from models.inbox import Event, EventState
from models.members import SourceCode
from models.menus import Menu
from models.staff import Device
from rich_menus import publish
from tests import factories
from tests.factories import NOW
from web.checkup import Finding
from web.liff import qr


def test_a_shop_that_nobody_has_joined_opens_with_the_guide(owner, sign_in):
    page = owner.get("/admin").text
    assert "ยินดีต้อนรับสู่ร้านของคุณ" in page
    assert 'href="/admin/settings#shop"' in page
    assert "ยอดขายสมาชิก" not in page
    assert "ยอดขายสมาชิก" in sign_in("auditor").get("/admin").text


def test_the_next_step_waits_on_the_first_page_until_it_is_done(owner, runtime):
    with runtime.transaction() as session:
        factories.somchai(session)
    page = owner.get("/admin").text
    assert "ขั้นต่อไปในการเปิดร้าน: ชื่อร้าน" in page
    assert "ยอดขายสมาชิก" in page
    with runtime.transaction() as session:
        shop.set(session, "shop.name_th", "กาแฟดี", NOW)
    assert "ขั้นต่อไปในการเปิดร้าน: ชื่อร้าน" not in owner.get("/admin").text


def test_what_was_saved_leads_to_the_next_step(owner, runtime):
    with runtime.transaction() as session:
        shop.set(session, "shop.name_th", "กาแฟดี", NOW)
        session.add(an_event())
    page = owner.get("/admin/settings?note=console.saved").text
    assert "ขั้นต่อไปในการเปิดร้าน: ทำคูปองใบแรก" in page
    assert "ขั้นต่อไป" not in owner.get("/admin/settings").text


def test_menus_count_once_everybody_sees_one(owner, runtime):
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
        menus = {menu.key: menu for menu in session.scalars(select(Menu))}
        menus["vip"].published_version = 1
    before = owner.get("/admin/setup").text.count('data-done="1"')
    with runtime.transaction() as session:
        session.get_one(Menu, menus["guest"].id).published_version = 1
    assert owner.get("/admin/setup").text.count('data-done="1"') == before + 1


def an_event() -> Event:
    return Event(
        webhook_event_id="e1", kind="message", lane="e1", event_at=NOW, received_at=NOW,
        payload=b"{}", state=EventState.DONE, attempts=1, next_try_at=NOW,
    )  # fmt: skip


def test_a_step_is_done_when_the_shop_has_it(owner, runtime):
    before = owner.get("/admin/setup").text.count('data-done="1"')
    with runtime.transaction() as session:
        branch = factories.make_branch(session)
        factories.nok(session, branch=branch)
        factories.make_device(session, branch=branch)
        factories.make_policy(session)
        factories.make_coupon(session)
        assert session.query(Device).count() == 1
    assert owner.get("/admin/setup").text.count('data-done="1"') == before + 3


def test_the_check_says_what_to_do_in_words(owner, monkeypatch):
    found = [Finding(True, "ดีแล้ว <b>"), Finding(False, "ใส่โทเคนใหม่")]
    monkeypatch.setattr("web.admin.setup.examine", lambda _runtime: found)
    page = owner.send("/admin/setup/check").text
    assert "เรียบร้อย</span> ดีแล้ว &lt;b&gt;" in page
    assert "ต้องแก้</span> ใส่โทเคนใหม่" in page


def test_nothing_is_held_while_line_and_our_own_address_are_asked(owner, runtime, monkeypatch):
    held = []

    def slow(_runtime):
        held.append(runtime.database.engine.pool.checkedout())
        return []

    monkeypatch.setattr("web.admin.setup.examine", slow)
    assert owner.send("/admin/setup/check").status_code == 200
    assert held == [0], "a connection here may be SQLite's one writer"


@pytest.mark.parametrize(
    "source, leads_to", [("POSTER", "invite?code=POSTER"), ("", "@kafae"), ("NOPE", "@kafae")]
)
def test_the_poster_is_one_page_whose_code_scans(owner, runtime, monkeypatch, source, leads_to):
    with runtime.transaction() as session:
        shop.set(session, "shop.line_id", "@kafae", NOW)
        session.add(SourceCode(code="POSTER", kind="poster", label="หน้าร้าน"))
    drawn = []
    monkeypatch.setattr(poster, "as_pdf", lambda picture: drawn.append(picture) or b"%PDF-")
    answer = owner.get(f"/admin/setup/poster.pdf?source={source}")
    assert answer.headers["Content-Type"] == "application/pdf"
    (read,) = zxingcpp.read_barcodes(drawn[0])
    assert leads_to in read.text.replace("%40", "@")


def test_a_poster_prints_at_its_own_size():
    words = poster.Words("ร้านกาแฟแต้มดี" * 4, "สะสมแต้ม", "สแกนเลย", "@kafae")
    made = poster.draw(
        words,
        Image.open(BytesIO(qr.png("https://line.me/R/ti/p/%40kafae", box=1))),
        poster.Look("#A62B4B"),
    )
    pdf = poster.as_pdf(made)
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) < 1_000_000


def test_the_marketer_is_kept_out_and_the_auditor_looks(sign_in):
    assert sign_in("marketer").get("/admin/setup").status_code == 403
    auditor = sign_in("auditor")
    assert auditor.get("/admin/setup").status_code == 200
    assert auditor.send("/admin/setup/check").status_code == 403
