"""The owner's view: pages in both languages, exports of their own right, adjustments by hand."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from loyalty import points, shop
from models.points import Adjustment
from models.staff import AuditRow, Role
from tests.moments import BANGKOK, NOW


@pytest.fixture
def owner(sign_in):
    return sign_in("owner")


@pytest.fixture
def owed(runtime, shop, somchai):
    """Somchai has 10 points to November 2027, and a name that wants to be a formula."""
    with runtime.transaction() as session:
        points.earn(session, somchai.id, 10, source="t", source_id="1", now=NOW, tz=BANGKOK)
        coupon = session.merge(shop.coupon)
        coupon.name_th = "=HYPERLINK(1)"
        coupon.issued_count = 1
    return somchai


def acts(database):
    with database.read() as session:
        return list(session.scalars(select(AuditRow.act).order_by(AuditRow.id)))


def test_owner_sees_what_is_owed_in_baht(owner, owed, database):
    assert owner.send("/admin/liability/worth", worth="0.50").status_code == 303
    page = owner.get("/admin/liability").text
    assert "พ.ย. 2570" in page
    assert "ประมาณ 5 บาท" in page
    with database.read() as session:
        assert shop.get(session, "points.satang_each") == 50
    assert owner.send("/admin/liability/worth", worth="x").status_code == 422


@pytest.mark.parametrize("what", ["months", "days", "coupons"])
def test_ao13_exports_are_safe_and_written_down(owner, owed, database, what):
    answer = owner.send(f"/admin/liability/{what}.csv")
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    assert answer.text.startswith("\ufeff")
    assert '"=' not in answer.text
    assert acts(database) == ["exports.made"]
    assert what != "coupons" or "'=HYPERLINK(1)" in answer.text


def test_suspects_page_says_its_reasons_in_words(owner, runtime, shop, somchai):
    with runtime.transaction() as session:
        factories_debt(session, somchai)
    page = owner.get("/admin/suspects").text
    assert "ใช้แต้มแล้วคืนบิล ค้างอยู่ 8 แต้ม" in page
    sent = owner.send("/admin/suspects/members.csv")
    assert "ค้างอยู่ 8 แต้ม" in sent.text


def factories_debt(session, member):
    points.earn(session, member.id, 10, source="purchase", source_id="1", now=NOW, tz=BANGKOK)
    points.burn(session, member.id, 8, source="v", source_id="1", now=NOW)
    points.take_back(
        session, member.id, 10, source="purchase_return", source_id="1", earn_source="purchase",
        earn_source_id="1", returned_before=0, now=NOW,
    )  # fmt: skip


@pytest.mark.parametrize(
    "role, path, status",
    [
        ("manager", "/admin/suspects", 403),
        ("auditor", "/admin/suspects", 200),
        ("auditor", "/admin/liability", 200),
        ("marketer", "/admin/liability", 403),
        ("marketer", "/admin/adjustments", 403),
    ],
)
def test_each_page_needs_its_own_permission(sign_in, shop, role, path, status):
    assert sign_in(role).get(path).status_code == status


@pytest.mark.parametrize("role", ["auditor", "marketer"])
def test_exports_are_a_right_of_their_own(sign_in, shop, role):
    assert sign_in(role).send("/admin/liability/months.csv").status_code == 403
    assert (
        sign_in(role, email="x@taem.example").send("/admin/suspects/members.csv").status_code == 403
    )


def adjust(browser, member, amount, **more):
    form = {"points": str(amount), "direction": "up", "reason": "บิลหาย"} | more
    return browser.send(f"/admin/members/{member.public_id}/adjust", **form)


def test_p8_points_are_given_on_the_members_page(owner, somchai, database):
    assert adjust(owner, somchai, 100).status_code == 303
    assert adjust(owner, somchai, 30, direction="down").status_code == 303
    with database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 70
    assert acts(database) == ["points.adjusted", "points.adjusted"]
    assert "บิลหาย" in owner.get(f"/admin/members/{somchai.public_id}").text


def test_p2_a_form_sent_twice_is_one_adjustment(owner, sign_in, somchai, database):
    page = owner.get(f"/admin/members/{somchai.public_id}").text
    key = re.search(r'name="key" value="([^"]+)">\n<label[^>]*>[^<]*<select[^>]*name="direction"', page)[1]  # fmt: skip
    first, again = (adjust(owner, somchai, 100, key=key) for _ in range(2))
    assert first.headers["Location"] == again.headers["Location"]
    other = adjust(owner, somchai, 50, key=key)
    theirs = adjust(sign_in("manager"), somchai, 7, key=key)
    assert (other.status_code, theirs.status_code) == (422, 303)
    with database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 107
    assert acts(database) == ["points.adjusted", "points.adjusted"]


@pytest.mark.parametrize(
    "odd", [{"points": "x"}, {"points": "0"}, {"direction": "off"}, {"reason": " "}]
)
def test_p8_wrong_forms_move_nothing(owner, somchai, database, odd):
    assert adjust(owner, somchai, 100, **odd).status_code == 422
    with database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 0


def test_aa3_above_the_ceiling_a_second_person_agrees(owner, sign_in, somchai, database):
    adjust(owner, somchai, 5000)
    with database.read() as session:
        row = session.scalars(select(Adjustment.id)).one()
        assert points.balance_of(session, somchai.id, NOW).balance == 0
    assert '<b class="count">1</b>' in owner.get("/admin").text
    assert owner.send(f"/admin/adjustments/{row}/agree").status_code == 403
    assert sign_in("manager").send(f"/admin/adjustments/{row}/agree").status_code == 303
    with database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 5000
    assert acts(database) == ["points.adjusted", "adjustments.decided"]


@pytest.mark.parametrize("role", [Role.MARKETER, Role.AUDITOR])
def test_aa3_who_may_not_cannot(sign_in, somchai, role):
    assert adjust(sign_in(role.value), somchai, 1).status_code == 403


def test_p8_the_owner_alone_sets_the_ceilings(owner, sign_in, somchai, database):
    assert owner.send("/admin/adjustments/ceilings", owner="50", manager="10").status_code == 303
    assert owner.send("/admin/adjustments/ceilings", owner="-1", manager="10").status_code == 422
    adjust(owner, somchai, 51)
    with database.read() as session:
        assert points.balance_of(session, somchai.id, NOW).balance == 0
    boss = sign_in("manager")
    assert boss.send("/admin/adjustments/ceilings", owner="9", manager="999").status_code == 403
    assert acts(database) == ["adjustments.ceilings", "points.adjusted"]
