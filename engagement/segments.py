"""Segments: who a message is for, as a tree of conditions that becomes SQL and is never text.

A tree is `{"all": [node, ...]}`, `{"any": [...]}`, `{"not": node}` or a condition
`{"field": "totals.level", "is": "one_of", "value": ["vip"]}`. `FIELDS` says which fields there
are; everything else is refused when it is saved, and bounded in depth and size (FX09).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    Integer,
    String,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

from core.clock import local_day, start_of_day
from core.crypto import Vault
from core.db import is_sqlite
from core.errors import NotFound, Refused
from core.i18n import LOCALES
from loyalty import personal
from loyalty.coupons import USABLE
from loyalty.lifecycle import GROUPS
from models.campaigns import CampaignRecipient
from models.coupons import Coupon, Voucher, VoucherState
from models.members import (
    IS_GONE,
    Consent,
    Level,
    Member,
    MemberState,
    MemberTotals,
    Purpose,
    Stage,
)
from models.outbox import Message, MessageState
from models.purchases import Purchase, PurchaseItem, PurchaseState
from models.scores import MemberScore
from models.segments import MemberTag, Segment, SegmentVersion
from models.staff import Branch
from models.stamps import CardState, StampCard, StampProgram
from models.tiers import MemberTier, Tier

Tree = Mapping[str, Any]
#: Groups within groups, and conditions in all: what a person can still read.
MAX_DEPTH = 5
MAX_CONDITIONS = 40
MAX_VALUES = 100
MAX_NUMBER = 10**12
MAX_DAYS = 3660
MAX_LETTERS = 64
#: Enough for the ids of a million members in memory; the default would go over them row by row.
ROOM = text("SET LOCAL work_mem = '64MB'")
#: No tier, or nobody knows where from.
NONE = "none"
UNKNOWN = "unknown"
EVERYBODY: Tree = {"all": []}


class Kind(StrEnum):
    """What a field holds, and so how it may be asked."""

    CHOICE = "choice"
    WORDS = "words"
    NUMBER = "number"
    MOMENT = "moment"
    FLAG = "flag"
    PURCHASES = "purchases"
    VOUCHERS = "vouchers"
    CAMPAIGNS = "campaigns"
    BIRTHDAY = "birthday"


#: Ways of asking by kind of field.
WAYS: dict[Kind, tuple[str, ...]] = {
    Kind.CHOICE: ("one_of", "none_of"),
    Kind.WORDS: ("one_of", "none_of"),
    Kind.NUMBER: ("at_least", "at_most"),
    Kind.MOMENT: ("within_days", "before_days", "known", "never"),
    Kind.FLAG: ("yes", "no"),
    Kind.PURCHASES: ("at_least", "at_most"),
    Kind.VOUCHERS: ("has", "has_not"),
    Kind.CAMPAIGNS: ("received", "not_received"),
    Kind.BIRTHDAY: ("this_month", "in_months", "within_days"),
}
#: Ways that need no value.
BARE = frozenset({"known", "never", "yes", "no", "has", "has_not", "received", "not_received", "this_month"})  # fmt: skip
#: What else a condition of a kind may say.
DETAILS: dict[Kind, frozenset[str]] = {
    Kind.PURCHASES: frozenset({"days", "skus", "branches", "weekdays", "hours"}),
    Kind.VOUCHERS: frozenset({"state", "coupons", "days"}),
    Kind.CAMPAIGNS: frozenset({"campaigns", "days"}),
}


class Malformed(Refused):
    """A tree that cannot be read; fact `field` says where."""

    code = "segments.malformed"
    status = 422


class TooLarge(Refused):
    """More conditions, or deeper groups, than a segment may have; facts `conditions`, `depth`."""

    code = "segments.too_large"
    status = 422

    def __init__(self) -> None:
        super().__init__(conditions=MAX_CONDITIONS, depth=MAX_DEPTH)


@dataclass(frozen=True)
class Around:
    """What conditions are read against."""

    now: datetime
    tz: ZoneInfo
    vault: Vault | None = None


Make = Callable[[Tree, Around], ColumnElement[bool]]


@dataclass(frozen=True)
class Field:
    """One thing that can be asked of a member."""

    kind: Kind
    make: Make
    #: The values there are; empty where they are the shop's own or free.
    choices: tuple[str, ...] = ()
    #: Asks the row of `members`, not only their totals.
    is_of_member: bool = False
    #: Money: a number of satang, shown and typed in baht.
    is_money: bool = False


# --- Moments on the shop's wall clock -----------------------------------------------------------


class _LocalHour(FunctionElement[int]):
    """The hour of a moment on the wall clock of a zone."""

    type = Integer()
    name = "local_hour"
    inherit_cache = True


@compiles(_LocalHour, "postgresql")
def _hour_on_postgres(element: _LocalHour, compiler: Any, **more: Any) -> str:
    moment, zone, _ = element.clauses
    return (
        f"EXTRACT(HOUR FROM timezone({compiler.process(zone, **more)},"
        f" {compiler.process(moment, **more)}))"
    )


@compiles(_LocalHour, "sqlite")
def _hour_on_sqlite(element: _LocalHour, compiler: Any, **more: Any) -> str:
    moment, _, shift = element.clauses
    return (
        f"CAST(strftime('%H', {compiler.process(moment, **more)},"
        f" {compiler.process(shift, **more)}) AS INTEGER)"
    )


class _Weekday(FunctionElement[int]):
    """The weekday of a local day; 0 is Monday."""

    type = Integer()
    name = "weekday_of"
    inherit_cache = True


@compiles(_Weekday, "postgresql")
def _weekday_on_postgres(element: _Weekday, compiler: Any, **more: Any) -> str:
    return f"(EXTRACT(ISODOW FROM {compiler.process(element.clauses, **more)}) - 1)"


@compiles(_Weekday, "sqlite")
def _weekday_on_sqlite(element: _Weekday, compiler: Any, **more: Any) -> str:
    day = compiler.process(element.clauses, **more)
    return f"((CAST(strftime('%w', {day}) AS INTEGER) + 6) % 7)"


def _local_hour(column: Any, around: Around) -> Any:
    """On SQLite, which knows no zones, by the zone's distance from UTC today."""
    offset = around.now.astimezone(around.tz).utcoffset() or timedelta()
    shift = f"{int(offset.total_seconds())} seconds"
    return _LocalHour(column, literal(around.tz.key, String), literal(shift, String))


