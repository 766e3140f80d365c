"""RFM scores and groups (L3) and the worth of a customer (L4): pure arithmetic.

A score is told by cut points: the most days of silence, or the least bills and satang, for 5, 4, 3
and 2. With enough buyers the cuts are quintiles of the night, so that members with equal figures
have equal scores; below that they are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.scores import GRID

FIXED_BELOW = 100
YEAR_DAYS = 365


@dataclass(frozen=True)
class Scores:
    """Three scores, 5 is best, and the group they make."""

    recency: int
    frequency: int
    money: int

    @property
    def group(self) -> str:
        """One of the eleven."""
        return group_of(self.recency, self.frequency, self.money)


def worth_place(frequency: int, money: int) -> int:
    """The column of the grid: the mean of frequency and money, rounded up."""
    return (frequency + money + 1) // 2


def group_of(recency: int, frequency: int, money: int) -> str:
    """One of the eleven usual groups."""
    return GRID[recency][worth_place(frequency, money) - 1]


def ranks(count: int) -> tuple[int, ...]:
    """Places (from 0, in rising order) at which one, two, three and four fifths of so many end."""
    return tuple(-(-count * step // 5) - 1 for step in (1, 2, 3, 4))


def percentile_rank(count: int, percent: int) -> int:
    """Place (from 0, in rising order) of this percentile of so many."""
    return max(0, -(-count * percent // 100) - 1)


def least_of(rising: Sequence[int]) -> tuple[int, ...]:
    """Cuts 5 to 2 from the figures at which the fifths end: more than a fifth's last one."""
    return tuple(value + 1 for value in reversed(rising))


def score_least(value: int, cuts: Sequence[int]) -> int:
    """5 for at least the first cut, down to 1 for less than the last."""
    return next((score for score, cut in zip((5, 4, 3, 2), cuts, strict=True) if value >= cut), 1)


def score_most(value: int, cuts: Sequence[int]) -> int:
    """5 for at most the first cut, down to 1 for more than the last."""
    return next((score for score, cut in zip((5, 4, 3, 2), cuts, strict=True) if value <= cut), 1)


def clv_satang(
    spent: int, bills: int, gap: float | None, bills_365: int, margin_percent: int, *, is_gone: bool
) -> int:
    """Spent so far, and the margin of an average bill for each visit of the next 12 months.

    Visits come from the own gap (a multiple of half a day); without one the last year repeats
    itself; who is inactive is expected no more.
    """
    if bills == 0 or is_gone:
        return spent
    if gap is None:
        return spent + spent * margin_percent * bills_365 // (100 * bills)
    halves = max(2, int(gap * 2))
    return spent + spent * margin_percent * 2 * YEAR_DAYS // (100 * bills * halves)


def expected_visits(gap: float | None, bills_365: int, *, is_gone: bool) -> float:
    """Visits of the next 12 months."""
    if is_gone:
        return 0.0
    return float(bills_365) if gap is None else YEAR_DAYS * 2 / max(2, int(gap * 2))
