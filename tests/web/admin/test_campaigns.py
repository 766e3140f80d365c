"""Segments and campaigns in the console: built, looked at twice, sent, and never deleted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from sqlalchemy import select

from core.clock import at_local, local_day
from core.i18n import t
from engagement import campaigns, segments
from loyalty import shop as settings
from models.activities import Activity
from models.campaigns import Campaign, CampaignRecipient, CampaignState, RecipientState
from models.journeys import Arm
from models.members import Member
from models.outbox import ChannelState, Message, MessageClass, MessageState
from models.segments import Segment, SegmentVersion
from tests import factories
from tests.moments import BANGKOK, NOW

WORDS = {
    f"a.{language}.default.{field}": text
    for language, book in {
        "th": {"title": "ลาเต้ใหม่", "body": "มาลองนะคะ", "button": "ดูคูปอง"},
        "en": {"title": "New latte", "body": "Try it", "button": "Coupons"},
    }.items()
    for field, text in book.items()
}
VIP = {
    "name": "VIP เงียบ", "g0.join": "all", "g0.c0.field": "totals.level", "g0.c0.is": "one_of",
    "g0.c0.value": "vip", "g0.c1.field": "totals.last_purchase", "g0.c1.is": "before_days",
    "g0.c1.value": "30",
}  # fmt: skip


@pytest.fixture
def everybody(runtime: Any) -> Segment:
    """Three members, one of whom has blocked us, and a segment of all."""
    with runtime.transaction() as session:
        factories.somchai(session)
        factories.malee(session)
        factories.anan(session)
        return segments.create(session, "ทุกคน", segments.EVERYBODY, made_by="seed", now=NOW)


def written(browser: Any, segment: Segment, **more: Any) -> int:
    """A draft for this segment; its id."""
    form = {"name": "ลาเต้", "segment": str(segment.id), "topic": "offers", "holdout": "0"}
    saved = browser.send("/admin/campaigns/new", **form, **WORDS, **more)
    assert saved.status_code == 303, saved.text
    return int(saved.location.split("?")[0].rsplit("/", 1)[-1])


def campaign_of(runtime: Any, campaign_id: int) -> Campaign:
    with runtime.database.read() as session:
        return session.get_one(Campaign, campaign_id)


# --- Segments ---------------------------------------------------------------------------------------


def test_a_segment_is_built_without_script(sign_in, runtime, everybody) -> None:
    browser = sign_in("manager")
    page = browser.send("/admin/segments/new", **{"g0.join": "all", "g0.add": "totals.level", "do": "add.0"})  # fmt: skip
    assert 'name="g0.c0.is"' in page.text
    page = browser.send("/admin/segments/new", **VIP, do="count")
    assert 'data-testid="segment-count">0<' in page.text
    assert browser.send("/admin/segments/new", **VIP, do="save").status_code == 303
    with runtime.database.read() as session:
        kept = session.scalars(select(SegmentVersion).order_by(SegmentVersion.id.desc())).first()
    assert kept.tree == segments.READY["vip_silent"]
    shown = browser.get(f"/admin/segments/{kept.segment_id}").text
    assert "วัน" in shown
    again = VIP | {"g0.c1.value": "60", "do": "save"}
    assert browser.send(f"/admin/segments/{kept.segment_id}", **again).status_code == 303
    assert "ฉบับที่ 2" in browser.get(f"/admin/segments/{kept.segment_id}").text
    old = browser.get(f"/admin/segments/{kept.segment_id}?version=1").text
    assert 'value="30"' in old


def test_the_count_is_asked_while_typing_and_says_what_is_wrong(sign_in, everybody) -> None:
    browser = sign_in("marketer")
    form = {"g0.join": "all", "g0.c0.field": "member.language", "g0.c0.is": "one_of"}
    told = browser.send("/admin/segments/count", **form, **{"g0.c0.value": "en"}).text
    assert '"segment-count">1<' in told
    assert "Malee" not in told, "a marketer reads no names"
    assert "M•••" in told
    assert "ยังกรอกไม่ครบ" in browser.send("/admin/segments/count", **form).text


def test_hours_that_cannot_be_read_are_no_condition_left_out(sign_in, runtime) -> None:
    browser = sign_in("owner")
    form = {"name": "บ่าย", "do": "save", "g0.join": "all", "g0.c0.field": "purchases.count"}
    form |= {"g0.c0.is": "at_least", "g0.c0.value": "1"}
    refused = browser.send("/admin/segments/new", **form, **{"g0.c0.hours": "บ่าย"})
    assert (refused.status_code, 'value="บ่าย" maxlength="60"' in refused.text) == (422, True)
    assert browser.send("/admin/segments/new", **form, **{"g0.c0.hours": "14.00–17.00"}).status_code == 303  # fmt: skip
    with runtime.database.read() as session:
        kept = session.scalars(select(SegmentVersion).order_by(SegmentVersion.id.desc())).first()
    assert kept.tree["all"][0]["hours"] == [[14, 17]]


def test_each_ready_made_segment_opens_in_the_builder(sign_in, everybody) -> None:
    browser = sign_in("owner")
    for key in segments.READY:
        assert browser.get(f"/admin/segments/new?ready={key}").status_code == 200
    assert browser.get("/admin/segments").status_code == 200


def test_fx09_too_many_conditions_are_refused_with_the_limit(sign_in) -> None:
    browser = sign_in("owner")
    form = {"name": "ใหญ่", "do": "save"}
    for group in range(6):
        form[f"g{group}.join"] = "all"
        for row in range(10):
            form |= {f"g{group}.c{row}.field": "consent", f"g{group}.c{row}.is": "yes"}
    refused = browser.send("/admin/segments/new", **form)
    assert refused.status_code == 422
    assert "40" in refused.text


# --- Campaigns --------------------------------------------------------------------------------------


def test_m3_a_campaign_is_written_looked_at_and_sent(sign_in, runtime, everybody) -> None:
    browser = sign_in("marketer")
    number = written(browser, everybody)
    assert "ลาเต้ใหม่" in browser.get(f"/admin/campaigns/{number}").text
    look = browser.get(f"/admin/campaigns/{number}/look").text
    assert 'data-testid="messages">2<' in look
    assert "บล็อก" in look
    assert browser.send(f"/admin/campaigns/{number}/start", when="now").status_code == 303
    twice = browser.send(f"/admin/campaigns/{number}/start", when="now")
    assert twice.status_code == 409, "fx11"
    late = browser.send(
        f"/admin/campaigns/{number}", name="x", segment="1", topic="offers", holdout="0"
    )
    assert (late.status_code, t("th", "campaigns.state_freezing") in late.text) == (409, True)
    started = browser.get(f"/admin/campaigns/{number}").text
    assert 'data-live="' in started, "its progress is seen before anybody is listed"
    for _ in range(3):
        with runtime.transaction() as session:
            campaigns.step(session, runtime, NOW)
    with runtime.database.read() as session:
        assert len(session.scalars(select(Message)).all()) == 2
        assert len(session.scalars(select(CampaignRecipient)).all()) == 3
    report = browser.get(f"/admin/campaigns/{number}").text
    assert 'data-testid="part-waiting">2<' in report
    assert browser.send(f"/admin/campaigns/{number}/pause").status_code == 303
    assert browser.send(f"/admin/campaigns/{number}/resume").status_code == 303
    assert browser.send(f"/admin/campaigns/{number}/cancel").status_code == 303
    assert browser.get("/admin/campaigns").status_code == 200


def test_it_is_scheduled_for_an_hour_of_the_shop(sign_in, runtime, everybody) -> None:
    browser = sign_in("owner")
    number = written(browser, everybody)
    past = browser.send(
        f"/admin/campaigns/{number}/start", when="later", on="2020-01-01", at="10:00"
    )
    assert past.status_code == 422
    assert 'value="later" checked' in past.text, "a second press must not send to everybody at once"
    assert 'value="now" checked' not in past.text
    assert 'value="2020-01-01"' in past.text
    later = {"when": "later", "on": "2026-12-24", "at": "10:00"}
    assert browser.send(f"/admin/campaigns/{number}/start", **later).status_code == 303
    kept = campaign_of(runtime, number)
    assert kept.state == CampaignState.SCHEDULED
    assert kept.starts_at.isoformat() == "2026-12-24T03:00:00+00:00"
    assert "24 ธ.ค. 2569 10:00" in browser.get(f"/admin/campaigns/{number}").text
    assert browser.send(f"/admin/campaigns/{number}/unschedule").status_code == 303


def test_m6_what_was_changed_after_the_second_look_is_not_sent(sign_in, runtime, everybody) -> None:
    browser = sign_in("owner")
    number = written(browser, everybody)
    path = f"/admin/campaigns/{number}"
    mark = browser.mark(f"{path}/look")
    with runtime.transaction() as session:
        session.get_one(Campaign, number).holdout_percent = 50
    old = browser.send(f"{path}/start", when="now", seen=mark)
    assert (old.status_code, t("th", "console.changed_meanwhile") in old.text) == (409, True)
    assert campaign_of(runtime, number).state == CampaignState.DRAFT
    fresh = re.search(r'name="seen" value="(\w+)"', old.text)[1]
    with runtime.transaction() as session:
        people = session.get_one(Segment, everybody.id)
        english = {"field": "member.language", "is": "one_of", "value": ["en"]}
        segments.save(session, people, "x", {"all": [english]}, made_by="x", now=NOW)
    assert browser.send(f"{path}/start", when="now", seen=fresh).status_code == 409
    fresh = browser.mark(f"{path}/look")
    assert browser.send(f"{path}/start", when="now", seen=fresh).status_code == 303


def test_fx19_what_is_wrong_is_said_and_nothing_is_lost(sign_in, everybody) -> None:
    browser = sign_in("owner")
    form = {"name": "ลาเต้", "segment": str(everybody.id), "topic": "offers", "holdout": "0"}
    wrong = WORDS | {"a.th.default.body": "สวัสดี {phone} ฉบับแรก"}
    refused = browser.send("/admin/campaigns/new", **form, **wrong)
    assert refused.status_code == 422
    assert "ฉบับแรก" in refused.text
    assert "{name}" in refused.text


def test_lines_count_once_however_a_browser_sends_them(sign_in, everybody) -> None:
    form = {"name": "ลาเต้", "segment": str(everybody.id), "topic": "offers", "holdout": "0"}
    lines = WORDS | {"a.th.default.body": "ก\r\n" * 300}
    assert sign_in("owner").send("/admin/campaigns/new", **form, **lines).status_code == 303


def test_a_new_shop_chooses_a_ready_segment_and_writes_thai_alone(sign_in, runtime) -> None:
    browser = sign_in("owner")
    assert 'value="ready:everybody"' in browser.get("/admin/campaigns/new").text
    form = {"name": "เปิดร้าน", "segment": "ready:everybody", "topic": "offers", "holdout": "0"}
    thai = {key: value for key, value in WORDS.items() if key.startswith("a.th.")}
    refused = browser.send("/admin/campaigns/new", **form, **thai | {"a.th.default.body": ""})
    assert refused.status_code == 422
    assert "(ภาษาไทย)" in refused.text
    with runtime.database.read() as session:
        assert session.scalars(select(Segment)).all() == []
    saved = browser.send("/admin/campaigns/new", **form, **thai, **{"a.en.default.button": "Mine"})
    assert saved.status_code == 303
    with runtime.database.read() as session:
        campaign = session.scalars(select(Campaign)).one()
        kept = session.scalars(select(Segment)).one()
    assert (campaign.segment_id, kept.name) == (kept.id, "ทุกคน")
    english = campaign.variants["a"]["texts"]["en"]["default"]
    assert (english["title"], english["button"]) == ("ลาเต้ใหม่", "Mine")
    assert 'value="ready:everybody"' not in browser.get("/admin/campaigns/new").text


def test_a_campaign_sent_at_night_says_when_it_goes_out(sign_in, runtime, clock, everybody) -> None:
    clock.moment = at_local(local_day(NOW, BANGKOK), 12, 0, BANGKOK)
    browser = sign_in("owner")
    number = written(browser, everybody)
    look, page = f"/admin/campaigns/{number}/look", f"/admin/campaigns/{number}"
    assert "จะเริ่มส่ง" not in browser.get(look).text
    with runtime.transaction() as session:
        settings.set(session, "messages.quiet_from", "11:00", NOW)
        settings.set(session, "messages.quiet_until", "15:00", NOW)
    assert "จะเริ่มส่ง 22 พ.ย. 2569 15:00" in browser.get(look).text
    assert browser.send(f"{page}/start", when="now").status_code == 303
    assert "จะเริ่มส่ง 22 พ.ย. 2569 15:00" in browser.get(page).text


def test_m6_a_past_campaign_that_held_nobody_out_proves_no_return(
    sign_in, runtime, everybody
) -> None:
    with runtime.transaction() as session:
        past = Campaign(
            name="ชานม", created_at=NOW, made_by="staff:1", started_at=NOW, ended_at=NOW,
            state=CampaignState.DONE, holdout_percent=0,
        )  # fmt: skip
        member = session.scalars(select(Member).limit(1)).one()
        message = Message(
            key="past", member_id=member.id, klass=MessageClass.PROMOTIONAL, kind="campaign",
            state=MessageState.SENT, channel="push", created_at=NOW, due_at=NOW,
        )  # fmt: skip
        session.add_all([past, message])
        session.flush()
        session.add(
            CampaignRecipient(
                campaign_id=past.id, member_id=member.id, arm=Arm.TREATED,
                state=RecipientState.QUEUED, message_id=message.id,
            )
        )  # fmt: skip
    browser = sign_in("owner")
    look = browser.get(f"/admin/campaigns/{written(browser, everybody)}/look").text
    assert t("th", "campaigns.expected_unknown") in look


def test_m6_the_hard_stop_refuses_in_words(sign_in, runtime, everybody) -> None:
    browser = sign_in("owner")
    plan = {"fee": "1280", "included": "15000", "extra": "0.10", "stop": "1"}
    assert browser.send("/admin/costs", **plan).status_code == 303
    number = written(browser, everybody)
    refused = browser.send(f"/admin/campaigns/{number}/start", when="now")
    assert refused.status_code == 409
    assert "เกินเพดานที่ตั้งไว้ 1 ข้อความ" in refused.text
    assert campaign_of(runtime, number).state == CampaignState.DRAFT
    with runtime.database.read() as session:
        assert settings.get(session, "messages.extra_satang") == 10
    page = browser.get("/admin/costs").text
    assert 'value="1,280"' in page


def test_m6_a_fee_with_satang_is_shown_as_it_is_read(sign_in, runtime) -> None:
    browser = sign_in("owner")
    plan = {"fee": "1,200.05", "included": "15000", "extra": "0.10", "stop": ""}
    assert browser.send("/admin/costs", **plan).status_code == 303
    page = browser.get("/admin/costs").text
    assert 'name="fee" value="1,200.05"' in page
    assert 'name="extra" value="0.10"' in page
    with runtime.database.read() as session:
        assert settings.get(session, "messages.plan_fee_satang") == 120_005


def test_m6_the_quota_is_shown_with_its_age(sign_in, runtime, everybody) -> None:
    with runtime.transaction() as session:
        session.add(ChannelState(id=1, quota_limit=500, quota_used=40, quota_read_at=NOW))
    browser = sign_in("auditor")
    page = browser.get("/admin/costs").text
    assert "410" in page, "500 less 40 used and a reserve of 50"
    assert "0 นาที" in page


def test_aa8_a_campaign_cannot_be_deleted(sign_in, everybody) -> None:
    browser = sign_in("owner")
    number = written(browser, everybody)
    headers = {"X-CSRFToken": browser.token()}
    assert browser.client.delete(f"/admin/campaigns/{number}", headers=headers).status_code == 409


def test_an_auditor_reads_and_changes_nothing(sign_in, everybody) -> None:
    number = written(sign_in("owner"), everybody)
    auditor = sign_in("auditor")
    for path in ("segments", f"segments/{everybody.id}", "campaigns", f"campaigns/{number}"):
        assert auditor.get(f"/admin/{path}").status_code == 200, path
    assert auditor.send("/admin/segments/new", **VIP, do="save").status_code == 403
    assert auditor.send(f"/admin/campaigns/{number}/start", when="now").status_code == 403
    assert auditor.send("/admin/costs", stop="1").status_code == 403


def test_a_copy_is_a_draft_again(sign_in, runtime, everybody) -> None:
    browser = sign_in("owner")
    number = written(browser, everybody)
    copied = browser.send(f"/admin/campaigns/{number}/copy")
    other = int(copied.location.rsplit("/", 1)[-1])
    assert other != number
    assert campaign_of(runtime, other).variants == campaign_of(runtime, number).variants


def test_months_that_stay_ticked_are_no_days_until_a_birthday(sign_in, runtime) -> None:
    browser = sign_in("owner")
    form = {"name": "วันเกิด", "do": "save", "g0.join": "all", "g0.c0.field": "birthday"}
    form |= {"g0.c0.is": "within_days", "g0.c0.value": ["3", "4"], "g0.c0.ahead": "7"}
    assert browser.send("/admin/segments/new", **form).status_code == 303
    with runtime.database.read() as session:
        tree = session.scalars(select(SegmentVersion.tree)).one()
    assert tree == {"all": [{"field": "birthday", "is": "within_days", "value": 7}]}


def test_a_tag_put_on_or_taken_off_twice_is_told_once(sign_in, runtime) -> None:
    browser = sign_in("owner")
    with runtime.transaction() as session:
        somchai = factories.somchai(session)
    for form in ({"tag": "ขาประจำ"}, {"tag": "ขาประจำ"}, {"take": "ขาประจำ"}, {"take": "ขาประจำ"}):
        assert browser.send(f"/admin/members/{somchai.public_id}/tags", **form).status_code == 303
    with runtime.database.read() as session:
        told = session.scalars(select(Activity.kind).order_by(Activity.id)).all()
    assert told == ["members.tagged", "members.untagged"]
