"""What the night adds up: each buyer's windows, and the cut points over all of them.

Figures are kept on `member_scores` and added up again only for members whose bills have changed
or have left a window since the night before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import func, literal, or_, select, union_all
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.db import insert_into
from loyalty.lifecycle import scoring
from loyalty.lifecycle.levels import Cuts
from loyalty.lifecycle.scoring import YEAR_DAYS
from loyalty.lifecycle.standing import PAID, SPEND_WINDOW_DAYS, Windows, sums
from loyalty.lifecycle.thresholds import Thresholds
from models.base import table_of
from models.members import Level, MemberTotals
from models.purchases import Purchase, PurchaseReturn, PurchaseState
from models.scores import CutPoints, MemberScore

SCORES = table_of(MemberScore)
#: Ages at which today's VIPs are looked back at; in between the last one counts.
AGES = (*range(61), *range(90, YEAR_DAYS, 30))
#: More VIPs than this are sampled: a median needs no more.
VIPS_ASKED = 500
FIGURES = (
    "spent_365", "bills_365", "spent_90", "spent_before_90", "bills_before_90", "seen_satang",
    "seen_bills",
)  # fmt: skip


# --- Windows ----------------------------------------------------------------------------------


def refresh(
    session: Session, now: datetime, tz: ZoneInfo, after: int, until: int, *, last: date | None
) -> None:
    """Add up again whoever needs it among the members after `after` up to `until`.

    `last` is the night whose figures are there; None for everybody.
    """
    windows = Windows.of(now, tz)
    session.flush()  # the statements below read what is written
    chosen = (
        select(MemberTotals.member_id, MemberTotals.spent_satang, MemberTotals.purchase_count)
        .where(MemberTotals.member_id > after, MemberTotals.member_id <= until)
        .where(MemberTotals.purchase_count > 0)
    )
    if last is not None:
        chosen = _only_touched(chosen, windows, after, until, last, tz)
    touched = chosen.cte("touched")
    added = (
        select(
            touched.c.member_id,
            *sums(windows),
            func.max(touched.c.spent_satang).label("seen_satang"),
            func.max(touched.c.purchase_count).label("seen_bills"),
        )
        .select_from(touched)
        .join(Purchase, Purchase.member_id == touched.c.member_id)
        .where(Purchase.purchased_at >= windows.year, Purchase.state != PurchaseState.VOIDED)
        .group_by(touched.c.member_id)
        .cte("added")
    )
    rows = (
        select(
            touched.c.member_id,
            *(func.coalesce(added.c[name], 0) for name in FIGURES[:5]),
            touched.c.spent_satang,
            touched.c.purchase_count,
            *(literal(1) for _ in range(3)),
            literal("lost"),
            literal(0),
            literal(0.0),
            literal(windows.today),
        )
        .select_from(touched)
        .outerjoin(added, added.c.member_id == touched.c.member_id)
        .where(touched.c.member_id > after)  # SQLite cannot tell a join from ON CONFLICT without
    )
    columns = [
        "member_id", *FIGURES, "recency", "frequency", "money", "rfm_group", "clv_satang",
        "expected_visits", "as_of",
    ]  # fmt: skip
    insert = insert_into(session, SCORES).from_select(columns, rows, include_defaults=False)
    new = insert.excluded
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["member_id"],
            set_={name: new[name] for name in (*FIGURES, "as_of")},
            where=or_(*(SCORES.c[name] != new[name] for name in FIGURES)),
        )
    )


def _only_touched(
    chosen: Any, windows: Windows, after: int, until: int, last: date, tz: ZoneInfo
) -> Any:
    """New and changed totals, bills that were taken back, bills that left a window."""
    # Bills that left a window are few and found by their time; the sum keeps planners from walking
    # all bills of these members instead.
    by_time = Purchase.member_id + 0
    own = (by_time > after) & (by_time <= until)
    left = union_all(
        *(select(Purchase.member_id).where(own, edge) for edge in _edges(windows.today, last, tz))
    )
    taken_back = select(PurchaseReturn.purchase_id).where(
        PurchaseReturn.at >= start_of_day(last - timedelta(days=1), tz)
    )
    returned = select(Purchase.member_id).where(own, Purchase.id.in_(taken_back))
    return chosen.outerjoin(SCORES, SCORES.c.member_id == MemberTotals.member_id).where(
        or_(
            SCORES.c.member_id.is_(None),
            SCORES.c.seen_satang != MemberTotals.spent_satang,
            SCORES.c.seen_bills != MemberTotals.purchase_count,
            MemberTotals.member_id.in_(left),
            MemberTotals.member_id.in_(returned),
        )
    )


def _edges(today: date, last: date, tz: ZoneInfo) -> Iterator[Any]:
    """Bills that were inside a window on the last night and are not today."""
    for days in (SPEND_WINDOW_DAYS, 2 * SPEND_WINDOW_DAYS, YEAR_DAYS):
        was = start_of_day(last - timedelta(days=days - 1), tz)
        is_now = start_of_day(today - timedelta(days=days - 1), tz)
        yield (Purchase.purchased_at >= was) & (Purchase.purchased_at < is_now)


# --- Cut points -------------------------------------------------------------------------------


def cut(session: Session, now: datetime, tz: ZoneInfo, settings: Thresholds) -> None:
    """Write this night's cut points, once; again only under other thresholds."""
    today = local_day(now, tz)
    known = session.get(CutPoints, today, populate_existing=True)
    if known is not None and known.figures["thresholds"] == settings.as_facts():
        return
    figures = figures_of(session, now, tz, settings)
    if known is None:
        session.execute(
            insert_into(session, CutPoints)
            .values(day=today, figures=figures, made_at=now)
            .on_conflict_do_nothing(index_elements=["day"])
        )
    else:
        known.figures, known.made_at = figures, now
    session.flush()  # the next statements read it


