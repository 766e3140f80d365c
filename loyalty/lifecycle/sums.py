"""What the night adds up: each buyer's windows, and the cut points over all of them.

Figures are kept on `member_scores`. They are added up again only for members whose bills have
changed since the night before; bills that have left a window are taken out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Date, and_, cast, func, literal, or_, select, type_coerce, update
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.db import insert_into, is_sqlite
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
#: Spends are tallied in steps of this many satang.
SPENT_STEP = 10_000
SPENT = MemberScore.spent_365
FIGURES = ("spent_365", "bills_365", "spent_90", "spent_before_90", "bills_before_90")
#: The member's totals as they were when their bills were added up.
SEEN = ("seen_satang", "seen_bills", "last_on", "own_gap_days")


# --- Windows ----------------------------------------------------------------------------------


def refresh(
    session: Session, now: datetime, tz: ZoneInfo, after: int, until: int, *, last: date | None
) -> None:
    """Bring the windows of the members after `after` up to `until` up to today.

    `last` is the night whose figures are there; None for everybody anew. Members whose bills have
    changed since are added up again; for the others, only bills that have left a window count.
    """
    windows = Windows.of(now, tz)
    session.flush()  # the statements below read what is written
    _add_up(session, windows, tz, after, until, last)
    if last is not None and last < windows.today:
        _move_on(session, windows, tz, after, until, last)


def _add_up(
    session: Session, windows: Windows, tz: ZoneInfo, after: int, until: int, last: date | None
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
        chosen = _only_changed(chosen, windows.today, after, until, last, tz)
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
    session: Session, windows: Windows, tz: ZoneInfo, after: int, until: int, last: date
) -> None:
    """Take bills that have left a window out of it, and into the next one."""
    # They are few and found by their time: the sum keeps planners from walking members' bills.
    by_time = Purchase.member_id + 0
    recent, before, year = (
        _left(days, windows.today, last, tz)
        for days in (SPEND_WINDOW_DAYS, 2 * SPEND_WINDOW_DAYS, YEAR_DAYS)
    )

    def spent(edge: Any) -> Any:
        return func.coalesce(func.sum(PAID).filter(edge), 0)

    left = (
        select(
            Purchase.member_id,
            spent(year).label("year_satang"),
            func.count().filter(year).label("year_bills"),
            spent(recent).label("recent_satang"),
            func.count().filter(recent).label("recent_bills"),
            spent(before).label("before_satang"),
            func.count().filter(before).label("before_bills"),
        )
        .where(by_time > after, by_time <= until, or_(recent, before, year))
        .where(Purchase.state != PurchaseState.VOIDED)
        .group_by(Purchase.member_id)
        .cte("left_windows")
        .prefix_with("MATERIALIZED")
    )
    own = SCORES.c
    session.execute(
        update(SCORES)
        .values(
            spent_365=own.spent_365 - left.c.year_satang,
            bills_365=own.bills_365 - left.c.year_bills,
            spent_90=own.spent_90 - left.c.recent_satang,
            spent_before_90=own.spent_before_90 + left.c.recent_satang - left.c.before_satang,
            bills_before_90=own.bills_before_90 + left.c.recent_bills - left.c.before_bills,
            as_of=windows.today,
        )
        # Whoever has been added up tonight is as of today, whatever left.
        .where(own.member_id == left.c.member_id, own.as_of <= last)
    )


def _left(days: int, today: date, last: date, tz: ZoneInfo) -> Any:
    """Bills that were inside a window of so many days on the last night and are not today."""
    was = start_of_day(last - timedelta(days=days - 1), tz)
    is_now = start_of_day(today - timedelta(days=days - 1), tz)
    return and_(Purchase.purchased_at >= was, Purchase.purchased_at < is_now)


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
