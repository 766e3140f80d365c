"""What if the rules had been others: the recorded past lived through twice, side by side.

The last days are replayed once under today's rules ("as it was") and once under changed ones ("as
it would be"), both with the rules' own functions, so that only the rules make the difference. The
one thing ever written is the `what_ifs` row.

What is approximated, alike on both sides:

- People behave as they did: they buy, use points and answer messages no more and no less.
- A bill counts from its start with what is left of it after returns.
- The twelve months before the span are lived through under the same rules, for carry and tiers
  only. Tiers come from bills alone; those set by hand do not count.
- Earn rules are those switched on today, within their own days. Caps of a member count from the
  beginning of the replay, caps of a whole rule do not, and birthdays are not looked at.
- Points from elsewhere and what was used are as recorded. Lots from before the span keep their end.
- Levels are decided as of now. VIP cut points are worked out anew from today's figures.
- Messages are those recorded: a journey switched off sends none, a longer pause thins them, who
  would be moved to another level or tier gets what that journey says once. What a shorter pause or
  a journey that was off would have sent is not recorded, and not guessed.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session, aliased

from core.bulk import is_one_of
from core.clock import local_day, start_of_day
from core.errors import Refused
from engagement import costs, what_if_rules
from engagement.journey_triggers import why_not_begun
from engagement.outbox import KEPT_KINDS
from engagement.replaying import Bill, Lot, Outcome, Past, World, replay
from engagement.what_if_rules import JourneyRule, Rules
from loyalty import earn_rules, shop
from loyalty.lifecycle import Cuts, Thresholds, level_of, standings_of, thresholds
from loyalty.lifecycle.sums import figures_of
from loyalty.tiers.figures import months_later
from loyalty.tiers.ladder import NO_TIER, every_tier, rules_of
from models import points as ledger
from models.earn_rules import EarnRule
from models.journeys import Enrolment, Intent, IntentState, Journey
from models.members import Member, MemberState, MemberTotals
from models.outbox import Call, CallState, Message
from models.points import EntryKind, LedgerEntry, LotDraw
from models.purchases import Purchase, PurchaseItem, PurchaseState
from models.results import WhatIf, WhatIfState
from models.staff import Branch

DEFAULT_DAYS = 90
MOST_PURCHASES = 2_000_000
MOST_WAITING = 20
BATCH = 500
#: A run that has not been heard of for this long is taken over.
LEASE = timedelta(minutes=5)
MOST_TRIES = 3
_OPEN = (WhatIfState.WAITING, WhatIfState.RUNNING)
_FROM_BILLS = ("purchase",)
_SENT = (IntentState.WAITING, IntentState.TURNED)
_RIDE = "reply"


class TooManyWaiting(Refused):
    """So many wait already that this one would not be looked at soon; fact `most`."""

    code = "what_if.too_many_waiting"


# --- The rows ---------------------------------------------------------------------------------


def ask(
    session: Session, given: Rules, days: int, *, made_by: str, now: datetime, tz: ZoneInfo
) -> WhatIf:
    """Ask for a replay of the last days under these rules; a worker takes it up."""
    what_if_rules.check(session, given, days, now, tz)
    waiting = select(func.count()).select_from(WhatIf).where(WhatIf.state.in_(_OPEN))
    if (session.scalar(waiting) or 0) >= MOST_WAITING:
        raise TooManyWaiting(most=MOST_WAITING)
    held = what_if_rules.today(session, now, tz)
    rules = {"days": days, "was": held.as_data(), "would": given.as_data()}
    row = WhatIf(rules=rules, made_by=made_by, made_at=now)
    session.add(row)
    session.flush()  # the page goes to its number
    return row


def is_any_open(session: Session) -> bool:
    """Whether there is anything to do, or somebody at it."""
    return session.scalar(select(WhatIf.id).where(WhatIf.state.in_(_OPEN)).limit(1)) is not None


def claim(session: Session, real_now: datetime) -> WhatIf | None:
    """The oldest open one, if nobody is at it: always that one, so that they run one by one.

    `started_at` is the sign of life of whoever is at it. One that was left three times fails.
    """
    row = session.scalars(
        select(WhatIf).where(WhatIf.state.in_(_OPEN)).order_by(WhatIf.id).limit(1).with_for_update()
    ).first()
    if row is None:
        return None
    if row.state == WhatIfState.RUNNING and row.started_at and row.started_at > real_now - LEASE:
        return None
    tries = int((row.result or {}).get("tries", 0))
    if tries >= MOST_TRIES:
        _end(row, WhatIfState.FAILED, {"reason": "broken"}, real_now)
        return None
    row.state, row.started_at, row.result = WhatIfState.RUNNING, real_now, {"tries": tries + 1}
    return row


def is_mine(session: Session, row: WhatIf, real_now: datetime) -> bool:
    """Say that this run goes on; False when somebody else has taken it over."""
    done: Any = session.execute(
        update(WhatIf)
        .where(
            WhatIf.id == row.id,
            WhatIf.state == WhatIfState.RUNNING,
            WhatIf.started_at == row.started_at,
        )
        .values(started_at=real_now)
        .execution_options(synchronize_session=False)
    )
    if done.rowcount == 1:
        row.started_at = real_now
    return bool(done.rowcount == 1)


def finish(
    session: Session, row: WhatIf, result: dict[str, Any], real_now: datetime, *, ok: bool = True
) -> None:
    """Keep what came out, unless another has taken this run over."""
    held = session.get(WhatIf, row.id, with_for_update=True)
    if held is None or held.state != WhatIfState.RUNNING or held.started_at != row.started_at:
        return
    _end(held, WhatIfState.DONE if ok else WhatIfState.FAILED, result, real_now)


def _end(row: WhatIf, state: WhatIfState, result: dict[str, Any], real_now: datetime) -> None:
    row.state, row.result, row.ended_at = state, result, real_now


def past_runs(session: Session, limit: int = 30) -> Sequence[WhatIf]:
    """The last replays, newest first."""
    return session.scalars(select(WhatIf).order_by(WhatIf.id.desc()).limit(limit)).all()


# --- The replay -------------------------------------------------------------------------------


class TooMany(Exception):
    """More bills than a replay may read."""


@dataclass
class Side:
    """What came out under one set of rules."""

    rules: Rules
    world: World
    limits: Thresholds
    cuts: Cuts
    issued: int = 0
    expired: int = 0
    short: int = 0
    owed: list[int] = field(default_factory=list)
    tiers: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    free: int = 0
    #: Paid messages by month.
    paid: list[int] = field(default_factory=list)

    def take(self, outcome: Outcome, tier: str, level: str) -> None:
        """Add one member."""
        self.issued += outcome.issued
        self.expired += outcome.expired
        self.short += outcome.short
        self.owed = [sum(both) for both in zip(self.owed, outcome.owed, strict=True)]
        self.tiers[tier] += 1
        self.levels[level] += 1

    def as_data(self, satang_each: int, cost: int) -> dict[str, Any]:
        """As the row keeps it."""
        return {
            "issued": self.issued,
            "expired": self.expired,
            "short": self.short,
            "owed": self.owed,
            "owed_satang": [points * satang_each for points in self.owed],
            "tiers": dict(self.tiers),
            "levels": dict(self.levels),
            "messages": dict(self.messages),
            "free": self.free,
            "paid": sum(self.paid),
            "cost_satang": cost,
        }


@dataclass(frozen=True)
class Sent:
    """A lifecycle message that went out, and the beginning of the journey it belongs to."""

    journey: str
    entry: int
    began: datetime
    at: datetime
    is_free: bool


class Replay:
    """One run: made once, then fed with sessions until no member is left. Writes nothing."""

    def __init__(
        self, session: Session, rules: Mapping[str, Any], now: datetime, tz: ZoneInfo
    ) -> None:
        """Raises `TooMany` where there are more bills than may be read."""
        self._now, self._tz = now, tz
        today = local_day(now, tz)
        self._first = today - timedelta(days=int(rules["days"]))
        self.start = start_of_day(self._first, tz)
        self.warm = start_of_day(months_later(self._first, -12), tz)
        self._months = list(_months(self._first, today))
        count = select(func.count()).select_from(Purchase)
        if (session.scalar(count.where(*self._bills())) or 0) > MOST_PURCHASES:
            raise TooMany
        self._journeys = {
            key: definition
            for key, (_journey, definition) in what_if_rules.journeys_of(session).items()
        }
        self._satang_each = int(shop.get(session, "points.satang_each"))
        self._plan = costs.plan_of(session)
        self._calls = self._calls_by_month(session)
        self._branches = {
            row.id: row.code for row in session.execute(select(Branch.id, Branch.code))
        }
        self._earn_rules = _earn_rules(session)
        self._asks_lines = any(
            rule.asks("skus") or rule.asks("labels") for rule in self._earn_rules
        )
        self.was = self._side(session, Rules.of(rules["was"]))
        self.would = self._side(session, Rules.of(rules["would"]))
        self._tier_moves: Counter[tuple[str, str]] = Counter()
        self._level_moves: Counter[tuple[str, str]] = Counter()
        self._after = 0
        self.members = self.bills = 0

    def _side(self, session: Session, rules: Rules) -> Side:
        limits = rules.thresholds(thresholds.of(session))
        world = World(
            policy=rules.policy(),
            rules=(*self._earn_rules, *rules.extra()),
            ladder=rules.ladder(list(every_tier(session))),
            tier_rules=rules_of(session),
            tz=self._tz,
            start=self.start,
            marks=tuple(self._marks()),
        )
        cuts = Cuts.of(figures_of(session, self._now, self._tz, limits))
        empty = [0] * len(self._months)
        return Side(rules, world, limits, cuts, owed=empty, paid=list(empty))

    def _marks(self) -> Iterator[datetime]:
        """The ends of the months that are over, and now."""
        for month in self._months[1:]:
            yield start_of_day(month, self._tz)
        yield self._now

    def _bills(self) -> tuple[Any, ...]:
        return (
            Purchase.purchased_at >= self.warm,
            Purchase.purchased_at < self._now,
            Purchase.state != PurchaseState.VOIDED,
            Purchase.returned_satang < Purchase.amount_satang,
        )

    def batch(self, session: Session) -> bool:
        """Live through the next members; False when there was nobody left."""
        totals = session.scalars(
            select(MemberTotals)
            .join(Member, Member.id == MemberTotals.member_id)
            .where(MemberTotals.member_id > self._after, Member.state == MemberState.MEMBER)
            .order_by(MemberTotals.member_id)
            .limit(BATCH)
        ).all()
        if not totals:
            return False
        ids = [row.member_id for row in totals]
        bills = self._read_bills(session, ids)
        lots = self._read_lots(session, ids)
        uses = self._read_uses(session, ids)
        sent = self._read_sent(session, ids)
        standings = standings_of(session, totals, self._now, self._tz)
        for row in totals:
            number = row.member_id
            past = Past(bills[number], lots[number], uses[number], row.level.value)
            places = []
            for side in (self.was, self.would):
                outcome = replay(past, side.world)
                top = side.world.ladder[-1] if side.world.ladder else None
                is_top = outcome.tier is not None and outcome.tier is top
                standing = replace(
                    standings[number][0], top_tier=top.key if top and is_top else None
                )
                level = level_of(standing, side.cuts, side.limits).level.value
                tier = outcome.tier.key if outcome.tier else NO_TIER
                side.take(outcome, tier, level)
                places.append((tier, level))
            self._tier_moves[places[0][0], places[1][0]] += 1
            self._level_moves[places[0][1], places[1][1]] += 1
            self._count_messages(sent[number], places[0], places[1])
            self.bills += sum(bill.at >= self.start for bill in past.bills)
        self.members += len(totals)
        self._after = ids[-1]
        return True

    def result(self) -> dict[str, Any]:
        """Everything the page shows."""
        return {
            "from": self._first.isoformat(),
            "until": local_day(self._now, self._tz).isoformat(),
            "members": self.members,
            "bills": self.bills,
            "months": [month.isoformat() for month in self._months],
            "satang_each": self._satang_each,
            "was": self.was.as_data(self._satang_each, self._cost(self.was)),
            "would": self.would.as_data(self._satang_each, self._cost(self.would)),
            "tier_order": [tier.key for tier in self.was.world.ladder],
            "tier_moves": [[*pair, count] for pair, count in sorted(self._tier_moves.items())],
            "level_moves": [[*pair, count] for pair, count in sorted(self._level_moves.items())],
        }

    # --- Reading, a batch of members at a time ---

    def _read_bills(self, session: Session, ids: list[int]) -> dict[int, list[Bill]]:
        rows = session.execute(
            select(
                Purchase.id,
                Purchase.member_id,
                Purchase.purchased_at,
                (Purchase.amount_satang - Purchase.returned_satang).label("satang"),
                Purchase.branch_id,
                Purchase.is_first,
            )
            .where(is_one_of(session, Purchase.member_id, ids), *self._bills())
            .order_by(Purchase.member_id, Purchase.purchased_at, Purchase.id)
        ).all()
        lines = self._read_lines(session, [row.id for row in rows]) if self._asks_lines else {}
        bills: dict[int, list[Bill]] = defaultdict(list)
        for row in rows:
            branch = self._branches[row.branch_id]
            bills[row.member_id].append(
                Bill(row.purchased_at, int(row.satang), branch, row.is_first, lines.get(row.id, ()))
            )
        return bills

    def _read_lines(
        self, session: Session, ids: list[int]
    ) -> dict[int, tuple[earn_rules.Line, ...]]:
        items: dict[int, list[PurchaseItem]] = defaultdict(list)
        for place in range(0, len(ids), BATCH):
            some = ids[place : place + BATCH]
            for item in session.scalars(
                select(PurchaseItem)
                .where(is_one_of(session, PurchaseItem.purchase_id, some))
                .order_by(PurchaseItem.id)
            ):
                items[item.purchase_id].append(item)
        every = [item for some_items in items.values() for item in some_items]
        labels = {line.sku: line for line in earn_rules.lines_of(session, every)} if every else {}
        return {
            number: tuple(
                replace(labels[item.sku], amount_satang=item.amount_satang) for item in some_items
            )
            for number, some_items in items.items()
        }

    def _read_lots(self, session: Session, ids: list[int]) -> dict[int, list[Lot]]:
        """What was there at the start, and what came since from elsewhere than bills."""
        row_of = ledger.Lot
        # A lot is its entry's member's, and entries have an index by member.
        made = select(LedgerEntry.id).where(is_one_of(session, LedgerEntry.member_id, ids))
        since = (
            select(LotDraw.lot_id, func.sum(LotDraw.points).label("moved"))
            .join(row_of, row_of.id == LotDraw.lot_id)
            .join(LedgerEntry, LedgerEntry.id == LotDraw.entry_id)
            .where(
                row_of.entry_id.in_(made),
                row_of.earned_at < self.start,
                LedgerEntry.effective_at >= self.start,
            )
            .group_by(LotDraw.lot_id)
            .subquery()
        )
        there = row_of.remaining - func.coalesce(since.c.moved, 0)
        old = (
            select(row_of.member_id, row_of.earned_at, there.label("points"), row_of.expires_at)
            .outerjoin(since, since.c.lot_id == row_of.id)
            .where(
                row_of.entry_id.in_(made),
                row_of.earned_at < self.start,
                or_(row_of.expires_at.is_(None), row_of.expires_at > self.start),
            )
        )
        new = (
            select(row_of.member_id, row_of.earned_at, row_of.points, row_of.expires_at)
            .join(LedgerEntry, LedgerEntry.id == row_of.entry_id)
            .where(
                is_one_of(session, LedgerEntry.member_id, ids),
                row_of.earned_at >= self.start,
                row_of.earned_at <= self._now,
                LedgerEntry.source.not_in(_FROM_BILLS),
            )
        )
        lots: dict[int, list[Lot]] = defaultdict(list)
        for query in (old, new):
            for member_id, at, points, expires_at in session.execute(query):
                if points > 0:
                    lots[member_id].append(Lot(at, int(points), expires_at))
        return lots

    def _read_uses(self, session: Session, ids: list[int]) -> dict[int, list[tuple[datetime, int]]]:
        """Points used or taken by hand, less what was given back of them."""
        back = aliased(LedgerEntry)
        returned = (
            select(func.coalesce(func.sum(back.points), 0))
            .where(back.reverses_id == LedgerEntry.id)
            .scalar_subquery()
        )
        rows = session.execute(
            select(LedgerEntry.member_id, LedgerEntry.effective_at, LedgerEntry.points + returned)
            .where(
                is_one_of(session, LedgerEntry.member_id, ids),
                LedgerEntry.kind.in_((EntryKind.BURN, EntryKind.ADJUST)),
                LedgerEntry.points < 0,
                LedgerEntry.effective_at >= self.start,
                LedgerEntry.effective_at <= self._now,
            )
            .order_by(LedgerEntry.member_id, LedgerEntry.effective_at, LedgerEntry.id)
        )
        uses: dict[int, list[tuple[datetime, int]]] = defaultdict(list)
        for member_id, at, points in rows:
            if points < 0:
                uses[member_id].append((at, -int(points)))
        return uses

    # --- Messages ---

    def _read_sent(self, session: Session, ids: list[int]) -> dict[int, list[Sent]]:
        rows = session.execute(
            select(
                Intent.id,
                Intent.member_id,
                Journey.key,
                Intent.enrolment_id,
                Enrolment.started_at,
                Intent.created_at,
                Message.channel,
            )
            .join(Journey, Journey.id == Intent.journey_id)
            .outerjoin(Enrolment, Enrolment.id == Intent.enrolment_id)
            .outerjoin(Message, Message.intent_id == Intent.id)
            .where(
                is_one_of(session, Intent.member_id, ids),
                Intent.state.in_(_SENT),
                Intent.created_at >= self.start,
                Intent.created_at <= self._now,
            )
            .order_by(Intent.member_id, Intent.created_at, Intent.id)
        )
        sent: dict[int, list[Sent]] = defaultdict(list)
        seen: set[int] = set()
        for row in rows:
            if row.id in seen:
                continue  # written again after a refusal: still one message
            seen.add(row.id)
            entry, began = row.enrolment_id or -row.id, row.started_at or row.created_at
            is_free = row.channel == _RIDE
            sent[row.member_id].append(Sent(row.key, entry, began, row.created_at, is_free))
        return sent

    def _count_messages(
        self, sent: list[Sent], was: tuple[str, str], would: tuple[str, str]
    ) -> None:
        for one in _kept(sent, self.was.rules, self.was.rules):
            self._add(self.was, one)
        begins, ends = self._moved(was, would), self._moved(would, was)
        for one in _kept(sent, self.would.rules, self.was.rules):
            if one.journey not in ends:
                self._add(self.would, one)
        told = {one.journey for one in sent}
        for key in begins - told:
            if self.would.rules.journeys.get(key, JourneyRule(False)).is_on:
                self._add(self.would, Sent(key, 0, self._now, self._now, False))

    def _add(self, side: Side, one: Sent) -> None:
        side.messages[one.journey] += 1
        if one.is_free:
            side.free += 1
        else:
            side.paid[self._month_at(one.at)] += 1

    def _moved(self, before: tuple[str, str], after: tuple[str, str]) -> set[str]:
        """The journeys that a move from here to there would begin."""
        order = [NO_TIER, *(tier.key for tier in self.was.world.ladder)]
        facts: list[tuple[str, dict[str, Any]]] = []
        if before[0] != after[0]:
            is_up = order.index(after[0]) > order.index(before[0])
            about = {"field": "tier", "before": before[0], "after": after[0], "is_up": is_up}
            facts.append(("tiers.changed", {**about, "cause": "reached" if is_up else "fell"}))
        if before[1] != after[1]:
            about = {"field": "level", "before": before[1], "after": after[1]}
            facts.append(("stages.changed", about))
        return {
            key
            for key, definition in self._journeys.items()
            for kind, fact in facts
            if definition["trigger"].get("on") == "change"
            and why_not_begun(definition, kind, fact) is None
        }

    def _month_at(self, at: datetime) -> int:
        return max(0, bisect_right(self._months, local_day(at, self._tz)) - 1)

    def _calls_by_month(self, session: Session) -> list[int]:
        """Everything that LINE counted in each month, lifecycle or not."""
        found = []
        for month, end in zip(self._months, self._marks(), strict=True):
            query = select(func.coalesce(func.sum(Call.recipient_count), 0)).where(
                Call.created_at >= start_of_day(month, self._tz),
                Call.created_at < end,
                Call.state == CallState.DONE,
                Call.kind.in_(KEPT_KINDS),
            )
            found.append(int(session.scalar(query) or 0))
        return found

    def _cost(self, side: Side) -> int:
        """What these messages cost beyond the plan, on top of whatever else left each month."""
        cost = 0
        for month, paid in enumerate(side.paid):
            others = max(0, self._calls[month] - self.was.paid[month])
            cost += costs.on_top(self._plan, others, paid)
        return cost


def _months(first: date, last: date) -> Iterator[date]:
    """The months of a span by their first days."""
    month = first.replace(day=1)
    while month <= last:
        yield month
        month = months_later(month, 1)


def _earn_rules(session: Session) -> tuple[earn_rules.Rule, ...]:
    """The rules switched on, in order; each says itself on which days it holds."""
    query = select(EarnRule).where(EarnRule.is_on).order_by(EarnRule.position, EarnRule.id)
    names = earn_rules.Rule.__dataclass_fields__
    return tuple(
        earn_rules.Rule(**{name: getattr(row, name) for name in names})
        for row in session.scalars(query)
    )


def _kept(sent: Sequence[Sent], rules: Rules, held: Rules) -> Iterator[Sent]:
    """The messages that would still have gone out: switches, and pauses where they are longer."""
    last: dict[str, tuple[int, datetime]] = {}
    for one in sorted(sent, key=lambda one: (one.began, one.at)):
        rule = rules.journeys.get(one.journey)
        if rule is None or not rule.is_on:
            continue
        before = last.get(one.journey)
        is_new = before is None or before[0] != one.entry
        pause = _longer_pause(rule, held.journeys.get(one.journey))
        if before is not None and is_new and one.began < before[1] + pause:
            continue
        if is_new:
            last[one.journey] = (one.entry, one.began)
        yield one


def _longer_pause(rule: JourneyRule, held: JourneyRule | None) -> timedelta:
    """The pause between two beginnings, where it is longer than today's."""
    is_longer = rule.days and held and held.days and rule.days > held.days
    return timedelta(days=rule.days or 0) if is_longer else timedelta()
