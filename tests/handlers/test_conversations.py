"""Free text goes to staff, the bot helps now and then and keeps silent after a person wrote."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.i18n import t
from loyalty import conversations
from models.conversations import (
    Conversation,
    ConversationLine,
    ConversationPicture,
    ConversationState,
    KeywordReply,
    PictureState,
)
from models.staff import AuditRow
from tests.factories import NOW, prem
from tests.handlers.chat import words_of

HELP = "members.help_title"


def lines(chat):
    return conversations.lines_of(chat.session, chat.vault, chat.member)


def test_free_text_is_kept_for_staff_sealed(chat):
    chat.says("ร้านเปิดกี่โมงคะ")
    assert [line.text for line in lines(chat)] == ["ร้านเปิดกี่โมงคะ"]
    sealed = chat.session.scalars(select(ConversationLine.text_sealed)).one()
    assert "ร้านเปิด".encode() not in sealed
    assert chat.session.scalars(select(Conversation)).one().unread_count == 1


def test_M11_helps_at_most_once_in_twelve_hours(chat):
    assert t("th", HELP) in words_of(chat.says("ร้านเปิดกี่โมงคะ"))
    chat.clock.advance(hours=11, minutes=59)
    assert chat.says("ฮัลโหล") == []
    chat.clock.advance(minutes=1)
    assert t("th", HELP) in words_of(chat.says("มีใครอยู่ไหม"))


def test_M11_is_silent_for_thirty_minutes_after_staff_wrote(chat):
    chat.says("ร้านเปิดกี่โมงคะ")
    chat.clock.advance(hours=13)
    owner = prem(chat.session)
    conversations.reply_of_staff(
        chat.session, chat.vault, chat.member, staff_id=owner.id, text="เปิด 8 โมงค่ะ",
        now=chat.clock.now(),
    )  # fmt: skip
    chat.clock.advance(minutes=29)
    assert chat.says("ขอบคุณค่ะ") == []
    chat.clock.advance(minutes=1)
    assert t("th", HELP) in words_of(chat.says("แล้วที่จอดรถล่ะคะ"))


def test_a_chat_word_is_answered_even_then(chat):
    chat.says("สวัสดี")
    assert t("th", HELP) in words_of(chat.says("เมนู"))


def test_asking_for_staff_opens_the_conversation(chat):
    assert t("th", "conversations.staff_called") in words_of(chat.says("ติดต่อพนักงาน"))
    conversation = chat.session.scalars(select(Conversation)).one()
    assert conversation.state == ConversationState.OPEN
    conversations.close(chat.session, conversation)
    chat.says("ขอถามอีกเรื่องค่ะ")
    assert conversation.state == ConversationState.OPEN


@pytest.mark.parametrize(
    "params, when",
    [
        ({"date": "2026-12-05"}, "5 ธ.ค. 2569"),
        ({"datetime": "2026-12-05T09:30"}, "5 ธ.ค. 2569 09:30"),
        ({"time": "09:30"}, "09:30"),
    ],
)
def test_a_day_picked_while_staff_have_the_chat_stands_in_it(chat, params, when):
    chat.says("อยากจองโต๊ะค่ะ")
    owner = prem(chat.session)
    conversation = chat.session.scalars(select(Conversation)).one()
    conversation.assigned_staff_id = owner.id
    conversations.reply_of_staff(
        chat.session, chat.vault, chat.member, staff_id=owner.id, text="วันไหนดีคะ",
        now=chat.clock.now(),
    )  # fmt: skip
    chat.clock.advance(minutes=1)
    answer = words_of(chat.taps("conversations.picked", **params))
    assert answer == t("th", "conversations.picked", when=when)
    assert [(line.staff_id is not None, line.text) for line in lines(chat)] == [
        (False, "อยากจองโต๊ะค่ะ"),
        (True, "วันไหนดีคะ"),
        (False, t("th", "conversations.picked_line", when=when)),
    ]
    assert (conversation.assigned_staff_id, conversation.state) == (
        owner.id,
        ConversationState.OPEN,
    )
    assert conversation.unread_count == 2, "staff see that there is more"


@pytest.mark.parametrize(
    "params", [{}, {"date": "31/12/2569"}, {"datetime": "x"}, {"time": "25:00"}]
)
def test_an_odd_pick_only_calls_the_staff(chat, params):
    heard = words_of(chat.taps("conversations.picked", **params))
    assert t("th", "conversations.staff_called") in heard
    assert lines(chat) == []


@pytest.mark.parametrize("kind", ["sticker", "image", "video", "audio", "file", "location"])
def test_whatever_else_is_sent_is_noted(chat, kind):
    chat.sends(kind)
    assert [(line.kind, line.text) for line in lines(chat)] == [(kind, None)]


@pytest.mark.parametrize(
    "message, said",
    [
        ({"type": "sticker", "keywords": ["ดีใจ", "เย้"], "text": "ไชโย"}, "ไชโย\nดีใจ\nเย้"),
        ({"type": "location", "title": "บ้าน", "address": "พระราม 9", "latitude": 13.75,
          "longitude": 100.5}, "บ้าน\nพระราม 9\n13.750000,100.500000"),
        ({"type": "location", "latitude": "<b>", "longitude": None}, None),
        ({"type": "file", "fileName": "ก.pdf\n\u202efdp", "fileSize": 20480}, "ก.pdf fdp\n20480"),
        ({"type": "audio", "duration": 6001}, "7"),
        ({"type": "image", "contentProvider": {"type": "line"}}, None),
        ({"type": "image", "contentProvider": {"type": "external",
          "originalContentUrl": "http://169.254.169.254/"}}, "http://169.254.169.254/"),
        ({"type": "sticker", "keywords": 5}, None),
    ],
)  # fmt: skip
def test_what_is_no_text_is_kept_as_staff_can_read_it(chat, message, said):
    chat.hears({"type": "message", "message": message | {"id": "x1"}})
    assert [line.text for line in lines(chat)] == [said]


def test_only_a_picture_that_LINE_keeps_is_owed(chat):
    for number, provider in enumerate(({"type": "line"}, {"type": "external"}, {}, None, "odd")):
        message = {"type": "image", "id": f"i{number}", "contentProvider": provider}
        chat.hears({"type": "message", "message": message})
    chat.hears({"type": "message", "message": {"type": "image", "id": "i0",
                                               "contentProvider": {"type": "line"}}})  # fmt: skip
    due = chat.session.scalars(select(ConversationPicture)).all()
    assert [one.state for one in due] == [PictureState.DUE]
    chat.hears({"type": "unsend", "unsend": {"messageId": "i0"}})
    chat.session.expire_all()
    assert due[0].state == PictureState.GONE


def test_a_chat_given_back_to_the_bot_is_answered_at_once(chat):
    chat.says("ร้านเปิดกี่โมงคะ")
    conversation = chat.session.scalars(select(Conversation)).one()
    chat.clock.advance(hours=13)
    conversations.take_over(conversation, chat.clock.now())
    assert chat.says("ขอบคุณค่ะ") == []
    conversations.give_back(conversation)
    assert t("th", HELP) in words_of(chat.says("แล้วที่จอดรถล่ะคะ"))


def test_FW24_an_unsent_text_is_gone_and_the_audit_has_no_text(chat):
    chat.says("ความลับ")
    message_id = chat.session.scalars(select(ConversationLine.line_message_id)).one()
    chat.hears({"type": "unsend", "unsend": {"messageId": message_id}})
    assert [(line.text, line.is_unsent) for line in lines(chat)] == [(None, True)]
    row = chat.session.scalars(select(AuditRow)).one()
    assert row.act == "conversations.unsent"
    assert "ความลับ" not in row.canonical.decode()


def test_unsending_another_persons_message_does_nothing(chat, session, vault):
    from tests.handlers.chat import Chat

    chat.says("ความลับ")
    message_id = chat.session.scalars(select(ConversationLine.line_message_id)).one()
    other = Chat(session, vault, line_user_id="U" + "8" * 32)
    other.hears({"type": "unsend", "unsend": {"messageId": message_id}})
    assert lines(chat)[0].text == "ความลับ"


def test_hostile_text_is_cleaned(chat):
    chat.says("a\x00b\u202ec" + "\u0301" * 500)
    text = lines(chat)[0].text
    assert "\x00" not in text
    assert "\u202e" not in text
    assert len(text) < 30


# Words that the bot answers by itself


@pytest.fixture
def wifi(session):
    for words, is_exact, priority, thai in (
        (["wifi", "ไวไฟ"], True, 10, "รหัสอยู่บนใบเสร็จค่ะ"),
        (["ที่จอดรถ"], False, 20, "จอดหลังร้านได้ค่ะ"),
        (["รถ"], False, 30, "มีจักรยานให้เช่าค่ะ"),
        (["แต้ม"], True, 1, "ไม่มีวันได้ตอบ"),
    ):
        session.add(
            KeywordReply(
                words=words, is_exact=is_exact, priority=priority, text_th=thai,
                text_en="On the receipt", made_at=NOW,
            )
        )  # fmt: skip
    session.flush()


@pytest.mark.usefixtures("wifi")
def test_a_word_of_the_shop_is_answered_and_opens_no_chat(chat):
    assert words_of(chat.says("  ＷｉＦｉ ")) == "รหัสอยู่บนใบเสร็จค่ะ"
    assert words_of(chat.says("มีที่จอดรถไหมคะ")) == "จอดหลังร้านได้ค่ะ"  # the smaller number wins
    assert chat.session.scalars(select(Conversation)).all() == []
    chat.says("wifi ช้ามากเลย")  # not the whole text
    assert chat.session.scalars(select(Conversation)).one().unread_count == 1


@pytest.mark.usefixtures("wifi")
def test_a_word_of_the_shop_never_hides_a_chat_word(chat):
    assert "ไม่มีวันได้ตอบ" not in words_of(chat.says("แต้ม"))


@pytest.mark.usefixtures("wifi")
def test_a_word_of_the_shop_keeps_quiet_while_staff_talk(chat):
    chat.says("ร้านเปิดกี่โมงคะ")
    owner = prem(chat.session)
    conversations.reply_of_staff(
        chat.session,
        chat.vault,
        chat.member,
        staff_id=owner.id,
        text="8 โมงค่ะ",
        now=chat.clock.now(),
    )
    assert chat.says("wifi") == []
    chat.clock.advance(minutes=30)
    assert words_of(chat.says("wifi")) == "รหัสอยู่บนใบเสร็จค่ะ"
