"""Alarms (M9): one open row for each thing, whoever and however many find it."""

from __future__ import annotations

import threading
from datetime import timedelta

from sqlalchemy import select

from loyalty import alarms, waiting
from models.results import Alarm
from tests.moments import NOW

KEY = "jobs.missed:points.expire"
LATER = NOW + timedelta(hours=1)


def raised(session, key=KEY, now=NOW, **facts) -> bool:
    return alarms.raise_alarm(session, key, key.partition(":")[0], facts, now)


def test_M9_an_alarm_is_raised_once_while_it_lasts(session):
    assert [raised(session), raised(session, now=LATER, late=2)] == [True, False]
    [alarm] = alarms.open_ones(session)
    assert (alarm.raised_at, alarm.facts) == (NOW, {"late": 2})


def test_M9_an_alarm_ends_and_may_come_again(session):
    raised(session)
    assert [alarms.end_alarm(session, KEY, LATER), alarms.end_alarm(session, KEY, LATER)] == [
        True, False,
    ]  # fmt: skip
    assert alarms.open_ones(session) == []
    assert raised(session, now=LATER)
    assert len(session.scalars(select(Alarm)).all()) == 2


def test_M9_only_what_is_found_no_more_ends(session):
    for job in ("a", "b", "c"):
        raised(session, f"jobs.missed:{job}")
    raised(session, "jobs_missed:d")
    assert alarms.end_others(session, ["jobs.missed:"], {"jobs.missed:b"}, LATER) == 2
    assert {one.key for one in alarms.open_ones(session)} == {"jobs.missed:b", "jobs_missed:d"}


def test_M9_seen_once(session):
    raised(session)
    [alarm] = alarms.open_ones(session)
    assert waiting.count(session).alarms == 1
    assert [alarms.see(session, alarm.id, NOW), alarms.see(session, alarm.id, NOW)] == [True, False]
    assert waiting.count(session).alarms == 0


def test_M9_many_who_find_it_at_once_raise_one(database):
    start = threading.Barrier(4)

    def find() -> None:
        start.wait()
        with database.write() as session:
            raised(session)

    finders = [threading.Thread(target=find) for _ in range(4)]
    for finder in finders:
        finder.start()
    for finder in finders:
        finder.join()
    with database.read() as session:
        assert len(session.scalars(select(Alarm)).all()) == 1
