"""What a bill earns beyond its base points: multipliers and bonuses in an explicit order (P3).

Every multiplier acts on the *base* points, by itself, and is floored; bonuses come on top. The
order is the tier's multiplier, then the rules by position and number: it decides who gets the
last points of a cap, and how the bill tells its story. `decide` is pure; around it are the looks
at the member and the guarded taking of what a cap still holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from typing import Any, Protocol

from sqlalchemy import and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.orm import Session

from core.clock import is_within_week
from core.crypto import Vault
from core.errors import Invalid, Refused
from core.sabotage import is_sabotaged
from loyalty import consents, earning, personal, points, tombstones
from models.base import table_of
from models.earn_rules import EarnRule, EarnRuleAward, EarnRuleKind, Product
from models.members import Member, Purpose
from models.tiers import Tier

RULES = table_of(EarnRule)
AWARDS = table_of(EarnRuleAward)
PRODUCTS = table_of(Product)
#: What `conditions` may say. All that are given must hold.
CONDITIONS = (
    "weekdays",
    "hours",
    "branches",
    "levels",
    "tiers",
    "skus",
    "labels",
    "min_satang",
    "first_purchase",
    "birthday_month",
)
#: The story's name for what the tier's own multiplier added.
TIER = "tier"
#: A birthday changed this recently brings nothing (J4).
CHANGED_BIRTHDAY_DAYS = 30


class Item(Protocol):
    """A line of a bill, as far as rules care."""

    @property
    def sku(self) -> str: ...
    @property
    def amount_satang(self) -> int: ...


@dataclass(frozen=True)
class Rule:
    """A rule as it is in force; read once in a session."""

    id: int
    key: str
    kind: EarnRuleKind
    name_th: str
    name_en: str
    percent: int | None
    bonus_points: int | None
    conditions: Mapping[str, Any]
    starts_on: date | None
    ends_on: date | None
    per_member_cap: int | None
    total_cap: int | None
    ended_at: datetime | None

    def asks(self, name: str) -> bool:
        """Whether this condition was given."""
        return bool(self.conditions.get(name))


@dataclass(frozen=True)
class Line:
    """A line of the bill with the label of its product, where the shop has told us."""

    sku: str
    label: str | None
    amount_satang: int


@dataclass(frozen=True)
class Bill:
    """What rules look at. `at` is on the shop's wall clock."""

    base: int
    amount_satang: int
    at: datetime
    branch: str
    lines: Sequence[Line] = ()
    level: str | None = None
    tier: str | None = None
    tier_names: tuple[str, str] = ("", "")
    tier_percent: int = 100
    is_first: bool = False
    is_birthday_month: bool = False


@dataclass(frozen=True)
class Extra:
    """What one rule adds to a bill. `rule` is None for the tier's own multiplier."""

    key: str
    name_th: str
    name_en: str
    points: int
    rule: Rule | None = None

    def as_facts(self) -> dict[str, Any]:
        """As the ledger entry and the timeline keep it."""
        return {"key": self.key, "th": self.name_th, "en": self.name_en, "points": self.points}


# --- The decision: pure ---------------------------------------------------------------------------


def decide(rules: Iterable[Rule], bill: Bill, left: Mapping[int, int]) -> list[Extra]:
    """What the tier and each rule add to this bill, in order.

    `left` says how many points the caps of a rule still allow; a rule not in it has no caps.
    """
    extras = []
    if added := earning.multiplied(bill.base, bill.tier_percent):
        extras.append(Extra(TIER, *bill.tier_names, added))
    for rule in rules:
        if applies(rule, bill):
            added = _adds(rule, bill)
            if rule.id in left:
                added = min(added, left[rule.id])
            if added > 0:
                extras.append(Extra(rule.key, rule.name_th, rule.name_en, added, rule))
    return extras


def applies(rule: Rule, bill: Bill) -> bool:
    """Whether every condition of a rule holds for this bill."""
    day = bill.at.date()
    if (rule.starts_on and day < rule.starts_on) or (rule.ends_on and day > rule.ends_on):
        return False
    if rule.ended_at is not None and rule.ended_at <= bill.at:
        return False
    asked = rule.conditions
    checks: dict[str, Callable[[], bool]] = {
        "branches": lambda: bill.branch in asked["branches"],
        "levels": lambda: bill.level in asked["levels"],
        "tiers": lambda: bill.tier in asked["tiers"],
        "min_satang": lambda: bill.amount_satang >= asked["min_satang"],
        "first_purchase": lambda: bill.is_first,
        "birthday_month": lambda: bill.is_birthday_month,
    }
    if not is_within_week(bill.at, asked.get("weekdays", ()), asked.get("hours", ())):
        return False
    if any(rule.asks(name) and not holds() for name, holds in checks.items()):
        return False
    return not _is_about_products(rule) or any(_matches(rule, line) for line in bill.lines)


