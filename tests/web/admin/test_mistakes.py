"""What a hurried owner gets wrong in the console: each is a sentence, none is a fault."""

from __future__ import annotations

from functools import wraps

import pytest
from flask import Response
from sqlalchemy import select

from core.i18n import LOCALES, t
from engagement import notices
from loyalty import shop
from models.staff import AuditRow
from rich_menus import publish
from tests.moments import NOW
from web.admin.ground import noted
from web.admin.words import message_kind
from web.ground import db

OFFER = {
    "name_th": "ลด 10%",
    "name_en": "10% off",
    "key": "ten",
    "kind": "percent_off",
    "percent": "10",
    "obtained": "claim",
    "state": "live",
}


@pytest.mark.parametrize(
    "days",
    [
        {"starts_on": "2026-12-31", "ends_on": "2026-01-01"},
        {"ends_on": "9999-12-31"},
        {"starts_on": "0001-01-01"},
    ],
)
def test_days_that_make_no_sense_come_back(owner, shop, days):
    answer = owner.send("/admin/offers/new", **OFFER, **days)
    assert answer.status_code == 422
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize(
    "field, given, problem",
    [
        ("colour.ground", "red", "colour"),
        ("main.chat_bar.th", "ย" * 60, "chat_bar"),
        ("main.join.label.th", "", "label"),
        ("main.join.icon", "zzz", "icon"),
        ("main.join.value", "", "postback"),
    ],
)
def test_menu_that_line_would_refuse_says_why(owner, shop, runtime, field, given, problem):
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
    answer = owner.send("/admin/menus/guest", **{"main.join.x": "0", field: given})
    assert answer.status_code == 422
    assert t("th", f"menus.problem_{problem}") in answer.text


@pytest.mark.parametrize("kind", ["lifecycle.win_back", *notices.RULES, "conversations.replied"])
def test_kinds_of_messages_have_names(kind):
    for language in LOCALES:
        assert message_kind(kind, language) != kind
    assert message_kind("of.tomorrow", "th") == "of.tomorrow"


def test_fx08_a_number_that_no_row_has_is_no_fault(owner):
    assert owner.get(f"/admin/codes.csv?offer_id=1{'0' * 20}").status_code == 200


@pytest.mark.parametrize("before", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-12:00"])
def test_fx08_the_ends_of_the_calendar_are_no_fault(owner, somchai, before):
    page = owner.get(f"/admin/members/{somchai.public_id}/messages?before={before}")
    assert page.status_code == 404


@pytest.mark.parametrize("status, kept", [(409, ""), (422, ""), (200, "02-111-1111")])
def test_z4_what_a_form_wrote_before_it_was_refused_is_not_kept(
    owner, app, database, monkeypatch, status, kept
):
    view = app.view_functions["admin.settings_save"]

    @wraps(view)
    def half_done(**_: object) -> Response:
        shop.set(db(), "shop.phone", "02-111-1111", NOW)
        noted("settings.changed", keys=["shop.phone"])
        db().flush()
        return Response("ดูใหม่อีกครั้งนะคะ", status)

    monkeypatch.setitem(app.view_functions, "admin.settings_save", half_done)
    assert owner.send("/admin/settings/shop").status_code == status
    with database.read() as session:
        assert shop.get(session, "shop.phone") == kept
        noted_rows = select(AuditRow.id).where(AuditRow.act == "settings.changed")
        assert bool(session.scalar(noted_rows)) is bool(kept)


@pytest.mark.parametrize(
    "path, form, kept",
    [
        ("surveys/settings", {"csat_days": "7", "nps_days": "5", "review_url": "https://r.example"},
         'name="csat_days" inputmode="numeric" maxlength="3" value="7"'),
        ("referrals/rules", {"friend_gift": "", "referrer_gift": "", "min_baht": "ร้อย"},
         'value="ร้อย"'),
        ("tiers/rules", {"basis": "points", "window": "year", "hold_months": "99", "fall": "one_step"},
         'value="points" selected'),
        ("liability/worth", {"worth": "x"}, 'value="x"'),
    ],
)  # fmt: skip
def test_what_was_typed_is_still_there_when_it_is_refused(owner, shop, path, form, kept):
    answer = owner.send(f"/admin/{path}", **form)
    assert answer.status_code == 422
    assert kept in answer.text
