"""Who sees which menu, and links at LINE kept in step with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, select, update

from loyalty import activities, erasure
from models.members import Member, MemberState
from models.menus import MenuLink
from rich_menus import assign, images, publish, upkeep
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
    upkeep.publish_newest(runtime, line)
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


def repair(runtime, *, is_sampling=True):
    with runtime.transaction() as session:
        return assign.repair(session, NOW, after_id=0 if is_sampling else -1, limit=10)


def rows_due(runtime):
    with runtime.database.read() as session:
        rows = select(MenuLink.member_id, MenuLink.is_check).where(MenuLink.is_due)
        return [tuple(row) for row in session.execute(rows.order_by(MenuLink.member_id))]


def sweep(runtime):
    with runtime.transaction() as session:
        assign.sweep_step(session, NOW)


def live_of(runtime):
    with runtime.database.read() as session:
        return assign.live_menus(session)


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


def test_an_unpublished_menu_is_nobodys_until_it_is_live(runtime, line):
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
        member = factories.somchai(session)
        line.add_friend(member.line_user_id, "สมชาย")
        activities.record(session, member.id, "members.joined", NOW, {})
    assert assign.link_due(runtime, line) == 0
    upkeep.publish_newest(runtime, line)
    sweep(runtime)
    assert assign.link_due(runtime, line) == 1
    assert line.links[member.line_user_id] == live_of(runtime)["member:th"]


def test_a_chosen_menu_that_line_does_not_have_yet_waits(runtime, line, clock):
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
        publish.choose_newest(session)
        member = factories.somchai(session)
        activities.record(session, member.id, "members.joined", NOW, {})
    assert assign.link_due(runtime, line) == 0
    assert link_of(runtime, member).is_due
    assert link_of(runtime, member).next_try_at > clock.real_now()


def test_new_version_leaves_the_people_of_other_menus_alone(runtime, line, person):
    member = person()
    person("Tom", state=MemberState.FRIEND, locale="en", kind="members.followed")
    assign.link_due(runtime, line)
    from tests.rich_menus.test_publish import edit

    edit(runtime, "member")
    upkeep.publish_newest(runtime, line)
    sweep(runtime)
    assert rows_due(runtime) == [(member.id, False)]


def test_where_people_stand_is_asked_by_menu_and_not_by_person(runtime, line, live):
    asked = []

    def note(_connection, _cursor, statement, *_more):
        asked.append(statement)

    event.listen(runtime.database.engine, "before_cursor_execute", note)
    try:
        publish.clean_up(runtime, line)
    finally:
        event.remove(runtime.database.engine, "before_cursor_execute", note)
    [links] = [one for one in asked if "FROM menu_links" in one]
    assert links.startswith("SELECT DISTINCT")


def test_new_version_links_everybody_of_that_menu_again(runtime, line, person):
    member = person()
    assign.link_due(runtime, line)
    before = line.links[member.line_user_id]
    from tests.rich_menus.test_publish import edit

    edit(runtime, "member")
    upkeep.publish_newest(runtime, line)
    assert before in line.menu_bodies  # somebody still stands on it
    assert rows_due(runtime) == []  # millions are not moved by one statement
    sweep(runtime)
    assert rows_due(runtime) == [(member.id, False)]
    assign.link_due(runtime, line)
    upkeep.publish_newest(runtime, line)
    assert line.links[member.line_user_id] != before
    assert before not in line.menu_bodies


def test_repair_finds_what_changed_stale_and_unconfirmed(runtime, line, live, person):
    kept, changed, unconfirmed = person("a"), person("b"), person("c")
    for _ in range(3):
        assign.link_due(runtime, line, limit=1)
    with runtime.transaction() as session:
        session.get_one(Member, changed.id).menu_override = "vip"
        session.get_one(MenuLink, unconfirmed.id).confirmed_at = None
    looked_at, last = repair(runtime)
    due = dict(rows_due(runtime))
    assert (looked_at, last) == (3, unconfirmed.id)
    assert due == {changed.id: False, unconfirmed.id: False, kept.id: True}


def test_the_nights_sample_finds_a_link_that_line_lost(runtime, line, live, person):
    kept, lost = person("a"), person("b")
    for _ in range(2):
        assign.link_due(runtime, line, limit=1)
    del line.links[lost.line_user_id]
    repair(runtime)
    asked = len(line.asked)
    assign.link_due(runtime, line)
    assert {name for name, _ in line.asked[asked:]} == {"linked_menu"}
    assign.link_due(runtime, line)
    assert line.links[lost.line_user_id] == line.links[kept.line_user_id] == live["member:th"]
    assert rows_due(runtime) == []


def test_any_tab_of_the_right_set_is_right(runtime, line, live, person):
    member = person()
    assign.link_due(runtime, line)
    line.links[member.line_user_id] = line.alias_targets["member-shop"]
    repair(runtime)
    assign.link_due(runtime, line)
    assert line.links[member.line_user_id] == line.alias_targets["member-shop"]
    assert link_of(runtime, member).confirmed_at is not None


def test_who_came_back_since_is_asked_about(runtime, line, live, person):
    member = person()
    assign.link_due(runtime, line)
    with runtime.transaction() as session:
        session.get_one(Member, member.id).follow_decided_at = NOW + timedelta(hours=1)
        session.execute(update(MenuLink).values(confirmed_at=NOW))
    repair(runtime, is_sampling=False)
    assert rows_due(runtime) == [(member.id, True)]


def test_a_bulk_link_is_believed_when_it_is_repeated(runtime, line, person):
    people = [person(f"m{number}") for number in range(3)]
    assign.link_due(runtime, line)
    first = {link_of(runtime, one).confirmed_at for one in people}
    repair(runtime)
    assign.link_due(runtime, line)
    assert (first, {link_of(runtime, one).confirmed_at for one in people}) == ({None}, {NOW})


def test_blocking_takes_the_menu_away_and_coming_back_gives_it_again(runtime, line, live, person):
    member = person()
    assign.link_due(runtime, line)
    happen(runtime, member, "members.unfollowed", is_following=False)
    assign.link_due(runtime, line)
    blocked = line.links.get(member.line_user_id)
    happen(runtime, member, "members.followed", is_following=True)
    assign.link_due(runtime, line)
    assert (blocked, line.links[member.line_user_id]) == (None, live["member:th"])


def leave(runtime, member):
    with runtime.transaction() as session:
        row = session.get_one(Member, member.id)
        erasure.erase(session, runtime.vault, row, asked_by="member", now=NOW)


def test_leaving_for_good_takes_the_menu_away_at_once_and_keeps_no_line_id(runtime, line, person):
    member = person()
    user_id = member.line_user_id
    assign.link_due(runtime, line)
    assert user_id in line.links
    leave(runtime, member)
    assert assign.link_due(runtime, line) == 1
    assert user_id not in line.links
    assert link_of(runtime, member) is None


def test_who_left_is_tried_again_while_line_is_away_but_not_for_ever(runtime, line, person, clock):
    member = person()
    assign.link_due(runtime, line)
    leave(runtime, member)
    line.go_down()
    assign.link_due(runtime, line)
    assert link_of(runtime, member).leaving_user_id == member.line_user_id
    with runtime.transaction() as session:
        session.execute(update(MenuLink).values(attempts=assign.LEAVING_TRIES))
    clock.advance(seconds=10)
    assign.link_due(runtime, line)
    assert link_of(runtime, member) is None


def test_who_comes_back_while_the_old_menu_goes_gets_the_new_one(runtime, line, live, person):
    member = person()
    assign.link_due(runtime, line)
    leave(runtime, member)
    claimed = assign._claim(runtime, 10)
    with runtime.transaction() as session:
        again = factories.make_member(session, "กลับมา", line_user_id=member.line_user_id)
        activities.record(session, again.id, "members.joined", NOW, {})
    assign.link_due(runtime, line)
    line.unlink_menu(claimed[0].user_id)  # the slower worker's call comes after
    assign._record(runtime, claimed, is_done=True)
    assign.link_due(runtime, line)
    assert line.links[member.line_user_id] == live["member:th"]


def test_what_is_wished_while_line_is_asked_is_told_next(runtime, line, live, person, monkeypatch):
    member = person()

    def slow_link(user_id, menu_id):
        monkeypatch.undo()
        happen(runtime, member, "members.language_changed", locale="en")
        line.link_menu(user_id, menu_id)

    monkeypatch.setattr(line, "link_menu", slow_link)
    assign.link_due(runtime, line)
    assert line.links[member.line_user_id] == live["member:th"]
    assert link_of(runtime, member).linked_line_menu_id == live["member:th"]
    assign.link_due(runtime, line)
    assert line.links[member.line_user_id] == live["member:en"]
    assert rows_due(runtime) == []


def test_a_sweep_goes_over_everybody_in_ranges(runtime, line, live, person):
    people = [person(f"m{number}") for number in range(5)]
    assign.link_due(runtime, line)
    with runtime.transaction() as session:
        session.execute(update(Member).values(locale="en"))
        assign.ask_sweep(session)
    looked = []
    for _ in range(4):
        with runtime.transaction() as session:
            looked.append(assign.sweep_step(session, NOW, limit=2))
    assign.link_due(runtime, line)
    assert looked == [2, 2, 1, 0]
    assert {line.links[one.line_user_id] for one in people} == {live["member:en"]}
    with runtime.database.read() as session:
        assert not upkeep.is_sweeping(session)


def test_leased_link_is_nobody_elses_for_a_minute(runtime, line, person, clock):
    person()
    claimed = assign._claim(runtime, 10)
    again = assign._claim(runtime, 10)
    clock.advance(seconds=61)
    after = assign._claim(runtime, 10)
    assert [len(one) for one in (claimed, again, after)] == [1, 0, 1]
    assert timedelta(seconds=60) == assign.LEASE
