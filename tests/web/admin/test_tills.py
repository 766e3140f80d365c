"""Branches, tills and cashiers in the console: what holds from the next request on (AA7, Z23)."""

from __future__ import annotations

import csv
import io
import re

import pytest
from sqlalchemy import select

from loyalty import ceilings, people
from models.members import Member
from models.staff import ApiKey, AuditRow, Branch, Cashier, Device, Staff
from tests import factories
from tests.moments import NOW
from tests.web.conftest import PIN, Browser


def one(database, model, **where):
    with database.read() as session:
        return session.scalars(select(model).filter_by(**where)).one()


@pytest.fixture
def ari(runtime, shop) -> Branch:
    with runtime.transaction() as session:
        return factories.make_branch(session, "ari", name_th="อารีย์", name_en="Ari")


def cashier_form(cashier, **more):
    return {"name": cashier.name, "branch": str(cashier.branch_id), "is_active": "1"} | more


def test_owner_opens_a_branch_that_asks_for_the_bill_number(owner, shop, database):
    answer = owner.send(
        "/admin/tills/branches", code="thonglor", name_th="ทองหล่อ", name_en="Thonglor",
        needs_receipt_no="1",
    )  # fmt: skip
    assert answer.status_code == 303
    assert one(database, Branch, code="THONGLOR").needs_receipt_no
    long = {"code": "long", "name_th": "ที่นี่" * 30, "name_en": "x"}
    assert owner.send("/admin/tills/branches", **long).status_code == 303
    again = owner.send("/admin/tills/branches", code="Thonglor", name_th="x", name_en="x")
    odd = owner.send("/admin/tills/branches", code="ทองหล่อ", name_th="x", name_en="x")
    assert (again.status_code, odd.status_code) == (409, 422)


def test_a_refused_branch_or_cashier_keeps_what_was_typed(owner, shop):
    new = {"code": "ทองหล่อ", "name_th": "ใหม่", "name_en": "Fresh", "needs_receipt_no": "1"}
    page = owner.send("/admin/tills/branches", **new).text
    assert page.count('value="ทองหล่อ"') == page.count('value="Fresh"') == 1
    assert page.count('name="needs_receipt_no" value="1" checked') == 1
    own = {"name_th": "สยามใหม่", "name_en": "Siam", "cashier_operation": "มาก"}
    page = owner.send(f"/admin/tills/branches/{shop.branch.id}", **own).text
    assert page.count('value="มาก"') == page.count('value="สยามใหม่"') == 1
    assert 'name="is_active" value="1" checked' not in page
    wrong = cashier_form(shop.cashier, name="นกน้อย", member_no="1", is_manager="1")
    page = owner.send(f"/admin/tills/cashiers/{shop.cashier.id}", **wrong).text
    assert page.count('value="นกน้อย"') == page.count('name="is_manager" value="1" checked') == 1
    assert 'name="name" maxlength="100" value="" required data-testid="new-name"' in page


def test_fq13_a_branch_may_ask_for_the_bill_number(owner, till, shop, somchai):
    form = {"name_th": "สยาม", "name_en": "Siam", "is_active": "1", "needs_receipt_no": "1"}
    owner.send(f"/admin/tills/branches/{shop.branch.id}", **form)
    body = {"member": somchai.public_id, "bill": "100"}
    without = till.ask("/cashier/confirm", body, fresh=True)
    first = till.ask("/cashier/confirm", {**body, "receipt_no": "A-007"}, fresh=True)
    same = till.ask("/cashier/confirm", {**body, "receipt_no": "a-007 "}, fresh=True)
    assert without.get_json()["code"] == "cashiers.receipt_needed"
    assert first.status_code == 200
    assert (same.status_code, same.get_json()["code"]) == (409, "purchases.already_recorded")


def test_fq10_ak7_enrolment_link_is_shown_once_with_its_qr(owner, shop, app, database):
    page = owner.send("/admin/tills/code", branch=str(shop.branch.id))
    link = re.search(r'data-testid="enrol-link">([^<]+)<', page.text)
    assert link is not None
    assert "data:image/png;base64," in page.text
    assert "code=" not in owner.get("/admin/tills").text
    stranger = Browser(app.test_client())
    code = link[1].partition("code=")[2]
    assert stranger.send("/cashier/enrol", code=code, name="ใหม่").status_code == 303
    assert stranger.send("/cashier/enrol", code=code, name="อีก").status_code == 404
    assert one(database, Device, name="ใหม่").branch_id == shop.branch.id
    assert "มีเครื่องใหม่" in owner.get("/admin/tills").text


