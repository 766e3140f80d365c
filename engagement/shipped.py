"""The journeys every shop starts with: trigger, steps, and words as a kind shop assistant has them.

This only seeds the first version of each; editing in the console makes further ones.
"""

from __future__ import annotations

from typing import Any

from models.outbox import MessageClass

#: variant -> (Thai title, body, button), (English title, body, button)
Words = dict[str, tuple[tuple[str, str, str], tuple[str, str, str]]]
_FIELDS = ("title", "body", "button")
_BOUGHT = {"kind": "purchases.recorded"}
_SEE_COUPONS = ("ดูคูปองของฉัน", "My coupons")


def send(key: str, words: Words, *, window_hours: int = 24, **more: Any) -> dict[str, Any]:
    """A step that writes to the member."""
    texts: dict[str, Any] = {"th": {}, "en": {}}
    for variant, (thai, english) in words.items():
        texts["th"][variant] = dict(zip(_FIELDS, thai, strict=True))
        texts["en"][variant] = dict(zip(_FIELDS, english, strict=True))
    base = {"key": key, "kind": "send", "window_hours": window_hours, "not_after_hours": 12}
    return base | {"texts": texts} | more


def wait(key: str, *, days: int = 0, hours: int = 0, hour: int | None = None) -> dict[str, Any]:
    """A step that lets time pass, and then goes on at this hour of the shop's clock."""
    return {
        "key": key, "kind": "wait", "how": "time", "minutes": days * 1440 + hours * 60, "hour": hour,
    }  # fmt: skip


def until_silent(key: str, days: int) -> dict[str, Any]:
    """A step that waits for so many days without a purchase."""
    return {
        "key": key, "kind": "wait", "how": "silence", "days": days, "hour": 10, "late_days": 31,
    }  # fmt: skip


WELCOME: dict[str, Any] = {
    "topic": "news",
    "trigger": {
        "on": "activity",
        "kind": "members.joined",
        "where": [{"fact": "source", "is": "none_of", "value": ["walk_in", "import"]}],
    },
    "exit": {"on": []},
    "reentry": {"kind": "never"},
    "steps": [
        wait("next_day", hours=20, hour=11),
        send(
            "welcome",
            {
                "default": (
                    (
                        "ยินดีต้อนรับสู่{shop}ค่ะ คุณ{name}",
                        (
                            "บัตรสมาชิกอยู่ในเมนูด้านล่างแล้วนะคะ มาที่ร้านเมื่อไร เปิดบัตรให้พนักงานสแกน"
                            " แต้มกับแสตมป์จะเข้าให้เอง สงสัยอะไรพิมพ์ถามได้เลยค่ะ"
                        ),
                        "เปิดบัตรสมาชิก",
                    ),
                    (
                        "Welcome to {shop}, {name}",
                        (
                            "Your card is in the menu below. Show it at the counter and your points"
                            " and stamps come by themselves. Ask us anything here, any time."
                        ),
                        "Open my card",
                    ),
                ),
                "purchase": (
                    (
                        "ดีใจที่ได้เจอกันแล้วนะคะ คุณ{name}",
                        (
                            "ตอนนี้คุณมี {balance} แต้มแล้วค่ะ ดูแต้มและของรางวัลได้จากเมนูด้านล่าง"
                            " ครั้งหน้าแค่เปิดบัตรให้สแกนเหมือนเดิมนะคะ"
                        ),
                        "เปิดบัตรสมาชิก",
                    ),
                    (
                        "Lovely to have met you, {name}",
                        (
                            "You have {balance} points already. See them and what they bring in the"
                            " menu below; next time, just show your card again."
                        ),
                        "Open my card",
                    ),
                ),
            },
            action="members.card",
        ),
    ],
}

