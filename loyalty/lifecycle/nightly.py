"""The nightly pass over stages' followers: figures, cut points, scores, then levels (L3-L5).

Each phase goes through the members in ranges of ids, a batch a transaction; the cursor holds phase
and place, so that a stop costs nothing and a second run writes nothing. The database works out who
would be scored or placed otherwise than they are, and only they are touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    BigInteger,
    Date,
    Float,
    Integer,
    String,
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
from sqlalchemy.dialects.postgresql import DATE
from sqlalchemy.orm import Session

from core.clock import local_day
from core.db import is_sqlite
from loyalty.lifecycle import scoring, sums
from loyalty.lifecycle import thresholds as figures
from loyalty.lifecycle.levels import Cuts
from loyalty.lifecycle.moving import judge_many
from loyalty.lifecycle.standing import brought_by_vip, days_ago, offer_acts, top_tier
from loyalty.lifecycle.thresholds import Thresholds
from models.base import UtcDateTime, table_of
from models.conversations import Ticket
from models.members import Level, Member, MemberState, MemberTotals, Stage
from models.scores import GRID, CutPoints, MemberScore, SurveyAnswer, SurveyKind
from models.tiers import MemberTier

#: A cursor is the phase times this, and the last id done.
PHASE = 10**15
#: Few rows change in a usual night: ranges without a row to write may be wider.
WIDE = 5
#: Levels changed in one transaction, so that nobody waits long for it.
MOVES = 500
#: VIPs' medians are given to the database by so many.
MEDIANS = 16
SCORES = table_of(MemberScore)


@dataclass(frozen=True)
class Night:
    """What every phase needs to know."""

    now: datetime
    tz: ZoneInfo
    today: date
    settings: Thresholds
    #: The night whose figures are there; None when all of them must be made again.
    last: sums.Last | None
    #: Whether the owner changed thresholds since: then every reason is looked at again.
    has_new_rules: bool
    limit: int


def nightly(
    session: Session, now: datetime, tz: ZoneInfo, *, cursor: int = 0, limit: int = 20_000
) -> tuple[int, int]:
    """The next batch: `limit` ids of a phase. Returns (rows looked at, cursor); 0 rows is the end."""
    night = _night(session, now, tz, limit)
    phase, after = divmod(cursor, PHASE)
    while phase < len(PHASES):
        done, place = PHASES[phase](session, night, after)
        if place is not None:
            return max(1, done), phase * PHASE + place
        phase, after = phase + 1, 0
        if done:
            return done, phase * PHASE
    return 0, phase * PHASE


def run_whole(session: Session, now: datetime, tz: ZoneInfo) -> None:
    """The whole pass in this one transaction: examples and tests."""
    done, cursor = nightly(session, now, tz)
    while done:
        done, cursor = nightly(session, now, tz, cursor=cursor)
        session.flush()


def latest_cuts(session: Session) -> CutPoints | None:
    """The cut points of the last night."""
    return session.scalar(select(CutPoints).order_by(CutPoints.day.desc()).limit(1))


def _night(session: Session, now: datetime, tz: ZoneInfo, limit: int) -> Night:
    today = local_day(now, tz)
    settings = figures.of(session)
    rows = session.execute(_LAST_TWO).all()
    earlier = next((row for row in rows if row.day < today), None)
    last = None
    if earlier is not None and all(row.day <= today for row in rows):
        # Days that began at other moments cannot be moved on from.
        newest, zone = (earlier.figures.get(name) for name in ("last_bill", "zone"))
        if newest is not None and zone == str(tz):
            last = sums.Last(earlier.day, newest)
    return Night(
        now=now,
        tz=tz,
        today=today,
        settings=settings,
        last=last,
        has_new_rules=earlier is not None and earlier.figures["thresholds"] != settings.as_facts(),
        limit=limit,
    )


_LAST_TWO = select(CutPoints.day, CutPoints.figures).order_by(CutPoints.day.desc()).limit(2)
# Two subqueries, each answered by an end of the index.
_ENDS = select(
    select(func.min(MemberTotals.member_id)).scalar_subquery(),
    select(func.max(MemberTotals.member_id)).scalar_subquery(),
)


def _next(session: Session, after: int, width: int) -> tuple[int, int | None] | None:
    """The end of the next range of ids, and where to go on after it; None when nobody is left."""
    first, last = session.execute(_ENDS).one()
    if last is None or after >= last:
        return None
    until = min(int(max(after, first - 1)) + width, int(last))
    return until, until if until < last else None


# --- Phases -----------------------------------------------------------------------------------


def _refresh(session: Session, night: Night, after: int) -> tuple[int, int | None]:
    span = _next(session, after, night.limit * (WIDE if night.last else 1))
    if span is None:
        return 0, None
    until, place = span
    sums.refresh(session, night.now, night.tz, after, until, last=night.last)
    return 1, place


def _cut(session: Session, night: Night, after: int) -> tuple[int, int | None]:
    sums.cut(session, night.now, night.tz, night.settings)
    return 1, None


def _score(session: Session, night: Night, after: int) -> tuple[int, int | None]:
    """Set the scores that are others than they were."""
    span = _next(session, after, night.limit * (WIDE if night.last else 1))
    if span is None:
        return 0, None
    until, place = span
    cuts = sums.cuts_of(session, night.today)
    steps = (
        [night.today - timedelta(days=cut) for cut in cuts.days],
        list(cuts.bills),
        list(cuts.satang),
    )
    asked = _range(night, after, until) | _numbered(dict(zip(_STAIRS, steps, strict=True)))
    counts = tuple(len(some) for some in steps)
    session.execute(_rescore(is_sqlite(session), night.settings, counts), asked)
    return 1, place


def _judge_buyers(session: Session, night: Night, after: int) -> tuple[int, int | None]:
    span = _next(session, after, night.limit)
    if span is None:
        return 0, None
    until, place = span
    cuts = sums.cuts_of(session, night.today)
    if night.has_new_rules:
        query = _ALL_BUYERS
    else:
        query = _buyers_to_move(
            is_sqlite(session),
            night.settings,
            has_vips=cuts.vip_satang is not None and cuts.buyers >= night.settings.vip_buyers,
            medians=_places(cuts) if cuts.vips >= night.settings.potential_vips else 0,
        )
    asked = _range(night, after, until) | _asked_of_buyers(night, cuts)
    return _judge_some(session, night, cuts, query, asked, place)


def _judge_others(session: Session, night: Night, after: int) -> tuple[int, int | None]:
    """Those who never bought, once all buyers are placed: promise comes from who brought them."""
    span = _next(session, after, night.limit)
    if span is None:
        return 0, None
    until, place = span
    cuts = sums.cuts_of(session, night.today)
    settings = night.settings
    query = _others_to_move(settings, is_enough=cuts.vips >= settings.potential_vips)
    newcomers_since = days_ago(night.today, settings.potential_days, night.tz)
    asked = _range(night, after, until) | {"newcomers_since": newcomers_since}
    return _judge_some(session, night, cuts, query, asked, place)


def _range(night: Night, after: int, until: int) -> dict[str, Any]:
    """What every statement about a range of members is told."""
    return {
        "after": after,
        "until": until,
        "today": night.today,
        "today_text": night.today.isoformat(),
    }


def _numbered(named: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    return {f"{name}_{n}": one for name, some in named.items() for n, one in enumerate(some)}


def _is_within(member_id: Any) -> tuple[Any, Any]:
    """Of the range: what else is looked up of these members is looked up of no others."""
    return (
        member_id > bindparam("after", type_=BigInteger()),
        member_id <= bindparam("until", type_=BigInteger()),
    )


_IS_BETWEEN = _is_within(MemberTotals.member_id)


PHASES = (_refresh, _cut, _score, _judge_buyers, _judge_others)


def _judge_some(
    session: Session, night: Night, cuts: Cuts, query: Any, asked: dict[str, Any], place: int | None
) -> tuple[int, int | None]:
    """Judge whom the query finds of a range, at most `MOVES` of them in one transaction."""
    ids = session.scalars(query, asked).all()
    if not ids:
        return 1, place
    judge_many(session, ids, cuts, night.now, night.tz)
    return len(ids), ids[-1] if len(ids) == MOVES else place


# --- In the database --------------------------------------------------------------------------

# Built once for the shop's thresholds: putting them together costs more than most nights' answers.

_STAIRS = ("silent_since", "bills_from", "satang_from")


def _in_order(query: Any) -> Any:
    return query.where(*_IS_BETWEEN).order_by(MemberTotals.member_id).limit(MOVES)


_ALL_BUYERS = _in_order(select(MemberTotals.member_id).where(MemberTotals.purchase_day_count > 0))


def _silent_days(on_sqlite: bool, day: Any) -> Any:
    """Days since this one, never below none."""
    if on_sqlite:
        today = bindparam("today_text", type_=String())
        days = cast(func.julianday(today) - func.julianday(day), Integer)
        return type_coerce(func.max(days, 0), Integer)
    span = type_coerce(cast(bindparam("today", type_=Date()), DATE) - cast(day, DATE), Integer)
    return type_coerce(func.greatest(span, 0), Integer)


def _placed() -> Any:
    """Level and kind of reason as they are, like `_put`."""
    change = MemberTotals.level_why["change"].as_string()
    return cast(MemberTotals.level, String) + literal(":") + func.coalesce(change, literal(""))


def _limit(gap: Any, days: int, floor: int, gaps: float) -> Any:
    """`levels.silence_limit` over the members' own gaps."""
    by_gap = case((gap * gaps > floor, gap * gaps), else_=float(floor))
    return case((gap.is_(None), float(days)), else_=by_gap)


