"""Privacy in the console: texts published, days of keeping, and the breach report (Z24)."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from core.i18n import t
from loyalty import consents, shop
from models.members import Consent, ConsentText, Purpose
from models.staff import ApiKey, AuditRow, Staff
from tests import factories
from tests.moments import NOW

WORDS = {"body_th": "เราส่งข่าวจาก {shop} <b>", "body_en": "News from {shop}", "asks_again": "1"}


def test_publishes_a_new_version_whose_holders_are_counted(owner, database, somchai):
    assert owner.send("/admin/privacy/texts/marketing", **WORDS).status_code == 303
    page = owner.get("/admin/privacy").text
    assert "เราส่งข่าวจาก {shop} &lt;b&gt;" in page
    assert t("th", "privacy.holders", number=1, count="1") in page
    with database.read() as session:
        row = session.scalars(select(ConsentText)).one()
        act = session.scalars(select(AuditRow).where(AuditRow.act == "consents.published")).one()
    assert (row.version, row.asks_again) == (2, True)
    assert act.facts == {"purpose": "marketing", "version": 2, "asks_again": True}


@pytest.mark.parametrize(
    "odd", [{"body_th": ""}, {"body_en": "ก" * 1001}, {"body_th": "{name}"}, {"body_en": "{shop"}],
    ids=str,
)  # fmt: skip
def test_FX19_a_text_that_cannot_be_shown_is_refused_when_saved(owner, database, odd):
    answer = owner.send("/admin/privacy/texts/marketing", **WORDS | odd)
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    with database.read() as session:
        assert session.scalars(select(ConsentText)).all() == []


def test_a_refused_text_asks_nobody_whom_it_was_not_to_ask(owner):
    quiet = {"body_th": "{name}", "body_en": "x"}
    page = owner.send("/admin/privacy/texts/marketing", **quiet).text
    assert page.count('name="asks_again" value="1" checked') == 2, "the two other purposes'"
    page = owner.send("/admin/privacy/texts/marketing", **quiet, asks_again="1").text
    assert page.count('name="asks_again" value="1" checked') == 3


def test_only_the_owner_publishes_and_sets_days(sign_in, database):
    for role, status in (("manager", 200), ("auditor", 200), ("marketer", 403)):
        browser = sign_in(role)
        assert browser.get("/admin/privacy").status_code == status
        assert browser.send("/admin/privacy/texts/marketing", **WORDS).status_code == 403
        assert browser.send("/admin/privacy/retention").status_code == 403


DAYS = {
    "chats": "365",
    "pictures": "90",
    "events": "30",
    "calls": "60",
    "files": "2",
    "looks": "90",
}


def test_days_of_keeping_are_saved_within_their_bounds(owner, database):
    assert owner.send("/admin/privacy/retention", **DAYS).status_code == 303
    with database.read() as session:
        assert shop.get(session, "retention.chats_days") == 365
    for odd in ({"chats": "1"}, {"looks": "89"}, {"pictures": "99999"}, {"events": "x"}):
        assert owner.send("/admin/privacy/retention", **DAYS | odd).status_code == 422
    with database.read() as session:
        assert shop.get(session, "retention.chats_days") == 365


def test_Z24_the_breach_report_says_who_saw_and_took_what_since_when(
    owner, sign_in, somchai, database, clock
):
    manager = sign_in("manager", name="ผู้จัดการ")
    with database.read() as session:
        about = session.scalars(select(Staff.id).where(Staff.role == "manager")).one()
    manager.get(f"/admin/members/{somchai.public_id}")
    manager.send("/admin/members.csv")
    day = NOW.date().isoformat()
    form = {"actor": f"staff:{about}", "since": day}
    page = owner.send("/admin/privacy/breach", **form, **{"as": "page"}).text
    assert somchai.public_id in page
    assert "rows 1" in page
    file = owner.send("/admin/privacy/breach", **form, **{"as": "csv"}).text
    assert re.search(rf'"staff:{about}","members.read","{somchai.public_id}"', file)
    assert re.search(rf'"staff:{about}","exports.made"', file)
    assert "สมชาย" not in file  # numbers, not names: the report itself must not leak
    clock.advance(days=2)
    later = {"actor": f"staff:{about}", "since": "2026-11-24", "as": "csv"}
    assert somchai.public_id not in owner.send("/admin/privacy/breach", **later).text


def test_Z24_what_a_key_of_the_api_was_shown_is_in_its_report(
    owner, api, shop, somchai, show, runtime
):
    with runtime.transaction() as session:
        malee = factories.malee(session)
    for read in (f"/members/{somchai.member_no}", f"/members?code={show(somchai)}"):
        assert api("GET", read).status_code == 200
    assert api("GET", "/members/999999998").status_code == 404
    assert api("HEAD", f"/members/{malee.member_no}").status_code == 200  # shows nothing
    with runtime.database.read() as session:
        key_id = session.scalars(select(ApiKey.id)).one()
    page = owner.get("/admin/privacy").text
    assert f'value="api:{key_id}"' in page
    assert f'value="device:{shop.device.id}"' in page
    form = {"actor": f"api:{key_id}", "since": NOW.date().isoformat(), "as": "csv"}
    file = owner.send("/admin/privacy/breach", **form).text
    assert file.count(f'"api:{key_id}","members.read","{somchai.public_id}"') == 1
    assert malee.public_id not in file


def test_a_breach_report_about_nobody_is_refused_and_others_may_not_ask(owner, sign_in):
    for actor in ("staff:99", "staff:x", "nobody", "", "staff:²"):
        assert owner.send("/admin/privacy/breach", actor=actor).status_code == 404
    assert owner.send("/admin/privacy/breach", actor="staff:1", since="x").status_code == 422
    assert sign_in("manager").send("/admin/privacy/breach", actor="staff:1").status_code == 403


def test_the_page_of_everybody_shows_what_is_in_force(client, runtime):
    with runtime.transaction() as session:
        consents.publish(
            session, Purpose.MARKETING, body_th="ฉบับใหม่", body_en="New", asks_again=True,
            by="staff:1", now=NOW,
        )  # fmt: skip
    page = client.get("/m/privacy").text
    assert "ฉบับใหม่" in page
    assert t("th", "retention.days", count=730) in page


def test_reads_no_consent_row_twice(owner, somchai, database):
    owner.send("/admin/privacy/texts/membership", **WORDS)
    with database.read() as session:
        rows = session.scalars(select(Consent.text_version)).all()
    assert set(rows) == {"1"}  # publishing changes nobody's consent
