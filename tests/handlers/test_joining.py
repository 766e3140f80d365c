"""Joining in the chat: one question a message, kept for weeks, paused by words, gone on cancel."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from core.i18n import t
from loyalty import consents, conversations, members, personal
from models.activities import Activity
from models.coupons import Voucher
from models.members import Consent, JoinForm, Member, MemberState, Purpose
from tests.factories import make_coupon
from tests.handlers.chat import actions_of, words_of


def asked(answer, question):
    return t("th", f"members.ask_{question}") in words_of(answer)


def test_asks_one_question_a_message_in_order(chat):
    assert asked(chat.says("สมัคร"), "consent")
    assert asked(chat.says("ยอมรับ"), "marketing")
    assert asked(chat.says("รับข่าวสาร"), "name")
    assert asked(chat.says("แพรว"), "phone")
    assert asked(chat.says("081-234-5678"), "birthday")
    joined = chat.says("๕ มีนาคม ๒๕๓๘")
    assert chat.member.state == MemberState.MEMBER
    assert "แพรว" in words_of(joined)
    assert personal.phone_of(chat.session, chat.vault, chat.member) == "+66812345678"
    assert personal.birthday_of(chat.session, chat.vault, chat.member).isoformat() == "1995-03-05"


def test_goes_in_english_for_an_english_friend(chat):
    chat.member.locale = "en"
    chat.says("join")
    assert t("en", "members.ask_marketing") in words_of(chat.says("Accept"))
    for words in ("Yes", "Praew", "0812345678"):
        chat.says(words)
    chat.says("Skip")
    assert chat.member.is_member
    assert consents.is_given(chat.session, chat.member.id, Purpose.MARKETING)


def test_declining_keeps_nothing_and_says_how_to_return(chat):
    chat.says("สมัคร")
    answer = chat.says("ไม่ยอมรับ")
    assert t("th", "members.consent_declined") in words_of(answer)
    assert chat.form is None
    assert chat.session.scalar(select(Consent.id)) is None


def test_records_each_consent_with_its_version(chat):
    chat.joins(birthday="5/3/2538")
    rows = chat.session.scalars(select(Consent).where(Consent.member_id == chat.member.id)).all()
    assert {row.text_version for row in rows} == {"membership-1", "marketing-1", "birthday-1"}
    assert {row.channel for row in rows} == {"chat"}


def test_no_marketing_when_it_was_declined(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว", "0812345678", "ข้าม"):
        chat.says(words)
    assert chat.member.is_member
    assert not consents.is_given(chat.session, chat.member.id, Purpose.MARKETING)


@pytest.mark.parametrize(
    "before, wrong, reason",
    [
        (("สมัคร",), "อะไรนะ", "members.bad_consent"),
        (("สมัคร", "ยอมรับ"), "อาจจะ", "members.bad_marketing"),
        (("สมัคร", "ยอมรับ", "ไม่รับ"), "\u200b\u202e", "members.bad_name"),
        (("สมัคร", "ยอมรับ", "รับข่าวสาร"), "รับข่าวสาร", "members.bad_name"),
        (("สมัคร", "ยอมรับ", "ไม่รับ"), "ข้าม", "members.bad_name"),
        (("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว"), "081 234", "members.bad_phone"),
        (("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว", "0812345678"), "31/2/2538", "members.bad_birthday"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong_and_asks_again(chat, before, wrong, reason):
    for words in before:
        question = chat.says(words)
    answer = chat.says(wrong)
    assert answer[0]["text"] == t("th", reason)
    assert answer[1]["altText"] == question[0]["altText"]


def test_back_goes_one_question_back(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว"):
        chat.says(words)
    assert asked(chat.says("ย้อนกลับ"), "name")
    assert asked(chat.says("ย้อนกลับ"), "marketing")
    assert asked(chat.says("ย้อนกลับ"), "consent")
    assert asked(chat.says("ย้อนกลับ"), "consent")


def test_cancel_deletes_the_answers(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว", "0812345678"):
        chat.says(words)
    answer = chat.says("ยกเลิก")
    assert t("th", "members.joining_cancelled") in words_of(answer)
    assert chat.session.scalar(select(JoinForm.member_id)) is None


def test_goes_on_next_week_where_it_stopped(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว"):
        chat.says(words)
    chat.clock.advance(days=7)
    assert asked(chat.says("สมัครสมาชิก"), "phone")
    chat.says("0812345678")
    chat.says("ข้าม")
    assert chat.member.name == "แพรว"


def test_answers_are_sealed(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรวพรรณ", "0812345678"):
        chat.says(words)
    sealed = chat.form.answers_sealed
    assert "แพรวพรรณ".encode() not in sealed
    assert b"812345678" not in sealed
    opened = personal.unseal(chat.session, chat.vault, chat.member, personal.ANSWERS_FIELD, sealed)
    assert json.loads(opened)["name"] == "แพรวพรรณ"


def test_a_chat_word_pauses_the_form_which_is_kept(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว"):
        chat.says(words)
    answer = chat.says("คูปอง")
    assert t("th", "members.joining_paused") in words_of(answer)
    assert chat.form.is_paused
    assert t("th", "members.joining_paused") not in words_of(chat.says("เมนู"))
    assert asked(chat.taps("members.join"), "phone")


def test_a_tap_pauses_the_form_too(chat):
    chat.says("สมัคร")
    assert t("th", "members.joining_paused") in words_of(chat.taps("coupons.show"))
    assert chat.form.is_paused


def test_switching_a_menu_tab_pauses_nothing(chat):
    chat.says("สมัคร")
    assert chat.taps("menus.switched?tab=shop", newRichMenuAliasId="x", status="SUCCESS") == []
    assert not chat.form.is_paused


def test_free_text_while_paused_goes_to_staff_not_into_the_form(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ"):
        chat.says(words)
    chat.taps("members.help")
    chat.says("ร้านเปิดกี่โมงคะ")
    assert chat.form.step == "name"
    assert chat.form.is_paused


def test_an_answer_word_resumes_a_paused_form(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว", "0812345678", "แต้ม"):
        chat.says(words)
    chat.says("ข้าม")
    assert chat.member.is_member


@pytest.mark.parametrize("word", ["ยกเลิก", "ใช่", "Back"])
def test_M11_what_is_said_to_staff_resumes_no_form(chat, word):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว", "แต้ม"):
        chat.says(words)
    conversation = conversations.add_line(
        chat.session, chat.vault, chat.member, kind="text", text="กาแฟหก", line_message_id="m",
        at=chat.clock.now(), now=chat.clock.now(),
    )  # fmt: skip
    conversations.take_over(conversation, chat.clock.now())
    assert chat.says(word) == []
    assert (chat.form.step, chat.form.is_paused) == ("phone", True)
    chat.clock.advance(minutes=31)
    chat.says("ยกเลิก")
    assert chat.form is None


@pytest.mark.parametrize("purpose, said", [("membership", "ยอมรับ"), ("marketing", "รับข่าวสาร")])
def test_J2_nobody_agrees_to_a_text_that_was_not_on_the_screen(chat, purpose, said):
    for words in ("สมัคร", "ยอมรับ")[: 1 + (purpose == "marketing")]:
        chat.says(words)
    before = chat.form.step
    chat.clock.advance(minutes=5)
    consents.publish(
        chat.session, Purpose(purpose), body_th="ข้อความใหม่ค่ะ", body_en="New words.",
        asks_again=False, by="staff:1", now=chat.clock.now(),
    )  # fmt: skip
    chat.clock.advance(minutes=1)
    assert "ข้อความใหม่ค่ะ" in words_of(chat.says(said))
    assert chat.form.step == before
    chat.clock.advance(minutes=1)
    chat.says(said)
    assert chat.form.step != before


def test_J2_declining_needs_no_text(chat):
    chat.says("สมัคร")
    chat.clock.advance(minutes=5)
    consents.publish(
        chat.session, Purpose.MEMBERSHIP, body_th="ข้อความใหม่ค่ะ", body_en="New words.",
        asks_again=False, by="staff:1", now=chat.clock.now(),
    )  # fmt: skip
    chat.clock.advance(minutes=1)
    chat.says("ไม่ยอมรับ")
    assert chat.form is None


def test_a_late_profile_changes_no_language_that_is_spoken_already(chat):
    chat.says("ภาษา")
    chat.taps("members.set_language?locale=th")
    members.take_profile(chat.member, "Praew", None, chat.clock.now(), "en")
    assert (chat.member.locale, chat.member.line_name) == ("th", "Praew")


def test_a_late_profile_changes_no_language_of_a_dialogue(chat):
    chat.says("สมัคร")
    members.take_profile(chat.member, "Praew", "https://x.example/\0", chat.clock.now(), "en")
    assert (chat.member.locale, chat.member.picture_url) == ("th", None)


def test_a_chat_word_as_name_is_asked_about_first(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ"):
        chat.says(words)
    answer = chat.says("แต้ม")
    assert "ใช้เป็นชื่อ?" in words_of(answer)
    assert not chat.form.is_paused
    assert asked(chat.says("ใช่"), "phone")
    chat.says("0812345678")
    chat.says("ข้าม")
    assert chat.member.name == "แต้ม"


def test_a_chat_word_that_is_no_name_does_what_it_says(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "คูปอง"):
        chat.says(words)
    answer = chat.says("ไม่ใช่")
    assert t("th", "coupons.no_vouchers_title") in words_of(answer)
    assert t("th", "members.joining_paused") in words_of(answer)
    assert asked(chat.says("สมัคร"), "name")


def test_another_name_after_the_question_is_the_name(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แต้ม"):
        chat.says(words)
    assert asked(chat.says("แต้มบุญ"), "phone")


def test_a_sticker_asks_the_open_question_again(chat):
    chat.says("สมัคร")
    assert asked(chat.sends("sticker"), "consent")


def test_the_date_picker_answers_the_birthday(chat):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว", "0812345678"):
        chat.says(words)
    chat.taps("members.birthday", date="1996-02-29")
    assert chat.member.is_member
    assert chat.member.birthday_index == personal.birthday_index(chat.vault, 2, 29)


def test_an_old_date_picker_changes_nothing_for_a_member(chat):
    chat.joins(birthday="5/3/2538")
    assert chat.taps("members.birthday", date="1990-01-01") == []
    assert personal.birthday_of(chat.session, chat.vault, chat.member).year == 1995


@pytest.mark.parametrize("birthday", ["2026-11-22", "22/11/2569", "1/1/2443", "1/1/1", "1/1/2570"])
def test_FS05_an_impossible_birthday_is_asked_again(chat, birthday):
    for words in ("สมัคร", "ยอมรับ", "ไม่รับ", "แพรว", "0812345678"):
        chat.says(words)
    assert asked(chat.says(birthday), "birthday")
    assert not chat.member.is_member


def test_somebody_under_twenty_gets_no_marketing(chat):
    chat.joins(birthday="5 มีนาคม 2553")
    assert chat.member.is_member
    assert not consents.is_given(chat.session, chat.member.id, Purpose.MARKETING)


def test_with_the_setting_a_guardian_can_agree(chat, now):
    from loyalty import shop

    shop.set(chat.session, "members.asks_guardian", True, now)
    shop.set(chat.session, "members.guardian_age", 18, now)
    assert "อายุยังไม่ถึง 18 ปี" in words_of(chat.joins(birthday="5 มีนาคม 2553"))
    chat.says("ใช่")
    assert consents.has_guardian(chat.session, chat.member.id)


def test_a_shop_that_does_not_ask_for_the_birthday_is_done_after_the_phone(chat, now):
    from loyalty import shop

    shop.set(chat.session, "members.asks_birthday", False, now)
    for answer in ("สมัคร", "ยอมรับ", "ไม่รับ", "สมชาย", "081 234 5678"):
        chat.says(answer)
    assert chat.member.is_member


def test_the_joining_gift_waits_for_proof_and_comes_once(chat):
    make_coupon(chat.session, "welcome_gift", name_th="คุกกี้ฟรี")
    answer = chat.joins()
    assert "คุกกี้ฟรี" in words_of(answer)
    assert chat.session.scalars(select(Voucher)).one().needs_proof
    chat.says("สมัคร")
    assert len(chat.session.scalars(select(Voucher)).all()) == 1


def test_records_that_somebody_joined_once(chat):
    chat.joins()
    facts = chat.session.scalars(select(Activity).where(Activity.kind == "members.joined")).all()
    assert [fact.facts["source"] for fact in facts] == ["unknown"]


def test_J3_a_known_and_an_unknown_phone_are_answered_alike(chat, session, vault):
    from tests.handlers.chat import Chat

    chat.joins(phone="0812345678")
    chat.member.phone_proven_at = chat.clock.now()
    other = Chat(session, vault, line_user_id="U" + "1" * 32)
    third = Chat(session, vault, line_user_id="U" + "2" * 32)
    numbers = [each.member.member_no for each in (other, third)]
    known = words_of(other.joins(phone="0812345678"))
    unknown = words_of(third.joins(phone="0899999999"))
    numbers = [each.member.member_no for each in (other, third)]
    spaced = [f"{number[:3]} {number[3:6]} {number[6:]}" for number in numbers]
    assert known.replace(spaced[0], "") == unknown.replace(spaced[1], "")
    assert chat.member.phone_proven_at is not None
    assert other.member.phone_proven_at is None


def test_every_question_offers_its_answers(chat):
    labels = [action["label"] for action in actions_of(chat.says("สมัคร"))]
    assert {"ยอมรับ", "ไม่ยอมรับ", "ยกเลิก"} <= set(labels)


def test_a_member_who_joins_again_sees_the_card(chat):
    chat.joins()
    number = chat.member.member_no
    answer = words_of(chat.says("สมัคร"))
    assert number[:3] in answer
    assert chat.session.query(Member).count() == 1


def test_correcting_name_phone_and_birthday(chat):
    chat.joins()
    assert t("th", "members.correct_name") in words_of(chat.taps("members.correct?field=name"))
    chat.says("แพรวา")
    assert chat.member.name == "แพรวา"
    chat.taps("members.correct?field=phone")
    assert chat.says("12")[0]["text"] == t("th", "members.bad_phone")
    chat.says("089 999 9999")
    assert personal.phone_of(chat.session, chat.vault, chat.member) == "+66899999999"
    chat.taps("members.correct?field=birthday")
    chat.taps("members.birthday", date="1995-03-05")
    assert personal.birthday_of(chat.session, chat.vault, chat.member).day == 5
    assert chat.form is None


def test_a_birthday_changes_once_a_year(chat):
    chat.joins(birthday="5/3/2538")
    chat.taps("members.correct?field=birthday")
    chat.says("6/3/2538")
    chat.taps("members.correct?field=birthday")
    answer = chat.says("7/3/2538")
    assert answer[0]["text"] == t("th", "members.birthday_once_a_year")
    assert personal.birthday_of(chat.session, chat.vault, chat.member).day == 6
    chat.clock.advance(days=366)
    chat.taps("members.correct?field=birthday")
    chat.says("7/3/2538")
    assert personal.birthday_of(chat.session, chat.vault, chat.member).day == 7


def test_cancelling_a_correction_changes_nothing(chat):
    chat.joins()
    chat.taps("members.correct?field=name")
    assert chat.says("ยกเลิก")[0]["text"] == t("th", "members.correction_cancelled")
    assert chat.member.name == "แพรว"
