"""The simulator's own time: real time plus an offset tests can set.

Retry keys, issued tokens and the monthly quota follow it; reply tokens and time-outs do not,
because they are promises about elapsed time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

# LINE counts its days and months in UTC+9.
LINE_ZONE = timezone(timedelta(hours=9))


class Clock:
    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self.offset_seconds

    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    def line_day(self) -> str:
        return self.moment().astimezone(LINE_ZONE).strftime("%Y%m%d")

    def line_month(self) -> str:
        return self.moment().astimezone(LINE_ZONE).strftime("%Y%m")


def iso(seconds: float) -> str:
    """ISO 8601 in UTC with milliseconds, as LINE writes moments."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
