"""Life cycle, thresholds and surveys in the console: seen, filtered, changed, refused, kept apart."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import select

from core.i18n import t, texts
from loyalty import lifecycle, purchases, surveys, tickets
from loyalty import shop as settings
from loyalty.lifecycle.thresholds import NAMES, Thresholds
from models.conversations import Ticket, TicketState
from models.members import MemberTotals
from models.scores import MemberScore, SurveyAnswer
from models.staff import AuditRow
from tests import factories
from tests.moments import BANGKOK, NOW
from web.admin.lifecycle import _as_typed

PAGES = [
    "/admin", "/admin/lifecycle", "/admin/lifecycle?days=365", "/admin/lifecycle/thresholds",
    "/admin/surveys", "/admin/surveys?days=30&kind=csat", "/admin/members?level=neutral",
]  # fmt: skip


@pytest.fixture
def bought(runtime, shop, somchai):
    """Somchai has bought yesterday, was not pleased, and said why; the night has passed."""
    with runtime.transaction() as session:
        purchases.record_purchase(
            session, member_id=somchai.id, branch=shop.branch, amount_satang=25_000,
            operation_id="device:1:1", now=NOW - timedelta(days=1), tz=BANGKOK,
        )  # fmt: skip
    with runtime.transaction() as session:
        question = surveys.ask(session, somchai.id, "csat", "purchase:1", NOW)
        surveys.answer(session, somchai.id, question.id, 1, NOW)
        surveys.take_why(
            session, runtime.vault, somchai, "รอนานไปหน่อย", line_message_id="m", now=NOW
        )
        lifecycle.run_whole(session, NOW, BANGKOK)
    return somchai


@pytest.mark.parametrize("language", ["th", "en"])
def test_every_page_of_the_life_cycle_speaks(sign_in, bought, language):
    browser = sign_in("owner", locale=language)
    pages = [*PAGES, f"/admin/members/{bought.public_id}"]
    answers = {path: browser.get(path) for path in pages}
    assert {path: one.status_code for path, one in answers.items() if one.status_code != 200} == {}
    text = "".join(answer.text for answer in answers.values())
    seen = set(re.findall(r">\s*([a-z_]+\.[a-z_]+)\s*<", text))
    assert seen & set(texts(language)) == set()
    assert "style=" not in text
    assert t(language, "levels.at_risk") in answers["/admin/lifecycle"].text
    member = answers[pages[-1]].text
    assert t(language, "facts.change_happier", csat_days=90) in member
    assert t(language, "surveys.ticket_csat", score=1) in member


def test_l3_a_square_of_the_grid_leads_to_its_members(owner, bought, database):
    with database.read() as session:
        score = session.get_one(MemberScore, bought.id)
    place = (score.frequency + score.money + 1) // 2
    page = owner.get("/admin/lifecycle").text
    assert f"rfm={score.recency}-{place}" in page
    here = {
        f"rfm={score.recency}-{place}": True, f"rfm={score.rfm_group}": True, "rfm=champions": False,
        "stage=purchase": True, "stage=advocacy": False, "level=at_risk": True, "level=vip": False,
        "rfm=9-9&stage=odd": True,
    }  # fmt: skip
    found = {query: "สมชาย" in owner.get(f"/admin/members?{query}").text for query in here}
    assert found == here


def typed(**changes: str) -> dict[str, str]:
    usual = {name: _as_typed(name, getattr(Thresholds(), name)) for name in NAMES}
    return usual | changes


def test_l2_thresholds_are_changed_written_down_and_put_back(owner, shop, database):
    wanted = typed(at_risk_days="40", inactive_gaps="2.5", rfm_satang="9000, 800, 70, 6")
    assert owner.send("/admin/lifecycle/thresholds", **wanted).status_code == 303
    with database.read() as session:
        found = lifecycle.thresholds.of(session)
        assert (found.at_risk_days, found.inactive_gaps) == (40, 2.5)
        assert found.rfm_satang == (900_000, 80_000, 7_000, 600)
    assert owner.send("/admin/lifecycle/thresholds/usual").status_code == 303
    with database.read() as session:
        assert lifecycle.thresholds.of(session) == Thresholds()
        acts = list(session.scalars(select(AuditRow.act)))
    assert acts.count("lifecycle.thresholds_changed") == 2


ODD_THRESHOLDS = (
    {"at_risk_days": "90"}, {"at_risk_gaps": "3"}, {"inactive_days": "0"}, {"tickets": "x"},
    {"csat_low": "5"}, {"rfm_days": "60, 30, 14, 7"}, {"rfm_bills": "1,2"}, {"rfm_days": ""},
    {"inactive_gaps": "nan"}, {"inactive_gaps": "inf"}, {"vip_percentile": "100"},
    {"rfm_satang": "9, 9, 8, 7"}, {"retention_gaps": "-1"},
)  # fmt: skip


def test_l2_odd_thresholds_come_back_with_what_to_do(owner, shop, database):
    for changes in ODD_THRESHOLDS:
        answer = owner.send("/admin/lifecycle/thresholds", **typed(**changes))
        assert answer.status_code == 422, changes
        assert 'role="alert"' in answer.text, changes
        with database.read() as session:
            assert lifecycle.thresholds.of(session) == Thresholds(), changes


def test_l4_low_marks_show_as_matters_and_are_settled_once(owner, bought, database):
    page = owner.get("/admin/surveys").text
    assert "รอนานไปหน่อย" in page
    assert "1.0" in re.search(r'data-testid="csat">([^<]*)<', page)[1]
    with database.read() as session:
        ticket = session.scalars(select(Ticket)).one()
    for _ in range(2):
        assert owner.send(f"/admin/tickets/{ticket.id}/done").status_code == 303
    with database.read() as session:
        assert session.get_one(Ticket, ticket.id).state == TicketState.DONE
    assert owner.send("/admin/tickets/999/done").status_code == 404


def test_l4_nps_is_promoters_less_detractors(owner, runtime, shop, database):
    with runtime.transaction() as session:
        for n, score in enumerate((10, 9, 9, 8, 3)):
            member = factories.make_member(session, f"{n} ลูกค้า")
            question = surveys.ask(session, member.id, "nps", "now", NOW)
            surveys.answer(session, member.id, question.id, score, NOW)
    page = owner.get("/admin/surveys").text
    assert re.search(r'data-testid="nps">([^<]*)<', page)[1] == "+40"


def test_l4_reasons_are_for_those_who_may_hear_them(sign_in, bought):
    marketer, auditor = sign_in("marketer"), sign_in("auditor")
    for browser in (marketer, auditor):
        page = browser.get("/admin/surveys").text
        assert "รอนานไปหน่อย" not in page
        assert browser.get("/admin/lifecycle").status_code == 200
    assert auditor.send("/admin/lifecycle/thresholds", **typed()).status_code == 403
    assert auditor.send("/admin/tickets/1/done").status_code == 403


def test_l4_how_often_we_ask_and_where_to_review(owner, shop, database):
    good = {"csat_days": "14", "nps_days": "120", "review_url": "https://g.page/r/cafe"}
    assert owner.send("/admin/surveys/settings", **good).status_code == 303
    with database.read() as session:
        assert settings.get(session, "shop.review_url") == "https://g.page/r/cafe"
        assert settings.get(session, "surveys.nps_every_days") == 120
    for odd in ({"nps_days": "89"}, {"csat_days": "0"}, {"review_url": "javascript:alert(1)"},
                {"review_url": "https://a@b.example/"}):  # fmt: skip
        assert owner.send("/admin/surveys/settings", **(good | odd)).status_code == 422


def test_l1_the_review_link_leads_to_the_review_page_and_nowhere_else(client, runtime, bought):
    with runtime.transaction() as session:
        row = session.scalars(select(SurveyAnswer)).one()
        settings.set(session, "shop.review_url", "https://g.page/r/cafe", NOW)
        path = surveys.review_path(session, runtime.vault, row)
    phone = {"User-Agent": "Mozilla/5.0 (Linux; Android 14) Line/14.0"}
    assert client.get(f"/r/{row.id}.{'0' * 32}", headers=phone).status_code == 404
    client.head(path, headers=phone)
    with runtime.database.read() as session:
        assert session.get_one(SurveyAnswer, row.id).reviewed_at is None
    answer = client.get(path, headers=phone)
    assert (answer.status_code, answer.location) == (302, "https://g.page/r/cafe")
    with runtime.database.read() as session:
        assert session.get_one(SurveyAnswer, row.id).reviewed_at == NOW


def test_tickets_of_a_journey_or_staff_show_their_own_words(owner, runtime, bought):
    with runtime.transaction() as session:
        tickets.open_ticket(session, bought.id, "โทรกลับเรื่องเค้กวันเกิด", NOW)
        assert session.get_one(MemberTotals, bought.id).level_why
    assert "โทรกลับเรื่องเค้กวันเกิด" in owner.get(f"/admin/members/{bought.public_id}").text
