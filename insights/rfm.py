"""RFM as the last night left it: the grid, its groups, and what customers are worth (L3, L4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from models.scores import GRID, GROUPS, CutPoints, MemberScore

#: Upper edges of the bars of worth, in satang; the last bar has none.
WORTH_EDGES = (50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000)
PLACE = (MemberScore.frequency + MemberScore.money + 1) // 2


@dataclass(frozen=True)
class Cell:
    """One square: recency, the mean of frequency and money, its group, and who stands on it."""

    recency: int
    place: int
    group: str
    members: int
    #: 0 to 9, by how many stand here: for the colour.
    heat: int


@dataclass(frozen=True)
class Worth:
    """One bar of worth: from and below, in satang (None: without end)."""

    least: int
    below: int | None
    members: int


@dataclass(frozen=True)
class Rfm:
    """Everything the pages show of the last night."""

    rows: tuple[tuple[Cell, ...], ...]
    groups: Mapping[str, int]
    buyers: int
    worth: tuple[Worth, ...]
    worth_satang: int
    night: CutPoints | None

    @property
    def mean_satang(self) -> int:
        """What a buyer is worth on average."""
        return self.worth_satang // self.buyers if self.buyers else 0


def of(session: Session) -> Rfm:
    """Three statements."""
    found = {
        (row[0], row[1]): row[2]
        for row in session.execute(
            select(MemberScore.recency, PLACE, func.count()).group_by(MemberScore.recency, PLACE)
        )
    }
    most = max(found.values(), default=1)
    rows = tuple(
        tuple(
            Cell(recency, place, name, number := found.get((recency, place), 0),
                 -(-number * 9 // most))
            for place, name in enumerate(names, start=1)
        )
        for recency, names in GRID.items()
    )  # fmt: skip
    groups = dict.fromkeys(GROUPS, 0)
    for row in rows:
        for cell in row:
            groups[cell.group] += cell.members
    worth, total = _worth(session)
    night = session.scalar(select(CutPoints).order_by(CutPoints.day.desc()).limit(1))
    return Rfm(rows, groups, sum(groups.values()), worth, total, night)


def _worth(session: Session) -> tuple[tuple[Worth, ...], int]:
    bar = case(
        *((MemberScore.clv_satang < edge, place) for place, edge in enumerate(WORTH_EDGES)),
        else_=len(WORTH_EDGES),
    )
    tally = session.execute(
        select(bar, func.count(), func.sum(MemberScore.clv_satang)).group_by(bar)
    ).all()
    counts = {row[0]: row[1] for row in tally}
    edges = (0, *WORTH_EDGES)
    uppers = (*WORTH_EDGES, None)
    bars = tuple(
        Worth(least, below, counts.get(place, 0))
        for place, (least, below) in enumerate(zip(edges, uppers, strict=True))
    )
    return bars, sum(int(row[2] or 0) for row in tally)
