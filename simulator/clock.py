"""The simulator's own time: real time plus an offset tests can set.

Retry keys, issued tokens and the monthly quota follow it; reply tokens and time-outs do not:
they are promises about elapsed time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

# LINE counts its days and months in UTC+9.
LINE_ZONE_SECONDS = 9 * 3600
_EPOCH = date(1970, 1, 1)


class Clock:
    def __init__(self) -> None:
        self.offset_seconds = 0.0
        # How far the demonstration shop's clock was moved: LINE's months and the times shown in
        # the chat follow it, promises about elapsed time do not.
        self.shown_offset_seconds = 0.0
        self._day_number = -1
        self._day = ""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.offset_seconds

    def shown_now(self) -> float:
        return self.now() + self.shown_offset_seconds

    def follow(self, moment: str) -> None:
        """Show the time of a shop whose clock says `moment`, in ISO 8601; nonsense is left alone."""
        with suppress(ValueError):
            there = datetime.fromisoformat(moment).timestamp()
            self.shown_offset_seconds = float(round(there - time.time()))  # it moves by whole ones

    def line_day(self) -> str:
        """Today as yyyymmdd where LINE counts; written anew once a day, as sends ask for it."""
        number = int(self.shown_now() + LINE_ZONE_SECONDS) // 86_400
        if number != self._day_number:
            self._day_number = number
            self._day = (_EPOCH + timedelta(days=number)).strftime("%Y%m%d")
        return self._day

    def line_month(self) -> str:
        return self.line_day()[:6]


def iso(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds, as LINE writes moments."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
