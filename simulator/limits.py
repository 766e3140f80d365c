"""LINE's rate limits: one token bucket for each endpoint (line-platform.md section 5)."""

from __future__ import annotations

import time
from dataclasses import dataclass

from simulator.settings import SimulatorSettings


@dataclass(frozen=True)
class Rate:
    """So many requests in so many seconds."""

    count: float
    seconds: float = 1.0


SENDING = Rate(2000)
MULTICAST = Rate(200)
LOADING = Rate(100)
MENU_LIST = Rate(10)
SHORT_LIVED_TOKEN = Rate(370)
WEBHOOK_ENDPOINT = Rate(1000, 60)
BROADCAST = Rate(60, 3600)
INSIGHT = Rate(60, 3600)
WEBHOOK_TEST = Rate(60, 3600)
MENU_CHANGE = Rate(100, 3600)
MENU_BATCH = Rate(3, 3600)
OTHER = Rate(2000)


class Bucket:
    """A token bucket: no fixed window, refilled by elapsed real time."""

    __slots__ = ("_capacity", "_last", "_per_second", "_tokens")

    def __init__(self, per_second: float, capacity: float) -> None:
        self._per_second = per_second
        self._capacity = max(capacity, 1.0)
        self._tokens = self._capacity
        self._last = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        tokens = min(self._tokens + (now - self._last) * self._per_second, self._capacity)
        self._last = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True


class Limiter:
    """Makes the bucket of each endpoint; scope is the channel and the endpoint, as LINE's."""

    def __init__(self, settings: SimulatorSettings) -> None:
        self._settings = settings
        self._buckets: dict[str, Bucket] = {}

    def bucket(self, endpoint: str, rate: Rate) -> Bucket | None:
        if not self._settings.has_rate_limits:
            return None
        found = self._buckets.get(endpoint)
        if found is None:
            found = self._buckets[endpoint] = self._made(rate)
        return found

    def _made(self, rate: Rate) -> Bucket:
        if rate.seconds >= 3600:
            # A limit per hour may be used up at once, so its bucket holds the whole hour.
            total = rate.count * self._settings.hourly_factor
            return Bucket(total / rate.seconds, total)
        per_second = rate.count / rate.seconds
        return Bucket(per_second, per_second * self._settings.burst_seconds)
