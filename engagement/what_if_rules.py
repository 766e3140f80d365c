"""The rules that may be tried out, as data: today's, and others checked as strictly as real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.clock import local_day
from core.errors import Refused
from engagement import journey_shapes
from loyalty import points
from loyalty.earn_rules import Rule
from loyalty.lifecycle import Thresholds, thresholds
from loyalty.tiers.ladder import PLAIN_PERCENT, every_tier
from models.earn_rules import EarnRuleKind
from models.journeys import Journey, JourneyVersion
from models.points import EarnPolicy, ExpiryKind
from models.tiers import Tier

MOST_DAYS = 365
#: The thresholds behind levels that a replay can judge: pure figures, no windows of their own.
LEVELS = (
    "tickets", "inactive_days", "inactive_gaps", "inactive_floor", "at_risk_days", "at_risk_gaps",
    "at_risk_floor", "drop_percent", "drop_purchases", "csat_low", "vip_percentile", "vip_buyers",
    "regular_days",
)  # fmt: skip
MOST_SATANG_PER_POINT = 10_000_000
MOST_PERCENT = 1_000
MOST_THRESHOLD = 1_000_000_000_000
MOST_COOLDOWN = 3_660
_EXTRA = "what_if"


class OddRule(Refused):
    """A rule that nobody could mean; fact `rule` names it."""

    code = "what_if.odd_rule"
    status = 422


@dataclass(frozen=True)
class JourneyRule:
    """One journey: whether it runs, and after how many days it may begin again (None: its way)."""

    is_on: bool
    days: int | None = None


@dataclass(frozen=True)
class Rules:
    """Everything that a replay may change."""

    satang_per_point: int
    has_carry: bool
    expiry_kind: str
    expiry_months: int
    #: One more multiplier for everybody: 200 doubles, 100 is none.
    percent: int = PLAIN_PERCENT
    weekdays: tuple[int, ...] = ()
    hours: tuple[tuple[int, int], ...] = ()
    tiers: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    journeys: Mapping[str, JourneyRule] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """As the row keeps them."""
        return asdict(self)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Rules:
        """From the row."""
        return cls(
            **{
                **data,
                "weekdays": tuple(data["weekdays"]),
                "hours": tuple((start, end) for start, end in data["hours"]),
                "journeys": {key: JourneyRule(**one) for key, one in data["journeys"].items()},
            }
        )

    def policy(self) -> EarnPolicy:
        """How points are earned; a copy that no session knows."""
        return EarnPolicy(
            valid_from=date.min,
            satang_per_point=self.satang_per_point,
            has_carry=self.has_carry,
            pending_days=0,
            expiry_kind=ExpiryKind(self.expiry_kind),
            expiry_months=self.expiry_months,
        )

    def extra(self) -> tuple[Rule, ...]:
        """The one more multiplier as an earn rule, behind all others."""
        if self.percent == PLAIN_PERCENT:
            return ()
        given = {"weekdays": list(self.weekdays), "hours": [list(span) for span in self.hours]}
        return (
            Rule(
                id=0, key=_EXTRA, kind=EarnRuleKind.MULTIPLIER, name_th="", name_en="",
                percent=self.percent, bonus_points=None,
                conditions={name: value for name, value in given.items() if value},
                starts_on=None, ends_on=None, per_member_cap=None, total_cap=None, ended_at=None,
            ),
        )  # fmt: skip

    def ladder(self, tiers: list[Tier]) -> tuple[Tier, ...]:
        """The tiers that are on, with these thresholds, lowest first; copies."""
        steps = [
            Tier(
                id=tier.id, key=tier.key, name_th=tier.name_th, name_en=tier.name_en,
                earn_percent=tier.earn_percent, is_on=True, benefits=tier.benefits,
                threshold=self.tiers.get(tier.key, tier.threshold),
            )
            for tier in tiers
            if tier.is_on
        ]  # fmt: skip
        return tuple(sorted(steps, key=lambda tier: tier.threshold))

    def thresholds(self, today: Thresholds) -> Thresholds:
        """What levels are decided by."""
        given = {name: value for name, value in self.levels.items() if name in LEVELS}
        return replace(today, **given)  # type: ignore[arg-type]


def journeys_of(session: Session) -> dict[str, tuple[Journey, Mapping[str, Any]]]:
    """The journeys that are not put away, with how they stand today."""
    rows = session.execute(
        select(Journey, JourneyVersion.definition)
        .join(JourneyVersion, JourneyVersion.journey_id == Journey.id)
        .where(Journey.archived_at.is_(None), JourneyVersion.version == Journey.current_version)
        .order_by(Journey.id)
    )
    return {row[0].key: (row[0], row[1]) for row in rows if journey_shapes.is_current(row[1])}


def today(session: Session, now: datetime, tz: ZoneInfo) -> Rules:
    """The rules as they are."""
    policy = points.policy_for(session, local_day(now, tz))
    limits = thresholds.of(session)
    return Rules(
        satang_per_point=policy.satang_per_point,
        has_carry=policy.has_carry,
        expiry_kind=policy.expiry_kind.value,
        expiry_months=policy.expiry_months,
        tiers={tier.key: tier.threshold for tier in every_tier(session) if tier.is_on},
        levels={name: getattr(limits, name) for name in LEVELS},
        journeys={
            key: JourneyRule(journey.is_on, _cooldown(definition))
            for key, (journey, definition) in journeys_of(session).items()
        },
    )


def _cooldown(definition: Mapping[str, Any]) -> int | None:
    reentry = definition["reentry"]
    return int(reentry["days"]) if reentry["kind"] == "days" else None


def check(session: Session, given: Rules, days: int, now: datetime, tz: ZoneInfo) -> None:
    """Refuse what could not be a rule, before anybody waits for it."""
    held = today(session, now, tz)
    whole = {
        "days": (days, 1, MOST_DAYS),
        "satang_per_point": (given.satang_per_point, 1, MOST_SATANG_PER_POINT),
        "expiry_months": (given.expiry_months, 1, 120),
        "percent": (given.percent, PLAIN_PERCENT, MOST_PERCENT),
    }
    for name, (value, least, most) in whole.items():
        if not least <= value <= most:
            raise OddRule(rule=name)
    if given.expiry_kind not in set(ExpiryKind):
        raise OddRule(rule="expiry")
    if not set(given.weekdays) <= set(range(7)):
        raise OddRule(rule="weekdays")
    if any(start == end or not (0 <= start < 24 and 0 <= end <= 24) for start, end in given.hours):
        raise OddRule(rule="hours")
    steps = list(given.tiers.values())
    if (
        set(given.tiers) != set(held.tiers)
        or len(set(steps)) != len(steps)
        or any(not 0 < step <= MOST_THRESHOLD for step in steps)
        or sorted(given.tiers, key=lambda key: given.tiers[key])
        != sorted(held.tiers, key=lambda key: held.tiers[key])
    ):
        raise OddRule(rule="tiers")
    if not set(given.levels) <= set(LEVELS):
        raise OddRule(rule="levels")
    thresholds.check(given.thresholds(thresholds.of(session)))
    if not set(given.journeys) <= set(held.journeys):
        raise OddRule(rule="journeys")
    for key, one in given.journeys.items():
        if one.days is None:
            continue
        if held.journeys[key].days is None or not 1 <= one.days <= MOST_COOLDOWN:
            raise OddRule(rule="journeys")
