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
        # month -> names of aggregation units.
        self.units: dict[str, set[str]] = {}
        # (unit, yyyymmdd) -> whom its messages reached, once for each message.
        self.reached: dict[tuple[str, str], list[str]] = {}

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

    def count(self, kind: str, reached: list[str], units: list[str] | None) -> None:
        if kind != "reply":
            self.months[self._clock.line_month()] += len(reached)
        day = self._clock.line_day()
        self.days[(kind, day)] += len(reached)
        for unit in units or ():
            names = self.units.setdefault(self._clock.line_month(), set())
            # Beyond the limit the message goes out and the name is silently dropped.
            if unit in names or len(names) < AGGREGATION_UNITS_A_MONTH:
                names.add(unit)
                self.reached.setdefault((unit, day), []).extend(reached)

    def unit_names(self) -> list[str]:
        return sorted(self.units.get(self._clock.line_month(), set()))

    def reached_by(self, unit: str, first: str, last: str) -> list[str]:
        """Whom messages of this unit reached on these days, once for each message."""
        return [
            user
            for (name, day), users in self.reached.items()
            if name == unit and first <= day <= last
            for user in users
        ]

    def clear(self) -> None:
        self.months.clear()
        self.days.clear()
        self.units.clear()
        self.reached.clear()
