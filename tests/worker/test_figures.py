"""LINE's own figures (M8): asked for once a day, and never in anybody's way."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from sqlalchemy import select

from core.clock import FixedClock
from models.campaigns import Campaign
from models.results import LineFigure
from tests.fakes import FakeLine
from tests.moments import BANGKOK, NOW
from worker import figures


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW, BANGKOK)


def campaign(session, name: str, days_ago: int, *variants: str) -> int:
    row = Campaign(
        name=name, created_at=NOW, made_by="staff:1", variants={one: {} for one in variants},
        started_at=NOW - timedelta(days=days_ago),
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def test_M8_each_unit_is_asked_for_once_a_day_until_line_stops_counting(runtime, clock):
    with runtime.transaction() as session:
        new = campaign(session, "ใหม่", 2, "a", "b")
        campaign(session, "เก่า", 40, "a")
    line = FakeLine()
    seen = {"overview": {"uniqueImpression": 120, "uniqueClick": None}, "clicks": []}
    line.units[f"campaign_{new}_a"] = seen
    assert [figures.fetch(runtime, line), figures.fetch(runtime, line)] == [2, 0]
    clock.advance(days=1)
    assert figures.fetch(runtime, line) == 2
    with runtime.database.read() as session:
        rows = session.scalars(select(LineFigure).order_by(LineFigure.day, LineFigure.unit)).all()
    assert [row.figures["overview"]["uniqueImpression"] for row in rows] == [120, None] * 2
    # Yesterday by LINE's days, which begin two hours before the shop's.
    days = [date(2026, 11, 21)] * 2 + [date(2026, 11, 22)] * 2
    assert [row.day for row in rows] == days
    for _, (_, first_on, last_on) in line.asked:
        assert last_on - first_on <= timedelta(days=30)


def test_M8_line_out_of_order_ends_the_round_and_the_next_one_goes_on(runtime):
    with runtime.transaction() as session:
        campaign(session, "ใหม่", 2, "a", "b")
    line = FakeLine()
    line.go_down()
    assert figures.fetch(runtime, line) == 0
    assert len(line.asked) == 1
    line.come_back()
    assert figures.fetch(runtime, line) == 2
