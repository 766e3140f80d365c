from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import local_day
from scheduler.schedule import JOBS, CatchUp
from tests.moments import BANGKOK
from tests.scheduler.conftest import job

NEW_YORK = ZoneInfo("America/New_York")
zones = st.sampled_from([BANGKOK, NEW_YORK, ZoneInfo("UTC")])
moments = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31)).map(
    lambda moment: moment.replace(tzinfo=UTC)
)


@pytest.mark.parametrize(
    "job_id, policy",
    [
        ("points.expire", CatchUp.ALWAYS),
        ("vouchers.expire", CatchUp.ALWAYS),
        ("members.birthday", CatchUp.SAME_DAY),
        ("lifecycle.win_back", CatchUp.LATEST),
        ("lifecycle.nightly", CatchUp.LATEST),
    ],
)
def test_z16_catching_up_is_a_written_policy_for_each_job(job_id, policy):
    assert JOBS[job_id].catch_up == policy


def test_no_greeting_or_push_is_due_at_night():
    for one in ("members.birthday", "points.expiring_notice", "lifecycle.win_back"):
        assert time(9) <= JOBS[one].at < time(21)


@given(moments, st.integers(0, 400), zones, st.times())
def test_z19_every_local_day_has_one_occurrence_in_any_zone(start, days, tz, at):
    """Also on the days on which clocks are moved."""
    end = start + timedelta(days=days)
    found = list(job(at=at.replace(second=0, microsecond=0)).occurrences(start, end, tz))
    assert all(start < due <= end for due in found)
    assert found == sorted(set(found))
    assert abs(len(found) - days) <= 1
    assert len({local_day(due, tz) for due in found}) == len(found)


@given(moments, st.integers(1, 30), zones)
def test_stopping_in_between_loses_and_doubles_no_occurrence(start, hours, tz):
    daily = job()
    end = start + timedelta(days=40)
    pieces, here = [], start
    while here < end:
        there = min(end, here + timedelta(hours=hours))
        pieces += daily.occurrences(here, there, tz)
        here = there
    assert pieces == list(daily.occurrences(start, end, tz))


def test_fs10_bangkok_is_seven_hours_ahead_and_never_local_mean_time():
    due = job().due_at(date(2026, 11, 22), BANGKOK)
    assert due == datetime(2026, 11, 22, 2, 0, tzinfo=UTC)
