"""One member's recorded past, lived through once more under given rules. Pure: nothing is read.

Points, carry, multipliers, tiers and expiry are the rules' own functions; only the order of things
and the taking of points from lots are put together here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from core.clock import local_day
from loyalty import earn_rules, earning
from loyalty.earn_rules import Line, Rule
from loyalty.tiers import figures
from loyalty.tiers.ladder import Basis, Fall, highest_below
from loyalty.tiers.ladder import Rules as TierRules
from models.points import EarnPolicy
from models.tiers import Tier


@dataclass(frozen=True)
class Bill:
    """A bill that stands, less what was returned of it."""

    at: datetime
    satang: int
    branch: str
    is_first: bool = False
    lines: tuple[Line, ...] = ()


@dataclass
class Lot:
    """Points that were there, or come with time."""

    at: datetime
    points: int
    expires_at: datetime | None

    def is_good(self, at: datetime) -> bool:
        """Whether points of it can be used at this moment."""
        return self.points > 0 and self.at <= at and (not self.expires_at or at < self.expires_at)


@dataclass(frozen=True)
class Past:
    """What is recorded of one member: bills, points from elsewhere, points used; each in order."""

    bills: Sequence[Bill] = ()
    lots: Sequence[Lot] = ()
    uses: Sequence[tuple[datetime, int]] = ()
    level: str | None = None


@dataclass(frozen=True)
class World:
    """The rules that everybody is replayed under, and the span that counts."""

    policy: EarnPolicy
    rules: tuple[Rule, ...]
    #: Lowest first.
    ladder: tuple[Tier, ...]
    tier_rules: TierRules
    tz: ZoneInfo
    start: datetime
    #: Moments at which what is owed is looked at; the last one is the end.
    marks: tuple[datetime, ...]

    @property
    def end(self) -> datetime:
        return self.marks[-1]


@dataclass
class Outcome:
    """What became of one member."""

    issued: int = 0
    expired: int = 0
    #: Points that were used in truth, and that the member would not have had.
    short: int = 0
    owed: list[int] = field(default_factory=list)
    tier: Tier | None = None


def replay(past: Past, world: World) -> Outcome:
    """Live through the bills; those before the start count for tier and carry alone."""
    outcome = Outcome()
    lots = [Lot(one.at, one.points, one.expires_at) for one in past.lots]
    standing = _Standing(world)
    carry = 0
    had: dict[int, int] = {}
    for bill in past.bills:
        standing.end_holds(bill.at)
        award = earning.award(world.policy, bill.satang, carry)
        carry = award.carry_satang
        earned = award.points + _extras(world, bill, award.points, standing.tier, past.level, had)
        standing.add(bill.at, bill.satang, earned)
        if bill.at >= world.start and earned:
            outcome.issued += earned
            lots.append(Lot(bill.at, earned, _expiry(world, bill.at)))
    standing.end_holds(world.end)
    outcome.tier = standing.tier
    _spend(outcome, lots, past.uses, world)
    return outcome


def _extras(
    world: World,
    bill: Bill,
    base: int,
    tier: Tier | None,
    level: str | None,
    had: dict[int, int],
) -> int:
    if not world.rules and tier is None:
        return 0
    seen = earn_rules.Bill(
        base=base,
        amount_satang=bill.satang,
        at=bill.at.astimezone(world.tz),
        branch=bill.branch,
        lines=bill.lines,
        level=level,
        tier=tier.key if tier else None,
        tier_names=(tier.name_th, tier.name_en) if tier else ("", ""),
        tier_percent=tier.earn_percent if tier else 100,
        is_first=bill.is_first,
    )
    left = {
        rule.id: max(0, rule.per_member_cap - had.get(rule.id, 0))
        for rule in world.rules
        if rule.per_member_cap is not None
    }
    extras = earn_rules.decide(world.rules, seen, left)
    for extra in extras:
        if extra.rule is not None:
            had[extra.rule.id] = had.get(extra.rule.id, 0) + extra.points
    return sum(extra.points for extra in extras)


def _expiry(world: World, at: datetime) -> datetime | None:
    return earning.expires_at(world.policy, local_day(at, world.tz), world.tz)


def _spend(
    outcome: Outcome, lots: list[Lot], uses: Sequence[tuple[datetime, int]], world: World
) -> None:
    """Let the points be used as they were, the soonest to expire first, and look at each mark."""
    lots.sort(key=lambda lot: (lot.expires_at is None, lot.expires_at or lot.at, lot.at))
    place = 0
    for mark in world.marks:
        while place < len(uses) and uses[place][0] <= mark:
            outcome.short += _take(lots, *uses[place])
            place += 1
        outcome.owed.append(sum(lot.points for lot in lots if lot.is_good(mark)))
    outcome.expired = sum(
        lot.points for lot in lots if lot.expires_at and world.start < lot.expires_at <= world.end
    )


def _take(lots: list[Lot], at: datetime, wanted: int) -> int:
    """Take points from what is good then; returns how many were not there."""
    for lot in lots:
        if wanted and lot.is_good(at):
            taken = min(wanted, lot.points)
            lot.points -= taken
            wanted -= taken
    return wanted


# --- Tiers ------------------------------------------------------------------------------------

_window_start = lru_cache(4096)(figures.window_start)
_hold_end = lru_cache(4096)(figures.hold_end)


class _Standing:
    """Where a member stands on the ladder, by bills alone."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sums: list[tuple[datetime, int]] = []
        self._until = world.start
        self.tier: Tier | None = None

    def end_holds(self, now: datetime) -> None:
        """Decide each hold that is over, as of its end (R1)."""
        world = self._world
        while self.tier is not None and self._until <= now:
            due = self._until
            last_day = figures.day_before(due, world.tz)
            earned = highest_below(world.ladder, self._figure(last_day, due))
            self._until = _hold_end(world.tier_rules, last_day, world.tz)
            self.tier = self._after_hold(self.tier, earned)

    def _after_hold(self, held: Tier, earned: Tier | None) -> Tier | None:
        if earned is not None and earned.threshold >= held.threshold:
            return earned
        if self._world.tier_rules.fall == Fall.TO_EARNED:
            return earned
        below = [one for one in self._world.ladder if one.threshold < held.threshold]
        return below[-1] if below else None

    def add(self, at: datetime, satang: int, points: int) -> None:
        """Count a bill, and climb at once."""
        world = self._world
        if not world.ladder:
            return
        self._sums.append((at, satang if world.tier_rules.basis == Basis.SPEND else points))
        today = local_day(at, world.tz)
        earned = highest_below(world.ladder, self._figure(today, None))
        if earned is not None and (self.tier is None or earned.threshold > self.tier.threshold):
            self.tier = earned
            self._until = _hold_end(world.tier_rules, today, world.tz)

    def _figure(self, last_day: date, end: datetime | None) -> int:
        start = _window_start(self._world.tier_rules, last_day, self._world.tz)
        return sum(figure for at, figure in self._sums if at >= start and (end is None or at < end))