def figures_of(
    session: Session, now: datetime, tz: ZoneInfo, settings: Thresholds
) -> dict[str, Any]:
    """The cut points of everybody as they stand."""
    windows = Windows.of(now, tz)
    spenders = _count(session, MemberScore.spent_365 > 0)
    vip = None
    if spenders >= settings.vip_buyers:
        place = scoring.percentile_rank(spenders, settings.vip_percentile)
        [vip] = _spent_at(session, [place])
    buyers = _count(session, MemberScore.bills_365 > 0)
    days, bills, satang = settings.rfm_days, settings.rfm_bills, settings.rfm_satang
    if buyers >= scoring.FIXED_BELOW:
        days = _day_cuts(session, windows, tz)
        bills = scoring.least_of(_bill_ends(session, buyers))
        satang = scoring.least_of(_spent_at(session, scoring.ranks(spenders)))
    vips, medians = _vip_medians(session, windows.today, settings)
    return {
        "buyers": spenders,
        "vip_satang": vip,
        "vips": vips,
        "vip_medians": medians,
        "days": list(days),
        "bills": list(bills),
        "satang": list(satang),
        "is_fixed": buyers < scoring.FIXED_BELOW,
        "thresholds": settings.as_facts(),
    }


def _count(session: Session, condition: Any) -> int:
    return session.scalar(select(func.count()).select_from(MemberScore).where(condition)) or 0


def _at(session: Session, column: Any, condition: Any, order: Any, places: Sequence[int]) -> Any:
    """The values at these places (from 0) of everybody in this order."""
    ranked = (
        select(column.label("value"), func.row_number().over(order_by=order).label("place"))
        .where(condition)
        .subquery()
    )
    rows = session.execute(
        select(ranked.c.place, ranked.c.value).where(
            ranked.c.place.in_([place + 1 for place in places])
        )
    )
    found = {row.place: row.value for row in rows}
    return [found[place + 1] for place in places]