def _adds(rule: Rule, bill: Bill) -> int:
    if rule.kind == EarnRuleKind.BONUS:
        return rule.bonus_points or 0
    base = bill.base
    if _is_about_products(rule):
        matched = sum(line.amount_satang for line in bill.lines if _matches(rule, line))
        lines = sum(line.amount_satang for line in bill.lines)
        base = earning.share_of(base, matched, lines, bill.amount_satang)
    return earning.multiplied(base, rule.percent or 100)


def _is_about_products(rule: Rule) -> bool:
    return rule.asks("skus") or rule.asks("labels")


def _matches(rule: Rule, line: Line) -> bool:
    return (not rule.asks("skus") or line.sku in rule.conditions["skus"]) and (
        not rule.asks("labels") or line.label in rule.conditions["labels"]
    )


# --- Looking: what is in force, and what the bill is about ------------------------------------------

_RULES = select(
    RULES.c.id,
    RULES.c.key,
    RULES.c.kind,
    RULES.c.name_th,
    RULES.c.name_en,
    RULES.c.percent,
    RULES.c.bonus_points,
    RULES.c.conditions,
    RULES.c.starts_on,
    RULES.c.ends_on,
    RULES.c.per_member_cap,
    RULES.c.total_cap,
    RULES.c.ended_at,
).order_by(RULES.c.position, RULES.c.id)


def in_force(session: Session, at: datetime) -> list[Rule]:
    """The rules that are switched on and hold on the day of `at` (shop's wall clock), in order.

    A bill that comes late is judged by the rules of its own moment: one that ended since counts.
    """
    day = at.date()
    known: dict[date, list[Rule]] = session.info.setdefault("earn_rules", {})
    if day not in known:
        rows = session.execute(
            _RULES.where(
                RULES.c.is_on,
                or_(RULES.c.starts_on.is_(None), RULES.c.starts_on <= day),
                or_(RULES.c.ends_on.is_(None), RULES.c.ends_on >= day),
            )
        )
        known[day] = [Rule(**row._asdict()) for row in rows]
    return [rule for rule in known[day] if rule.ended_at is None or rule.ended_at > at]


def extras_for(
    session: Session,
    member: Member,
    *,
    base: int,
    amount_satang: int,
    at: datetime,
    branch: str,
    items: Sequence[Item],
    level: str | None,
    is_first: bool,
    tier: Tier | None,
) -> list[Extra]:
    """What tier and rules add to a bill, their caps taken. `at` is on the shop's wall clock.

    The member's lock is held, so that what the member has had of a rule stands still; what a rule
    may still give to anybody is taken by one guarded update each, in the order of the rules.
    """
    rules = in_force(session, at)
    if not rules and tier is None:
        return []
    bill = Bill(
        base=base,
        amount_satang=amount_satang,
        at=at,
        branch=branch,
        lines=lines_of(session, items) if items else (),
        level=level,
        tier=tier.key if tier else None,
        tier_names=(tier.name_th, tier.name_en) if tier else ("", ""),
        tier_percent=tier.earn_percent if tier else 100,
        is_first=is_first
        and _asked(rules, "first_purchase")
        and not tombstones.has_come_back(session, member, at),
        is_birthday_month=_asked(rules, "birthday_month") and _celebrates(session, member, at),
    )
    extras = decide(rules, bill, _left_of_member(session, rules, bill, member.id))
    return [taken for extra in extras if (taken := _take(session, extra)).points]


def _asked(rules: Iterable[Rule], name: str) -> bool:
    return any(rule.asks(name) for rule in rules)


def lines_of(session: Session, items: Sequence[Item]) -> list[Line]:
    """The lines of a bill with the labels of the products they sell."""
    labels = {
        row.sku: row.label
        for row in session.execute(
            select(PRODUCTS.c.sku, PRODUCTS.c.label).where(
                PRODUCTS.c.sku.in_({item.sku for item in items}), PRODUCTS.c.is_active
            )
        )
    }
    return [Line(item.sku, labels.get(item.sku), item.amount_satang) for item in items]


