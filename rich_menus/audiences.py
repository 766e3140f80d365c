"""Who sees which menu: rules over rows of members, asked as one SQL expression.

A rule is `{"state": "friend" | "member", "tiers": [...], "stages": [...], "levels": [...],
"locales": [...], "tags": [...], "override": name}`. The lists narrow the state, each to any of its
values. `override` is the name under which staff, or a journey, set the menu for one member; that
goes before every rule, then a tier's own menu, then the rules by priority, then the default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import String, and_, case, cast, func, literal, select
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement

from core.errors import Invalid
from models.members import Level, Member, MemberState, MemberTotals, Stage
from models.menus import Menu
from models.segments import MemberTag
from models.stamps import CardState, StampCard, StampProgram
from models.tiers import MemberTier, Tier
from rich_menus.definitions import LOCALES, SHOWS_STAMPS, SHOWS_TIER

STATES = (MemberState.FRIEND.value, MemberState.MEMBER.value)
LISTS = ("tiers", "stages", "levels", "locales", "tags")
#: Lists that only say something of members.
OF_MEMBERS = ("tiers", "stages", "levels", "tags")
MAX_VALUES = 50
MAX_LETTERS = 64
#: Standing in no tier.
NO_TIER = "none"
SAMPLE = 8
_NAME = re.compile(r"^[a-z0-9_]{1,32}$")
Rule = Mapping[str, Any]


@dataclass(frozen=True)
class Offer:
    """One menu that takes part: published, or the default that everybody else sees."""

    key: str
    audience: Rule
    priority: int
    is_default: bool
    living: str | None


@dataclass(frozen=True)
class Sight:
    """Everything that decides who sees what, read once."""

    offers: Sequence[Offer]
    #: Tier id -> key of the menu that is its own.
    own: Mapping[int, str]

    @property
    def default_key(self) -> str:
        return next((one.key for one in self.offers if one.is_default), "")

    def asks(self, *names: str) -> bool:
        """Whether any rule has one of these lists."""
        return any(one.audience.get(name) for one in self.offers for name in names)


def sight(session: Session) -> Sight:
    """The menus that take part now, and the tiers with one of their own."""
    rows = session.scalars(select(Menu).where(Menu.archived_at.is_(None)).order_by(Menu.priority))
    offers = [offer_of(row) for row in rows if row.is_default or row.published_version is not None]
    known = {one.key for one in offers}
    own = {
        tier.id: str(tier.benefits["menu"])
        for tier in session.scalars(select(Tier).where(Tier.is_on))
        if tier.benefits.get("menu") in known
    }
    return Sight(offers, own)


def offer_of(menu: Menu) -> Offer:
    """A menu as the rules see it."""
    return Offer(menu.key, menu.audience, menu.priority, menu.is_default, menu.living)


def with_offer(before: Sight, changed: Offer) -> Sight:
    """How it would be with one menu changed, or taking part for the first time."""
    others = [one for one in before.offers if one.key != changed.key]
    offers = sorted([*others, changed], key=lambda one: one.priority)
    return replace(before, offers=offers)


# --- Rules as they are written ------------------------------------------------------------------
def checked(given: Rule) -> dict[str, Any]:
    """Read a rule, with nothing in it that is unknown or says nothing. Refuses anything else."""
    found: dict[str, Any] = {}
    state = given.get("state")
    if state is not None:
        if state not in STATES:
            raise Invalid("errors.invalid_field", field="state")
        found["state"] = state
    for name in LISTS:
        values = list(dict.fromkeys(given.get(name) or ()))
        if len(values) > MAX_VALUES or not all(_may_be(name, value) for value in values):
            raise Invalid("errors.invalid_field", field=name)
        if values:
            found[name] = values
    override = given.get("override")
    if override is not None:
        if not isinstance(override, str) or not _NAME.match(override):
            raise Invalid("errors.invalid_field", field="override")
        found["override"] = override
    if state != MemberState.MEMBER and any(name in found for name in OF_MEMBERS):
        raise Invalid("menus.audience_of_members")
    if state is None and "locales" in found:
        raise Invalid("menus.audience_of_members")
    return found


def _may_be(name: str, value: Any) -> bool:
    choices: dict[str, Iterable[str]] = {"stages": Stage, "levels": Level, "locales": LOCALES}
    if not isinstance(value, str) or not 0 < len(value) <= MAX_LETTERS:
        return False
    return name not in choices or value in set(choices[name])


# --- Rules as they are asked --------------------------------------------------------------------
def menu_of(seen: Sight) -> ColumnElement[str]:
    """The key of the menu that a row of `members` should see."""
    return _first_fitting(seen, lambda offer: literal(offer.key))


def link_of(seen: Sight) -> ColumnElement[str]:
    """What a row of `members` should be linked to: `<menu>:<locale>`, and `:<variant>` if living."""
    return _first_fitting(seen, _link)


def _link(offer: Offer) -> ColumnElement[str]:
    plain = literal(f"{offer.key}:") + Member.locale
    variant = _variant(offer.living)
    return plain if variant is None else plain + func.coalesce(literal(":") + variant, "")


def _first_fitting(seen: Sight, value: Callable[[Offer], ColumnElement[str]]) -> ColumnElement[str]:
    """1. Who blocks the account sees the default. 2. A menu set by hand. 3. The tier's own.
    4. The rules, lowest priority first. 5. The default."""
    is_member = Member.state == MemberState.MEMBER
    default = next((one for one in seen.offers if one.is_default), None)
    usual = value(default) if default is not None else literal(":") + Member.locale
    by_key = {one.key: one for one in seen.offers}
    whens: list[tuple[Any, Any]] = [(Member.is_following.is_(False), usual)]
    whens += [
        (and_(is_member, Member.menu_override == offer.audience["override"]), value(offer))
        for offer in seen.offers
        if offer.audience.get("override")
    ]
    for tier_id, key in seen.own.items():
        stands = select(MemberTier.member_id).where(
            MemberTier.member_id == Member.id, MemberTier.tier_id == tier_id
        )
        whens.append((and_(is_member, stands.exists()), value(by_key[key])))
    whens += [
        (fits(offer.audience), value(offer))
        for offer in seen.offers
        if offer.audience.get("state") and not offer.is_default
    ]
    return case(*whens, else_=usual)


def fits(rule: Rule) -> ColumnElement[bool]:
    """Whether a row of `members` has the state of a rule and fits each of its lists."""
    conditions = [Member.state == MemberState(rule["state"])]
    if rule.get("locales"):
        conditions.append(Member.locale.in_(rule["locales"]))
    for name, column in (("stages", MemberTotals.stage), ("levels", MemberTotals.level)):
        if rule.get(name):
            stands = select(MemberTotals.member_id).where(
                MemberTotals.member_id == Member.id, column.in_(rule[name])
            )
            conditions.append(stands.exists())
    if rule.get("tags"):
        carries = select(MemberTag.member_id).where(
            MemberTag.member_id == Member.id, MemberTag.tag.in_(rule["tags"])
        )
        conditions.append(carries.exists())
    if rule.get("tiers"):
        conditions.append(_in_tiers(rule["tiers"]))
    return and_(*conditions)


def _in_tiers(keys: Sequence[str]) -> ColumnElement[bool]:
    stands = (
        select(MemberTier.member_id)
        .join(Tier, Tier.id == MemberTier.tier_id)
        .where(MemberTier.member_id == Member.id, Tier.is_on)
    )
    is_one = stands.where(Tier.key.in_(keys)).exists()
    return is_one | ~stands.exists() if NO_TIER in keys else is_one


def _variant(living: str | None) -> ColumnElement[str] | None:
    """The picture of a living menu for a member: `s6`, `t3`; NULL where the plain one is right."""
    if living is None:
        return None
    if living == SHOWS_TIER:
        return (
            select(literal("t") + cast(MemberTier.tier_id, String))
            .join(Tier, Tier.id == MemberTier.tier_id)
            .where(MemberTier.member_id == Member.id, Tier.is_on)
            .scalar_subquery()
        )
    # A card of an earlier version of the programme may have another size.
    filled = (
        select(func.max(StampCard.filled))
        .join(StampProgram, StampProgram.id == StampCard.program_id)
        .where(
            StampCard.member_id == Member.id,
            StampCard.program_key == living.removeprefix(SHOWS_STAMPS),
            StampCard.state == CardState.OPEN,
            StampProgram.is_current,
        )
        .scalar_subquery()
    )
    return literal("s") + cast(func.coalesce(filled, 0), String)


# --- Who would see this -------------------------------------------------------------------------
@dataclass(frozen=True)
class Seen:
    """How many people would see a menu, and some of them."""

    count: int
    people: Sequence[Member]


def who_sees(session: Session, seen: Sight, key: str) -> Seen:
    """Everybody whose menu this would be, of those who can see one at all."""
    would = [_is_reached(), menu_of(seen) == key]
    count = session.scalar(select(func.count()).select_from(Member).where(*would)) or 0
    people = session.scalars(
        select(Member)
        .where(*would)
        .order_by(Member.last_event_at.desc().nulls_last(), Member.id)
        .limit(SAMPLE)
    ).all()
    return Seen(count, people)


def counts(session: Session, seen: Sight) -> dict[str, int]:
    """How many people see each menu."""
    key = menu_of(seen).label("key")
    rows = session.execute(
        select(key, func.count()).select_from(Member).where(_is_reached()).group_by(key)
    )
    return {str(name): int(count) for name, count in rows}


def _is_reached() -> ColumnElement[bool]:
    return and_(
        Member.line_user_id.is_not(None),
        Member.is_following.is_(True),
        Member.state.in_((MemberState.FRIEND, MemberState.MEMBER)),
    )
