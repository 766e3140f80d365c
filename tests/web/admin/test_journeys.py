"""Journeys in the console: seen, edited, kept in versions, tried without being run, explained."""

from __future__ import annotations

import html
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from sqlalchemy import func, select

from core.i18n import t
from engagement import campaigns, definitions, journey_engine, journey_triggers, segments
from engagement import journeys as engine
from loyalty import activities, purchases
from models.campaigns import CampaignRecipient, RecipientState
from models.journeys import Arm, Enrolment, Intent, Journey, JourneyVersion
from models.members import Consent, Member, Purpose
from models.outbox import Message, MessageClass, MessageState
from tests.moments import BANGKOK, NOW
from web.admin import segment_forms

ROOT = "/admin/messages"


class Fields(HTMLParser):
    """What a browser would send of the form that edits a journey, or of another one."""

    def __init__(self, page: str, form: str = "edit") -> None:
        super().__init__()
        self._form = form
        self.found: dict[str, list[str]] = {}
        self._in_form, self._select, self._area = False, "", ""
        self._first = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        of = dict(attrs)
        if tag == "form":
            self._in_form = of.get("id") == self._form
        if not self._in_form:
            return
        name = of.get("name", "")
        if tag == "input" and of.get("type") not in ("checkbox", "submit") and name:
            self.found.setdefault(name, []).append(of.get("value", ""))
        elif tag == "input" and of.get("type") == "checkbox" and "checked" in of:
            self.found[name] = [of["value"]]
        elif tag == "textarea":
            self._area = name
            self.found[name] = [""]
        elif tag == "select":
            self._select, self._first = name, "multiple" if "multiple" in of else ""
        elif tag == "option" and self._select:
            if "selected" in of:
                self.found[self._select] = [
                    *(self.found.get(self._select, []) if self._first == "multiple" else []),
                    of.get("value", ""),
                ]
            elif self._first == "":
                self._first = "seen"
                self.found.setdefault(self._select, [of.get("value", "")])

    def handle_endtag(self, tag):
        if tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""

    def handle_data(self, data):
        if self._area:
            self.found[self._area] = [self.found[self._area][0] + data]


@pytest.fixture
def journeys(runtime, shop, somchai):
    """The shipped journeys, and a purchase whose thanks are owed."""
    with runtime.transaction() as session:
        definitions.ensure(session, NOW)
        purchases.record_purchase(
            session, member_id=somchai.id, branch=shop.branch, amount_satang=25000,
            operation_id="1", now=NOW, tz=BANGKOK, cashier_id=shop.cashier.id,
        )  # fmt: skip
    with runtime.database.read() as session:
        return {row.key: row.id for row in session.scalars(select(Journey))}


def form_of(browser, path):
    found = Fields(browser.get(path).text).found
    found.pop("csrf_token", None)
    return found


def definition_of(database, journey_id):
    with database.read() as session:
        return definitions.current(session, session.get_one(Journey, journey_id)).definition


@pytest.mark.parametrize("language", ["th", "en"])
def test_every_journey_is_shown_in_words_and_drawn(sign_in, journeys, language):
    browser = sign_in("owner", locale=language)
    assert browser.get(ROOT).text.count('class="switch') == len(definitions.DEFAULTS)
    for journey_id in journeys.values():
        page = browser.get(f"{ROOT}/{journey_id}")
        assert page.status_code == 200
        assert '<svg class="journey-map"' in page.text


def test_a_page_sent_back_as_it_is_changes_nothing(owner, journeys, database):
    for journey_id in journeys.values():
        form = form_of(owner, f"{ROOT}/{journey_id}")
        assert owner.send(f"{ROOT}/{journey_id}", **form).status_code == 303
    with database.read() as session:
        assert set(session.scalars(select(Journey.current_version))) == {1}