def _vault(session: Session) -> Vault | None:
    vault: Vault | None = session.info.get("vault")
    return vault


def _celebrates(session: Session, member: Member, at: datetime) -> bool:
    """Whether the bill falls into the member's birthday month, known for 30 days or more."""
    vault = _vault(session)
    if vault is None or member.birthday_sealed is None:
        return False
    changed = member.birthday_changed_at
    if changed is not None and (at - changed).days < CHANGED_BIRTHDAY_DAYS:
        return False
    if consents.was_withdrawn(session, member.id, Purpose.BIRTHDAY):
        return False
    birthday = personal.birthday_of(session, vault, member)
    return birthday is not None and birthday.month == at.month


# --- Caps -------------------------------------------------------------------------------------------


def _left_of_member(
    session: Session, rules: Iterable[Rule], bill: Bill, member_id: int
) -> dict[int, int]:
    """What the rules with a cap per member may still give to this one."""
    capped = {
        rule.id: rule.per_member_cap
        for rule in rules
        if rule.per_member_cap is not None and applies(rule, bill)
    }
    if not capped or is_sabotaged("earn_rules.member_cap"):
        return {}
    had = select(AWARDS.c.rule_id, func.sum(AWARDS.c.kept_points).label("points")).where(
        AWARDS.c.member_id == member_id, AWARDS.c.rule_id.in_(capped)
    )
    given = {
        row.rule_id: int(row.points) for row in session.execute(had.group_by(AWARDS.c.rule_id))
    }
    return {rule_id: max(0, cap - given.get(rule_id, 0)) for rule_id, cap in capped.items()}


_GIVE = (
    update(RULES)
    .where(
        RULES.c.id == bindparam("rule"),
        RULES.c.given_points + bindparam("by") <= RULES.c.total_cap,
    )
    .values(given_points=RULES.c.given_points + bindparam("by"))
    .execution_options(synchronize_session=False)
)
_GIVE_BLINDLY = (
    update(RULES)
    .where(RULES.c.id == bindparam("rule"))
    .values(given_points=RULES.c.given_points + bindparam("by"))
    .execution_options(synchronize_session=False)
)


def _take(session: Session, extra: Extra) -> Extra:
    """Take an award from its rule's total cap: all of it, else what is left, else nothing.

    Rules without a total cap are not counted on their row: all bills of the shop would queue for
    it. What those have given is the sum of their awards.
    """
    rule = extra.rule
    if rule is None or rule.total_cap is None:
        return extra
    if _give(session, rule.id, extra.points):
        return extra
    left = session.scalar(
        select(RULES.c.total_cap - RULES.c.given_points)
        .where(RULES.c.id == rule.id)
        .with_for_update()  # nobody takes the rest between this look and the next statement
    )
    rest = min(extra.points, max(0, int(left or 0)))
    if not rest or not _give(session, rule.id, rest):
        rest = 0
    return Extra(extra.key, extra.name_th, extra.name_en, rest, rule)


def _give(session: Session, rule_id: int, by: int) -> bool:
    statement = _GIVE_BLINDLY if is_sabotaged("earn_rules.total_cap") else _GIVE
    done: Any = session.connection().execute(statement, {"rule": rule_id, "by": by})
    return bool(done.rowcount)


def write_awards(
    session: Session, extras: Iterable[Extra], *, member_id: int, purchase_id: int
) -> None:
    """Keep what each rule added to a bill."""
    rows = [
        {
            "rule_id": extra.rule.id,
            "member_id": member_id,
            "purchase_id": purchase_id,
            "points": extra.points,
            "kept_points": extra.points,
        }
        for extra in extras
        if extra.rule is not None
    ]
    if rows:
        session.execute(insert(AWARDS), rows)


