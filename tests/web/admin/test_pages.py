"""The console's pages in both languages, with data, and what their forms do."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, insert, select

from bot.webhook import Intake
from core.i18n import texts
from engagement import definitions, outbox
from loyalty import purchases
from models.coupons import Coupon
from models.inbox import Event, EventState, Quarantined, QuarantineState
from models.members import Level, Member, MemberTotals
from models.menus import Menu, MenuVersion
from models.outbox import Call, CallState, Message, MessageClass, MessageState
from models.staff import AuditRow
from rich_menus import images, publish
from tests.bot.webhooks import body_of, sign, text_event
from tests.factories import CHANNEL_SECRET, line_id
from tests.moments import BANGKOK, NOW
from web.admin.members import figures_of
from web.admin.tables import PAGE_ROWS

TEXT = [{"type": "text", "text": "สวัสดี"}]


@pytest.fixture
def busy(runtime, shop, somchai, claim):
    """A shop in which a little of everything has happened."""
    claim(somchai)
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        definitions.ensure(session, NOW)
        publish.ensure_menus(session, NOW)
        purchases.record_purchase(
            session, member_id=member.id, branch=shop.branch, amount_satang=25000,
            operation_id="1", now=NOW, tz=BANGKOK, cashier_id=shop.cashier.id,
        )  # fmt: skip
        totals = session.get_one(MemberTotals, member.id)
        totals.level, totals.level_why = Level.REGULAR, {"limit_days": 45.0}
        message = outbox.queue(
            session, key="k1", member=member, klass=MessageClass.TRANSACTIONAL,
            kind="purchases.thanked", messages=TEXT, now=NOW,
        )  # fmt: skip
        call = session.get_one(Call, message.call_id)
        call.state, call.first_try_at = CallState.UNCERTAIN, NOW - timedelta(hours=24)
        message.state = MessageState.UNCERTAIN
        session.add_all(
            [
                Event(
                    webhook_event_id="e1", kind="message", lane="e1", event_at=NOW,
                    line_user_id=line_id("มาลี"),
                    received_at=NOW, payload=b"{}", state=EventState.FAILED, attempts=5,
                    next_try_at=NOW, error="ValueError at x:1",
                ),
                Quarantined(
                    kind="body", reason="json", received_at=NOW, digest="d" * 64,
                    content=b"<script>\xff\x00",
                ),
            ]
        )  # fmt: skip
    return somchai


PAGES = [
    "/admin", "/admin/members", "/admin/members?q=สมชาย&sort=points&down=0", "/admin/conversations",
    "/admin/conversations?state=closed", "/admin/offers", "/admin/offers/new", "/admin/offers/1",
    "/admin/messages", "/admin/messages/1", "/admin/outbox", "/admin/outbox?state=uncertain",
    "/admin/quarantine", "/admin/quarantine?what=bodies", "/admin/health", "/admin/menus",
    "/admin/menus/member", "/admin/menus/member?tab=rewards&shown=en", "/admin/earning", "/admin/earning/rules", "/admin/earning/products", "/admin/tills/devices", "/admin/tills/cashiers", "/admin/staff/sessions", "/admin/replies/saved", "/admin/vouchers/given", "/admin/liability", "/admin/suspects", "/admin/adjustments",
]  # fmt: skip


@pytest.mark.parametrize("language", ["th", "en"])
def test_every_page_speaks(sign_in, busy, language):
    browser = sign_in("owner", locale=language)
    answers = {path: browser.get(path) for path in [*PAGES, f"/admin/members/{busy.public_id}"]}
    assert {path: one.status_code for path, one in answers.items() if one.status_code != 200} == {}
    keys = set(texts(language))
    pages = "".join(answer.text for answer in answers.values())
    seen = set(re.findall(r">\s*([a-z_]+\.[a-z_]+)\s*<", pages))
    assert seen & keys == set()
    assert f'<html lang="{language}">' in pages


def test_reasons_of_a_level_read_as_figures(owner, busy):
    page = owner.get(f"/admin/members/{busy.public_id}").text
    assert "เกณฑ์ (วัน) <b>45</b>" in page
    assert figures_of("th", {"spent_90": 123_400, "change": "buys"}) == [("ยอด 90 วัน", "1,234 บาท")]


def test_search_takes_anything(owner, busy):
    """FX08"""
    found = {
        text: owner.get("/admin/members", query_string={"q": text}).text.count("/admin/members/")
        for text in ("สมชาย", "%", "_", "'", "\\", busy.member_no, "081-234-5678")
    }
    assert found["สมชาย"] == found[busy.member_no] == found["081-234-5678"] == 1
    assert found["%"] == found["_"] == found["'"] == found["\\"] == 0
    refused = [owner.get("/admin/members", query_string={"q": text}) for text in ("\0", "x" * 101)]
    assert [answer.status_code for answer in refused] == [422, 422]


def test_odd_sorts_and_pages_fall_back(owner, busy):
    queries = ["sort=;drop", "page=-1", "page=999999999999999999999", "page=x", "down=2"]
    assert {owner.get(f"/admin/members?{one}").status_code for one in queries} == {200}


OFFER = {
    "name_th": "ลด 10%", "name_en": "10% off", "key": "ten", "state": "live", "kind": "percent_off",
    "obtained": "claim", "percent": "10", "total_units": "100", "per_member": "1",
    "valid_days": "30",
}  # fmt: skip


def test_offer_is_created_and_noted(owner, shop, database):
    assert owner.send("/admin/offers/new", **OFFER).status_code == 303
    with database.read() as session:
        made = session.scalars(select(Coupon).where(Coupon.key == "ten")).one()
        assert (made.percent, made.total_units, made.valid_days) == (10, 100, 30)
        assert session.scalars(select(AuditRow.act)).all() == ["offers.created"]


def test_wrong_offer_comes_back_as_it_was_filled(owner, shop, database):
    odd = [{"percent": "101"}, {"percent": ""}, {"name_th": " "}, {"key": "A B"},
           {"kind": "gift"}, {"total_units": "-1"}, {"starts_on": "x"}, {"key": "welcome"},
           {"min_bill": "1e3"}]  # fmt: skip
    answers = [owner.send("/admin/offers/new", **{**OFFER, **one}) for one in odd]
    assert not [one.status_code for one in answers if one.status_code not in (409, 422)]
    assert all('role="alert"' in one.text for one in answers)
    assert 'value="10% off"' in answers[0].text
    with database.read() as session:
        assert session.scalar(select(Coupon).where(Coupon.key == "ten")) is None


def test_FG15_units_never_go_below_what_was_issued(owner, shop, busy, database):
    form = {**OFFER, "key": "welcome", "kind": "baht_off", "value": "20", "percent": ""}
    less = owner.send(f"/admin/offers/{shop.coupon.id}", **{**form, "total_units": "0"})
    equal = owner.send(f"/admin/offers/{shop.coupon.id}", **{**form, "total_units": "1"})
    assert (less.status_code, equal.status_code) == (409, 303)
    with database.read() as session:
        row = session.get_one(Coupon, shop.coupon.id)
        assert (row.total_units, row.issued_count) == (1, 1)


@pytest.mark.parametrize(
    "decision,state", [("sent", MessageState.SENT), ("drop", MessageState.FAILED), ("again", None)]
)
def test_uncertain_call_is_decided_once(owner, busy, database, decision, state):
    with database.read() as session:
        call_id = session.scalars(select(Message.call_id).where(Message.key == "k1")).one()
    first = owner.send(f"/admin/outbox/calls/{call_id}", decision=decision)
    again = owner.send(f"/admin/outbox/calls/{call_id}", decision=decision)
    odd = owner.send(f"/admin/outbox/calls/{call_id}", decision="perhaps")
    assert [one.status_code for one in (first, again, odd)] == [303, 409, 422]
    with database.read() as session:
        found = session.scalars(select(Message).where(Message.key == "k1")).one()
        assert found.state != MessageState.UNCERTAIN
        assert state in (None, found.state, MessageState.FAILED)


def test_failed_event_is_replayed_or_let_go(owner, busy, database):
    first = owner.send("/admin/quarantine/events/1", decision="replay")
    again = owner.send("/admin/quarantine/events/1", decision="dismiss")
    assert (first.status_code, again.status_code) == (303, 404)
    with database.read() as session:
        assert session.get_one(Event, 1).state == EventState.PENDING


def test_unreadable_body_is_let_go(owner, busy, database):
    assert "&lt;script&gt;" in owner.get("/admin/quarantine?what=bodies").text
    assert owner.send("/admin/quarantine/bodies/1", decision="dismiss").status_code == 303
    assert owner.send("/admin/quarantine/bodies/1", decision="replay").status_code == 404
    with database.read() as session:
        assert session.get_one(Quarantined, 1).state == QuarantineState.DISMISSED


def test_fs17_ten_thousand_quarantined_page_and_cost_intake_nothing(owner, database):
    with database.write() as session:
        session.execute(
            insert(Quarantined),
            [
                {
                    "kind": "body", "reason": "json", "received_at": NOW, "digest": f"{place:064d}",
                    "content": b"odd %d end" % place, "state": QuarantineState.OPEN,
                }
                for place in range(10_000)
            ],
        )  # fmt: skip
    path = "/admin/quarantine?what=bodies"
    seen = set()
    for page in (1, 2, 10_000 // PAGE_ROWS):
        answer = owner.get(f"{path}&page={page}")
        assert answer.status_code == 200
        found = set(re.findall(r"odd (\d+) end", answer.text))
        assert len(found) == PAGE_ROWS
        seen |= found
    assert len(seen) == 3 * PAGE_ROWS
    intake = Intake(database.url, [CHANNEL_SECRET])
    body, odd = body_of(text_event()), b"no json"
    assert [intake.receive(one, sign(one).encode()) for one in (body, odd)] == [200, 200]
    intake.close()
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Event)) == 1
        assert session.scalar(select(func.count()).select_from(Quarantined)) == 10_001


def test_menu_is_edited_as_a_draft_or_comes_back(owner, busy, database, monkeypatch):
    monkeypatch.setattr(images, "draw_menu", lambda *_: b"png")
    with database.read() as session:
        guest = session.scalars(select(Menu).where(Menu.key == "guest")).one()
        tab = publish.latest_version(session, guest.id).definition["tabs"][0]
    area = tab["areas"][0]
    name = f"{tab['key']}.{area['key']}"
    bar = f"{tab['key']}.chat_bar.th"
    words = {f"{name}.x": str(area["x"]), f"{name}.label.th": "มาใหม่", bar: "เมนูร้าน"}
    good = owner.send("/admin/menus/guest", **words)
    long = owner.send("/admin/menus/guest", **{bar: "ย" * 40})
    colour = owner.send("/admin/menus/guest", **{"colour.accent": "red"})
    assert [one.status_code for one in (good, long, colour)] == [303, 422, 422]
    assert 'role="alert"' in long.text
    with database.read() as session:
        versions = session.scalars(
            select(MenuVersion.version).where(MenuVersion.menu_id == guest.id)
        ).all()
    assert sorted(versions) == [1, 2]


def test_publishing_says_when_line_is_away(owner, busy):
    assert owner.send("/admin/menus/publish").status_code == 502


def test_menu_is_set_by_hand(owner, busy, database):
    path = f"/admin/members/{busy.public_id}/menu"
    assert owner.send(path, menu="vip").status_code == 303
    assert owner.send(path, menu="king").status_code == 422
    with database.read() as session:
        assert session.get_one(Member, busy.id).menu_override == "vip"


def test_AI1_unknown_erased_and_odd_ids_are_404(owner, busy):
    paths = ["members/x", "members/%00", f"members/{'f' * 32}", "offers/99", "messages/99",
             "conversations/99", "menus/x", "menus/member/x/th.png", "menus/member/x/xx.png"]  # fmt: skip
    assert {path: owner.get(f"/admin/{path}").status_code for path in paths} == dict.fromkeys(
        paths, 404
    )


def test_note_in_the_address_is_one_of_ours(owner, busy):
    assert "alert-success" in owner.get("/admin/offers?note=console.saved").text
    assert "alert-success" not in owner.get("/admin/offers?note=errors.not_found").text
