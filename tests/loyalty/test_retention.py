"""Every kind of data goes after its own number of days, and not a day before."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event as listening
from sqlalchemy import select

from core.clock import local_day
from loyalty import conversations, retention, shop
from models.conversations import ConversationLine, ConversationPicture, PictureState, Ticket
from models.imports import Import, ImportState
from models.inbox import Event, EventState, Quarantined, QuarantineState
from models.members import Member
from models.outbox import Call, CallKind, CallState, Message, MessageClass, MessageState
from models.scores import SurveyAnswer, SurveyKind
from models.shop import RetentionRun
from models.staff import Look
from tests import factories
from tests.factories import NOW
from tests.moments import BANGKOK

KINDS = {kind.name: kind for kind in retention.KINDS}


def night(session, *, after: timedelta = timedelta(), limit: int = 100) -> int:
    """One night's work; how many rows it threw away."""
    at, removed = NOW + after, 0
    asked = {"now": at, "real_now": at, "day": local_day(at, BANGKOK), "limit": limit}
    done, place = retention.sweep(session, **asked)
    while done:
        removed += done
        done, place = retention.sweep(session, **asked, place=place)
    assert place == len(retention.KINDS)
    return removed


def days(name: str, more: int = 0) -> timedelta:
    return timedelta(days=shop.DEFAULTS[KINDS[name].key], minutes=more)


@pytest.fixture
def somchai(session, vault) -> Member:
    return factories.somchai(session, vault=vault)


@pytest.fixture
def chat(session, vault, somchai):
    """A text, a picture, both at NOW."""
    for kind, text in (("text", "ความลับ"), ("image", None)):
        conversations.add_line(
            session, vault, somchai, kind=kind, text=text, line_message_id=kind, at=NOW, now=NOW,
            has_picture=kind == "image",
        )  # fmt: skip
    session.flush()
    picture = session.scalars(select(ConversationPicture)).one()
    conversations.keep_picture(session, vault, somchai, picture, b"jpeg", NOW)
    picture.token_hash = "f" * 64
    session.flush()
    return picture


def test_a_chat_text_goes_after_its_days_and_not_before(session, vault, somchai, chat):
    night(session, after=days("chats", -1))
    assert conversations.lines_of(session, vault, somchai)[0].text == "ความลับ"
    assert night(session, after=days("chats", 1)) == 1
    session.expire_all()
    lines = conversations.lines_of(session, vault, somchai)
    assert [(line.kind, line.text) for line in lines] == [("text", None), ("image", None)]


def test_a_picture_goes_with_its_link(session, vault, somchai, chat):
    night(session, after=days("pictures", -1))
    assert chat.state == PictureState.KEPT
    assert night(session, after=days("pictures", 1)) == 1
    session.refresh(chat)
    assert (chat.state, chat.content_sealed, chat.token_hash) == (PictureState.GONE, None, None)


