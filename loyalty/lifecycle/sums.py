"""What the night adds up: each buyer's windows, and the cut points over all of them.

Figures are kept on `member_scores` and moved on from night to night by the bills that came and
those that left a window; what that does not explain is added up again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    Date,
    Integer,
    and_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from core.clock import local_day, start_of_day
from core.db import insert_into, insert_on, is_sqlite
from loyalty.lifecycle import scoring
from loyalty.lifecycle.levels import Cuts
from loyalty.lifecycle.scoring import YEAR_DAYS
from loyalty.lifecycle.standing import PAID, Windows, newest_cuts, sums
from loyalty.lifecycle.thresholds import Thresholds
from models.base import UtcDateTime, table_of
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
    asked: dict[str, Any] = {"after": after, "until": until, **_starts(windows)}
    if last is not None:
        asked |= {"last_day": last.day, "last_bill": last.bill}
        asked |= {f"was_{name}": at for name, at in _starts(Windows.as_of(last.day, tz)).items()}
        asked["taken_back"] = start_of_day(last.day - timedelta(days=1), tz)
    on_sqlite = is_sqlite(session)
    session.flush()  # the statements below read what is written
    if last is not None and last.day < windows.today:
        session.execute(_move_on(on_sqlite), asked)
    session.execute(_add_up(on_sqlite, is_anew=last is None), asked)


# Built once: putting them together costs more than the database's answer in a usual night.

_TODAY: Any = bindparam("today", type_=Date())
_LAST: Any = bindparam("last_day", type_=Date())
_AFTER: Any = bindparam("after", type_=BigInteger())
_UNTIL: Any = bindparam("until", type_=BigInteger())


def _starts(windows: Windows) -> dict[str, Any]:
    """What the statements are told of the windows."""
    return {
        "today": windows.today,
        "year": windows.year,
        "before": windows.before,
        "recent": windows.recent,
    }


def _given_windows(prefix: str = "") -> Windows:
    """Windows that begin where the parameters say."""
    given: list[Any] = [
        bindparam(f"{prefix}{name}", type_=UtcDateTime()) for name in ("year", "before", "recent")
    ]
    return Windows(date.min, *given)


@cache
def _add_up(on_sqlite: bool, *, is_anew: bool) -> Any:
    """Every window anew, from all bills of the year."""
    windows = _given_windows()
    chosen = (
        select(
            MemberTotals.member_id,
            MemberTotals.spent_satang,
            MemberTotals.purchase_count,
            MemberTotals.own_gap_days,
            _newest_day(on_sqlite).label("last_on"),
        )
        .where(MemberTotals.member_id > _AFTER, MemberTotals.member_id <= _UNTIL)
        .where(MemberTotals.purchase_count > 0)
    )
    if not is_anew:
        chosen = _only_changed(chosen)
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
        "as_of": _TODAY,
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
        .where(touched.c.member_id > _AFTER)  # SQLite cannot tell a join from ON CONFLICT without
    )
    insert = insert_on(on_sqlite, SCORES)
    insert = insert.from_select(list(values), rows, include_defaults=False)
    new, kept = insert.excluded, (*FIGURES, *SEEN, "as_of")
    return insert.on_conflict_do_update(
        index_elements=["member_id"],
        set_={name: new[name] for name in kept},
        where=or_(*(SCORES.c[name].is_distinct_from(new[name]) for name in kept)),
    )


def _newest_day(on_sqlite: bool) -> Any:
    """The newest purchase day of a row of totals, as a date."""
    day = MemberTotals.purchase_days[0].as_string()
    return type_coerce(day, Date) if on_sqlite else cast(day, Date)


def _only_changed(chosen: Any) -> Any:
    """New and changed totals, bills that were taken back, and rows of a night that was left."""
    by_time = Purchase.member_id + 0  # keeps planners from walking all bills of these members
    taken_back = select(PurchaseReturn.purchase_id).where(
        PurchaseReturn.at >= bindparam("taken_back", type_=UtcDateTime())
    )
    returned = select(Purchase.member_id).where(
        by_time > _AFTER, by_time <= _UNTIL, Purchase.id.in_(taken_back)
    )
    return chosen.outerjoin(SCORES, SCORES.c.member_id == MemberTotals.member_id).where(
        or_(
            SCORES.c.member_id.is_(None),
            SCORES.c.seen_satang != MemberTotals.spent_satang,
            SCORES.c.seen_bills != MemberTotals.purchase_count,
            SCORES.c.last_on.is_(None),
            and_(SCORES.c.as_of > _LAST, SCORES.c.as_of < _TODAY),
            MemberTotals.member_id.in_(returned),
        )
    )


@cache
def _move_on(on_sqlite: bool) -> Any:
    """Add bills that came since, and move those that have left a window.

    Only where they explain the totals: a bill that was written while the last night looked, or
    that came from another member, leaves its member to `_add_up`.
    """
    # They are few and found by time and id: the sum keeps planners from walking members' bills.
    by_id = Purchase.member_id + 0
    windows, was = _given_windows(), _given_windows("was_")
    is_new = Purchase.id > bindparam("last_bill", type_=BigInteger())
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
        .where(by_id > _AFTER, by_id <= _UNTIL, or_(is_new, *edges))
        .where(Purchase.state != PurchaseState.VOIDED)
        .group_by(Purchase.member_id)
        .cte("moved")
        .prefix_with("MATERIALIZED")
    )
    own = SCORES.c
    return (
        update(SCORES)
        .values(
            **{name: own[name] + moved.c[name] for name in FIGURES},
            seen_satang=MemberTotals.spent_satang,
            seen_bills=MemberTotals.purchase_count,
            last_on=_newest_day(on_sqlite),
            own_gap_days=MemberTotals.own_gap_days,
            as_of=_TODAY,
        )
        .where(
            own.member_id == moved.c.member_id,
            MemberTotals.member_id == moved.c.member_id,
            own.as_of <= _LAST,
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
    steps = _tally(session, _SPENT_STEPS)
    spenders = sum(count for _, count in steps)
    vip = None
    if spenders >= settings.vip_buyers:
        place = scoring.percentile_rank(spenders, settings.vip_percentile)
        [vip] = _spent_at(session, steps, [place])
    by_bills = _tally(session, _BILLS)
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
        "last_bill": session.scalar(_NEWEST_BILL) or 0,
    }


def _counted(value: Any, condition: Any) -> Any:
    return select(value, func.count()).where(condition).group_by(value)


_SPENT_STEPS = _counted(SPENT // SPENT_STEP, SPENT > 0)
_BILLS = _counted(MemberScore.bills_365, MemberScore.bills_365 > 0)
_LAST_DAYS = _counted(MemberScore.last_on, MemberScore.bills_365 > 0)
_NEWEST_BILL = select(func.max(Purchase.id))
_SPENT_AT = (
    select(SPENT)
    .where(SPENT.between(bindparam("least"), bindparam("most")))
    .order_by(SPENT)
    .offset(bindparam("place", type_=Integer()))
    .limit(1)
)
_VIPS = select(func.count()).select_from(MemberTotals).where(MemberTotals.level == Level.VIP)
_SPENT_OF_VIPS = (
    select(Purchase.member_id, Purchase.local_on, func.sum(PAID))
    .where(
        Purchase.member_id.in_(
            select(MemberTotals.member_id).where(
                MemberTotals.level == Level.VIP,
                MemberTotals.member_id % bindparam("step", type_=BigInteger()) == 0,
            )
        ),
        Purchase.state != PurchaseState.VOIDED,
    )
    .group_by(Purchase.member_id, Purchase.local_on)
    .order_by(Purchase.member_id, Purchase.local_on)
)


def _tally(session: Session, counted: Any) -> list[tuple[Any, int]]:
    """How many members have each value, rising."""
    return sorted((value, count) for value, count in session.execute(counted))


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
                _SPENT_AT,
                {
                    "least": max(1, step * SPENT_STEP),
                    "most": (step + 1) * SPENT_STEP - 1,
                    "place": place,
                },
            ).scalar_one()
        )
        for step, place in _ends(steps, places)
    ]


def _day_cuts(session: Session, today: date, ranks: Sequence[int]) -> tuple[int, ...]:
    """Days of silence at which the fifths end."""
    last_days = _tally(session, _LAST_DAYS)
    silent = [(max(0, (today - last_on).days), count) for last_on, count in reversed(last_days)]
    return tuple(days for days, _ in _ends(silent, ranks))


def _vip_medians(
    session: Session, today: date, settings: Thresholds
) -> tuple[int, list[tuple[int, int]]]:
    """How many VIPs there are, and the median of what they had spent at each age."""
    vips = session.scalar(_VIPS) or 0
    if vips < settings.potential_vips:
        return vips, []
    step = -(-vips // VIPS_ASKED)
    rows = session.execute(_SPENT_OF_VIPS, {"step": step}).all()
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
    if day is None:
        return Cuts.of(session.scalar(newest_cuts()))
    return Cuts.of(session.scalar(_CUTS_OF_DAY, {"day": day}))


_CUTS_OF_DAY = select(CutPoints.figures).where(CutPoints.day == bindparam("day"))
