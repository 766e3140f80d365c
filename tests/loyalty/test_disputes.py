"""`Not me` (AC3): what a member has is frozen at once, the shop is told, and somebody lifts it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from core.errors import Refused
from loyalty import (
    activities,
    alarms,
    coupons,
    disputes,
    erasure,
    members,
    merging,
    points,
)
from models.activities import Activity
from models.members import MemberTotals
from tests import factories
from tests.moments import BANGKOK, NOW

SECOND = timedelta(seconds=1)
PHONE = members.E164("+66812345678")


def refused(call, *arguments, **facts):
    with pytest.raises(Refused) as refusal:
        call(*arguments, **facts)
    return refusal.value.code


@pytest.fixture
def voucher(session, somchai):
    coupon = factories.make_coupon(session, per_member=9)
    return coupons.claim(session, coupon.id, somchai, NOW, BANGKOK)


@pytest.fixture
def used(session, somchai, till, voucher, earn):
    """The activity of a redemption by somebody else; ten points and another voucher are left."""
    earn(somchai, 10)
    till.redeem(voucher)
    session.flush()
    return session.scalars(select(Activity).where(Activity.kind == "vouchers.redeemed")).one()


def why(session, member):
    return session.get_one(MemberTotals, member.id, populate_existing=True).frozen_why


def test_ac3_not_me_stops_points_and_coupons_and_tells_the_shop(
    session, somchai, till, burn, earn, used
):
    kept = coupons.claim(session, used.facts["coupon_id"], somchai, NOW, BANGKOK)
    disputes.dispute(session, somchai.id, used.id, NOW + SECOND)
    assert why(session, somchai) == "not_me"
    assert refused(burn, somchai, 1) == "points.frozen"
    assert refused(till.redeem, kept) == "coupons.frozen"
    assert earn(somchai, 5).points == 5  # a customer who buys goes on earning
    [alarm] = alarms.open_ones(session)
    assert (alarm.kind, alarm.facts["member_id"]) == ("members.disputed", somchai.id)


def test_ac3_a_voucher_held_at_a_till_stops_too(session, somchai, till, used):
    kept = coupons.claim(session, used.facts["coupon_id"], somchai, NOW, BANGKOK)
    parsed = till.code(kept)
    disputes.dispute(session, somchai.id, used.id, NOW)
    assert refused(till.redeem, kept, parsed=parsed) == "coupons.frozen"


def test_ac3_said_twice_is_said_once(session, somchai, used):
    for later in range(3):
        disputes.dispute(session, somchai.id, used.id, NOW + later * SECOND)
    said = session.scalars(select(Activity).where(Activity.kind == "members.disputed")).all()
    assert len(said) == len(alarms.open_ones(session)) == 1


def test_ac3_somebody_elses_or_old_or_harmless_acts_freeze_nobody(session, somchai, till, used):
    other = factories.make_member(session, "สมหญิง", line_user_id=None)
    bought = till.buy(somchai, 100)
    session.flush()
    told = select(Activity.id).where(Activity.kind == "purchases.recorded")
    cases = [
        (other.id, used.id, NOW),
        (somchai.id, used.id, NOW + disputes.TO_SAY_SO + SECOND),
        (somchai.id, session.scalars(told).one(), NOW),
        (somchai.id, 0, NOW),
    ]
    for member_id, activity_id, now in cases:
        assert (
            refused(disputes.dispute, session, member_id, activity_id, now)
            == "members.not_disputable"
        )
    assert bought.points
    assert why(session, somchai) is None
    assert alarms.open_ones(session) == []


def test_ac3_lifted_it_goes_on_and_the_alarm_ends(session, somchai, till, burn, used):
    kept = coupons.claim(session, used.facts["coupon_id"], somchai, NOW, BANGKOK)
    disputes.dispute(session, somchai.id, used.id, NOW)
    disputes.lift(session, somchai.id, NOW + SECOND)
    assert why(session, somchai) is None
    assert alarms.open_ones(session) == []
    assert burn(somchai, 1).points == -1
    assert till.redeem(kept).discount_satang
    assert refused(disputes.lift, session, somchai.id, NOW) == "points.not_frozen"


def test_a_balance_that_is_not_its_entries_is_not_released(session, somchai, used):
    session.get_one(MemberTotals, somchai.id).balance += 1
    session.flush()
    assert [one.id for one in points.check_ledger(session, NOW)] == [somchai.id]
    assert why(session, somchai) == "ledger"
    assert refused(disputes.lift, session, somchai.id, NOW) == "points.still_wrong"
    session.get_one(MemberTotals, somchai.id, populate_existing=True).balance -= 1
    session.flush()
    disputes.lift(session, somchai.id, NOW)
    assert why(session, somchai) is None


def test_who_leaves_takes_what_they_said_along(session, vault, somchai, used):
    disputes.dispute(session, somchai.id, used.id, NOW)
    erasure.erase(session, vault, somchai, asked_by="member", now=NOW + SECOND)
    assert why(session, somchai) is None
    assert alarms.open_ones(session) == []


def test_leaving_hides_no_balance_that_is_not_its_entries(session, vault, somchai):
    session.get_one(MemberTotals, somchai.id).balance += 1
    session.flush()
    points.check_ledger(session, NOW)
    erasure.erase(session, vault, somchai, asked_by="member", now=NOW)
    assert why(session, somchai) == "ledger"


@pytest.mark.parametrize("buyer", ["walk_in", "person"])
def test_ac3_proving_a_walk_ins_phone_does_not_lift_it(session, vault, till, buyer):
    factories.make_policy(session)
    walk_in = members.create_walk_in(session, vault, e164=PHONE, now=NOW)
    person = factories.make_member(session, "แพรว", vault=vault)
    members.set_phone(session, vault, person, PHONE, NOW)
    till.buy(walk_in if buyer == "walk_in" else person, 100)
    redeemed = activities.record(session, person.id, "vouchers.redeemed", NOW)
    session.flush()
    disputes.dispute(session, person.id, redeemed.id, NOW)
    assert refused(merging.prove_phone, session, vault, person, NOW) == "points.frozen"
    disputes.lift(session, person.id, NOW)
    account = merging.prove_phone(session, vault, person, NOW)
    assert account is (walk_in if buyer == "walk_in" else person)


def test_ac3_a_phone_that_nobody_holds_can_be_proven_meanwhile(session, vault, somchai, used):
    members.set_phone(session, vault, somchai, PHONE, NOW)
    disputes.dispute(session, somchai.id, used.id, NOW)
    assert merging.prove_phone(session, vault, somchai, NOW) is somchai
    assert why(session, somchai) == "not_me"
