"""What the shop owes in points, how points move by day, and what coupons cost."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from insights import liability
from insights.liability import Month
from loyalty import coupons, points
from models.members import MemberState
from models.points import ExpiryKind
from tests import factories
from tests.moments import BANGKOK, NOW

#: The last moment of 22 November 2026 in Bangkok, and the first of the 23rd.
LAST = datetime(2026, 11, 22, 16, 59, 59, 999000, tzinfo=UTC)
FIRST = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)


@pytest.fixture
def somchai(session):
    return factories.somchai(session)


@pytest.fixture
def earn(session, somchai):
    def give(amount, cause, *, now=NOW, **policy):
        made = factories.make_policy(session, **policy) if policy else None
        return points.earn(
            session, somchai.id, amount, source="t", source_id=cause, now=now, tz=BANGKOK,
            policy=made,
        )  # fmt: skip

    return give


@pytest.fixture
def in_debt(session, somchai, earn):
    """Eight points were used before their bill came back."""
    earn(10, "debt")
    points.burn(session, somchai.id, 8, source="v", source_id="debt", now=NOW)
    points.take_back(
        session, somchai.id, 10, source="purchase_return", source_id="debt", earn_source="t",
        earn_source_id="debt", returned_before=0, now=NOW,
    )  # fmt: skip


def owed(session, now=NOW):
    return liability.liability(session, now, BANGKOK)


def test_owes_by_the_month_in_which_points_end(session, earn):
    earn(10, "1", now=NOW)
    earn(5, "2", now=NOW - timedelta(days=30))
    earn(3, "3", expiry_kind=ExpiryKind.NEVER)
    found = owed(session)
    assert found.months == (
        Month(date(2027, 10, 1), 5),
        Month(date(2027, 11, 1), 10),
        Month(None, 3),
    )
    assert found.points == 18
    assert liability.baht_of(found.points, 25) == 450


def test_z19_points_are_owed_to_the_last_moment_of_their_month(session, earn):
    earn(10, "1")
    end = datetime(2027, 11, 30, 17, 0, tzinfo=UTC)
    assert owed(session, end - timedelta(milliseconds=1)).points == 10
    assert owed(session, end).points == 0


def test_p5_pending_points_are_owed_and_told_apart(session, earn):
    earn(10, "1", pending_days=3)
    assert (owed(session).points, owed(session).pending) == (10, 10)
    assert owed(session, NOW + timedelta(days=3)).pending == 0


def test_breakage_is_what_nobody_used_in_time(session, somchai, earn):
    earn(100, "1")
    points.burn(session, somchai.id, 30, source="v", source_id="1", now=NOW)
    earn(20, "2")
    points.take_back(
        session, somchai.id, 20, source="purchase_return", source_id="1", earn_source="t",
        earn_source_id="2", returned_before=0, now=NOW,
    )  # fmt: skip
    points.expire_lots(session, NOW + timedelta(days=400), 10)
    found = liability.breakage(session)
    assert (found.issued, found.burned, found.expired) == (100, 30, 70)
    assert found.expired_permille == 700


def test_points_that_went_over_to_another_member_were_given_once(session, somchai, earn):
    earn(100, "1")
    malee = factories.malee(session)
    points.transfer(session, somchai.id, malee.id, key="merge:1", now=NOW, staff_id=None)
    points.burn(session, malee.id, 30, source="v", source_id="1", now=NOW)
    found = liability.breakage(session)
    assert (found.issued, found.burned, found.expired) == (100, 30, 0)


def test_a_debt_that_went_over_was_used_once(session, somchai, in_debt):
    before = liability.breakage(session)
    malee = factories.malee(session)
    points.transfer(session, somchai.id, malee.id, key="merge:1", now=NOW, staff_id=None)
    assert liability.breakage(session) == before
    assert owed(session).debt == 8


@pytest.mark.parametrize("state", [MemberState.ERASED, MemberState.MERGED])
def test_whoever_has_left_is_owed_nothing_and_owes_nothing(session, somchai, in_debt, state):
    points.earn(
        session, factories.malee(session).id, 5, source="t", source_id="9", now=NOW, tz=BANGKOK
    )
    gone = factories.make_member(session, "gone", line_user_id=None)
    points.earn(session, gone.id, 10, source="t", source_id="8", now=NOW, tz=BANGKOK)
    assert (owed(session).points, owed(session).debt) == (15, 8)
    for member in (somchai, gone):
        member.state, member.line_user_id = state, None
    session.flush()
    assert (owed(session).points, owed(session).debt) == (5, 0)


def test_breakage_of_nothing_is_nothing(session):
    assert liability.breakage(session).expired_permille == 0


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_fs04_z19_points_land_on_the_shops_own_day(session, earn, zone, monkeypatch):
    monkeypatch.setenv("TZ", zone)
    earn(10, "1", now=LAST)
    earn(5, "2", now=FIRST)
    days = liability.by_day(session, FIRST, BANGKOK, days=2)
    assert [(day.on, day.earned) for day in days] == [
        (date(2026, 11, 22), 10),
        (date(2026, 11, 23), 5),
    ]


def test_p7_a_late_expiry_counts_on_the_day_it_was_due(session, somchai, earn):
    earn(10, "1", now=NOW)
    due = datetime(2027, 11, 30, 17, 0, tzinfo=UTC)
    points.expire_lots(session, due + timedelta(days=3), 10)
    days = liability.by_day(session, due + timedelta(days=3), BANGKOK, days=5)
    assert [(day.on.isoformat(), day.expired) for day in days if day.expired] == [
        ("2027-12-01", -10)
    ]


def test_days_hold_every_kind_apart(session, somchai, earn):
    earn(100, "1")
    points.burn(session, somchai.id, 30, source="v", source_id="1", now=NOW)
    points.give_back(
        session, somchai.id, source="r", source_id="1", burn_source="v", burn_source_id="1",
        now=NOW, tz=BANGKOK,
    )  # fmt: skip
    points.adjust(
        session, somchai.id, -7, reason="x", staff_id=None, source_id="1", now=NOW, tz=BANGKOK
    )
    today = liability.by_day(session, NOW, BANGKOK, days=1)[0]
    assert (today.earned, today.burned, today.reversed, today.adjusted) == (100, -30, 30, -7)


def test_coupons_cost_what_they_took_off_or_what_they_are_worth(session, somchai):
    off = factories.make_coupon(session, "off")
    free = factories.make_coupon(session, "free", kind="free_item", value_satang=4500)
    coupons.claim(session, off.id, somchai, NOW, BANGKOK)
    off.redeemed_count, off.spent_satang = 1, 2000
    free.issued_count, free.redeemed_count = 3, 2
    session.flush()
    uses = {use.coupon.key: use for use in liability.coupon_use(session)}
    assert (uses["off"].issued, uses["off"].cost_satang) == (1, 2000)
    assert (uses["free"].discount_satang, uses["free"].cost_satang) == (0, 9000)


@pytest.mark.parametrize("months", [6])
def test_asks_few_questions_however_many_members(session, earn, months, counted):
    for cause in range(months):
        earn(10, str(cause), now=NOW - timedelta(days=31 * cause))
    assert counted(lambda: owed(session)) == 2
    assert counted(lambda: liability.by_day(session, NOW, BANGKOK)) == 1
    assert counted(lambda: liability.breakage(session)) == 1


@pytest.fixture
def counted(session):
    """`counted(work)` is how many statements it takes."""
    from sqlalchemy import event

    def count(work):
        said = []
        bind = session.get_bind()
        hear = lambda *arguments: said.append(arguments[2])  # noqa: E731
        event.listen(bind, "before_cursor_execute", hear)
        work()
        event.remove(bind, "before_cursor_execute", hear)
        return len(said)

    return count
