"""Which function answers which event: plain tables, and the order in which they are asked.

A handler takes a Context and returns LINE message objects (at most five); it never sends. What
it changes commits together with the event being done, or not at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from sqlalchemy.orm import Session

from core.runtime import Runtime
from core.text import match_key
from engagement import taps
from handlers import (
    consents,
    conversations,
    coupons,
    draws,
    joining,
    links,
    members,
    points,
    referrals,
    rewards,
    stamps,
    surveys,
    topics,
)
from models.members import JoinForm, Member

Messages = list[dict[str, Any]]
MAX_MESSAGES = 5
MAX_PARAMS = 20
TAB_SWITCH = "menus.switched"
_ACTION = re.compile(r"[a-z_]{1,40}\.[a-z_]{1,40}")


@dataclass(frozen=True)
class Postback:
    """`<noun>.<verb>?key=value&…`, and what LINE adds (`date`, `newRichMenuAliasId`, `status`)."""

    action: str
    params: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    #: The message of ours that the button was on (`engagement/taps.py`), if it told.
    source: str | None = None


@dataclass(frozen=True)
class Context:
    """One event of one person, and everything a handler may need to answer it."""

    runtime: Runtime
    session: Session
    member: Member
    event: dict[str, Any]
    event_id: int
    #: When it happened, by LINE's clock.
    event_at: datetime
    #: The shop's now, moved by the demo clock.
    now: datetime
    #: The machine's now, for whatever guards a secret or a lease.
    real_now: datetime
    #: The joining dialogue under way, paused or not.
    form: JoinForm | None = None
    #: Whether an answer can still be sent; without, effects count and messages are dropped.
    can_reply: bool = True
    #: What follows a chat word that takes one: `ABC` of `โค้ด ABC`.
    argument: str = ""

    @property
    def happened_at(self) -> datetime:
        """When it happened, by the shop's clock."""
        return by_the_shop(self.event_at, self.now, self.real_now)

    @property
    def locale(self) -> str:
        return self.member.locale

    @property
    def message(self) -> dict[str, Any]:
        """The message object; empty for other events."""
        found: dict[str, Any] = self.event.get("message") or {}
        return found

    @property
    def text(self) -> str:
        """What was typed; empty unless it is a text message."""
        return str(self.message.get("text", "")) if self.message.get("type") == "text" else ""

    @property
    def postback(self) -> Postback | None:
        """The parsed postback; None for other events and for data that is not ours."""
        return parse_postback(self.event.get("postback"))


def by_the_shop(event_at: datetime, now: datetime, real_now: datetime) -> datetime:
    """LINE's moment by the shop's clock, which a demo moves; never ahead of it."""
    return now - max(real_now - event_at, timedelta())


Handler = Callable[[Context], Messages]
#: Sees a text before the chat words while a dialogue is under way; the second argument says
#: whether the text is a chat word. None leaves the text to the tables.
FormHandler = Callable[[Context, bool], Messages | None]


def ignore(ctx: Context) -> Messages:
    """Nothing to do and nothing to say."""
    return []


#: Event type -> handler; messages are `message.<type>`, texts have tables of their own.
EVENTS: dict[str, Handler] = {
    "follow": members.follow,
    "unfollow": members.unfollow,
    "unsend": conversations.unsend,
    **{
        f"message.{kind}": conversations.other_message
        for kind in ("sticker", "image", "video", "audio", "file", "location")
    },
}
#: Postback action -> handler.
POSTBACKS: dict[str, Handler] = {
    "members.join": joining.start,
    "members.birthday": joining.birthday,
    "members.card": members.card,
    "members.my_data": members.my_data,
    "members.correct": joining.correct,
    "members.stop_marketing": members.stop_marketing,
    "members.start_marketing": members.start_marketing,
    "members.leave": members.leave,
    "members.not_me": members.not_me,
    "members.confirm_leave": members.confirm_leave,
    "members.language": members.language,
    "members.set_language": members.set_language,
    "members.help": members.help_me,
    "points.show": points.show,
    "points.history": points.history,
    "stamps.show": stamps.show,
    "coupons.show": coupons.show,
    "coupons.offers": coupons.offers,
    "coupons.claim": coupons.claim,
    "coupons.use": coupons.use,
    "coupons.enter_code": coupons.enter_code,
    "draws.show": draws.show,
    "draws.play": draws.play,
    "rewards.show": rewards.show,
    "rewards.exchange": rewards.exchange,
    "rewards.confirm": rewards.confirm,
    "referrals.show": referrals.show,
    "surveys.answer": surveys.answer,
    "consents.agree": consents.agree,
    "consents.decline": consents.decline,
    "conversations.open": conversations.open_chat,
    "conversations.picked": conversations.picked,
    "topics.show": topics.show,
    "topics.set": topics.set_topic,
    "topics.often": topics.set_often,
    "links.open": links.open_page,
    TAB_SWITCH: ignore,
}
#: Taps that do not interrupt a half-filled form.
KEEPS_FORM: tuple[Handler, ...] = (joining.birthday, coupons.enter_code, ignore)
#: Chat word as people type it -> handler.
WORDS: dict[str, Handler] = {
    **dict.fromkeys(("สมัคร", "สมัครสมาชิก", "join"), joining.start),
    **dict.fromkeys(("แต้ม", "คะแนน", "points"), points.show),
    **dict.fromkeys(("ประวัติ", "history"), points.history),
    **dict.fromkeys(("แสตมป์", "stamps"), stamps.show),
    **dict.fromkeys(("คูปอง", "coupons"), coupons.show),
    **dict.fromkeys(("ลุ้นโชค", "lucky draw", "draw"), draws.show),
    **dict.fromkeys(("ของรางวัล", "rewards"), rewards.show),
    **dict.fromkeys(("บัตร", "บัตรสมาชิก", "card"), members.card),
    **dict.fromkeys(("ชวนเพื่อน", "invite"), referrals.show),
    **dict.fromkeys(("ข้อมูลของฉัน", "my data"), members.my_data),
    **dict.fromkeys(("ภาษา", "language"), members.language),
    **dict.fromkeys(("รับข่าวอะไรบ้าง", "what news"), topics.show),
    **dict.fromkeys(("เมนู", "ช่วยเหลือ", "menu", "help"), members.help_me),
    **dict.fromkeys(("ติดต่อพนักงาน", "staff"), conversations.open_chat),
    **dict.fromkeys(("โค้ด", "code"), coupons.ask_code),
}
#: Chat word that is followed by something, e.g. `โค้ด X` -> handler.
PREFIXES: dict[str, Handler] = dict.fromkeys(("โค้ด", "code"), coupons.use_code)
#: The dialogue under way, free text, and postbacks nobody knows (an old menu's, perhaps).
FORM: FormHandler | None = joining.take
FREE_TEXT: Handler = conversations.free_text
UNKNOWN_POSTBACK: Handler = members.help_me


