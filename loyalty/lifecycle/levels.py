"""The nine levels (L2), first that fits, with the numbers behind each: pure arithmetic."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loyalty.lifecycle.thresholds import Thresholds
from models.members import Level

USUAL = Thresholds()
#: Numbers behind a level that change with every day that passes.
MOVING = (
    "silent_days", "spent_90", "spent_before_90", "spent_365", "vip_satang", "age_days",
    "spent_satang", "median_satang", "purchases", "joined_days",
)  # fmt: skip


@dataclass(frozen=True)
class Standing:
    """What a level is decided from. Days are local; money is satang."""

    purchase_days: int = 0
    silent_days: int | None = None
    own_gap_days: float | None = None
    spent_90: int = 0
    spent_before_90: int = 0
    purchases_before_90: int = 0
    #: Bills that stand, ever, and what they came to; of the last 365 days.
    purchases: int = 0
    spent_satang: int = 0
    spent_365: int = 0
    #: Days since the first purchase day.
    age_days: int = 0
    #: Tickets opened within the days that count.
    tickets: int = 0
    #: The last CSAT mark, if it is recent enough to count.
    last_csat: int | None = None
    #: The key of the top tier, if the member holds it.
    top_tier: str | None = None
    is_advocate: bool = False
    #: Of who never bought: days since joining (None: not joined), who brought them, acts on offers.
    joined_days: int | None = None
    is_brought_by_vip: bool = False
    offer_acts: int = 0


@dataclass(frozen=True)
class Cuts:
    """Cut points of a night, as levels and scores need them; without any, those levels are off."""

    #: Buyers of the last 365 days.
    buyers: int = 0
    #: Spend of 365 days from which on a buyer is a VIP.
    vip_satang: int | None = None
    #: Today's VIPs, and the median they had spent at each age: (days, satang), rising.
    vips: int = 0
    vip_medians: tuple[tuple[int, int], ...] = ()
    #: Scores 5, 4, 3, 2: at most these days of silence; at least these bills and satang.
    days: tuple[int, ...] = ()
    bills: tuple[int, ...] = ()
    satang: tuple[int, ...] = ()

    def median_at(self, age_days: int) -> int | None:
        """What VIPs had spent by this age; None where too few of them were ever that old."""
        ages = [age for age, _ in self.vip_medians]
        place = bisect_right(ages, age_days)
        return self.vip_medians[place - 1][1] if place else None

    @classmethod
    def of(cls, figures: Mapping[str, Any] | None) -> Cuts:
        """From the figures of a `cut_points` row."""
        if not figures:
            return cls()
        return cls(
            buyers=int(figures["buyers"]),
            vip_satang=figures["vip_satang"],
            vips=int(figures["vips"]),
            vip_medians=tuple((int(age), int(satang)) for age, satang in figures["vip_medians"]),
            days=tuple(figures["days"]),
            bills=tuple(figures["bills"]),
            satang=tuple(figures["satang"]),
        )


NO_CUTS = Cuts()


@dataclass(frozen=True)
class Verdict:
    """A level, the numbers that put the member there, and what would change it."""

    level: Level
    why: Mapping[str, Any] = field(default_factory=dict)


def silence_limit(gap: float | None, days: int, floor: int, gaps: float) -> float:
    """The silence in days that a level allows: by own gap where known, a fixed one otherwise."""
    return float(days) if gap is None else max(float(floor), gaps * gap)


def at_risk_after(gap: float | None, thresholds: Thresholds = USUAL) -> float:
    """Silent longer than this many days means at risk."""
    return silence_limit(
        gap, thresholds.at_risk_days, thresholds.at_risk_floor, thresholds.at_risk_gaps
    )


def inactive_after(gap: float | None, thresholds: Thresholds = USUAL) -> float:
    """Silent longer than this many days means inactive."""
    return silence_limit(
        gap, thresholds.inactive_days, thresholds.inactive_floor, thresholds.inactive_gaps
    )


def level_of(now: Standing, cuts: Cuts = NO_CUTS, thresholds: Thresholds = USUAL) -> Verdict:
    """The first level that fits, in the order of `product.md` L2."""
    if now.purchase_days == 0 or now.silent_days is None:
        return _not_a_buyer(now, cuts, thresholds)
    if now.tickets >= thresholds.tickets and now.tickets * 2 > now.purchases:
        return Verdict(
            Level.HIGH_MAINTENANCE,
            {
                "tickets": now.tickets,
                "purchases": now.purchases,
                "tickets_days": thresholds.tickets_days,
                "needs_tickets": thresholds.tickets,
                "change": "fewer_tickets",
            },
        )
    gap = now.own_gap_days
    gone, risk = inactive_after(gap, thresholds), at_risk_after(gap, thresholds)
    numbers = {
        "silent_days": now.silent_days,
        "own_gap_days": gap,
        "purchase_days": now.purchase_days,
    }
    if now.silent_days > gone:
        return Verdict(Level.INACTIVE, {**numbers, "limit_days": gone, "change": "buys"})
    if now.silent_days > risk:
        why = {**numbers, "limit_days": risk, "next_days": gone, "change": "buys"}
        return Verdict(Level.AT_RISK, why)
    if _has_dropped(now, thresholds):
        spent = {"spent_90": now.spent_90, "spent_before_90": now.spent_before_90}
        return Verdict(Level.AT_RISK, {**numbers, **spent, "change": "spends_more"})
    if now.last_csat is not None and now.last_csat <= thresholds.csat_low:
        marks = {"last_csat": now.last_csat, "csat_days": thresholds.csat_days}
        return Verdict(Level.AT_RISK, {**numbers, **marks, "change": "happier"})
    return _silent_not(now, cuts, thresholds, {**numbers, "limit_days": risk})


def _has_dropped(now: Standing, thresholds: Thresholds) -> bool:
    return (
        now.purchases_before_90 >= thresholds.drop_purchases
        and now.spent_90 * 100 <= now.spent_before_90 * thresholds.drop_percent
    )


def _silent_not(
    now: Standing, cuts: Cuts, thresholds: Thresholds, numbers: dict[str, Any]
) -> Verdict:
    """A buyer who is neither silent nor unhappy."""
    if is_vip_by_spend(now.spent_365, cuts, thresholds):
        spent = {"spent_365": now.spent_365, "vip_satang": cuts.vip_satang}
        return Verdict(Level.VIP, {**numbers, **spent, "change": "spend_falls"})
    if now.top_tier is not None:
        return Verdict(Level.VIP, {**numbers, "tier": now.top_tier, "change": "tier_falls"})
    if now.is_advocate:
        return Verdict(Level.ADVOCATE, {**numbers, "change": "silence"})
    median = cuts.median_at(now.age_days) if cuts.vips >= thresholds.potential_vips else None
    if now.purchase_days <= 2 and median is not None and now.spent_satang >= median:
        spent = {
            "spent_satang": now.spent_satang,
            "median_satang": median,
            "age_days": now.age_days,
            "needs_days": thresholds.regular_days,
        }
        return Verdict(Level.POTENTIAL_HIGH_VALUE, {**numbers, **spent, "change": "grows"})
    if now.purchase_days >= thresholds.regular_days:
        return Verdict(Level.REGULAR, {**numbers, "change": "silence"})
    needs = {"needs_days": thresholds.regular_days}
    return Verdict(Level.NEUTRAL, {**numbers, **needs, "change": "buys_or_silence"})


def is_vip_by_spend(spent_365: int, cuts: Cuts, thresholds: Thresholds) -> bool:
    """Whether a year's spend is among the highest of enough buyers."""
    return (
        cuts.vip_satang is not None
        and cuts.buyers >= thresholds.vip_buyers
        and spent_365 >= cuts.vip_satang
    )


def _not_a_buyer(now: Standing, cuts: Cuts, thresholds: Thresholds) -> Verdict:
    is_new = now.joined_days is not None and now.joined_days <= thresholds.potential_days
    if is_new and cuts.vips >= thresholds.potential_vips:
        numbers = {"joined_days": now.joined_days, "potential_days": thresholds.potential_days}
        if now.is_brought_by_vip:
            return Verdict(
                Level.POTENTIAL_HIGH_VALUE, {**numbers, "brought": 1, "change": "buys_first"}
            )
        if now.offer_acts >= thresholds.potential_acts:
            acts = {"offer_acts": now.offer_acts, "change": "buys_first"}
            return Verdict(Level.POTENTIAL_HIGH_VALUE, {**numbers, **acts})
    return Verdict(Level.TARGET, {"purchase_days": 0, "change": "buys"})
