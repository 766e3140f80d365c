"""Human chats in the console: read, answered through the outbox, closed."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from PIL import Image
from sqlalchemy import select

from core.i18n import t
from loyalty import conversations, exports
from models.conversations import (
    Conversation,
    ConversationPicture,
    ConversationState,
    KeywordReply,
    SavedReply,
    Ticket,
)
from models.inbox import Event, EventState
from models.members import Member
from models.outbox import Call, CallKind, CallState, Message
from models.staff import AuditRow, Look, Staff
from tests.moments import NOW


@pytest.fixture
def chat(runtime, somchai) -> int:
    """Somchai has asked something."""
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        made = conversations.add_line(
            session, runtime.vault, member, kind="text", text="<b>ร้านเปิดกี่โมง</b>",
            line_message_id="m1", at=NOW, now=NOW,
        )  # fmt: skip
        session.flush()
        return made.id


def test_lists_and_shows_what_was_written_as_text(owner, chat):
    assert f"/admin/conversations/{chat}" in owner.get("/admin/conversations").text
    page = owner.get(f"/admin/conversations/{chat}").text
    assert "&lt;b&gt;ร้านเปิดกี่โมง" in page


def test_answer_goes_through_the_outbox_and_silences_the_bot(owner, chat, database, somchai):
    owner.send(f"/admin/conversations/{chat}/reply", text="เปิด 8 โมงค่ะ")
    with database.read() as session:
        message = session.scalars(select(Message)).one()
        body = json.loads(session.get_one(Call, message.call_id).body)
        row = session.get_one(Conversation, chat)
        acts = session.scalars(select(AuditRow.act)).all()
    assert (message.kind, message.member_id) == ("conversations.replied", somchai.id)
    assert "เปิด 8 โมงค่ะ" in json.dumps(body, ensure_ascii=False)
    assert row.unread_count == 0
    assert not conversations.should_help(row, NOW + timedelta(minutes=29))
    assert acts == ["conversations.replied"]


def test_empty_and_endless_answers_are_refused(owner, chat, database):
    answers = [
        owner.send(f"/admin/conversations/{chat}/reply", text=one) for one in ("", " ", "x" * 2001)
    ]
    assert [answer.status_code for answer in answers] == [422] * 3
    with database.read() as session:
        assert session.scalars(select(Message)).all() == []


def test_somebody_who_blocked_us_cannot_be_answered(owner, chat, runtime, somchai):
    with runtime.transaction() as session:
        session.get_one(Member, somchai.id).is_following = False
    assert owner.send(f"/admin/conversations/{chat}/reply", text="x").status_code == 409


def test_closed_chat_moves_to_the_closed_ones(owner, chat, database):
    owner.send(f"/admin/conversations/{chat}/close")
    assert f"/admin/conversations/{chat}" not in owner.get("/admin/conversations").text
    assert f"/admin/conversations/{chat}" in owner.get("/admin/conversations?state=closed").text
    with database.read() as session:
        assert session.get_one(Conversation, chat).state == ConversationState.CLOSED


def test_a_chat_is_handed_to_somebody_of_the_team(owner, sign_in, chat, database):
    marketer = sign_in("marketer", name="คนทำการตลาด")
    with database.read() as session:
        ids = {one.role.value: one.id for one in session.scalars(select(Staff))}
    path = f"/admin/conversations/{chat}/assign"
    assert owner.send(path, staff=str(ids["marketer"])).status_code == 422  # may not answer
    assert owner.send(path, staff=str(ids["owner"])).status_code == 303
    assert f"/admin/conversations/{chat}" in owner.get("/admin/conversations?mine=1").text
    assert owner.send(path, staff="").status_code == 303
    assert f"/admin/conversations/{chat}" not in owner.get("/admin/conversations?mine=1").text
    assert marketer.send(path, staff="").status_code == 403


def test_a_note_is_for_the_team_alone(owner, chat, database, runtime, somchai):
    owner.send(f"/admin/conversations/{chat}/note", text="<i>ลูกค้าประจำ</i> ใจเย็น ๆ")
    assert "&lt;i&gt;ลูกค้าประจำ" in owner.get(f"/admin/conversations/{chat}").text
    with database.read() as session:
        assert session.scalars(select(Message)).all() == []
        member = session.get_one(Member, somchai.id)
        own = exports.own_data(session, runtime.vault, member, NOW)["chat"]
        row = session.get_one(Conversation, chat)
        assert conversations.should_help(row, NOW)  # nobody has answered yet
    assert len(own) == 1
    assert "ลูกค้าประจำ" not in str(own)


def test_ready_answers_are_kept_used_and_dropped(owner, chat, database):
    assert owner.send("/admin/replies/saved", title="เวลา", text="8-18 น.").status_code == 303
    assert owner.send("/admin/replies/saved", title="เวลา", text="7-18 น.").status_code == 303
    assert owner.send("/admin/replies/saved", title="", text="x").status_code == 422
    page = owner.get(f"/admin/conversations/{chat}").text
    assert "7-18 น." in page
    assert "8-18 น." not in page
    with database.read() as session:
        reply_id = session.scalars(select(SavedReply.id)).one()
    assert owner.send(f"/admin/replies/saved/{reply_id}/drop").status_code == 303
    assert "7-18 น." not in owner.get("/admin/replies").text


def test_FX19_a_ready_answer_with_an_unknown_word_is_refused_when_saved(owner, chat, database):
    answers = [
        owner.send("/admin/replies/saved", title="ทักทาย", text=text)
        for text in ("สวัสดีค่ะคุณ{nmae}", "แต้ม {points", "ก" * 2001)
    ]
    assert [answer.status_code for answer in answers] == [422] * 3
    assert "{nmae}" in answers[0].text
    with database.read() as session:
        assert session.scalars(select(SavedReply)).all() == []


def test_a_ready_answer_is_filled_for_this_member(owner, chat, database):
    owner.send("/admin/replies/saved", title="ทักทาย", text="คุณ{name} มี {points} แต้ม <b>")
    page = owner.get(f"/admin/conversations/{chat}").text
    assert 'data-fill="คุณสมชาย มี 0 แต้ม &lt;b&gt;"' in page
    with database.read() as session:
        reply_id = session.scalars(select(SavedReply.id)).one()
    page = owner.get(f"/admin/conversations/{chat}?use={reply_id}").text  # without its script
    assert ">คุณสมชาย มี 0 แต้ม &lt;b&gt;</textarea>" in page


def heard(runtime, somchai, token: str = "r" * 32) -> None:
    """LINE has just brought a message of Somchai's, and nobody has answered it."""
    at = datetime.now(UTC)
    with runtime.transaction() as session:
        session.add(
            Event(
                webhook_event_id="E1", kind="message", line_user_id=somchai.line_user_id,
                lane=somchai.line_user_id, event_at=at, received_at=at, next_try_at=at,
                state=EventState.DONE, payload=json.dumps({"replyToken": token}).encode(),
            )
        )  # fmt: skip


