"""How far the next tier is, and who is about to lose theirs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from loyalty import activities
from loyalty.tiers.figures import ONE_DAY, day_before, figure_of, window_start
from loyalty.tiers.ladder import Basis, highest_below, ladder_of, rules_of
from models.tiers import MemberTier, Tier


@dataclass(frozen=True)
class Progress:
    """A member on the ladder, as they are shown it."""

    tier: Tier | None
    since: datetime | None
    #: The last local day of the hold.
    until: date | None
    is_manual: bool
    #: What counts so far, in satang or points.
    figure: int
    basis: Basis
    next: Tier | None
    missing: int
    percent: int


@dataclass(frozen=True)
class Risk:
    """A member who falls on the day after `until` unless `missing` more comes."""

    member_id: int
    tier: Tier
    until: date
    missing: int


def progress_of(session: Session, member_id: int, now: datetime, tz: ZoneInfo) -> Progress | None:
    """Where a member stands and how far it is to the next tier; None in a shop without tiers."""
    ladder = ladder_of(session)
    if not ladder:
        return None
    row = session.get(MemberTier, member_id)
    tier = session.get_one(Tier, row.tier_id) if row is not None else None
    if row is None or tier is None or not tier.is_on:
        row = tier = None
    rules = rules_of(session)
    start = window_start(rules, local_day(now, tz), tz)
    figure = figure_of(session, rules, member_id, start)
    floor = tier.threshold if tier is not None else 0
    above = next((one for one in ladder if one.threshold > floor), None)
    missing = max(0, above.threshold - figure) if above is not None else 0
    percent = 100
    if above is not None:
        percent = max(0, min(100, 100 * figure // above.threshold))
    return Progress(
        tier=tier,
        since=row.since if row is not None else None,
        until=day_before(row.holds_until, tz) if row is not None else None,
        is_manual=row.is_manual if row is not None else False,
        figure=figure,
        basis=rules.basis,
        next=above,
        missing=missing,
        percent=percent,
    )


def warn(
    session: Session, now: datetime, tz: ZoneInfo, *, after_id: int, limit: int
) -> tuple[list[Risk], int]:
    """Note, once for each hold, who will fall at its end as things stand.

    Looks at the next `limit` members after `after_id` whose hold ends within the days of warning;
    returns (those warned, last id looked at), the id 0 when there was none left to look at.
    """
    rules, ladder = rules_of(session), ladder_of(session)
    horizon = start_of_day(local_day(now, tz) + (rules.warn_days + 1) * ONE_DAY, tz)
    rows = session.scalars(
        select(MemberTier)
        .where(
            MemberTier.member_id > after_id,
            MemberTier.holds_until > now,
            MemberTier.holds_until <= horizon,
            MemberTier.warned_at.is_(None),
        )
        .order_by(MemberTier.member_id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    risks = []
    for row in rows:
        tier = session.get_one(Tier, row.tier_id)
        last_day = day_before(row.holds_until, tz)
        figure = figure_of(session, rules, row.member_id, window_start(rules, last_day, tz))
        kept = highest_below(ladder, figure)
        if kept is not None and kept.threshold >= tier.threshold:
            continue
        row.warned_at = now
        risk = Risk(row.member_id, tier, last_day, tier.threshold - figure)
        facts = {
            "tier": tier.key,
            "until": last_day.isoformat(),
            "missing": risk.missing,
            "basis": rules.basis.value,
        }
        activities.record(session, row.member_id, "tiers.at_risk", now, facts)
        risks.append(risk)
    return risks, rows[-1].member_id if rows else 0
