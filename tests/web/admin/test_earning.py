"""The page of how points are earned: plans, rules, products, and a preview that tells the truth."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from loyalty import points, purchases
from models.earn_rules import EarnRule, Product
from models.points import EarnPolicy
from models.staff import AuditRow
from tests.moments import BANGKOK, NOW

TODAY = NOW.astimezone(BANGKOK).date()
PLAN = {
    "valid_from": (TODAY + timedelta(days=1)).isoformat(), "rate": "20", "pending_days": "3",
    "expiry_kind": "end_of_year", "has_carry": "1",
}  # fmt: skip
RULE = {
    "key": "sunday", "kind": "multiplier", "percent": "200", "name_th": "อาทิตย์คูณสอง",
    "name_en": "Double Sunday", "weekdays": "6",
}  # fmt: skip


@pytest.fixture
def owner(sign_in):
    return sign_in("owner")


@pytest.fixture
def acts(database):
    def read():
        with database.read() as session:
            return list(session.scalars(select(AuditRow.act).order_by(AuditRow.id)))

    return read


def buy(runtime, shop, somchai):
    with runtime.transaction() as session:
        return purchases.record_purchase(
            session, member_id=somchai.id, branch=shop.branch, amount_satang=25_000,
            operation_id="1", now=NOW, tz=BANGKOK,
        )  # fmt: skip


def test_p4_before_its_first_bill_a_shop_chooses_its_rule_for_today(
    owner, shop, runtime, database, somchai
):
    assert "เริ่มได้ตั้งแต่วันนี้" in owner.get("/admin/earning").text
    sent = owner.send("/admin/earning/policy", **{**PLAN, "valid_from": TODAY.isoformat()})
    assert sent.status_code == 303
    assert buy(runtime, shop, somchai).points == 12
    yesterday = (TODAY - timedelta(days=1)).isoformat()
    late = owner.send("/admin/earning/policy", **{**PLAN, "valid_from": yesterday})
    assert late.status_code == 409


def test_p4_a_new_policy_starts_tomorrow_at_the_earliest(
    owner, shop, runtime, database, somchai, acts
):
    buy(runtime, shop, somchai)
    today = owner.send("/admin/earning/policy", **{**PLAN, "valid_from": TODAY.isoformat()})
    assert today.status_code == 409
    assert "เริ่มได้ตั้งแต่พรุ่งนี้" in today.text
    assert owner.send("/admin/earning/policy", **PLAN).status_code == 303
    with database.read() as session:
        assert points.policy_for(session, TODAY).satang_per_point == 2500
        planned = points.policy_for(session, TODAY + timedelta(days=1))
        assert (planned.satang_per_point, planned.pending_days) == (2000, 3)
    assert acts() == ["points.policy_planned"]


def test_a_plan_can_be_changed_and_cancelled_until_it_begins(owner, shop, database, acts):
    owner.send("/admin/earning/policy", **PLAN)
    owner.send("/admin/earning/policy", **{**PLAN, "rate": "30"})
    with database.read() as session:
        plan = session.scalars(select(EarnPolicy).where(EarnPolicy.valid_from > TODAY)).one()
        current = points.policy_for(session, TODAY)
    assert plan.satang_per_point == 3000
    assert owner.send(f"/admin/earning/policy/{plan.id}/cancel").status_code == 303
    assert owner.send(f"/admin/earning/policy/{current.id}/cancel").status_code == 409
    with database.read() as session:
        assert len(points.policies(session)) == 1
    assert acts()[-1] == "points.policy_cancelled"


def test_p3_rule_is_made_acts_and_ends(owner, shop, runtime, somchai, acts):
    assert owner.send("/admin/earning/rules", **RULE).status_code == 303
    preview = owner.get(f"/admin/earning?amount=250&on={TODAY.isoformat()}").text
    assert "อาทิตย์คูณสอง <b>+10</b>" in preview
    assert buy(runtime, shop, somchai).points == 20
    with runtime.database.read() as session:
        rule = session.scalars(select(EarnRule)).one().id
    assert owner.send(f"/admin/earning/rules/{rule}/off").status_code == 303
    assert owner.send(f"/admin/earning/rules/{rule}/end").status_code == 303
    assert owner.send(f"/admin/earning/rules/{rule}/on").status_code == 409
    assert "จบแล้ว" in owner.get("/admin/earning/rules").text
    assert acts() == ["earn_rules.created", "earn_rules.changed", "earn_rules.changed"]


WRONG = (
    {"key": "A B"},
    {"percent": "100"},
    {"percent": ""},
    {"kind": "bonus"},
    {"weekdays": "7"},
    {"hours": "9"},
    {"hours": "10-10"},
    {"branches": "nowhere"},
    {"levels": "king"},
    {"starts_on": (TODAY - timedelta(days=1)).isoformat()},
    {"ends_on": (TODAY - timedelta(days=1)).isoformat()},
    {"total_cap": "-1"},
    {"name_th": " "},
    {"min_bill": "1e3"},
)


def test_wrong_rule_comes_back_with_what_to_do(owner, database):
    for odd in WRONG:
        answer = owner.send("/admin/earning/rules", **{**RULE, **odd})
        assert answer.status_code in (409, 422), odd
        assert 'role="alert"' in answer.text, odd
        with database.read() as session:
            assert session.scalar(select(EarnRule.id)) is None, odd


def test_a_refused_rule_keeps_its_ticks_for_without_them_it_acts_on_every_bill(owner, shop):
    wanted = {"key": "A B", "levels": "vip", "birthday_month": "1", "branches": shop.branch.code}
    page = owner.send("/admin/earning/rules", **{**RULE, **wanted}).text
    kept = re.findall(r'name="(\w+)" value="\w+" checked', page)
    assert kept == ["weekdays", "branches", "levels", "birthday_month"]


def test_a_refused_plan_keeps_whether_what_is_left_over_counts(owner, shop):
    wrong = PLAN | {"rate": "x"}
    ticked = 'name="has_carry" value="1" checked'
    assert ticked in owner.send("/admin/earning/policy", **wrong).text
    del wrong["has_carry"]
    assert ticked not in owner.send("/admin/earning/policy", **wrong).text
    assert ticked in owner.send("/admin/earning/policy/9/cancel").text


def test_products_are_added_and_renamed(owner, database, acts):
    bean = {"sku": "BEAN", "name_th": "เมล็ด", "name_en": "Beans", "label": "beans"}
    owner.send("/admin/earning/products", **bean)
    owner.send("/admin/earning/products", **{**bean, "name_en": "Coffee beans", "is_active": "0"})
    with database.read() as session:
        product = session.scalars(select(Product)).one()
    assert (product.name_en, product.is_active) == ("Coffee beans", False)
    assert acts() == ["products.saved", "products.saved"]


def test_a_new_product_without_a_name_is_refused_beside_its_field(owner, database):
    answer = owner.send("/admin/earning/products", sku="BEAN", name_th="เมล็ด", name_en=" ")
    assert (answer.status_code, 'data-wrong="name_en"' in answer.text) == (422, True)
    with database.read() as session:
        assert session.scalars(select(Product)).all() == []


def test_preview_takes_anything(owner, shop):
    odd = ["amount=x", "on=2026-13-01", "on=9999-12-31", "hour=99", "tier=%00x", "amount=-5"]
    assert {owner.get(f"/admin/earning?{one}").status_code for one in odd} <= {200, 422}


@pytest.mark.parametrize("role", ["marketer", "auditor"])
def test_only_who_may_changes_how_points_are_earned(sign_in, shop, role):
    browser = sign_in(role)
    for path in ("", "/rules", "/products"):
        page = browser.get(f"/admin/earning{path}")
        assert page.status_code == 200
        assert '<form method="post" action="/admin/earning' not in page.text
    assert browser.send("/admin/earning/rules", **RULE).status_code == 403