def test_the_cost_is_shown_before_and_the_free_answer_is_a_reply(
    owner, chat, database, runtime, somchai
):
    path = f"/admin/conversations/{chat}"
    assert t("th", "conversations.cost_included") in owner.get(path).text
    heard(runtime, somchai)
    assert "ตอบตอนนี้ส่งฟรี" in owner.get(f"{path}?part=1").text
    answer = owner.send(f"{path}/reply", text="เปิด 8 โมงค่ะ")
    assert "conversations.noted_free" in answer.headers["Location"]
    with database.read() as session:
        call = session.scalars(select(Call)).one()
    assert (call.kind, call.state) == (CallKind.REPLY, CallState.WAITING)
    assert json.loads(call.body)["replyToken"] == "r" * 32
    assert "ตอบตอนนี้ส่งฟรี" not in owner.get(path).text  # it is used up


def photo(kind: str = "PNG", size: tuple[int, int] = (300, 200)) -> bytes:
    held = io.BytesIO()
    Image.new("RGB", size, "#0e6b5c").save(held, kind)
    return held.getvalue()


def test_staff_send_a_picture_behind_a_link_nobody_guesses(owner, app, chat, database, runtime):
    demo = runtime.settings.model_copy(update={"demo": True})  # its LINE takes http
    app.extensions["taem"] = dataclasses.replace(runtime, settings=demo)
    answer = owner.client.post(
        f"/admin/conversations/{chat}/reply",
        data={"csrf_token": owner.token(), "text": "เมนูวันนี้ค่ะ",
              "picture": (io.BytesIO(photo()), "ชื่อไฟล์.exe")},
    )  # fmt: skip
    assert answer.status_code == 303
    with database.read() as session:
        body = json.loads(session.scalars(select(Call.body)).one())
        picture = session.scalars(select(ConversationPicture)).one()
    image, words = body["messages"]
    assert words["text"] == "เมนูวันนี้ค่ะ"
    path = image["originalContentUrl"].removeprefix(runtime.settings.public_url)
    assert path.split("/")[-1].removesuffix(".jpg") not in picture.token_hash
    shown = app.test_client().get(path)
    assert (shown.status_code, shown.mimetype) == (200, "image/jpeg")
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert app.test_client().get("/p/chat/guess.jpg").status_code == 404
    mine = owner.get(f"/admin/conversations/{chat}/pictures/{picture.id}.jpg")
    assert Image.open(io.BytesIO(mine.data)).size == (300, 200)
    assert (
        owner.get(f"/admin/conversations/{chat + 1}/pictures/{picture.id}.jpg").status_code == 404
    )