def dispatch(ctx: Context) -> Messages:
    """The answer to one event, and beside it a consent that has to be asked for again."""
    answer = _answer(ctx)
    if ctx.event.get("type") not in ("message", "postback"):
        return answer
    return consents.ask_beside(ctx, answer)


def _answer(ctx: Context) -> Messages:
    """The answer alone.

    1. A postback by its action.
    2. A text: the dialogue under way first, then the chat words, then free text.
    3. Anything else by its type; unknown types are nobody's.
    """
    kind = str(ctx.event.get("type"))
    if kind == "postback":
        postback = ctx.postback
        if postback is not None and postback.source is not None:
            taps.note(ctx.session, ctx.member, postback.source, ctx.now)
        found = POSTBACKS.get(postback.action) if postback else None
        handler = found or UNKNOWN_POSTBACK
        is_beside = ctx.form is not None and handler not in KEEPS_FORM
        return joining.beside(ctx, handler) if is_beside else handler(ctx)
    if kind == "message":
        kind = f"message.{ctx.message.get('type')}"
    if kind == "message.text":
        return _dispatch_text(ctx)
    return EVENTS.get(kind, ignore)(ctx)


def may_carry(ctx: Context, answer: Messages) -> bool:
    """Whether a message that is owed may ride this reply (M5): one that answers, and one to a
    switched tab, which asks for nothing but brings a free reply all the same."""
    return bool(answer) or (ctx.postback is not None and ctx.postback.action == TAB_SWITCH)


def find_word(text: str) -> tuple[Handler, str] | None:
    """The handler of a chat word, typed exactly, and what followed it, folded as codes are."""
    key = match_key(text)
    if handler := _words().get(key):
        return handler, ""
    first, _, rest = key.partition(" ")
    if rest and (handler := _prefixes().get(first)):
        return handler, rest
    return None


def _dispatch_text(ctx: Context) -> Messages:
    word = find_word(ctx.text)
    if ctx.form is not None and FORM is not None:
        answer = FORM(ctx, word is not None)
        if answer is not None:
            return answer
    if word is None:
        return FREE_TEXT(ctx)
    handler, argument = word
    return handler(replace(ctx, argument=argument))


def parse_postback(found: Any) -> Postback | None:
    """A postback of ours; None for anything else, whatever it is."""
    if not isinstance(found, dict):
        return None
    data, source = taps.split(str(found.get("data", "")))
    action, _, query = data.partition("?")
    if not _ACTION.fullmatch(action):
        return None
    try:
        params = dict(parse_qsl(query, max_num_fields=MAX_PARAMS))
    except ValueError:
        return None
    extra = found.get("params")
    if not isinstance(extra, dict):
        extra = {}
    chosen = {str(key): str(value) for key, value in extra.items()}
    # What no button of ours holds, and no database can be asked for: NUL, half of a character.
    if not all(map(str.isprintable, (*params.values(), *chosen.values(), source or ""))):
        return None
    return Postback(action, params, chosen, source)


#: Each table beside its folded form; holding the table keeps its identity from being reused.
_folded: dict[int, tuple[dict[str, Handler], int, dict[str, Handler]]] = {}


def _words() -> dict[str, Handler]:
    return _fold(WORDS)


def _prefixes() -> dict[str, Handler]:
    return _fold(PREFIXES)


def _fold(table: dict[str, Handler]) -> dict[str, Handler]:
    """The table by match key, made once for its size."""
    kept = _folded.get(id(table))
    if kept is not None and kept[0] is table and kept[1] == len(table):
        return kept[2]
    folded = {match_key(word): handler for word, handler in table.items()}
    _folded[id(table)] = table, len(table), folded
    return folded