FINISH_JOINING: dict[str, Any] = {
    "topic": "reminders",
    "trigger": {"on": "activity", "kind": "members.joining_started"},
    "exit": {"on": [{"kind": "members.joined"}]},
    "reentry": {"kind": "days", "days": 30},
    "steps": [
        wait("next_day", hours=18, hour=11),
        send(
            "finish",
            {
                "default": (
                    (
                        "สมัครค้างไว้อยู่นะคะ",
                        (
                            "คุณ{name} เหลืออีกนิดเดียวก็เป็นสมาชิก{shop}แล้วค่ะ คำตอบเดิมยังอยู่ครบ"
                            " กดต่อจากที่ค้างไว้ได้เลย ใช้เวลาไม่ถึงนาที"
                        ),
                        "สมัครต่อ",
                    ),
                    (
                        "You are almost a member",
                        (
                            "{name}, you are nearly a member of {shop}. Your answers are kept; carry on"
                            " where you stopped, it takes less than a minute."
                        ),
                        "Carry on",
                    ),
                )
            },
            action="members.join",
        ),
    ],
}

HELP_CHOOSE: dict[str, Any] = {
    "topic": "offers",
    "trigger": {
        "on": "activity",
        "kind": "members.joined",
        "where": [
            {"fact": "source", "is": "none_of", "value": ["walk_in", "import"]},
            {"fact": "purchase_days", "is": "at_most", "value": 0},
        ],
    },
    "exit": {"on": [_BOUGHT]},
    "reentry": {"kind": "never"},
    "steps": [
        wait("three_days", days=3, hour=11),
        send(
            "choose",
            {
                "default": (
                    (
                        "เลือกไม่ถูกใช่ไหมคะ คุณ{name}",
                        (
                            "ลูกค้าของเราชอบ {best} ที่สุดค่ะ หวานน้อยหรือเปลี่ยนนมบอกพนักงานได้เลย"
                            " อยากรู้อะไรเพิ่ม พิมพ์ถามในแชตนี้ได้นะคะ"
                        ),
                        "ช่วยเหลือและสอบถาม",
                    ),
                    (
                        "Not sure what to have, {name}?",
                        (
                            "Our guests love these most: {best}. Less sweet or another milk? Just tell"
                            " us at the counter, or ask right here."
                        ),
                        "Help and questions",
                    ),
                )
            },
            window_hours=48,
            action="members.help",
        ),
        wait("a_week", days=7, hour=11),
        send(
            "nudge",
            {
                "default": (
                    (
                        "แก้วแรกรอคุณ{name} อยู่นะคะ",
                        "วันไหนว่างแวะมาได้เลยค่ะ ครั้งแรกเราเตรียม “{offer}” ไว้ให้ กดรับเก็บไว้ก่อนได้เลย",
                        "รับไว้ก่อน",
                    ),
                    (
                        "Your first cup is waiting, {name}",
                        (
                            "Come by whenever you like. “{offer}” is there for your first visit; take"
                            " it now and keep it for the day."
                        ),
                        "Keep it for me",
                    ),
                ),
                "plain": (
                    (
                        "แก้วแรกรอคุณ{name} อยู่นะคะ",
                        "วันไหนว่างแวะมาได้เลย บิลแรกก็เริ่มสะสมแต้มให้ทันทีค่ะ",
                        "เปิดบัตรสมาชิก",
                    ),
                    (
                        "Your first cup is waiting, {name}",
                        "Come by whenever you like; your very first bill earns points.",
                        "Open my card",
                    ),
                ),
            },
            window_hours=72,
            offers=True,
            action="coupons.show",
        ),
    ],
}

