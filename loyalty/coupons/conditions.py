"""Who an offer is for, and when and where it works (C2): decided here and said here in words.

What concerns the person (level, tier, first purchase) is asked when a voucher is taken; tier and
first purchase again at the till. What concerns the bill (day, hour, branch, amount) is asked at the
till, and day and hour already at the claim where the offer says so. A level is our own word for
a member and may change with every bill: a voucher once given is not taken back because of it, and
no sentence names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import is_within_week
from core.db import once_a_batch
from core.errors import Refused
from core.i18n import Said, both, listed, money, t
from loyalty import tiers
from models.coupons import Coupon
from models.members import MemberTotals
from models.staff import Branch
from models.tiers import Tier

DAYS = 7
#: Three days in a row and more are said as "Monday to Wednesday".
RUN = 3


@dataclass(frozen=True)
class Conditions:
    """An offer's `conditions` column, read."""

    branches: tuple[str, ...] = ()
    weekdays: tuple[int, ...] = ()
    #: Local hours, the end exclusive; `(22, 2)` runs past midnight and belongs to the day it began.
    hours: tuple[tuple[int, int], ...] = ()
    levels: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    is_first_purchase: bool = False
    #: Days and hours hold for the claim as well.
    is_timed_claim: bool = False

    @classmethod
    def of(cls, coupon: Coupon) -> Conditions:
        """The conditions of an offer; unknown ones of an older version fall away."""
        found: Mapping[str, Any] = coupon.conditions or {}
        return cls(
            branches=tuple(found.get("branches") or ()),
            weekdays=tuple(sorted(set(found.get("weekdays") or ()))),
            hours=tuple((start, end) for start, end in found.get("hours") or ()),
            levels=tuple(found.get("levels") or ()),
            tiers=tuple(found.get("tiers") or ()),
            is_first_purchase=bool(found.get("first_purchase")),
            is_timed_claim=bool(found.get("timed_claim")),
        )

    def stored(self) -> dict[str, Any]:
        """The column's value: only what is asked for."""
        every = {
            "branches": list(self.branches),
            "weekdays": list(self.weekdays),
            "hours": [list(span) for span in self.hours],
            "levels": list(self.levels),
            "tiers": list(self.tiers),
            "first_purchase": self.is_first_purchase,
            "timed_claim": self.is_timed_claim and bool(self.weekdays or self.hours),
        }
        return {name: value for name, value in every.items() if value}

    def fit_time(self, local: datetime) -> bool:
        """Whether this moment of the shop's wall clock is one of theirs."""
        return is_within_week(local, self.weekdays, self.hours)


@dataclass(frozen=True)
class Standing:
    """What offers may ask of a member."""

    level: str | None
    tier: str | None
    purchase_count: int
    #: Days before its start that an offer is open to them, by their tier (R2).
    early_days: int = 0


def standing_of(session: Session, member_id: int, now: datetime) -> Standing:
    """Where a member stands at this moment."""
    totals = session.get(MemberTotals, member_id)
    tier = tiers.tier_of(session, member_id, now)
    return Standing(
        level=totals.level.value if totals is not None else None,
        tier=tier.key if tier is not None else None,
        purchase_count=totals.purchase_count if totals is not None else 0,
        early_days=tiers.early_days_of(tier),
    )


def is_chosen(coupon: Coupon, standing: Standing) -> bool:
    """Whether an offer is meant for members such as this one; others do not hear of it."""
    wanted = Conditions.of(coupon)
    is_of_level = not wanted.levels or standing.level in wanted.levels
    return is_of_level and not (wanted.is_first_purchase and standing.purchase_count > 0)


def refusal_at_claim(
    session: Session, coupon: Coupon, standing: Standing, now: datetime, tz: ZoneInfo
) -> Refused | None:
    """What stands between this member and a voucher of this offer, at this moment."""
    wanted = Conditions.of(coupon)
    if wanted.levels and standing.level not in wanted.levels:
        return Refused("coupons.not_available")
    if wanted.is_first_purchase and standing.purchase_count > 0:
        return Refused("coupons.first_purchase_only")
    if wanted.tiers and standing.tier not in wanted.tiers:
        return _other_tier(session, wanted)
    return _refusal_of_time(wanted, now.astimezone(tz)) if wanted.is_timed_claim else None


def refusal_at_till(
    session: Session,
    coupon: Coupon,
    standing: Standing | None,
    branch: Branch,
    bill_satang: int,
    now: datetime,
    tz: ZoneInfo,
) -> Refused | None:
    """What stands between this bill and a voucher, here and now; says where and when it works.

    `standing` is None where the tier does not matter: what the shop gave by itself stays given.
    """
    wanted = Conditions.of(coupon)
    if bill_satang < coupon.min_bill_satang:
        return Refused("coupons.min_bill", baht=money("th", coupon.min_bill_satang))
    if wanted.branches and branch.code not in wanted.branches:
        return Refused("coupons.other_branch", branches=_branches(session, wanted))
    if standing is not None and wanted.tiers and standing.tier not in wanted.tiers:
        return _other_tier(session, wanted)
    return _refusal_of_time(wanted, now.astimezone(tz))


