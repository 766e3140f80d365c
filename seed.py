"""The demo café: branches, people, offers, a stamp card, and on demand a history behind it.

Idempotent: what exists is left alone, so a second run after an edit changes nothing.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

import history
from core.clock import local_day
from core.runtime import Runtime
from engagement import campaigns, journey_engine, journey_triggers, segments
from loyalty import coupons as rules
from loyalty import draws, earn_rules, imports, people, shop, stamps
from models.conversations import KeywordReply, SavedReply
from models.coupons import CodeBatch, Coupon, CouponKind, CouponState, Obtained
from models.draws import Draw
from models.earn_rules import EarnRule, EarnRuleKind, Product
from models.members import SourceCode
from models.segments import Segment
from models.staff import Branch, Cashier, Role, Staff
from models.stamps import CardExpiry, StampProgram, StampRule
from models.tiers import Tier

#: Fixed sign-ins, made in `DEMO` alone.
OWNER_EMAIL = "owner@taem.example"
OWNER_PASSWORD = "kafae-ron-yen-2569"  # noqa: S105  (known to everybody who runs the demo)
CASHIER_NAME, CASHIER_PIN = "นก", "246810"
MANAGER_PIN = "864213"
#: Everybody else at the tills: name, branch, PIN, whether the PIN approves.
AT_THE_TILLS = (
    ("มิว", "ARI", "135790", False),
    ("พี่แดง", "SIAM", MANAGER_PIN, True),
    ("พี่ส้ม", "ARI", MANAGER_PIN, True),
)

SHOP: dict[str, Any] = {
    "shop.name_th": "ร้านกาแฟแต้มดี",
    "shop.name_en": "Taem Dee Coffee",
    "shop.phone": "02-000-0000",
    "shop.about_th": "กาแฟคั่วเองทุกเช้า ขนมอบใหม่ทุกวัน แวะมาพักใจกันนะคะ",
    "shop.about_en": "Coffee roasted every morning, cakes baked every day.",
    "shop.hours_th": "เปิดทุกวัน 7.00–19.00 น.",
    "shop.hours_en": "Open daily 7:00–19:00",
    "messages.plan_fee_satang": 128_000,
    "messages.plan_included": 5_000,
    "messages.extra_satang": 10,
    "members.join_gift": "welcome_gift",
    "referrals.friend_gift": "friend_welcome",
    "referrals.referrer_gift": "friend_thanks",
    "referrals.min_satang": 8_000,
    "shop.review_url": "https://www.google.com/maps",
    # A small town: what takes twenty VIPs elsewhere takes five here.
    "lifecycle.vip_percentile": 90,
    "lifecycle.potential_vips": 5,
    # And a comparison with who is held out begins with what such a town has of guests.
    "messages.holdout_from": 60,
}

BRANCHES = (("SIAM", "สยาม", "Siam"), ("ARI", "อารีย์", "Ari"))

_FREE = {"kind": CouponKind.FREE_ITEM}
COUPONS: tuple[dict[str, Any], ...] = (
    {
        "key": "welcome_gift",
        **_FREE,
        "obtained": Obtained.JOURNEY,
        "valid_days": 30,
        "name_th": "คุกกี้ต้อนรับสมาชิกใหม่",
        "name_en": "A welcome cookie",
        "item_th": "คุกกี้ 1 ชิ้น",
        "item_en": "1 cookie",
        "terms_th": "ใช้ได้เมื่อยืนยันเบอร์ที่ร้าน หรือพร้อมบิลแรก",
        "terms_en": "Yours once the shop has confirmed your phone, or with your first bill.",
    },
    {
        "key": "coffee_20",
        "kind": CouponKind.BAHT_OFF,
        "value_satang": 2000,
        "name_th": "ลด 20 บาท ทุกเมนูกาแฟ",
        "name_en": "20 baht off any coffee",
        "valid_days": 30,
        "total_units": 500,
        "per_member": 3,
        "min_bill_satang": 6000,
    },
    {
        "key": "bakery_10",
        "kind": CouponKind.PERCENT_OFF,
        "percent": 10,
        "max_satang": 5000,
        "name_th": "เบเกอรี่ลด 10%",
        "name_en": "10% off bakery",
        "valid_days": 14,
        "total_units": 200,
        "per_member": 1,
    },
    {
        "key": "cash_50",
        "kind": CouponKind.CASH,
        "value_satang": 5000,
        "keeps_change": True,
        "name_th": "บัตรกำนัล 50 บาท",
        "name_en": "50 baht cash voucher",
        "valid_days": 60,
        "obtained": Obtained.POINTS,
        "price_points": 50,
    },
    {
        "key": "free_americano",
        **_FREE,
        "obtained": Obtained.POINTS,
        "price_points": 60,
        "name_th": "อเมริกาโน่ฟรี 1 แก้ว",
        "name_en": "One free americano",
        "valid_days": 60,
        "item_th": "อเมริกาโน่ 1 แก้ว",
        "item_en": "1 americano",
    },
    {
        "key": "stamp_coffee",
        **_FREE,
        "obtained": Obtained.STAMPS,
        "valid_days": 60,
        "name_th": "กาแฟฟรี 1 แก้ว ครบ 10 แสตมป์",
        "name_en": "Free coffee for 10 stamps",
        "item_th": "กาแฟ 1 แก้ว",
        "item_en": "1 coffee",
        "per_member": 1000,
    },
    {
        "key": "stamp_cookie",
        **_FREE,
        "obtained": Obtained.STAMPS,
        "valid_days": 60,
        "name_th": "คุกกี้ฟรี 1 ชิ้น ระหว่างทาง",
        "name_en": "A free cookie on the way",
        "item_th": "คุกกี้ 1 ชิ้น",
        "item_en": "1 cookie",
        "per_member": 1000,
    },
    {
        "key": "stamp_bakery",
        "kind": CouponKind.BAHT_OFF,
        "value_satang": 10_000,
        "obtained": Obtained.STAMPS,
        "valid_days": 60,
        "name_th": "ขนมอบลด 100 บาท ครบ 8 ดอก",
        "name_en": "100 baht off bakery for 8 stamps",
        "per_member": 1000,
    },
    {
        "key": "friend_welcome",
        "kind": CouponKind.BAHT_OFF,
        "value_satang": 3000,
        "obtained": Obtained.JOURNEY,
        "valid_days": 30,
        "name_th": "ลด 30 บาท จากเพื่อนของคุณ",
        "name_en": "30 baht off from your friend",
    },
    {
        "key": "friend_thanks",
        **_FREE,
        "obtained": Obtained.JOURNEY,
        "valid_days": 60,
        "name_th": "เครื่องดื่มฟรี ขอบคุณที่ชวนเพื่อน",
        "name_en": "A free drink for bringing a friend",
        "item_th": "เครื่องดื่ม 1 แก้ว",
        "item_en": "1 drink",
        "per_member": 100,
    },
    {
        "key": "tier_gold",
        **_FREE,
        "obtained": Obtained.TIER,
        "valid_days": 60,
        "name_th": "เค้กต้อนรับสู่ระดับทอง",
        "name_en": "A cake to welcome you to Gold",
        "item_th": "เค้ก 1 ชิ้น",
        "item_en": "1 slice of cake",
        "per_member": 100,
    },
    {
        "key": "tier_platinum",
        "kind": CouponKind.CASH,
        "value_satang": 20_000,
        "keeps_change": True,
        "obtained": Obtained.TIER,
        "valid_days": 90,
        "name_th": "บัตรกำนัล 200 บาท ระดับแพลทินัม",
        "name_en": "200 baht voucher for Platinum",
        "per_member": 100,
    },
    {
        "key": "gold_code",
        "kind": CouponKind.PERCENT_OFF,
        "percent": 15,
        "max_satang": 10_000,
        "obtained": Obtained.CODE,
        "typed_code": "THONGKAFAE",
        "valid_days": 7,
        "per_member": 12,
        "name_th": "ลด 15% เฉพาะระดับทองขึ้นไป",
        "name_en": "15% off for Gold and above",
        "conditions": {"tiers": ["gold", "platinum"]},
    },
    {
        "key": "birthday_platinum",
        **_FREE,
        "obtained": Obtained.JOURNEY,
        "valid_days": 30,
        "name_th": "เค้กวันเกิดทั้งก้อน",
        "name_en": "A whole birthday cake",
        "item_th": "เค้ก 1 ปอนด์",
        "item_en": "1 whole cake",
        "per_member": 100,
    },
    {
        "key": "afternoon_15",
        "kind": CouponKind.PERCENT_OFF,
        "percent": 15,
        "max_satang": 4000,
        "name_th": "บ่ายสบาย ลด 15%",
        "name_en": "15% off slow afternoons",
        "valid_days": 30,
        "per_day": 30,
        "budget_satang": 500_000,
        "conditions": {"weekdays": [0, 1, 2, 3, 4], "hours": [[14, 17]]},
    },
    {
        "key": "cash_100",
        "kind": CouponKind.CASH,
        "value_satang": 10_000,
        "keeps_change": True,
        "name_th": "บัตรเงินสด 100 บาท ขอบคุณลูกค้าประจำ",
        "name_en": "A 100 baht thank-you",
        "valid_days": 60,
        "total_units": 12,
        "conditions": {"branches": ["SIAM", "ARI"]},
    },
    {
        "key": "free_topping",
        **_FREE,
        "name_th": "เพิ่มท็อปปิ้งฟรี วันหยุด",
        "name_en": "A free weekend topping",
        "valid_days": 30,
        "is_stackable": True,
        "item_th": "ท็อปปิ้ง 1 อย่าง",
        "item_en": "1 topping",
        "conditions": {"weekdays": [5, 6]},
    },
    {
        "key": "market_day",
        "kind": CouponKind.BAHT_OFF,
        "value_satang": 3000,
        "obtained": Obtained.CODE,
        "typed_code": "TAEMDEE",
        "name_th": "ลด 30 บาท จากงานตลาดนัด",
        "name_en": "30 baht off from the market day",
        "valid_days": 30,
        "min_bill_satang": 9000,
    },
    {
        "key": "lucky_americano",
        **_FREE,
        "obtained": Obtained.DRAW,
        "valid_days": 14,
        "total_units": 50,
        "name_th": "อเมริกาโน่ฟรีจากลุ้นโชค",
        "name_en": "A lucky free americano",
        "item_th": "อเมริกาโน่ 1 แก้ว",
        "item_en": "1 americano",
    },
    {
        "key": "lucky_10",
        "kind": CouponKind.BAHT_OFF,
        "value_satang": 1000,
        "obtained": Obtained.DRAW,
        "valid_days": 14,
        "name_th": "ลด 10 บาทจากลุ้นโชค",
        "name_en": "A lucky 10 baht off",
    },
    {
        "key": "birthday_gift",
        **_FREE,
        "obtained": Obtained.JOURNEY,
        "valid_days": 30,
        "name_th": "เค้กวันเกิด 1 ชิ้น",
        "name_en": "A slice of birthday cake",
        "item_th": "เค้ก 1 ชิ้น",
        "item_en": "1 slice of cake",
        "per_member": 100,
    },
    {
        "key": "anniversary_gift",
        **_FREE,
        "obtained": Obtained.JOURNEY,
        "valid_days": 30,
        "name_th": "คุกกี้ครบรอบ 1 ชิ้น",
        "name_en": "An anniversary cookie",
        "item_th": "คุกกี้ 1 ชิ้น",
        "item_en": "1 cookie",
        "per_member": 100,
    },
    {
        "key": "win_back_at_risk",
        "kind": CouponKind.BAHT_OFF,
        "value_satang": 2500,
        "obtained": Obtained.JOURNEY,
        "valid_days": 14,
        "per_member": 100,
        "name_th": "ลด 25 บาท คิดถึงนะ",
        "name_en": "25 baht off, we miss you",
    },
    {
        "key": "win_back_60",
        "kind": CouponKind.PERCENT_OFF,
        "percent": 20,
        "max_satang": 8000,
        "obtained": Obtained.JOURNEY,
        "valid_days": 14,
        "per_member": 100,
        "name_th": "ลด 20% กลับมาเจอกันนะ",
        "name_en": "20% off, come back soon",
    },
    {
        "key": "win_back_90",
        **_FREE,
        "obtained": Obtained.JOURNEY,
        "valid_days": 21,
        "per_member": 100,
        "name_th": "เครื่องดื่มฟรี 1 แก้ว",
        "name_en": "One free drink",
        "item_th": "เครื่องดื่ม 1 แก้ว",
        "item_en": "1 drink",
    },
)


#: A list as another system would export it.
OLD_CARDS = """ชื่อ,เบอร์โทร,วันเกิด,แต้ม,รหัสเดิม,วันที่สมัคร,ยินยอม
นภา แสงทอง,080-000-0001,12/5/2533,85,OLD-1,1/3/2567,ใช่
ธนา บุญมา,080-000-0002,,40,OLD-2,15/6/2567,ใช่
พิมพ์ ศรีสุข,080-000-0003,29/2/2539,120,OLD-3,๒/๑/๒๕๖๘,ใช่
พิมพ์ ศรีสุข,080-000-0004,29/2/2539,15,OLD-4,9/9/2568,ใช่
กิตติ พรหมมา,,,60,OLD-5,20/4/2568,ใช่
"""


PRODUCTS = (
    ("AMERICANO", "อเมริกาโน่", "Americano", "coffee"),
    ("LATTE", "ลาเต้", "Latte", "coffee"),
    ("CROISSANT", "ครัวซองต์", "Croissant", "bakery"),
    ("BEAN250", "เมล็ดกาแฟ 250 กรัม", "Coffee beans 250 g", "beans"),
)
#: None of them touches a small bill without items: what guides and demos say of 250 baht holds on
#: every day of the week.
EARN_RULES: tuple[dict[str, Any], ...] = (
    {
        "key": "double_friday",
        "kind": EarnRuleKind.MULTIPLIER,
        "position": 10,
        "percent": 200,
        "conditions": {"weekdays": [4], "labels": ["coffee"]},
        "name_th": "กาแฟวันศุกร์คูณสอง",
        "name_en": "Double coffee Friday",
    },
    {
        "key": "birthday_month",
        "kind": EarnRuleKind.BONUS,
        "position": 20,
        "bonus_points": 10,
        "conditions": {"birthday_month": True, "min_satang": 50_000},
        "per_member_cap": 30,
        "name_th": "เดือนเกิด",
        "name_en": "Birthday month",
    },
    {
        "key": "beans",
        "kind": EarnRuleKind.BONUS,
        "position": 30,
        "bonus_points": 15,
        "conditions": {"labels": ["beans"]},
        "total_cap": 15_000,
        "name_th": "ซื้อเมล็ดกาแฟ",
        "name_en": "Coffee beans",
    },
)


#: What the draft campaign says.
NEARLY_FULL = {
    "th": {
        "default": {
            "title": "อีกนิดเดียวก็เต็มแล้ว",
            "body": "คุณ{name} แวะมาเติมแสตมป์ให้ครบ แล้วรับ {gift} ไปเลยค่ะ ใช้ได้ถึง {expires}",
            "button": "ดูแสตมป์ของฉัน",
        }
    },
    "en": {
        "default": {
            "title": "Your card is nearly full",
            "body": "{name}, come and fill your card, and take {gift} with you. Good until {expires}.",
            "button": "My stamp card",
        }
    },
}


def cafe(runtime: Runtime) -> list[str]:
    """Open the demo café. Returns what to tell the person at the terminal."""
    with runtime.transaction() as session:
        now = runtime.clock.now()
        for key, value in SHOP.items():
            if shop.get(session, key) == shop.DEFAULTS[key]:
                shop.set(session, key, value, now)
        _branches(session)
        coupons = _coupons(session, now)
        _stamp_cards(session, coupons)
        _ladder(session, now)
        _codes_and_draw(session, runtime, coupons, now)
        _sources(session)
        _earning(session, now, local_day(now, runtime.clock.tz))
        _people(session, now, has_sign_ins=runtime.settings.demo)
        _campaigns(session, now)
        _ready_answers(session, now)
    if runtime.settings.demo:
        _members_of_before(runtime)
        history.cafe(runtime)
        _under_way(runtime)
    if not runtime.settings.demo:
        return ["The café is open. Add people with `staff add` and `cashiers add`."]
    return [
        f"Console: {OWNER_EMAIL} / {OWNER_PASSWORD}",  # `demo.is_seeded` knows this word
        f"Till: {CASHIER_NAME}, PIN {CASHIER_PIN}",
        *(
            f"Till ({branch}): {name}, PIN {pin}" + (" (manager)" if is_manager else "")
            for name, branch, pin, is_manager in AT_THE_TILLS
        ),
    ]


#: Members of the seeded café who begin the win-back ladder as if last night had found them.
UNDER_WAY = 60


def _under_way(runtime: Runtime) -> None:
    """A few members on their way through journeys, found by the journeys' own triggers."""
    now = runtime.clock.now()
    with runtime.transaction() as session:
        for key in ("lifecycle.win_back", "surveys.nps"):
            plan = journey_triggers.plan_of(session, key)
            if plan is not None:
                journey_engine.begin_found(session, runtime, plan, now, after_id=0, limit=UNDER_WAY)