THANK_YOU: dict[str, Any] = {
    "topic": "offers",
    "priority": 20,
    "trigger": {"on": "activity", "kind": "purchases.recorded"},
    "exit": {
        "on": [
            {
                "kind": "purchases.returned",
                "same": "purchase_id",
                "where": [{"fact": "is_void", "is": "yes"}],
            }
        ]
    },
    "reentry": {"kind": "days", "days": 7, "unless": [{"fact": "is_first", "is": "yes"}]},
    "steps": [
        send(
            "thank",
            {
                "default": (
                    (
                        "ขอบคุณที่แวะมานะคะ คุณ{name}",
                        (
                            "บิล {amount} บาทได้เพิ่ม {points} แต้ม ตอนนี้มีทั้งหมด {balance} แต้มค่ะ"
                            " ครั้งหน้ามี “{offer}” รออยู่ กดรับไว้ได้เลย"
                        ),
                        "ดูคูปอง",
                    ),
                    (
                        "Thank you for coming, {name}",
                        (
                            "Your bill of {amount} baht earned {points} points; you have {balance} in"
                            " all. “{offer}” is waiting for your next visit."
                        ),
                        "See coupons",
                    ),
                ),
                "purchase": (
                    (
                        "ยินดีที่ได้เจอกันครั้งแรกค่ะ คุณ{name}",
                        (
                            "บิลแรก {amount} บาทของคุณได้ {points} แต้มแล้วนะคะ แวะมาอีกครั้ง"
                            "ใช้ “{offer}” ได้เลย กดรับไว้ก่อนได้ค่ะ"
                        ),
                        "รับไว้ใช้ครั้งหน้า",
                    ),
                    (
                        "Lovely to meet you, {name}",
                        (
                            "Your first bill of {amount} baht earned {points} points. “{offer}” is"
                            " there for your next visit; take it now and keep it."
                        ),
                        "Keep it for later",
                    ),
                ),
                "advocacy": (
                    (
                        "ขอบคุณลูกค้าคนพิเศษของเราค่ะ",
                        (
                            "คุณ{name} ได้เพิ่ม {points} แต้มจากบิล {amount} บาท และมี “{offer}” รออยู่"
                            " ชวนเพื่อนมาด้วยกันได้ตลอดเลยนะคะ"
                        ),
                        "ดูคูปอง",
                    ),
                    (
                        "Thank you for being so special",
                        (
                            "{name}, your bill of {amount} baht earned {points} points, and “{offer}”"
                            " is waiting. Friends are always welcome."
                        ),
                        "See coupons",
                    ),
                ),
                "plain": (
                    (
                        "ขอบคุณที่แวะมานะคะ คุณ{name}",
                        (
                            "บิล {amount} บาทได้เพิ่ม {points} แต้ม ตอนนี้มีทั้งหมด {balance} แต้มค่ะ"
                            " ไว้แวะมาเจอกันอีกนะคะ"
                        ),
                        "",
                    ),
                    (
                        "Thank you for coming, {name}",
                        (
                            "Your bill of {amount} baht earned {points} points; you have {balance} in"
                            " all. See you again soon."
                        ),
                        "",
                    ),
                ),
            },
            offers=True,
            action="coupons.show",
        )
    ],
}

SECOND_VISIT: dict[str, Any] = {
    "topic": "offers",
    "trigger": {"on": "change", "kind": "stages.changed", "field": "stage", "to": ["purchase"]},
    "exit": {
        "on": [
            _BOUGHT,
            {"kind": "purchases.returned", "where": [{"fact": "is_void", "is": "yes"}]},
        ]
    },
    "reentry": {"kind": "never"},
    "steps": [
        wait("ten_days", days=10, hour=11),
        send(
            "invite",
            {
                "default": (
                    (
                        "ชวนมาแก้วที่สองกันค่ะ คุณ{name}",
                        (
                            "ครั้งก่อนเป็นอย่างไรบ้างคะ แวะมาอีกครั้งใช้ “{offer}” ได้เลย"
                            " ตอนนี้คุณมี {balance} แต้มรออยู่ด้วยนะคะ"
                        ),
                        "ดูคูปอง",
                    ),
                    (
                        "Time for your second cup, {name}",
                        (
                            "We hope you liked the first one. “{offer}” is there when you come"
                            " again, and your {balance} points are waiting too."
                        ),
                        "See coupons",
                    ),
                ),
                "no_points": (
                    (
                        "ชวนมาแก้วที่สองกันค่ะ คุณ{name}",
                        "ครั้งก่อนเป็นอย่างไรบ้างคะ แวะมาอีกครั้งใช้ “{offer}” ได้เลยนะคะ",
                        "ดูคูปอง",
                    ),
                    (
                        "Time for your second cup, {name}",
                        "We hope you liked the first one. “{offer}” is there when you come again.",
                        "See coupons",
                    ),
                ),
                "plain": (
                    (
                        "ชวนมาแก้วที่สองกันค่ะ คุณ{name}",
                        "ครั้งก่อนเป็นอย่างไรบ้างคะ วันไหนอยากพักสักครู่ แวะมาหากันอีกนะคะ",
                        "",
                    ),
                    (
                        "Time for your second cup, {name}",
                        "We hope you liked the first one. Come by for a break whenever you like.",
                        "",
                    ),
                ),
            },
            window_hours=72,
            offers=True,
            action="coupons.show",
        ),
    ],
}

