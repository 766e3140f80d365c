"""One example of every message the bot can show, and hostile words to put into them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from bot import theme
from bot.flex import (
    consents,
    conversations,
    coupons,
    draws,
    errors,
    journeys,
    links,
    members,
    points,
    referrals,
    rewards,
    stamps,
    surveys,
    topics,
)
from core.i18n import t

TODAY = date(2026, 11, 22)
PICTURE = "https://shop.example/p/picture.png"
LINK = "https://shop.example/m/home"
#: What strangers call themselves.
HOSTILE = (
    'ชื่อ"},{"type":"text"',
    "<img src=x onerror=alert(1)>",
    "{0.__class__} {name} %s",
    "\u202eกลับหัว\u200b",
    "👨‍👩‍👧‍👦" * 60,
    "ก" + "่" * 500,
    "ยาว" * 800,
)

Sample = Callable[[str, str], Any]
SAMPLES: dict[str, Sample] = {
    "members.welcome": lambda locale, name: members.welcome(name, ["สะสมแต้ม", name], locale),
    "members.welcome_again": lambda locale, name: members.welcome(
        name, ["แต้ม"], locale, rejoin=True
    ),
    "members.welcome_member": lambda locale, name: members.welcome_member("ร้าน", name, 12, locale),
    "members.consent": lambda locale, name: members.consent_question(
        t(locale, "members.consent_text", shop=theme.clip_name(name)), locale, policy_url=LINK
    ),
    "members.consent_declined": lambda locale, _: members.consent_declined(locale),
    "members.marketing": lambda locale, _: members.marketing_question(
        t(locale, "members.marketing_text"), locale
    ),
    "consents.asked_again": lambda locale, name: consents.asked_again(
        "marketing", 2, t(locale, "members.consent_text", shop=theme.clip_name(name)), locale, LINK
    ),
    "members.name": lambda locale, name: members.name_question(locale, prefill=name),
    "members.name_is_word": lambda locale, _: members.name_is_word_question("แต้ม", locale),
    "members.phone": lambda locale, _: members.phone_question(locale),
    "members.birthday": lambda locale, _: members.birthday_question(TODAY, locale),
    "members.guardian": lambda locale, _: members.guardian_question(20, locale),
    "members.correct_name": lambda locale, _: members.correction_question("name", TODAY, locale),
    "members.correct_phone": lambda locale, _: members.correction_question("phone", TODAY, locale),
    "members.correct_birthday": lambda locale, _: members.correction_question(
        "birthday", TODAY, locale
    ),
    "members.invalid": lambda locale, name: members.invalid_answer(
        name, members.phone_question(locale)
    ),
    "members.paused": lambda locale, _: members.joining_paused(locale),
    "members.cancelled": lambda locale, _: members.joining_cancelled(locale),
    "members.joined": lambda locale, name: members.joined_card(
        name, "123456782", 0, locale, gift=name
    ),
    "members.card": lambda locale, name: members.member_card(
        name, "123456782", None, 1_234, PICTURE, PICTURE, locale, shop_name="ร้าน"
    ),
    "members.card_vip": lambda locale, name: members.member_card(
        name, "123456782", "VIP", 0, None, PICTURE, locale, vip=True
    ),
    "members.my_data": lambda locale, name: members.my_data(
        members.MyData(name, "123456782", "••• 5678", False, None, TODAY, True), locale
    ),
    "members.my_data_page": lambda locale, name: members.my_data(
        members.MyData(name, "123456782", "••• 5678", True, TODAY, TODAY, False),
        locale,
        page_url=LINK,
    ),
    "members.confirm_leave": lambda locale, _: members.confirm_leave(10, 2, locale),
    "members.left": lambda locale, _: members.left(locale),
    "members.marketing_on": lambda locale, _: members.marketing_changed(True, locale),
    "members.marketing_off": lambda locale, _: members.marketing_changed(False, locale),
    "members.must_join": lambda locale, _: members.must_join(locale),
    "members.language": lambda locale, _: members.language_choice(locale),
    "members.help": lambda locale, _: members.help_card(locale),
    "members.help_guest": lambda locale, _: members.help_card(locale, is_member=False),
    "points.balance": lambda locale, name: points.balance_card(
        1_234, 5, 0, [(100, TODAY), (20, TODAY)], points.NextReward(name, 1_500, 266), locale
    ),
    "points.balance_debt": lambda locale, _: points.balance_card(0, 0, 12, [], None, locale),
    "points.history": lambda locale, name: points.history(
        [points.HistoryLine(name, 10, TODAY), points.HistoryLine(name, -60, TODAY)], locale
    ),
    "points.history_empty": lambda locale, _: points.history([], locale),
    "stamps.cards": lambda locale, name: stamps.cards(
        [stamps.ShownCard(PICTURE, 7, 10, name, TODAY, name)], locale
    ),
    "stamps.empty": lambda locale, _: stamps.empty(locale),
    "coupons.vouchers": lambda locale, name: coupons.voucher_list(
        [
            coupons.VoucherView("a" * 32, name, "ลด 20 บาท", TODAY, terms=name),
            coupons.VoucherView("b" * 32, name, "รับฟรี", None, is_held=True, left="เหลือ 80 บาท"),
            coupons.VoucherView("c" * 32, name, "รับฟรี", None, is_waiting=True),
        ],
        locale,
    ),
    "coupons.vouchers_empty": lambda locale, _: coupons.voucher_list([], locale),
    "coupons.offers": lambda locale, name: coupons.offer_list(
        [
            coupons.OfferView(
                1,
                name,
                "ลด 10%",
                12,
                TODAY,
                terms=name,
                conditions=[name] * 9,
                left_today=3,
                key="k" * 32,
            ),
            coupons.OfferView(4, name, "ลด 10%", 9, None, left_today=0),
            coupons.OfferView(5, name, "ลด 10%", 9, None, refusal=name),
            coupons.OfferView(2, name, "ลด 10%", 0, None),
            coupons.OfferView(3, name, "รับฟรี", None, None, picture_url=PICTURE),
        ],
        locale,
    ),
    "coupons.offers_empty": lambda locale, _: coupons.offer_list([], locale),
    "coupons.claimed": lambda locale, name: coupons.claimed(
        coupons.VoucherView("d" * 32, name, "ลด 20 บาท", TODAY), locale
    ),
    "draws.list": lambda locale, name: draws.draw_list(
        [
            draws.DrawView("k", name, [name], [name] * 9, 2, "day:2026-11-22:1", TODAY, LINK),
            draws.DrawView("k", name, [], [name], 0, None, None, LINK),
        ],
        locale,
    ),
    "draws.empty": lambda locale, _: draws.draw_list([], locale),
    "draws.won": lambda locale, name: draws.result(
        "k", draws.ResultView(name, name, name, True, "v" * 32, "purchase:1"), locale
    ),
    "draws.lost": lambda locale, name: draws.result(
        "k", draws.ResultView(name, name, name, False), locale
    ),
    "rewards.catalogue": lambda locale, name: rewards.catalogue(
        [
            rewards.RewardView(1, name, 60, 3, name, PICTURE),
            rewards.RewardView(2, name, 6_000),
        ],
        100,
        locale,
    ),
    "rewards.empty": lambda locale, _: rewards.catalogue([], 0, locale),
    "rewards.confirm": lambda locale, name: rewards.confirm_exchange(
        rewards.RewardView(1, name, 60), 100, "k" * 32, locale
    ),
    "referrals.invite": lambda locale, _: referrals.invite_card(
        LINK, PICTURE, "ABCD2345", referrals.InviteCounts(2, 1), locale
    ),
    "journeys.message": lambda _, name: journeys.message_bubble(
        name, name, theme.postback_action("ดูคูปอง", "coupons.show"), gift=name, eyebrow=name
    ),
    "journeys.notice": lambda _, name: journeys.notice(name, name),
    "links.open": lambda locale, name: links.open_page(name, LINK, locale, body=name),
    "surveys.csat": lambda locale, name: surveys.csat_bubble(12, locale, source="journey:3:csat"),
    "surveys.nps": lambda locale, name: surveys.nps_bubble(12, locale, shop_name=name),
    "surveys.thanks_low": lambda locale, _: surveys.thanks(
        "low", locale, is_first=True, can_invite=True
    ),
    "surveys.thanks_high": lambda locale, _: surveys.thanks(
        "high", locale, is_first=True, review_url=LINK, can_invite=True
    ),
    "surveys.why_kept": lambda locale, _: surveys.why_kept(locale),
    "topics.choices": lambda locale, _: topics.choices(
        [("offers", True), ("news", False)], 1, [0, 1, 2], locale, accepts=True
    ),
    "topics.stopped": lambda locale, _: topics.choices([], None, [0], locale, accepts=False),
    "errors.sorry": lambda _, name: errors.sorry(name),
    "conversations.called": lambda locale, _: conversations.staff_called(locale),
    "conversations.reply": lambda _, name: conversations.staff_reply(name, staff_name="นก"),
}


def built(key: str, locale: str, name: str = "สมชาย ใจดี") -> list[dict[str, Any]]:
    """The messages of one sample, as a list."""
    made = SAMPLES[key](locale, name)
    return made if isinstance(made, list) else [made]