@pytest.mark.parametrize("held_out", ["99", "9" * 30, "x"])
def test_fx19_words_are_not_kept_with_a_share_that_is_refused(owner, journeys, database, held_out):
    path = f"{ROOT}/{journeys['lifecycle.win_back']}"
    words = {**form_of(owner, path), "s.60.th.default.title": "กลับมานะคะ"}
    refused = owner.send(path, **words | {"held_out": held_out})
    assert (refused.status_code, "กลับมานะคะ" in refused.text) == (422, True)
    with database.read() as session:
        assert set(session.scalars(select(Journey.current_version))) == {1}
        assert session.scalar(select(func.max(JourneyVersion.version))) == 1
    assert owner.send(path, **words).status_code == 303


def test_fx19_what_is_wrong_is_named_as_the_form_names_it(owner, journeys):
    path = f"{ROOT}/{journeys['lifecycle.win_back']}"
    words = form_of(owner, path) | {"s.60.en.default.title": "x" * 61}
    refused = owner.send(path, **words)
    place = f"{t('th', 'console.text_title')} ({t('th', 'menus.language_en')})"
    assert t("th", "journeys.text_too_long", field=place, limit=60) in html.unescape(refused.text)


def test_words_waits_windows_and_numbers_become_a_version_with_history(owner, journeys, database):
    path = f"{ROOT}/{journeys['lifecycle.win_back']}"
    form = form_of(owner, path)
    changed = {
        "s.60.th.default.title": "กลับมานะคะ {name}", "s.until_60.days": "70",
        "s.60.window_hours": "48", "t.days": "50", "held_out": "20",
    }  # fmt: skip
    assert owner.send(path, **{**form, **changed}).status_code == 303
    made = definition_of(database, journeys["lifecycle.win_back"])
    assert made["trigger"]["days"] == 50
    steps = {step["key"]: step for step in made["steps"]}
    assert (steps["until_60"]["days"], steps["60"]["window_hours"]) == (70, 48)
    page = owner.get(f"{path}/history").text
    assert "กลับมานะคะ" in page
    assert "70" in page
    with database.read() as session:
        assert session.get_one(Journey, journeys["lifecycle.win_back"]).holdout_percent == 20
        kept = session.scalar(select(func.count()).select_from(JourneyVersion))
    assert kept == len(definitions.DEFAULTS) + 1


@pytest.mark.parametrize("body", ["{nobody}", "{name.__class__}", "{0}", "x" * 2001, ""])
def test_FX19_unknown_placeholders_and_long_texts_are_refused_at_save(
    owner, journeys, database, body
):
    path = f"{ROOT}/{journeys['members.birthday']}"
    form = form_of(owner, path) | {"s.greet.th.default.body": [body]}
    assert owner.send(path, **form).status_code == 422
    with database.read() as session:
        assert session.get_one(Journey, journeys["members.birthday"]).current_version == 1


@pytest.fixture
def own(owner, journeys, database):
    """A journey of the shop's own, begun from the win-back ladder."""
    answer = owner.send(f"{ROOT}/new", name="ชวนดื่มชา", like=str(journeys["lifecycle.win_back"]))
    assert answer.status_code == 303
    with database.read() as session:
        return session.scalars(select(Journey.id).where(Journey.key == "own.1")).one()


KINDS = (
    "send", "wait", "branch", "split", "give_points", "tag", "set_menu", "open_ticket",
    "call_webhook",
)  # fmt: skip