NEARLY_FULL: dict[str, Any] = {
    "topic": "reminders",
    "trigger": {
        "on": "activity",
        "kind": "stamps.given",
        "where": [
            {"fact": "left", "is": "at_least", "value": 1},
            {"fact": "left", "is": "at_most", "value": 2},
        ],
    },
    "exit": {"on": [{"kind": "stamps.card_filled"}]},
    "reentry": {"kind": "each"},
    "steps": [
        wait("five_days", days=5, hour=11),
        send(
            "nearly",
            {
                "default": (
                    (
                        "อีก {left} ดวงก็เต็มบัตรแล้วค่ะ",
                        "คุณ{name} ขาดแสตมป์อีกแค่ {left} ดวงก็รับของรางวัลได้เลยนะคะ แวะมาเติมให้ครบกันค่ะ",
                        "ดูบัตรแสตมป์",
                    ),
                    (
                        "Only {left} more for a full card",
                        (
                            "{name}, your stamp card needs just {left} more and the prize is yours."
                            " Come by and fill it."
                        ),
                        "See my stamps",
                    ),
                )
            },
            window_hours=72,
            action="stamps.show",
        ),
    ],
}

TIER_UP: dict[str, Any] = {
    "topic": "news",
    "trigger": {
        "on": "change",
        "kind": "tiers.changed",
        "field": "tier",
        "where": [
            {"fact": "is_up", "is": "yes"},
            {"fact": "cause", "is": "none_of", "value": ["reversed"]},
        ],
    },
    "exit": {"on": [{"kind": "tiers.changed"}]},
    "reentry": {"kind": "each"},
    "steps": [
        send(
            "up",
            {
                "default": (
                    (
                        "ยินดีด้วยค่ะ คุณเป็นสมาชิกระดับ{tier}แล้ว",
                        (
                            "ขอบคุณที่แวะมาบ่อย ๆ นะคะ คุณ{name} สิทธิ์ระดับ{tier}เป็นของคุณถึง"
                            " {expires} เปิดบัตรดูได้เลยว่าได้อะไรเพิ่มบ้างค่ะ"
                        ),
                        "ดูบัตรสมาชิก",
                    ),
                    (
                        "You are {tier} now",
                        (
                            "Thank you for coming so often, {name}. {tier} is yours until {expires};"
                            " see on your card what it brings."
                        ),
                        "See my card",
                    ),
                )
            },
            window_hours=4,
            not_after_hours=48,
            action="members.card",
        )
    ],
}

TIER_AT_RISK: dict[str, Any] = {
    "topic": "reminders",
    "trigger": {"on": "activity", "kind": "tiers.at_risk"},
    "exit": {"on": [{"kind": "tiers.changed"}]},
    "reentry": {"kind": "each"},
    "steps": [
        send(
            "keep",
            {
                "default": (
                    (
                        "อีกนิดเดียวก็อยู่ระดับ{tier}ต่อค่ะ",
                        "คุณ{name} สะสมอีก {missing} แต้มภายใน {expires} ก็อยู่ระดับ{tier}ต่อได้ค่ะ",
                        "ดูบัตรสมาชิก",
                    ),
                    (
                        "A little more to stay {tier}",
                        "{name}, earn {missing} more points by {expires} and you stay {tier}.",
                        "See my card",
                    ),
                ),
                "spend": (
                    (
                        "อีกนิดเดียวก็อยู่ระดับ{tier}ต่อค่ะ",
                        "คุณ{name} ซื้ออีก {missing} บาทภายใน {expires} ก็อยู่ระดับ{tier}ต่อได้ค่ะ",
                        "ดูบัตรสมาชิก",
                    ),
                    (
                        "A little more to stay {tier}",
                        "{name}, spend {missing} baht more by {expires} and you stay {tier}.",
                        "See my card",
                    ),
                ),
            },
            window_hours=5 * 24,
            action="members.card",
        )
    ],
}