@pytest.mark.parametrize(
    "body", [b"<svg/>", b"", photo()[:60], b"\xff\xd8\xffhello"], ids=["svg", "empty", "cut", "lie"]
)
def test_FX04_what_is_no_picture_is_refused_with_words(owner, app, chat, database, body, runtime):
    demo = runtime.settings.model_copy(update={"demo": True})
    app.extensions["taem"] = dataclasses.replace(runtime, settings=demo)
    answer = owner.client.post(
        f"/admin/conversations/{chat}/reply",
        data={"csrf_token": owner.token(), "text": "ดูนี่ค่ะ", "picture": (io.BytesIO(body), "a.jpg")},
    )
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    assert ">ดูนี่ค่ะ</textarea>" in answer.text  # what was typed is not lost
    with database.read() as session:
        assert session.scalars(select(Message)).all() == []
        assert len(conversations.lines_of(session, runtime.vault, _member(session, chat))) == 1


def test_without_https_LINE_would_take_no_picture_and_staff_are_told(owner, chat, database):
    answer = owner.client.post(
        f"/admin/conversations/{chat}/reply",
        data={"csrf_token": owner.token(), "picture": (io.BytesIO(photo()), "a.png")},
    )
    assert (answer.status_code, t("th", "pictures.needs_https") in answer.text) == (409, True)
    with database.read() as session:
        assert session.scalars(select(ConversationPicture)).all() == []


def _member(session, chat: int) -> Member:
    return session.get_one(Member, session.get_one(Conversation, chat).member_id)


def test_a_person_takes_the_chat_over_and_gives_it_back(owner, chat, database, clock):
    path = f"/admin/conversations/{chat}"
    assert t("th", "conversations.turn_bot") in owner.get(path).text
    owner.send(f"{path}/take")
    assert "บอทเงียบอีก 30 นาที" in owner.get(path).text
    with database.read() as session:
        assert not conversations.should_help(session.get_one(Conversation, chat), clock.now())
    owner.send(f"{path}/give_back")
    assert t("th", "conversations.turn_bot") in owner.get(path).text
    with database.read() as session:
        assert conversations.should_help(session.get_one(Conversation, chat), clock.now())