# --- How each kind is asked ---------------------------------------------------------------------


def _choice(column: Any) -> Make:
    def make(node: Tree, around: Around) -> ColumnElement[bool]:
        del around
        is_one: ColumnElement[bool] = column.in_(node["value"])
        return is_one if node["is"] == "one_of" else or_(~is_one, column.is_(None))

    return make


def _number(column: Any) -> Make:
    def make(node: Tree, around: Around) -> ColumnElement[bool]:
        del around
        return _compared(column, node)

    return make


def _compared(column: Any, node: Tree) -> ColumnElement[bool]:
    found: ColumnElement[bool] = (
        column >= node["value"] if node["is"] == "at_least" else column <= node["value"]
    )
    return found


def _moment(column: Any) -> Make:
    def make(node: Tree, around: Around) -> ColumnElement[bool]:
        way = node["is"]
        found: ColumnElement[bool]
        if way in ("known", "never"):
            found = column.is_not(None) if way == "known" else column.is_(None)
            return found
        # Days of the shop: "within 1 day" is today and yesterday, not the last 24 hours.
        edge = start_of_day(
            local_day(around.now, around.tz) - timedelta(days=node["value"]), around.tz
        )
        found = column >= edge if way == "within_days" else column < edge
        return found

    return make


def _flag(condition: Any) -> Make:
    def make(node: Tree, around: Around) -> ColumnElement[bool]:
        del around
        found: ColumnElement[bool] = condition if node["is"] == "yes" else not_(condition)
        return found

    return make


def _of_rows(query: Any, *, is_wanted: bool) -> ColumnElement[bool]:
    """Whether a member is among those ids: a semi-join, or a hash looked up in an `any`."""
    found: ColumnElement[bool] = MemberTotals.member_id.in_(query)
    return found if is_wanted else ~found


