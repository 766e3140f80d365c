"""What a level is decided from, read for some members in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import and_, bindparam, case, func, literal, null, select
from sqlalchemy.orm import Session, aliased

from core.bulk import is_among
from core.clock import local_day, start_of_day
from core.db import is_sqlite
from loyalty.lifecycle import thresholds as figures
from loyalty.lifecycle.levels import Cuts, Standing
from loyalty.lifecycle.scoring import YEAR_DAYS
from models.activities import Activity
from models.base import UtcDateTime
from models.conversations import Ticket
from models.members import Level, Member, MemberState, MemberTotals, Referral, Stage
from models.purchases import Purchase, PurchaseState
from models.results import Tap
from models.scores import CutPoints, MemberScore, SurveyAnswer, SurveyKind
from models.tiers import MemberTier, Tier

SPEND_WINDOW_DAYS = 90
#: What somebody who never bought may do with an offer; taps on messages count as well.
OFFER_ACTS = ("coupons.claimed", "draws.played", "rewards.exchanged")
PAID = Purchase.amount_satang - Purchase.returned_satang


@dataclass(frozen=True)
class Windows:
    """Where the windows of bills begin, as of one local day."""

    today: date
    year: datetime
    before: datetime
    recent: datetime

    @classmethod
    def of(cls, now: datetime, tz: ZoneInfo) -> Windows:
        """As of the local day of this moment."""
        return cls.as_of(local_day(now, tz), tz)

    @classmethod
    def as_of(cls, today: date, tz: ZoneInfo) -> Windows:
        """The last 365 days, the 90 days before the last 90, and the last 90: today is in them."""

        def start(days: int) -> datetime:
            return start_of_day(today - timedelta(days=days - 1), tz)

        return cls(today, start(YEAR_DAYS), start(2 * SPEND_WINDOW_DAYS), start(SPEND_WINDOW_DAYS))

    @property
    def starts(self) -> tuple[datetime, datetime, datetime]:
        return self.year, self.before, self.recent

    @property
    def in_year(self) -> Any:
        return Purchase.purchased_at >= self.year

    @property
    def in_before(self) -> Any:
        return and_(Purchase.purchased_at >= self.before, Purchase.purchased_at < self.recent)

    @property
    def in_recent(self) -> Any:
        return Purchase.purchased_at >= self.recent


def sums(windows: Windows) -> tuple[Any, ...]:
    """Columns over a member's bills: year's spend and bills, recent spend, spend and bills before."""
    recent, before = windows.in_recent, windows.in_before
    return (
        func.coalesce(func.sum(PAID), 0).label("spent_365"),
        func.count().label("bills_365"),
        func.coalesce(func.sum(PAID).filter(recent), 0).label("spent_90"),
        func.coalesce(func.sum(PAID).filter(before), 0).label("spent_before_90"),
        func.count().filter(before).label("bills_before_90"),
    )


def top_tier() -> Any:
    """The id of the top tier."""
    return select(Tier.id).where(Tier.is_on).order_by(Tier.threshold.desc()).limit(1)


def newest_cuts() -> Any:
    """The figures of the last night."""
    return select(CutPoints.figures).order_by(CutPoints.day.desc()).limit(1)


def standings_of(
    session: Session,
    rows: Sequence[Any],
    now: datetime,
    tz: ZoneInfo,
    *,
    night: Cuts | None = None,
) -> dict[int, tuple[Standing, Cuts]]:
    """Each member's standing as of now, with last night's cut points.

    `rows` are `MemberTotals`, or bear its names. With `night`, its cut points, their bills have
    been added up already.
    """
    settings = figures.of(session)
    windows = Windows.of(now, tz)
    today = windows.today
    by_id = {row.member_id: row for row in rows}
    kept: list[tuple[Any, Cuts]] = [] if night is None else [(None, night)]
    found = session.execute(
        _statement(is_sqlite(session), night is not None),
        {
            "members": list(by_id),
            "year": windows.year,
            "before": windows.before,
            "recent": windows.recent,
            "tickets_since": days_ago(today, settings.tickets_days, tz),
            "csat_since": days_ago(today, settings.csat_days, tz),
            "newcomers_since": days_ago(today, settings.potential_days, tz),
        },
    ).all()
    return {
        one.member_id: (
            _standing(by_id[one.member_id], one, today, tz),
            _cuts(one.cuts, kept),
        )
        for one in found
    }


def _cuts(given: Any, kept: list[tuple[Any, Cuts]]) -> Cuts:
    """The same for all rows of a statement: read once."""
    if not kept:
        kept.append((given, Cuts.of(given)))
    return kept[0][1]


def _moment(name: str) -> Any:
    return bindparam(name, type_=UtcDateTime())


@cache
def _statement(on_sqlite: bool, is_night: bool) -> Any:
    """Built once: putting it together costs more than the database's answer to it."""
    windows = Windows(date.min, _moment("year"), _moment("before"), _moment("recent"))
    bills, cuts = _added_bills(on_sqlite, windows), newest_cuts().scalar_subquery()
    if is_night:
        bills, cuts = _kept_bills(on_sqlite), null()
    tickets = (
        select(func.count())
        .select_from(Ticket)
        .where(Ticket.member_id == MemberTotals.member_id)
        .where(Ticket.opened_at >= _moment("tickets_since"))
    )
    csat = (
        select(SurveyAnswer.score)
        .where(
            SurveyAnswer.member_id == MemberTotals.member_id,
            SurveyAnswer.kind == SurveyKind.CSAT,
            SurveyAnswer.answered_at >= _moment("csat_since"),
        )
        .order_by(SurveyAnswer.answered_at.desc(), SurveyAnswer.id.desc())
        .limit(1)
    )
    tier = (
        select(Tier.key)
        .join(MemberTier, MemberTier.tier_id == Tier.id)
        .where(
            MemberTier.member_id == MemberTotals.member_id,
            Tier.id == top_tier().scalar_subquery(),
        )
    )
    return (
        select(
            MemberTotals.member_id,
            *(func.coalesce(bills.c[name], 0).label(name) for name in bills.c.keys()[1:]),
            tickets.scalar_subquery().label("tickets"),
            csat.scalar_subquery().label("last_csat"),
            tier.scalar_subquery().label("top_tier"),
            cuts.label("cuts"),
            Member.joined_at,
            Member.state,
            *_newcomer(),
        )
        .join(Member, Member.id == MemberTotals.member_id)
        .outerjoin(bills, bills.c.member_id == MemberTotals.member_id)
        .where(_is_asked_for(on_sqlite, MemberTotals.member_id))
    )