def test_an_own_journey_is_built_step_by_step(owner, own, database):
    path = f"{ROOT}/{own}"
    assert "ชวนดื่มชา" in owner.get(ROOT).text
    for kind in KINDS:
        answer = owner.send(path, **form_of(owner, path), act=f"add:{kind}")
        assert answer.status_code == 303, kind
    owner.send(path, **form_of(owner, path), act="drop:60")
    owner.send(path, **form_of(owner, path), act="up:tag_1")
    form = form_of(owner, path) | {
        "t.choice": ["activity:stamps.given"], "c.0.fact": ["left"], "c.0.is": ["at_most"],
        "c.0.value": ["2"], "x.on": ["purchases.recorded", "stamps.card_filled"],
        "r.kind": ["days"], "r.days": ["14"], "s.branch_1.else": ["end"],
        "s.give_points_1.points": ["25"], "s.wait_1.count": ["3"],
    }  # fmt: skip
    assert owner.send(path, **form).status_code == 303
    made = definition_of(database, own)
    assert made["trigger"]["where"] == [{"fact": "left", "is": "at_most", "value": 2}]
    assert made["reentry"] == {"kind": "days", "days": 14}
    keys = [step["key"] for step in made["steps"]]
    assert "60" not in keys
    assert keys.index("tag_1") == keys.index("give_points_1") - 1
    steps = {step["key"]: step for step in made["steps"]}
    assert steps["branch_1"]["else"] == "end"
    assert (steps["give_points_1"]["points"], steps["wait_1"]["minutes"]) == (25, 4320)
    assert owner.get(f"{path}/history").status_code == 200
    with database.read() as session:
        assert not session.get_one(Journey, own).is_on


def test_words_are_not_compared_as_numbers(owner, own, database):
    path = f"{ROOT}/{own}"
    form = form_of(owner, path) | {
        "t.choice": ["activity:purchases.recorded"], "c.0.fact": ["stage"],
        "c.0.is": ["at_least"], "c.0.value": ["3"],
    }  # fmt: skip
    refused = owner.send(path, **form)
    assert (refused.status_code, t("th", "journeys.part_trigger") in refused.text) == (422, True)
    assert definition_of(database, own)["trigger"].get("where", []) == []


def test_whoever_gives_no_points_by_hand_gives_none_by_a_journey(owner, own, sign_in, database):
    path, marketer = f"{ROOT}/{own}", sign_in("marketer")
    assert "add:give_points" not in marketer.get(path).text
    refused = marketer.send(path, **form_of(marketer, path), act="add:give_points")
    assert (refused.status_code, t("th", "journeys.no_points") in refused.text) == (403, True)
    assert owner.send(path, **form_of(owner, path), act="add:give_points").status_code == 303
    before = definition_of(database, own)
    assert t("th", "journeys.no_points") in marketer.get(path).text
    form = form_of(marketer, path) | {"s.give_points_1.points": ["9999"]}
    assert marketer.send(path, **form).status_code == 403
    assert marketer.send(f"{ROOT}/new", name="แต้มฟรี", like=str(own)).status_code == 403
    assert definition_of(database, own) == before
    assert marketer.send(f"{path}/switch", on="1").status_code == 303
    assert (
        marketer.send(path, **form_of(marketer, path), act="drop:give_points_1").status_code == 303
    )


def test_fx19_what_cannot_be_read_is_shown_again_with_all_that_was_typed(
    owner, own, journeys, database
):
    path = f"{ROOT}/{own}"
    for kind in KINDS:
        owner.send(path, **form_of(owner, path), act=f"add:{kind}")
    typed = form_of(owner, path) | {
        "s.60.th.default.title": ["กลับมานะคะ"], "s.60.en.default.body": ["Come <back>"],
        "t.choice": ["activity:stamps.given"], "t.own_rhythm": ["1"],
        "t.to_level": ["vip", "regular"], "c.1.fact": ["left"], "c.1.is": ["at_least"],
        "c.1.value": [""], "x.on": ["purchases.recorded", "stamps.card_filled"],
        "r.kind": ["days"], "r.days": ["x"], "s.branch_1.else": ["end"], "s.tag_1.tag": ["ชา"],
        "s.give_points_1.points": ["25"], "s.wait_1.count": [""], "s.wait_1.unit": ["hours"],
    }  # fmt: skip
    refused = owner.send(path, **typed)
    assert (refused.status_code, 'role="alert"' in refused.text) == (422, True)
    shown = Fields(refused.text).found
    shown.pop("csrf_token")
    assert shown == typed
    before = definition_of(database, own)
    path = f"{ROOT}/{journeys['lifecycle.win_back']}"
    typed = form_of(owner, path) | {"t.days": ["0"], "s.60.th.default.title": ["กลับมานะคะ"]}
    shown = Fields(owner.send(path, **typed).text).found
    assert (shown["t.days"], shown["s.60.th.default.title"]) == (["0"], ["กลับมานะคะ"])
    assert definition_of(database, own) == before


