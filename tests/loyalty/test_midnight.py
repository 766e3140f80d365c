"""Midnight in the shop, whatever zone the server stands in (Z19)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from core.clock import local_day, start_of_day
from core.errors import Refused
from loyalty import coupons, draws, points, purchases
from models.coupons import Obtained
from models.stamps import CardExpiry
from tests import factories
from tests.moments import BANGKOK

LAST = datetime(2026, 11, 22, 16, 59, 59, 999000, tzinfo=UTC)
FIRST = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


@pytest.fixture(params=["UTC", "Asia/Bangkok", "America/New_York"])
def server_zone(request, monkeypatch) -> Iterator[str]:
    monkeypatch.setitem(os.environ, "TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def buy(session, member, branch, at, tz=BANGKOK, name=""):
    return purchases.record_purchase(
        session,
        member_id=member.id,
        branch=branch,
        amount_satang=25_000,
        operation_id=f"device:1:{name}{at.isoformat()}",
        now=at,
        tz=tz,
    )


def test_fs03_fs04_bills_land_on_the_shops_own_day(session, somchai, server_zone):
    factories.make_stamp_program(session, daily_limit=1, expiry=CardExpiry.FROM_LAST, expiry_days=1)
    branch = factories.make_branch(session)
    before, after = (buy(session, somchai, branch, at) for at in (LAST, FIRST))
    assert (before.purchase.local_on, after.purchase.local_on) == (
        date(2026, 11, 22),
        date(2026, 11, 23),
    )
    assert (before.stamps, after.stamps) == (1, 1)
    assert after.cards[0].expires_at == datetime(2026, 11, 24, 17, 0, tzinfo=UTC)
    assert somchai.totals.purchase_days == ["2026-11-23", "2026-11-22"]


@pytest.mark.parametrize(
    "at,end",
    [
        (
            datetime(2026, 11, 30, 16, 59, 59, 999000, tzinfo=UTC),
            datetime(2027, 11, 30, 17, tzinfo=UTC),
        ),
        (datetime(2026, 11, 30, 17, 0, tzinfo=UTC), datetime(2027, 12, 31, 17, tzinfo=UTC)),
    ],
)
def test_fs04_month_of_a_lot_changes_at_midnight(session, somchai, server_zone, at, end):
    buy(session, somchai, factories.make_branch(session), at)
    balance = points.balance_of(session, somchai.id, at)
    assert [expiring.expires_at for expiring in balance.expiring] == [end]


def test_fs07_late_expiry_over_a_month_end_counts_from_its_own_midnight(session, somchai):
    at = datetime(2026, 11, 22, 7, 0, tzinfo=UTC)
    buy(session, somchai, factories.make_branch(session), at)
    points.expire_lots(session, datetime(2027, 12, 1, 19, 10, tzinfo=UTC), 10)
    entry = points.history(session, somchai.id, 1)[0]
    assert entry.effective_at.astimezone(BANGKOK).isoformat() == "2027-12-01T00:00:00+07:00"


def test_days_that_are_23_or_25_hours_long_are_still_days(session, somchai):
    """Thailand keeps one time all year; a shop in Berlin does not."""
    berlin = ZoneInfo("Europe/Berlin")
    pending = points.default_policy()
    pending.pending_days = 1
    noon = datetime(2026, 10, 24, 12, 0, tzinfo=berlin)
    points.earn(
        session, somchai.id, 10, source="purchase", source_id="1", now=noon, tz=berlin,
        policy=pending,
    )  # fmt: skip
    ripe = datetime(2026, 10, 25, 0, 0, tzinfo=berlin)
    assert points.balance_of(session, somchai.id, ripe - timedelta(seconds=1)).available == 0
    assert points.balance_of(session, somchai.id, ripe).available == 10
    end = points.balance_of(session, somchai.id, noon).expiring[0].expires_at
    assert end.astimezone(berlin).isoformat() == "2027-11-01T00:00:00+01:00"


ZONES = ("Asia/Bangkok", "Europe/Berlin", "America/New_York", "Africa/Cairo", "Asia/Kathmandu")


def midnights(count: int) -> Iterator[tuple[ZoneInfo, date]]:
    """Days in every zone, each second one a day on which the clocks go forward or back, if any."""
    chance = random.Random(19)
    for number in range(count):
        tz = ZoneInfo(ZONES[number % len(ZONES)])
        day = date(2026, 11, 1) + timedelta(days=chance.randrange(700))
        if number % 2:
            days = (day + timedelta(days=ahead) for ahead in range(366))
            day = next((one for one in days if hours_of(one, tz) != 24), day)
        yield tz, day


def hours_of(day: date, tz: ZoneInfo) -> float:
    length = start_of_day(day + timedelta(days=1), tz) - start_of_day(day, tz)
    return length.total_seconds() / 3600


@pytest.mark.soak
def test_z19_fs03_every_midnight_is_exact_whatever_the_zones(session, vault, server_zone, scale):
    """Bills, daily limits, turns and ends of vouchers a millisecond before it, and at it."""
    branch = factories.make_branch(session)
    factories.make_stamp_program(session, daily_limit=1)
    prize = factories.make_coupon(session, "prize", obtained=Obtained.DRAW)
    draw = draws.create(
        session, vault, key="daily", name_th="ลุ้น", name_en="Daily", turns_per_day=1,
        prizes=[(prize.id, 1)], now=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    draws.start(session, draw)
    for number, (tz, day) in enumerate(midnights(max(6, scale(400)))):
        first = start_of_day(day, tz)
        last = first - timedelta(milliseconds=1)
        member = factories.make_member(session, f"z{number}")
        offer = factories.make_coupon(
            session, f"daily-{number}", per_day=1, per_member=2, valid_days=1
        )
        before, after = (buy(session, member, branch, at, tz, f"{number}") for at in (last, first))
        assert (before.purchase.local_on, after.purchase.local_on) == (
            day - timedelta(days=1), day,
        )  # fmt: skip
        assert (before.stamps, after.stamps) == (1, 1)
        assert buy(session, member, branch, first, tz, f"{number}-again").stamps == 0
        ends = []
        for at in (last, first):
            ends.append(coupons.claim(session, offer.id, member, at, tz).expires_at)
            with pytest.raises(Refused, match=r"coupons\.(sold_out_today|already_claimed)"):
                coupons.claim(session, offer.id, member, at, tz)
            [turn] = draws.turns_left(session, draw, member.id, at, tz)
            draws.play(session, vault, draw, member, turn.name, at, tz)
            assert draws.turns_left(session, draw, member.id, at, tz) == []
        assert [local_day(end, tz) for end in ends] == [
            local_day(ends[0], tz), local_day(ends[0], tz) + timedelta(days=1),
        ]  # fmt: skip
        assert [start_of_day(local_day(end, tz), tz) for end in ends] == ends
        held = {one.id for one in coupons.vouchers_of(session, member.id, ends[0])}
        assert len(held) == 1  # the first one's end is exclusive