def test_the_side_tells_who_it_is_and_matters_are_opened_there(owner, chat, database):
    owner.send(f"/admin/conversations/{chat}/ticket", subject="แก้วแตก <b>")
    page = owner.get(f"/admin/conversations/{chat}").text
    assert "แก้วแตก &lt;b&gt;" in page
    assert t("th", "levels.target") in page
    with database.read() as session:
        ticket = session.scalars(select(Ticket)).one()
    assert ticket.conversation_id == chat
    answer = owner.send(f"/admin/tickets/{ticket.id}/done", **{"from": f"chat-{chat}"})
    assert answer.headers["Location"].startswith(f"/admin/conversations/{chat}")


def test_whoever_reads_a_chat_is_noted_once_a_day(owner, sign_in, chat, database, clock, somchai):
    marketer = sign_in("marketer")
    for _ in range(2):
        owner.get(f"/admin/conversations/{chat}")
    assert marketer.get(f"/admin/conversations/{chat}").status_code == 403
    with database.read() as session:
        looks = session.scalars(select(Look)).all()
    assert [(one.member_id, one.what) for one in looks] == [(somchai.id, "conversations.read")]


def test_places_files_and_stickers_can_be_read(owner, chat, runtime, somchai):
    said = {
        "location": "ร้านกาแฟ\nถนนพระราม 9\n13.750000,100.500000",
        "file": "ใบเสนอราคา.pdf\n20480",
        "audio": "7",
        "sticker": "ดีใจ",
        "video": None,
        "hologram": None,
    }
    with runtime.transaction() as session:
        member = session.get_one(Member, somchai.id)
        for number, (kind, text) in enumerate(said.items()):
            conversations.add_line(
                session, runtime.vault, member, kind=kind, text=text,
                line_message_id=f"k{number}", at=NOW, now=NOW,
            )  # fmt: skip
    page = owner.get(f"/admin/conversations/{chat}").text
    for words in ("ร้านกาแฟ · ถนนพระราม 9", "maps?q=13.750000%2C100.500000", "ใบเสนอราคา.pdf (20.5 kB)",
                  "ยาว 7 วินาที", "สติกเกอร์</b> ดีใจ", "วิดีโอ", "ข้อความรูปแบบอื่น"):  # fmt: skip
        assert words in page


WORD = {"words": "WiFi, ไวไฟ", "how": "exact", "priority": "10",
        "text_th": "ดูที่ใบเสร็จค่ะ", "text_en": "See the receipt"}  # fmt: skip


def test_words_the_bot_answers_are_added_tried_and_switched(owner, database):
    assert owner.send("/admin/replies/words", **WORD).status_code == 303
    assert "ดูที่ใบเสร็จค่ะ</p>" in owner.get("/admin/replies?try=WIFI").text
    with database.read() as session:
        row = session.scalars(select(KeywordReply)).one()
    assert row.words == ["wifi", "ไวไฟ"]
    assert owner.send(f"/admin/replies/words/{row.id}/off").status_code == 303
    assert "ดูที่ใบเสร็จค่ะ</p>" not in owner.get("/admin/replies?try=wifi").text
    assert owner.send(f"/admin/replies/words/{row.id}/drop").status_code == 303


@pytest.mark.parametrize(
    "odd",
    [{"words": " , "}, {"how": "x"}, {"priority": "0"}, {"text_en": ""}, {"text_th": "ก" * 1001}],
)
def test_wrong_words_come_back(owner, database, odd):
    answer = owner.send("/admin/replies/words", **WORD | odd)
    assert (answer.status_code, 'role="alert"' in answer.text) == (422, True)
    with database.read() as session:
        assert session.scalars(select(KeywordReply)).all() == []
