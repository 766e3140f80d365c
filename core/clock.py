"""The one source of time: aware UTC moments, and local days of the shop.

The demo clock is a stored offset; `now()` includes it. Whatever guards a secret or a lease
(reply tokens, links, holds, retry keys) uses `real_now()`, which it never moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as day_time
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo


class Clock(Protocol):
    """What rules' callers need of time."""

    tz: ZoneInfo

    def now(self) -> datetime: ...
    def real_now(self) -> datetime: ...
    def today(self) -> date: ...


def local_day(moment: datetime, tz: ZoneInfo) -> date:
    """The shop's calendar day that holds this moment."""
    return moment.astimezone(tz).date()


@lru_cache(maxsize=1024)
def start_of_day(day: date, tz: ZoneInfo) -> datetime:
    """The UTC moment at which this local day begins."""
    return datetime.combine(day, day_time(), tzinfo=tz).astimezone(UTC)


@lru_cache(maxsize=1024)
def at_local(day: date, hour: int, minute: int, tz: ZoneInfo) -> datetime:
    """The UTC moment of this wall-clock time on this local day."""
    return datetime.combine(day, day_time(hour, minute), tzinfo=tz).astimezone(UTC)


def is_within_week(
    local: datetime, weekdays: Collection[int], hours: Iterable[Sequence[int]]
) -> bool:
    """Whether a moment of the wall clock is on one of these days (0 is Monday) and hours.

    Empty means any. Each span of hours is exclusive at its end; one that ends before it begins
    goes on over midnight and belongs to the day on which it began.
    """
    is_today = not weekdays or local.weekday() in weekdays
    spans = list(hours)
    if not spans:
        return is_today
    was_yesterday = not weekdays or (local.weekday() - 1) % 7 in weekdays
    return any(
        (is_today and start <= local.hour < end)
        if start < end
        else (is_today and local.hour >= start) or (was_yesterday and local.hour < end)
        for start, end in spans
    )


def last_day(ends_at: datetime, tz: ZoneInfo) -> date:
    """The last local day before an exclusive end, as people say it: "until 30 November"."""
    return local_day(ends_at - timedelta(microseconds=1), tz)


class SystemClock:
    """Real time plus the stored demo offset, which is re-read at most every 200 ms."""

    REREAD_SECONDS = 0.2

    def __init__(self, tz: ZoneInfo, read_offset: Callable[[], int] | None = None) -> None:
        """`read_offset` returns seconds; None (everywhere but in the demo) means no offset."""
        self.tz = tz
        self._read_offset = read_offset
        self._offset = timedelta()
        self._read_at = float("-inf")

    def real_now(self) -> datetime:
        return datetime.now(UTC)

    def now(self) -> datetime:
        if self._read_offset is not None and time.monotonic() - self._read_at > self.REREAD_SECONDS:
            self.refresh()
        return self.real_now() + self._offset

    def refresh(self) -> None:
        """Read the stored offset now."""
        if self._read_offset is not None:
            self.keep(self._read_offset())

    def keep(self, seconds: int) -> None:
        """Go by this offset, which is the one that is stored."""
        self._offset = timedelta(seconds=seconds)
        self._read_at = time.monotonic()

    def today(self) -> date:
        return local_day(self.now(), self.tz)


class FixedClock:
    """A clock that a test, or a job run `--at` a moment, sets by hand."""

    def __init__(self, moment: datetime, tz: ZoneInfo) -> None:
        assert moment.tzinfo is not None
        self.moment = moment
        self.tz = tz

    def real_now(self) -> datetime:
        return self.moment

    def now(self) -> datetime:
        return self.moment

    def today(self) -> date:
        return local_day(self.moment, self.tz)

    def advance(self, **span: float) -> None:
        """Move forward by a timedelta given in keyword form, e.g. `days=1`."""
        self.moment += timedelta(**span)