def _refusal_of_time(wanted: Conditions, local: datetime) -> Refused | None:
    if wanted.fit_time(local):
        return None
    is_right_day = not wanted.weekdays or local.weekday() in wanted.weekdays
    code = "coupons.other_hours" if is_right_day and wanted.hours else "coupons.other_day"
    return Refused(code, when=Said(when(wanted, "th") or "", when(wanted, "en") or ""))


def _other_tier(session: Session, wanted: Conditions) -> Refused:
    return Refused("coupons.other_tier", tiers=_tiers(session, wanted))


# In words


def when(wanted: Conditions, locale: str) -> str | None:
    """Days and hours in a sentence: `ใช้ได้วันจันทร์ถึงศุกร์ เวลา 14:00–17:00 น.`"""
    days, hours = _days(wanted.weekdays, locale), _hours(wanted.hours, locale)
    if days and hours:
        return t(locale, "coupons.when_days_hours", days=days, hours=hours)
    if hours:
        return t(locale, "coupons.when_hours", hours=hours)
    return t(locale, "coupons.when_days", days=days) if days else None


def _days(weekdays: Sequence[int], locale: str) -> str | None:
    if not weekdays or len(weekdays) == DAYS:
        return None
    begins = [day for day in weekdays if (day - 1) % DAYS not in weekdays]
    if len(begins) == 1 and len(weekdays) >= RUN:
        first, last = begins[0], (begins[0] + len(weekdays) - 1) % DAYS
        return t(
            locale, "days.run", first=t(locale, f"days.{first}"), last=t(locale, f"days.{last}")
        )
    if len(begins) == 1:  # a weekend: Saturday before Sunday, Sunday before Monday
        weekdays = [(begins[0] + place) % DAYS for place in range(len(weekdays))]
    return t(
        locale, "days.some", days=listed(locale, [t(locale, f"days.{day}") for day in weekdays])
    )


def _hours(hours: Sequence[tuple[int, int]], locale: str) -> str | None:
    spans = [
        t(locale, "coupons.hours_span", start=f"{start:02d}:00", end=f"{end:02d}:00")
        for start, end in hours
    ]
    return listed(locale, spans) if spans else None


def describe(session: Session, coupon: Coupon, locale: str) -> list[str]:
    """Every condition of an offer in words, one sentence each, for pages, cards and tills."""
    wanted = Conditions.of(coupon)
    said: list[str | None] = [when(wanted, locale)]
    if wanted.is_timed_claim:
        said.append(t(locale, "coupons.only_claim_then"))
    if wanted.branches:
        branches = _branches(session, wanted).in_(locale)
        said.append(t(locale, "coupons.only_branches", branches=branches))
    if coupon.min_bill_satang:
        baht = money(locale, coupon.min_bill_satang)
        said.append(t(locale, "coupons.only_bills", baht=baht))
    if wanted.tiers:
        said.append(t(locale, "coupons.only_tiers", tiers=_tiers(session, wanted).in_(locale)))
    if wanted.levels:
        said.append(t(locale, "coupons.only_chosen"))
    if wanted.is_first_purchase:
        said.append(t(locale, "coupons.only_first_purchase"))
    if coupon.keeps_change:
        said.append(t(locale, "coupons.keeps_change"))
    if coupon.is_stackable:
        said.append(t(locale, "coupons.stackable"))
    if coupon.per_member > 1 and coupon.obtained.value in ("claim", "code"):
        said.append(t(locale, "coupons.per_member", count=coupon.per_member))
    return [sentence for sentence in said if sentence]


def _branches(session: Session, wanted: Conditions) -> Said:
    """The branches by name; a closed one by its code."""
    names = once_a_batch(
        session,
        "branches.names",
        lambda: {
            code: (thai, english)
            for code, thai, english in session.execute(
                select(Branch.code, Branch.name_th, Branch.name_en)
            )
        },
    )
    return _said([names.get(code, (code, code)) for code in wanted.branches])


def _tiers(session: Session, wanted: Conditions) -> Said:
    """The tiers by name, lowest first."""
    names = session.execute(
        select(Tier.name_th, Tier.name_en)
        .where(Tier.key.in_(wanted.tiers))
        .order_by(Tier.threshold)
    ).all()
    return _said(
        [(thai, english) for thai, english in names] or [(key, key) for key in wanted.tiers]
    )


def _said(pairs: Sequence[tuple[str, str]]) -> Said:
    return Said(
        listed("th", [thai for thai, _ in pairs]),
        listed("en", [english for _, english in pairs]),
    )


def left_words(left_satang: int | None) -> Said | None:
    """What is left on a voucher that keeps its change; None for any other."""
    return (
        None if left_satang is None else both("coupons.change_left", baht=money("th", left_satang))
    )
