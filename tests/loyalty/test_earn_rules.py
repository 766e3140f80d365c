"""Earn rules: multipliers and bonuses in their order, their conditions, caps and returns (P3)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from core.errors import Refused
from loyalty import consents, earn_rules, earning, members, points, proof, tombstones
from loyalty.earn_rules import Bill, Extra, Line, Rule, decide
from loyalty.purchases import BillItem
from models.earn_rules import EarnRule, EarnRuleAward, EarnRuleKind, Product
from models.members import Level, Purpose
from models.points import LedgerEntry
from models.tiers import MemberTier, Tier
from tests import factories
from tests.moments import BANGKOK, NOW

TODAY = NOW.astimezone(BANGKOK).date()


def rule_of(**facts) -> Rule:
    values = {
        "id": 1,
        "key": "double",
        "kind": EarnRuleKind.MULTIPLIER,
        "name_th": "คูณสอง",
        "name_en": "Double",
        "percent": 200,
        "bonus_points": None,
        "conditions": {},
        "starts_on": None,
        "ends_on": None,
        "per_member_cap": None,
        "total_cap": None,
        "ended_at": None,
    }
    return Rule(**(values | facts))


def bonus_of(points_: int, **facts) -> Rule:
    return rule_of(
        **({"kind": EarnRuleKind.BONUS, "percent": None, "bonus_points": points_} | facts)
    )


def bill_of(base: int = 10, **facts) -> Bill:
    values = {"amount_satang": 25_000, "at": NOW.astimezone(BANGKOK), "branch": "siam"}
    return Bill(base=base, **(values | facts))


def added(rules, bill, left=None) -> list[tuple[str, int]]:
    return [(extra.key, extra.points) for extra in decide(rules, bill, left or {})]


def make_rule(session, key="double", **facts) -> EarnRule:
    values = {
        "kind": EarnRuleKind.MULTIPLIER,
        "percent": 200,
        "name_th": "คูณสอง",
        "name_en": "Double",
        "created_at": NOW,
        "starts_on": TODAY,
    } | facts
    if values["kind"] == EarnRuleKind.BONUS:
        values["percent"] = None
    return earn_rules.create(session, EarnRule(key=key, **values), today=TODAY)


def make_bonus(session, bonus, key="bonus", **facts) -> EarnRule:
    return make_rule(session, key, kind=EarnRuleKind.BONUS, bonus_points=bonus, **facts)


def given_points(session, rule) -> int:
    return session.scalar(select(EarnRule.given_points).where(EarnRule.id == rule.id))


# The decision


def test_p3_multipliers_act_on_the_base_alone_and_are_floored():
    rules = [rule_of(percent=150), rule_of(id=2, key="more", percent=133)]
    assert added(rules, bill_of(7)) == [("double", 3), ("more", 2)]


def test_p3_bonuses_come_on_top_and_are_multiplied_by_nobody():
    assert added([bonus_of(5), rule_of(id=2, key="x2")], bill_of(10)) == [("double", 5), ("x2", 10)]


def test_p3_tier_comes_first():
    bill = bill_of(10, tier="gold", tier_percent=150, tier_names=("ทอง", "Gold"))
    assert decide([rule_of()], bill, {})[0] == Extra("tier", "ทอง", "Gold", 5)


def test_p3_a_bill_without_base_points_earns_bonuses_only():
    assert added([rule_of(), bonus_of(5, id=2, key="b")], bill_of(0)) == [("b", 5)]


@pytest.mark.parametrize(
    "conditions, fits, misses",
    [
        ({"weekdays": [6]}, {}, {"at": datetime(2026, 11, 23, 12, tzinfo=BANGKOK)}),
        (
            {"hours": [[7, 10], [15, 18]]},
            {"at": datetime(2026, 11, 22, 17, 59, tzinfo=BANGKOK)},
            {"at": datetime(2026, 11, 22, 18, 0, tzinfo=BANGKOK)},
        ),
        (  # a Saturday night: it goes on after midnight, and ends there
            {"weekdays": [5], "hours": [[22, 2]]},
            {"at": datetime(2026, 11, 22, 1, 59, tzinfo=BANGKOK)},
            {"at": datetime(2026, 11, 22, 22, 0, tzinfo=BANGKOK)},
        ),
        ({"branches": ["siam"]}, {}, {"branch": "ari"}),
        ({"levels": ["regular"]}, {"level": "regular"}, {"level": "neutral"}),
        ({"tiers": ["gold"]}, {"tier": "gold"}, {}),
        ({"min_satang": 25_000}, {}, {"amount_satang": 24_999}),
        ({"first_purchase": True}, {"is_first": True}, {}),
        ({"birthday_month": True}, {"is_birthday_month": True}, {}),
        (
            {"skus": ["latte"]},
            {"lines": [Line("latte", None, 9)]},
            {"lines": [Line("tea", None, 9)]},
        ),
        ({"labels": ["bean"]}, {"lines": [Line("a", "bean", 9)]}, {"lines": [Line("a", None, 9)]}),
        ({"skus": ["latte"]}, {"lines": [Line("latte", None, 9)]}, {"lines": []}),
    ],
)
def test_p3_every_condition_must_hold(conditions, fits, misses):
    rule = bonus_of(5, conditions=conditions)
    assert added([rule], bill_of(**fits)) == [("double", 5)]
    assert added([rule], bill_of(**misses)) == []


def test_p3_holds_from_its_first_to_its_last_day_of_the_shop():
    rule = bonus_of(5, starts_on=date(2026, 11, 22), ends_on=date(2026, 11, 23))
    last = datetime(2026, 11, 23, 16, 59, 59, 999000, tzinfo=UTC).astimezone(BANGKOK)
    assert added([rule], bill_of(at=last)) == [("double", 5)]
    assert added([rule], bill_of(at=last + timedelta(milliseconds=1))) == []
    assert added([rule], bill_of(at=last - timedelta(days=2))) == []


def test_p3_products_multiply_their_share_of_the_base():
    rule = rule_of(percent=300, conditions={"labels": ["bean"]})
    lines = [Line("a", "bean", 10_000), Line("b", None, 20_000)]
    # 10 of 25 baht: a third of the lines told, floored; then twice that on top.
    assert added([rule], bill_of(10, lines=lines)) == [("double", 6)]


def test_p3_products_never_earn_more_than_their_part_of_what_was_paid():
    rule = rule_of(conditions={"skus": ["a"]})
    assert added([rule], bill_of(10, lines=[Line("a", None, 12_500)])) == [("double", 5)]


@given(st.integers(0, 10**9), st.integers(101, 1000))
def test_p3_multiplying_is_exact_and_never_more_than_its_percent(base, percent):
    extra = earning.multiplied(base, percent)
    assert extra * 100 <= base * (percent - 100) < (extra + 1) * 100


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 10**8), min_size=1, max_size=6),
    st.integers(1, 10**8),
)
def test_p3_shares_of_all_lines_never_exceed_the_base(base, lines, amount):
    shares = [earning.share_of(base, line, sum(lines), amount) for line in lines]
    assert sum(shares) <= base


# A bill


def test_p3_one_entry_holds_the_base_and_every_rule(session, till, somchai):
    make_rule(session, position=10)
    make_bonus(session, 7, position=20, name_th="โบนัส", name_en="Bonus")
    bought = till.buy(somchai, 260)
    assert (bought.points, bought.base_points, bought.carry_satang) == (27, 10, 1000)
    entry = session.scalars(select(LedgerEntry)).one()
    assert entry.points == 27
    assert entry.facts["base_points"] == 10
    assert entry.facts["rules"] == [
        {"key": "double", "th": "คูณสอง", "en": "Double", "points": 10},
        {"key": "bonus", "th": "โบนัส", "en": "Bonus", "points": 7},
    ]
    assert proof.check_all(session, NOW) == []


def test_p3_carry_is_touched_by_the_base_alone(session, till, somchai):
    make_rule(session)
    bills = [till.buy(somchai, 24), till.buy(somchai, 24), till.buy(somchai, 2)]
    assert [(bill.base_points, bill.points) for bill in bills] == [(0, 0), (1, 2), (1, 2)]
    assert somchai.totals.carry_satang == 0


def test_p3_position_says_who_is_first(session, till, somchai):
    make_bonus(session, 1, "late", position=20)
    make_bonus(session, 2, "early", position=10)
    assert [extra.key for extra in till.buy(somchai, 25).extras] == ["early", "late"]


def test_p3_items_are_known_by_their_products(session, till, somchai):
    session.add(Product(sku="BEAN", name_th="เมล็ด", name_en="Beans", label="bean"))
    make_bonus(session, 9, conditions={"labels": ["bean"]})
    assert till.buy(somchai, 100, items=[BillItem("BEAN", 1, 10_000)]).points == 13
    assert till.buy(somchai, 100, items=[BillItem("TEA", 1, 10_000)]).points == 4
    assert till.buy(somchai, 100).points == 4


def test_p3_level_is_the_one_before_this_bill(session, till, somchai):
    make_bonus(session, 9, conditions={"levels": ["target"]})
    somchai.totals.level = Level.NEUTRAL
    assert till.buy(somchai, 25).points == 1
    somchai.totals.level = Level.TARGET
    assert till.buy(somchai, 25).points == 10


def test_p3_r2_tier_multiplies_and_is_a_condition(session, till, somchai):
    gold = Tier(
        key="gold", name_th="ทอง", name_en="Gold", threshold=1, earn_percent=150, created_at=NOW
    )
    session.add(gold)
    session.flush()
    make_bonus(session, 9, conditions={"tiers": ["gold"]})
    assert till.buy(somchai, 25).points == 1
    session.add(
        MemberTier(
            member_id=somchai.id,
            tier_id=gold.id,
            since=NOW,
            qualified_at=NOW,
            holds_until=NOW + timedelta(days=365),
        )
    )
    session.flush()
    bought = till.buy(somchai, 275)
    assert [(extra.key, extra.points) for extra in bought.extras] == [("tier", 5), ("bonus", 9)]
    assert bought.points == 11 + 5 + 9


def test_p3_first_purchase_bonus_comes_once(session, till, somchai):
    make_bonus(session, 9, conditions={"first_purchase": True})
    assert [till.buy(somchai, 25).points for _ in range(2)] == [10, 1]


def test_j7_whoever_came_back_has_no_second_first_purchase(session, vault, till, somchai):
    session.info["vault"] = vault
    make_bonus(session, 9, conditions={"first_purchase": True})
    tombstones.put(session, vault, tombstones.LINE_ID, somchai.line_user_id, NOW)
    assert till.buy(somchai, 25).points == 1


@pytest.fixture
def malee(session, vault):
    """Born in November, and known for long."""
    session.info["vault"] = vault
    malee = factories.malee(session, vault=vault)
    members.set_birthday(session, vault, malee, date(1990, 11, 3), NOW, TODAY)
    malee.birthday_changed_at = None
    make_bonus(session, 9, conditions={"birthday_month": True})
    return malee


def test_p3_birthday_month_is_the_shops_month(till, malee):
    last = datetime(2026, 11, 30, 16, 59, 59, 999000, tzinfo=UTC)
    assert till.buy(malee, 25, now=last).points == 10
    assert till.buy(malee, 25, now=last + timedelta(milliseconds=1)).points == 1


def test_j4_a_birthday_changed_within_30_days_brings_nothing(till, malee):
    malee.birthday_changed_at = NOW - timedelta(days=29)
    assert till.buy(malee, 25).points == 1
    malee.birthday_changed_at = NOW - timedelta(days=30)
    assert till.buy(malee, 25).points == 10


def test_whoever_took_the_birthday_back_is_not_asked_for_it(session, till, malee):
    consents.withdraw(session, malee.id, Purpose.BIRTHDAY, NOW)
    assert till.buy(malee, 25).points == 1


def test_p3_a_late_bill_is_judged_by_the_rules_of_its_own_moment(session, till, somchai):
    rule = make_bonus(session, 9)
    earn_rules.end(session, rule.id, NOW + timedelta(hours=1))
    late = NOW + timedelta(hours=2)
    assert till.buy(somchai, 25, now=late).points == 1
    assert till.buy(somchai, 25, now=late, purchased_at=NOW).points == 10


def test_p3_a_rule_switched_off_gives_nothing(session, till, somchai):
    rule = make_bonus(session, 9)
    earn_rules.switch(session, rule.id, is_on=False)
    assert till.buy(somchai, 25).points == 1
    earn_rules.switch(session, rule.id, is_on=True)
    assert till.buy(somchai, 25).points == 10


def test_p3_no_rule_reaches_back(session):
    with pytest.raises(Refused, match="starts_in_past"):
        make_bonus(session, 9, starts_on=TODAY - timedelta(days=1))


# Caps


def test_p3_a_member_never_gets_more_than_the_cap(session, till, somchai):
    make_bonus(session, 9, per_member_cap=20)
    assert [till.buy(somchai, 25).points for _ in range(4)] == [10, 10, 3, 1]
    assert till.buy(factories.malee(session), 25).points == 10


def test_p3_all_members_never_get_more_than_the_total_cap(session, till, somchai):
    rule = make_bonus(session, 9, total_cap=20)
    malee = factories.malee(session)
    assert [till.buy(who, 25).points for who in (somchai, malee, somchai, malee)] == [10, 10, 3, 1]
    assert given_points(session, rule) == 20
    assert proof.check_all(session, NOW) == []


def test_p3_a_rule_without_a_total_cap_is_not_counted_on_its_row(session, till, somchai):
    """All bills of a shop would queue for one row."""
    rule = make_bonus(session, 9)
    till.buy(somchai, 25)
    assert given_points(session, rule) == 0
    assert earn_rules.given_by(session) == {rule.id: 9}


# Returns


def test_p6_a_void_gives_the_whole_award_back(session, till, somchai):
    rule = make_bonus(session, 9, total_cap=9, per_member_cap=9)
    bought = till.buy(somchai, 250)
    assert till.give_back(bought).points == 19
    assert given_points(session, rule) == 0
    assert till.buy(somchai, 250).points == 19


def test_p6_part_returns_give_back_in_proportion(session, till, somchai):
    rule = make_bonus(session, 9, total_cap=100)
    bought = till.buy(somchai, 250)
    # keeps floor(19 x 150 / 250) = 11 of the bill, and floor(9 x 150 / 250) = 5 of the rule
    assert till.give_back(bought, 100).points == 8
    award = session.scalars(select(EarnRuleAward)).one()
    assert (award.points, award.kept_points) == (9, 5)
    assert given_points(session, rule) == 5
    assert till.give_back(bought).balance == 0
    session.refresh(award)
    assert (award.kept_points, given_points(session, rule)) == (0, 0)
    assert proof.check_all(session, NOW) == []


def test_check_finds_a_rule_that_gave_more_than_its_awards(session, till, somchai):
    rule = make_bonus(session, 9, total_cap=100)
    till.buy(somchai, 25)
    session.get_one(EarnRule, rule.id).given_points = 10
    assert proof.check_all(session, NOW) == [points.Difference("earn_rules.given", rule.id, 9, 10)]


def test_check_finds_a_bill_that_is_not_what_its_entry_says(session, till, somchai):
    bought = till.buy(somchai, 250)
    bought.purchase.points = 11
    assert [one.what for one in proof.check_all(session, NOW)] == ["purchases.points"]


# The preview


def test_preview_says_what_the_bill_will_earn(session, till, somchai):
    make_rule(session, conditions={"weekdays": [6]})
    make_bonus(session, 30, total_cap=20)
    bill = bill_of(10)
    told = sum(extra.points for extra in earn_rules.preview(session, bill))
    assert till.buy(somchai, 250).points == 10 + told == 40
    assert [extra.points for extra in earn_rules.preview(session, bill)] == [10]


def test_reads_the_rules_once_in_a_session(session, till, somchai, counting):
    make_bonus(session, 9)
    till.buy(somchai, 25)
    with counting("earn_rules") as statements:
        till.buy(somchai, 25)
    assert not [one for one in statements if one.lstrip().startswith("SELECT earn_rules")]


@pytest.fixture
def counting(session):
    """`with counting("earn_rules") as statements:` collects what is said about a table."""
    from contextlib import contextmanager

    from sqlalchemy import event

    @contextmanager
    def count(word):
        found: list[str] = []

        def hear(connection, cursor, statement, *_):
            if word in statement:
                found.append(statement)

        bind = session.get_bind()
        event.listen(bind, "before_cursor_execute", hear)
        yield found
        event.remove(bind, "before_cursor_execute", hear)

    return count