def _codes_and_draw(
    session: Session, runtime: Runtime, coupons: dict[str, Coupon], now: datetime
) -> None:
    """Fifty printed codes for the market day, and a cup to be lucky with."""
    if session.scalar(select(CodeBatch.id)) is None:
        rules.make_batch(session, coupons["market_day"].id, "แผ่นพับตลาดนัด", 50, now)
    if session.scalar(select(Draw.id)) is None:
        draw = draws.create(
            session,
            runtime.vault,
            key="lucky_cup",
            name_th="แก้วนำโชค",
            name_en="The lucky cup",
            now=now,
            turns_per_day=1,
            min_bill_satang=15_000,
            prizes=[
                (coupons["lucky_americano"].id, 50_000),
                (coupons["lucky_10"].id, 300_000),
            ],
        )
        draws.start(session, draw)


def _earning(session: Session, now: datetime, today: date) -> None:
    """What the café sells, and what earns more than the base points."""
    skus = set(session.scalars(select(Product.sku)))
    session.add_all(
        Product(sku=sku, name_th=thai, name_en=english, label=label)
        for sku, thai, english, label in PRODUCTS
        if sku not in skus
    )
    keys = set(session.scalars(select(EarnRule.key)))
    for values in EARN_RULES:
        if values["key"] not in keys:
            earn_rules.create(session, EarnRule(created_at=now, **values), today=today)


