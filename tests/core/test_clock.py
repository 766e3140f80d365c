"""The one source of time."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.clock import SystemClock, at_local, local_day, start_of_day

BANGKOK, NEW_YORK = ZoneInfo("Asia/Bangkok"), ZoneInfo("America/New_York")


@pytest.mark.parametrize(
    "moment, day",
    [
        (datetime(2026, 11, 22, 16, 59, 59, 999_000, tzinfo=UTC), date(2026, 11, 22)),
        (datetime(2026, 11, 22, 17, 0, tzinfo=UTC), date(2026, 11, 23)),
    ],
)
def test_fs04_bangkok_midnight_is_exact(moment, day):
    assert local_day(moment, BANGKOK) == day


def test_a_day_begins_at_its_local_midnight():
    assert start_of_day(date(2026, 11, 23), BANGKOK) == datetime(2026, 11, 22, 17, tzinfo=UTC)


def test_a_day_with_a_changed_clock_has_its_own_length():
    length = start_of_day(date(2026, 11, 2), NEW_YORK) - start_of_day(date(2026, 11, 1), NEW_YORK)
    assert length == timedelta(hours=25)
    assert local_day(at_local(date(2026, 3, 8), 2, 30, NEW_YORK), NEW_YORK) == date(2026, 3, 8)


def test_the_demo_offset_moves_now_and_never_real_time():
    offset = [0]
    clock = SystemClock(BANGKOK, lambda: offset[0])
    before = clock.now()
    offset[0] = 86_400
    clock.refresh()
    assert timedelta(days=1) <= clock.now() - before < timedelta(days=1, minutes=1)
    assert abs(clock.real_now() - datetime.now(UTC)) < timedelta(minutes=1)
