"""Where a member stands: stage (L1), level (L2) with the numbers behind it, and own gap.

Stages and levels change at the event and in the nightly pass; only changed rows are written and
every change leaves a row of history. Levels that need tickets, segments or cut points of their
own (`high_maintenance`, `vip`, `advocate`, `potential_high_value`) are decided by later rules;
their values exist from the start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.runtime import Runtime
from loyalty import activities
from models.activities import Activity
from models.members import Level, Member, MemberState, MemberTotals, Referral, Stage, StageChange
from models.purchases import Purchase, PurchaseState

GAP_DAYS_KEPT = 10
GAP_KNOWN_FROM = 4
RETENTION_DAYS = 90
INACTIVE_DAYS, INACTIVE_FLOOR, INACTIVE_GAPS = 90, 30, 3.0
AT_RISK_DAYS, AT_RISK_FLOOR, AT_RISK_GAPS = 45, 14, 1.5
REGULAR_PURCHASE_DAYS = 3
SPEND_WINDOW_DAYS = 90
SPEND_DROP_MIN_PURCHASES = 3
#: Numbers behind a level that change with every day that passes.
MOVING = ("silent_days", "spent_90", "spent_before_90")


# --- Arithmetic: pure -----------------------------------------------------------------------


def own_gap(days: Sequence[date]) -> float | None:
    """Median days between the last 10 distinct purchase days; None below 4 of them."""
    kept = sorted(days)[-GAP_DAYS_KEPT:]
    if len(kept) < GAP_KNOWN_FROM:
        return None
    return float(median((b - a).days for a, b in pairwise(kept)))


def is_return_visit(before: date, after: date, gap: float | None) -> bool:
    """Whether a purchase day follows the one before closely enough to count as retention."""
    limit = max(float(RETENTION_DAYS), 3 * gap) if gap is not None else float(RETENTION_DAYS)
    return (after - before).days <= limit


def stage_of(is_member: bool, days: Sequence[date], *, friend_bought: bool) -> Stage:
    """The stage that these purchase days (any order, all of them) lead to."""
    if not days:
        return Stage.CONSIDERATION if is_member else Stage.AWARENESS
    ordered = sorted(set(days))
    returned = any(
        is_return_visit(ordered[i - 1], ordered[i], own_gap(ordered[: i + 1]))
        for i in range(1, len(ordered))
    )
    if not returned:
        return Stage.PURCHASE
    return Stage.ADVOCACY if friend_bought else Stage.RETENTION


@dataclass(frozen=True)
class Standing:
    """What a level is decided from. Days are local; money is satang."""

    purchase_days: int = 0
    silent_days: int | None = None
    own_gap_days: float | None = None
    spent_90: int = 0
    spent_before_90: int = 0
    purchases_before_90: int = 0


@dataclass(frozen=True)
class Verdict:
    """A level, the numbers that put the member there, and what would change it."""

    level: Level
    why: Mapping[str, Any] = field(default_factory=dict)


def silence_limit(gap: float | None, days: int, floor: int, gaps: float) -> float:
    """The silence in days that a level allows: by own gap where known, a fixed one otherwise."""
    return float(days) if gap is None else max(float(floor), gaps * gap)


def at_risk_after(gap: float | None) -> float:
    """Silent longer than this many days means at risk."""
    return silence_limit(gap, AT_RISK_DAYS, AT_RISK_FLOOR, AT_RISK_GAPS)


def level_of(now: Standing) -> Verdict:
    """The first level that fits, in the order of `product.md` L2."""
    if now.purchase_days == 0 or now.silent_days is None:
        return Verdict(Level.TARGET, {"purchase_days": 0, "change": "buys"})
    gap = now.own_gap_days
    inactive_limit = silence_limit(gap, INACTIVE_DAYS, INACTIVE_FLOOR, INACTIVE_GAPS)
    risk_limit = at_risk_after(gap)
    numbers = {
        "silent_days": now.silent_days,
        "own_gap_days": gap,
        "purchase_days": now.purchase_days,
    }
    if now.silent_days > inactive_limit:
        return Verdict(Level.INACTIVE, {**numbers, "limit_days": inactive_limit, "change": "buys"})
    if now.silent_days > risk_limit:
        return Verdict(Level.AT_RISK, {**numbers, "limit_days": risk_limit, "change": "buys"})
    if (
        now.purchases_before_90 >= SPEND_DROP_MIN_PURCHASES
        and now.spent_90 * 2 <= now.spent_before_90
    ):
        return Verdict(
            Level.AT_RISK,
            {
                **numbers,
                "spent_90": now.spent_90,
                "spent_before_90": now.spent_before_90,
                "change": "spends_more",
            },
        )
    if now.purchase_days >= REGULAR_PURCHASE_DAYS:
        return Verdict(Level.REGULAR, {**numbers, "limit_days": risk_limit, "change": "silence"})
    return Verdict(
        Level.NEUTRAL,
        {
            **numbers,
            "limit_days": risk_limit,
            "needs_days": REGULAR_PURCHASE_DAYS,
            "change": "buys_or_silence",
        },
    )


def react(runtime: Runtime, session: Session, activities_: list[Activity], now: datetime) -> None:
    """The `Reaction` of stages and levels: what people do moves them at once (L5)."""
    tz = runtime.clock.tz
    for activity in activities_:
        if activity.kind == "members.joined":
            after_join(session, session.get_one(Member, activity.member_id), now)
        elif activity.kind == "purchases.recorded":
            if activity.facts.get("is_first"):
                _note_friend_bought(session, activity.member_id, now, tz)
            after_purchase(session, activity.member_id, now, tz)
        elif activity.kind == "purchases.returned":
            after_return(session, activity.member_id, now, tz)


def _note_friend_bought(session: Session, friend_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A brought friend's first purchase may make the one who brought them an advocate."""
    referral = session.scalar(
        select(Referral).where(Referral.friend_id == friend_id, Referral.bought_at.is_(None))
    )
    if referral is None:
        return
    referral.bought_at = now
    session.flush()  # the referrer's stage is decided by it
    totals = _locked(session, referral.referrer_id)
    if totals.stage == Stage.RETENTION:
        _set_stage(session, totals, Stage.ADVOCACY, {"cause": "friend_bought"}, now)
        _judge(session, [totals], now, tz)