def _score(column: Any) -> Make:
    def make(node: Tree, around: Around) -> ColumnElement[bool]:
        del around
        if node["is"] in ("at_least", "at_most"):
            found = _compared(column, node)
            return _of_rows(select(MemberScore.member_id).where(found), is_wanted=True)
        one_of = select(MemberScore.member_id).where(column.in_(node["value"]))
        return _of_rows(one_of, is_wanted=node["is"] == "one_of")

    return make


def _tier(node: Tree, around: Around) -> ColumnElement[bool]:
    del around
    keys = [key for key in node["value"] if key != NONE]
    within = select(MemberTier.member_id).join(Tier, Tier.id == MemberTier.tier_id)
    found: ColumnElement[bool] = (
        _of_rows(within.where(Tier.key.in_(keys)), is_wanted=True) if keys else false()
    )
    if NONE in node["value"]:
        found = or_(found, _of_rows(select(MemberTier.member_id), is_wanted=False))
    return found if node["is"] == "one_of" else not_(found)


def _tags(node: Tree, around: Around) -> ColumnElement[bool]:
    del around
    tagged = select(MemberTag.member_id).where(MemberTag.tag.in_(node["value"]))
    return _of_rows(tagged, is_wanted=node["is"] == "one_of")


def _source(node: Tree, around: Around) -> ColumnElement[bool]:
    del around
    codes = [code for code in node["value"] if code != UNKNOWN]
    found: ColumnElement[bool] = Member.source_code.in_(codes)
    if UNKNOWN in node["value"]:
        found = or_(found, Member.source_code.is_(None))
    return found if node["is"] == "one_of" else not_(func.coalesce(found, false()))


def _consent(node: Tree, around: Around) -> ColumnElement[bool]:
    del around
    given = select(Consent.member_id).where(
        Consent.purpose == Purpose.MARKETING, Consent.withdrawn_at.is_(None)
    )
    return _of_rows(given, is_wanted=node["is"] == "yes")


def _purchases(figure: Any) -> Make:
    def make(node: Tree, around: Around) -> ColumnElement[bool]:
        bills = select(Purchase.member_id).where(Purchase.state != PurchaseState.VOIDED)
        if days := node.get("days"):
            edge = start_of_day(local_day(around.now, around.tz) - timedelta(days=days), around.tz)
            bills = bills.where(Purchase.purchased_at >= edge)
        if branches := node.get("branches"):
            bills = bills.where(
                Purchase.branch_id.in_(select(Branch.id).where(Branch.code.in_(branches)))
            )
        if weekdays := node.get("weekdays"):
            bills = bills.where(_Weekday(Purchase.local_on).in_(weekdays))
        if hours := node.get("hours"):
            hour = _local_hour(Purchase.purchased_at, around)
            bills = bills.where(or_(*(_within(hour, *span) for span in hours)))
        if skus := node.get("skus"):
            items = select(PurchaseItem.purchase_id).where(PurchaseItem.sku.in_(skus))
            bills = bills.where(Purchase.id.in_(items))
        least = node["value"] if node["is"] == "at_least" else node["value"] + 1
        if least > 1 or figure is not _BILLS:
            bills = bills.group_by(Purchase.member_id).having(figure >= least)
        # "At most 2 in 30 days" holds for those with none as well: those without 3 of them.
        if node["is"] == "at_least" and least <= 0:
            return true()
        return _of_rows(bills, is_wanted=node["is"] == "at_least")

    return make


_BILLS = func.count()
_SPENT = func.sum(Purchase.amount_satang - Purchase.returned_satang)


def _within(hour: Any, start: int, end: int) -> ColumnElement[bool]:
    """Hours exclusive at their end; a span that ends before it begins goes on over midnight."""
    if start < end:
        return and_(hour >= start, hour < end)
    return or_(hour >= start, hour < end)


def _stamps(node: Tree, around: Around) -> ColumnElement[bool]:
    del around
    cards = select(StampCard.member_id).where(
        StampCard.state == CardState.OPEN, _compared(StampCard.filled, node)
    )
    return _of_rows(cards, is_wanted=True)