def _expiring(key: str) -> dict[str, Any]:
    return send(
        key,
        {
            "default": (
                (
                    "แต้มใกล้หมดอายุค่ะ",
                    "คุณ{name} มี {points} แต้มที่ใช้ได้ถึง {expires} แลกของรางวัลก่อนหมดอายุนะคะ",
                    "ดูของรางวัล",
                ),
                (
                    "Points about to expire",
                    (
                        "{name}, {points} of your points are good until {expires}."
                        " Treat yourself before then."
                    ),
                    "See rewards",
                ),
            )
        },
        window_hours=5 * 24,
        action="rewards.show",
    )


POINTS_EXPIRING: dict[str, Any] = {
    "topic": "reminders",
    "trigger": {"on": "date", "kind": "points", "days": -30},
    "exit": {"on": []},
    "reentry": {"kind": "each"},
    "steps": [
        _expiring("30"),
        {
            "key": "until_7", "kind": "wait", "how": "date", "of": "expires_on", "days": -7,
            "late_days": 8,
            "hour": 10,
        },
        _expiring("7"),
    ],
}  # fmt: skip

VOUCHERS_EXPIRING: dict[str, Any] = {
    "topic": "reminders",
    "trigger": {"on": "date", "kind": "vouchers", "days": -5},
    "exit": {"on": []},
    "reentry": {"kind": "each"},
    "steps": [
        send(
            "5",
            {
                "default": (
                    (
                        "คูปองใกล้หมดอายุค่ะ",
                        "“{gift}” ของคุณ{name} ใช้ได้ถึง {expires} แวะมาใช้กันก่อนนะคะ เสียดายแทนค่ะ",
                        "ดูคูปองของฉัน",
                    ),
                    (
                        "A coupon is about to end",
                        (
                            "{name}, your “{gift}” is good until {expires}. It would be a pity to"
                            " let it go."
                        ),
                        "My coupons",
                    ),
                )
            },
            window_hours=3 * 24,
            action="coupons.show",
        )
    ],
}

BIRTHDAY: dict[str, Any] = {
    "topic": "birthday",
    "trigger": {"on": "date", "kind": "birthday", "days": 0},
    "exit": {"on": []},
    "reentry": {"kind": "each"},
    "steps": [
        send(
            "greet",
            {
                "default": (
                    (
                        "สุขสันต์วันเกิดค่ะ คุณ{name}",
                        "ขอให้เป็นวันที่อบอุ่นและมีแต่เรื่องดี ๆ นะคะ จากพวกเราทุกคนที่{shop}",
                        _SEE_COUPONS[0],
                    ),
                    (
                        "Happy birthday, {name}",
                        "We wish you a warm and lovely day. From all of us at {shop}.",
                        _SEE_COUPONS[1],
                    ),
                )
            },
            window_hours=0,
            until_hour=20,
            coupon="birthday_gift",
            action="coupons.show",
        )
    ],
}

ANNIVERSARY: dict[str, Any] = {
    "topic": "birthday",
    "trigger": {"on": "date", "kind": "joined", "days": 0},
    "exit": {"on": []},
    "reentry": {"kind": "each"},
    "steps": [
        send(
            "celebrate",
            {
                "default": (
                    (
                        "ครบรอบ {years} ปีที่รู้จักกันค่ะ",
                        (
                            "วันนี้เมื่อ {years} ปีก่อน คุณ{name} มาเป็นสมาชิกกับเรา ขอบคุณที่อยู่ด้วยกัน"
                            "มานะคะ เราใส่ “{gift}” ไว้ให้แล้วค่ะ"
                        ),
                        _SEE_COUPONS[0],
                    ),
                    (
                        "Happy anniversary, {name}",
                        (
                            "You joined us on this day, and this makes year {years}. Thank you for"
                            " staying with us; “{gift}” is yours."
                        ),
                        _SEE_COUPONS[1],
                    ),
                ),
                "plain": (
                    (
                        "ครบรอบ {years} ปีที่รู้จักกันค่ะ",
                        (
                            "วันนี้เมื่อ {years} ปีก่อน คุณ{name} มาเป็นสมาชิกกับเรา ขอบคุณที่อยู่ด้วยกัน"
                            "มานะคะ แวะมาทักทายกันบ้างนะ"
                        ),
                        "",
                    ),
                    (
                        "Happy anniversary, {name}",
                        (
                            "You joined us on this day, and this makes year {years}. Thank you for"
                            " staying with us."
                        ),
                        "",
                    ),
                ),
            },
            window_hours=0,
            until_hour=20,
            coupon="anniversary_gift",
            action="coupons.show",
        )
    ],
}


