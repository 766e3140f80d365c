"""Leased stretches never overlap, and are spent evenly."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from core.db import Database
from worker.limits import AIM, BURST, KEEPS_SECONDS, Pace, Stretch, ensure_limits, lease


@pytest.fixture
def limits(database: Database) -> Database:
    with database.write() as session:
        ensure_limits(session)
    return database


def test_knows_lines_limits(limits: Database):
    with limits.read() as session:
        rows = session.execute(text("SELECT endpoint, per_second FROM send_limits ORDER BY 1"))
        assert [tuple(row) for row in rows] == [("multicast", 200), ("push", 2000), ("reply", 2000)]


def test_keeps_a_limit_that_a_person_lowered(limits: Database):
    with limits.write() as session:
        session.execute(text("UPDATE send_limits SET per_second = 50 WHERE endpoint = 'push'"))
        ensure_limits(session)
        stretch = lease(session, "push", 10)
    assert stretch is not None
    assert stretch.rate == pytest.approx(50 * AIM)


def test_leases_the_next_stretch_after_the_last(limits: Database):
    with limits.write() as session:
        first, second = lease(session, "push", 192), lease(session, "push", 192)
    assert first is not None
    assert second is not None
    assert first.starts_in == pytest.approx(0.0, abs=0.001)
    assert first.ends_in == pytest.approx(0.1, abs=0.001)
    # `second` was leased a moment later, so its distances are a moment shorter.
    assert second.starts_in <= first.ends_in
    assert second.ends_in - second.starts_in == pytest.approx(0.1, abs=0.001)


def test_leases_no_further_than_a_second_ahead(limits: Database):
    with limits.write() as session:
        leased = [lease(session, "multicast", 100) for _ in range(5)]
    assert [one is not None for one in leased] == [True, True, False, False, False]


def test_z18_a_clock_that_was_put_back_stops_nobody(limits: Database):
    ahead = text("UPDATE send_limits SET leased_until_us = leased_until_us + 3600000000")
    with limits.write() as session:
        lease(session, "push", 192)
        session.execute(ahead)
        again, after = lease(session, "push", 192), lease(session, "push", 192)
    assert again is not None
    assert after is not None
    assert again.starts_in == pytest.approx(0.0, abs=0.001)
    assert after.starts_in == pytest.approx(0.1, abs=0.01)


def test_endpoints_do_not_share_their_pace(limits: Database):
    with limits.write() as session:
        lease(session, "push", 900)
        reply = lease(session, "reply", 96)
    assert reply is not None
    assert reply.starts_in == pytest.approx(0.0, abs=0.005)


def test_many_senders_together_lease_one_pace(limits: Database):
    leased: list[int] = []

    def sender() -> None:
        for _ in range(10):
            with limits.write() as session:
                stretch = lease(session, "push", 48)
            if stretch is not None:
                leased.append(stretch.count)

    threads = [threading.Thread(target=sender) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with limits.read() as session:
        until = session.execute(
            text("SELECT leased_until_us FROM send_limits WHERE endpoint = 'push'")
        ).scalar_one()
    assert until > 0
    # Each stretch of 48 takes 25 ms of its own; none is given further ahead than a second.
    assert sum(leased) * 1_000_000 / (2000 * AIM) <= 1_050_000 + 5_000_000


STRETCH = Stretch(starts_in=0.0, ends_in=0.5, count=480, rate=960.0)


def test_gives_one_call_at_once_and_the_rest_in_time():
    pace = Pace()
    pace.grant(STRETCH, 100.0)
    assert pace.take(100.0, 480) == 1
    assert pace.take(100.01, 480) == pytest.approx(9, abs=1)


def test_gives_nothing_before_the_stretch_begins():
    pace = Pace()
    pace.grant(Stretch(0.2, 0.7, 480, 960.0), 100.0)
    assert pace.take(100.1, 10) == 0
    assert pace.wait(100.1) == pytest.approx(0.1)
    assert pace.take(100.2, 10) == 1


def test_after_a_stall_only_a_twentieth_of_a_second_leaves_at_once():
    pace = Pace()
    pace.grant(STRETCH, 100.0)
    assert pace.take(100.4, 480) == int(960 * BURST)


def test_forgets_a_stretch_that_is_over():
    pace = Pace()
    pace.grant(STRETCH, 100.0)
    assert pace.take(100.5 + KEEPS_SECONDS / 10 + 0.01, 480) == 0
    assert pace.wait(101.0) is None


@given(
    st.lists(st.floats(0.0005, 0.06), min_size=5, max_size=200),
    st.integers(1, 500),
)
def test_never_exceeds_the_rate_and_a_small_burst(pauses: list[float], wanted: int):
    pace = Pace()
    now = start = 1000.0
    granted_until = 0.0
    taken = 0
    for pause in pauses:
        if granted_until - now < 0.1:
            begins = max(granted_until - now, 0.0)
            pace.grant(Stretch(begins, begins + 0.25, 240, 960.0), now)
            granted_until = now + begins + 0.25
        taken += pace.take(now, wanted)
        now += pause
    allowed = (now - start) * 960.0 + 960.0 * BURST + 2 + (now - start) / 0.25
    assert taken <= allowed