def test_names_that_grow_when_composed_are_cut(owner, shop, runtime, app, database):
    name = "\ufb2c" * 60  # one letter each, three in NFC: more than any column of names holds
    with runtime.transaction() as session:
        code = people.enrolment_code(session, "siam", now=NOW, actor="cli")
    answers = [
        owner.send("/admin/tills/cashiers", name=name, branch=str(shop.branch.id)),
        owner.send("/admin/api-keys", name=name, scopes=people.API_SCOPES[0]),
        owner.send("/admin/staff", name=name, email="new@taem.example", role="marketer"),
        Browser(app.test_client()).send("/cashier/enrol", code=code, name=name),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 303]
    with database.read() as session:
        made = [
            session.scalars(select(kind.name).order_by(kind.id.desc())).first()
            for kind in (Cashier, ApiKey, Staff, Device)
        ]
    assert [len(one) for one in made] == [99] * 4  # whole ones


def test_fq10_dead_links_are_seen_by_the_owner(owner, shop, app):
    stranger = Browser(app.test_client())
    stranger.send("/cashier/enrol", code="A" * 43, name="x")
    assert "ลิงก์ลงทะเบียนเครื่องที่ใช้ไม่ได้" in owner.get("/admin/tills").text


def test_z23_revoking_holds_from_the_next_request_on(owner, till, shop, runtime, database):
    assert till.ask("/cashier/release", {"holds": []}).status_code == 200
    owner.send(f"/admin/tills/devices/{shop.device.id}", act="revoke")
    assert till.ask("/cashier/release", {"holds": []}).status_code == 401
    assert 'data-testid="enrol-demo"' not in till.get("/cashier").text
    assert "pin-form" not in till.get("/cashier").text


def test_aa7_a_till_that_is_moved_must_be_opened_again_there(owner, till, shop, ari, database):
    owner.send(f"/admin/tills/devices/{shop.device.id}", act="move", branch=str(ari.id))
    assert till.ask("/cashier/release", {"holds": []}).status_code == 401
    assert "อารีย์" in till.get("/cashier").text
    answer = till.send("/cashier/pin", cashier=str(shop.cashier.id), pin=PIN)
    assert answer.status_code == 422  # Nok works at Siam


def test_aa7_a_cashier_who_is_moved_is_out_at_once(owner, till, shop, ari):
    form = cashier_form(shop.cashier, branch=str(ari.id))
    assert owner.send(f"/admin/tills/cashiers/{shop.cashier.id}", **form).status_code == 303
    assert till.ask("/cashier/release", {"holds": []}).status_code == 401


def test_z23_an_old_tab_does_not_take_back_a_cashier_who_was_dismissed(owner, shop, database):
    path = f"/admin/tills/cashiers/{shop.cashier.id}"
    mark = owner.mark("/admin/tills/cashiers", path)
    out = {"name": shop.cashier.name, "branch": str(shop.branch.id), "seen": mark}
    assert owner.send(path, **out).status_code == 303
    old = owner.send(path, **cashier_form(shop.cashier, name="นกน้อย", seen=mark))
    assert (old.status_code, "นกน้อย" in old.text) == (409, False)
    assert not one(database, Cashier, id=shop.cashier.id).is_active
    back = cashier_form(shop.cashier, seen=owner.mark("/admin/tills/cashiers", path))
    assert owner.send(path, **back).status_code == 303


def test_a_cashier_of_a_closed_branch_stays_there_until_moved(owner, shop, ari, database):
    form = {"name_th": "สยาม", "name_en": "Siam"}
    owner.send(f"/admin/tills/branches/{shop.branch.id}", **form)
    page = owner.get("/admin/tills/cashiers").text
    fields = page.partition(f'data-testid="cashier-{shop.cashier.id}"')[2].partition("</form>")[0]
    chosen = re.findall(r'<option value="(\d+)" selected', fields)
    assert chosen == [str(shop.branch.id)]
    path = f"/admin/tills/cashiers/{shop.cashier.id}"
    sent = cashier_form(shop.cashier, branch=chosen[0], name="นกน้อย")
    assert owner.send(path, **sent).status_code == 303
    saved = one(database, Cashier, id=shop.cashier.id)
    assert (saved.name, saved.branch_id) == ("นกน้อย", shop.branch.id)
    assert owner.send(path, **sent | {"branch": str(ari.id)}).status_code == 303
    assert owner.send(path, **sent).status_code == 422  # nobody is moved to a closed one


