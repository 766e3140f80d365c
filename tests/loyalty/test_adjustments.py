"""Points by hand: a reason, ceilings by role, a second person, never one's own (P8, AA3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from core.errors import Invalid, Refused
from loyalty import adjustments, members, merges, merging, points, proof, shop
from models.activities import Activity
from models.points import AdjustmentState, EntryKind, LedgerEntry
from models.staff import Role
from tests import factories
from tests.moments import BANGKOK, NOW

WAITING, DONE = AdjustmentState.WAITING, AdjustmentState.DONE


@pytest.fixture
def staff(session):
    """`staff("manager")` is somebody of that role."""

    def make(role="owner", name="x"):
        return factories.prem(session, role=Role(role), email=f"{role}-{name}@taem.example")

    return make


@pytest.fixture
def give(session, somchai):
    def call(staff, amount, *, reason="บิลหาย", now=NOW, member=None):
        return adjustments.give(
            session, member or somchai, amount, reason=reason, staff=staff, now=now, tz=BANGKOK
        )

    return call


@pytest.fixture
def decide(session):
    def call(row, staff, *, is_agreed=True):
        return adjustments.decide(
            session, row.id, staff=staff, is_agreed=is_agreed, now=NOW, tz=BANGKOK
        )

    return call


def balance(session, member):
    return points.balance_of(session, member.id, NOW).balance


def refusal(call, *arguments, **facts):
    with pytest.raises(Refused) as refused:
        call(*arguments, **facts)
    return refused.value


@pytest.mark.parametrize(
    "role, amount, expected",
    [
        ("owner", 1999, DONE),
        ("owner", 2000, DONE),
        ("owner", 2001, WAITING),
        ("owner", -2001, WAITING),
        ("manager", 500, DONE),
        ("manager", 501, WAITING),
        ("manager", -501, WAITING),
        ("marketer", 1, 403),
        ("auditor", 1, 403),
    ],
)
def test_aa3_each_role_has_its_ceiling(session, staff, give, somchai, role, amount, expected):
    points.earn(session, somchai.id, 5000, source="t", source_id="1", now=NOW, tz=BANGKOK)
    if expected == 403:
        refused = refusal(give, staff(role), amount)
        assert (refused.code, refused.status) == ("adjustments.not_allowed", 403)
        return
    row = give(staff(role), amount)
    assert row.state == expected
    assert balance(session, somchai) == 5000 + (amount if expected == DONE else 0)
    assert proof.check_all(session, NOW) == []


def test_p8_entry_names_the_person_and_the_reason_and_the_member_is_told(session, staff, give):
    prem = staff()
    row = give(prem, 100, reason="ชดเชยบิลหาย")
    entry = session.get_one(LedgerEntry, row.entry_id)
    assert (entry.kind, entry.staff_id, entry.reason) == (
        EntryKind.ADJUST,
        prem.id,
        "ชดเชยบิลหาย",
    )
    assert session.scalars(select(Activity.kind)).all() == ["points.adjusted"]


def test_p8_a_long_thai_reason_is_kept_as_far_as_its_column_goes(session, staff, give):
    row = give(staff(), 1, reason="ผู้ที่นี่" * 60)  # a third of its letters are marks
    assert 196 <= len(row.reason) <= 200
    assert session.get_one(LedgerEntry, row.entry_id).reason == row.reason


def test_p8_no_adjustment_without_a_reason(staff, give):
    with pytest.raises(Invalid) as refused:
        give(staff(), 1, reason=" \u200b ")
    assert refused.value.code == "adjustments.needs_reason"


def test_p8_never_takes_more_than_the_member_has(session, staff, give):
    assert refusal(give, staff(), -1).code == "points.not_enough"


def test_aa3_pieces_of_one_day_count_together(staff, give):
    boss = staff("manager")
    assert [give(boss, 200).state for _ in range(3)] == [DONE, DONE, WAITING]
    assert give(boss, -100).state == DONE  # 500 of 500
    assert give(boss, 1).state == WAITING
    assert give(boss, 500, now=NOW + timedelta(days=1)).state == DONE


def test_fs04_a_ceilings_day_ends_at_the_shops_midnight(staff, give):
    boss = staff("manager")
    last = datetime(2026, 11, 22, 16, 59, 59, 999000, tzinfo=UTC)
    assert give(boss, 500, now=last).state == DONE
    assert give(boss, 1, now=last).state == WAITING
    assert give(boss, 500, now=last + timedelta(milliseconds=1)).state == DONE


def test_the_owner_sets_the_ceilings(session, staff, give):
    shop.set(session, "adjustments.manager_ceiling", 10, NOW)
    assert give(staff("manager"), 11).state == WAITING


def test_aa3_whoever_asked_cannot_agree(session, staff, give, decide, somchai):
    prem = staff()
    row = give(prem, 5000)
    refused = refusal(decide, row, prem)
    assert (refused.code, refused.status) == ("adjustments.same_person", 403)
    assert balance(session, somchai) == 0


def test_aa3_a_second_person_agrees_once(session, staff, give, decide, somchai):
    row = give(staff(), 5000)
    done = decide(row, staff("manager"))
    assert (done.state, done.decided_at, balance(session, somchai)) == (DONE, NOW, 5000)
    again = refusal(decide, row, staff("manager", "y"))
    assert again.code == "adjustments.already_decided"
    assert balance(session, somchai) == 5000


def test_aa3_a_second_person_refuses(session, staff, give, decide, somchai):
    row = decide(give(staff(), 5000), staff("manager"), is_agreed=False)
    assert (row.state, row.entry_id, balance(session, somchai)) == (
        AdjustmentState.REFUSED,
        None,
        0,
    )
    assert refusal(decide, row, staff("manager", "y")).code == "adjustments.already_decided"


@pytest.fixture
def own_account(session, somchai):
    """Links somebody of the console to Somchai's membership, by their PIN."""

    def link(staff):
        cashier = factories.nok(session)
        cashier.staff_id, cashier.member_id = staff.id, somchai.id
        session.flush()
        return staff

    return link


def test_aa3_nobody_adjusts_their_own_points(staff, give, own_account):
    refused = refusal(give, own_account(staff()), 1)
    assert (refused.code, refused.status) == ("adjustments.own_account", 403)


def test_aa3_nobody_agrees_to_points_of_their_own(staff, give, decide, own_account):
    row = give(staff(), 5000)
    assert refusal(decide, row, own_account(staff("manager"))).code == "adjustments.own_account"


def test_friends_have_no_points_to_adjust(session, staff, give):
    assert refusal(give, staff(), 1, member=factories.friend(session)).code == "members.not_joined"


@pytest.mark.parametrize("way", ["merge", "claim"])
def test_p8_what_waits_is_decided_for_the_row_that_stays(session, vault, staff, give, decide, way):
    phone = members.E164("+66812345678")
    walk_in = members.create_walk_in(session, vault, e164=phone, now=NOW)
    waits = give(staff(), 3000, member=walk_in)
    person = factories.make_member(session, "แพรว", vault=vault)
    points.earn(session, person.id, 1, source="t", source_id="1", now=NOW, tz=BANGKOK)
    if way == "merge":
        merges.merge(
            session, vault, person.id, walk_in.id, now=NOW, real_now=NOW, tz=BANGKOK,
            staff_id=None, actor="staff:1",
        )  # fmt: skip
    else:
        members.set_phone(session, vault, person, phone, NOW)
        assert merging.prove_phone(session, vault, person, NOW) is person
    assert decide(waits, staff("manager")).state == DONE
    assert balance(session, person) == 3001
    assert proof.check_all(session, NOW) == []