def _miss(key: str, words: Words) -> dict[str, Any]:
    return send(key, words, window_hours=72, coupon=f"win_back_{key}", action="coupons.show")


WIN_BACK: dict[str, Any] = {
    "topic": "offers",
    "trigger": {"on": "silence", "days": 45, "last_days": 120, "own_rhythm": True},
    "exit": {"on": [_BOUGHT]},
    "reentry": {"kind": "each"},
    "steps": [
        _miss(
            "at_risk",
            {
                "default": (
                    (
                        "คิดถึงคุณ{name} นะคะ",
                        "ไม่ได้เจอกันสักพักแล้ว เราเตรียม “{gift}” ไว้ให้ แวะมาพักจิบอะไรเย็น ๆ กันนะคะ",
                        _SEE_COUPONS[0],
                    ),
                    (
                        "We miss you, {name}",
                        "It has been a while. “{gift}” is yours; come by for a break.",
                        _SEE_COUPONS[1],
                    ),
                ),
                "purchase": (
                    (
                        "แวะมาอีกครั้งนะคะ คุณ{name}",
                        "ยังมีเมนูอร่อยอีกเยอะที่อยากให้ลองค่ะ เราใส่ “{gift}” ไว้ให้แล้ว",
                        _SEE_COUPONS[0],
                    ),
                    (
                        "Come and see us again, {name}",
                        "There is much more to try. “{gift}” is already yours.",
                        _SEE_COUPONS[1],
                    ),
                ),
                "plain": (
                    (
                        "คิดถึงคุณ{name} นะคะ",
                        "ไม่ได้เจอกันสักพักแล้ว แวะมาพักจิบอะไรเย็น ๆ กันนะคะ",
                        "",
                    ),
                    (
                        "We miss you, {name}",
                        "It has been a while. Come by for a break whenever you like.",
                        "",
                    ),
                ),
            },
        ),
        until_silent("until_60", 60),
        _miss(
            "60",
            {
                "default": (
                    (
                        "สองเดือนแล้วนะคะ คุณ{name}",
                        (
                            "ร้านยังอยู่ที่เดิมและคิดถึงคุณค่ะ รับ “{gift}” ไปใช้ได้เลย"
                            " แต้มสะสม {balance} แต้มของคุณก็ยังรออยู่นะคะ"
                        ),
                        _SEE_COUPONS[0],
                    ),
                    (
                        "Two months already, {name}",
                        (
                            "We are still here and thinking of you. “{gift}” is yours, and your"
                            " {balance} points are waiting."
                        ),
                        _SEE_COUPONS[1],
                    ),
                ),
                "no_points": (
                    (
                        "สองเดือนแล้วนะคะ คุณ{name}",
                        "ร้านยังอยู่ที่เดิมและคิดถึงคุณค่ะ รับ “{gift}” ไปใช้ได้เลยนะคะ",
                        _SEE_COUPONS[0],
                    ),
                    (
                        "Two months already, {name}",
                        "We are still here and thinking of you. “{gift}” is yours.",
                        _SEE_COUPONS[1],
                    ),
                ),
                "plain": (
                    (
                        "สองเดือนแล้วนะคะ คุณ{name}",
                        "ร้านยังอยู่ที่เดิมและคิดถึงคุณค่ะ วันไหนผ่านมา แวะทักกันบ้างนะคะ",
                        "",
                    ),
                    (
                        "Two months already, {name}",
                        "We are still here and thinking of you. Say hello when you pass by.",
                        "",
                    ),
                ),
            },
        ),
        until_silent("until_90", 90),
        _miss(
            "90",
            {
                "default": (
                    (
                        "มีของขวัญชิ้นสุดท้ายให้คุณ{name} ค่ะ",
                        (
                            "เราเก็บ “{gift}” ไว้ให้คุณโดยเฉพาะ แวะมาเมื่อไรก็ยินดีเสมอนะคะ"
                            " หลังจากนี้เราจะไม่รบกวนแล้วค่ะ"
                        ),
                        _SEE_COUPONS[0],
                    ),
                    (
                        "One last gift for you, {name}",
                        (
                            "We kept “{gift}” just for you. You are always welcome, and we will"
                            " not write again about this."
                        ),
                        _SEE_COUPONS[1],
                    ),
                ),
                "plain": (
                    (
                        "ยังคิดถึงคุณ{name} อยู่นะคะ",
                        "แวะมาเมื่อไรก็ยินดีเสมอค่ะ หลังจากนี้เราจะไม่รบกวนแล้วนะคะ",
                        "",
                    ),
                    (
                        "You are always welcome, {name}",
                        "Come by whenever you like. We will not write again about this.",
                        "",
                    ),
                ),
            },
        ),
    ],
}