def test_a_closed_branch_has_no_tills(owner, till, shop):
    form = {"name_th": "สยาม", "name_en": "Siam"}
    owner.send(f"/admin/tills/branches/{shop.branch.id}", **form)
    assert till.ask("/cashier/release", {"holds": []}).status_code == 401


def test_new_cashiers_pin_is_shown_once_and_opens_the_till(owner, till, shop, database):
    page = owner.send(
        "/admin/tills/cashiers", name="แอน", branch=str(shop.branch.id), is_manager="1"
    )
    pin = re.search(r'data-testid="new-pin">(\d{6})<', page.text)
    assert pin is not None
    assert pin[1] not in owner.get("/admin/tills").text
    made = one(database, Cashier, name="แอน")
    assert made.is_manager
    assert till.send("/cashier/pin", cashier=str(made.id), pin=pin[1]).status_code == 303


def test_ak5_a_lock_is_ended_by_a_manager(owner, shop, runtime, database):
    for _ in range(5):
        with runtime.transaction() as session:
            people.try_pin(session, session.get_one(Cashier, shop.cashier.id), "000000", NOW)
    assert "ใส่ PIN ผิดหลายครั้ง" in owner.get("/admin/tills").text
    owner.send(f"/admin/tills/cashiers/{shop.cashier.id}/pin", act="unlock")
    assert one(database, Cashier, id=shop.cashier.id).locked_until is None


def test_ak1_own_membership_is_linked_by_number_and_refused_at_the_till(
    owner, till, shop, somchai, database
):
    form = cashier_form(shop.cashier, member_no=somchai.member_no)
    owner.send(f"/admin/tills/cashiers/{shop.cashier.id}", **form)
    body = {"member": somchai.public_id, "bill": "100"}
    answer = till.ask("/cashier/confirm", body, fresh=True)
    assert answer.get_json()["code"] == "cashiers.own_account"
    assert "พยายามบันทึกให้บัญชีของตัวเอง" in owner.get("/admin/tills").text
    wrong = owner.send(
        f"/admin/tills/cashiers/{shop.cashier.id}", **cashier_form(shop.cashier, member_no="1")
    )
    assert wrong.status_code == 404


def test_aa3_the_owner_says_whose_account_a_cashier_is_and_nobody_adjusts_their_own(
    owner, sign_in, shop, somchai, database, runtime
):
    manager = sign_in("manager")
    me = one(database, Staff, role="manager").id
    path, own = f"/admin/tills/cashiers/{shop.cashier.id}", {"member_no": somchai.member_no}
    form = cashier_form(shop.cashier, **own)
    assert manager.send(path, **form, staff=str(me)).status_code == 303
    assert one(database, Cashier, id=shop.cashier.id).staff_id is None  # not theirs to say
    assert owner.send(path, **form, staff="99").status_code == 422
    assert owner.send(path, **form, staff=str(me)).status_code == 303
    fields = owner.get("/admin/tills/cashiers").text.partition('name="staff"')[2]
    assert f'<option value="{me}" selected' in fields.partition("</select>")[0]
    assert manager.send(path, **cashier_form(shop.cashier)).status_code == 303
    kept = one(database, Cashier, id=shop.cashier.id)
    assert (kept.staff_id, kept.member_id) == (me, somchai.id)
    with runtime.transaction() as session:
        malee = factories.malee(session)
        session.get_one(Member, malee.id).phone_index = somchai.phone_index
    points = {"direction": "up", "points": "500", "reason": "x", "key": "k"}
    for member in (somchai, malee):
        answer = manager.send(f"/admin/members/{member.public_id}/adjust", **points)
        assert answer.status_code == 403


def test_owner_sets_ceilings_for_all_and_for_one_branch(owner, shop, database):
    form = {f"{role}_{span}": "100" for role in ceilings.ROLES for span in ceilings.SPANS}
    owner.send("/admin/tills/ceilings", **form)
    own = {"name_th": "สยาม", "name_en": "Siam", "is_active": "1", "cashier_operation": "50.50"}
    owner.send(f"/admin/tills/branches/{shop.branch.id}", **own)
    with database.read() as session:
        everywhere = ceilings.ceilings_for(session, "cashier")
        here = ceilings.ceilings_for(session, "cashier", shop.branch.code)
    assert (everywhere.operation, here.operation, here.shift) == (10_000, 5_050, 10_000)
    odd = owner.send("/admin/tills/ceilings", **{**form, "cashier_day": "x"})
    assert odd.status_code == 422