def _inactive_limit(gap: Any, settings: Thresholds) -> Any:
    return _limit(gap, settings.inactive_days, settings.inactive_floor, settings.inactive_gaps)


@lru_cache(maxsize=8)
def _rescore(on_sqlite: bool, settings: Thresholds, counts: tuple[int, ...]) -> Any:
    """Sets the scores that are others than they were; so many cuts of each kind are given."""
    wanted = _scores(on_sqlite, settings, counts)
    return (
        update(SCORES)
        .values(wanted | {"as_of": bindparam("today", type_=Date())})
        .where(SCORES.c.member_id > bindparam("after", type_=BigInteger()))
        .where(SCORES.c.member_id <= bindparam("until", type_=BigInteger()))
        .where(or_(*(SCORES.c[name] != value for name, value in wanted.items())))
    )


def _scores(on_sqlite: bool, settings: Thresholds, counts: tuple[int, ...]) -> dict[str, Any]:
    """Recency, frequency, money, group, visits and worth, as `scoring.py` has them."""
    own = SCORES.c
    # A member without a bill in the year is off the scale; theirs are the lowest scores.
    has_bought = own.bills_365 > 0
    recency, frequency, money = (
        _stairs(
            has_bought,
            *((column >= bindparam(f"{name}_{n}", type_=column.type), 5 - n) for n in range(count)),
        )
        for name, column, count in zip(
            _STAIRS, (own.last_on, own.bills_365, own.spent_365), counts, strict=True
        )
    )
    gap, bills, spent = own.own_gap_days, own.seen_bills, own.seen_satang
    silent = _silent_days(on_sqlite, own.last_on)
    is_gone = silent > _inactive_limit(gap, settings)
    halves = cast(gap * 2, Integer)
    margin = spent * settings.margin_percent
    more = case(
        (or_(bills == 0, is_gone), 0),
        (gap.is_(None), margin * own.bills_365 // (100 * bills)),
        else_=margin * (2 * scoring.YEAR_DAYS) // (100 * bills * halves),
    )
    visits = case(
        (is_gone, 0.0),
        (gap.is_(None), cast(own.bills_365, Float)),
        else_=(2.0 * scoring.YEAR_DAYS) / cast(halves, Float),
    )
    group = case(
        {
            row * 10 + column: name
            for row, names in GRID.items()
            for column, name in enumerate(names, start=1)
        },
        value=recency * 10 + (frequency + money + 1) // 2,
        else_="lost",
    )
    return {
        "recency": recency,
        "frequency": frequency,
        "money": money,
        "rfm_group": group,
        "expected_visits": visits,
        "clv_satang": spent + more,
    }


def _stairs(has_bought: Any, *steps: tuple[Any, int]) -> Any:
    return case((~has_bought, 1), *steps, else_=1)


def _asked_of_buyers(night: Night, cuts: Cuts) -> dict[str, Any]:
    """What `_buyers_to_move` is told of this night."""
    settings, today, tz = night.settings, night.today, night.tz
    ages = [(days_ago(today, age - 1, tz), satang) for age, satang in reversed(cuts.vip_medians)]
    ages += ages[-1:] * (_places(cuts) - len(ages))
    return {
        "tickets_since": days_ago(today, settings.tickets_days, tz),
        "answered_since": days_ago(today, settings.csat_days, tz),
        "vip_satang": cuts.vip_satang,
        **_numbered({"first_before": [at for at, _ in ages], "median": [one for _, one in ages]}),
    }


def _places(cuts: Cuts) -> int:
    """How many medians the statement has room for: few different numbers, as each is compiled.

    The last one, of the youngest age, stands in the places that are left.
    """
    return -(-len(cuts.vip_medians) // MEDIANS) * MEDIANS


@lru_cache(maxsize=32)
def _buyers_to_move(on_sqlite: bool, settings: Thresholds, *, has_vips: bool, medians: int) -> Any:
    """Buyers whose level, or the kind of reason for it, would be another."""
    tickets = (
        select(Ticket.member_id, func.count().label("number"))
        .where(*_is_within(Ticket.member_id))
        .where(Ticket.opened_at >= bindparam("tickets_since", type_=UtcDateTime()))
        .group_by(Ticket.member_id)
        .having(func.count() >= settings.tickets)
        .subquery()
    )
    would_be = _code(on_sqlite, settings, tickets, has_vips=has_vips, medians=medians)
    return _in_order(
        select(MemberTotals.member_id)
        .join(MemberScore, MemberScore.member_id == MemberTotals.member_id)
        .outerjoin(tickets, tickets.c.member_id == MemberTotals.member_id)
        .where(MemberTotals.purchase_day_count > 0)
        .where(would_be != _placed())
    )


def _code(
    on_sqlite: bool, settings: Thresholds, tickets: Any, *, has_vips: bool, medians: int
) -> Any:
    """`levels.level_of` for buyers, as `level:change`."""
    own = MemberTotals
    silent = _silent_days(on_sqlite, MemberScore.last_on)
    number = func.coalesce(tickets.c.number, 0)
    answered_since: Any = bindparam("answered_since", type_=UtcDateTime())
    newest = (
        select(SurveyAnswer.score)
        .where(
            SurveyAnswer.member_id == own.member_id,
            SurveyAnswer.kind == SurveyKind.CSAT,
            SurveyAnswer.answered_at >= answered_since,
        )
        .order_by(SurveyAnswer.answered_at.desc(), SurveyAnswer.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    unhappy = select(SurveyAnswer.member_id).where(
        *_is_within(SurveyAnswer.member_id),
        SurveyAnswer.kind == SurveyKind.CSAT,
        SurveyAnswer.answered_at >= answered_since,
        SurveyAnswer.score <= settings.csat_low,
    )
    is_unhappy = and_(own.member_id.in_(unhappy), newest <= settings.csat_low)
    has_dropped = and_(
        MemberScore.bills_before_90 >= settings.drop_purchases,
        MemberScore.spent_90 * 100 <= MemberScore.spent_before_90 * settings.drop_percent,
    )
    at_top = own.member_id.in_(
        select(MemberTier.member_id).where(MemberTier.tier_id == top_tier().scalar_subquery())
    )
    gap = own.own_gap_days
    risk_limit = _limit(gap, settings.at_risk_days, settings.at_risk_floor, settings.at_risk_gaps)
    steps: list[tuple[Any, str]] = [
        (number * 2 > own.purchase_count, _put(Level.HIGH_MAINTENANCE, "fewer_tickets")),
        (silent > _inactive_limit(gap, settings), _put(Level.INACTIVE, "buys")),
        (silent > risk_limit, _put(Level.AT_RISK, "buys")),
        (has_dropped, _put(Level.AT_RISK, "spends_more")),
        (is_unhappy, _put(Level.AT_RISK, "happier")),
    ]
    if has_vips:
        is_above = MemberScore.spent_365 >= bindparam("vip_satang", type_=BigInteger())
        steps.append((is_above, _put(Level.VIP, "spend_falls")))
    steps.append((at_top, _put(Level.VIP, "tier_falls")))
    steps.append((own.stage == Stage.ADVOCACY, _put(Level.ADVOCATE, "silence")))
    if medians:
        by_age = [
            (
                own.first_purchase_at < bindparam(f"first_before_{n}", type_=UtcDateTime()),
                bindparam(f"median_{n}", type_=BigInteger()),
            )
            for n in range(medians)
        ]
        is_ahead = own.spent_satang >= case(*by_age, else_=None)
        steps.append(
            (
                case((own.purchase_day_count <= 2, is_ahead), else_=False),
                _put(Level.POTENTIAL_HIGH_VALUE, "grows"),
            )
        )
    is_regular = own.purchase_day_count >= settings.regular_days
    steps.append((is_regular, _put(Level.REGULAR, "silence")))
    return case(*steps, else_=_put(Level.NEUTRAL, "buys_or_silence"))


def _put(level: Level, change: str) -> str:
    return f"{level.value}:{change}"


@lru_cache(maxsize=8)
def _others_to_move(settings: Thresholds, *, is_enough: bool) -> Any:
    """Members without a bill: who shows promise and is not placed so, and who no longer does.

    `is_enough`: there are VIPs enough for anybody to be compared with them.
    """
    is_new = Member.joined_at >= bindparam("newcomers_since", type_=UtcDateTime())
    has_promise = and_(
        is_new,
        or_(
            brought_by_vip(MemberTotals.member_id),
            offer_acts(MemberTotals.member_id) >= settings.potential_acts,
        ),
    )
    is_placed = MemberTotals.level == Level.POTENTIAL_HIGH_VALUE
    query = (
        select(MemberTotals.member_id)
        .join(Member, Member.id == MemberTotals.member_id)
        .where(MemberTotals.purchase_day_count == 0)
        .where(Member.state == MemberState.MEMBER)
    )
    is_elsewhere = MemberTotals.level.not_in((Level.TARGET, Level.POTENTIAL_HIGH_VALUE))
    if not is_enough:
        return _in_order(query.where(or_(is_placed, is_elsewhere)))
    return _in_order(
        query.where(
            or_(
                and_(is_new, is_placed != has_promise),
                and_(~is_new, is_placed),
                is_elsewhere,
            )
        )
    )
