"""The console's pages of proof and watch (M8, M9): what a person finds there, by role and by language."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import case, select, update

from core.i18n import t
from engagement import alerts, definitions
from loyalty import alarms, shop
from models.journeys import Arm, Intent, IntentState, Journey
from models.members import Level
from models.outbox import MessageClass
from models.purchases import Purchase
from models.results import Alarm
from models.staff import AuditRow
from tests import factories
from tests.moments import NOW


@pytest.fixture
def journey(runtime) -> int:
    """Thirty-five thanked members who bought again, and thirty held out who did not."""
    at = NOW - timedelta(days=20)
    with runtime.transaction() as session:
        definitions.ensure(session, NOW)
        row = session.scalars(select(Journey).where(Journey.key == "lifecycle.thank_you")).one()
        branch = factories.make_branch(session)
        for place in range(65):
            member = factories.make_member(session, f"p{place}")
            arm = Arm.TREATED if place < 35 else Arm.HELD_OUT
            session.add(
                Intent(
                    member_id=member.id, journey_id=row.id, version=1, occasion=f"purchase:{place}",
                    step="thank", klass=MessageClass.PROMOTIONAL, created_at=at, window_from=at,
                    deadline=at, not_after=at, arm=arm, state=IntentState.TURNED,
                )
            )  # fmt: skip
            if arm == Arm.TREATED:
                session.add(
                    Purchase(
                        public_id=f"{place:032x}", member_id=member.id, branch_id=branch.id,
                        operation_id=f"r:{place}", local_on=at.date(),
                        purchased_at=at + timedelta(days=1), recorded_at=at,
                        amount_satang=10_000 + place,
                    )
                )  # fmt: skip
    return row.id


def test_M8_the_overview_and_the_report_say_what_a_journey_made(sign_in, journey):
    browser = sign_in("marketer")
    overview = browser.get("/admin/results").text
    assert "ขอบคุณหลังซื้อ" in overview
    assert "ได้ผลชัด" in overview
    report = browser.get(f"/admin/results/journey/{journey}").text
    assert "+3,506" in report
    assert "ความมั่นใจ 80%" in report
    file = browser.get("/admin/results/journeys.csv")
    assert "ได้ผลชัด" in file.text


def test_M8_a_loss_is_a_figure_in_the_file(sign_in, journey, runtime):
    other = case((Intent.arm == Arm.TREATED, Arm.HELD_OUT), else_=Arm.TREATED)
    with runtime.transaction() as session:
        session.execute(update(Intent).values(arm=other))
    file = sign_in("marketer").get("/admin/results/journeys.csv")
    assert ",0,100.17,-3005.1," in file.text


def test_M8_a_report_says_why_it_cannot_say_yet(sign_in, journey, runtime):
    browser = sign_in("marketer")
    with runtime.transaction() as session:
        held = select(Intent).where(Intent.arm == Arm.HELD_OUT).limit(20)
        for intent in session.scalars(held):
            session.delete(intent)
        ids = dict(session.execute(select(Journey.key, Journey.id)).all())
    report = browser.get(f"/admin/results/journey/{journey}").text
    assert t("th", "results.why_few", count="10", least=30) in report
    younger = browser.get(f"/admin/results/journey/{ids['lifecycle.win_back']}").text
    assert t("th", "results.no_holdout", count="0", needed="300") in younger
    assert t("th", "results.unmeasured") not in younger


@pytest.mark.parametrize("key", ["members.birthday", "members.welcome", "tiers.keep"])
def test_M8_what_everybody_gets_is_not_waiting_for_a_comparison(sign_in, journey, runtime, key):
    with runtime.database.read() as session:
        number = session.scalars(select(Journey.id).where(Journey.key == key)).one()
    report = sign_in("marketer").get(f"/admin/results/journey/{number}").text
    assert t("th", "results.everybody") in report
    assert t("th", "results.unmeasured") in report
    assert t("th", "results.unknown") not in report


@pytest.mark.parametrize("path", ["journey/99999", "campaign/99999", "other/1"])
def test_M8_what_is_not_there_is_404(sign_in, path):
    assert sign_in("owner").get(f"/admin/results/{path}").status_code == 404


def test_M8_whether_line_counts_is_a_switch(sign_in, runtime):
    browser = sign_in("owner")
    browser.send("/admin/results/units", on="0")
    with runtime.database.read() as session:
        assert shop.get(session, "messages.line_units") is False
        acts = session.scalars(select(AuditRow.act)).all()
    assert "results.units_changed" in acts


# Alarms


@pytest.fixture
def alarm(runtime) -> int:
    with runtime.transaction() as session:
        alarms.raise_alarm(session, "sending.paused:token", "sending.paused", {"why": "token"}, NOW)
        facts = {"cashier_id": 1, "count": 2}
        alarms.raise_alarm(session, "suspects.cashier:1", "suspects.cashier", facts, NOW)
        return session.scalars(select(Alarm.id).where(Alarm.kind == "sending.paused")).one()


def test_M9_an_open_alarm_is_in_the_navigation_until_it_is_seen(sign_in, runtime, alarm):
    browser = sign_in("owner")
    page = browser.get("/admin/alarms").text
    assert "การส่งข้อความหยุดอยู่" in page
    assert '<b class="count">2</b>' in page
    browser.send(f"/admin/alarms/{alarm}/seen")
    assert '<b class="count">1</b>' in browser.get("/admin/alarms").text
    with runtime.transaction() as session:
        alarms.end_alarm(session, "sending.paused:token", NOW)
    over = browser.get("/admin/alarms").text.rpartition("<h2>")[2]
    assert "การส่งข้อความหยุดอยู่" in over


def test_M9_who_is_watched_does_not_see_who_is_watched(sign_in, alarm):
    assert "แคชเชียร์" in sign_in("owner").get("/admin/alarms").text
    manager = sign_in("manager").get("/admin/alarms").text
    assert "การส่งข้อความหยุดอยู่" in manager
    assert "ตัวเลขของแคชเชียร์" not in manager


def test_M9_the_owner_says_who_is_told(sign_in, runtime):
    with runtime.transaction() as session:
        prem, walk_in = factories.make_member(session, "เปรม"), None
        walk_in = factories.make_member(session, "ไม่มีไลน์", line_user_id=None)
    browser = sign_in("owner")
    browser.send("/admin/alarms/owners", member_no=prem.member_no)
    refused = [
        browser.send("/admin/alarms/owners", member_no=number).status_code
        for number in (walk_in.member_no, "000000000", "", "x" * 30)
    ]
    assert refused == [404] * 4
    assert "เปรม" in browser.get("/admin/alarms").text
    with runtime.database.read() as session:
        assert shop.get(session, alerts.OWNERS) == [prem.id]
    browser.send(f"/admin/alarms/owners/{prem.public_id}/remove")
    with runtime.database.read() as session:
        assert shop.get(session, alerts.OWNERS) == []


# The week


def test_M9_the_week_can_be_read_and_turned_back(sign_in, journey):
    browser = sign_in("owner")
    assert "สมาชิกซื้อ" in browser.get("/admin/weekly").text
    assert browser.get("/admin/weekly?week=2026-11-02").status_code == 200
    for week in ("2026-11-03", "2027-11-01", "x", "0001-01-01"):
        assert browser.get(f"/admin/weekly?week={week}").status_code == 404


def test_M10_each_level_has_a_next_act_on_the_dashboard_and_on_the_member(sign_in, runtime):
    with runtime.transaction() as session:
        definitions.ensure(session, NOW)
        people = {level: factories.make_member(session, level.value) for level in Level}
        for level, member in people.items():
            member.totals.level = level
    browser = sign_in("owner")
    dashboard = browser.get("/admin").text
    assert "เริ่มห่าง 1 คน ข้อความชวนกลับมาเปิดอยู่" in dashboard
    for level, member in people.items():
        page = browser.get(f"/admin/members/{member.public_id}").text
        assert "ทำอะไรต่อดี" in page, level
