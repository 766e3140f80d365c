"""Climbing at once, holding, falling at the end of a hold, and going back when a bill is undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.db import insert_into
from core.errors import Refused
from core.sabotage import is_sabotaged
from loyalty import activities, points
from loyalty.tiers.figures import ONE_DAY, day_before, figure_of, figures_of, hold_end, window_start
from loyalty.tiers.ladder import (
    NO_TIER,
    Fall,
    Rules,
    every_tier,
    highest_below,
    ladder_of,
    rules_of,
)
from models.base import table_of
from models.members import MemberTotals, StageChange
from models.tiers import MemberTier, Tier

STANDING = table_of(MemberTier)
FIELD = "tier"
REACHED, FELL, REVERSED = "reached", "fell", "reversed"
BY_HAND, HAND_ENDED = "by_hand", "hand_ended"
#: Changes after which the same tier, reached again, is a new reaching with gifts of its own.
ENDINGS = (FELL, HAND_ENDED)
#: A bill's moment may lie a little ahead of ours, see `purchases.recording.CLOCK_LEEWAY`.
LEEWAY = timedelta(minutes=5)


@dataclass(frozen=True)
class Move:
    """One change of a member's tier; `cause` says why."""

    member_id: int
    before: Tier | None
    after: Tier | None
    cause: str
    at: datetime
    is_up: bool


def requalify(
    session: Session,
    member_id: int,
    now: datetime,
    tz: ZoneInfo,
    *,
    after_return: bool = False,
    is_locked: bool = False,
) -> list[Move]:
    """Bring a member's tier in line with what they have bought.

    Locks the member, unless the caller says that it `is_locked`.

    1. Holds that have ended are decided, each as of its own end, however late this is.
    2. After a return: a tier that the rest would not have won goes, and what was before it is back.
    3. Whoever qualifies for a higher tier has it at once.
    """
    every = every_tier(session)
    if not every:
        return []  # nobody stands in a tier that is not there
    ladder = [tier for tier in every if tier.is_on]
    if not is_locked and not is_sabotaged("tiers.lock"):
        points.lock_member(session, member_id)
    row = _row(session, member_id)
    if row is None and not ladder:
        return []
    climber = _Climber(session, member_id, ladder, rules_of(session), now, tz)
    climber.end_holds(row)
    if after_return:
        climber.undo_unearned()
    climber.climb()
    return climber.moves


def set_by_hand(
    session: Session,
    member_id: int,
    tier: Tier,
    until: date,
    *,
    reason: str,
    staff_id: int,
    now: datetime,
    tz: ZoneInfo,
) -> list[Move]:
    """Put a member into a tier until the end of a local day, whatever they buy. Locks the member.

    Refused: `tiers.bad_end` for a day that is over.
    """
    if until < local_day(now, tz):
        raise Refused("tiers.bad_end", status=422)
    points.lock_member(session, member_id)
    climber = _Climber(session, member_id, ladder_of(session), rules_of(session), now, tz)
    why = {"reason": reason, "staff": staff_id}
    ends_at = start_of_day(until + ONE_DAY, tz)
    climber.move(_row(session, member_id), tier, BY_HAND, now, ends_at, why=why)
    return climber.moves


