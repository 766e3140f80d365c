"""Who sees which menu, and links at LINE kept in step with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from loyalty import activities
from models.members import Member, MemberState
from models.menus import MenuLink
from rich_menus import assign, images, publish
from tests import factories
from tests.fakes import FakeLine
from tests.moments import NOW


@pytest.fixture
def line(monkeypatch) -> FakeLine:
    monkeypatch.setattr(images, "draw_menu", lambda *_: b"png")
    return FakeLine()


@pytest.fixture
def live(runtime, line):
    """Everything published; `<menu>:<locale>` -> LINE's id."""
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
    publish.publish(runtime, line)
    with runtime.database.read() as session:
        return assign.live_menus(session)


@pytest.fixture
def person(runtime, line, live):
    """`person("สมชาย", state=…)` follows, and something has happened to them."""

    def make(name="สมชาย", kind="members.joined", **more):
        with runtime.transaction() as session:
            member = factories.make_member(session, name, **more)
            line.add_friend(member.line_user_id, name)
            activities.record(session, member.id, kind, NOW, {})
        return member

    return make


def happen(runtime, member, kind="members.menu_set", **changes):
    with runtime.transaction() as session:
        row = session.get_one(Member, member.id)
        for name, value in changes.items():
            setattr(row, name, value)
        activities.record(session, member.id, kind, NOW, {})


def link_of(runtime, member):
    with runtime.database.read() as session:
        return session.get(MenuLink, member.id)


def test_joining_links_the_members_menu(runtime, line, live, person):
    member = person()
    assert assign.link_due(runtime, line) == 1
    assert line.links[member.line_user_id] == live["member:th"]
    assert not link_of(runtime, member).is_due


def test_language_chooses_the_language_of_the_menu(runtime, line, live, person):
    member = person("Malee", locale="en")
    assign.link_due(runtime, line)
    assert line.links[member.line_user_id] == live["member:en"]


def test_thai_guest_sees_the_default_without_a_call(runtime, line, person):
    person("น้ำ", state=MemberState.FRIEND, kind="members.followed")
    asked = len(line.asked)
    assign.link_due(runtime, line)
    assert line.asked[asked:] == []


def test_english_guest_is_linked_to_the_english_one(runtime, line, live, person):
    guest = person("Tom", state=MemberState.FRIEND, locale="en", kind="members.followed")
    assign.link_due(runtime, line)
    assert line.links[guest.line_user_id] == live["guest:en"]


def test_menu_set_by_hand_wins_and_can_be_taken_away(runtime, line, live, person):
    member = person()
    happen(runtime, member, menu_override="vip")
    assign.link_due(runtime, line)
    seen = line.links[member.line_user_id]
    happen(runtime, member, menu_override=None)
    assign.link_due(runtime, line)
    assert (seen, line.links[member.line_user_id]) == (live["vip:th"], live["member:th"])


def test_leaving_unlinks(runtime, line, person):
    member = person()
    assign.link_due(runtime, line)
    happen(runtime, member, "members.left", state=MemberState.FRIEND, menu_override="vip")
    assign.link_due(runtime, line)
    assert member.line_user_id not in line.links


def test_nothing_new_asks_nothing(runtime, line, person):
    member = person()
    assign.link_due(runtime, line)
    happen(runtime, member, "members.corrected")
    assert assign.link_due(runtime, line) == 0


def test_following_again_links_again(runtime, line, live, person):
    member = person()
    assign.link_due(runtime, line)
    line.links.clear()  # LINE forgets links when somebody blocks
    happen(runtime, member, "members.followed")
    assign.link_due(runtime, line)
    assert line.links[member.line_user_id] == live["member:th"]


def test_many_are_linked_in_one_call(runtime, line, live, person):
    people = [person(f"m{number}") for number in range(5)]
    asked = len(line.asked)
    assign.link_due(runtime, line)
    assert [name for name, _ in line.asked[asked:]] == ["link_menus"]
    assert {line.links[one.line_user_id] for one in people} == {live["member:th"]}


def test_line_away_means_try_later_and_later(runtime, line, person, clock):
    member = person()
    line.go_down()
    waits = []
    for _ in range(3):
        assign.link_due(runtime, line)
        waits.append((link_of(runtime, member).next_try_at - clock.now()).total_seconds())
        clock.advance(seconds=waits[-1])
    line.come_back()
    assign.link_due(runtime, line)
    assert waits == [5, 30, 120]
    assert member.line_user_id in line.links


def test_unpublished_menu_waits(runtime, line):
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
        member = factories.somchai(session)
        activities.record(session, member.id, "members.joined", NOW, {})
    assert assign.link_due(runtime, line) == 0
    assert link_of(runtime, member).is_due


def test_new_version_links_everybody_of_that_menu_again(runtime, line, person):
    member = person()
    assign.link_due(runtime, line)
    before = line.links[member.line_user_id]
    from tests.rich_menus.test_publish import edit

    edit(runtime, "member")
    publish.publish(runtime, line)
    assert before in line.menu_bodies  # somebody still stands on it
    assign.link_due(runtime, line)
    publish.publish(runtime, line)
    assert line.links[member.line_user_id] != before
    assert before not in line.menu_bodies


def test_repair_finds_what_changed_stale_and_unconfirmed(runtime, line, live, person):
    kept, changed, unconfirmed = person("a"), person("b"), person("c")
    for _ in range(3):
        assign.link_due(runtime, line, limit=1)
    with runtime.transaction() as session:
        session.get_one(Member, changed.id).menu_override = "vip"
        session.get_one(MenuLink, unconfirmed.id).confirmed_at = None
    with runtime.transaction() as session:
        looked_at, last = assign.repair(session, NOW, after_id=0, limit=10)
    with runtime.database.read() as session:
        due = set(session.scalars(select(MenuLink.member_id).where(MenuLink.is_due)))
    assert (looked_at, last) == (3, unconfirmed.id)
    assert due == {changed.id, unconfirmed.id}
    assert kept.id not in due


def test_leased_link_is_nobody_elses_for_a_minute(runtime, line, person, clock):
    person()
    claimed = assign._claim(runtime, 10)
    again = assign._claim(runtime, 10)
    clock.advance(seconds=61)
    after = assign._claim(runtime, 10)
    assert [len(one) for one in (claimed, again, after)] == [1, 0, 1]
    assert timedelta(seconds=60) == assign.LEASE