REFERRAL: dict[str, Any] = {
    "topic": "offers",
    "trigger": {"on": "change", "kind": "stages.changed", "field": "stage", "to": ["retention"]},
    "exit": {"on": [{"kind": "referrals.joined"}]},
    "reentry": {"kind": "days", "days": 180},
    "steps": [
        wait("three_days", days=3, hour=11),
        send(
            "ask",
            {
                "default": (
                    (
                        "ชวนเพื่อนมาจิบด้วยกันไหมคะ",
                        (
                            "คุณ{name} กลับมาหากันอีก เราดีใจมากเลยค่ะ ส่งลิงก์ชวนเพื่อนได้จากปุ่มนี้"
                            " เพื่อนมาซื้อครั้งแรกเมื่อไร ได้ของขวัญกันทั้งคู่นะคะ"
                        ),
                        "ชวนเพื่อน",
                    ),
                    (
                        "Bring a friend along?",
                        (
                            "{name}, we are so glad you came back. Send a friend your link with"
                            " this button; with their first visit both of you get a gift."
                        ),
                        "Invite a friend",
                    ),
                ),
                "plain": (
                    (
                        "ชวนเพื่อนมาจิบด้วยกันไหมคะ",
                        (
                            "คุณ{name} กลับมาหากันอีก เราดีใจมากเลยค่ะ ถ้ามีเพื่อนที่น่าจะชอบร้านเรา"
                            " ส่งลิงก์ชวนได้จากปุ่มนี้นะคะ"
                        ),
                        "ชวนเพื่อน",
                    ),
                    (
                        "Bring a friend along?",
                        (
                            "{name}, we are so glad you came back. If a friend of yours would like"
                            " it here, this button has a link for them."
                        ),
                        "Invite a friend",
                    ),
                ),
            },
            window_hours=72,
            action="referrals.show",
        ),
    ],
}

CSAT: dict[str, Any] = {
    "topic": "surveys",
    "priority": 10,
    "trigger": {
        "on": "activity",
        "kind": "purchases.recorded",
        "where": [{"fact": "purchase_days", "is": "at_least", "value": 3}],
    },
    "exit": {
        "on": [
            {
                "kind": "purchases.returned",
                "same": "purchase_id",
                "where": [{"fact": "is_void", "is": "yes"}],
            }
        ]
    },
    "reentry": {"kind": "days", "days": 60},
    "steps": [
        send(
            "ask",
            {
                "default": (
                    (
                        "ครั้งนี้เป็นอย่างไรบ้างคะ คุณ{name}",
                        (
                            "บิล {amount} บาทได้เพิ่ม {points} แต้มแล้วนะคะ แตะบอกเราหน่อยว่าถูกใจแค่ไหน"
                            " เราอ่านทุกคำตอบเลยค่ะ"
                        ),
                        "",
                    ),
                    (
                        "How was your visit, {name}?",
                        (
                            "Your bill of {amount} baht earned {points} points. One tap tells us how"
                            " you liked it; we read every answer."
                        ),
                        "",
                    ),
                )
            },
            bubble="csat",
        )
    ],
}

