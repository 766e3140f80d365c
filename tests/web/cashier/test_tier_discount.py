"""A tier's percent off at the till: quoted, taken off before vouchers, on the receipt (R2)."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from loyalty import tier_gifts
from models.purchases import Purchase
from models.tiers import Tier
from tests import factories
from tests.moments import BANGKOK, NOW


@pytest.fixture
def golden(runtime, shop, somchai):
    """Somchai in a tier with 5 percent off."""
    with runtime.transaction() as session:
        gold = Tier(key="gold", name_th="ทอง", name_en="Gold", threshold=500_000, percent_off=5,
                    created_at=NOW)  # fmt: skip
        session.add(gold)
        session.flush()
        boss = factories.prem(session, email="boss@taem.example")
        tier_gifts.set_by_hand(
            session, somchai.id, gold, NOW.date(), reason="x", staff_id=boss.id, now=NOW, tz=BANGKOK
        )
    return somchai


def test_r2_the_till_quotes_takes_and_prints_the_tiers_discount(till, golden, database):
    seen = till.ask("/cashier/scan", {"text": golden.member_no}).json["member"]
    assert (seen["tier"], seen["percent_off"]) == ("ทอง", 5)
    quoted = till.ask("/cashier/quote", {"bill": "199.99", "holds": [], "member": seen["id"]}).json
    assert (quoted["bill"], quoted["pay"]) == ("199.99", "190")
    receipt = till.ask(
        "/cashier/confirm", {"bill": "199.99", "holds": [], "member": seen["id"]}, fresh=True
    ).json
    assert receipt["vouchers"] == [{"name": "ส่วนลดระดับทอง", "off": "9.99"}]
    assert receipt["paid"] == "190"
    with database.read() as session:
        assert session.scalars(select(Purchase.amount_satang)).one() == 19_000


def test_r2_a_voucher_is_computed_on_the_bill_after_the_tier(till, golden, claim, show):
    voucher = claim(golden)
    held = till.ask("/cashier/scan", {"text": show(golden, voucher)}).json
    body = {"bill": "100", "holds": [held["voucher"]["hold"]], "member": golden.public_id}
    assert till.ask("/cashier/quote", body).json["pay"] == "75"
    receipt = till.ask("/cashier/confirm", body, fresh=True).json
    assert [line["off"] for line in receipt["vouchers"]] == ["5", "20"]
    assert receipt["paid"] == "75"


def test_without_a_tier_nothing_is_taken_off(till, shop, somchai):
    body = {"bill": "100", "holds": [], "member": somchai.public_id}
    assert till.ask("/cashier/quote", body).json["pay"] == "100"
    assert till.ask("/cashier/confirm", body, fresh=True).json["vouchers"] == []