def test_arrows_lead_forward_only(owner, own, database):
    path = f"{ROOT}/{own}"
    owner.send(path, **form_of(owner, path), act="add:branch")
    form = form_of(owner, path) | {"s.branch_1.then": ["at_risk"]}
    assert owner.send(path, **form).status_code == 422


def test_an_own_journey_is_archived_and_a_shipped_one_stays(owner, own, journeys, database):
    assert owner.send(f"{ROOT}/{own}/archive").status_code == 303
    assert owner.send(f"{ROOT}/{journeys['members.birthday']}/archive").status_code == 409
    assert "ชวนดื่มชา" not in owner.get(ROOT).text
    assert "ชวนดื่มชา" in owner.get(f"{ROOT}?archived=1").text
    assert owner.send(f"{ROOT}/{own}/switch", on="1").status_code == 409


def test_a_journey_is_switched(owner, journeys, database):
    owner.send(f"{ROOT}/{journeys['members.birthday']}/switch", on="0")
    with database.read() as session:
        assert not session.get_one(Journey, journeys["members.birthday"]).is_on


def counts(database):
    with database.read() as session:
        return [
            session.scalar(select(func.count()).select_from(table))
            for table in (Enrolment, Intent, Message)
        ]


def test_trying_says_what_would_happen_and_writes_nothing(owner, journeys, database, somchai):
    before = counts(database)
    for journey_id in journeys.values():
        page = owner.get(f"{ROOT}/{journey_id}/try?member={somchai.member_no}&begins=2026-12-01")
        assert page.status_code == 200
        assert 'data-testid="moments"' in page.text
    ladder = owner.get(
        f"{ROOT}/{journeys['lifecycle.win_back']}/try?member={somchai.member_no}&until=2027-01-25"
    ).text
    assert "คิดถึงคุณสมชาย" in ladder
    assert 'class="ahead"' in ladder  # the last rung lies behind the date
    assert owner.get(f"{ROOT}/1/try?member=nobody").status_code == 422
    assert owner.get(f"{ROOT}/1/try?member={somchai.member_no}&until=x").status_code == 422
    assert counts(database) == before


def test_tomorrow_names_who_would_get_what_and_writes_nothing(owner, journeys, database):
    before = counts(database)
    page = owner.get(f"{ROOT}/tomorrow").text
    assert "ขอบคุณหลังซื้อ" in page
    assert "สมชาย" in page
    assert counts(database) == before


def test_why_did_this_member_get_this_and_why_not(owner, journeys, database, somchai, runtime):
    path = f"/admin/members/{somchai.public_id}/messages"
    page = owner.get(path).text
    assert "ซื้อ 250" in page  # the thanks, because of this bill
    for journey_id in journeys.values():
        assert 'data-testid="reasons"' in owner.get(f"{path}?journey={journey_id}").text
    asked = f"{path}?journey={journeys['lifecycle.win_back']}"
    assert "ยังไม่เกิน 45 วัน" in owner.get(asked).text
    with runtime.transaction() as session:
        mine = Consent.member_id == somchai.id, Consent.purpose == Purpose.MARKETING
        session.scalars(select(Consent).where(*mine)).one().withdrawn_at = NOW
    assert t("th", "delivery.no_consent") in owner.get(asked).text
    assert path in owner.get(f"/admin/members/{somchai.public_id}").text


