"""M2: each journey that comes with a shop, once in both languages, and what they share."""

from __future__ import annotations

import re
from datetime import date, datetime

import pytest
from sqlalchemy import func, select

from bot.flex.journeys import message_bubble
from core.i18n import t
from engagement import definitions, delivery, journey_shapes, taps, texts
from engagement.shipped import DEFAULTS
from handlers import router
from loyalty import activities, coupons, shop, surveys
from models.coupons import Coupon, Obtained
from models.earn_rules import Product
from models.journeys import Intent, IntentState, Journey
from models.members import JoinForm, MemberState
from models.outbox import Message, MessageClass
from models.results import Tap
from models.tiers import Tier
from simulator.validation.messages import check_messages
from tests import factories
from tests.handlers.chat import Chat, actions_of, words_of
from tests.moments import BANGKOK, NOW

JOINED = {"source": "friend", "channel": "chat"}
GOLD = {
    "key": "gold", "name_th": "ทอง", "name_en": "Gold", "threshold": 1, "colour": "#D4A017",
    "created_at": NOW,
}  # fmt: skip


def fact(life, member, kind, **facts):
    activities.record(life.session, member.id, kind, life.now, facts)
    life.settle()


def joins(life, member):
    fact(life, member, "members.joined", **JOINED)


def begins_to_join(life, member):
    member.state = MemberState.FRIEND
    fact(life, member, "members.joining_started")


def buys_after(life, member, *, days):
    life.buy(member)
    life.later(days=days)
    life.buy(member)


def nearly_fills(life, member):
    facts = {"card_id": 7, "filled": 8, "given": 1, "size": 10}
    fact(life, member, "stamps.given", **facts)


def rises(life, member):
    if life.session.scalar(select(Tier.id)) is None:
        life.session.add(Tier(**GOLD))
    facts = {"before": None, "after": "gold", "cause": "earned", "is_up": True}
    fact(life, member, "tiers.changed", **facts, until="2027-11-30")


def is_about_to_fall(life, member):
    rises(life, member)
    facts = {"tier": "gold", "until": "2026-12-20", "missing": 34_950, "basis": "spend"}
    fact(life, member, "tiers.at_risk", **facts)


def has_points_that_end(life, member):
    life.lot(member, 40, datetime(2026, 12, 20, tzinfo=BANGKOK))
    life.run("points.expiring_notice")


def has_a_voucher_that_ends(life, member):
    coupon = life.session.scalar(select(Coupon).where(Coupon.key == "gift"))
    coupon = coupon or life.coupon("gift", valid_days=20, name_en="A gift")
    coupons.issue(
        life.session, coupon, member.id, source="test", source_id="1", now=life.now, tz=BANGKOK
    )
    life.later(days=16)
    life.run("vouchers.expiring_notice")


def has_a_birthday(life, member):
    life.birthday(member, date(1990, 11, 23))
    life.at(2026, 11, 23, 9, 0)
    life.run("members.birthday")


def joined_two_years_ago(life, member):
    member.joined_at = datetime(2024, 11, 23, 12, tzinfo=BANGKOK)
    life.at(2026, 11, 23, 9, 5)
    life.run("members.anniversary")


def falls_silent(life, member):
    life.buy(member)
    life.later(days=46)
    life.run("lifecycle.win_back")


def buys_often(life, member):
    for _ in range(3):
        life.buy(member)
        life.later(days=10)
    life.later(days=-10)


def claims(life, member):
    coupon = factories.make_coupon(life.session, f"claim_{member.id}")
    coupons.claim(life.session, coupon.id, member, life.now, BANGKOK)
    life.settle()


def bought_for_long(life, member):
    for _ in range(4):
        life.buy(member)
        life.later(days=12)
    life.run("journeys.segments")


