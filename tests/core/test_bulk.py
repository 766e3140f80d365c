"""Many rows in one statement: the same on both engines as one after another would be."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select

from core import bulk
from core.db import is_sqlite
from models.activities import Activity
from models.base import table_of
from models.members import Level, Member, MemberTotals
from models.results import Tap
from tests import factories
from tests.moments import NOW

ACTIVITIES, TAPS, TOTALS = table_of(Activity), table_of(Tap), table_of(MemberTotals)


@pytest.fixture
def people(session):
    return [factories.make_member(session, f"{n} ลูกค้า").id for n in range(3)]


def test_insert_leaves_out_what_is_there_and_returns_what_it_wrote(session, people):
    rows = [
        {"key": key, "member_id": member, "source": "journey:1:x", "at": NOW}
        for key, member in zip("aba", people, strict=True)
    ]
    made = bulk.insert_many(session, TAPS, rows, returning=("key", "member_id"), unique="key")
    assert sorted(made) == [("a", people[0]), ("b", people[1])]
    assert bulk.insert_many(session, TAPS, rows, returning=("key",), unique="key") == []
    assert bulk.insert_many(session, TAPS, [], returning=("key",)) == []
    assert session.scalar(select(func.count()).select_from(Tap)) == 2


def test_update_changes_the_rows_it_names_and_no_other(session, people):
    first, second, other = people
    why = {"change": "ซื้อ", "days": [1, 2]}
    bulk.update_many(
        session,
        TOTALS,
        "member_id",
        [
            {"level": Level.VIP, "member_id": second, "level_why": why, "level_at": NOW},
            {"level": Level.REGULAR, "member_id": first, "level_why": {}, "level_at": NOW},
        ],
    )
    bulk.update_many(session, TOTALS, "member_id", [])
    session.expire_all()
    levels = [session.get_one(MemberTotals, one).level for one in people]
    assert levels == [Level.REGULAR, Level.VIP, Level.TARGET]
    assert session.get_one(MemberTotals, second).level_why == why
    assert session.get_one(MemberTotals, other).level_why != why


def test_copy_writes_every_kind_of_value_and_null_for_what_a_row_leaves_out(session, people):
    member = people[0]
    odd = {"text": 'ทาบ\t\'\\N\n"ไทย"', "none": None}
    ids = bulk.take_ids(session, ACTIVITIES, 2)
    rows = [
        {
            "id": ids[0],
            "member_id": member,
            "kind": "test.one",
            "at": NOW,
            "facts": odd,
            "key": "k",
        },
        {"id": ids[1], "member_id": member, "kind": "test.two", "at": NOW, "facts": {}},
    ]
    bulk.copy_many(session, ACTIVITIES, rows)
    bulk.copy_many(session, ACTIVITIES, [])
    one, two = (session.get_one(Activity, place) for place in ids)
    assert (one.kind, one.at, one.facts, one.key) == ("test.one", NOW, odd, "k")
    assert (two.kind, two.facts, two.key) == ("test.two", {}, None)


def test_ids_are_taken_for_nobody_else(session, people):
    session.add(Activity(member_id=people[0], kind="test.before", at=NOW, facts={}))
    session.flush()
    taken = bulk.take_ids(session, ACTIVITIES, 3)
    rows = [
        {"id": place, "member_id": people[0], "kind": "test.bulk", "at": NOW, "facts": {}}
        for place in taken
    ]
    bulk.copy_many(session, ACTIVITIES, rows)  # no id that was there
    after = Activity(member_id=people[0], kind="test.after", at=NOW, facts={})
    session.add(after)
    session.flush()
    assert len({*taken, after.id}) == 4


@pytest.mark.parametrize("chosen", [(), (0,), (0, 2)])
def test_chosen_ids_and_texts_are_found_and_no_other(session, people, chosen):
    ids = [people[place] for place in chosen]
    built = bulk.is_among(is_sqlite(session), Member.id, "ids")
    names = [session.get_one(Member, one).public_id for one in ids]
    for where, given in (
        (bulk.is_one_of(session, Member.id, ids), {}),
        (built, {"ids": ids}),
        (bulk.is_one_text(session, Member.public_id, [*names, "'; DROP TABLE members; --"]), {}),
    ):
        assert (
            list(session.scalars(select(Member.id).where(where).order_by(Member.id), given)) == ids
        )
