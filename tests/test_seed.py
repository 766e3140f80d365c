"""The demo café and its history: idempotent, believable, and true to every rule."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, func, select

import history
import seed
from core.clock import local_day
from insights import results, suggestions
from loyalty import alarms, lifecycle, proof, tiers
from models.coupons import Coupon, Voucher
from models.journeys import Enrolment, Journey
from models.members import Member, MemberTotals
from models.outbox import Message
from models.points import LedgerEntry
from models.purchases import Purchase, PurchaseItem
from models.staff import Branch, Cashier
from models.tiers import MemberTier
from tests import factories
from tests.moments import NOW


def counts(runtime, *tables):
    with runtime.database.read() as session:
        return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def test_a_second_seed_changes_nothing(runtime):
    seed.cafe(runtime)
    before = counts(runtime, Branch, Coupon)
    seed.cafe(runtime)
    assert counts(runtime, Branch, Coupon) == before
    assert before == [len(seed.BRANCHES), len(seed.COUPONS)]


def test_makes_no_sign_ins_outside_the_demo(runtime):
    assert not runtime.settings.demo
    assert "staff add" in seed.cafe(runtime)[0]


def test_history_is_written_for_everybody_and_proves_clean(runtime):
    seed.cafe(runtime)
    written = history.make(runtime, 120, 400, say=lambda _: None)
    members, purchases, entries = counts(runtime, Member, Purchase, LedgerEntry)
    assert members == 120
    assert purchases > 120
    assert entries > purchases * 0.9
    assert written > members + purchases + entries
    with runtime.database.write() as session:
        assert proof.check_all(session, NOW) == []


def test_history_can_be_added_to_without_a_clash(runtime):
    seed.cafe(runtime)
    history.make(runtime, 30, 90, say=lambda _: None)
    history.make(runtime, 30, 90, say=lambda _: None)
    assert counts(runtime, Member) == [60]


def test_history_leaves_levels_as_the_nightly_pass_would(runtime):
    seed.cafe(runtime)
    history.make(runtime, 80, 300, say=lambda _: None)
    with runtime.database.read() as session:
        before = {row.member_id: row.level for row in session.scalars(select(MemberTotals))}
    with runtime.transaction(NOW) as session:
        lifecycle.run_whole(session, NOW, runtime.clock.tz)
    with runtime.database.read() as session:
        after = {row.member_id: row.level for row in session.scalars(select(MemberTotals))}
    assert after == before
    assert len(set(before.values())) >= 3


def test_nothing_in_the_history_lies_in_the_future(runtime):
    seed.cafe(runtime)
    history.make(runtime, 60, 200, say=lambda _: None)
    with runtime.database.read() as session:
        latest = session.scalar(select(func.max(Purchase.purchased_at)))
        day = session.scalar(select(func.max(Purchase.local_on)))
    assert latest <= NOW
    assert day <= local_day(NOW, runtime.clock.tz)


def test_r1_members_of_the_history_stand_in_their_tiers_at_once(runtime):
    """What a bill would have lifted is lifted: the night after finds nobody left to lift."""
    seed.cafe(runtime)
    history.make(runtime, 120, 400, say=lambda _: None)
    tz = runtime.clock.tz
    with runtime.database.read() as session:
        standing = {row.tier_id for row in session.scalars(select(MemberTier))}
        climbers, _ = tiers.late_climbers(session, NOW, tz, after_id=0, limit=1000)
    assert len(standing) >= 2
    assert climbers == []
    with runtime.database.write() as session:
        assert proof.check_all(session, NOW) == []


def test_M8_the_demo_cafe_shows_a_result_that_speaks_and_one_alarm(runtime):
    seed.cafe(runtime)
    with runtime.transaction() as session:
        factories.nok(session)
    history.cafe(runtime)
    before = counts(runtime, Member, Purchase)
    history.cafe(runtime)  # a second time nothing is added
    assert counts(runtime, Member, Purchase) == before
    with runtime.database.read() as session:
        thanks = session.scalars(select(Journey).where(Journey.key == history.THANKS)).one()
        found = results.of_journey(session, thanks.id, NOW, runtime.clock.tz)
        assert found.held.count >= results.LEAST_PER_ARM
        assert found.words in (results.LIKELY_WORDS, results.CLEAR_WORDS)
        assert 0 < found.held.mean < found.treated.mean, "who heard nothing comes back too"
        assert found.taps > 0
        assert [one.kind for one in alarms.open_ones(session)] == ["suspects.cashier"]
        assert suggestions.best_pairs(session)
        assert proof.find_all(session) == []


class Cut(Exception):
    """The process ends here."""


@contextmanager
def cut_at(database, number: int) -> Iterator[None]:
    """A process that dies just before its commit of this number."""
    commits = itertools.count(1)

    def commit(_connection):
        if next(commits) == number:
            raise Cut

    event.listen(database.engine, "commit", commit)
    with pytest.raises(Cut):
        yield
    event.remove(database.engine, "commit", commit)


def test_an_opening_cut_short_anywhere_is_finished_by_the_next_and_nothing_is_doubled(runtime):
    demo = dataclasses.replace(runtime, settings=runtime.settings.model_copy(update={"demo": True}))
    with cut_at(runtime.database, 2):
        seed.cafe(demo)
    assert counts(runtime, Branch, Member) == [len(seed.BRANCHES), 0]
    with cut_at(runtime.database, 3):
        seed.cafe(demo)
    [imported, bills] = counts(runtime, Member, Purchase)
    assert (imported > 0, bills) == (True, 0), "the history is there whole or not at all"
    with cut_at(runtime.database, 4):
        seed.cafe(demo)
    assert counts(runtime, Member, Enrolment) == [imported + history.CAFE_MEMBERS, 0]
    seed.cafe(demo)
    tables = (Member, Purchase, PurchaseItem, LedgerEntry, Voucher, Message, Enrolment, Cashier)
    whole = counts(runtime, *tables)
    assert min(whole) > 0
    seed.cafe(demo)
    assert counts(runtime, *tables) == whole
    with runtime.database.write() as session:
        assert proof.check_all(session, NOW) == []
