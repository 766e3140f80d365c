"""Following, card, own data, language, help, and leaving."""

from __future__ import annotations

import json
import random
from datetime import timedelta

import pytest
from sqlalchemy import select

from core.errors import Refused
from core.i18n import t
from engagement import alerts
from loyalty import alarms, codes, consents, members, points, shop
from models.activities import Activity
from models.members import Erasure, Member, MemberKey, MemberState, Purpose
from tests import factories
from tests.handlers.chat import actions_of, size_of, words_of

# Following


def test_welcomes_a_new_friend_with_one_button(chat):
    answer = chat.follows()
    taps = actions_of(answer)
    assert [tap["data"] for tap in taps] == ["members.join"]
    assert t("th", "members.welcome_new_eyebrow") in words_of(answer)
    assert chat.member.is_following


@pytest.mark.parametrize("is_on", [True, False])
def test_promises_stamps_where_there_is_a_card_to_fill(chat, session, is_on):
    factories.make_stamp_program(session, is_on=is_on)
    assert (t("th", "members.benefit_stamps") in words_of(chat.follows())) is is_on


def test_the_welcome_says_who_the_shop_is(chat, session, now):
    said = {"about_th": "คั่วเองทุกเช้า", "hours_th": "7.00–19.00 น.", "phone": "02 123 4567"}
    for name, words in said.items():
        shop.set(session, f"shop.{name}", words, now)
    assert "แผนที่" not in words_of(chat.follows())
    shop.set(session, "shop.map_url", "https://maps.example/?q=%E0%B8%81", now)
    chat.clock.advance(days=1)
    chat.blocks()
    chat.clock.advance(days=1)
    welcome = chat.follows()
    assert [words for words in said.values() if words not in words_of(welcome)] == []
    assert "https://maps.example/?q=%E0%B8%81" in json.dumps(welcome)


def test_says_welcome_back_to_whoever_returns(chat):
    chat.follows()
    chat.clock.advance(days=1)
    chat.blocks()
    chat.clock.advance(days=1)
    assert t("th", "members.welcome_back_eyebrow") in words_of(chat.follows(is_unblocked=True))


def test_says_welcome_back_to_a_member_by_name(chat):
    chat.joins()
    chat.clock.advance(days=1)
    chat.blocks()
    chat.clock.advance(days=1)
    assert "แพรว" in words_of(chat.follows(is_unblocked=True))


def test_FW10_the_latest_event_time_wins_and_one_welcome_is_sent(chat, now):
    chat.blocks(at=now + timedelta(minutes=5))
    first = chat.follows(at=now)
    again = chat.follows(at=now)
    chat.blocks(at=now + timedelta(minutes=5))
    assert not chat.member.is_following
    assert [bool(first), bool(again)] == [True, False]


def test_a_follow_that_comes_late_interrupts_no_joining(chat):
    chat.says("สมัคร")
    assert chat.follows() == []
    assert chat.member.is_following


def test_AC5_twenty_shuffled_follows_and_blocks_bring_one_gift(chat, now):
    factories.make_coupon(chat.session, "welcome_gift")
    chat.joins()
    moments = [(now + timedelta(minutes=number), number % 2) for number in range(40)]
    random.Random(7).shuffle(moments)
    for at, is_follow in moments:
        chat.follows(at=at) if is_follow else chat.blocks(at=at)
    gifts = [
        fact for fact in chat.session.scalars(select(Activity)) if fact.kind == "vouchers.issued"
    ]
    assert chat.member.is_following
    assert len(gifts) == 1


def test_whoever_writes_is_following_again(chat, now):
    chat.follows()
    chat.blocks()
    members.note_seen(chat.session, chat.member, now + timedelta(seconds=1))
    assert chat.member.is_following


# Card


def test_the_card_shows_name_number_and_a_code_of_the_static_kind(chat):
    chat.joins()
    answer = chat.says("บัตร")
    number = chat.member.member_no
    assert f"{number[:3]} {number[3:6]} {number[6:]}" in words_of(answer)
    url = next(part for part in str(answer).split("'") if "/p/qr/" in part)
    code = url.rsplit("/", 1)[1].removesuffix(".png")
    parsed = codes.parse(chat.settings.secret_key, code)
    found = codes.look(chat.session, parsed, chat.clock.now())
    assert (found.member.id, found.purpose) == (chat.member.id, "card")
    assert "แพรว" not in url


