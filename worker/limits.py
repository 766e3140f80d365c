"""LINE's rate limits, kept by one row per endpoint: stretches of time are leased and spent evenly.

A sender with n calls in hand leases the next stretch that holds n of them. Stretches of different
senders never overlap, so any number of senders together keep one pace, whatever their clocks say:
a stretch is given as a distance from the database's own now.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.db import insert_into, is_sqlite
from models.outbox import SendLimit

#: LINE's ceilings per second (Messaging API reference, "Rate limits").
LINE_LIMITS = {"push": 2000, "reply": 2000, "multicast": 200}
#: We aim a little below them: LINE's own clock and the network's jitter take the rest.
AIM = 0.96
#: No more than this part of a second leaves at once, however late we are.
BURST = 0.05
#: Nobody leases more than half a second ahead of the others, or further than a second away.
LONGEST_STRETCH_SECONDS = 0.5
FURTHEST_US = 1_000_000
#: Nobody leases as far ahead as this: the clock was put back, and the pace begins anew (Z18).
PUT_BACK_US = 5_000_000
#: A small stretch may be spent a little later: nothing else was waiting for the time.
KEEPS_SECONDS = 1.0

_POSTGRES = text("""
    UPDATE send_limits
    SET leased_until_us = CASE
            WHEN leased_until_us > clock.now_us + :put_back THEN clock.now_us
            ELSE GREATEST(leased_until_us, clock.now_us)
        END
        + CAST(:count * 1000000 / (per_second * CAST(:aim AS double precision)) AS bigint)
    FROM (SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) AS now_us) AS clock
    WHERE endpoint = :endpoint AND (
        leased_until_us <= clock.now_us + :furthest
        OR leased_until_us > clock.now_us + :put_back
    )
    RETURNING leased_until_us - clock.now_us AS ends_in_us, per_second
""")
_SQLITE = text("""
    UPDATE send_limits
    SET leased_until_us = CASE
            WHEN leased_until_us > :now_us + :put_back THEN :now_us
            ELSE MAX(leased_until_us, :now_us)
        END
        + CAST(:count * 1000000 / (per_second * :aim) AS INTEGER)
    WHERE endpoint = :endpoint AND (
        leased_until_us <= :now_us + :furthest OR leased_until_us > :now_us + :put_back
    )
    RETURNING leased_until_us - :now_us AS ends_in_us, per_second
""")


@dataclass(frozen=True)
class Stretch:
    """`count` calls between two distances (seconds) from the moment of leasing."""

    starts_in: float
    ends_in: float
    count: int
    #: Calls a second while it lasts.
    rate: float


def ensure_limits(session: Session) -> None:
    """Make the rows; figures a person changed stay."""
    for endpoint, per_second in LINE_LIMITS.items():
        session.execute(
            insert_into(session, SendLimit)
            .values(endpoint=endpoint, per_second=per_second, leased_until_us=0)
            .on_conflict_do_nothing()
        )


def lease(session: Session, endpoint: str, count: int) -> Stretch | None:
    """The next stretch for `count` calls; None while others have leased too far ahead."""
    facts: dict[str, Any] = {
        "endpoint": endpoint,
        "count": count,
        "aim": AIM,
        "furthest": FURTHEST_US,
        "put_back": PUT_BACK_US,
    }
    if is_sqlite(session):
        facts["now_us"] = time.time_ns() // 1000
    row = session.execute(_SQLITE if is_sqlite(session) else _POSTGRES, facts).one_or_none()
    if row is None:
        return None
    rate = row.per_second * AIM
    ends_in = row.ends_in_us / 1_000_000
    return Stretch(ends_in - count / rate, ends_in, count, rate)


class Pace:
    """Spends leased stretches evenly. Times are monotonic seconds of this process."""

    def __init__(self) -> None:
        #: [starts at, ends at, expires at, calls left, calls a second]
        self._stretches: deque[list[float]] = deque()
        self._credit = 0.0
        self._seen_at = 0.0

    def grant(self, stretch: Stretch, now: float) -> None:
        """Add a stretch leased at `now`."""
        starts, ends = now + stretch.starts_in, now + stretch.ends_in
        is_small = stretch.count <= max(stretch.rate * BURST, 1)
        expires = ends + (KEEPS_SECONDS if is_small else KEEPS_SECONDS / 10)
        self._stretches.append([starts, ends, expires, stretch.count, stretch.rate])

    def left(self, now: float) -> int:
        """Calls that may still be sent from what is leased."""
        self._forget(now)
        return int(sum(stretch[3] for stretch in self._stretches))

    def take(self, now: float, wanted: int) -> int:
        """How many calls may leave at this moment, at most `wanted`."""
        self._forget(now)
        if not self._stretches or wanted <= 0:
            return 0
        first = self._stretches[0]
        starts, _, _, left, rate = first
        if starts > now:
            return 0
        since = max(self._seen_at, starts)
        # A new stretch begins with one call, so that a single message never waits for a tick.
        earned = (now - since) * rate + (1.0 if self._seen_at < starts else 0.0)
        self._credit = min(self._credit + max(earned, 0.0), max(rate * BURST, 1.0))
        self._seen_at = now
        taken = int(min(self._credit, wanted, left))
        self._credit -= taken
        first[3] -= taken
        if first[3] < 1:
            self._stretches.popleft()
        return taken

    def wait(self, now: float) -> float | None:
        """Seconds until the next call may leave; None when a stretch must be leased first."""
        self._forget(now)
        if not self._stretches:
            return None
        starts, _, _, _, rate = self._stretches[0]
        if starts > now:
            return starts - now
        return max((1.0 - self._credit) / rate, 0.0)

    def _forget(self, now: float) -> None:
        while self._stretches and self._stretches[0][2] < now:
            self._stretches.popleft()