HELP = "members.help_title"
THAI = re.compile("[\u0e00-\u0e7f]")
THANKS = ("surveys.thanks_low", "surveys.thanks_fine", "surveys.thanks_high")
#: key: what a button of its message may answer; nothing where it has none.
ANSWERS = {
    "members.welcome": ("members.card_hint",),
    "members.finish_joining": ("members.ask_consent",),
    "lifecycle.help_choose": (HELP,),
    "lifecycle.thank_you": ("coupons.offer",),
    "lifecycle.second_visit": ("coupons.offer",),
    "stamps.nearly_full": ("stamps.empty_title",),
    "tiers.up": ("members.card_hint",),
    "tiers.keep": ("members.card_hint",),
    "points.expiring_notice": ("rewards.empty_title",),
    "vouchers.expiring_notice": ("coupons.voucher",),
    "members.birthday": ("coupons.offer",),
    "members.anniversary": (),
    "lifecycle.win_back": ("coupons.voucher",),
    "referrals.ask": ("referrals.title",),
    "surveys.csat": THANKS,
    "surveys.claim_csat": THANKS,
    "surveys.nps": THANKS,
}
#: key: what causes it, days until its message is owed, and words of it in both languages.
CASES = {
    "members.welcome": (joins, 2, "ยินดีต้อนรับ", "Welcome to"),
    "members.finish_joining": (begins_to_join, 2, "สมัครค้างไว้", "almost a member"),
    "lifecycle.help_choose": (joins, 4, "ลาเต้", "Latte"),
    "lifecycle.thank_you": (lambda life, one: life.buy(one), 0, "ครั้งแรก", "Lovely to meet you"),
    "lifecycle.second_visit": (lambda life, one: life.buy(one), 11, "แก้วที่สอง", "second cup"),
    "stamps.nearly_full": (nearly_fills, 6, "อีก 2 ดวง", "Only 2 more"),
    "tiers.up": (rises, 0, "ระดับทอง", "You are Gold"),
    "tiers.keep": (is_about_to_fall, 0, "ซื้ออีก 350 บาท", "spend 350 baht"),
    "points.expiring_notice": (has_points_that_end, 0, "40 แต้ม", "40 of your points"),
    "vouchers.expiring_notice": (has_a_voucher_that_ends, 0, "ของขวัญ gift", "A gift"),
    "members.birthday": (has_a_birthday, 0, "สุขสันต์วันเกิด", "Happy birthday"),
    "members.anniversary": (joined_two_years_ago, 0, "2 ปี", "this makes year 2"),
    "lifecycle.win_back": (falls_silent, 0, "แวะมาอีกครั้ง", "Come and see us again"),
    "referrals.ask": (lambda life, one: buys_after(life, one, days=9), 4, "ชวนเพื่อน", "friend"),
    "surveys.csat": (buys_often, 0, "ครั้งนี้เป็นอย่างไร", "How was your visit"),
    "surveys.claim_csat": (claims, 2, "รับคูปองสะดวกไหม", "easy to get"),
    "surveys.nps": (bought_for_long, 0, "ขอถามคำเดียว", "Just one question"),
}


@pytest.mark.parametrize("key", DEFAULTS)
def test_m2_what_ships_is_a_journey_that_the_console_would_take(key):
    journey_shapes.check(DEFAULTS[key][2])


def test_m2_nothing_that_ships_is_left_out():
    assert set(CASES) == set(DEFAULTS)


def alone(life, key):
    """Switch everything else off, so that no cap is in the way."""
    for row in life.session.scalars(select(Journey)):
        row.is_on = row.key == key
    life.session.flush()


@pytest.mark.parametrize("key", CASES)
def test_m2_each_journey_is_told_in_both_languages(life, somchai, malee, key):
    cause, days, thai, english = CASES[key]
    alone(life, key)
    life.session.add(Product(sku="LATTE", name_th="ลาเต้", name_en="Latte"))
    life.coupon("coffee_20", obtained=Obtained.CLAIM)
    life.coupon("win_back_at_risk")
    for member, words in ((somchai, thai), (malee, english)):
        member.referral_code = f"CODE{member.id}"
        start = life.now
        cause(life, member)
        life.later(days=days)
        while life.walk():
            pass
        [intent] = [one for one in life.intents(key) if one.member_id == member.id]
        messages = life.rides(member) or life.pushes(key)  # a greeting is due at once
        said = words_of(messages)
        assert words in said
        assert not {"{", "}"} & set(said)
        assert (intent.state, intent.klass) == (IntentState.TURNED, DEFAULTS[key][0])
        taps_every_button(life, member, messages, ANSWERS[key])
        life.clock.moment = start


def taps_every_button(life, member, messages, answers):
    """Each button answers in the member's own language what it promises, and is counted once."""
    chat = Chat(life.session, life.vault, member.line_user_id, life.clock)
    buttons = [one["data"] for one in actions_of(messages) if one["type"] == "postback"]
    assert bool(buttons) == bool(answers)
    for data in buttons:
        heard = words_of(chat.taps(data))
        assert any(t(member.locale, one) in heard for one in answers), heard
        if member.locale == "en":
            assert not THAI.search(heard), "somebody who reads English is answered in it"
    assert taps_of(life, member) == min(1, len(buttons))


