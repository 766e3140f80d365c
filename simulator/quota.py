"""The monthly quota and the daily counts: recipients reached, never message objects."""

from __future__ import annotations

from collections import Counter

from simulator.clock import Clock
from simulator.faults import Faults
from simulator.settings import SimulatorSettings

AGGREGATION_UNITS_A_MONTH = 1000


class Quota:
    def __init__(self, settings: SimulatorSettings, clock: Clock, faults: Faults) -> None:
        self._settings = settings
        self._clock = clock
        self._faults = faults
        self.months: Counter[str] = Counter()
        # (kind, yyyymmdd) -> recipients reached that day.
        self.days: Counter[tuple[str, str]] = Counter()
        # month -> aggregation unit -> recipients reached.
        self.units: dict[str, Counter[str]] = {}

    @property
    def limit(self) -> int | None:
        value = self._faults.values.get("quota_limit")
        if value is None:
            return self._settings.monthly_quota
        return None if value == "none" else int(value)

    @property
    def used(self) -> int:
        return self.months[self._clock.line_month()]

    def set_used(self, number: int) -> None:
        self.months[self._clock.line_month()] = number

    def has_room_for(self, recipients: int) -> bool:
        limit = self.limit
        return limit is None or self.used + recipients <= limit

    def count(self, kind: str, recipients: int, units: list[str] | None) -> None:
        if kind != "reply":
            self.months[self._clock.line_month()] += recipients
        self.days[(kind, self._clock.line_day())] += recipients
        for unit in units or ():
            names = self.units.setdefault(self._clock.line_month(), Counter())
            # Beyond the limit the message goes out and the name is silently dropped.
            if unit in names or len(names) < AGGREGATION_UNITS_A_MONTH:
                names[unit] += recipients

    def unit_names(self) -> list[str]:
        return sorted(self.units.get(self._clock.line_month(), Counter()))

    def clear(self) -> None:
        self.months.clear()
        self.days.clear()
        self.units.clear()
