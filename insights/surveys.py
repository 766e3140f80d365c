"""What members answered when they were asked (L4). Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models.scores import HIGH, LOW, SCALES, SurveyAnswer, SurveyKind

PERIODS = (30, 90, 365)


@dataclass(frozen=True)
class Marks:
    """The marks of one question: how many of each, how many were asked."""

    kind: SurveyKind
    by_score: Mapping[int, int]
    asked: int

    @property
    def answered(self) -> int:
        return sum(self.by_score.values())

    @property
    def mean_tenths(self) -> int | None:
        """The mean in tenths of a mark; None without any."""
        total = sum(score * number for score, number in self.by_score.items())
        return (total * 10 + self.answered // 2) // self.answered if self.answered else None

    @property
    def low(self) -> int:
        return sum(n for score, n in self.by_score.items() if score <= LOW[self.kind])

    @property
    def high(self) -> int:
        return sum(n for score, n in self.by_score.items() if score >= HIGH[self.kind])

    @property
    def fine(self) -> int:
        return self.answered - self.low - self.high

    @property
    def net(self) -> int | None:
        """NPS: promoters less detractors, in percent of the answers, from -100 to 100."""
        if not self.answered:
            return None
        return round((self.high - self.low) * 100 / self.answered)


def marks(session: Session, kind: SurveyKind, now: datetime, days: int) -> Marks:
    """The answers of so many days."""
    since = now - timedelta(days=days)
    rows = session.execute(
        select(SurveyAnswer.score, func.count())
        .where(SurveyAnswer.kind == kind, SurveyAnswer.answered_at >= since)
        .group_by(SurveyAnswer.score)
    )
    least, most = SCALES[kind]
    by_score = dict.fromkeys(range(least, most + 1), 0)
    for score, number in rows:
        if score is not None:
            by_score[score] = number
    asked = session.scalar(
        select(func.count())
        .select_from(SurveyAnswer)
        .where(SurveyAnswer.kind == kind, SurveyAnswer.asked_at >= since)
    )
    return Marks(kind, by_score, asked or 0)
