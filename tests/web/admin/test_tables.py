"""Lists of the console: order, columns somebody chose, and files of exactly what was found."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest
from openpyxl import load_workbook
from sqlalchemy import select

from core.i18n import t
from loyalty import audit, purchases, tickets
from models.members import MemberTotals
from models.results import Alarm
from models.staff import AuditRow, StaffSession
from tests.moments import BANGKOK, NOW
from tests.web.admin.conftest import rows_of
from web.admin import liability, tables
from web.admin.members import MEMBERS
from web.admin.tables import FILE_ROWS, PAGE_ROWS


def test_a_file_holds_exactly_what_the_page_found_on_all_its_pages(owner, crowd):
    everybody = rows_of(owner.send("/admin/members.csv"))
    found = rows_of(owner.send("/admin/members.csv?q=cmd&sort=name&down=0&page=2"))
    assert len(everybody) == 1 + 2 + PAGE_ROWS
    assert len(found) == 1 + PAGE_ROWS
    assert found[0][0] == "ชื่อ"
    assert [row[0] for row in found[1:]] == sorted(row[0] for row in found[1:])
    assert all(row[0].startswith("'=cmd|") for row in found[1:])


def test_a_workbook_holds_figures_as_figures_and_no_formula(owner, crowd):
    answer = owner.send("/admin/members.xlsx")
    sheet = load_workbook(io.BytesIO(answer.data)).active
    assert answer.headers["Content-Disposition"].endswith('.xlsx"')
    assert sheet.max_row == 1 + 2 + PAGE_ROWS
    assert {cell.data_type for row in sheet.iter_rows() for cell in row} <= {
        "inlineStr",
        "s",
        "n",
        "d",
    }
    points = [cell.value for cell in sheet[1]].index("แต้ม")
    assert {type(row[points].value) for row in sheet.iter_rows(min_row=2)} == {int}


def test_aa5_people_leave_only_after_the_password_and_with_an_audit_row(
    runtime, sign_in, crowd, clock
):
    browser = sign_in("manager")
    with runtime.transaction() as session:
        for held in session.scalars(select(StaffSession)):
            held.created_at = clock.real_now() - timedelta(hours=1)
    answer = browser.send("/admin/members.csv?q=cmd")
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/admin/confirm")
    with runtime.transaction() as session:
        for held in session.scalars(select(StaffSession)):
            held.created_at = clock.real_now()
    assert browser.send("/admin/members.csv?q=cmd").status_code == 200
    with runtime.database.read() as session:
        taken = session.scalars(select(AuditRow).where(AuditRow.act == "exports.made")).all()
    assert [row.facts for row in taken] == [
        {"what": "members", "kind": "csv", "rows": PAGE_ROWS, "search": "cmd"}
    ]


@pytest.mark.parametrize(
    "page, path",
    [(tables, "/admin/members.xlsx"), (liability, "/admin/suspects/members.csv")],
)
def test_a_file_is_made_while_others_write(owner, crowd, database, monkeypatch, page, path):
    made = page.spreadsheet

    def beside(rows, name):
        with database.write() as session:
            audit.record(session, "cli", "imports.dropped", {}, NOW)
        return made(rows, name)

    monkeypatch.setattr(page, "spreadsheet", beside)
    assert owner.send(path).status_code == 200
    with database.read() as session:
        acts = session.scalars(select(AuditRow.act)).all()
    assert sorted(acts) == ["exports.made", "imports.dropped"]


def test_fx13_the_owner_is_told_of_people_taken_out_until_it_is_seen(owner, crowd, runtime):
    for _ in range(2):
        owner.send("/admin/members.csv")
    with runtime.database.read() as session:
        alarm = session.scalars(select(Alarm)).one()
    assert (alarm.kind, alarm.facts["list"]) == ("exports.made", "members")
    assert t("th", "alarms.title_exports_made", staff="เปรม") in owner.get("/admin/alarms").text
    owner.send(f"/admin/alarms/{alarm.id}/seen")
    with runtime.database.read() as session:
        assert session.scalars(select(Alarm.ended_at)).one() is not None


def test_fx13_a_file_lies_behind_no_link_that_could_live_on(owner, crowd, app):
    """The file is the answer to a form alone: its address gives nobody anything, ever."""
    answer = owner.send("/admin/members.csv")
    assert answer.headers["Cache-Control"] == "no-store"
    assert owner.get("/admin/members.csv").status_code == 405
    assert app.test_client().get("/admin/members.csv").status_code == 405
    assert app.test_client().post("/admin/members.csv").status_code == 403


def test_fx13_who_only_reads_takes_no_people_out(sign_in, crowd):
    assert sign_in("auditor").send("/admin/members.csv").status_code == 403
    assert "/admin/members.csv" not in sign_in("auditor", email="two@taem.example").get(
        "/admin/members"
    ).text.replace("&amp;", "&")


def test_a_file_without_people_is_for_every_reader_of_the_page(sign_in, shop):
    answer = sign_in("marketer").get("/admin/offers.csv")
    assert answer.status_code == 200
    assert len(rows_of(answer)) == 1 + 2


def test_a_list_too_long_for_one_file_is_refused_in_words(owner, crowd, monkeypatch):
    monkeypatch.setattr(tables, "FILE_ROWS", 3)
    answer = owner.send("/admin/members.csv")
    assert answer.status_code == 422
    assert "3" in answer.text
    assert FILE_ROWS > 3


def test_columns_stay_as_chosen_in_this_browser_and_the_filter_stays(owner, crowd):
    answer = owner.send(
        "/admin/columns", list="members", column=["name", "points"],
        next="/admin/members", query="q=cmd&sort=name",
    )  # fmt: skip
    assert answer.headers["Location"] == "/admin/members?q=cmd&sort=name"
    page = owner.get("/admin/members").text
    assert page.count('role="columnheader"') == 2
    assert len(rows_of(owner.send("/admin/members.csv"))[0]) == len(MEMBERS.columns)
    owner.send("/admin/columns", list="members", next="/admin/members")
    assert owner.get("/admin/members").text.count('role="columnheader"') == len(MEMBERS.columns)


def test_an_odd_choice_of_columns_shows_all(owner, crowd):
    for kept in ("members.", "members.zzz", "~~..~", "%00", "members.\x7f", "é"):
        owner.client.set_cookie("taem_lists", kept)
        shown = owner.get("/admin/members").text.count('role="columnheader"')
        assert shown == len(MEMBERS.columns), kept


def test_choosing_columns_leads_nowhere_else(owner, crowd):
    answer = owner.send("/admin/columns", list="members", next="//evil.com", query="a=\r\nX: y")
    assert answer.headers["Location"].startswith("/admin?")
    assert "\n" not in answer.headers["Location"]
    assert owner.send("/admin/columns", list="<x>", next="/admin").status_code == 422


def test_an_empty_find_offers_the_whole_list(owner, crowd):
    page = owner.get("/admin/members?q=nobody-like-this").text
    assert "ดูทั้งหมด" in page
    assert 'href="/admin/members"' in page


def test_bills_are_found_by_branch_day_and_state(owner, runtime, shop, somchai):
    with runtime.transaction() as session:
        for number, days in enumerate((0, 3)):
            purchases.record_purchase(
                session, member_id=somchai.id, branch=shop.branch, amount_satang=12_345,
                operation_id=f"device:1:{number}", now=NOW - timedelta(days=days), tz=BANGKOK,
            )  # fmt: skip
    today = NOW.astimezone(BANGKOK).date().isoformat()
    asked = {
        "": 2, f"?since={today}": 1, "?until=2020-01-01": 0, "?since=nonsense": 2,
        "?state=voided": 0, "?branch=nowhere": 0, "?q=สมชาย": 2, "?q=somebody": 0,
    }  # fmt: skip
    found = {query: len(rows_of(owner.send(f"/admin/purchases.csv{query}"))) - 1 for query in asked}
    assert found == asked
    assert rows_of(owner.send("/admin/purchases.csv"))[1][4] == "123.45"


def test_vouchers_matters_and_holds_have_lists_of_their_own(owner, runtime, shop, somchai, claim):
    claim(somchai)
    with runtime.transaction() as session:
        tickets.open_ticket(session, somchai.id, "กาแฟหก", NOW)
        totals = session.get_one(MemberTotals, somchai.id)
        totals.frozen_at, totals.frozen_why = NOW, "not_me"
    for path in (
        "vouchers?state=issued",
        f"vouchers?offer={shop.coupon.key}",
        "tickets",
        "disputes",
    ):
        assert somchai.name in owner.get(f"/admin/{path}").text
    for path in ("vouchers?state=void", "tickets?state=done", "disputes?q=somebody"):
        assert somchai.name not in owner.get(f"/admin/{path}").text


@pytest.mark.parametrize("language", ["th", "en"])
def test_figures_of_months_speak(sign_in, runtime, shop, somchai, language):
    page = sign_in("marketer", locale=language).get("/admin/figures")
    assert page.status_code == 200
    assert t(language, "figures.cohorts") in page.text
    assert "พ.ย. 69" in page.text or "Nov 26" in page.text


@pytest.mark.parametrize("name", ["endpoint", "self", "rule", "_scheme", "_method", "_external"])
def test_FX08_no_name_in_the_address_breaks_a_list_or_leads_elsewhere(owner, crowd, name):
    page = owner.get(f"/admin/members?{name}=javascript&q=cmd")
    assert page.status_code == 200
    assert "javascript:" not in page.text