def _note_friend_returned(session: Session, friend_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A brought friend's only purchase was taken back, and with it what it did for another."""
    referral = session.scalar(
        select(Referral).where(Referral.friend_id == friend_id, Referral.bought_at.is_not(None))
    )
    if referral is None:
        return
    referral.bought_at = None
    session.flush()  # the referrer's stage is decided by it
    totals = _locked(session, referral.referrer_id)
    if totals.stage == Stage.ADVOCACY and not _friend_bought(session, referral.referrer_id):
        _set_stage(session, totals, Stage.RETENTION, {"cause": "friend_returned"}, now)
        _judge(session, [totals], now, tz)


def _locked(session: Session, member_id: int) -> MemberTotals:
    """Somebody else's totals row, as it is under its lock."""
    return session.scalars(
        select(MemberTotals)
        .where(MemberTotals.member_id == member_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


# --- At the event ---------------------------------------------------------------------------


def after_join(session: Session, member: Member, now: datetime) -> None:
    """A friend has joined, or a member has come in by import or till."""
    totals = session.get_one(MemberTotals, member.id)
    if totals.stage == Stage.AWARENESS:
        _set_stage(session, totals, Stage.CONSIDERATION, {"cause": "joined"}, now)


def after_purchase(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A purchase was recorded and the totals row is up to date."""
    totals = session.get_one(MemberTotals, member_id)
    days = [date.fromisoformat(text) for text in totals.purchase_days]
    stage = totals.stage
    if stage in (Stage.AWARENESS, Stage.CONSIDERATION):
        stage = Stage.PURCHASE
    if stage == Stage.PURCHASE and stage_of(True, days, friend_bought=False) == Stage.RETENTION:
        stage = Stage.RETENTION
    if stage == Stage.RETENTION and _friend_bought(session, member_id):
        stage = Stage.ADVOCACY
    _set_stage(session, totals, stage, {"cause": "purchase"}, now)
    _judge(session, [totals], now, tz)


def after_return(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> None:
    """A purchase was reversed: the stage it caused goes back; silence alone never does that."""
    session.flush()  # what is read below
    totals = session.get_one(MemberTotals, member_id)
    member = session.get_one(Member, member_id)
    days = session.scalars(
        select(Purchase.local_on)
        .where(Purchase.member_id == member_id, Purchase.state != PurchaseState.VOIDED)
        .distinct()
    ).all()
    stage = stage_of(
        member.state == MemberState.MEMBER, days, friend_bought=_friend_bought(session, member_id)
    )
    _set_stage(session, totals, stage, {"cause": "return"}, now)
    _judge(session, [totals], now, tz)
    if not days:
        _note_friend_returned(session, member_id, now, tz)


# --- Nightly ----------------------------------------------------------------------------------


def nightly(
    session: Session, now: datetime, tz: ZoneInfo, *, after_id: int, limit: int
) -> tuple[int, int]:
    """Judge the next `limit` members after `after_id`.

    Returns (members looked at, last id); 0 looked at means the pass is over. Buyers only: those
    who never bought cannot change by time alone.
    """
    rows = session.scalars(
        select(MemberTotals)
        .where(MemberTotals.member_id > after_id, MemberTotals.purchase_day_count > 0)
        .order_by(MemberTotals.member_id)
        .limit(limit)
    ).all()
    if not rows:
        return 0, after_id
    _judge(session, rows, now, tz)
    return len(rows), rows[-1].member_id


def _judge(session: Session, rows: Sequence[MemberTotals], now: datetime, tz: ZoneInfo) -> None:
    spending = _spending(session, [row.member_id for row in rows], now, tz)
    today = local_day(now, tz)
    for row in rows:
        last = date.fromisoformat(row.purchase_days[0]) if row.purchase_days else None
        recent, before, count_before = spending.get(row.member_id, (0, 0, 0))
        verdict = level_of(
            Standing(
                purchase_days=row.purchase_day_count,
                silent_days=max(0, (today - last).days) if last else None,
                own_gap_days=row.own_gap_days,
                spent_90=recent,
                spent_before_90=before,
                purchases_before_90=count_before,
            )
        )
        _set_level(session, row, verdict, now)


def _spending(
    session: Session, member_ids: Sequence[int], now: datetime, tz: ZoneInfo
) -> dict[int, tuple[int, int, int]]:
    """Per member: spend of the last 90 days, of the 90 before, and purchases of those 90."""
    today = local_day(now, tz)
    edge = start_of_day(today - timedelta(days=SPEND_WINDOW_DAYS - 1), tz)
    start = start_of_day(today - timedelta(days=2 * SPEND_WINDOW_DAYS - 1), tz)
    paid = Purchase.amount_satang - Purchase.returned_satang
    rows = session.execute(
        select(
            Purchase.member_id,
            func.sum(paid).filter(Purchase.purchased_at >= edge),
            func.sum(paid).filter(Purchase.purchased_at < edge),
            func.count().filter(Purchase.purchased_at < edge),
        )
        .where(
            Purchase.member_id.in_(member_ids),
            Purchase.purchased_at >= start,
            Purchase.state != PurchaseState.VOIDED,
        )
        .group_by(Purchase.member_id)
    )
    return {row[0]: (int(row[1] or 0), int(row[2] or 0), int(row[3] or 0)) for row in rows}


def _friend_bought(session: Session, member_id: int) -> bool:
    return (
        session.scalar(
            select(Referral.id)
            .where(Referral.referrer_id == member_id, Referral.bought_at.is_not(None))
            .limit(1)
        )
        is not None
    )


def _set_stage(
    session: Session, totals: MemberTotals, stage: Stage, why: dict[str, Any], now: datetime
) -> None:
    if totals.stage == stage:
        return
    _remember(session, totals.member_id, "stage", totals.stage, stage, why, now)
    totals.stage, totals.stage_at = stage, now


def _set_level(session: Session, totals: MemberTotals, verdict: Verdict, now: datetime) -> None:
    why = dict(verdict.why)
    if totals.level == verdict.level:
        # Only what says why is kept up to date; figures that move every day are not (L5).
        if _lasting(totals.level_why) != _lasting(why):
            totals.level_why = why
        return
    _remember(session, totals.member_id, "level", totals.level, verdict.level, why, now)
    totals.level, totals.level_at, totals.level_why = verdict.level, now, why


def _lasting(why: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in why.items() if name not in MOVING}


def _remember(
    session: Session,
    member_id: int,
    field_name: str,
    before: Stage | Level,
    after: Stage | Level,
    why: dict[str, Any],
    now: datetime,
) -> None:
    session.add(
        StageChange(
            member_id=member_id,
            field=field_name,
            before=before.value,
            after=after.value,
            why=why,
            at=now,
        )
    )
    activities.record(
        session,
        member_id,
        "stages.changed",
        now,
        {"field": field_name, "before": before.value, "after": after.value},
    )