def test_the_card_code_stays_the_same(chat):
    chat.joins()
    assert chat.says("บัตร") == chat.says("card")


# Own data


def test_my_data_shows_the_phone_masked_and_the_ways_out(chat):
    chat.joins(birthday="5/3/2538")
    answer = chat.says("ข้อมูลของฉัน")
    assert "5678" in words_of(answer)
    assert "081" not in words_of(answer)
    taps = {tap.get("data") for tap in actions_of(answer)}
    assert {
        "members.correct?field=phone",
        "members.stop_marketing",
        "members.leave",
    } <= taps


def test_stops_and_starts_marketing(chat):
    chat.joins()
    chat.taps("members.stop_marketing")
    assert not consents.is_given(chat.session, chat.member.id, Purpose.MARKETING)
    chat.taps("members.start_marketing")
    assert consents.is_given(chat.session, chat.member.id, Purpose.MARKETING)


@pytest.mark.parametrize("age", [20, 25])
def test_somebody_too_young_cannot_switch_marketing_on(chat, now, age):
    shop.set(chat.session, "members.guardian_age", age, now)
    chat.joins(birthday="5/3/2553")
    answer = chat.taps("members.start_marketing")
    assert f"อายุ {age} ปีขึ้นไป" in words_of(answer)
    assert not consents.is_given(chat.session, chat.member.id, Purpose.MARKETING)


def test_leaving_asks_first_and_names_what_is_lost(chat):
    factories.make_coupon(chat.session, "welcome_gift")
    chat.joins()
    answer = chat.taps("members.leave")
    assert t("th", "members.lost_vouchers") in words_of(answer)
    assert chat.member.is_member


def test_leaving_erases_and_the_next_word_is_a_strangers(chat):
    chat.joins()
    old = chat.member
    assert words_of(chat.taps("members.confirm_leave")) == t("th", "members.left")
    assert old.state == MemberState.ERASED
    assert (old.line_user_id, old.name, old.phone_sealed, old.member_no) == (None,) * 4
    assert chat.session.get(MemberKey, old.id) is None
    assert chat.session.scalars(select(Erasure)).one().asked_by == "member"
    assert chat.member.id != old.id
    assert t("th", "members.must_join_title") in words_of(chat.says("แต้ม"))


def test_a_friend_who_never_joined_can_be_forgotten_too(chat):
    answer = chat.says("ข้อมูลของฉัน")
    assert "members.leave" in {tap.get("data") for tap in actions_of(answer)}
    chat.taps("members.confirm_leave")
    states = chat.session.scalars(select(Member.state)).all()
    assert states == [MemberState.ERASED]


def test_rejoining_brings_no_second_gift(chat):
    factories.make_coupon(chat.session, "welcome_gift", name_th="คุกกี้ฟรี")
    assert "คุกกี้ฟรี" in words_of(chat.joins())
    chat.taps("members.confirm_leave")
    assert "คุกกี้ฟรี" not in words_of(chat.joins())
    chat.taps("members.confirm_leave")
    chat.clock.advance(days=366)
    assert "คุกกี้ฟรี" in words_of(chat.joins())


# Language and help


def test_switches_the_language(chat):
    answer = chat.taps("members.set_language?locale=en")
    assert chat.member.locale == "en"
    assert t("en", "members.language_changed") in words_of(answer)
    assert chat.taps("members.set_language?locale=xx")
    assert chat.member.locale == "th"


def test_an_unknown_tap_of_an_old_menu_gets_help(chat):
    assert t("th", "members.help_title") in words_of(chat.taps("menus.of_last_year"))


# Names from strangers (FX01, FX02, AC11)