def end_by_hand(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> list[Move]:
    """End what was set by hand now: the member has what they have earned. Locks the member."""
    points.lock_member(session, member_id)
    row = _row(session, member_id)
    if row is None or not row.is_manual:
        raise Refused("tiers.not_by_hand", status=409)
    row.holds_until = now
    session.flush()
    return requalify(session, member_id, now, tz)


def hand_over(session: Session, source: int, target: int, now: datetime) -> dict[str, Any] | None:
    """Give a member what was set by hand for another row of the same person, if it is more (R1).

    Nothing is reached by that: no gift, no word. Returns what `hand_back` needs, or None when all
    stays as it is; the source's row stays. Both members are locked by the caller.
    """
    theirs, own = _row(session, source), _row(session, target)
    if theirs is None or not theirs.is_manual or theirs.holds_until <= now:
        return None
    tier = session.get_one(Tier, theirs.tier_id)
    if not tier.is_on:
        return None
    held = session.get_one(Tier, own.tier_id) if own is not None else None
    more = (tier.threshold, theirs.holds_until)
    if own is not None and held is not None and more <= (held.threshold, own.holds_until):
        return None
    before = _held(own, held)
    handed = {
        "tier": tier.key,
        "until": theirs.holds_until.isoformat(),
        "before": {**before, "is_manual": own.is_manual} if own and before else None,
    }
    if own is None:
        own = MemberTier(member_id=target, since=now)
        session.add(own)
    elif held is not tier:
        own.since = now
    own.tier_id, own.is_manual, own.warned_at = tier.id, True, None
    own.qualified_at, own.holds_until = now, theirs.holds_until
    _note(session, target, held, tier, BY_HAND, now)
    return handed


def hand_back(session: Session, target: int, handed: dict[str, Any] | None, now: datetime) -> None:
    """Undo `hand_over`, unless the member's tier has changed since."""
    own = _row(session, target)
    if handed is None or own is None or not own.is_manual:
        return
    tier = session.get_one(Tier, own.tier_id)
    if (tier.key, own.holds_until.isoformat()) != (handed["tier"], handed["until"]):
        return
    before = handed["before"]
    back = session.scalar(select(Tier).where(Tier.key == before["tier"])) if before else None
    if back is None:
        session.delete(own)
    else:
        own.tier_id, own.is_manual, own.warned_at = back.id, before["is_manual"], None
        own.since = datetime.fromisoformat(before["since"])
        own.qualified_at = datetime.fromisoformat(before["qualified_at"])
        own.holds_until = datetime.fromisoformat(before["until"])
    _note(session, target, tier, back, REVERSED, now)


def _note(
    session: Session,
    member_id: int,
    before: Tier | None,
    after: Tier | None,
    cause: str,
    now: datetime,
) -> None:
    if after is not before:
        names = [one.key if one else NO_TIER for one in (before, after)]
        session.add(
            StageChange(
                member_id=member_id, field=FIELD, before=names[0], after=names[1],
                why={"cause": cause}, at=now,
            )
        )  # fmt: skip
    session.flush()


def due_members(session: Session, now: datetime, limit: int) -> Sequence[int]:
    """Members whose hold has ended, soonest first; then those whose tier was switched off.

    Asked apart, each finds its members in an index: every batch of the night asks again.
    """
    ended = (
        select(STANDING.c.member_id)
        .where(STANDING.c.holds_until <= now)
        .order_by(STANDING.c.holds_until, STANDING.c.member_id)
        .limit(limit)
    )
    if found := session.scalars(ended).all():
        return found
    off = session.scalars(select(Tier.id).where(Tier.is_on.is_(False))).all()
    left = select(STANDING.c.member_id).where(STANDING.c.tier_id.in_(off)).limit(limit)
    return session.scalars(left).all() if off else []


def late_climbers(
    session: Session, now: datetime, tz: ZoneInfo, *, after_id: int, limit: int
) -> tuple[list[int], int]:
    """Members whose figures reach a higher tier than theirs: thresholds or settings have changed.

    Looks at the next `limit` buyers after `after_id`; returns (members, last id looked at), the
    id 0 when there was none left to look at.
    """
    ladder = ladder_of(session)
    start = window_start(rules_of(session), local_day(now, tz), tz)
    buyers = session.scalars(
        select(MemberTotals.member_id)
        .where(MemberTotals.member_id > after_id, MemberTotals.last_purchase_at >= start)
        .order_by(MemberTotals.member_id)
        .limit(limit)
    ).all()
    if not ladder or not buyers:
        return [], 0
    figures = figures_of(session, rules_of(session), buyers, start)
    held = (
        select(STANDING.c.member_id, STANDING.c.is_manual, Tier.threshold)
        .join(Tier, Tier.id == STANDING.c.tier_id)
        .where(STANDING.c.member_id.in_(buyers))
    )
    standing = {row.member_id: row for row in session.execute(held)}
    climbers = []
    for member_id, figure in sorted(figures.items()):
        earned, row = highest_below(ladder, figure), standing.get(member_id)
        if earned is None or (row is not None and row.is_manual):
            continue
        if row is None or earned.threshold > row.threshold:
            climbers.append(member_id)
    return climbers, buyers[-1]


def reachings_of(session: Session, member_id: int, tier: Tier) -> int:
    """How often this tier was reached and ended in earnest; a reaching that was undone never was."""
    changes = session.scalars(
        select(StageChange).where(
            StageChange.member_id == member_id,
            StageChange.field == FIELD,
            StageChange.before == tier.key,
        )
    )
    return sum(change.why.get("cause") in ENDINGS for change in changes)


class _Climber:
    """One member on the ladder; whoever uses it holds the member's lock."""

    def __init__(
        self,
        session: Session,
        member_id: int,
        ladder: Sequence[Tier],
        rules: Rules,
        now: datetime,
        tz: ZoneInfo,
    ) -> None:
        self.session = session
        self.member_id = member_id
        self.ladder = ladder
        self.rules = rules
        self.now = now
        self.tz = tz
        self.moves: list[Move] = []

    def end_holds(self, row: MemberTier | None) -> None:
        """Decide each hold that is over, as of its end; several after a long silence."""
        while row is not None and self._is_over(row):
            due = min(row.holds_until, self.now)
            last_day = day_before(due, self.tz)
            earned = highest_below(self.ladder, self._figure(last_day, due))
            held = self._tier(row)
            kept = self._after_hold(row, held, earned)
            until = hold_end(self.rules, last_day, self.tz)
            if kept is held:
                row.holds_until, row.qualified_at = until, due
                row.is_manual, row.warned_at = False, None
                self.session.flush()
            else:
                cause = HAND_ENDED if row.is_manual else FELL
                self.move(row, kept, cause, due, until)
            row = _row(self.session, self.member_id)

    def _is_over(self, row: MemberTier) -> bool:
        return row.holds_until <= self.now or not self._tier(row).is_on

    def _after_hold(self, row: MemberTier, held: Tier, earned: Tier | None) -> Tier | None:
        """What is left at the end of a hold: one step down at most, or what was earned (R1)."""
        if earned is not None and earned.threshold >= held.threshold:
            return earned
        if row.is_manual or not held.is_on or self.rules.fall == Fall.TO_EARNED:
            return earned
        below = [tier for tier in self.ladder if tier.threshold < held.threshold]
        return below[-1] if below else None

    def undo_unearned(self) -> None:
        """Take away what was won by a bill that is no more, unless the rest holds it (AC6)."""
        for _ in range(len(self.ladder) + 1):
            row = _row(self.session, self.member_id)
            if row is None or row.is_manual or self._is_held_by_rest(row):
                return
            if row.qualified_at > row.since:  # it was the last renewal that the bill had carried
                row.holds_until = row.qualified_at
                row.qualified_at = row.since
                self.session.flush()
                self.end_holds(row)
            else:
                self._step_back(row)

    def _is_held_by_rest(self, row: MemberTier) -> bool:
        enough = self._tier(row).threshold
        if row.qualified_at <= row.since:  # not renewed since: what counted then is enough now
            why = self._why(row)
            if why.get("cause") == FELL and self.rules.fall == Fall.ONE_STEP:
                return True  # the step below is had by falling, whatever was bought
            if why.get("basis") == self.rules.basis:
                enough = min(enough, why["threshold"])
        then = day_before(row.qualified_at + timedelta(microseconds=1), self.tz)
        if self._figure(then, row.qualified_at + LEEWAY) >= enough:
            return True
        return self._figure(local_day(self.now, self.tz)) >= enough

    def _why(self, row: MemberTier) -> dict[str, Any]:
        """Why the member came to stand where they do: of the change at that moment, as a step that
        was undone meanwhile has left a later one."""
        change = self.session.scalars(
            select(StageChange)
            .where(
                StageChange.member_id == self.member_id,
                StageChange.field == FIELD,
                StageChange.after == self._tier(row).key,
                StageChange.at == row.since,
            )
            .order_by(StageChange.id.desc())
            .limit(1)
        ).first()
        return change.why if change is not None else {}

    def _step_back(self, row: MemberTier) -> None:
        """Undo a reaching: what was held before it is held again, for as long as it was."""
        before = self._why(row).get("held")
        back = next((one for one in self.ladder if before and one.key == before["tier"]), None)
        if back is None or before is None:
            self.move(row, None, REVERSED, self.now, self.now)
            return
        self.move(row, back, REVERSED, self.now, datetime.fromisoformat(before["until"]))
        restored = _row(self.session, self.member_id)
        assert restored is not None
        restored.since = datetime.fromisoformat(before["since"])
        restored.qualified_at = datetime.fromisoformat(before["qualified_at"])
        self.session.flush()
        self.end_holds(restored)

    def climb(self) -> None:
        """Up at once, to the highest tier that the window until now reaches."""
        row = _row(self.session, self.member_id)
        if row is not None and (row.is_manual or self._tier(row) is self.ladder[-1]):
            return
        today = local_day(self.now, self.tz)
        earned = highest_below(self.ladder, self._figure(today))
        if earned is None:
            return
        if row is None or earned.threshold > self._tier(row).threshold:
            until = hold_end(self.rules, today, self.tz)
            self.move(row, earned, REACHED, self.now, until)

    def move(
        self,
        row: MemberTier | None,
        after: Tier | None,
        cause: str,
        at: datetime,
        until: datetime,
        *,
        why: dict[str, Any] | None = None,
    ) -> None:
        """Change the row as it was seen, and write history; one who comes second changes nothing."""
        before = self._tier(row) if row is not None else None
        held = _held(row, before)
        if not self._write(row, after, at, until, is_manual=cause == BY_HAND):
            return
        if after is before:
            return  # set by hand to what they have: only the end is new
        why = {"cause": cause, **(why or {})}
        if after is not None and cause == REACHED:
            why |= {"basis": self.rules.basis.value, "threshold": after.threshold}
            why |= {"held": held} if held is not None else {}
        self.session.add(
            StageChange(
                member_id=self.member_id,
                field=FIELD,
                before=before.key if before else NO_TIER,
                after=after.key if after else NO_TIER,
                why=why,
                at=at,
            )
        )
        floor = before.threshold if before else 0
        is_up = after is not None and after.threshold > floor
        facts = {
            "before": before.key if before else NO_TIER,
            "after": after.key if after else NO_TIER,
            "cause": cause,
            "is_up": is_up,
            "until": day_before(until, self.tz).isoformat() if after else None,
        }
        activities.record(self.session, self.member_id, "tiers.changed", at, facts)
        self.moves.append(Move(self.member_id, before, after, cause, at, is_up))

    def _write(
        self,
        row: MemberTier | None,
        after: Tier | None,
        at: datetime,
        until: datetime,
        *,
        is_manual: bool,
    ) -> bool:
        """One guarded statement: only who finds the row as it was seen changes it (FG17)."""
        self.session.flush()  # Core statements must see what the caller has added so far
        seen = STANDING.c.member_id == self.member_id
        if row is not None and not is_sabotaged("tiers.guard"):
            seen = seen & (STANDING.c.tier_id == row.tier_id)
        if after is None:
            done: Any = self.session.connection().execute(delete(STANDING).where(seen))
            if row is not None:
                self.session.expunge(row)
            return bool(done.rowcount == 1)
        values = {
            "tier_id": after.id,
            "holds_until": until,
            "qualified_at": at,
            "is_manual": is_manual,
            "warned_at": None,
        }
        if row is None or row.tier_id != after.id:
            values["since"] = at
        if row is None:
            new = insert_into(self.session, STANDING).values(member_id=self.member_id, **values)
            if is_sabotaged("tiers.guard"):
                new = new.on_conflict_do_update(index_elements=["member_id"], set_=values)
            else:
                new = new.on_conflict_do_nothing()
            made = self.session.execute(new.returning(STANDING.c.member_id)).scalar()
            return made is not None
        done = self.session.connection().execute(update(STANDING).where(seen).values(values))
        self.session.expire(row)
        return bool(done.rowcount == 1)

    def _tier(self, row: MemberTier) -> Tier:
        return self.session.get_one(Tier, row.tier_id)

    def _figure(self, last_day: date, end: datetime | None = None) -> int:
        start = window_start(self.rules, last_day, self.tz)
        return figure_of(self.session, self.rules, self.member_id, start, end)


def _row(session: Session, member_id: int) -> MemberTier | None:
    """Where the member stands, read afresh."""
    session.flush()
    row = select(MemberTier).where(MemberTier.member_id == member_id)
    return session.scalars(row, execution_options={"populate_existing": True}).first()


def _held(row: MemberTier | None, tier: Tier | None) -> dict[str, Any] | None:
    """What a climb leaves behind, so that undoing it can bring it back."""
    if row is None or tier is None:
        return None
    return {
        "tier": tier.key,
        "since": row.since.isoformat(),
        "qualified_at": row.qualified_at.isoformat(),
        "until": row.holds_until.isoformat(),
    }