def _spent_at(session: Session, places: Sequence[int]) -> list[int]:
    """The spend of a year at these places of the spenders, from the least."""
    spent = MemberScore.spent_365
    return [int(one) for one in _at(session, spent, spent > 0, spent, places)]


def _day_cuts(session: Session, windows: Windows, tz: ZoneInfo) -> tuple[int, ...]:
    """Days of silence at which the fifths end, from the moments of last purchases."""
    bought = MemberTotals.last_purchase_at >= windows.year
    count = session.scalar(select(func.count()).select_from(MemberTotals).where(bought)) or 0
    last = MemberTotals.last_purchase_at
    ends = [
        max(0, (windows.today - local_day(moment, tz)).days)
        for moment in _at(session, last, bought, last.desc(), scoring.ranks(count))
    ]
    return tuple(ends)


def _bill_ends(session: Session, buyers: int) -> Sequence[int]:
    """Bills of a year at which the fifths end, from a tally."""
    tally = session.execute(
        select(MemberScore.bills_365, func.count())
        .where(MemberScore.bills_365 > 0)
        .group_by(MemberScore.bills_365)
        .order_by(MemberScore.bills_365)
    ).all()
    ends: list[int] = []
    passed = 0
    wanted = list(scoring.ranks(buyers))
    for bills, count in tally:
        passed += count
        while wanted and wanted[0] < passed:
            ends.append(int(bills))
            wanted.pop(0)
    return ends


def _vip_medians(
    session: Session, today: date, settings: Thresholds
) -> tuple[int, list[tuple[int, int]]]:
    """How many VIPs there are, and the median of what they had spent at each age."""
    is_vip = MemberTotals.level == Level.VIP
    vips = session.scalar(select(func.count()).select_from(MemberTotals).where(is_vip)) or 0
    if vips < settings.potential_vips:
        return vips, []
    step = -(-vips // VIPS_ASKED)
    asked = select(MemberTotals.member_id).where(is_vip, MemberTotals.member_id % step == 0)
    rows = session.execute(
        select(Purchase.member_id, Purchase.local_on, func.sum(PAID))
        .where(Purchase.member_id.in_(asked), Purchase.state != PurchaseState.VOIDED)
        .group_by(Purchase.member_id, Purchase.local_on)
        .order_by(Purchase.member_id, Purchase.local_on)
    ).all()
    return vips, medians_of([(row[0], row[1], int(row[2])) for row in rows], today)


def medians_of(rows: Sequence[tuple[int, date, int]], today: date) -> list[tuple[int, int]]:
    """(age, median spent by then) of members' days of spending, ordered by member and day.

    An age counts while at least half as many have reached it as the youngest age has; of equal
    medians in a row only the first is kept.
    """
    spent_at: list[list[int]] = [[] for _ in AGES]
    member, first, total, place = 0, today, 0, 0

    def close() -> None:
        for rest in range(place, len(AGES)):
            if AGES[rest] > (today - first).days:
                break
            spent_at[rest].append(total)

    for member_id, on, satang in rows:
        if member_id != member:
            if member:
                close()
            member, first, total, place = member_id, on, 0, 0
        while place < len(AGES) and AGES[place] < (on - first).days:
            spent_at[place].append(total)
            place += 1
        total += satang
    if member:
        close()
    found: list[tuple[int, int]] = []
    for age, spent in zip(AGES, spent_at, strict=True):
        if not spent or len(spent) * 2 < len(spent_at[0]):
            break
        middle = sorted(spent)[len(spent) // 2]
        if not found or found[-1][1] != middle:
            found.append((age, middle))
    return found


def cuts_of(session: Session, day: date | None = None) -> Cuts:
    """The cut points of this night, or of the last one."""
    query = select(CutPoints.figures).order_by(CutPoints.day.desc()).limit(1)
    if day is not None:
        query = query.where(CutPoints.day == day)
    return Cuts.of(session.scalar(query))
