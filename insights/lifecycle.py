"""How members move between levels, and how long they have been at their stage. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import and_, case, func, or_, select
from sqlalchemy.orm import Session

from models.members import Level, Member, MemberState, MemberTotals, Stage, StageChange

#: Periods to look back over, in days.
PERIODS = (7, 30, 90, 365)
#: Upper edges of the spans of time at a stage, in days; the last span has none.
SPANS = (7, 30, 90, 365)


@dataclass(frozen=True)
class Migration:
    """Members by the level they had when the period began and the one they have now."""

    moves: dict[tuple[Level, Level], int]
    #: How many moved, and how many stayed where they were.
    moved: int
    stayed: int
    most: int

    def of(self, before: Level, after: Level) -> int:
        return self.moves.get((before, after), 0)

    def heat(self, before: Level, after: Level) -> int:
        """0 to 9 for the colour, by the most of those who moved."""
        return -(-self.of(before, after) * 9 // self.most) if before != after else 0


def migration(session: Session, now: datetime, days: int) -> Migration:
    """Of everybody who is a member now."""
    since = now - timedelta(days=days)
    first = (
        select(
            StageChange.member_id,
            StageChange.before,
            func.row_number()
            .over(partition_by=StageChange.member_id, order_by=(StageChange.at, StageChange.id))
            .label("place"),
        )
        .where(StageChange.field == "level", StageChange.at >= since)
        .subquery()
    )
    was = func.coalesce(first.c.before, MemberTotals.level)
    rows = session.execute(
        select(was, MemberTotals.level, func.count())
        .join(Member, Member.id == MemberTotals.member_id)
        .outerjoin(first, and_(first.c.member_id == MemberTotals.member_id, first.c.place == 1))
        .where(Member.state == MemberState.MEMBER)
        .group_by(was, MemberTotals.level)
    ).all()
    moves = {(Level(row[0]), Level(row[1])): int(row[2]) for row in rows}
    moved = {pair: number for pair, number in moves.items() if pair[0] != pair[1]}
    return Migration(
        moves,
        sum(moved.values()),
        sum(moves.values()) - sum(moved.values()),
        max(moved.values(), default=1),
    )


def days_in_stage(session: Session, now: datetime) -> dict[Stage, list[int]]:
    """Members at each stage by how long they have been there: one number for each span."""
    edges = [now - timedelta(days=days) for days in SPANS]
    span = case(
        *((MemberTotals.stage_at > edge, place) for place, edge in enumerate(edges)),
        else_=len(edges),
    )
    rows = session.execute(
        select(MemberTotals.stage, span, func.count())
        .join(Member, Member.id == MemberTotals.member_id)
        .where(or_(Member.state == MemberState.MEMBER, Member.state == MemberState.FRIEND))
        .group_by(MemberTotals.stage, span)
    )
    found = {stage: [0] * (len(SPANS) + 1) for stage in Stage}
    for stage, place, number in rows:
        found[stage][place] += number
    return found
