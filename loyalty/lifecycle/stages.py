"""Own gap and stage (L1): pure arithmetic over purchase days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from statistics import median

from loyalty.lifecycle.thresholds import Thresholds
from models.members import Stage

GAP_DAYS_KEPT = 10
GAP_KNOWN_FROM = 4
USUAL = Thresholds()


def own_gap(days: Sequence[date]) -> float | None:
    """Median days between the last 10 distinct purchase days; None below 4 of them."""
    kept = sorted(days)[-GAP_DAYS_KEPT:]
    if len(kept) < GAP_KNOWN_FROM:
        return None
    return float(median((b - a).days for a, b in pairwise(kept)))


def is_return_visit(
    before: date, after: date, gap: float | None, thresholds: Thresholds = USUAL
) -> bool:
    """Whether a purchase day follows the one before closely enough to count as retention."""
    limit = float(thresholds.retention_days)
    if gap is not None:
        limit = max(limit, thresholds.retention_gaps * gap)
    return (after - before).days <= limit


def stage_of(
    is_member: bool,
    days: Sequence[date],
    *,
    friend_bought: bool,
    has_praised: bool = False,
    thresholds: Thresholds = USUAL,
) -> Stage:
    """The stage that these purchase days (any order, all of them) lead to."""
    if not days:
        return Stage.CONSIDERATION if is_member else Stage.AWARENESS
    ordered = sorted(set(days))
    returned = any(
        is_return_visit(ordered[i - 1], ordered[i], own_gap(ordered[: i + 1]), thresholds)
        for i in range(1, len(ordered))
    )
    if not returned:
        return Stage.PURCHASE
    return Stage.ADVOCACY if friend_bought or has_praised else Stage.RETENTION