def _campaigns(session: Session, now: datetime) -> None:
    """Two segments to begin with, and a campaign that is still being written."""
    if session.scalar(select(Segment.id)) is not None:
        return
    nearly = segments.create(
        session, "แสตมป์ใกล้เต็ม", segments.READY["stamps_nearly"], made_by="seed", now=now
    )
    tree = {
        "all": [
            {"field": "member.following", "is": "yes"},
            {"field": "member.joined", "is": "known"},
        ]
    }
    segments.create(session, "สมาชิกทุกคนใน LINE", tree, made_by="seed", now=now)
    draft = campaigns.create(session, "อีกนิดเดียวแสตมป์ก็เต็ม", made_by="seed", now=now)
    campaigns.save(
        session,
        draft,
        campaigns.Content(
            name=draft.name,
            topic="offers",
            segment_id=nearly.id,
            variants={"a": {"texts": NEARLY_FULL}},
            test={},
            coupon_key="coffee_20",
            action="stamps.show",
            holdout_percent=10,
        ),
    )


def _members_of_before(runtime: Runtime) -> None:
    """Members of the paper cards of old; two of the lines are one person, for the merge page."""
    now, tz = runtime.clock.now(), runtime.clock.tz
    with runtime.transaction() as session:
        reading = imports.read(session, runtime.vault, OLD_CARDS.encode(), local_day(now, tz))
        if reading.new:
            sealed = imports.seal(runtime.vault, reading, locale="th", now=now, tz=tz)
            imports.apply(session, reading, sealed, now=now, tz=tz, actor="cli", good_only=True)