def test_manager_of_one_branch_looks_after_that_one(sign_in, shop, ari, runtime):
    manager = sign_in("manager", branch_id=shop.branch.id)
    with runtime.transaction() as session:
        there = factories.nok(session, branch=ari)
        device = factories.make_device(session, branch=ari, token_hash="till-ari")
    page = manager.get("/admin/tills").text
    assert "สยาม" in page
    assert "อารีย์" not in page
    answers = [
        manager.send(f"/admin/tills/branches/{ari.id}", name_th="x", name_en="x"),
        manager.send(f"/admin/tills/cashiers/{there.id}", **cashier_form(there)),
        manager.send(f"/admin/tills/cashiers/{there.id}/pin"),
        manager.send(f"/admin/tills/devices/{device.id}", act="revoke"),
        manager.send("/admin/tills/branches", code="NEW", name_th="x", name_en="x"),
    ]
    assert {answer.status_code for answer in answers} == {403}
    away = manager.send(
        f"/admin/tills/cashiers/{shop.cashier.id}",
        **cashier_form(shop.cashier, branch=str(ari.id)),
    )
    assert away.status_code == 422
    assert manager.send("/admin/tills/code", branch=str(ari.id)).status_code == 422
    assert "สยาม" in manager.get("/admin/tills/shifts?branch=ari").text


def test_everything_is_written_to_the_audit_chain(owner, shop, ari, database):
    owner.send("/admin/tills/code", branch=str(shop.branch.id))
    owner.send(f"/admin/tills/cashiers/{shop.cashier.id}/pin", act="reset")
    owner.send(f"/admin/tills/cashiers/{shop.cashier.id}", **cashier_form(shop.cashier))
    owner.send(f"/admin/tills/devices/{shop.device.id}", act="move", branch=str(ari.id))
    owner.send(f"/admin/tills/devices/{shop.device.id}", act="revoke")
    with database.read() as session:
        acts = session.scalars(select(AuditRow.act).order_by(AuditRow.id)).all()
    assert acts == [
        "devices.code_made", "cashiers.pin_reset", "cashiers.changed", "devices.moved",
        "devices.revoked",
    ]  # fmt: skip


def test_k8_shift_report_and_its_csv_hold_no_formulas(owner, till, shop, somchai, runtime):
    with runtime.transaction() as session:
        session.get_one(Cashier, shop.cashier.id).name = '=HYPERLINK("http://evil")'
    till.ask("/cashier/confirm", {"member": somchai.public_id, "bill": "250"}, fresh=True)
    page = owner.get(f"/admin/tills/shifts?branch={shop.branch.code}")
    assert "250" in page.text
    answer = owner.get(f"/admin/tills/shifts.csv?branch={shop.branch.code}")
    rows = list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff"))))
    assert rows[1][:4] == ['\'=HYPERLINK("http://evil")', "1", "250.00", "10"]
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_odd_ids_and_choices_are_answered(owner, shop):
    assert owner.send("/admin/tills/cashiers/99999", name="x").status_code == 404
    assert owner.send("/admin/tills/devices/99999", act="revoke").status_code == 404
    assert owner.send("/admin/tills/branches/99999", name_th="x", name_en="x").status_code == 404
    assert owner.send("/admin/tills/code", branch="²").status_code == 422
    assert owner.send("/admin/tills/cashiers", name="", branch="1").status_code == 422
    days = ["x", "0001-01-01", "9999-12-31"]
    assert {owner.get(f"/admin/tills/shifts?day={day}").status_code for day in days} == {200}


def test_a_shop_without_a_branch_is_led_to_its_first(sign_in, database):
    owner = sign_in("owner")
    page = owner.get("/admin/tills").text
    assert "เริ่มจากเพิ่มสาขาแรก" in page
    assert "/admin/tills/code" not in page
    first = {"code": "MAIN", "name_th": "สาขาหลัก", "name_en": "Main branch"}
    assert all(f'value="{words}"' in page for words in first.values())
    assert owner.send("/admin/tills/branches", **first).status_code == 303
    assert "/admin/tills/code" in owner.get("/admin/tills/devices").text


def test_a_branch_that_gives_nothing_alone_keeps_that_when_its_form_is_saved_again(owner, shop):
    own = {"name_th": "สยาม", "name_en": "Siam", "is_active": "1", "cashier_operation": "0"}
    owner.send(f"/admin/tills/branches/{shop.branch.id}", **own)
    assert 'name="cashier_operation" value="0"' in owner.get("/admin/tills").text