#: A claim is asked about only where no visit follows: the visit is what is asked about then.
CLAIM_CSAT: dict[str, Any] = {
    "topic": "surveys",
    "trigger": {"on": "activity", "kind": "coupons.claimed", "where": []},
    "exit": {"on": [{"kind": "purchases.recorded"}, {"kind": "vouchers.redeemed"}]},
    "reentry": {"kind": "days", "days": 60},
    "steps": [
        wait("settle", days=1),
        send(
            "ask",
            {
                "default": (
                    (
                        "รับคูปองสะดวกไหมคะ คุณ{name}",
                        "คูปองอยู่ในหน้าคูปองของคุณแล้วนะคะ แตะบอกเราหน่อยว่ากดรับง่ายแค่ไหน เราอ่านทุกคำตอบเลยค่ะ",
                        "",
                    ),
                    (
                        "Was your coupon easy to get, {name}?",
                        (
                            "It is waiting among your coupons. One tap tells us how it went;"
                            " we read every answer."
                        ),
                        "",
                    ),
                )
            },
            bubble="csat",
        ),
    ],
}

NPS: dict[str, Any] = {
    "topic": "surveys",
    "trigger": {
        "on": "segment",
        "tree": {
            "all": [
                {"field": "totals.purchase_count", "is": "at_least", "value": 4},
                {"field": "totals.last_purchase", "is": "within_days", "value": 30},
                {"field": "totals.first_purchase", "is": "before_days", "value": 30},
                {"field": "member.following", "is": "yes"},
                {"field": "consent", "is": "yes"},
            ]
        },
    },
    "exit": {"on": []},
    "reentry": {"kind": "days", "days": 90},
    "steps": [
        send(
            "ask",
            {
                "default": (
                    (
                        "ขอถามคำเดียวนะคะ คุณ{name}",
                        "คุณจะแนะนำ{shop}ให้เพื่อนมากแค่ไหนคะ 0 คือไม่เลย 10 คือแนะนำแน่นอน",
                        "",
                    ),
                    (
                        "Just one question, {name}",
                        (
                            "How likely are you to tell a friend about {shop}?"
                            " 0 is not at all, 10 is for sure."
                        ),
                        "",
                    ),
                )
            },
            window_hours=5 * 24,
            bubble="nps",
        )
    ],
}

PROMOTIONAL, SERVICE = MessageClass.PROMOTIONAL, MessageClass.SERVICE
#: key -> (class, held out in percent, definition), in the order of a member's life
DEFAULTS: dict[str, tuple[MessageClass, int, dict[str, Any]]] = {
    "members.welcome": (PROMOTIONAL, 0, WELCOME),
    "members.finish_joining": (SERVICE, 0, FINISH_JOINING),
    "lifecycle.help_choose": (PROMOTIONAL, 10, HELP_CHOOSE),
    "lifecycle.thank_you": (PROMOTIONAL, 10, THANK_YOU),
    "lifecycle.second_visit": (PROMOTIONAL, 10, SECOND_VISIT),
    "stamps.nearly_full": (PROMOTIONAL, 10, NEARLY_FULL),
    "tiers.up": (SERVICE, 0, TIER_UP),
    "tiers.keep": (SERVICE, 0, TIER_AT_RISK),
    "points.expiring_notice": (SERVICE, 0, POINTS_EXPIRING),
    "vouchers.expiring_notice": (SERVICE, 0, VOUCHERS_EXPIRING),
    "members.birthday": (PROMOTIONAL, 0, BIRTHDAY),
    "members.anniversary": (PROMOTIONAL, 10, ANNIVERSARY),
    "lifecycle.win_back": (PROMOTIONAL, 10, WIN_BACK),
    "referrals.ask": (PROMOTIONAL, 10, REFERRAL),
    "surveys.csat": (PROMOTIONAL, 10, CSAT),
    "surveys.claim_csat": (PROMOTIONAL, 10, CLAIM_CSAT),
    "surveys.nps": (PROMOTIONAL, 10, NPS),
}