def _ready_answers(session: Session, now: datetime) -> None:
    """Words the bot answers by itself, and an answer the team often gives."""
    if session.scalar(select(KeywordReply.id).limit(1)) is not None:
        return
    for words, is_exact, thai, english in (
        (
            ["wifi", "ไวไฟ", "รหัสไวไฟ"],
            True,
            "รหัส Wi-Fi อยู่ท้ายใบเสร็จทุกใบค่ะ",
            "The Wi-Fi password is at the end of every receipt.",
        ),
        (
            ["ที่จอดรถ", "parking"],
            False,
            "จอดรถหลังร้านได้ 8 คันค่ะ จอดฟรีเมื่อมีใบเสร็จ",
            "There are eight places behind the shop, free with a receipt.",
        ),
    ):
        session.add(
            KeywordReply(words=words, is_exact=is_exact, text_th=thai, text_en=english, made_at=now)
        )
    session.add(
        SavedReply(
            title="ขอบคุณที่ทักมา",
            text="ขอบคุณที่ทักมานะคะ ขอเวลาตรวจสอบสักครู่ เดี๋ยวตอบกลับค่ะ",
            made_at=now,
        )
    )


def _branches(session: Session) -> None:
    known = set(session.scalars(select(Branch.code)))
    session.add_all(
        Branch(code=code, name_th=thai, name_en=english)
        for code, thai, english in BRANCHES
        if code not in known
    )
    session.flush()  # people and tills need the ids


