"""The table of jobs: id, when, what, and what a missed occurrence means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy.orm import Session

from core.clock import at_local, local_day
from scheduler import jobs, nightly


class CatchUp(StrEnum):
    """What happens to an occurrence that nobody ran in time."""

    #: Run, however late; each acts as of its own due moment.
    ALWAYS = "always"
    #: Run until 20:00 of the same local day; afterwards recorded as skipped.
    SAME_DAY = "same_day"
    #: One late run covers every missed one; the older ones are recorded as covered.
    LATEST = "latest"


GREETING_END = time(20, 0)


@dataclass(frozen=True)
class Job:
    """One scheduled job. `work` does one batch and returns how many rows it did; 0 ends it."""

    id: str
    at: time
    work: Callable[[Session, jobs.Run], int]
    catch_up: CatchUp
    limit: int = 500
    #: A batch begins with a look of minutes, on a connection of its own and before it writes: it is
    #: claimed in a transaction before that, and has each of its own, so that no lock is held.
    looks_long: bool = False

    def due_at(self, day: date, tz: ZoneInfo) -> datetime:
        """The moment this day's occurrence is due."""
        return at_local(day, self.at.hour, self.at.minute, tz)

    def occurrences(self, after: datetime, until: datetime, tz: ZoneInfo) -> Iterator[datetime]:
        """Due moments in (after, until], oldest first."""
        day = local_day(after, tz)
        while (due := self.due_at(day, tz)) <= until:
            if due > after:
                yield due
            day += timedelta(days=1)

    def latest_start(self, due: datetime, tz: ZoneInfo) -> datetime | None:
        """The last moment at which a late occurrence may still run; None without one."""
        if self.catch_up != CatchUp.SAME_DAY:
            return None
        day = local_day(due, tz)
        return at_local(day, GREETING_END.hour, GREETING_END.minute, tz)


JOBS: dict[str, Job] = {
    job.id: job
    for job in (
        Job("points.expire", time(0, 5), jobs.expire_points, CatchUp.ALWAYS),
        Job("vouchers.expire", time(0, 10), jobs.expire_vouchers, CatchUp.ALWAYS),
        Job("tiers.nightly", time(0, 15), jobs.judge_tiers, CatchUp.ALWAYS),
        Job("lifecycle.nightly", time(2, 30), jobs.judge_levels, CatchUp.LATEST, limit=20_000),
        Job(
            "insights.nightly",
            time(2, 50),
            nightly.work_out,
            CatchUp.LATEST,
            limit=5_000,
            looks_long=True,
        ),
        Job("ledger.check", time(3, 30), jobs.check_ledger, CatchUp.LATEST, looks_long=True),
        Job("members.forget", time(3, 45), jobs.forget, CatchUp.LATEST),
        Job("privacy.retention", time(3, 50), jobs.throw_away, CatchUp.LATEST, limit=2_000),
        Job("menus.repair", time(4, 0), jobs.repair_menus, CatchUp.LATEST),
        Job("members.birthday", time(9, 0), jobs.greet_birthdays, CatchUp.SAME_DAY),
        Job("members.anniversary", time(9, 5), jobs.greet_anniversaries, CatchUp.SAME_DAY),
        Job("alarms.digest", time(9, 15), nightly.digest, CatchUp.LATEST),
        Job("shop.weekly", time(9, 30), nightly.send_weekly, CatchUp.LATEST, looks_long=True),
        Job("points.expiring_notice", time(10, 0), jobs.notice_expiring, CatchUp.LATEST),
        Job("vouchers.expiring_notice", time(10, 2), jobs.notice_vouchers, CatchUp.LATEST),
        Job("stamps.expiring_notice", time(10, 5), jobs.notice_cards, CatchUp.LATEST),
        Job("tiers.warn", time(10, 15), jobs.warn_of_tiers, CatchUp.LATEST),
        Job("lifecycle.win_back", time(10, 30), jobs.win_back, CatchUp.LATEST),
        Job("journeys.segments", time(10, 45), jobs.enter_segments, CatchUp.LATEST),
        Job("lifecycle.thank_you", time(20, 30), jobs.thank_you, CatchUp.LATEST),
    )
}