def taps_of(life, member):
    life.session.flush()
    query = select(func.count()).select_from(Tap).where(Tap.member_id == member.id)
    return life.session.scalar(query)


STAND_INS = {
    "name": "สมชาย", "shop": "ร้านกาแฟแต้มดี", "points": 12, "balance": 148, "left": 1, "years": 1,
    "missing": "1,234", "tier": "แพลทินัม", "expires": "20 ธ.ค. 2569", "amount": "12,345.50",
    "offer": "ลด 20 บาท ทุกเมนูกาแฟ", "gift": "เครื่องดื่มฟรี 1 แก้ว", "best": "ลาเต้ และชาเย็น",
}  # fmt: skip
ALL_WORDS = [
    pytest.param(key, step, locale, variant, id=f"{key}-{step['key']}-{locale}-{variant}")
    for key, (_, _, definition) in DEFAULTS.items()
    for step in definition["steps"]
    if step["kind"] == "send"
    for locale, book in step["texts"].items()
    for variant in book
]


@pytest.mark.parametrize("key, step, locale, variant", ALL_WORDS)
def test_m2_every_wording_is_a_message_that_line_takes(key, step, locale, variant):
    words = texts.words_for(step["texts"], locale, variant, STAND_INS)
    action = None
    if words["button"]:
        action = taps.action(words["button"], step["action"], "journey:1:x")
        assert step["action"] in router.POSTBACKS, "the button leads somewhere"
    made = message_bubble(words["title"], words["body"], action, gift=STAND_INS["gift"])
    assert check_messages([made]) is None
    assert not {"{", "}"} & set("".join(words.values()))
    assert len(words["title"]) <= 60, "the first line of a notification"


def test_m2_nobody_reads_of_0_points_that_wait(life, somchai, malee):
    alone(life, "lifecycle.second_visit")
    life.coupon("coffee_20", obtained=Obtained.CLAIM)
    for member, baht in ((somchai, 20), (malee, 100)):
        life.buy(member, baht)
    life.later(days=11)
    life.walk()
    assert "แต้ม" not in life.ride(somchai)
    assert "your 4 points are waiting" in life.ride(malee)


def test_m2_a_gift_for_bringing_a_friend_is_promised_only_where_there_is_one(life, somchai, malee):
    alone(life, "referrals.ask")
    buys_after(life, somchai, days=9)
    life.later(days=4)
    life.walk()
    assert "ของขวัญ" not in life.ride(somchai)
    for name in ("friend_gift", "referrer_gift"):
        life.coupon(name)
        shop.set(life.session, f"referrals.{name}", name, NOW)
    buys_after(life, malee, days=9)
    life.later(days=4)
    life.walk()
    assert "both of you get a gift" in life.ride(malee)


def test_m2_words_follow_the_tiers_basis(life, somchai):
    alone(life, "tiers.keep")
    rises(life, somchai)
    facts = {"tier": "gold", "until": "2026-12-20", "missing": 1234, "basis": "points"}
    fact(life, somchai, "tiers.at_risk", **facts)
    assert "1,234 แต้ม" in life.ride(somchai)


def test_m2_an_imported_or_walk_in_member_is_not_welcomed(life, somchai):
    for source in ("walk_in", "import"):
        fact(life, somchai, "members.joined", **{**JOINED, "source": source})
    assert life.enrolments("members.welcome") == []


def test_m2_who_finishes_joining_is_not_reminded(life):
    person = factories.friend(life.session, vault=life.vault)
    life.session.add(
        JoinForm(member_id=person.id, step="name", started_at=NOW, updated_at=NOW, is_paused=True)
    )
    fact(life, person, "members.joining_started")
    fact(life, person, "members.joined", **JOINED)
    [row] = life.enrolments("members.finish_joining")
    assert row.why_ended == "journeys.joined"


def test_m2_a_full_card_is_not_nearly_full(life, somchai):
    nearly_fills(life, somchai)
    fact(life, somchai, "stamps.card_filled", card_id=7)
    life.later(days=6)
    life.walk()
    assert life.intents("stamps.nearly_full") == []


def test_m2_tier_up_is_told_once_and_by_one_way(life, somchai):
    rises(life, somchai)
    life.clock.moment = life.intent("tiers.up").deadline
    life.turn()
    kinds = [message.kind for message in life.messages()]
    assert kinds == ["tiers.up"]


