"""The shop's last days as the database counts them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import case

from core.clock import start_of_day


def last_days(today: date, days: int) -> list[date]:
    """The last days up to today, oldest first."""
    return [today - timedelta(days=back) for back in range(days - 1, -1, -1)]


def place_of(at: Any, days: Sequence[date], tz: ZoneInfo) -> Any:
    """On which of these days in a row, the first is 0, a moment not before them falls; their
    number for a later one. Compared as moments, so that one with 23 or 25 hours is still a day."""
    ends = [(start_of_day(on + timedelta(days=1), tz), n) for n, on in enumerate(days)]
    return case(*((at < end, n) for end, n in ends), else_=len(days))
