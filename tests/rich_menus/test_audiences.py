"""Who sees which menu: every list of a rule, what goes before what, and who would see one."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from core.errors import Invalid
from loyalty import tiers
from models.members import Level, Member, MemberState, MemberTotals, Stage
from models.menus import Menu
from models.segments import MemberTag
from models.stamps import CardState, StampCard
from models.tiers import MemberTier, Tier
from rich_menus import audiences, publish
from tests import factories
from tests.moments import NOW


@pytest.fixture
def shop(session):
    """The default pack, chosen, and one more menu first in line whose rule a test gives."""
    publish.ensure_menus(session, NOW)
    session.add(Menu(key="extra", name_th="พิเศษ", name_en="Extra", audience={}, priority=1))
    session.flush()
    session.execute(Menu.__table__.update().values(published_version=1))
    return session


def tier(session, key, threshold, **benefits):
    row = Tier(
        key=key, name_th=key, name_en=key, threshold=threshold, benefits=benefits, created_at=NOW
    )
    session.add(row)
    session.flush()
    return row


def stand(session, member, row):
    session.add(
        MemberTier(
            member_id=member.id, tier_id=row.id, since=NOW, qualified_at=NOW, holds_until=NOW
        )
    )
    session.flush()


def give(session, **rule):
    session.scalars(select(Menu).where(Menu.key == "extra")).one().audience = rule
    session.flush()


def seen_by(session, member):
    expression = audiences.link_of(audiences.sight(session))
    return session.scalar(select(expression).where(Member.id == member.id))


@pytest.mark.parametrize(
    "rule, fits",
    [
        ({"state": "member"}, True),
        ({"state": "friend"}, False),
        ({"state": "member", "locales": ["th"]}, True),
        ({"state": "member", "locales": ["en"]}, False),
        ({"state": "member", "stages": ["purchase", "retention"]}, True),
        ({"state": "member", "stages": ["advocacy"]}, False),
        ({"state": "member", "levels": ["vip"]}, True),
        ({"state": "member", "levels": ["inactive", "at_risk"]}, False),
        ({"state": "member", "tags": ["matcha", "oat"]}, True),
        ({"state": "member", "tags": ["decaf"]}, False),
        ({"state": "member", "tiers": ["gold"]}, True),
        ({"state": "member", "tiers": ["silver"]}, False),
        ({"state": "member", "tiers": ["none"]}, False),
        ({"state": "member", "tiers": ["gold"], "tags": ["decaf"]}, False),
        ({"override": "extra"}, False),
    ],
)
def test_every_list_narrows_the_state(shop, rule, fits):
    member = factories.somchai(shop)
    totals = shop.get_one(MemberTotals, member.id)
    totals.stage, totals.level = Stage.RETENTION, Level.VIP
    shop.add(MemberTag(member_id=member.id, tag="matcha", at=NOW, by="staff:1"))
    tier(shop, "silver", 1)
    stand(shop, member, tier(shop, "gold", 2))
    give(shop, **rule)
    assert seen_by(shop, member) == ("extra:th" if fits else "member:th")


def test_no_tier_is_a_tier_too(shop):
    member = factories.somchai(shop)
    tier(shop, "gold", 2)
    give(shop, state="member", tiers=["none"])
    assert seen_by(shop, member) == "extra:th"


def test_one_set_by_hand_goes_before_the_tiers_own_and_that_before_the_rules(shop):
    member = factories.somchai(shop)
    give(shop, state="member", override="extra")
    by_rule = seen_by(shop, member)
    stand(shop, member, tier(shop, "gold", 2, menu="vip"))
    by_tier = seen_by(shop, member)
    member.menu_override = "extra"
    shop.flush()
    assert (by_rule, by_tier, seen_by(shop, member)) == ("extra:th", "vip:th", "extra:th")


def test_the_lowest_priority_is_asked_first(shop):
    member = factories.somchai(shop)
    give(shop, state="member")
    first = seen_by(shop, member)
    shop.scalars(select(Menu).where(Menu.key == "extra")).one().priority = 900
    shop.flush()
    assert (first, seen_by(shop, member)) == ("extra:th", "member:th")


@pytest.mark.parametrize("change", [{"published_version": None}, {"archived_at": NOW}])
def test_a_menu_that_is_put_away_or_unpublished_takes_no_part(shop, change):
    member = factories.somchai(shop)
    give(shop, state="member")
    menu = shop.scalars(select(Menu).where(Menu.key == "extra")).one()
    for name, value in change.items():
        setattr(menu, name, value)
    shop.flush()
    assert seen_by(shop, member) == "member:th"


def test_who_blocks_sees_the_default_and_so_do_friends_without_a_rule(shop):
    anan, guest = factories.anan(shop), factories.friend(shop)
    give(shop, state="member")
    assert (seen_by(shop, anan), seen_by(shop, guest)) == ("guest:th", "guest:th")


def test_a_living_menu_follows_the_card_and_the_tier(shop):
    member = factories.somchai(shop)
    program = factories.make_stamp_program(shop)
    give(shop, state="member")
    menu = shop.scalars(select(Menu).where(Menu.key == "extra")).one()
    menu.living = f"stamps:{program.key}"
    shop.flush()
    empty = seen_by(shop, member)
    shop.add(
        StampCard(
            member_id=member.id,
            program_id=program.id,
            program_key=program.key,
            ordinal=1,
            filled=3,
            state=CardState.OPEN,
            opened_at=NOW,
        )
    )
    shop.flush()
    begun = seen_by(shop, member)
    program.is_current = False  # a card of an older version may have another size
    shop.flush()
    older = seen_by(shop, member)
    menu.living = "tier"
    shop.flush()
    without = seen_by(shop, member)
    gold = tier(shop, "gold", 2)
    stand(shop, member, gold)
    found = (empty, begun, older, without, seen_by(shop, member))
    assert found == (
        "extra:th:s0", "extra:th:s3", "extra:th:s0", "extra:th", f"extra:th:t{gold.id}",
    )  # fmt: skip


def test_who_would_see_this_counts_those_whom_line_can_show_it(shop):
    somchai, malee = factories.somchai(shop), factories.malee(shop)
    factories.anan(shop)
    factories.friend(shop)
    give(shop)
    now = audiences.sight(shop)
    changed = audiences.Offer("extra", {"state": "member"}, 1, is_default=False, living=None)
    would = audiences.who_sees(shop, audiences.with_offer(now, changed), "extra")
    assert (would.count, {one.id for one in would.people}) == (2, {somchai.id, malee.id})
    assert audiences.counts(shop, now) == {"member": 2, "guest": 1}
    assert audiences.who_sees(shop, now, "extra").count == 0


@pytest.mark.parametrize(
    "rule",
    [
        {"state": "boss"},
        {"state": "member", "levels": ["king"]},
        {"state": "member", "stages": [1]},
        {"state": "member", "tags": [""]},
        {"state": "member", "tags": ["x"] * 1 + [f"t{n}" for n in range(60)]},
        {"state": "friend", "tags": ["x"]},
        {"tiers": ["gold"]},
        {"locales": ["th"]},
        {"override": "No Such!"},
    ],
)
def test_a_rule_that_says_what_cannot_be_is_refused(rule):
    with pytest.raises(Invalid):
        audiences.checked(rule)


def test_a_checked_rule_says_nothing_twice_and_nothing_empty():
    given = {"state": "member", "tags": ["a", "a"], "levels": [], "override": None}
    assert audiences.checked(given) == {"state": "member", "tags": ["a"]}


def test_friends_may_be_told_apart_by_language(shop):
    guest = factories.friend(shop, locale="en")
    give(shop, state="friend", locales=["en"])
    assert seen_by(shop, guest) == "extra:en"
    assert guest.state == MemberState.FRIEND
    assert tiers.tier_of(shop, guest.id, NOW) is None
