"""Lucky draws and typed codes on the member page, and the page on which anybody checks a draw."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import func, select

from loyalty import coupons, draws
from models.coupons import Obtained, Voucher
from models.draws import Draw, DrawTurn
from tests import factories
from tests.moments import NOW


@pytest.fixture
def draw(runtime):
    with runtime.transaction() as session:
        prize = factories.make_coupon(session, "prize", obtained=Obtained.DRAW)
        made = draws.create(
            session, runtime.vault, key="coffee", name_th="ลุ้นกาแฟ", name_en="Coffee draw",
            now=NOW, turns_per_day=1, prizes=[(prize.id, 250_000)],
        )  # fmt: skip
        draws.start(session, made)
    return made


def counted(runtime, table):
    with runtime.database.read() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_plays_a_turn_once_and_shows_it(open_phone, somebody, runtime, draw):
    phone = open_phone(somebody("แพรว"))
    page = phone.get("/m/draws/coffee").text
    assert "โอกาส 25% (ประมาณ 1 ใน 4)" in page
    turn = re.search(r'name="turn" value="([^"]+)"', page)[1]
    answers = [phone.send("/m/draws/coffee/play", "/m/draws/coffee", turn=turn) for _ in range(2)]
    assert [answer.location for answer in answers] == ["/m/draws/coffee?turn=1"] * 2
    assert counted(runtime, DrawTurn) == 1
    shown = phone.get("/m/draws/coffee?turn=1").text
    assert "draw-reveal" in shown
    assert 'name="turn"' not in shown


def test_anybody_checks_a_turn_once_the_seed_is_shown(client, open_phone, somebody, runtime, draw):
    member = somebody("แพรว")
    phone = open_phone(member)
    turn = re.search(r'name="turn" value="([^"]+)"', phone.get("/m/draws/coffee").text)[1]
    phone.send("/m/draws/coffee/play", "/m/draws/coffee", turn=turn)
    before = client.get("/m/draws/coffee/proof").text
    assert draw.seed_hash in before
    with runtime.transaction() as session:
        draws.end(session, runtime.vault, session.get_one(Draw, draw.id))
        seed = session.get_one(Draw, draw.id).seed
        number = session.scalars(select(DrawTurn.number)).one()
    assert seed not in before
    after = client.get(f"/m/draws/coffee/proof?id={member.public_id}&turn=1").text
    assert seed in after
    assert f"{number:06d}" in after
    text = client.get("/m/draws/coffee/proof.txt")
    assert (text.mimetype, seed in text.text) == ("text/plain", True)


def test_drafts_do_not_exist(client, runtime):
    with runtime.transaction() as session:
        draws.create(session, runtime.vault, key="secret", name_th="ก", name_en="s", now=NOW)
    assert client.get("/m/draws/secret/proof").status_code == 404


def test_a_code_is_typed_on_the_page(open_phone, somebody, runtime):
    with runtime.transaction() as session:
        offer = factories.make_coupon(session, "flyer", obtained=Obtained.CODE)
        batch = coupons.make_batch(session, offer.id, "flyer", 1, NOW)
        ((code, _),) = coupons.codes_of(session, batch.id)
    phone = open_phone(somebody("แพรว"))
    for _ in range(2):
        wrong = phone.send("/m/coupons/code", "/m/coupons", code="NOTHING")
        assert wrong.status_code == 409
        assert "ใช้โค้ดนี้ไม่ได้" in wrong.text
        assert 'value="NOTHING"' in wrong.text  # a slip of one letter is not thirteen to type
    assert phone.send("/m/coupons/code", "/m/coupons", code=code).status_code == 303
    assert counted(runtime, Voucher) == 1
    for _ in range(2):
        phone.send("/m/coupons/code", "/m/coupons", code="NOTHING")
    assert phone.send("/m/coupons/code", "/m/coupons", code="NOTHING").status_code == 429


def test_the_same_form_claims_once(open_phone, somebody, runtime):
    with runtime.transaction() as session:
        offer = factories.make_coupon(session, per_member=3)
    phone = open_phone(somebody("แพรว"))
    key = re.search(r'name="key" value="([^"]+)"', phone.get("/m/coupons").text)[1]
    for _ in range(2):
        phone.send(f"/m/coupons/{offer.id}/claim", "/m/coupons", key=key)
    assert counted(runtime, Voucher) == 1
