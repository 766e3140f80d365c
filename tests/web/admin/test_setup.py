"""Opening a shop step by step, and the poster that brings the first members."""

from __future__ import annotations

from io import BytesIO

import pytest
import zxingcpp
from PIL import Image

from bot import poster
from loyalty import shop
from models.members import SourceCode
from models.staff import Device
from tests import factories
from tests.factories import NOW
from web.checkup import Finding
from web.liff import qr


def test_the_next_step_waits_on_the_first_page_until_it_is_done(owner, runtime):
    assert "บอกชื่อร้าน" in owner.get("/admin").text
    with runtime.transaction() as session:
        shop.set(session, "shop.name_th", "กาแฟดี", NOW)
    assert "บอกชื่อร้าน" not in owner.get("/admin").text
    page = owner.get("/admin/setup").text
    assert "http://127.0.0.1" in page
    assert 'value="' in page


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