def _stamps_left(node: Tree, around: Around) -> ColumnElement[bool]:
    del around
    left = StampProgram.size - StampCard.filled
    cards = (
        select(StampCard.member_id)
        .join(StampProgram, StampProgram.id == StampCard.program_id)
        .where(StampCard.state == CardState.OPEN, StampCard.filled > 0, _compared(left, node))
    )
    return _of_rows(cards, is_wanted=True)


def _vouchers(node: Tree, around: Around) -> ColumnElement[bool]:
    held = select(Voucher.member_id)
    if state := node.get("state"):
        is_unused = state == VoucherState.ISSUED  # so it is at a till, and if that forgot it
        states = USABLE if is_unused else (VoucherState(state),)
        held = held.where(Voucher.state.in_(states))
    if coupons := node.get("coupons"):
        held = held.where(Voucher.coupon_id.in_(select(Coupon.id).where(Coupon.key.in_(coupons))))
    if days := node.get("days"):
        at = {
            VoucherState.REDEEMED.value: Voucher.redeemed_at,
            VoucherState.EXPIRED.value: Voucher.expires_at,
        }.get(node.get("state", ""), Voucher.issued_at)
        edge = start_of_day(local_day(around.now, around.tz) - timedelta(days=days), around.tz)
        held = held.where(at >= edge)
    return _of_rows(held, is_wanted=node["is"] == "has")


def _campaigns(node: Tree, around: Around) -> ColumnElement[bool]:
    got = (
        select(CampaignRecipient.member_id)
        .join(Message, Message.id == CampaignRecipient.message_id)
        .where(Message.state.in_((MessageState.SENT, MessageState.SENT_UNKNOWN)))
    )
    if ids := node.get("campaigns"):
        got = got.where(CampaignRecipient.campaign_id.in_(ids))
    if days := node.get("days"):
        edge = start_of_day(local_day(around.now, around.tz) - timedelta(days=days), around.tz)
        got = got.where(Message.finished_at >= edge)
    return _of_rows(got, is_wanted=node["is"] == "received")


def _birthday(node: Tree, around: Around) -> ColumnElement[bool]:
    """Birthdays are stored as keyed hashes of month and day: the days meant are hashed too."""
    if around.vault is None:
        return false()
    today = local_day(around.now, around.tz)
    indexes: set[str] = set()
    if node["is"] == "within_days":
        for ahead in range(node["value"] + 1):
            indexes.update(personal.celebrated_on(around.vault, today + timedelta(days=ahead)))
    else:
        months = [today.month] if node["is"] == "this_month" else node["value"]
        for month in months:
            for day in range(1, _LONGEST[month - 1] + 1):
                indexes.update(personal.birthday_indexes(around.vault, month, day))
    agreed = select(Consent.member_id).where(
        Consent.purpose == Purpose.BIRTHDAY, Consent.withdrawn_at.is_not(None)
    )
    again = select(Consent.member_id).where(
        Consent.purpose == Purpose.BIRTHDAY, Consent.withdrawn_at.is_(None)
    )
    is_open = or_(~Member.id.in_(agreed), Member.id.in_(again))
    return and_(Member.birthday_index.in_(sorted(indexes)), is_open)


