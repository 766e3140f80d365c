"""The shop's settings and the audit log, as people of each role see them."""

from __future__ import annotations

import pytest
from sqlalchemy import select, text

from loyalty import shop
from models.staff import AuditRow
from tests import factories
from web.admin.settings import GROUPS

SHOP = {
    "name_th": "กาแฟดี", "name_en": "Good Coffee", "phone": "02-123-4567", "line_id": "@good",
    "hours_th": "ทุกวัน 7-18 น.", "hours_en": "Daily 7-18", "about_th": "", "about_en": "",
    "map_url": "https://maps.example/1",
}  # fmt: skip
MESSAGES = {
    "promotional_per_week": "1", "quiet_from": "00:00", "quiet_until": "08:30",
    "quota_reserve_percent": "20", "holdout_from": "300",
}  # fmt: skip


def setting(database, key):
    with database.read() as session:
        return shop.get(session, key)


def test_every_field_is_a_setting_with_words_of_its_own(owner):
    page = owner.get("/admin/settings").text
    fields = [field for group in GROUPS.values() for field in group]
    assert {field.key for field in fields} <= shop.DEFAULTS.keys()
    for field in fields:
        assert f'name="{field.name}"' in page


def test_the_owner_says_who_the_shop_is(owner, database):
    assert owner.send("/admin/settings/shop", **SHOP).status_code == 303
    assert setting(database, "shop.name_th") == "กาแฟดี"
    with database.read() as session:
        row = session.scalars(select(AuditRow)).one()
    assert row.act == "settings.changed"
    assert "shop.name_th" in row.facts["keys"]
    assert owner.send("/admin/settings/shop", **SHOP).status_code == 303  # nothing new to note
    with database.read() as session:
        assert len(session.scalars(select(AuditRow)).all()) == 1


@pytest.mark.parametrize(
    "group, odd",
    [
        ("shop", {"name_th": " "}),
        ("shop", {"map_url": "javascript:alert(1)"}),
        ("shop", {"map_url": "https://"}),
        ("shop", {"map_url": "https://[bad"}),
        ("messages", {"promotional_per_week": "8"}),
        ("messages", {"quiet_from": "25:00"}),
        ("messages", {"quiet_until": ""}),
        ("messages", {"quota_reserve_percent": "-1"}),
    ],
)
def test_a_wrong_field_comes_back_and_saves_nothing(owner, database, group, odd):
    form = {"shop": SHOP, "messages": MESSAGES}[group]
    answer = owner.send(f"/admin/settings/{group}", **form | odd)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text
    assert setting(database, "shop.name_th") == shop.DEFAULTS["shop.name_th"]
    assert setting(database, "messages.promotional_per_week") == 2


def test_quiet_hours_from_midnight_move_deadlines_before_it(owner, database):
    assert owner.send("/admin/settings/messages", **MESSAGES).status_code == 303
    assert setting(database, "messages.quiet_from") == "00:00"
    assert setting(database, "messages.before_quiet") == "23:55"


def test_a_gift_on_joining_is_one_of_the_live_coupons(owner, runtime, database):
    with runtime.transaction() as session:
        factories.make_coupon(session, "hello")
    form = {"guardian_age": "20", "asks_birthday": "1"}
    assert owner.send("/admin/settings/members", join_gift="hello", **form).status_code == 303
    assert setting(database, "members.join_gift") == "hello"
    assert setting(database, "members.asks_guardian") is False
    assert owner.send("/admin/settings/members", join_gift="none", **form).status_code == 422


def test_others_look_or_are_kept_out(sign_in):
    manager, auditor, marketer = (sign_in(role) for role in ("manager", "auditor", "marketer"))
    assert manager.send("/admin/settings/shop", **SHOP).status_code == 403
    assert auditor.get("/admin/settings").status_code == 200
    assert marketer.get("/admin/settings").status_code == 403
    assert manager.get("/admin/audit").status_code == 403
    assert auditor.get("/admin/audit").status_code == 200


def test_the_log_is_searched_exported_and_proven(owner, runtime, database):
    owner.send("/admin/settings/shop", **SHOP)
    page = owner.get("/admin/audit?q=settings").text
    assert "settings.changed" in page
    assert "owner@taem.example" in page
    assert "settings.changed" not in owner.get("/admin/audit?q=nothing").text
    assert "ไม่มีอะไรถูกแก้ไข" in owner.get("/admin/audit?verify=1").text
    assert "settings.changed" in owner.send("/admin/audit.csv").text
    with runtime.database.write() as session:  # somebody with the database in their hands
        if runtime.database.is_sqlite:
            session.execute(text("DROP TRIGGER audit_rows_no_update"))
        else:
            session.execute(text("ALTER TABLE audit_rows DISABLE TRIGGER USER"))
        session.execute(text("UPDATE audit_rows SET actor = 'staff:9' WHERE id = 1"))
    assert "สายขาดที่แถว 1" in owner.get("/admin/audit?verify=1").text