def _coupons(session: Session, now: datetime) -> dict[str, Coupon]:
    known = {coupon.key: coupon for coupon in session.scalars(select(Coupon))}
    for values in COUPONS:
        if values["key"] not in known:
            coupon = Coupon(state=CouponState.LIVE, created_at=now, **values)
            session.add(coupon)
            known[coupon.key] = coupon
    session.flush()  # prizes need the ids
    return known


def _stamp_cards(session: Session, prizes: dict[str, Coupon]) -> None:
    """Two programmes in two designs: one stamp a coffee, and one for each 100 baht of a bill."""
    known = set(session.scalars(select(StampProgram.key)))
    coffee = stamps.Plan(
        name_th="กาแฟครบ 10 แก้ว",
        name_en="Ten coffees",
        size=10,
        prizes=((5, prizes["stamp_cookie"].id), (10, prizes["stamp_coffee"].id)),
        rule=StampRule.PER_VISIT,
        unit_satang=4000,
    )
    bakery = stamps.Plan(
        name_th="ขนมอบแสนอร่อย ครบ 8 ดอก",
        name_en="Eight blossoms of bakery",
        size=8,
        prizes=((8, prizes["stamp_bakery"].id),),
        rule=StampRule.PER_AMOUNT,
        unit_satang=10_000,
        expiry=CardExpiry.FROM_LAST,
        expiry_days=180,
        design="blossom",
    )
    for key, plan in (("coffee", coffee), ("bakery", bakery)):
        if key not in known:
            stamps.create_program(session, key, plan)