_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_IS_OPEN_FRIEND = Member.is_following.is_(True)
FIELDS: dict[str, Field] = {
    "totals.stage": Field(Kind.CHOICE, _choice(MemberTotals.stage), tuple(Stage)),
    "totals.level": Field(Kind.CHOICE, _choice(MemberTotals.level), tuple(Level)),
    "tier": Field(Kind.CHOICE, _tier),
    "rfm.group": Field(Kind.CHOICE, _score(MemberScore.rfm_group), tuple(GROUPS)),
    "rfm.recency": Field(Kind.NUMBER, _score(MemberScore.recency)),
    "rfm.frequency": Field(Kind.NUMBER, _score(MemberScore.frequency)),
    "rfm.money": Field(Kind.NUMBER, _score(MemberScore.money)),
    "rfm.spent_365": Field(Kind.NUMBER, _score(MemberScore.spent_365), is_money=True),
    "rfm.clv": Field(Kind.NUMBER, _score(MemberScore.clv_satang), is_money=True),
    "tags": Field(Kind.WORDS, _tags),
    "totals.last_purchase": Field(Kind.MOMENT, _moment(MemberTotals.last_purchase_at)),
    "totals.first_purchase": Field(Kind.MOMENT, _moment(MemberTotals.first_purchase_at)),
    "totals.purchase_count": Field(Kind.NUMBER, _number(MemberTotals.purchase_count)),
    "totals.spent": Field(Kind.NUMBER, _number(MemberTotals.spent_satang), is_money=True),
    "totals.balance": Field(Kind.NUMBER, _number(MemberTotals.balance)),
    "purchases.count": Field(Kind.PURCHASES, _purchases(_BILLS)),
    "purchases.sum": Field(Kind.PURCHASES, _purchases(_SPENT), is_money=True),
    "stamps.filled": Field(Kind.NUMBER, _stamps),
    "stamps.left": Field(Kind.NUMBER, _stamps_left),
    "vouchers": Field(Kind.VOUCHERS, _vouchers),
    "campaigns": Field(Kind.CAMPAIGNS, _campaigns),
    "member.joined": Field(Kind.MOMENT, _moment(Member.joined_at), is_of_member=True),
    "member.wrote": Field(Kind.MOMENT, _moment(Member.last_event_at), is_of_member=True),
    "member.language": Field(
        Kind.CHOICE, _choice(Member.locale), tuple(LOCALES), is_of_member=True
    ),
    "member.following": Field(Kind.FLAG, _flag(_IS_OPEN_FRIEND), is_of_member=True),
    "member.phone_proven": Field(
        Kind.FLAG, _flag(Member.phone_proven_at.is_not(None)), is_of_member=True
    ),
    "member.tester": Field(Kind.FLAG, _flag(Member.is_test.is_(True)), is_of_member=True),
    "source": Field(Kind.WORDS, _source, is_of_member=True),
    "birthday": Field(Kind.BIRTHDAY, _birthday, is_of_member=True),
    "consent": Field(Kind.FLAG, _consent),
}
VOUCHER_STATES = tuple(state.value for state in VoucherState if state != VoucherState.HELD)


# --- Checking -----------------------------------------------------------------------------------


def check(tree: Any) -> None:
    """Refuse whatever is no tree of known conditions, at the save and not at the send."""
    if not isinstance(tree, dict):
        raise Malformed(field="")
    count = 0
    for node, depth in _walk(tree):
        if depth > MAX_DEPTH:
            raise TooLarge
        if "field" in node:
            count += 1
            _check_condition(node)
        else:
            _check_group(node)
        if count > MAX_CONDITIONS:
            raise TooLarge
    if len(json.dumps(tree)) > MAX_CONDITIONS * MAX_VALUES * MAX_LETTERS:
        raise TooLarge


