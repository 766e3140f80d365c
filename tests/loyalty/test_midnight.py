"""Midnight in the shop, whatever zone the server stands in (Z19)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from loyalty import points, purchases
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


def buy(session, member, branch, at, tz=BANGKOK):
    return purchases.record_purchase(
        session,
        member_id=member.id,
        branch=branch,
        amount_satang=25_000,
        operation_id=f"device:1:{at.isoformat()}",
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
