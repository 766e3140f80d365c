"""Where a member stands: stage (L1), level (L2) with the numbers behind it, scores (L3, L4).

| File | Owns |
|---|---|
| `thresholds.py` | the settings behind the rules, and what values they may have |
| `stages.py`, `levels.py`, `scoring.py` | the rules: pure arithmetic |
| `standing.py` | reads what a level is decided from, in one statement |
| `moving.py` | changes at the event (L5), with their history |
| `nightly.py`, `sums.py` | the night: figures, cut points, scores and levels, in sets |
"""

from __future__ import annotations

from loyalty.lifecycle.levels import Cuts, Standing, Verdict, at_risk_after, level_of, silence_limit
from loyalty.lifecycle.moving import (
    after_join,
    after_purchase,
    after_return,
    explain,
    judge,
    react,
)
from loyalty.lifecycle.nightly import latest_cuts, nightly, run_whole
from loyalty.lifecycle.scoring import Scores, group_of
from loyalty.lifecycle.stages import (
    GAP_DAYS_KEPT,
    GAP_KNOWN_FROM,
    is_return_visit,
    own_gap,
    stage_of,
)
from loyalty.lifecycle.standing import SPEND_WINDOW_DAYS, standings_of
from loyalty.lifecycle.thresholds import Thresholds
from models.scores import GROUPS

__all__ = [
    "GAP_DAYS_KEPT",
    "GAP_KNOWN_FROM",
    "GROUPS",
    "SPEND_WINDOW_DAYS",
    "Cuts",
    "Scores",
    "Standing",
    "Thresholds",
    "Verdict",
    "after_join",
    "after_purchase",
    "after_return",
    "at_risk_after",
    "explain",
    "group_of",
    "is_return_visit",
    "judge",
    "latest_cuts",
    "level_of",
    "nightly",
    "own_gap",
    "react",
    "run_whole",
    "silence_limit",
    "stage_of",
    "standings_of",
]
