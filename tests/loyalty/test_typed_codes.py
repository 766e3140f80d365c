"""Typed codes (C8): generated in bulk, used once, ended, exported, and refused alike."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from sqlalchemy import event, select

from core.errors import Invalid, Refused
from core.ids import LOOK_ALIKE_FREE
from loyalty import coupons, proof
from models.coupons import Obtained, TypedCode
from models.tiers import Tier
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)


def refused(call, *arguments, **facts):
    with pytest.raises(Refused) as refusal:
        call(*arguments, **facts)
    return refusal.value


@pytest.fixture
def offer(session):
    return factories.make_coupon(session, "flyer", obtained=Obtained.CODE)


def type_(session, text, member, now=NOW, real_now=NOW):
    return coupons.claim_by_code(session, text, member, now, real_now, BANGKOK)


def first_codes(session, batch, count=1):
    return [code for code, _ in list(coupons.codes_of(session, batch.id))[:count]]


def test_generated_codes_are_long_and_plain_to_read(session, offer):
    batch = coupons.make_batch(session, offer.id, "แผ่นพับ", 500, NOW)
    codes = session.scalars(select(TypedCode.code).where(TypedCode.batch_id == batch.id)).all()
    assert len(set(codes)) == 500
    assert {len(code) for code in codes} == {13}
    letters = "".join(codes)
    assert set(letters) == set(LOOK_ALIKE_FREE)
    assert not set(letters) & set("0O1ILUV")
    assert len(LOOK_ALIKE_FREE) ** 13 > 2**60
    most = max(letters.count(letter) for letter in LOOK_ALIKE_FREE)
    assert most < 6500 / len(LOOK_ALIKE_FREE) * 1.6  # no letter is favoured


@pytest.mark.soak
def test_many_codes_are_made_by_one_statement(database, scale):
    """A hundred thousand under `make soak`; never one insert each."""
    size = max(10_000, scale(100_000))
    with database.write() as session:
        offer = factories.make_coupon(session, "flyer", obtained=Obtained.CODE)
        began = time.process_time()
        batch = coupons.make_batch(session, offer.id, "flyer", size, NOW)
        ours = time.process_time() - began
        assert len(list(coupons.codes_of(session, batch.id))) == size
    assert ours < 5  # this process alone, on a machine that may be shared


def test_a_generated_code_is_used_once_by_whoever_types_it(session, somchai, offer):
    batch = coupons.make_batch(session, offer.id, "แผ่นพับ", 2, NOW)
    code, other = first_codes(session, batch, 2)
    voucher = type_(session, code.lower().replace("-", " "), somchai)
    assert voucher.coupon_id == offer.id
    malee = factories.malee(session)
    assert refused(type_, session, code, malee).code == "codes.refused"
    assert type_(session, other, malee)
    row = session.get_one(TypedCode, int(voucher.source_id.removeprefix("code:")))
    assert (row.used_at, row.code) == (NOW, code.replace("-", ""))
    assert proof.check_all(session, NOW) == []


def test_a_code_that_its_finder_may_not_use_stays_good_for_others(session, somchai, offer):
    batch = coupons.make_batch(session, offer.id, "แผ่นพับ", 2, NOW)
    code, other = first_codes(session, batch, 2)
    type_(session, code, somchai)
    assert refused(type_, session, other, somchai).code == "codes.refused"  # one each
    assert type_(session, other, factories.malee(session))


def test_ended_and_void_batches_are_good_for_nothing(session, somchai, offer):
    ended = coupons.make_batch(session, offer.id, "ตลาดนัด", 1, NOW, ends_at=NOW + DAY)
    void = coupons.make_batch(session, offer.id, "พาร์ตเนอร์", 1, NOW)
    (late,), (dead,) = first_codes(session, ended), first_codes(session, void)
    assert refused(type_, session, late, somchai, NOW + DAY).code == "codes.refused"
    coupons.void_batch(session, void.id, NOW)
    assert refused(type_, session, dead, somchai).code == "codes.refused"
    views = [coupons.BatchView(*row) for row in session.execute(coupons.batches())]
    states = {view.batch.label: view.state(NOW + DAY) for view in views}
    assert states == {"ตลาดนัด": "ended", "พาร์ตเนอร์": "void"}
    assert type_(session, late, somchai)


def test_a_batch_is_exported_once_and_again_only_by_right(session, offer):
    batch = coupons.make_batch(session, offer.id, "แผ่นพับ", 1, NOW)
    assert coupons.take_export(session, batch.id, NOW, may_again=False).exported_at == NOW
    again = refused(coupons.take_export, session, batch.id, NOW, may_again=False)
    assert (again.code, again.status) == ("codes.exported_before", 403)
    assert coupons.take_export(session, batch.id, NOW + DAY, may_again=True).exported_at == NOW


@pytest.mark.parametrize("size", [0, -1, 1_000_001])
def test_refuses_sizes_that_nobody_means(session, offer, size):
    with pytest.raises(Invalid):
        coupons.make_batch(session, offer.id, "x", size, NOW)


def test_codes_belong_to_offers_that_are_typed(session):
    claimed = factories.make_coupon(session)
    refusal = refused(coupons.make_batch, session, claimed.id, "x", 1, NOW)
    assert refusal.code == "codes.not_by_code"


def test_ac8_every_refusal_is_the_same_and_asks_the_same(session, somchai, offer):
    """Wrong, ended, spent, void, for others: one sentence, and the same number of statements."""
    session.add(Tier(key="gold", name_th="ก", name_en="G", threshold=1, created_at=NOW))
    malee = factories.malee(session)
    batch = coupons.make_batch(session, offer.id, "a", 2, NOW)
    void = coupons.make_batch(session, offer.id, "b", 1, NOW)
    coupons.void_batch(session, void.id, NOW)
    spent, _ = first_codes(session, batch, 2)
    type_(session, spent, malee)
    texts = {"wrong": "NOTHING", "spent": spent, "void": first_codes(session, void)[0]}
    for name, facts in {
        "ended": {"ends_at": NOW},
        "tier": {"conditions": {"tiers": ["gold"]}},
        "level": {"conditions": {"levels": ["vip"]}},
        "sold_out": {"total_units": 0},
    }.items():
        texts[name] = f"OWN{name.upper().replace('_', '')}"
        factories.make_coupon(
            session, name, obtained=Obtained.CODE, typed_code=texts[name], **facts
        )
    heard: list[str] = []
    listener = lambda *given: heard.append(given[2])  # noqa: E731
    session.flush()
    counts = {}
    for minute, (name, text) in enumerate(texts.items()):
        session.expire_all()
        session.refresh(somchai)
        event.listen(session.get_bind(), "before_cursor_execute", listener)
        real = NOW + timedelta(minutes=minute)
        refusal = refused(type_, session, text, somchai, real_now=real)
        event.remove(session.get_bind(), "before_cursor_execute", listener)
        assert (refusal.code, refusal.status, refusal.facts) == ("codes.refused", 409, {})
        counts[name] = len(heard)
        heard.clear()
    assert len(set(counts.values())) == 1, counts
