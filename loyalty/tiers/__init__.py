"""Tiers: what qualifies, who stands where, how members climb, hold and fall (R1).

A member stands in one tier or none; the row is the truth and changes only under the lock of the
member's totals. Whoever reaches a tier holds it for a while; at the end of the hold the window that
ends there decides again. A tier set by hand stays until its own end. Every change is a row of
`stage_changes`. What a change gives and takes lies in `loyalty/tier_gifts.py`.
"""

from __future__ import annotations

from loyalty.tiers.figures import hold_end, window_start
from loyalty.tiers.ladder import (
    NO_TIER,
    Rules,
    early_days_of,
    earn_percent_of,
    highest_below,
    ladder_of,
    percent_off_of,
    rules_of,
    tier_of,
    tiers_of,
)
from loyalty.tiers.moving import (
    Move,
    due_members,
    end_by_hand,
    hand_back,
    hand_over,
    late_climbers,
    reachings_of,
    requalify,
    set_by_hand,
)
from loyalty.tiers.progress import Progress, Risk, progress_of, warn

__all__ = [
    "NO_TIER",
    "Move",
    "Progress",
    "Risk",
    "Rules",
    "due_members",
    "early_days_of",
    "earn_percent_of",
    "end_by_hand",
    "hand_back",
    "hand_over",
    "highest_below",
    "hold_end",
    "ladder_of",
    "late_climbers",
    "percent_off_of",
    "progress_of",
    "reachings_of",
    "requalify",
    "rules_of",
    "set_by_hand",
    "tier_of",
    "tiers_of",
    "warn",
    "window_start",
]
