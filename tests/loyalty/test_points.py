"""The ledger: lots, burns, debts, expiry, and the proof that it sums up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DatabaseError

from core.errors import Refused
from loyalty import points, proof
from models.activities import Activity
from models.members import MemberTotals
from models.points import EarnPolicy, EntryKind, ExpiryKind, LedgerEntry, Lot, LotDraw
from tests import factories
from tests.moments import BANGKOK, NOW

#: Points of NOW end here: 1 December 2027, 00:00 in Bangkok.
END = datetime(2027, 11, 30, 17, 0, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def lots_left(session, member):
    by_age = select(Lot.remaining).where(Lot.member_id == member.id).order_by(Lot.id)
    return list(session.scalars(by_age))


def entries(session, member):
    rows = select(LedgerEntry.kind, LedgerEntry.points).where(LedgerEntry.member_id == member.id)
    return [tuple(row) for row in session.execute(rows.order_by(LedgerEntry.id))]


def test_earns_once_per_cause(session, somchai, earn):
    first = earn(somchai, 10, source_id="7")
    again = earn(somchai, 10, source_id="7")
    assert (first.is_new, again.is_new) == (True, False)
    assert points.balance_of(session, somchai.id, NOW).balance == 10


def test_shows_what_expires_when(session, somchai, earn):
    earn(somchai, 10)
    earn(somchai, 5, now=NOW + timedelta(days=30))
    balance = points.balance_of(session, somchai.id, NOW + timedelta(days=30))
    assert (balance.balance, balance.available) == (15, 15)
    assert balance.expiring == (
        points.Expiring(10, END),
        points.Expiring(5, datetime(2027, 12, 31, 17, 0, tzinfo=UTC)),
    )


def test_makes_the_totals_row_of_a_member_without_one(session, earn):
    somebody = factories.make_member(session, "ใหม่")
    session.delete(somebody.totals)
    session.flush()
    earn(somebody, 3)
    assert points.balance_of(session, somebody.id, NOW).balance == 3


def test_burns_soonest_to_expire_first_then_oldest_then_never(session, somchai, earn, burn):
    never = EarnPolicy(
        valid_from=NOW.date(), satang_per_point=2500, has_carry=True, pending_days=0,
        expiry_kind=ExpiryKind.NEVER, expiry_months=12,
    )  # fmt: skip
    earn(somchai, 10, policy=never)
    earn(somchai, 10, now=NOW + timedelta(days=40))  # a later month
    earn(somchai, 10, now=NOW + timedelta(days=1))
    earn(somchai, 10, now=NOW)  # same end as the one before, but older
    burn(somchai, 25, now=NOW + timedelta(days=41))
    assert lots_left(session, somchai) == [10, 5, 0, 0]
    burn(somchai, 7, now=NOW + timedelta(days=41))
    assert lots_left(session, somchai) == [8, 0, 0, 0]


def test_burn_names_its_lots(session, somchai, earn, burn):
    earn(somchai, 4)
    earn(somchai, 4)
    burned = burn(somchai, 6)
    draws = select(LotDraw.points).where(LotDraw.entry_id == burned.entry_id).order_by(LotDraw.id)
    assert list(session.scalars(draws)) == [-4, -2]


def test_burns_once_per_cause(session, somchai, earn, burn):
    earn(somchai, 10)
    burn(somchai, 4, source_id="9")
    assert burn(somchai, 4, source_id="9").is_new is False
    assert points.balance_of(session, somchai.id, NOW).balance == 6


def test_refuses_to_burn_more_than_available_and_says_both_numbers(session, somchai, earn, burn):
    earn(somchai, 10)
    with pytest.raises(points.InsufficientPoints) as refusal:
        burn(somchai, 11)
    assert refusal.value.facts == {"available": 10, "needed": 11}
    assert entries(session, somchai) == [(EntryKind.EARN, 10)]


def test_pending_points_count_but_cannot_be_burned_yet(session, somchai, earn, burn):
    pending = points.default_policy()
    pending.pending_days = 2
    earn(somchai, 10, policy=pending)
    ripe = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
    balance = points.balance_of(session, somchai.id, ripe - MOMENT)
    assert (balance.balance, balance.available, balance.pending) == (10, 0, 10)
    with pytest.raises(points.InsufficientPoints):
        burn(somchai, 1, now=ripe - MOMENT)
    assert burn(somchai, 10, now=ripe).balance == 0


def test_new_policy_leaves_old_lots_alone(session, somchai, earn):
    earn(somchai, 10)
    points.set_policy(
        session, EarnPolicy(valid_from=NOW.date(), expiry_kind=ExpiryKind.END_OF_YEAR)
    )
    earn(somchai, 5)
    ends = session.scalars(select(Lot.expires_at).order_by(Lot.id)).all()
    assert ends[-2:] == [END, datetime(2026, 12, 31, 17, 0, tzinfo=UTC)]


# Expiry


def test_fg11_a_lot_is_usable_to_the_last_moment_of_its_day(session, somchai, earn, burn):
    earn(somchai, 10)
    assert points.balance_of(session, somchai.id, END - MOMENT).available == 10
    assert points.balance_of(session, somchai.id, END).available == 0
    with pytest.raises(points.InsufficientPoints):
        burn(somchai, 10, now=END)
    assert burn(somchai, 10, now=END - MOMENT).is_new


def test_fg10_late_expiry_happens_once_and_counts_from_its_midnight(session, somchai, earn):
    earn(somchai, 10)
    late = END + timedelta(days=3)
    assert points.expire_lots(session, late, 100) == 1
    assert points.expire_lots(session, late, 100) == 0
    entry = session.scalars(select(LedgerEntry).where(LedgerEntry.kind == EntryKind.EXPIRE)).one()
    assert (entry.points, entry.created_at, entry.effective_at) == (-10, late, END)
    assert points.balance_of(session, somchai.id, late).balance == 0


def test_expires_in_batches_of_whole_members(session, earn):
    members = [factories.make_member(session, f"m{n}") for n in range(3)]
    for member in members:
        earn(member, 4)
        earn(member, 6)
    done = []
    while batch := points.expire_lots(session, END, 2):
        done.append(batch)
    assert sum(done) == 6
    assert [points.balance_of(session, member.id, END).balance for member in members] == [0] * 3


def test_expiry_tells_the_timeline_once_per_member(session, somchai, earn):
    earn(somchai, 4)
    earn(somchai, 6)
    points.expire_lots(session, END, 100)
    session.flush()
    told = session.scalars(select(Activity).where(Activity.kind == "points.expired")).all()
    assert [activity.facts for activity in told if activity.member_id == somchai.id] == [
        {"points": 10}
    ]


def test_expired_points_pay_a_debt_first(session, somchai, earn, burn):
    earn(somchai, 10, source_id="first")
    burn(somchai, 10)
    earn(somchai, 25, source_id="second")
    take_back(session, somchai, 10, "first")
    assert points.balance_of(session, somchai.id, NOW).debt == 10
    points.expire_lots(session, END, 10)
    after = points.balance_of(session, somchai.id, END)
    assert (after.balance, after.debt) == (0, 0)
    assert entries(session, somchai)[-1] == (EntryKind.EXPIRE, -15)


# Reversals


def take_back(session, member, amount, cause, *, now=NOW, before=0, number=1):
    return points.take_back(
        session,
        member.id,
        amount,
        source="purchase_return",
        source_id=f"{cause}-{number}",
        earn_source="purchase",
        earn_source_id=cause,
        returned_before=before,
        now=now,
    )


def test_takes_back_what_the_lot_still_has(session, somchai, earn):
    earn(somchai, 10, source_id="a")
    moved = take_back(session, somchai, 10, "a")
    assert (moved.points, moved.balance, moved.debt) == (-10, 0, 0)
    assert lots_left(session, somchai) == [0]


def test_burned_points_become_a_debt_that_later_earns_pay_first(session, somchai, earn, burn):
    earn(somchai, 10, source_id="a")
    burn(somchai, 7)
    take_back(session, somchai, 10, "a")
    balance = points.balance_of(session, somchai.id, NOW)
    assert (balance.balance, balance.available, balance.debt) == (-7, 0, 7)
    earn(somchai, 10)
    balance = points.balance_of(session, somchai.id, NOW)
    assert (balance.balance, balance.available, balance.debt) == (3, 3, 0)


def test_nothing_can_be_burned_while_in_debt(session, somchai, earn, burn):
    earn(somchai, 10, source_id="a")
    burn(somchai, 10)
    earn(somchai, 20)
    take_back(session, somchai, 10, "a")
    balance = points.balance_of(session, somchai.id, NOW)
    assert (balance.balance, balance.available, balance.debt) == (10, 0, 10)
    with pytest.raises(points.InsufficientPoints):
        burn(somchai, 1)


def test_takes_back_once_per_cause(session, somchai, earn):
    earn(somchai, 10, source_id="a")
    take_back(session, somchai, 10, "a")
    assert take_back(session, somchai, 10, "a").is_new is False
    assert points.balance_of(session, somchai.id, NOW).balance == 0


@pytest.mark.parametrize("has_job_run", [True, False])
def test_fg05_expired_points_are_not_taken_twice(session, somchai, earn, burn, has_job_run):
    earn(somchai, 10, source_id="a")
    burn(somchai, 4)
    if has_job_run:
        points.expire_lots(session, END, 10)
    take_back(session, somchai, 10, "a", now=END)
    points.expire_lots(session, END, 10)
    after = points.balance_of(session, somchai.id, END)
    assert (after.balance, after.debt) == (-4, 4)


def test_part_returns_share_what_had_expired(session, somchai, earn, burn):
    earn(somchai, 10, source_id="a")
    burn(somchai, 4)
    points.expire_lots(session, END, 10)
    take_back(session, somchai, 5, "a", now=END, number=1)
    assert points.balance_of(session, somchai.id, END).debt == 0
    take_back(session, somchai, 5, "a", now=END, before=5, number=2)
    assert points.balance_of(session, somchai.id, END).debt == 4


def give_back(session, member, cause, *, now=NOW, number=1):
    return points.give_back(
        session,
        member.id,
        source="redemption_reversal",
        source_id=f"{cause}-{number}",
        burn_source="voucher",
        burn_source_id=cause,
        now=now,
        tz=BANGKOK,
    )


def test_gives_points_back_to_their_lots(session, somchai, earn, burn):
    earn(somchai, 4)
    earn(somchai, 6)
    burn(somchai, 7, source_id="v")
    assert give_back(session, somchai, "v").points == 7
    assert lots_left(session, somchai) == [4, 6]
    assert give_back(session, somchai, "v").is_new is False


def test_a_lot_past_its_date_gets_seven_days(session, somchai, earn, burn):
    earn(somchai, 10)
    burn(somchai, 10, source_id="v")
    give_back(session, somchai, "v", now=END)
    balance = points.balance_of(session, somchai.id, END)
    assert balance.available == 10
    assert balance.expiring[0].expires_at == END + timedelta(days=8)  # seven whole days more
    points.expire_lots(session, END + timedelta(days=8), 10)
    assert points.balance_of(session, somchai.id, END + timedelta(days=8)).balance == 0


def test_points_given_back_pay_the_debt_they_caused(session, somchai, earn, burn):
    earn(somchai, 10, source_id="a")
    burn(somchai, 10, source_id="v")
    take_back(session, somchai, 10, "a")
    give_back(session, somchai, "v")
    balance = points.balance_of(session, somchai.id, NOW)
    assert (balance.balance, balance.debt, balance.available) == (0, 0, 0)


def test_nothing_is_given_back_for_a_burn_that_never_was(session, somchai):
    assert give_back(session, somchai, "nothing").is_new is False


# By hand


def test_adjusts_up_with_a_lot_and_down_like_a_burn(session, somchai):
    prem = factories.prem(session)
    for amount in (30, -10):
        points.adjust(
            session, somchai.id, amount, reason="ชดเชย", staff_id=prem.id,
            source_id=f"adjust-{amount}", now=NOW, tz=BANGKOK,
        )  # fmt: skip
    assert entries(session, somchai) == [(EntryKind.ADJUST, 30), (EntryKind.ADJUST, -10)]
    assert points.balance_of(session, somchai.id, NOW).available == 20


def test_adjusts_never_below_what_is_available(session, somchai, earn):
    earn(somchai, 5)
    with pytest.raises(points.InsufficientPoints):
        points.adjust(
            session, somchai.id, -6, reason="ผิด", staff_id=None, source_id="x", now=NOW, tz=BANGKOK
        )


# Limits and proof


def test_fg09_refuses_sums_near_the_edge_of_a_column(session, somchai, earn):
    with pytest.raises(Refused) as refusal:
        earn(somchai, 2**62)
    assert refusal.value.code == "limits.over"
    earn(somchai, points.MAX_POINTS)
    with pytest.raises(Refused):
        earn(somchai, 1)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger_entries SET points = points + 1",
        "DELETE FROM ledger_entries",
        "UPDATE lot_draws SET points = -1",
        "DELETE FROM lot_draws",
        "DELETE FROM lots",
        "UPDATE lots SET expires_at = NULL",
        "UPDATE lots SET points = 99",
    ],
)
def test_fg12_database_refuses_to_rewrite_the_ledger(session, somchai, earn, burn, statement):
    earn(somchai, 10)
    burn(somchai, 1)
    with pytest.raises(DatabaseError, match="append-only"), session.begin_nested():
        session.execute(text(statement))
    assert points.balance_of(session, somchai.id, NOW).balance == 9


def tamper(session, member, **figures):
    row = update(MemberTotals.__table__).where(MemberTotals.member_id == member.id)
    session.execute(row.values(figures))


def test_fg13_finds_a_tampered_balance_and_freezes_the_member(session, somchai, earn, burn):
    earn(somchai, 10)
    tamper(session, somchai, balance=11)
    found = points.check_ledger(session, NOW)
    assert points.Difference("points.balance", somchai.id, 10, 11) in found
    with pytest.raises(Refused) as refusal:
        burn(somchai, 1)
    assert refusal.value.code == "points.frozen"


def test_frozen_member_burns_again_once_cleared(session, somchai, earn, burn):
    earn(somchai, 10)
    tamper(session, somchai, balance=11)
    points.check_ledger(session, NOW)
    tamper(session, somchai, balance=10)
    points.unfreeze(session, somchai.id)
    assert points.check_ledger(session, NOW) == []
    assert burn(somchai, 1).is_new


def test_check_finds_a_lot_that_lost_points(session, somchai, earn):
    earn(somchai, 10)
    session.execute(update(Lot.__table__).values(remaining=9))
    kinds = {difference.what for difference in points.check_ledger(session, NOW)}
    assert kinds == {"points.lots", "points.lot"}


def test_check_finds_an_invented_debt(session, somchai, earn):
    earn(somchai, 10)
    tamper(session, somchai, debt=3)
    assert points.check_ledger(session, NOW) == [
        points.Difference("points.lots", somchai.id, 10, 7)
    ]


def test_check_is_content_with_an_honest_ledger(session, somchai, earn, burn):
    earn(somchai, 10, source_id="a")
    burn(somchai, 3, source_id="v")
    take_back(session, somchai, 10, "a")
    give_back(session, somchai, "v")
    points.expire_lots(session, END, 10)
    assert points.check_ledger(session, END) == []


def test_history_tells_the_newest_first(session, somchai, earn, burn):
    earn(somchai, 10, facts={"amount_satang": 25000})
    burn(somchai, 2)
    told = points.history(session, somchai.id, 5)
    assert [(entry.kind, entry.points) for entry in told] == [("burn", -2), ("earn", 10)]
    assert told[1].facts == {"amount_satang": 25000}


def test_loaded_totals_follow_the_statements(session, somchai, earn):
    assert somchai.totals.balance == 0
    earn(somchai, 10)
    assert (somchai.totals.balance, somchai.totals.earned_total) == (10, 10)


def test_counts_all_rows_it_wrote(session, somchai, earn, burn):
    earn(somchai, 10)
    burn(somchai, 10)
    rows = session.scalar(
        select(func.count()).select_from(LedgerEntry).where(LedgerEntry.member_id == somchai.id)
    )
    assert rows == 2


def test_z10_the_check_reads_only(session, somchai, earn):
    """A read-only transaction on PostgreSQL, a connection that only asks on SQLite."""
    earn(somchai, 10)
    session.flush()
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    session.execute(text("PRAGMA query_only = ON" if is_sqlite else "SET TRANSACTION READ ONLY"))
    try:
        assert proof.find_all(session) == []
    finally:
        if is_sqlite:
            session.execute(text("PRAGMA query_only = OFF"))


def test_fg13_a_difference_seen_only_in_passing_freezes_nobody(session, somchai, earn, burn):
    earn(somchai, 10)
    passing = [points.Difference("points.balance", somchai.id, 10, 11)]
    assert proof.freeze(session, passing, NOW) == []
    assert burn(somchai, 1).balance == 9
