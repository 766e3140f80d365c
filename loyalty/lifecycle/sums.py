"""What the night adds up: each buyer's windows, and the cut points over all of them.

Figures are kept on `member_scores` and moved on from night to night by the bills that came and
those that left a window; what that does not explain is added up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Date, and_, case, cast, func, literal, or_, select, type_coerce, update
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.db import insert_into, is_sqlite
from loyalty.lifecycle import scoring
from loyalty.lifecycle.levels import Cuts
from loyalty.lifecycle.scoring import YEAR_DAYS
from loyalty.lifecycle.standing import PAID, Windows, sums
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
#: Spends are tallied in steps of this many satang.
SPENT_STEP = 10_000
SPENT = MemberScore.spent_365
FIGURES = ("spent_365", "bills_365", "spent_90", "spent_before_90", "bills_before_90")
#: The member's totals as they were when their bills were added up.
SEEN = ("seen_satang", "seen_bills", "last_on", "own_gap_days")


# --- Windows ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Last:
    """A night whose figures are there: its day, and the newest bill there was."""

    day: date
    bill: int


def refresh(
    session: Session, now: datetime, tz: ZoneInfo, after: int, until: int, *, last: Last | None
) -> None:
    """Bring the windows of the members after `after` up to `until` up to today.

    `last` is the night whose figures are there; None for everybody anew. Bills that came since and
    bills that have left a window are counted where that explains a member's totals; everybody
    else is added up again.
    """
    windows = Windows.of(now, tz)
    session.flush()  # the statements below read what is written
    if last is not None and last.day < windows.today:
        _move_on(session, windows, tz, after, until, last)
    _add_up(session, windows, tz, after, until, last)


def _add_up(
    session: Session, windows: Windows, tz: ZoneInfo, after: int, until: int, last: Last | None
) -> None:
    """Every window anew, from all bills of the year."""
    chosen = (
        select(
            MemberTotals.member_id,
            MemberTotals.spent_satang,
            MemberTotals.purchase_count,
            MemberTotals.own_gap_days,
            newest_day(session).label("last_on"),
        )
        .where(MemberTotals.member_id > after, MemberTotals.member_id <= until)
        .where(MemberTotals.purchase_count > 0)
    )
    if last is not None:
        chosen = _only_changed(chosen, windows.today, after, until, last.day, tz)
    touched = chosen.cte("touched")
    added = (
        select(touched.c.member_id, *sums(windows))
        .select_from(touched)
        .join(Purchase, Purchase.member_id == touched.c.member_id)
        .where(Purchase.purchased_at >= windows.year, Purchase.state != PurchaseState.VOIDED)
        .group_by(touched.c.member_id)
        .cte("added")
    )
    values = {
        "member_id": touched.c.member_id,
        **{name: func.coalesce(added.c[name], 0) for name in FIGURES},
        "seen_satang": touched.c.spent_satang,
        "seen_bills": touched.c.purchase_count,
        "last_on": touched.c.last_on,
        "own_gap_days": touched.c.own_gap_days,
        "as_of": literal(windows.today),
        # Set by the scores' own phase.
        **{name: literal(1) for name in ("recency", "frequency", "money")},
        "rfm_group": literal("lost"),
        "clv_satang": literal(0),
        "expected_visits": literal(0.0),
    }
    rows = (
        select(*values.values())
        .select_from(touched)
        .outerjoin(added, added.c.member_id == touched.c.member_id)
        .where(touched.c.member_id > after)  # SQLite cannot tell a join from ON CONFLICT without
    )
    insert = insert_into(session, SCORES).from_select(list(values), rows, include_defaults=False)
    new, kept = insert.excluded, (*FIGURES, *SEEN, "as_of")
    session.execute(
        insert.on_conflict_do_update(
            index_elements=["member_id"],
            set_={name: new[name] for name in kept},
            where=or_(*(SCORES.c[name].is_distinct_from(new[name]) for name in kept)),
        )
    )


def newest_day(session: Session) -> Any:
    """The newest purchase day of a row of totals, as a date."""
    day = MemberTotals.purchase_days[0].as_string()
    return type_coerce(day, Date) if is_sqlite(session) else cast(day, Date)


def _only_changed(
    chosen: Any, today: date, after: int, until: int, last: date, tz: ZoneInfo
) -> Any:
    """New and changed totals, bills that were taken back, and rows of a night that was left."""
    by_time = Purchase.member_id + 0  # keeps planners from walking all bills of these members
    taken_back = select(PurchaseReturn.purchase_id).where(
        PurchaseReturn.at >= start_of_day(last - timedelta(days=1), tz)
    )
    returned = select(Purchase.member_id).where(
        by_time > after, by_time <= until, Purchase.id.in_(taken_back)
    )
    return chosen.outerjoin(SCORES, SCORES.c.member_id == MemberTotals.member_id).where(
        or_(
            SCORES.c.member_id.is_(None),
            SCORES.c.seen_satang != MemberTotals.spent_satang,
            SCORES.c.seen_bills != MemberTotals.purchase_count,
            SCORES.c.last_on.is_(None),
            and_(SCORES.c.as_of > last, SCORES.c.as_of < today),
            MemberTotals.member_id.in_(returned),
        )
    )


def _move_on(
    session: Session, windows: Windows, tz: ZoneInfo, after: int, until: int, last: Last
) -> None:
    """Add bills that came since, and move those that have left a window.

    Only where they explain the totals: a bill that was written while the last night looked, or
    that came from another member, leaves its member to `_add_up`.
    """
    # They are few and found by time and id: the sum keeps planners from walking members' bills.
    by_id = Purchase.member_id + 0
    was, is_new = Windows.as_of(last.day, tz), Purchase.id > last.bill
    edges = [
        and_(Purchase.purchased_at >= begin, Purchase.purchased_at < end)
        for begin, end in zip(was.starts, windows.starts, strict=True)
    ]

    def change(then: Any, now: Any, value: Any) -> Any:
        return func.sum(
            case(
                (and_(now, or_(is_new, ~then)), value),
                (and_(then, ~now, ~is_new), -value),
                else_=0,
            )
        )

    moved = (
        select(
            Purchase.member_id,
            func.coalesce(func.sum(PAID).filter(is_new), 0).label("new_satang"),
            func.count().filter(is_new).label("new_bills"),
            change(was.in_year, windows.in_year, PAID).label("spent_365"),
            change(was.in_year, windows.in_year, literal(1)).label("bills_365"),
            change(was.in_recent, windows.in_recent, PAID).label("spent_90"),
            change(was.in_before, windows.in_before, PAID).label("spent_before_90"),
            change(was.in_before, windows.in_before, literal(1)).label("bills_before_90"),
        )
        .where(by_id > after, by_id <= until, or_(is_new, *edges))
        .where(Purchase.state != PurchaseState.VOIDED)
        .group_by(Purchase.member_id)
        .cte("moved")
        .prefix_with("MATERIALIZED")
    )
    own = SCORES.c
    session.execute(
        update(SCORES)
        .values(
            **{name: own[name] + moved.c[name] for name in FIGURES},
            seen_satang=MemberTotals.spent_satang,
            seen_bills=MemberTotals.purchase_count,
            last_on=newest_day(session),
            own_gap_days=MemberTotals.own_gap_days,
            as_of=windows.today,
        )
        .where(
            own.member_id == moved.c.member_id,
            MemberTotals.member_id == moved.c.member_id,
            own.as_of <= last.day,
            own.last_on.is_not(None),
            own.seen_satang + moved.c.new_satang == MemberTotals.spent_satang,
            own.seen_bills + moved.c.new_bills == MemberTotals.purchase_count,
        )
    )


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
    steps = _tally(session, SPENT // SPENT_STEP, SPENT > 0)
    spenders = sum(count for _, count in steps)
    vip = None
    if spenders >= settings.vip_buyers:
        place = scoring.percentile_rank(spenders, settings.vip_percentile)
        [vip] = _spent_at(session, steps, [place])
    by_bills = _tally(session, MemberScore.bills_365, MemberScore.bills_365 > 0)
    buyers = sum(count for _, count in by_bills)
    days, bills, satang = settings.rfm_days, settings.rfm_bills, settings.rfm_satang
    if buyers >= scoring.FIXED_BELOW:
        ranks = scoring.ranks(buyers)
        days = _day_cuts(session, windows.today, ranks)
        bills = scoring.least_of([value for value, _ in _ends(by_bills, ranks)])
        satang = scoring.least_of(_spent_at(session, steps, scoring.ranks(spenders)))
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
        "zone": str(tz),
        "last_bill": session.scalar(select(func.max(Purchase.id))) or 0,
    }


def _tally(session: Session, value: Any, condition: Any) -> list[tuple[Any, int]]:
    """How many members have each value, rising."""
    found = session.execute(select(value, func.count()).where(condition).group_by(value))
    return sorted((value, count) for value, count in found)


def _ends(rising: Sequence[tuple[Any, int]], places: Sequence[int]) -> list[tuple[Any, int]]:
    """The value at each of these places (from 0, rising), and its place among its equals."""
    ends: list[tuple[Any, int]] = []
    passed = 0
    wanted = list(places)
    for value, count in rising:
        while wanted and wanted[0] < passed + count:
            ends.append((value, wanted.pop(0) - passed))
        passed += count
    return ends


def _spent_at(
    session: Session, steps: Sequence[tuple[int, int]], places: Sequence[int]
) -> list[int]:
    """The spend of a year at these places of the spenders, from the least.

    The tally in steps says which step a place is in; only that one is sorted.
    """
    return [
        int(
            session.execute(
                select(SPENT)
                .where(SPENT.between(max(1, step * SPENT_STEP), (step + 1) * SPENT_STEP - 1))
                .order_by(SPENT)
                .offset(place)
                .limit(1)
            ).scalar_one()
        )
        for step, place in _ends(steps, places)
    ]


def _day_cuts(session: Session, today: date, ranks: Sequence[int]) -> tuple[int, ...]:
    """Days of silence at which the fifths end."""
    last_days = _tally(session, MemberScore.last_on, MemberScore.bills_365 > 0)
    silent = [(max(0, (today - last_on).days), count) for last_on, count in reversed(last_days)]
    return tuple(days for days, _ in _ends(silent, ranks))


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