def _walk(tree: Any) -> Iterator[tuple[Tree, int]]:
    """Every node with its depth, without recursion: a hostile tree costs no stack."""
    waiting: list[tuple[Any, int]] = [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        if not isinstance(node, dict):
            raise Malformed(field="")
        yield node, depth
        for name in ("all", "any"):
            if name in node and "field" not in node:
                waiting += [(child, depth + 1) for child in node[name]]
        if "not" in node and "field" not in node:
            waiting.append((node["not"], depth + 1))


def _check_group(node: Tree) -> None:
    if len(node) != 1:
        raise Malformed(field=", ".join(sorted(map(str, node)))[:60])
    ((name, inner),) = node.items()
    if name in ("all", "any"):
        if not isinstance(inner, list):
            raise Malformed(field=name)
        if len(inner) > MAX_CONDITIONS:
            raise TooLarge
    elif name != "not":
        raise Malformed(field=str(name)[:60])


def _check_condition(node: Tree) -> None:
    name = node["field"]
    field = FIELDS.get(name) if isinstance(name, str) else None
    if field is None:
        raise Malformed(field=str(name)[:60])

    def refuse() -> NoReturn:
        raise Malformed(field=name)

    way = node.get("is")
    if way not in WAYS[field.kind]:
        refuse()
    allowed = {"field", "is"} | DETAILS.get(field.kind, frozenset())
    if way not in BARE:
        allowed.add("value")
    if not set(node) <= allowed or (way not in BARE and "value" not in node):
        refuse()
    if way not in BARE and not _is_value_fine(field, way, node["value"]):
        refuse()
    if not all(_is_detail_fine(key, node[key]) for key in set(node) - {"field", "is", "value"}):
        refuse()


def _is_value_fine(field: Field, way: str, value: Any) -> bool:
    if way in ("one_of", "none_of"):
        if not _are_words(value) or not value:
            return False
        return not field.choices or set(value) <= set(field.choices)
    if way == "in_months":
        return bool(value) and _are_whole(value, 1, 12)
    if field.kind == Kind.BIRTHDAY:
        return _is_whole(value, 0, 366)
    if field.kind == Kind.MOMENT:
        return _is_whole(value, 0, MAX_DAYS)
    return _is_whole(value, 0, MAX_NUMBER)


def _is_detail_fine(key: str, value: Any) -> bool:
    if key == "days":
        return _is_whole(value, 1, MAX_DAYS)
    if key == "weekdays":
        return _are_whole(value, 0, 6)
    if key == "campaigns":
        return _are_whole(value, 1, 2**62)
    if key == "hours":
        return (
            isinstance(value, list)
            and len(value) <= 24
            and all(isinstance(span, list) and len(span) == 2 for span in value)
            and all(_is_whole(a, 0, 23) and _is_whole(b, 0, 24) and a != b for a, b in value)
        )
    if key == "state":
        return value in VOUCHER_STATES
    return _are_words(value)


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _are_whole(values: Any, least: int, most: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= MAX_VALUES
        and all(_is_whole(value, least, most) for value in values)
    )


def _are_words(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= MAX_VALUES
        and all(
            isinstance(word, str) and 0 < len(word) <= MAX_LETTERS and "\x00" not in word
            for word in values
        )
    )


# --- Asking -------------------------------------------------------------------------------------


def where(
    tree: Tree, now: datetime, tz: ZoneInfo, vault: Vault | None = None
) -> ColumnElement[bool]:
    """The condition over `Member` joined to `MemberTotals`. Birthdays need the vault's keys."""
    return _compile(tree, Around(now, tz, vault))


def _compile(node: Tree, around: Around) -> ColumnElement[bool]:
    if "field" in node:
        return FIELDS[node["field"]].make(node, around)
    if "not" in node:
        # What is not known is not so: nobody without a purchase bought within 30 days.
        return not_(func.coalesce(_compile(node["not"], around), false()))
    name = "all" if "all" in node else "any"
    parts = [_compile(child, around) for child in node[name]]
    if not parts:
        return true()
    return and_(*parts) if name == "all" else or_(*parts)


def _asks_member(tree: Tree) -> bool:
    return any("field" in node and FIELDS[node["field"]].is_of_member for node, _ in _walk(tree))


def _around(session: Session, now: datetime, tz: ZoneInfo) -> Around:
    return Around(now, tz, session.info.get("vault"))


#: Who can be in a segment at all.
IS_THERE = Member.state.in_((MemberState.MEMBER, MemberState.FRIEND))


def count(session: Session, tree: Tree, now: datetime, tz: ZoneInfo) -> int:
    """How many people a segment holds now.

    Without a question about the person's own row only totals are read, and the few who are gone
    are taken off: a million members are counted in a fraction of a second.
    """
    make_room(session)
    condition = _compile(tree, _around(session, now, tz))
    query = select(func.count()).select_from(MemberTotals)
    if _asks_member(tree):
        query = query.join(Member, Member.id == MemberTotals.member_id).where(IS_THERE, condition)
    else:
        gone = select(Member.id).where(IS_GONE)
        query = query.where(condition, MemberTotals.member_id.not_in(gone))
    return session.scalar(query) or 0


def members(
    session: Session, tree: Tree, now: datetime, tz: ZoneInfo, after_id: int, limit: int
) -> list[int]:
    """The next ids of a segment, in order."""
    return list(
        session.scalars(
            ids_of(session, tree, now, tz)
            .where(Member.id > after_id)
            .order_by(Member.id)
            .limit(limit)
        )
    )


def ids_of(session: Session, tree: Tree, now: datetime, tz: ZoneInfo) -> Any:
    """A select of the ids of everybody in a segment, to be narrowed further."""
    make_room(session)
    return (
        select(Member.id)
        .join(MemberTotals, MemberTotals.member_id == Member.id)
        .where(IS_THERE, _compile(tree, _around(session, now, tz)))
    )


def includes(session: Session, tree: Tree, member_id: int, now: datetime, tz: ZoneInfo) -> bool:
    """Whether one member is in a segment now."""
    query = (
        select(Member.id)
        .join(MemberTotals, MemberTotals.member_id == Member.id)
        .where(Member.id == member_id, IS_THERE, _compile(tree, _around(session, now, tz)))
    )
    return session.scalar(query) is not None


def make_room(session: Session) -> None:
    """Memory for this transaction's big questions (PostgreSQL)."""
    if not is_sqlite(session):
        session.execute(ROOM)


# --- Saved segments -----------------------------------------------------------------------------


def create(session: Session, name: str, tree: Tree, *, made_by: str, now: datetime) -> Segment:
    """Save a new segment."""
    check(tree)
    segment = Segment(name=name, current_version=1, created_at=now)
    session.add(segment)
    session.flush()
    session.add(
        SegmentVersion(
            segment_id=segment.id, version=1, tree=dict(tree), made_by=made_by, made_at=now
        )
    )
    session.flush()
    return segment


def save(
    session: Session, segment: Segment, name: str, tree: Tree, *, made_by: str, now: datetime
) -> int:
    """Keep another version if the conditions changed; returns the current version's number."""
    check(tree)
    session.refresh(segment, with_for_update=True)
    segment.name = name
    if tree_of(session, segment.id) != tree:
        segment.current_version += 1
        session.add(
            SegmentVersion(
                segment_id=segment.id, version=segment.current_version, tree=dict(tree),
                made_by=made_by, made_at=now,
            )
        )  # fmt: skip
    session.flush()
    return segment.current_version


def tree_of(session: Session, segment_id: int, version: int | None = None) -> dict[str, Any]:
    """The conditions of a segment, of its current version unless told otherwise."""
    query = select(SegmentVersion.tree).where(SegmentVersion.segment_id == segment_id)
    if version is not None:
        query = query.where(SegmentVersion.version == literal(version, BigInteger))
    tree: dict[str, Any] | None = session.scalar(
        query.order_by(SegmentVersion.version.desc()).limit(1)
    )
    if tree is None:
        raise NotFound
    return tree


#: Segments to start from: name key -> conditions.
READY: dict[str, Tree] = {
    "vip_silent": {
        "all": [
            {"field": "totals.level", "is": "one_of", "value": ["vip"]},
            {"field": "totals.last_purchase", "is": "before_days", "value": 30},
        ]
    },
    "never_bought": {
        "all": [
            {"field": "totals.stage", "is": "one_of", "value": ["consideration"]},
            {"field": "totals.purchase_count", "is": "at_most", "value": 0},
        ]
    },
    "birthday_month": {"all": [{"field": "birthday", "is": "this_month"}]},
    "slipping": {
        "any": [
            {"field": "totals.level", "is": "one_of", "value": ["at_risk", "inactive"]},
            {"field": "totals.last_purchase", "is": "before_days", "value": 60},
        ]
    },
    "stamps_nearly": {"all": [{"field": "stamps.left", "is": "at_most", "value": 2}]},
    "unused_voucher": {"all": [{"field": "vouchers", "is": "has", "state": "issued"}]},
    "bought_once": {
        "all": [
            {"field": "totals.stage", "is": "one_of", "value": ["purchase"]},
            {"field": "totals.first_purchase", "is": "within_days", "value": 60},
        ]
    },
    "everybody": EVERYBODY,
}