def test_a_message_is_explained_from_the_outbox_on(owner, journeys, runtime, somchai):
    with runtime.transaction() as session:
        intent = session.scalars(select(Intent).where(Intent.member_id == somchai.id)).first()
        intent.deadline = NOW
        assert engine.turn_due(session, runtime, NOW) == 1
        message = session.scalars(select(Message).where(Message.intent_id == intent.id)).one()
    address = f"/admin/members/{somchai.public_id}/messages?message={message.id}"
    assert address in owner.get("/admin/outbox").text
    page = owner.get(address).text
    asked = page.partition('data-testid="asked"')[2].partition("</ol>")[0]
    assert "ซื้อ 250" in asked
    assert t("th", "messages.calling") in asked
    assert owner.get(f"{address}0").status_code == 404
    assert owner.get(address.replace(str(message.id), "x")).status_code == 404


def test_a_marketer_sees_on_these_pages_what_members_get_and_no_names(
    sign_in, journeys, runtime, somchai
):
    with runtime.transaction() as session:
        session.get_one(Member, somchai.id).name = "พิเชษฐ์"
        thanked = session.scalars(select(Intent.journey_id)).first()
    marketer, owner = sign_in("marketer"), sign_in("owner")

    def are_masked(*pages):
        for page in pages:
            assert "พิเชษฐ์" in owner.get(page).text, page
            seen = marketer.get(page).text
            assert "พิ***" in seen, page
            assert "พิเชษฐ์" not in seen, page
            assert f"/admin/members/{somchai.public_id}" not in seen, page

    ladder = f"{ROOT}/{journeys['lifecycle.win_back']}/try?begins=2026-12-01"
    are_masked(f"{ROOT}/{thanked}", f"{ROOT}/tomorrow", f"{ladder}&member={somchai.member_no}")
    with runtime.transaction() as session:
        assert engine.turn_due(session, runtime, NOW + timedelta(days=1)) == 1
    are_masked("/admin/outbox")
    everything = marketer.get("/admin/outbox")
    assert 'name="q"' not in everything.text
    for phone in ("0812345678", "0899999999"):
        assert rows_shown(marketer.get(f"/admin/outbox?q={phone}")) == rows_shown(everything)


def rows_shown(page):
    """The body of a list's table."""
    return page.text.partition("<tbody")[2].partition("</tbody>")[0]


def test_a_campaign_is_explained_by_its_group_to_who_got_it_and_who_did_not(
    owner, journeys, runtime, somchai
):
    with runtime.transaction() as session:
        tree = {"field": "member.language", "is": "one_of", "value": ["th"]}
        group = segments.create(session, "คนไทย", tree, made_by="seed", now=NOW)
        send = campaigns.create(session, "ลาเต้ใหม่", made_by="staff:1", now=NOW)
        send.segment_id, send.segment_version, send.started_at = group.id, 1, NOW
        row = CampaignRecipient(
            campaign_id=send.id, member_id=somchai.id, state=RecipientState.HELD_OUT,
            arm=Arm.HELD_OUT,
        )  # fmt: skip
        session.add(row)
    path = f"/admin/members/{somchai.public_id}/messages"
    page = owner.get(path).text
    assert "ลาเต้ใหม่" in page
    assert t("th", "campaigns.one_held_out") in page
    assert f"อยู่ในกลุ่มที่แคมเปญเลือก: {described_in_thai(tree)}" in page
    with runtime.transaction() as session:
        message = Message(
            key=f"campaign:{send.id}:{somchai.id}", member_id=somchai.id, kind="campaigns.send",
            klass=MessageClass.PROMOTIONAL, state=MessageState.SENT, created_at=NOW, due_at=NOW,
        )  # fmt: skip
        session.add(message)
        session.flush()
        row = session.scalars(select(CampaignRecipient)).one()
        row.state, row.message_id = RecipientState.QUEUED, message.id
    page = owner.get(path).text
    assert page.count("ลาเต้ใหม่") == 1
    assert t("th", "messages.sent") in page
    assert t("th", "campaigns.one_held_out") not in page


