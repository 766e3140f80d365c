"""A draft on testers' telephones: theirs alone, for half an hour, and nothing of it stays."""

from __future__ import annotations

import pytest

from bot.gateway import LineUnavailable
from core.errors import Refused
from loyalty import activities
from models.members import Member
from rich_menus import assign, images, publish, status, trials, upkeep
from rich_menus.definitions import DEFAULT_PACK, PLAIN
from tests import factories
from tests.moments import NOW
from tests.rich_menus.test_publish import StoppingLine

VIP = DEFAULT_PACK[2]


@pytest.fixture
def line(monkeypatch) -> StoppingLine:
    monkeypatch.setattr(images, "draw_menu", lambda *_: b"png")
    return StoppingLine()


@pytest.fixture
def shop(runtime, line):
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
    upkeep.publish_newest(runtime, line)
    return runtime


@pytest.fixture
def tester(shop, line) -> Member:
    """A member whom test sends go to, linked to the members' menu, beside one who is no tester."""
    with shop.transaction() as session:
        member = factories.somchai(session, is_test=True)
        other = factories.malee(session)
        for one in (member, other):
            line.add_friend(one.line_user_id, "x")
            activities.record(session, one.id, "members.joined", NOW, {})
    for _ in range(2):
        assign.link_due(shop, line, limit=1)
    return member


def try_it(shop, line):
    with shop.database.read() as session:
        people = trials.testers(session, is_demo=False)
    trials.show(shop, line, VIP, people, PLAIN)


def name_seen(line, member):
    return line.menu_bodies[line.links[member.line_user_id]]["name"]


def test_only_testers_see_the_draft_and_it_leads_to_its_own_tabs(shop, line, tester):
    before = dict(line.links)
    try_it(shop, line)
    moved = {user for user, menu in line.links.items() if before[user] != menu}
    assert moved == {tester.line_user_id}
    body = line.menu_bodies[line.links[tester.line_user_id]]
    targets = {area["action"].get("richMenuAliasId") for area in body["areas"]} - {None}
    assert targets == {"try-rewards", "try-shop"}
    assert all(line.alias_targets[alias] in line.pictures for alias in targets)
    assert status.compare(shop, line).is_well


def test_publishing_meanwhile_leaves_the_trial_alone(shop, line, tester):
    try_it(shop, line)
    upkeep.bring(shop, line)
    assert name_seen(line, tester).startswith("taem/try/")


def test_it_is_over_by_itself_and_leaves_nothing(shop, line, tester, clock):
    try_it(shop, line)
    clock.advance(seconds=trials.LIFE.total_seconds() - 61)
    assert (assign.link_due(shop, line), upkeep.keep(shop, line)) == (0, 0)
    clock.advance(seconds=122)
    assert assign.link_due(shop, line) == 1  # asks what they are linked to
    assert assign.link_due(shop, line) == 1  # and links them again
    assert upkeep.keep(shop, line) == 1
    assert name_seen(line, tester).startswith("taem/member/card/")
    assert not [alias for alias in line.alias_targets if alias.startswith("try-")]
    assert not [body for body in line.menu_bodies.values() if "/try/" in body["name"]]
    assert status.compare(shop, line).is_well


def test_a_trial_that_stopped_half_way_leaves_nothing_either(shop, line, tester, clock):
    for number in (2, 4, 7, 9):
        line.stop_at(number, is_heard=True)
        with pytest.raises(LineUnavailable):
            try_it(shop, line)
    line.left = None
    clock.advance(seconds=trials.LIFE.total_seconds() + 61)
    for _ in range(3):
        assign.link_due(shop, line)
    upkeep.bring(shop, line)
    assert name_seen(line, tester).startswith("taem/member/card/")
    assert status.compare(shop, line).is_well


def test_a_tester_who_is_no_friend_is_nobody(shop, line, tester):
    line.blocked.add(tester.line_user_id)
    made = len(line.menu_bodies)
    with pytest.raises(Refused) as refusal:
        try_it(shop, line)
    assert (refusal.value.code, len(line.menu_bodies)) == ("menus.no_testers", made)


def test_a_demo_without_testers_takes_whom_line_told_of_last(session):
    factories.somchai(session)
    last = factories.malee(session, profile_seen_at=NOW)
    assert trials.testers(session, is_demo=False) == []
    assert trials.testers(session, is_demo=True)[0].id == last.id
