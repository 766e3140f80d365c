"""Programmes and their versions, ends of cards, and stamps that move on (T1, T2, T4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import select

from core.clock import start_of_day
from core.errors import Refused
from loyalty import merges, proof, stamps
from loyalty.purchases import BillItem
from loyalty.stamps import Plan
from models.activities import Activity
from models.coupons import Obtained
from models.stamps import CardExpiry, CardState, StampCard, StampProgram, StampRule
from tests import factories
from tests.moments import BANGKOK, NOW

DAY = timedelta(days=1)


def at(day: str, hour: int = 12) -> datetime:
    return start_of_day(date.fromisoformat(day), BANGKOK) + timedelta(hours=hour)


@pytest.fixture
def prizes(session) -> list[int]:
    factories.make_policy(session)
    return [
        factories.make_coupon(session, key, obtained=Obtained.STAMPS, per_member=1000).id
        for key in ("goal", "halfway")
    ]


@pytest.fixture
def plan(prizes) -> Plan:
    return Plan("กาแฟ", "Coffee", 10, ((5, prizes[1]), (10, prizes[0])))


@pytest.fixture
def program(session, plan) -> StampProgram:
    return stamps.create_program(session, "coffee", plan)


def cards(session, member) -> list[tuple[int, int, str]]:
    """(version, filled, state) of every card of a member, oldest first."""
    session.flush()
    rows = session.execute(
        select(StampProgram.version, StampCard.filled, StampCard.state)
        .join(StampProgram, StampProgram.id == StampCard.program_id)
        .where(StampCard.member_id == member.id)
        .order_by(StampCard.ordinal)
    )
    return [(version, filled, state.value) for version, filled, state in rows]


# What a programme may be (T1)


@pytest.mark.parametrize("size", [1, 2, 49, 50])
def test_t1_a_card_has_one_to_fifty_stamps(session, prizes, size):
    made = stamps.create_program(session, "k", Plan("ก", "K", size, ((size, prizes[0]),)))
    assert (made.size, made.version, made.is_current) == (size, 1, True)


@pytest.mark.parametrize(
    "change,code",
    [
        ({"size": 0, "prizes": ()}, "stamps.bad_size"),
        ({"size": 51}, "stamps.bad_size"),
        ({"prizes": ()}, "stamps.no_goal"),
        ({"prizes": ((5, 1),)}, "stamps.no_goal"),
        ({"prizes": ((10, 1), (11, 1))}, "stamps.bad_prizes"),
        ({"prizes": ((0, 1), (10, 1))}, "stamps.bad_prizes"),
        ({"prizes": ((10, 1), (10, 2))}, "stamps.bad_prizes"),
        ({"rule": StampRule.PER_AMOUNT}, "stamps.needs_amount"),
        ({"rule": StampRule.PER_ITEM}, "stamps.needs_sku"),
        ({"expiry": CardExpiry.FROM_FIRST}, "stamps.needs_days"),
        ({"expiry": CardExpiry.FROM_LAST, "expiry_days": 0}, "stamps.needs_days"),
        ({"daily_limit": 0}, "stamps.bad_limit"),
        ({"starts_on": date(2026, 2, 1), "ends_on": date(2026, 1, 31)}, "coupons.ends_before_start"),
    ],
)  # fmt: skip
def test_t1_what_could_never_work_is_refused_at_the_save(session, plan, program, change, code):
    with pytest.raises(Refused, match=code.replace(".", r"\.")):
        stamps.save_program(session, program, replace(plan, **change))
    assert len(stamps.versions_of(session, "coffee")) == 1


def test_t1_a_key_is_taken_once(session, plan, program):
    with pytest.raises(Refused, match=r"stamps\.key_taken"):
        stamps.create_program(session, "coffee", plan)


CHANGES: list[dict[str, Any]] = [
    {"name_th": "กาแฟเย็น"},
    {"name_en": "Iced coffee"},
    {"size": 12, "prizes": ((12, 1),)},
    {"prizes": ((10, 1),)},
    {"rule": StampRule.PER_AMOUNT, "unit_satang": 5000},
    {"rule": StampRule.PER_ITEM, "sku": "LATTE"},
    {"unit_satang": 4000},
    {"daily_limit": 2},
    {"expiry": CardExpiry.FROM_FIRST, "expiry_days": 90},
    {"expiry": CardExpiry.FROM_LAST, "expiry_days": 90},
    {"branches": ("siam", "ari")},
    {"starts_on": date(2026, 1, 1)},
    {"ends_on": date(2027, 1, 1)},
    {"design": "night"},
]


def test_t1_every_edit_is_a_new_version_and_the_same_again_is_none(session, plan, program, prizes):
    for number, change in enumerate(CHANGES, start=2):
        current = stamps.every_current(session)[0]
        known = {1: prizes[0]}
        if "prizes" in change:
            places = tuple((place, known[coupon]) for place, coupon in change["prizes"])
            change = {**change, "prizes": places}
        edited = replace(plan, **change)
        made = stamps.save_program(session, current, edited)
        assert (made.version, stamps.plan_of(session, made)) == (number, edited)
        assert stamps.save_program(session, made, edited) is made
    versions = stamps.versions_of(session, "coffee")
    assert [one.version for one in versions] == list(range(len(CHANGES) + 1, 0, -1))
    assert [one.is_current for one in versions] == [True] + [False] * len(CHANGES)


def test_t1_of_two_owners_who_save_at_once_the_second_is_told(session, plan, program, prizes):
    seen_by_both = program
    stamps.save_program(session, seen_by_both, replace(plan, size=12, prizes=((12, prizes[0]),)))
    with pytest.raises(Refused, match=r"stamps\.changed_meanwhile"):
        stamps.save_program(session, seen_by_both, replace(plan, daily_limit=3))


def test_t1_a_switched_off_programme_gives_nothing_and_shows_nothing(
    session, till, somchai, program
):
    stamps.switch(session, program, is_on=False)
    assert till.buy(somchai, 100).stamps == 0
    assert stamps.cards_of(session, somchai.id, NOW) == []


def test_t1_cards_under_way_finish_under_their_version_and_the_next_is_of_the_new(
    session, till, somchai, plan, program, prizes
):
    for _ in range(8):
        till.buy(somchai, 100)
    stamps.save_program(session, program, replace(plan, size=3, prizes=((3, prizes[0]),)))
    till.buy(somchai, 100)
    assert cards(session, somchai) == [(1, 9, "open")]
    till.buy(somchai, 100)
    till.buy(somchai, 100)
    assert cards(session, somchai) == [(1, 10, "full"), (2, 1, "open")]
    assert stamps.cards_by_version(session, "coffee") == {
        program.id: {"full": 1}, stamps.every_current(session)[0].id: {"open": 1}
    }  # fmt: skip


def test_t1_days_and_branches_added_later_hold_for_cards_under_way(
    session, till, somchai, plan, program
):
    short = stamps.save_program(
        session, program, replace(plan, ends_on=NOW.date(), branches=(till.branch.code,))
    )
    till.buy(somchai, 100)
    ari = factories.make_branch(session, "ari")
    longer = replace(plan, ends_on=date(2027, 12, 31), branches=(till.branch.code, "ari"))
    assert till.buy(somchai, 100, now=NOW + DAY).stamps == 0
    stamps.save_program(session, short, longer)
    assert till.buy(somchai, 100, now=NOW + DAY).stamps == 1
    assert till.buy(somchai, 100, now=NOW + DAY, branch=ari).stamps == 1
    assert cards(session, somchai) == [(2, 3, "open")]


def test_t1_an_empty_card_is_of_the_current_version(session, till, somchai, plan, program, prizes):
    for _ in range(10):
        till.buy(somchai, 100)
    assert cards(session, somchai) == [(1, 10, "full"), (1, 0, "open")]
    stamps.save_program(session, program, replace(plan, size=3, prizes=((3, prizes[0]),)))
    view = stamps.cards_of(session, somchai.id)[0]
    assert (view.filled, view.size) == (0, 3)
    till.buy(somchai, 100)
    assert cards(session, somchai) == [(1, 10, "full"), (2, 1, "open")]


def test_t1_a_card_under_way_keeps_version_and_end_in_a_merge_with_an_empty_one(
    session, vault, till, somchai, plan, program, prizes
):
    for _ in range(10):
        till.buy(somchai, 100)
    timed = {"expiry": CardExpiry.FROM_FIRST, "expiry_days": 30}
    stamps.save_program(session, program, replace(plan, size=3, prizes=((3, prizes[0]),), **timed))
    other = factories.make_member(session, "สมหญิง", line_user_id=None)
    till.buy(other, 100)
    end = stamps.cards_of(session, other.id)[0].expires_at
    who = {"now": NOW, "real_now": NOW, "tz": BANGKOK, "staff_id": None, "actor": "staff:1"}
    merged = merges.merge(session, vault, somchai.id, other.id, **who)
    view = stamps.cards_of(session, somchai.id)[0]
    assert (view.filled, view.size, view.expires_at) == (1, 3, end)
    merges.unmerge(session, merged.id, **who)
    assert stamps.cards_of(session, somchai.id)[0].expires_at is None
    assert stamps.cards_of(session, other.id)[0].expires_at == end
    assert proof.check_all(session, NOW) == []


# Left-over stamps (T2)


@pytest.mark.parametrize(
    "baht,expected",
    [
        (300, [(1, 3, "full"), (2, 0, "open")]),
        (400, [(1, 3, "full"), (2, 1, "open")]),
        (700, [(1, 3, "full"), (2, 4, "open")]),
        (1300, [(1, 3, "full"), (2, 5, "full"), (2, 5, "full"), (2, 0, "open")]),
        (1400, [(1, 3, "full"), (2, 5, "full"), (2, 5, "full"), (2, 1, "open")]),
    ],
)
def test_t2_left_over_stamps_move_on_over_versions_and_cards(
    session, till, somchai, prizes, baht, expected
):
    plan = Plan("ก", "K", 3, ((3, prizes[0]),), StampRule.PER_AMOUNT, 10_000)
    old = stamps.create_program(session, "k", plan)
    till.buy(somchai, 100)
    stamps.save_program(session, old, replace(plan, size=5, prizes=((5, prizes[0]),)))
    bought = till.buy(somchai, baht - 100)
    assert cards(session, somchai) == expected
    full = sum(state == "full" for _, _, state in expected)
    assert len(bought.vouchers_issued) == full
    till.give_back(bought)
    assert [card for card in cards(session, somchai) if card[1]] == [(1, 1, "open")]
    assert proof.check_all(session, NOW) == []


def test_t2_per_item_counts_pieces_of_the_product_alone(session, till, somchai, prizes):
    plan = Plan("ก", "K", 5, ((5, prizes[0]),), StampRule.PER_ITEM, sku="LATTE", daily_limit=4)
    stamps.create_program(session, "k", plan)
    items = (BillItem("LATTE", 3, 9000), BillItem("CAKE", 4, 9000), BillItem("LATTE", 2, 6000))
    assert till.buy(somchai, 240, items=items).stamps == 4


# Ends of cards (T1)


@pytest.mark.parametrize(
    "expiry,days,bills,end",
    [
        (CardExpiry.FROM_FIRST, 30, ("2026-11-22", "2026-12-10"), "2026-12-23"),
        (CardExpiry.FROM_LAST, 30, ("2026-11-22", "2026-12-10"), "2027-01-10"),
        (CardExpiry.FROM_FIRST, 1, ("2026-11-30", "2026-12-01"), "2026-12-02"),
        (CardExpiry.FROM_LAST, 1, ("2027-02-27", "2027-02-28"), "2027-03-02"),
        (CardExpiry.FROM_FIRST, 29, ("2028-01-31", "2028-02-01"), "2028-03-01"),
        (CardExpiry.FROM_LAST, 365, ("2027-02-28", "2027-03-01"), "2028-03-01"),
        (CardExpiry.NEVER, None, ("2026-11-22", "2026-12-10"), None),
    ],
)
def test_t1_z19_a_card_ends_at_the_shops_midnight(
    session, till, somchai, plan, program, expiry, days, bills, end
):
    stamps.save_program(session, program, replace(plan, expiry=expiry, expiry_days=days))
    for day in bills:
        till.buy(somchai, 100, now=at(day))
    card = stamps.cards_of(session, somchai.id, at(bills[-1]))[0]
    assert card.expires_at == (at(end, 0) if end else None)
    if end is None:
        assert stamps.expire_cards(session, NOW + 9999 * DAY, 10) == 0
        return
    assert stamps.expire_cards(session, at(end, 0) - timedelta(milliseconds=1), 10) == 0
    assert stamps.expire_cards(session, at(end, 0), 10) == 1
    assert stamps.expire_cards(session, at(end, 0), 10) == 0
    assert cards(session, somchai) == [(2, 2, CardState.EXPIRED.value)]


@pytest.mark.parametrize("days_late", [1, 6])
def test_t1_a_bill_that_comes_late_ends_no_card_earlier(
    session, till, somchai, plan, program, days_late
):
    timed = replace(plan, expiry=CardExpiry.FROM_LAST, expiry_days=5)
    stamps.save_program(session, program, timed)
    till.buy(somchai, 100)
    end = stamps.cards_of(session, somchai.id, NOW)[0].expires_at
    till.buy(somchai, 100, purchased_at=NOW - days_late * DAY)
    view = stamps.cards_of(session, somchai.id, NOW)[0]
    assert (view.filled, view.expires_at) == (2, end)


@pytest.mark.parametrize(
    "expiry,voided,end",
    [
        (CardExpiry.FROM_FIRST, 0, "2027-01-10"),
        (CardExpiry.FROM_FIRST, 1, "2026-12-23"),
        (CardExpiry.FROM_LAST, 1, "2026-12-23"),
        (CardExpiry.FROM_LAST, 0, "2027-01-10"),
    ],
)
def test_t4_a_stamp_taken_back_no_longer_decides_the_end(
    session, till, somchai, plan, program, expiry, voided, end
):
    stamps.save_program(session, program, replace(plan, expiry=expiry, expiry_days=30))
    bills = [till.buy(somchai, 100, now=at(day)) for day in ("2026-11-22", "2026-12-10")]
    till.give_back(bills[voided], now=at("2026-12-11"), staff_id=factories.prem(session).id)
    assert stamps.cards_of(session, somchai.id, at("2026-12-11"))[0].expires_at == at(end, 0)
    till.give_back(bills[1 - voided], now=at("2026-12-11"),
                   staff_id=factories.prem(session, email="b@taem.example").id)  # fmt: skip
    assert stamps.cards_of(session, somchai.id, at("2026-12-11"))[0].expires_at is None


def notices(session) -> list[str]:
    session.flush()
    told = select(Activity).where(Activity.kind == "stamps.card_expiring").order_by(Activity.id)
    return [activity.facts["until"] for activity in session.scalars(told)]


def test_t1_members_are_told_a_week_before_once_for_each_end(session, till, somchai, plan, program):
    timed = replace(plan, expiry=CardExpiry.FROM_LAST, expiry_days=30)
    stamps.save_program(session, program, timed)
    till.buy(somchai, 100, now=at("2026-11-22"))

    def night(day):
        return stamps.notice_expiring(session, at(day, 10), BANGKOK, after_id=0, limit=10)

    assert night("2026-12-14") == (0, 0)
    assert night("2026-12-15")[0] == 1
    assert night("2026-12-16")[0] == 0
    till.buy(somchai, 100, now=at("2026-12-17"))
    assert night("2026-12-18") == (0, 0)
    assert night("2027-01-10")[0] == 1
    assert notices(session) == ["2026-12-22", "2027-01-16"]


def test_t1_an_empty_card_worries_nobody(session, till, somchai, plan, program):
    stamps.save_program(session, program, replace(plan, expiry=CardExpiry.FROM_LAST, expiry_days=5))
    bought = till.buy(somchai, 100)
    till.give_back(bought)
    assert stamps.notice_expiring(session, NOW + DAY, BANGKOK, after_id=0, limit=10) == (0, 0)


# Part returns (T4)


@pytest.mark.parametrize("steps", [(1,), (2, 3), (50, 100, 100), (99.99,), (125, 125), (249.99,)])
def test_t4_p6_per_baht_stamps_go_in_proportion_and_never_more_than_given(
    session, till, somchai, prizes, steps
):
    plan = Plan("ก", "K", 20, ((20, prizes[0]),), StampRule.PER_AMOUNT, 2_500)
    stamps.create_program(session, "k", plan)
    bought = till.buy(somchai, 250)
    assert bought.stamps == 10
    left, returned = [10], 0
    for baht in steps:
        till.give_back(bought, baht)
        returned += round(baht * 100)
        left.append(10 * (25_000 - returned) // 25_000)
        assert cards(session, somchai) == [(1, left[-1], "open")]
    assert all(one >= other for one, other in pairwise(left))
    till.give_back(bought) if returned < 25_000 else None
    assert cards(session, somchai)[0][1] == 0
    assert proof.check_all(session, NOW) == []


def test_t4_p6_a_part_return_counts_the_stamps_of_two_versions_together(
    session, till, somchai, prizes
):
    plan = Plan("ก", "K", 3, ((3, prizes[0]),), StampRule.PER_AMOUNT, 10_000)
    old = stamps.create_program(session, "k", plan)
    till.buy(somchai, 200)
    stamps.save_program(session, old, replace(plan, size=5, prizes=((5, prizes[0]),)))
    bought = till.buy(somchai, 200)
    assert cards(session, somchai) == [(1, 3, "full"), (2, 1, "open")]
    assert till.give_back(bought, 1).stamps == 1
    assert cards(session, somchai) == [(1, 3, "full"), (2, 0, "open")]
    assert proof.check_all(session, NOW) == []


def test_several_programmes_fill_side_by_side(session, till, somchai, plan, program, prizes):
    per_baht = Plan("เบเกอรี", "Bakery", 6, ((6, prizes[1]),), StampRule.PER_AMOUNT, 10_000,
                    design="blossom")  # fmt: skip
    stamps.create_program(session, "bakery", per_baht)
    bought = till.buy(somchai, 350)
    assert bought.stamps == 4
    seen = stamps.cards_of(session, somchai.id, NOW)
    assert [(card.program.key, card.filled, card.program.design) for card in seen] == [
        ("coffee", 1, "classic"), ("bakery", 3, "blossom"),
    ]  # fmt: skip
    till.give_back(bought)
    assert [card.filled for card in stamps.cards_of(session, somchai.id, NOW)] == [0, 0]


def test_t4_prizes_on_the_way_used_on_two_cards_survive_the_void_of_what_filled_the_first(
    session, till, somchai, prizes
):
    plan = Plan("ก", "K", 4, ((2, prizes[1]), (4, prizes[0])), StampRule.PER_AMOUNT, 10_000)
    stamps.create_program(session, "k", plan)
    first, rest = till.buy(somchai, 200), till.buy(somchai, 400)
    halfway = [one for one in (*first.vouchers_issued, *rest.vouchers_issued)
               if one.coupon.key == "halfway"]  # fmt: skip
    assert len(halfway) == 2
    for voucher in halfway:
        till.redeem(voucher)
    till.give_back(rest)
    assert cards(session, somchai) == [(1, 2, "open")]
    assert till.buy(somchai, 200).vouchers_issued[0].coupon.key == "goal"
    assert proof.check_all(session, NOW) == []
