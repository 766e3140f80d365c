"""Inviting friends: gifts for both, and what brings nobody anything (R4, FG20)."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from core.clock import FixedClock
from core.runtime import Runtime
from loyalty import activities, coupons, erasure, members, referrals, shop, tombstones
from loyalty.members import E164
from loyalty.referrals import Step
from models.coupons import Obtained, Voucher
from models.members import MemberState, Referral
from tests import factories
from tests.moments import BANGKOK, NOW

PHONES = (E164("+66811111111"), E164("+66822222222"), E164("+66833333333"))


class Inviting:
    """Somchai invites, น้ำหวาน comes; gifts are on for both."""

    def __init__(self, session, vault, till) -> None:
        self.session, self.vault, self.till = session, vault, till
        factories.make_coupon(session, "friend_gift", obtained=Obtained.JOURNEY)
        factories.make_coupon(session, "thanks", obtained=Obtained.JOURNEY)
        shop.set(session, "referrals.friend_gift", "friend_gift", NOW)
        shop.set(session, "referrals.referrer_gift", "thanks", NOW)
        self.runtime = Runtime(
            settings=factories.make_settings("sqlite://"),
            database=SimpleNamespace(session_info={}),
            clock=FixedClock(NOW, BANGKOK),
            vault=vault,
            reactions=(referrals.react,),
        )
        self.somchai = self.member("สมชาย", PHONES[0])

    def member(self, name, phone=None):
        member = factories.make_member(self.session, name, vault=self.vault)
        member.referral_code = f"CODE{member.id}"
        if phone:
            members.set_phone(self.session, self.vault, member, phone, NOW)
        self.session.flush()
        self.session.info.pop("activities", None)
        return member

    def friend(self, name="น้ำหวาน"):
        return factories.make_member(self.session, name, state=MemberState.FRIEND, vault=self.vault)

    def note(self, friend, referrer=None):
        return referrals.note_code(
            self.session, friend, (referrer or self.somchai).referral_code, NOW
        )

    def join(self, friend, phone=PHONES[1]):
        members.set_name(self.session, friend, "น้ำหวาน ใจดี", NOW)
        members.set_phone(self.session, self.vault, friend, phone, NOW)
        members.become_member(self.session, friend, NOW)
        referrals.close(self.session, friend, NOW)
        activities.record(self.session, friend.id, "members.joined", NOW)
        self.settle()
        return friend

    def come(self, phone=PHONES[1]):
        friend = self.friend()
        self.note(friend)
        return self.join(friend, phone)

    def buy(self, friend, baht=100):
        bought = self.till.buy(friend, baht)
        self.settle()
        return bought

    def void(self, bought, baht=None):
        self.till.give_back(bought, baht)
        self.settle()

    def settle(self):
        self.runtime.settle(self.session, NOW)
        self.session.flush()

    def gifts(self, member, *states):
        found = select(Voucher).where(Voucher.member_id == member.id, Voucher.source == "referral")
        return [
            (voucher.coupon.key, voucher.state.value)
            for voucher in self.session.scalars(found.order_by(Voucher.id))
        ]

    def row(self, friend) -> Referral:
        return self.session.scalars(select(Referral).where(Referral.friend_id == friend.id)).one()


@pytest.fixture
def inviting(session, vault, till) -> Inviting:
    return Inviting(session, vault, till)


def test_r4_the_friend_gets_a_gift_on_joining_and_the_referrer_with_the_first_bill(inviting):
    friend = inviting.come()
    assert inviting.gifts(friend) == [("friend_gift", "issued")]
    assert inviting.gifts(inviting.somchai) == []
    inviting.buy(friend)
    inviting.buy(friend)
    assert inviting.gifts(inviting.somchai) == [("thanks", "issued")]


def test_r4_the_friends_gift_waits_for_a_proven_phone_or_the_first_bill(inviting, session):
    friend = inviting.come()
    voucher = session.scalars(select(Voucher).where(Voucher.member_id == friend.id)).one()
    assert voucher.needs_proof


@pytest.mark.parametrize("baht,gifts", [(99.99, 0), (100, 1), (5000, 1)])
def test_r4_only_a_bill_of_at_least_x_rewards(inviting, baht, gifts):
    inviting.buy(inviting.come(), baht)
    assert len(inviting.gifts(inviting.somchai)) == gifts


def test_r4_a_later_bill_of_at_least_x_is_the_first_that_counts(inviting):
    friend = inviting.come()
    inviting.buy(friend, 50)
    inviting.buy(friend, 150)
    assert inviting.gifts(inviting.somchai) == [("thanks", "issued")]


def test_r4_without_coupons_set_nothing_is_given_and_nothing_promised(inviting, session):
    shop.set(session, "referrals.friend_gift", "", NOW)
    shop.set(session, "referrals.referrer_gift", "", NOW)
    friend = inviting.come()
    inviting.buy(friend)
    assert inviting.gifts(friend) == inviting.gifts(inviting.somchai) == []
    assert inviting.row(friend).rewarded_at is None


def test_r4_a_referrer_who_has_left_takes_no_gift_of_the_stock(inviting, session, vault):
    friend = inviting.come()
    erasure.erase(session, vault, inviting.somchai, asked_by="member", now=NOW)
    inviting.buy(friend)
    assert inviting.gifts(inviting.somchai) == []
    assert inviting.row(friend).rewarded_at is None


# Taken back


def test_r4_a_void_of_the_first_bill_takes_an_unused_gift_back(inviting):
    friend = inviting.come()
    inviting.void(inviting.buy(friend))
    assert inviting.gifts(inviting.somchai) == [("thanks", "void")]
    inviting.buy(friend)
    assert inviting.gifts(inviting.somchai) == [("thanks", "void"), ("thanks", "issued")]
    assert coupons.check_counts(inviting.session) == []


def test_r4_a_used_gift_stays_and_brings_no_second_one(inviting, session):
    friend = inviting.come()
    bought = inviting.buy(friend)
    thanks = session.scalars(select(Voucher).where(Voucher.member_id == inviting.somchai.id)).one()
    inviting.till.redeem(thanks)
    inviting.void(bought)
    inviting.buy(friend)
    assert inviting.gifts(inviting.somchai) == [("thanks", "redeemed")]


def test_r4_a_part_return_below_x_takes_it_back_and_another_bill_keeps_it(inviting):
    friend = inviting.come()
    bought = inviting.buy(friend, 150)
    inviting.void(bought, 40)
    assert inviting.gifts(inviting.somchai) == [("thanks", "issued")]
    inviting.void(bought, 60)
    assert inviting.gifts(inviting.somchai) == [("thanks", "void")]
    first = inviting.buy(friend)
    inviting.buy(friend)
    inviting.void(first)
    assert inviting.gifts(inviting.somchai)[-1] == ("thanks", "issued")


# Refused (FG20)


def refused(inviting, friend) -> str | None:
    inviting.buy(friend, 500)
    assert inviting.gifts(inviting.somchai) == []
    assert inviting.gifts(friend) == []
    return inviting.row(friend).refused


def test_fg20_ac4_a_second_account_with_the_same_phone_brings_nothing(inviting):
    assert refused(inviting, inviting.come(PHONES[0])) == referrals.SAME_PHONE


def test_fg20_a_phone_that_another_member_has_proven_brings_nothing(inviting, session):
    malee = inviting.member("มาลี", PHONES[2])
    members.mark_proven(session, malee, NOW, "cashier", taken="members.phone_taken")
    assert refused(inviting, inviting.come(PHONES[2])) == referrals.KNOWN_PHONE


@pytest.mark.parametrize("kind", [tombstones.PHONE, tombstones.LINE_ID])
def test_fg20_j7_joining_again_within_a_year_brings_nothing(inviting, session, kind):
    friend = inviting.friend()
    value = PHONES[1] if kind == tombstones.PHONE else friend.line_user_id
    tombstones.put(session, inviting.vault, kind, value, NOW - timedelta(days=100))
    inviting.note(friend)
    assert refused(inviting, inviting.join(friend)) == referrals.REJOINED


def test_fg20_a_loop_is_refused_with_its_reason_and_another_code_may_follow(inviting, session):
    anan = inviting.friend("อนันต์")
    session.add(Referral(friend_id=inviting.somchai.id, referrer_id=anan.id, at=NOW))
    session.flush()
    assert inviting.note(anan) is None
    assert inviting.row(anan).refused == referrals.LOOP
    malee = inviting.member("มาลี", PHONES[2])
    assert inviting.note(anan, malee) == referrals.FRIEND_SOURCE
    inviting.join(anan)
    inviting.buy(anan)
    assert inviting.gifts(malee) == [("thanks", "issued")]


def test_fg20_a_long_line_of_friends_is_no_loop(inviting, session):
    line = [inviting.somchai, *(factories.make_member(session, f"m{one}") for one in range(30))]
    session.add_all(
        Referral(friend_id=friend.id, referrer_id=referrer.id, at=NOW)
        for friend, referrer in pairwise(line)
    )
    session.flush()
    assert inviting.note(inviting.friend()) == referrals.FRIEND_SOURCE
    line[-1].state = MemberState.FRIEND
    assert inviting.note(line[-1]) is None
    assert inviting.row(line[-1]).refused == referrals.LOOP


def test_fg20_who_has_tried_a_loop_may_invite_others_all_the_same(inviting, session):
    anan = inviting.friend("อนันต์")
    session.add(Referral(friend_id=inviting.somchai.id, referrer_id=anan.id, at=NOW))
    session.flush()
    inviting.note(anan)
    assert inviting.note(inviting.friend()) == referrals.FRIEND_SOURCE


def test_fg20_ones_own_code_is_refused(inviting, session):
    inviting.somchai.state = MemberState.FRIEND
    assert inviting.note(inviting.somchai) is None
    assert session.scalars(select(Referral)).all() == []


def test_r4_the_first_code_counts(inviting):
    malee = inviting.member("มาลี", PHONES[2])
    friend = inviting.friend()
    inviting.note(friend)
    assert inviting.note(friend, malee) is None
    assert inviting.row(friend).referrer_id == inviting.somchai.id


def test_r4_a_phone_corrected_to_the_referrers_before_the_first_bill_is_refused(inviting, session):
    friend = inviting.come()
    members.set_phone(session, inviting.vault, friend, PHONES[0], NOW)
    inviting.buy(friend)
    assert inviting.row(friend).refused == referrals.SAME_PHONE
    assert inviting.gifts(friend) == [("friend_gift", "void")]
    assert inviting.gifts(inviting.somchai) == []


# Both see it


def test_r4_both_see_how_far_it_is(inviting, session):
    def steps():
        return [one.step for one in referrals.statuses_of(session, inviting.somchai)]

    friend = inviting.friend()
    inviting.note(friend)
    assert steps() == [Step.INVITED]
    inviting.join(friend)
    assert steps() == [Step.JOINED]
    inviting.buy(friend)
    assert steps() == [Step.REWARDED]
    seen = referrals.brought_by(session, friend)
    assert (seen.name, seen.step) == ("ส***", Step.REWARDED)
    assert referrals.statuses_of(session, inviting.somchai)[0].name == "น้ำ*** ใ***"
