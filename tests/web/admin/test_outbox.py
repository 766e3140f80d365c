"""The outbox page after a restore: it says what is pending, and lets nothing slip out before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from core.i18n import t
from engagement import outbox, restoring
from loyalty import shop
from models.outbox import Call, ChannelState, Message, MessageClass, MessageState
from tests import factories
from tests.factories import NOW
from tests.fakes import FakeLine
from web.admin import outbox as pages


@pytest.fixture
def restored(runtime):
    with runtime.transaction() as session:
        member = factories.make_member(session, "สมชาย")
        outbox.queue(
            session,
            key="tests:1",
            member=member,
            klass=MessageClass.SERVICE,
            kind="tests.greeting",
            messages=[{"type": "text", "text": "สวัสดี"}],
            now=NOW - timedelta(hours=1),
        )
        restoring.hold(session, NOW - timedelta(hours=2), NOW)


@pytest.fixture
def line(monkeypatch, settings) -> FakeLine:
    """LINE, whose events come here."""
    line = FakeLine()
    line.set_webhook(f"{settings.public_url}/callback")
    monkeypatch.setattr(pages, "SdkLine", lambda _: line)
    return line


@pytest.mark.usefixtures("restored", "line")
@pytest.mark.parametrize("fate, ends", [("drop", True), ("send", False)])
def test_z17_the_owner_decides_before_anything_leaves(owner, database, fate, ends):
    assert "ข้อความค้าง 1 รายการ" in owner.get("/admin/outbox").text
    assert owner.send("/admin/outbox/resume").status_code in (409, 422)
    assert owner.send("/admin/outbox/release", pending="maybe").status_code == 422
    with database.read() as session:
        assert session.get_one(ChannelState, 1).paused_for == "held"
    assert owner.send("/admin/outbox/release", pending=fate).status_code == 303
    with database.read() as session:
        assert session.get_one(ChannelState, 1).paused_for is None
        state = session.query(Message.state).scalar()
        assert (state == MessageState.SKIPPED) is ends
    assert "ข้อความค้าง" not in owner.get("/admin/outbox").text


@pytest.mark.usefixtures("restored")
def test_FS11_a_restored_copy_refuses_to_send_while_line_still_speaks_to_the_old_one(
    owner, database, line
):
    here = line.webhook().url
    line.set_webhook("https://old.example/callback")
    elsewhere = owner.send("/admin/outbox/release", pending="send")
    assert (elsewhere.status_code, "old.example" in elsewhere.text) == (409, True)
    line.go_down()
    assert owner.send("/admin/outbox/release", pending="send").status_code == 502
    with database.read() as session:
        assert session.get_one(ChannelState, 1).paused_for == "held"
    line.come_back()
    line.set_webhook(here)  # the control: this is the one
    assert owner.send("/admin/outbox/release", pending="send").status_code == 303
    with database.read() as session:
        assert session.get_one(ChannelState, 1).paused_for is None


@pytest.mark.usefixtures("restored", "line")
@pytest.mark.parametrize("is_restored", [True, False])
@pytest.mark.parametrize("begins, after", [("13:00", 2), ("15:00", None)], ids=["quiet", "loud"])
def test_m4_what_a_person_lets_go_on_in_quiet_hours_leaves_after_them(
    owner, database, is_restored, begins, after
):
    """It is 14:00."""
    with database.write() as session:
        shop.set(session, "messages.quiet_from", begins, NOW)
        shop.set(session, "messages.quiet_until", "16:00", NOW)
        due = session.query(Call.next_try_at).scalar()
    if is_restored:
        owner.send("/admin/outbox/release", pending="send")
    else:
        with database.write() as session:
            shop.set(session, "backups.restored", None, NOW)
        owner.send("/admin/outbox/resume")
    with database.read() as session:
        assert session.get_one(ChannelState, 1).paused_for is None
        assert session.query(Call.next_try_at).scalar() == (
            NOW + timedelta(hours=after) if after else due
        )


@pytest.mark.usefixtures("restored")
def test_an_auditor_sees_what_is_pending_and_decides_nothing(sign_in):
    auditor = sign_in("auditor")
    assert "ข้อความค้าง 1 รายการ" in auditor.get("/admin/outbox").text
    assert auditor.send("/admin/outbox/release", pending="send").status_code == 403


@pytest.mark.parametrize("reason", ["delivery.no_quota", "delivery.reply_refused"])
def test_why_a_message_did_not_leave_is_said_in_words(owner, runtime, reason):
    with runtime.transaction() as session:
        member = factories.make_member(session, "สมชาย")
        outbox.queue(
            session, key="tests:1", member=member, klass=MessageClass.SERVICE, kind="tests.greeting",
            messages=[{"type": "text", "text": "สวัสดี"}], now=NOW,
        )  # fmt: skip
        session.execute(update(Message).values(state=MessageState.SKIPPED, reason=reason))
    for path in ("/admin/outbox", f"/admin/members/{member.public_id}"):
        page = owner.get(path).text
        assert t("th", reason) in page
        assert reason not in page
