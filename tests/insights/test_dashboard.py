"""The figures of the console's first page."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from insights import dashboard
from loyalty import points
from models.members import MemberState
from tests import factories
from tests.moments import BANGKOK, NOW

#: The last moment of 21 November 2026 in Bangkok, and the first of the 22nd.
LAST = datetime(2026, 11, 21, 16, 59, 59, 999000, tzinfo=UTC)
FIRST = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)


def joined(session):
    return [(on, count) for on, count in dashboard.joined_by_day(session, NOW, BANGKOK) if count]


def test_fs04_members_join_on_the_shops_own_day(session):
    for number, at in enumerate((LAST, FIRST, FIRST)):
        factories.make_member(session, f"m{number}", joined_at=at)
    session.flush()
    assert joined(session) == [(date(2026, 11, 21), 1), (date(2026, 11, 22), 2)]
    assert len(dashboard.joined_by_day(session, NOW, BANGKOK)) == dashboard.DAYS


@pytest.mark.parametrize("state", [MemberState.ERASED, MemberState.MERGED])
def test_whoever_has_left_is_no_new_member_and_is_owed_nothing(session, state):
    gone = factories.make_member(session, "gone", joined_at=FIRST, line_user_id=None)
    points.earn(session, gone.id, 10, source="t", source_id="1", now=NOW, tz=BANGKOK)
    assert joined(session) == [(date(2026, 11, 22), 1)]
    assert dashboard.counts(session, NOW, BANGKOK).points_outstanding == 10
    gone.state = state
    session.flush()
    assert joined(session) == []
    assert dashboard.counts(session, NOW, BANGKOK).points_outstanding == 0