#: key, Thai, English, baht a year, points in percent, percent off, colour, benefits
TIERS: tuple[tuple[str, str, str, int, int, int | None, str, dict[str, Any]], ...] = (
    ("silver", "เงิน", "Silver", 1_500, 120, None, "#9AA5AD", {}),
    (
        "gold", "ทอง", "Gold", 5_000, 150, None, "#D4A017",
        {"entry_coupons": ["tier_gold"], "code_coupon": "gold_code", "early_days": 2},
    ),
    (
        "platinum", "แพลทินัม", "Platinum", 15_000, 200, 5, "#3E4A61",
        {
            "entry_coupons": ["tier_platinum"], "code_coupon": "gold_code", "early_days": 5,
            "birthday_coupon": "birthday_platinum", "menu": "vip",
        },
    ),
)  # fmt: skip


def _ladder(session: Session, now: datetime) -> None:
    """Three tiers by what is spent in 12 months."""
    known = set(session.scalars(select(Tier.key)))
    session.add_all(
        Tier(
            key=key, name_th=thai, name_en=english, threshold=baht * 100, earn_percent=earn,
            percent_off=off, colour=colour, benefits=benefits, created_at=now,
        )
        for key, thai, english, baht, earn, off, colour, benefits in TIERS
        if key not in known
    )  # fmt: skip
    session.flush()


def _sources(session: Session) -> None:
    known = set(session.scalars(select(SourceCode.code)))
    for code, kind, label in (
        ("SIAM01", "poster", "โปสเตอร์หน้าสาขาสยาม"),
        ("ARI01", "poster", "โปสเตอร์หน้าสาขาอารีย์"),
    ):
        if code not in known:
            session.add(SourceCode(code=code, kind=kind, label=label))


def _people(session: Session, now: datetime, *, has_sign_ins: bool) -> None:
    if not has_sign_ins:
        return
    if session.scalar(select(Staff.id).where(Staff.email == OWNER_EMAIL)) is None:
        session.add(
            Staff(
                email=OWNER_EMAIL,
                name="เปรม",
                role=Role.OWNER,
                created_at=now,
                password_hash=people.hash_secret(OWNER_PASSWORD),
            )
        )
    if session.scalar(select(Cashier.id).where(Cashier.name == CASHIER_NAME)) is None:
        people.add_cashier(session, CASHIER_NAME, "SIAM", now=now, actor="cli", pin=CASHIER_PIN)
    known = set(session.scalars(select(Cashier.name)))
    for name, branch, pin, is_manager in AT_THE_TILLS:
        if name not in known:
            people.add_cashier(
                session, name, branch, now=now, actor="cli", pin=pin, is_manager=is_manager
            )