def described_in_thai(tree) -> str:
    return html.escape(segment_forms.described(tree, "th"))


def test_the_fact_that_began_a_journey_is_named_and_no_other_of_that_moment(
    owner, journeys, runtime, somchai
):
    with runtime.transaction() as session:
        activities.record(session, somchai.id, "stages.changed", NOW, {"field": "level",
            "before": "target", "after": "regular"})  # fmt: skip
        facts = {"card_id": 1, "filled": 8, "given": 1, "size": 10}
        activities.record(session, somchai.id, "stamps.given", NOW, facts)
    path = f"/admin/members/{somchai.public_id}/messages"
    page = owner.get(f"{path}?journey={journeys['stamps.nearly_full']}").text
    summary = page.partition("<summary>")[2].partition("</summary>")[0]
    assert t("th", "activities.stamps.given") in summary


def test_what_was_told_long_ago_is_still_explained(owner, journeys, runtime, somchai):
    with runtime.transaction() as session:
        session.add_all(
            Message(
                key=f"conversation_line:{number}", member_id=somchai.id,
                kind="conversations.replied",
                klass=MessageClass.TRANSACTIONAL, state=MessageState.SENT,
                created_at=NOW - timedelta(hours=number), due_at=NOW,
            )
            for number in range(1, 80)
        )  # fmt: skip
    path = f"/admin/members/{somchai.public_id}/messages"
    page = owner.get(path)
    older = page.text.partition('data-testid="older"')[0].rpartition('href="')[2].partition('"')[0]
    last = owner.get(html.unescape(older).partition("#")[0]).text
    assert page.text.count("พนักงานตอบในแชต") + last.count("พนักงานตอบในแชต") == 79
    assert 'data-testid="older"' not in last
    assert owner.get(f"{path}?before=yesterday").status_code == 404


def test_why_not_names_the_message_that_the_bill_has_brought_instead(
    owner, journeys, runtime, somchai
):
    path = f"/admin/members/{somchai.public_id}/messages?journey={journeys['surveys.csat']}"
    page = owner.get(path).text
    said = t("th", "journeys.why_one_per_purchase", journey="ขอบคุณหลังซื้อ")
    assert html.escape(said) in page
    own = path.replace(str(journeys["surveys.csat"]), str(journeys["lifecycle.thank_you"]))
    assert html.escape(said) not in owner.get(own).text


def test_a_walk_is_told_step_by_step(owner, journeys, runtime, somchai):
    with runtime.transaction() as session:
        plan = journey_triggers.plan_of(session, "lifecycle.second_visit")
        member = session.get_one(Member, somchai.id)
        facts = {"field": "stage", "before": "consideration", "after": "purchase"}
        one = journey_triggers.Candidate(member.id, "once", facts)
        enrolment = (
            journey_engine.enrol(session, plan, one, NOW)
            or session.scalars(
                select(Enrolment).where(Enrolment.journey_id == plan.journey.id)
            ).one()
        )
        if not enrolment.path:
            journey_engine.advance(journey_engine.Walk(session, runtime, plan, enrolment, NOW))
    page = owner.get(f"/admin/members/{somchai.public_id}/messages?journey={plan.journey.id}").text
    assert "รอถึง" in page


@pytest.mark.parametrize("role,seen,edited", [("auditor", 200, 403), ("marketer", 200, 303)])
def test_auditors_read_and_marketers_edit(sign_in, journeys, role, seen, edited):
    browser = sign_in(role)
    path = f"{ROOT}/{journeys['members.birthday']}"
    assert browser.get(path).status_code == seen
    assert browser.send(f"{path}/switch", on="1").status_code == edited
