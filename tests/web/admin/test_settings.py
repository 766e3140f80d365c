"""The shop's settings and the audit log, as people of each role see them."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image
from sqlalchemy import select, text

from loyalty import shop
from models.menus import Menu
from models.staff import AuditRow
from rich_menus import publish
from tests import factories
from tests.moments import NOW
from web.admin.settings import GROUPS

SHOP = {
    "name_th": "กาแฟดี", "name_en": "Good Coffee", "phone": "02-123-4567", "line_id": "@good",
    "hours_th": "ทุกวัน 7-18 น.", "hours_en": "Daily 7-18", "about_th": "", "about_en": "",
    "map_url": "https://maps.example/1",
}  # fmt: skip
GREEN = "#0E6B5C"
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
        ("shop", {"map_url": "https://maps.example/ร้าน"}),
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


def test_an_old_tab_does_not_undo_what_was_saved_of_its_group_meanwhile(owner, database):
    mark = owner.mark("/admin/settings", "/admin/settings/shop")
    owner.send("/admin/settings/messages", **MESSAGES)
    assert owner.send("/admin/settings/shop", **SHOP, seen=mark).status_code == 303
    old = owner.send("/admin/settings/shop", **SHOP | {"name_th": "เก่า", "seen": mark})
    assert (old.status_code, "กาแฟดี" in old.text, "เก่า" in old.text) == (409, True, False)
    assert setting(database, "shop.name_th") == "กาแฟดี"


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


def png(size=(600, 300), colour="#a62b4b"):
    held = io.BytesIO()
    Image.new("RGB", size, colour).save(held, "PNG")
    held.seek(0)
    return held


def upload(owner, body, name="logo.png"):
    return owner.send("/admin/settings/logo", logo=(body, name), act="change")


def test_the_shop_wears_its_own_colour_everywhere(owner, client, database):
    assert "/p/look/" not in owner.get("/admin/settings").text
    assert owner.send("/admin/settings/look", colour="#A62B4B").status_code == 303
    page = owner.get("/admin/settings").text
    assert '<link rel="stylesheet" href="/p/look/a62b4b.css">' in page
    assert "/p/look/a62b4b.css" in client.get("/m/home").text
    sheet = client.get("/p/look/a62b4b.css")
    assert sheet.mimetype == "text/css"
    assert "--leaf: #A62B4B" in sheet.text
    assert "immutable" in sheet.headers["Cache-Control"]
    assert client.get("/p/look/zzzzzz.css").status_code == 404
    assert owner.send("/admin/settings/look", colour=GREEN).status_code == 303
    assert setting(database, "shop.colour") == ""


def test_menus_that_wear_the_shops_colour_follow_it(owner, runtime):
    def worn():
        with runtime.database.read() as session:
            menus = session.scalars(select(Menu).order_by(Menu.key)).all()
            newest = {menu.key: publish.latest_version(session, menu.id) for menu in menus}
            return {
                key: (row.version, publish.definition_of(row).colours.primary)
                for key, row in newest.items()
            }

    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
        member = session.scalars(select(Menu).where(Menu.key == "member")).one()
        mine = publish.definition_of(publish.latest_version(session, member.id))
        own = replace(mine, colours=replace(mine.colours, primary="#123456"))
        publish.save_version(session, member, own, made_by="staff:1", now=NOW)
    saved = owner.send("/admin/settings/look", colour="#A62B4B")
    assert "note=settings.noted_menus" in saved.location
    assert worn() == {"guest": (2, "#A62B4B"), "member": (2, "#123456"), "vip": (1, "#E3BE77")}
    owner.send("/admin/settings/look", colour="#1B5E93")
    assert worn()["guest"] == (3, "#1B5E93")
    again = owner.send("/admin/settings/look", colour="#1B5E93")
    assert "note=console.saved" in again.location
    made = {"name_th": "ใหม่", "name_en": "New", "template": "pack.member"}
    owner.send("/admin/menus", **made)
    assert worn()["new"] == (1, "#1B5E93")
    with runtime.database.read() as session:
        new = session.scalars(select(Menu).where(Menu.key == "new")).one()
        assert new.audience == {"state": "member", "override": "new"}


@pytest.mark.parametrize("odd", ["", "red", "#fff", "#A62B4B;}*{", "own"])
def test_what_is_no_colour_is_refused(owner, database, odd):
    assert owner.send("/admin/settings/look", colour=odd, own_colour=odd).status_code == 422
    assert setting(database, "shop.colour") == ""
    assert owner.send("/admin/settings/look", colour="own", own_colour="#1b5e93").status_code == 303
    assert setting(database, "shop.colour") == "#1B5E93"


def test_a_logo_is_drawn_anew_shown_and_taken_away(owner, client, database):
    assert upload(owner, png()).status_code == 303
    name = setting(database, "shop.logo")
    shown = client.get(f"/p/logo/{name}.jpg")
    assert shown.mimetype == "image/jpeg"
    assert Image.open(io.BytesIO(shown.data)).size == (512, 256)
    assert f"/p/logo/{name}.jpg" in owner.get("/admin/settings").text
    poster = owner.get("/admin/setup/poster.pdf")
    assert poster.data.startswith(b"%PDF")
    assert upload(owner, png(colour="#1b5e93")).status_code == 303
    assert client.get(f"/p/logo/{name}.jpg").status_code == 404  # replaced, and forgotten
    assert owner.send("/admin/settings/logo", act="remove").status_code == 303
    assert setting(database, "shop.logo") == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"GIF89a" + b"0" * 99,
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_picture_is_no_logo(owner, database, body):
    answer = upload(owner, io.BytesIO(body))
    assert answer.status_code == 422
    assert setting(database, "shop.logo") == ""


def test_a_logo_is_the_owners_to_change(sign_in, database):
    assert upload(sign_in("manager"), png()).status_code == 403
    assert setting(database, "shop.logo") == ""


def test_the_bare_address_leads_to_the_console(client):
    answer = client.get("/")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/admin"
