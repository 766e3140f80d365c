"""Vouchers by hand: a reason, ceilings by role, a second person, never one's own (C2, AA3)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from core.errors import Invalid, NotFound, Refused
from loyalty import coupons, members, merges, shop
from models.coupons import CouponState, GiftState, Obtained, Voucher, VoucherGift
from models.staff import Role
from tests import factories
from tests.moments import BANGKOK, NOW

WAITING, DONE = GiftState.WAITING, GiftState.DONE


@pytest.fixture
def gift(session):
    return factories.make_coupon(session, "gift", obtained=Obtained.STAFF)


@pytest.fixture
def staff(session):
    """`staff("manager")` is somebody of that role, who gives two vouchers a day alone."""
    for key in coupons.GIFT_CEILINGS.values():
        shop.set(session, key, 2, NOW)

    def make(role="owner", name="x"):
        return factories.prem(session, role=Role(role), email=f"{role}-{name}@taem.example")

    return make


@pytest.fixture
def give(session, gift, somchai):
    def call(staff, key, *, reason="รอนาน", now=NOW, member=None, coupon=gift):
        return coupons.give(session, coupon.id, member or somchai, staff, reason, key, now, BANGKOK)

    return call


@pytest.fixture
def decide(session):
    def call(row, staff, *, is_agreed=True):
        return coupons.decide_gift(
            session, row.id, staff=staff, is_agreed=is_agreed, now=NOW, tz=BANGKOK
        )

    return call


def vouchers(session) -> int:
    return session.scalar(select(func.count()).select_from(Voucher))


@pytest.mark.parametrize("role", ["owner", "manager"])
def test_aa3_limit_minus_one_limit_and_above(session, staff, give, role):
    boss = staff(role)
    assert [give(boss, key).state for key in "abc"] == [DONE, DONE, WAITING]
    assert vouchers(session) == 2
    assert give(boss, "d", now=NOW + timedelta(days=1)).state == DONE


@pytest.mark.parametrize("role", ["marketer", "auditor"])
def test_aa3_who_may_not_gives_none(staff, give, role):
    with pytest.raises(Refused) as refused:
        give(staff(role), "a")
    assert (refused.value.code, refused.value.status) == ("coupons.may_not_give", 403)


def test_a_doubled_tap_is_one_gift_also_while_it_waits(session, staff, give):
    boss = staff()
    assert give(boss, "a").id == give(boss, "a").id
    give(boss, "b")
    assert give(boss, "c").id == give(boss, "c").id
    assert session.scalar(select(func.count()).select_from(VoucherGift)) == 3
    assert vouchers(session) == 2


def test_aa3_a_second_person_gives_it_once(session, staff, give, decide):
    boss, other = staff(), staff("manager")
    waits = [give(boss, key) for key in "abc"][-1]
    with pytest.raises(Refused) as own:
        decide(waits, boss)
    assert (own.value.code, own.value.status) == ("adjustments.same_person", 403)
    assert decide(waits, other).state == DONE
    assert session.get_one(Voucher, waits.voucher_id).source_id == f"{boss.id}:c"
    with pytest.raises(Refused) as again:
        decide(waits, staff("owner", "y"))
    assert again.value.code == "adjustments.already_decided"
    assert vouchers(session) == 3
    # What a second person agreed to counts towards nobody's day.
    assert give(boss, "d", now=NOW + timedelta(days=1)).state == DONE


def test_aa3_a_refused_gift_gives_nothing(session, staff, give, decide):
    waits = [give(staff("owner"), "a"), *(give(staff("owner", n), n) for n in "bc")][0]
    assert waits.state == DONE
    boss = staff("manager")
    last = [give(boss, key) for key in "def"][-1]
    assert decide(last, staff("owner", "z"), is_agreed=False).state == GiftState.REFUSED
    assert last.voucher_id is None


def test_aa3_nobody_gives_or_agrees_to_their_own(session, staff, give, decide, somchai):
    boss, other = staff(), staff("manager")
    nok = factories.nok(session)
    nok.staff_id, nok.member_id = other.id, somchai.id
    session.flush()
    with pytest.raises(Refused) as own:
        give(other, "a")
    assert own.value.code == "coupons.own_account"
    waits = [give(boss, key) for key in "abc"][-1]
    with pytest.raises(Refused) as agreed:
        decide(waits, other)
    assert agreed.value.code == "coupons.own_account"


def test_a_gift_that_cannot_be_given_any_more_waits_on(session, staff, give, decide, gift):
    boss = staff()
    waits = [give(boss, key) for key in "abc"][-1]
    gift.state = CouponState.CLOSED
    session.flush()
    nested = session.begin_nested()
    with pytest.raises(NotFound):
        decide(waits, staff("manager"))
    nested.rollback()
    session.refresh(waits)
    assert waits.state == WAITING


def test_no_gift_without_a_reason(staff, give):
    with pytest.raises(Invalid) as refused:
        give(staff(), "a", reason=" \u200b ")
    assert refused.value.code == "coupons.reason_needed"


@pytest.mark.parametrize("parts", [False, True])
def test_what_waits_is_given_to_the_row_that_stays(
    session, vault, staff, give, decide, somchai, parts
):
    phone = members.E164("+66812345678")
    walk_in = members.create_walk_in(session, vault, e164=phone, now=NOW)
    boss = staff()
    waits = [give(boss, key, member=walk_in) for key in "abc"][-1]
    made = merges.merge(
        session, vault, somchai.id, walk_in.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None,
        actor="staff:1",
    )  # fmt: skip
    if parts:
        merges.unmerge(
            session, made.id, now=NOW, real_now=NOW, tz=BANGKOK, staff_id=None, actor="staff:1"
        )
    given = decide(waits, staff("manager"))
    holder = session.get_one(Voucher, given.voucher_id).member_id
    assert holder == (walk_in if parts else somchai).id