def event(session, number: int, **more) -> Event:
    row = Event(
        webhook_event_id=f"E{number}", kind="message", line_user_id="U1", lane="U1", event_at=NOW,
        received_at=NOW, next_try_at=NOW, payload=b'{"message":{"text":"hello"}}',
        **{"state": EventState.DONE} | more,
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row


def test_the_body_of_an_event_goes_and_its_id_stays(session):
    done, failed = event(session, 1), event(session, 2, state=EventState.FAILED)
    pending = event(session, 3, state=EventState.PENDING)
    night(session, after=days("events", -1))
    assert b"hello" in done.payload
    night(session, after=days("events", 1))
    session.expire_all()
    assert (done.payload, done.webhook_event_id) == (b"{}", "E1")
    assert (failed.payload, failed.state) == (b"{}", EventState.DISMISSED)
    assert b"hello" in pending.payload  # it is still to be handled


def test_unreadable_bytes_go_too(session):
    session.add(
        Quarantined(
            kind="body", reason="json", received_at=NOW, digest="d" * 64, content=b"{secret"
        )
    )
    session.flush()
    night(session, after=days("events", 1))
    row = session.scalars(select(Quarantined)).one()
    assert (row.content, row.state) == (b"", QuarantineState.DISMISSED)
    assert night(session, after=days("events", 5)) == 0


def test_what_is_owed_keeps_its_words(session, somchai):
    def call(state: CallState) -> Call:
        row = Call(
            kind=CallKind.PUSH, klass=MessageClass.SERVICE, retry_key=state.value, body=b"words",
            state=state, created_at=NOW, next_try_at=NOW,
        )  # fmt: skip
        session.add(row)
        return row

    rows = {state: call(state) for state in CallState}
    message = Message(
        key="m", member_id=somchai.id, klass=MessageClass.SERVICE, kind="t.t", content=b"[]",
        state=MessageState.SKIPPED, created_at=NOW, due_at=NOW,
    )  # fmt: skip
    waiting = Message(
        key="w", member_id=somchai.id, klass=MessageClass.SERVICE, kind="t.t", content=b"[]",
        state=MessageState.WAITING, created_at=NOW, due_at=NOW,
    )  # fmt: skip
    session.add_all([message, waiting])
    session.flush()
    night(session, after=days("calls", -1))
    assert message.content == b"[]"
    night(session, after=days("calls", 1))
    session.expire_all()
    emptied = {state for state, row in rows.items() if row.body is None}
    assert emptied == {CallState.DONE, CallState.DEAD, CallState.REFUSED, CallState.DROPPED}
    assert (message.content, waiting.content) == (None, b"[]")


def test_reasons_subjects_lists_and_looks_go(session, somchai):
    session.add_all(
        [
            SurveyAnswer(
                member_id=somchai.id, kind=SurveyKind.NPS, occasion="o", asked_at=NOW, score=9,
                answered_at=NOW, why_sealed=b"why",
            ),
            Ticket(member_id=somchai.id, subject="แก้วแตก", state="done", opened_at=NOW, done_at=NOW),
            Ticket(member_id=somchai.id, subject="ค้าง", state="open", opened_at=NOW),
            Look(actor="staff:1", member_id=somchai.id, what="x", day=NOW.date(), first_at=NOW),
        ]
    )  # fmt: skip
    session.flush()
    night(session, after=timedelta(days=3650))
    session.expire_all()
    answer = session.scalars(select(SurveyAnswer)).one()
    assert (answer.why_sealed, answer.score) == (None, 9)
    assert sorted(session.scalars(select(Ticket.subject))) == ["", "ค้าง"]
    assert session.scalars(select(Look)).all() == []


def test_a_kind_that_is_through_is_not_asked_again_for_the_batches_of_another(session):
    for number in range(6):
        event(session, number)
    asked = []

    def note(_connection, _cursor, statement, *_more):
        asked.append(statement.startswith("UPDATE conversation_lines"))

    listening.listen(session.get_bind(), "before_cursor_execute", note)
    try:
        assert night(session, after=days("events", 1), limit=2) == 6
    finally:
        listening.remove(session.get_bind(), "before_cursor_execute", note)
    assert asked.count(True) == 1


def test_a_night_works_in_batches_and_says_what_it_removed(session, vault, somchai):
    for number in range(25):
        conversations.add_line(
            session, vault, somchai, kind="text", text=f"{number}", line_message_id=f"m{number}",
            at=NOW, now=NOW,
        )  # fmt: skip
    session.flush()
    assert night(session, after=days("chats", 1), limit=10) == 25
    row = session.scalars(select(RetentionRun).where(RetentionRun.removed > 0)).one()
    assert (row.kind, row.removed, row.kept_days) == ("chats", 25, 730)
    assert night(session, after=days("chats", 1)) == 0
    left = select(ConversationLine).where(ConversationLine.text_sealed.is_not(None))
    assert session.scalars(left).all() == []


@pytest.mark.parametrize("name", list(KINDS))
def test_no_setting_goes_below_its_floor_or_above_its_ceiling(session, name):
    kind = KINDS[name]
    for typed, expected in ((0, kind.least), (-5, kind.least), (10**9, kind.most)):
        shop.set(session, kind.key, typed, NOW)
        assert retention.days_of(session, kind) == expected


def test_a_list_that_was_brought_in_goes(session):
    session.add(
        Import(
            public_id="i" * 32, digest="d", state=ImportState.CHECKED, content_sealed=b"people",
            created_at=NOW,
        )
    )  # fmt: skip
    session.flush()
    night(session, after=days("files", 1))
    row = session.scalars(select(Import)).one()
    assert (row.state, row.content_sealed) == (ImportState.DROPPED, None)