HOSTILE = {
    "markup": "<img src=x onerror=alert(1)>",
    "format": "{0.__class__} {name} %s",
    "quotes": '", "type": "text',
    "rtl": "\u202eevil\u202c",
    "zalgo": "a" + "\u0301" * 5000,
    "emoji": "👩‍👩‍👧‍👦" * 200,
    "surrogate": "x\ud800y",
    "long": "ก" * 5000,
    "nul": "a\x00b",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_FX02_a_hostile_name_is_cleaned_and_every_card_stays_in_its_limits(chat, kind):
    chat.joins(name=HOSTILE[kind])
    assert chat.member.name
    assert not set(chat.member.name) & set("\u202e\u202c\x00")
    for word in ("บัตร", "ข้อมูลของฉัน", "แต้ม", "สมัคร"):
        for message in chat.says(word):
            assert size_of(message) < 30 * 1024
            assert len(message.get("altText", "-")) <= 1500


@pytest.mark.parametrize("kind", HOSTILE)
def test_FX01_a_hostile_line_name_is_text_everywhere(chat, kind, now):
    members.take_profile(chat.member, HOSTILE[kind], "javascript:alert(1)", now)
    chat.session.flush()
    assert chat.member.picture_url is None
    for word in ("สมัคร", "ข้อมูลของฉัน", "เมนู"):
        for message in chat.says(word):
            message_bytes = size_of(message)
            assert message_bytes < 30 * 1024


def test_a_name_of_nothing_readable_becomes_member(chat, now):
    members.take_profile(chat.member, "\u200b\u200b", None, now)
    assert members.shown_name(chat.member) == "สมาชิก"


def test_refusing_to_erase_twice(chat, vault):
    from loyalty import erasure

    chat.joins()
    old = chat.member
    chat.taps("members.confirm_leave")
    with pytest.raises(Refused) as refusal:
        erasure.erase(chat.session, vault, old, asked_by="cli", now=chat.clock.now())
    assert refusal.value.code == "members.unknown"


# Erasure in the middle of a batch (FW21)


def test_FW21_what_was_sent_after_leaving_is_a_strangers(database, runtime):
    import json

    from bot.webhook import Intake
    from handlers.inbox import Inbox
    from loyalty import joining
    from loyalty.joining import Answers, Surroundings
    from tests.bot.webhooks import body_of, other_event, sign, text_event
    from tests.factories import CHANNEL_SECRET, line_id
    from tests.moments import BANGKOK, NOW

    with runtime.transaction() as session:
        member = members.friend_for(session, line_id("สมชาย"), NOW)
        around = Surroundings(session, runtime.vault, member, NOW, BANGKOK)
        joining.join(around, Answers(name="สมชาย", phone="+66812345678"), channel="chat")
    leave = other_event("postback", postback={"data": "members.confirm_leave"})
    after = text_event("แต้ม", timestamp=leave["timestamp"] + 1)
    intake = Intake(database.url, [CHANNEL_SECRET])
    body = body_of(leave, after)
    assert intake.receive(body, sign(body).encode()) == 200
    intake.close()
    replies = []
    box = Inbox(runtime, lambda _call, _token, bytes_: replies.append(json.loads(bytes_)))
    while box.run_batch():
        pass
    assert len(replies) == 2
    assert t("th", "members.left") in words_of(replies[0]["messages"])
    assert t("th", "members.must_join_title") in words_of(replies[1]["messages"])
    with database.read() as session:
        states = session.scalars(select(Member.state).order_by(Member.id)).all()
        assert states == [MemberState.ERASED, MemberState.FRIEND]


# Not me (AC3)


def test_ac3_a_tap_on_not_me_freezes_and_says_so(chat):
    chat.joins()
    points.adjust(
        chat.session, chat.member.id, 20, reason="x", staff_id=None, source_id="a",
        now=chat.clock.now(), tz=chat.clock.tz,
    )  # fmt: skip
    chat.session.flush()
    adjusted = select(Activity.id).where(Activity.kind == "points.adjusted")
    act = chat.session.scalars(adjusted).one()
    answer = chat.taps(f"members.not_me?act={act}")
    assert t("th", "members.disputed_title") in words_of(answer)
    with pytest.raises(Refused, match=r"points.frozen"):
        points.burn(
            chat.session, chat.member.id, 1, source="voucher", source_id="1", now=chat.clock.now()
        )
    [alarm] = alarms.open_ones(chat.session)
    title, body = alerts.words(chat.session, alarm, "th", chat.clock.tz)
    assert chat.member.member_no in title
    assert t("th", "alarms.disputed_points_adjusted") in body


@pytest.mark.parametrize("act", ["", "0", "x", "99999", "9" * 40])
def test_ac3_a_tap_on_nothing_of_theirs_is_answered_kindly(chat, act):
    chat.joins()
    answer = chat.taps(f"members.not_me?act={act}")
    assert t("th", "members.not_disputable") in words_of(answer)