def _is_asked_for(on_sqlite: bool, column: Any) -> Any:
    return is_among(on_sqlite, column, "members")


def _added_bills(on_sqlite: bool, windows: Windows) -> Any:
    return (
        select(Purchase.member_id, *sums(windows))
        .where(
            _is_asked_for(on_sqlite, Purchase.member_id),
            windows.in_year,
            Purchase.state != PurchaseState.VOIDED,
        )
        .group_by(Purchase.member_id)
        .subquery()
    )


def _kept_bills(on_sqlite: bool) -> Any:
    """What `_added_bills` would add up, as the night has kept it."""
    return (
        select(
            MemberScore.member_id,
            MemberScore.spent_365,
            MemberScore.bills_365,
            MemberScore.spent_90,
            MemberScore.spent_before_90,
            MemberScore.bills_before_90,
        )
        .where(_is_asked_for(on_sqlite, MemberScore.member_id))
        .subquery()
    )


def _newcomer() -> tuple[Any, Any]:
    """Who brought somebody that never bought, and what they did with offers; nothing for others."""
    is_new = (MemberTotals.purchase_day_count == 0) & (
        Member.joined_at >= _moment("newcomers_since")
    )
    return (
        (is_new & brought_by_vip(MemberTotals.member_id)).label("is_brought"),
        case((is_new, offer_acts(MemberTotals.member_id)), else_=literal(0)).label("offer_acts"),
    )


def brought_by_vip(member_id: Any) -> Any:
    """Whether a VIP or an advocate brought this member."""
    referrer = aliased(MemberTotals)
    return (
        select(Referral.id)
        .join(referrer, referrer.member_id == Referral.referrer_id)
        .where(
            Referral.friend_id == member_id,
            referrer.level.in_((Level.VIP, Level.ADVOCATE)),
        )
        .exists()
    )


def offer_acts(member_id: Any) -> Any:
    """How often this member did something with an offer."""
    acts = (
        select(func.count())
        .select_from(Activity)
        .where(Activity.member_id == member_id, Activity.kind.in_(OFFER_ACTS))
    )
    taps = select(func.count()).select_from(Tap).where(Tap.member_id == member_id)
    return acts.scalar_subquery() + taps.scalar_subquery()


def days_ago(today: date, days: int, tz: ZoneInfo) -> datetime:
    """The beginning of the day so many days before today."""
    return start_of_day(today - timedelta(days=days), tz)


def _standing(totals: Any, one: Any, today: date, tz: ZoneInfo) -> Standing:
    days = [date.fromisoformat(text) for text in totals.purchase_days]
    first = totals.first_purchase_at
    is_member = one.state == MemberState.MEMBER and one.joined_at is not None
    return Standing(
        purchase_days=totals.purchase_day_count,
        silent_days=max(0, (today - days[0]).days) if days else None,
        own_gap_days=totals.own_gap_days,
        spent_90=int(one.spent_90),
        spent_before_90=int(one.spent_before_90),
        purchases_before_90=int(one.bills_before_90),
        purchases=totals.purchase_count,
        spent_satang=totals.spent_satang,
        spent_365=int(one.spent_365),
        age_days=max(0, (today - local_day(first, tz)).days) if first else 0,
        tickets=int(one.tickets),
        last_csat=one.last_csat,
        top_tier=one.top_tier,
        is_advocate=totals.stage == Stage.ADVOCACY,
        joined_days=max(0, (today - local_day(one.joined_at, tz)).days) if is_member else None,
        is_brought_by_vip=bool(one.is_brought),
        offer_acts=int(one.offer_acts or 0),
    )