def test_m2_at_most_one_promotional_message_for_each_purchase(life, somchai):
    """The thanks, the question how it was, and a journey of the shop's own all want to speak."""
    own = definitions.create(
        life.session, "ของร้าน", definitions.copy_of(DEFAULTS["lifecycle.thank_you"][2]),
        made_by="staff:1", now=NOW,
    )  # fmt: skip
    own.is_on = True
    for _ in range(8):
        life.buy(somchai)
        life.later(days=4)
    bought = [
        intent.occasion.rsplit(":", 1)[0]
        for intent in life.intents()
        if intent.klass == MessageClass.PROMOTIONAL and intent.occasion.startswith("purchase:")
    ]
    assert len(bought) == len(set(bought)) >= 4


def test_m2_how_it_was_is_asked_instead_of_thanks_from_the_third_visit_on(life, somchai):
    buys_often(life, somchai)
    assert len(life.intents("lifecycle.thank_you")) == 2
    assert len(life.intents("surveys.csat")) == 1
    assert "ครั้งนี้เป็นอย่างไร" in life.ride(somchai)


def test_m2_a_claim_is_asked_about_only_where_no_visit_follows(life, somchai, malee):
    alone(life, "surveys.claim_csat")
    claims(life, somchai)
    claims(life, malee)
    life.later(hours=3)
    life.buy(somchai)
    life.later(days=2)
    life.walk()
    assert [one.member_id for one in life.intents("surveys.claim_csat")] == [malee.id]


def test_m2_a_question_asked_recently_is_not_put_again(life, somchai):
    shop.set(life.session, "surveys.csat_every_days", 60, NOW)
    buys_often(life, somchai)
    surveys.ask(life.session, somchai.id, "csat", "voucher:1", life.now)
    life.later(days=1)
    life.turn()
    assert life.intents("surveys.csat")[0].reason == "journeys.asked_recently"
    assert life.messages("surveys.csat") == []


# The gate (M4): quiet hours across midnight and in other zones


@pytest.mark.parametrize("hour", [0, 8, 9, 15, 20, 21, 23])
def test_m4_no_lifecycle_push_leaves_between_nine_at_night_and_nine_in_the_morning(
    life, somchai, malee, hour
):
    life.at(2026, 11, 22, hour, 30)
    life.buy(somchai)
    rises(life, malee)
    while waiting := [one for one in life.intents() if one.state == IntentState.WAITING]:
        life.clock.moment = max(life.now, min(one.deadline for one in waiting))
        life.turn()
    moments = life.session.scalars(select(Message.created_at)).all()
    assert len(moments) == 2
    rules = delivery.Rules()
    assert not any(rules.is_quiet(moment, BANGKOK) for moment in moments)


# Free first (M5)


def test_m5_nine_in_ten_ride_a_free_reply_when_the_member_writes_in_the_window(life):
    """A small month: those who write inside the window of what they are owed are not pushed to."""
    life.coupon("coffee_20", obtained=Obtained.CLAIM, name_en="20 baht off")
    people = [
        factories.make_member(life.session, f"{n:02d} ลูกค้า", vault=life.vault) for n in range(12)
    ]
    life.at(2026, 11, 1, 9, 0)
    wrote: set[int] = set()
    for step in range(30 * 4):
        for place, person in enumerate(people):
            if (step + place * 5) % 23 == 0:
                life.buy(person)
            if (step + place * 3) % (4 + place) == 0:
                owed = select(Intent.id).where(
                    Intent.member_id == person.id, Intent.state == IntentState.WAITING,
                    Intent.window_from <= life.now,
                )  # fmt: skip
                wrote.update(life.session.scalars(owed))
                life.ride(person)
        life.later(hours=6)
        while life.walk():
            pass
        life.turn()
    said = dict(
        life.session.execute(
            select(Message.intent_id, Message.channel).where(
                Message.intent_id.in_(wrote), Message.intent_id.is_not(None)
            )
        ).all()
    )
    rode = sum(channel == "reply" for channel in said.values())
    assert len(said) >= 20
    assert rode >= 0.9 * len(said)
    per_member = life.session.execute(
        select(Message.member_id, func.count()).group_by(Message.member_id)
    ).all()
    assert max(count for _, count in per_member) <= 2 * 6  # the cap of two a week holds