def take_back(session: Session, purchase_id: int, amount_satang: int, returned_satang: int) -> None:
    """Let every award of a bill keep its share of what stays bought (P6).

    What it gives up can be given to others again, also by the rule's caps. The member's lock is
    held; rules are taken in the order in which bills take them.
    """
    rows = session.execute(
        select(
            AWARDS.c.id,
            AWARDS.c.rule_id,
            AWARDS.c.points,
            AWARDS.c.kept_points,
            RULES.c.total_cap,
        )
        .join(RULES, RULES.c.id == AWARDS.c.rule_id)
        .where(AWARDS.c.purchase_id == purchase_id)
        .order_by(RULES.c.position, RULES.c.id)
    ).all()
    for row in rows:
        kept = earning.kept_points(row.points, amount_satang, returned_satang)
        if kept == row.kept_points:
            continue
        session.execute(update(AWARDS).where(AWARDS.c.id == row.id).values(kept_points=kept))
        if row.total_cap is not None:
            session.execute(
                update(RULES)
                .where(RULES.c.id == row.rule_id)
                .values(given_points=RULES.c.given_points - (row.kept_points - kept))
            )


def check_awards(session: Session) -> list[points.Difference]:
    """Every counted rule's sum against its awards. Reads only."""
    session.flush()  # the check reads by plain statements
    return [
        points.Difference("earn_rules.given", row.id, int(row.given), row.given_points)
        for row in session.execute(_wrong_sums())
    ]


@cache
def _wrong_sums() -> Any:
    kept = select(AWARDS.c.rule_id, func.sum(AWARDS.c.kept_points).label("points"))
    sums = kept.group_by(AWARDS.c.rule_id).subquery()
    given = func.coalesce(sums.c.points, 0)
    return (
        select(RULES.c.id, RULES.c.given_points, given.label("given"))
        .outerjoin(sums, sums.c.rule_id == RULES.c.id)
        .where(RULES.c.total_cap.is_not(None), RULES.c.given_points != given)
    )


# --- The owner's hand -------------------------------------------------------------------------------


def create(session: Session, rule: EarnRule, *, today: date) -> EarnRule:
    """Add a rule. It never reaches back: bills of days before it was made stay as they are."""
    if rule.starts_on is None:
        rule.starts_on = today
    if rule.starts_on < today:
        raise Refused("earn_rules.starts_in_past")
    if rule.ends_on is not None and rule.ends_on < rule.starts_on:
        raise Invalid("coupons.ends_before_start")
    assert set(rule.conditions or {}) <= set(CONDITIONS)
    if session.scalar(select(RULES.c.id).where(RULES.c.key == rule.key)) is not None:
        raise Refused("earn_rules.key_taken")
    session.add(rule)
    session.flush()  # the next look in this transaction sees it
    forget(session)
    return rule


def end(session: Session, rule_id: int, now: datetime) -> None:
    """End a rule for good. What it gave stays; a new rule may follow it."""
    session.execute(
        update(RULES).where(RULES.c.id == rule_id, RULES.c.ended_at.is_(None)).values(ended_at=now)
    )
    forget(session)


def switch(session: Session, rule_id: int, *, is_on: bool) -> None:
    """Switch a rule off for a while, or on again. Refused once it has ended."""
    done: Any = session.execute(
        update(RULES).where(RULES.c.id == rule_id, RULES.c.ended_at.is_(None)).values(is_on=is_on)
    )
    if not done.rowcount:
        raise Refused("earn_rules.has_ended")
    forget(session)


def forget(session: Session) -> None:
    """Let the next bill of this session read the rules again."""
    session.info.pop("earn_rules", None)


def given_by(session: Session) -> dict[int, int]:
    """What each rule has given so far, less what was returned."""
    rows = session.execute(
        select(AWARDS.c.rule_id, func.sum(AWARDS.c.kept_points).label("points")).group_by(
            AWARDS.c.rule_id
        )
    )
    return {row.rule_id: int(row.points) for row in rows}


def preview(session: Session, bill: Bill) -> list[Extra]:
    """What a bill would earn on top of its base now, for a member who had nothing of any rule."""
    rules = in_force(session, bill.at)
    left = {
        row.id: max(0, int(row.left))
        for row in session.execute(
            select(
                RULES.c.id,
                case(
                    (
                        and_(
                            RULES.c.per_member_cap.is_not(None),
                            RULES.c.per_member_cap < RULES.c.total_cap - RULES.c.given_points,
                        ),
                        RULES.c.per_member_cap,
                    ),
                    else_=RULES.c.total_cap - RULES.c.given_points,
                ).label("left"),
            ).where(RULES.c.total_cap.is_not(None))
        )
    }
    left |= {
        rule.id: rule.per_member_cap
        for rule in rules
        if rule.per_member_cap is not None and rule.id not in left
    }
    return decide(rules, bill, left)
