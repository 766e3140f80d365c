"""The journeys every shop starts with, as data: trigger, steps, words in Thai and English.

Editing in the console makes a new version of a row; this file only seeds the first one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from engagement import texts
from engagement.journeys import COMMON_PLACEHOLDERS
from models.journeys import Journey, JourneyVersion
from models.outbox import MessageClass

THANK_YOU: dict[str, Any] = {
    "trigger": {"on": "purchases.recorded", "cooldown_days": 7},
    "exit": ["purchases.returned"],
    "steps": [
        {
            "key": "thank",
            "kind": "send",
            "window_hours": 24,
            "not_after_hours": 12,
            "offers": True,
            "action": "coupons.show",
            "texts": {
                "th": {
                    "default": {
                        "title": "ขอบคุณที่แวะมานะคะ คุณ{name}",
                        "body": "วันนี้ได้เพิ่ม {points} แต้ม ตอนนี้มีทั้งหมด {balance} แต้มค่ะ"
                        " ครั้งหน้ามี {offer} รออยู่ กดรับไว้ได้เลย",
                        "button": "ดูคูปอง",
                    },
                    "purchase": {
                        "title": "ยินดีที่ได้เจอกันครั้งแรกค่ะ คุณ{name}",
                        "body": "บิลแรกของคุณได้ {points} แต้มแล้วนะคะ"
                        " แวะมาอีกครั้งใช้ {offer} ได้เลย กดรับไว้ก่อนได้ค่ะ",
                        "button": "รับไว้ใช้ครั้งหน้า",
                    },
                    "advocacy": {
                        "title": "ขอบคุณลูกค้าคนพิเศษของเราค่ะ",
                        "body": "คุณ{name}ได้เพิ่ม {points} แต้ม และมี {offer} รออยู่"
                        " ชวนเพื่อนมาด้วยกันได้ตลอดเลยนะคะ",
                        "button": "ดูคูปอง",
                    },
                    "plain": {
                        "title": "ขอบคุณที่แวะมานะคะ คุณ{name}",
                        "body": "วันนี้ได้เพิ่ม {points} แต้ม ตอนนี้มีทั้งหมด {balance} แต้มค่ะ"
                        " ไว้แวะมาเจอกันอีกนะคะ",
                        "button": "",
                    },
                },
                "en": {
                    "default": {
                        "title": "Thank you for coming, {name}",
                        "body": "You earned {points} points today and have {balance} in all."
                        " Next time, {offer} is waiting for you.",
                        "button": "See coupons",
                    },
                    "purchase": {
                        "title": "Lovely to meet you, {name}",
                        "body": "Your first visit earned {points} points."
                        " Come again and use {offer}.",
                        "button": "Keep it for later",
                    },
                    "advocacy": {
                        "title": "Thank you for being so special",
                        "body": "{name}, you earned {points} points and {offer} is waiting."
                        " Friends are always welcome.",
                        "button": "See coupons",
                    },
                    "plain": {
                        "title": "Thank you for coming, {name}",
                        "body": "You earned {points} points today and have {balance} in all."
                        " See you again soon.",
                        "button": "",
                    },
                },
            },
        }
    ],
}

WIN_BACK: dict[str, Any] = {
    "trigger": {"on": "silence"},
    "exit": ["purchases.recorded"],
    "steps": [
        {
            "key": "at_risk",
            "kind": "send",
            "window_hours": 72,
            "not_after_hours": 12,
            "coupon": "win_back_at_risk",
            "action": "coupons.show",
            "texts": {
                "th": {
                    "default": {
                        "title": "คิดถึงคุณ{name}นะคะ",
                        "body": "ไม่ได้เจอกันสักพักแล้ว เราเตรียม {gift} ไว้ให้ แวะมาพักจิบอะไรเย็น ๆ กันนะคะ",
                        "button": "ดูคูปองของฉัน",
                    },
                    "purchase": {
                        "title": "แวะมาอีกครั้งนะคะ คุณ{name}",
                        "body": "ยังมีเมนูอร่อยอีกเยอะที่อยากให้ลองค่ะ เราใส่ {gift} ไว้ให้แล้ว",
                        "button": "ดูคูปองของฉัน",
                    },
                    "plain": {
                        "title": "คิดถึงคุณ{name}นะคะ",
                        "body": "ไม่ได้เจอกันสักพักแล้ว แวะมาพักจิบอะไรเย็น ๆ กันนะคะ",
                        "button": "",
                    },
                },
                "en": {
                    "default": {
                        "title": "We miss you, {name}",
                        "body": "It has been a while. {gift} is yours; come by for a break.",
                        "button": "My coupons",
                    },
                    "purchase": {
                        "title": "Come and see us again, {name}",
                        "body": "There is much more to try. {gift} is already yours.",
                        "button": "My coupons",
                    },
                    "plain": {
                        "title": "We miss you, {name}",
                        "body": "It has been a while. Come by for a break whenever you like.",
                        "button": "",
                    },
                },
            },
        },
        {
            "key": "60",
            "kind": "send",
            "window_hours": 72,
            "not_after_hours": 12,
            "coupon": "win_back_60",
            "action": "coupons.show",
            "texts": {
                "th": {
                    "default": {
                        "title": "สองเดือนแล้วนะคะ คุณ{name}",
                        "body": "ร้านยังอยู่ที่เดิมและคิดถึงคุณค่ะ รับ {gift} ไปใช้ได้เลย"
                        " แต้ม {balance} แต้มของคุณก็ยังรออยู่",
                        "button": "ดูคูปองของฉัน",
                    },
                    "plain": {
                        "title": "สองเดือนแล้วนะคะ คุณ{name}",
                        "body": "ร้านยังอยู่ที่เดิมและคิดถึงคุณค่ะ แต้ม {balance} แต้มของคุณก็ยังรออยู่นะคะ",
                        "button": "",
                    },
                },
                "en": {
                    "default": {
                        "title": "Two months already, {name}",
                        "body": "We are still here and thinking of you. {gift} is yours, and your"
                        " {balance} points are waiting.",
                        "button": "My coupons",
                    },
                    "plain": {
                        "title": "Two months already, {name}",
                        "body": "We are still here and thinking of you."
                        " Your {balance} points are waiting.",
                        "button": "",
                    },
                },
            },
        },
        {
            "key": "90",
            "kind": "send",
            "window_hours": 72,
            "not_after_hours": 12,
            "coupon": "win_back_90",
            "action": "coupons.show",
            "texts": {
                "th": {
                    "default": {
                        "title": "มีของขวัญชิ้นสุดท้ายให้คุณ{name}ค่ะ",
                        "body": "เราเก็บ {gift} ไว้ให้คุณโดยเฉพาะ แวะมาเมื่อไรก็ยินดีเสมอนะคะ"
                        " หลังจากนี้เราจะไม่รบกวนแล้วค่ะ",
                        "button": "ดูคูปองของฉัน",
                    },
                    "plain": {
                        "title": "ยังคิดถึงคุณ{name}อยู่นะคะ",
                        "body": "แวะมาเมื่อไรก็ยินดีเสมอค่ะ หลังจากนี้เราจะไม่รบกวนแล้วนะคะ",
                        "button": "",
                    },
                },
                "en": {
                    "default": {
                        "title": "One last gift for you, {name}",
                        "body": "We kept {gift} just for you. You are always welcome, and we will"
                        " not write again about this.",
                        "button": "My coupons",
                    },
                    "plain": {
                        "title": "You are always welcome, {name}",
                        "body": "Come by whenever you like. We will not write again about this.",
                        "button": "",
                    },
                },
            },
        },
    ],
}

BIRTHDAY: dict[str, Any] = {
    "trigger": {"on": "birthday"},
    "steps": [
        {
            "key": "greet",
            "kind": "send",
            "window_hours": 0,
            "not_after_hours": 11,
            "coupon": "birthday_gift",
            "action": "coupons.show",
            "texts": {
                "th": {
                    "default": {
                        "title": "สุขสันต์วันเกิดค่ะ คุณ{name} 🎂",
                        "body": "ขอให้เป็นวันที่อบอุ่นและมีแต่เรื่องดี ๆ นะคะ จากพวกเราทุกคนที่{shop}",
                        "button": "ดูคูปองของฉัน",
                    }
                },
                "en": {
                    "default": {
                        "title": "Happy birthday, {name} 🎂",
                        "body": "We wish you a warm and lovely day. From all of us at {shop}.",
                        "button": "My coupons",
                    }
                },
            },
        }
    ],
}

EXPIRING: dict[str, Any] = {
    "trigger": {"on": "points.expiring"},
    "steps": [
        {
            "key": step,
            "kind": "send",
            "window_hours": 5 * 24,
            "not_after_hours": 12,
            "action": "rewards.show",
            "texts": {
                "th": {
                    "default": {
                        "title": "แต้มใกล้หมดอายุค่ะ",
                        "body": "คุณ{name}มี {points} แต้มที่ใช้ได้ถึง {expires} แลกของรางวัลก่อนหมดอายุนะคะ",
                        "button": "ดูของรางวัล",
                    }
                },
                "en": {
                    "default": {
                        "title": "Points about to expire",
                        "body": "{name}, {points} of your points are good until {expires}."
                        " Treat yourself before then.",
                        "button": "See rewards",
                    }
                },
            },
        }
        for step in ("30", "7")
    ],
}

#: key -> (class, held out in percent, definition)
DEFAULTS: dict[str, tuple[MessageClass, int, dict[str, Any]]] = {
    "lifecycle.thank_you": (MessageClass.PROMOTIONAL, 10, THANK_YOU),
    "lifecycle.win_back": (MessageClass.PROMOTIONAL, 10, WIN_BACK),
    "members.birthday": (MessageClass.PROMOTIONAL, 0, BIRTHDAY),
    "points.expiring_notice": (MessageClass.SERVICE, 0, EXPIRING),
}


def ensure(session: Session, now: datetime) -> int:
    """Make the journeys that are not there yet. Returns how many were new."""
    known = set(session.scalars(select(Journey.key)))
    made = 0
    for key, (klass, percent, definition) in DEFAULTS.items():
        if key in known:
            continue
        for step in definition["steps"]:
            texts.check(step["texts"], COMMON_PLACEHOLDERS)
        journey = Journey(key=key, klass=klass, holdout_percent=percent)
        session.add(journey)
        session.flush()  # the version needs its journey's id
        session.add(
            JourneyVersion(
                journey_id=journey.id,
                version=1,
                definition=definition,
                made_by="seed",
                made_at=now,
            )
        )
        made += 1
    return made


def save_texts(
    session: Session, journey: Journey, words: dict[str, Any], *, made_by: str, now: datetime
) -> int:
    """Save new words (step key -> texts) as the journey's next version. Returns its number.

    Refuses unknown placeholders and over-long texts here, at the save (FX19).
    """
    current = session.scalars(
        select(JourneyVersion).where(
            JourneyVersion.journey_id == journey.id,
            JourneyVersion.version == journey.current_version,
        )
    ).one()
    steps = []
    for step in current.definition["steps"]:
        new_texts = words.get(step["key"], step["texts"])
        texts.check(new_texts, COMMON_PLACEHOLDERS)
        steps.append({**step, "texts": new_texts})
    number = current.version + 1
    session.add(
        JourneyVersion(
            journey_id=journey.id,
            version=number,
            made_by=made_by,
            made_at=now,
            definition={**current.definition, "steps": steps},
        )
    )
    journey.current_version = number
    return number
