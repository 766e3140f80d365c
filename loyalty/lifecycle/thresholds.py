"""The figures that the owner may change behind stages, levels and scores (`lifecycle.*`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy.orm import Session

from core.errors import Invalid
from loyalty import shop

#: Least and most of each whole or broken figure.
BOUNDS: Mapping[str, tuple[float, float]] = {
    "retention_days": (7, 730),
    "retention_gaps": (1, 20),
    "tickets": (1, 50),
    "tickets_days": (7, 365),
    "inactive_days": (2, 1095),
    "inactive_floor": (2, 1095),
    "inactive_gaps": (1, 20),
    "at_risk_days": (1, 1094),
    "at_risk_floor": (1, 1094),
    "at_risk_gaps": (0.5, 19.5),
    "drop_percent": (1, 99),
    "drop_purchases": (1, 100),
    "csat_low": (1, 4),
    "csat_days": (7, 365),
    "vip_percentile": (50, 99),
    "vip_buyers": (5, 1_000_000),
    "potential_vips": (1, 1_000_000),
    "potential_days": (1, 365),
    "potential_acts": (1, 100),
    "regular_days": (2, 50),
    "margin_percent": (1, 100),
}
#: What must be smaller than what, or a level could never be reached.
ORDER = (
    ("at_risk_days", "inactive_days"),
    ("at_risk_floor", "inactive_floor"),
    ("at_risk_gaps", "inactive_gaps"),
)
#: Most of each cut of the fixed RFM scores.
LIST_MOST: Mapping[str, int] = {
    "rfm_days": 365,
    "rfm_bills": 10_000,
    "rfm_satang": 1_000_000_000,
}


@dataclass(frozen=True)
class Thresholds:
    """What `product.md` 8 states, unless the owner changed it."""

    retention_days: int = 90
    retention_gaps: float = 3.0
    tickets: int = 3
    tickets_days: int = 90
    inactive_days: int = 90
    inactive_floor: int = 30
    inactive_gaps: float = 3.0
    at_risk_days: int = 45
    at_risk_floor: int = 14
    at_risk_gaps: float = 1.5
    drop_percent: int = 50
    drop_purchases: int = 3
    csat_low: int = 2
    csat_days: int = 90
    vip_percentile: int = 95
    vip_buyers: int = 20
    potential_vips: int = 20
    potential_days: int = 60
    potential_acts: int = 3
    regular_days: int = 3
    #: Days of silence, rising; bills and satang of a year, falling: the cuts of 5, 4, 3 and 2.
    rfm_days: tuple[int, ...] = (14, 30, 60, 120)
    rfm_bills: tuple[int, ...] = (24, 12, 6, 2)
    rfm_satang: tuple[int, ...] = (500_000, 250_000, 100_000, 30_000)
    margin_percent: int = 50

    def as_facts(self) -> dict[str, Any]:
        """For keeping with the night that used them; equal thresholds have equal facts."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }


NAMES = tuple(one.name for one in fields(Thresholds))


def of(session: Session) -> Thresholds:
    """As the shop has set them; read once in a session."""
    found: dict[str, Any] = {name: shop.get(session, f"lifecycle.{name}") for name in NAMES}
    for name in LIST_MOST:
        found[name] = tuple(found[name])
    return Thresholds(**found)


def check(given: Thresholds) -> None:
    """Refuse figures with which the rules would make no sense."""
    for name, (least, most) in BOUNDS.items():
        if not least <= getattr(given, name) <= most:
            raise Invalid("lifecycle.out_of_bounds", setting=name, least=least, most=most)
    for smaller, larger in ORDER:
        if not getattr(given, smaller) < getattr(given, larger):
            raise Invalid("lifecycle.wrong_order", smaller=smaller, larger=larger)
    for name, most in LIST_MOST.items():
        cuts = list(getattr(given, name))
        ordered = sorted(set(cuts), reverse=name != "rfm_days")
        if len(cuts) != 4 or cuts != ordered or min(cuts) < 1 or max(cuts) > most:
            raise Invalid("lifecycle.odd_cuts", setting=name)
