"""LINE is brought to what the rows say: one at a time, again after faults, and after every change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from bot.gateway import LineRefused, LineUnavailable
from core.errors import Refused
from models.menus import Menu, MenuLink, MenuPublication, MenuUpkeep, PublicationState
from rich_menus import assign, images, living, publish, shelf, status, upkeep
from rich_menus.definitions import DEFAULT_PACK, MenuDefinition, Words
from tests import factories
from tests.conftest import SOAK
from tests.moments import NOW
from tests.rich_menus.test_publish import StoppingLine, live


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    monkeypatch.setattr(images, "draw_menu", lambda *_: b"png")


@pytest.fixture
def line() -> StoppingLine:
    return StoppingLine()


@pytest.fixture
def shop(runtime, line):
    """The default pack, live."""
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
    upkeep.publish_newest(runtime, line)
    return runtime


def menu(session, key):
    return session.scalars(select(Menu).where(Menu.key == key)).one()


def row(runtime):
    with runtime.database.read() as session:
        return session.get(MenuUpkeep, 1)


def ask(runtime):
    with runtime.transaction() as session:
        upkeep.ask(session, NOW)


def assert_agrees(runtime, line):
    found = status.compare(runtime, line)
    assert found.is_well, found
    assert set(line.menu_bodies) == set(line.pictures) == set(live(runtime).values())
    assert line.alias_targets == live(runtime)


def new_menu(runtime, definition=DEFAULT_PACK[0], name="Summer", publish_it=True):
    with runtime.transaction() as session:
        made = shelf.create(session, definition, Words("หน้าร้อน", name), made_by="staff:1", now=NOW)
        session.flush()
        if publish_it:
            publish.choose(session, made, publish.latest_version(session, made.id))
            upkeep.ask(session, NOW)
    return made.key


# --- Faults -------------------------------------------------------------------------------------
def test_a_fault_is_noted_and_tried_again_later_and_later(shop, line, clock):
    ask(shop)
    line.go_down()
    waits = []
    for _ in range(3):
        assert upkeep.keep(shop, line) == 1
        waits.append((row(shop).due_at - clock.real_now()).total_seconds() / 60)
        assert (row(shop).problem, row(shop).held_until) == ("menus.line_failed", None)
        assert upkeep.keep(shop, line) == 0  # not before its moment
        clock.advance(seconds=waits[-1] * 60)
    line.come_back()
    assert upkeep.keep(shop, line) == 1
    assert waits == [1, 2, 5]
    assert (row(shop).due_at, row(shop).problem, row(shop).attempts) == (None, None, 0)


def test_a_refusal_is_told_apart_from_silence(shop, line):
    ask(shop)
    line.fault = LineRefused(400, "The request body has 1 error(s)")
    upkeep.keep(shop, line)
    assert row(shop).problem == "menus.line_refused"


def test_an_idle_shop_asks_line_nothing(shop, line):
    asked = len(line.asked)
    assert upkeep.keep(shop, line) == 0
    assert len(line.asked) == asked


def take(runtime):
    with runtime.transaction() as session:
        assert upkeep._take(session, NOW)


def test_a_worker_that_sees_the_wish_does_not_come_before_whoever_wished(shop, line, monkeypatch):
    """The café did not start again when its own worker was quicker than its `menus publish`."""
    bring, tries = upkeep._bring, []

    def after_a_worker_has_looked(runtime, line):
        tries.append(upkeep.keep(runtime, line))
        return bring(runtime, line)

    monkeypatch.setattr(upkeep, "_bring", after_a_worker_has_looked)
    upkeep.publish_newest(shop, line)
    assert tries == [0]
    assert row(shop).due_at is None


def test_what_is_wished_while_somebody_is_at_it_follows_by_itself(shop, line, clock):
    take(shop)
    with pytest.raises(Refused):
        upkeep.publish_newest(shop, line)
    clock.advance(seconds=upkeep.HELD.total_seconds() + 1)
    assert upkeep.keep(shop, line) == 1


def test_only_one_publishes_at_a_time_and_a_dead_one_is_taken_over(shop, line, clock):
    ask(shop)
    take(shop)
    with pytest.raises(Refused) as refusal:
        upkeep.bring(shop, line)
    assert refusal.value.code == "menus.publishing_now"
    assert upkeep.keep(shop, line) == 0
    clock.advance(seconds=upkeep.HELD.total_seconds() + 1)
    assert upkeep.keep(shop, line) == 1


# --- New, archived, living ------------------------------------------------------------------------
def test_a_new_menu_goes_live_beside_the_others(shop, line):
    before = live(shop)
    key = new_menu(shop)
    upkeep.keep(shop, line)
    assert_agrees(shop, line)
    assert {alias for alias in live(shop) if alias not in before} == {
        f"{key}-main",
        f"{key}-main-en",
    }


def test_an_archived_menu_goes_once_its_people_stand_elsewhere(shop, line, clock):
    key = new_menu(shop)
    upkeep.keep(shop, line)
    with shop.transaction() as session:
        shelf.set_audience(session, menu(session, key), {"state": "member"})
        member = factories.somchai(session)
        line.add_friend(member.line_user_id, "สมชาย")
    sweep(shop, line)
    first = line.links[member.line_user_id]
    assert first == live(shop)[f"{key}-main"]
    with shop.transaction() as session:
        shelf.archive(session, menu(session, key), NOW, NOW)
    upkeep.keep(shop, line)
    assert first in line.menu_bodies  # somebody still stands on it
    assert row(shop).due_at == NOW + upkeep.LEFT_OVER
    sweep(shop, line)
    assert line.links[member.line_user_id] == live(shop)["member-card"]
    clock.advance(seconds=upkeep.LEFT_OVER.total_seconds())
    upkeep.keep(shop, line)
    assert first not in line.menu_bodies
    assert row(shop).due_at is None
    assert_agrees(shop, line)


def sweep(runtime, line):
    with runtime.transaction() as session:
        assign.sweep_step(session, NOW)
    assign.link_due(runtime, line)


@pytest.mark.parametrize("is_heard", [False, True], ids=["refused", "unheard"])
def test_FL17_a_stop_at_any_call_of_an_archiving_is_made_good(shop, line, is_heard):
    number = 0
    while True:
        number += 1 if SOAK else 3
        key = new_menu(shop, name=f"Menu{number}")
        upkeep.bring(shop, line)
        with shop.transaction() as session:
            shelf.archive(session, menu(session, key), NOW, NOW)
        line.stop_at(number, is_heard=is_heard)
        try:
            upkeep.bring(shop, line)
        except LineUnavailable:
            line.left = None
            upkeep.bring(shop, line)
            assert_agrees(shop, line)
        else:
            line.left = None
            break
    assert number > 6  # list, aliases, default, two aliases and two menus away
    assert_agrees(shop, line)


def make_living(runtime, size=4, key="member"):
    """The member's stamps stand on the first area of every tab of a one-tab copy."""
    with runtime.transaction() as session:
        factories.make_stamp_program(session, size=size)
        row = menu(session, key)
        given = publish.latest_version(session, row.id).definition
        tab = {**given["tabs"][0], "areas": [dict(one) for one in given["tabs"][0]["areas"]]}
        tab["areas"][0]["shows"] = "stamps:coffee"
        definition = MenuDefinition.from_dict({**given, "tabs": [tab]})
        publish.save_version(session, row, definition, made_by="staff:1", now=NOW)
        session.flush()
        publish.choose(session, row, publish.latest_version(session, row.id))
        upkeep.ask(session, NOW)


def test_a_living_menu_has_a_picture_for_every_number_of_stamps(shop, line):
    make_living(shop)
    upkeep.keep(shop, line)
    assert_agrees(shop, line)
    mine = {alias for alias in live(shop) if alias.startswith("member-card")}
    assert mine == {
        f"member-card{language}{variant}"
        for language in ("", "-en")
        for variant in ("", "-s0", "-s1", "-s2", "-s3", "-s4")
    }


def test_a_stamp_moves_the_member_to_the_next_picture(shop, line):
    from loyalty import activities
    from models.stamps import CardState, StampCard

    make_living(shop)
    upkeep.keep(shop, line)
    with shop.transaction() as session:
        member = factories.somchai(session)
        line.add_friend(member.line_user_id, "สมชาย")
        activities.record(session, member.id, "members.joined", NOW, {})
    assign.link_due(shop, line)
    first = line.links[member.line_user_id]
    with shop.transaction() as session:
        program = living.variants(session, "stamps:coffee")
        session.add(
            StampCard(
                member_id=member.id,
                program_id=1,
                program_key="coffee",
                ordinal=1,
                filled=2,
                state=CardState.OPEN,
                opened_at=NOW,
            )
        )
        activities.record(session, member.id, "stamps.given", NOW, {})
    assign.link_due(shop, line)
    assert [one.key for one in program] == ["", "s0", "s1", "s2", "s3", "s4"]
    assert first == live(shop)["member-card-s0"]
    assert line.links[member.line_user_id] == live(shop)["member-card-s2"]


def test_a_living_menu_with_too_many_pictures_is_refused_before_line_is_asked(shop, line):
    asked = len(line.asked)
    with pytest.raises(Refused) as refusal:
        make_living(shop, size=50)
    assert refusal.value.code == "menus.too_many_pictures"
    assert len(line.asked) == asked


@pytest.mark.parametrize("is_heard", [False, True], ids=["refused", "unheard"])
def test_FL17_a_living_menu_survives_stops(shop, line, is_heard):
    make_living(shop, size=2)
    for number in (1, 2, 5, 9, 14, 3):
        line.stop_at(number, is_heard=is_heard)
        with pytest.raises(LineUnavailable):
            upkeep.bring(shop, line)
    line.left = None
    upkeep.bring(shop, line)
    assert_agrees(shop, line)
    with shop.database.read() as session:
        count = select(func.count()).select_from(MenuPublication)
        assert session.scalar(count.where(MenuPublication.state == PublicationState.LIVE)) == len(
            line.menu_bodies
        )


# --- LINE compared --------------------------------------------------------------------------------
def test_the_comparison_names_orphans_strays_the_default_and_strangers(shop, line):
    assert status.compare(shop, line).is_well
    orphan = line.create_menu({"name": f"{publish.MARK}old", "chatBarText": "x", "areas": []})
    line.create_menu({"name": "another system's", "chatBarText": "x", "areas": []})
    line.shown_by_default = None
    found = status.compare(shop, line)
    assert (found.orphans, found.default_problem) == ([orphan], "menus.default_missing")
    assert (found.foreign, found.is_well) == (1, False)
    upkeep.bring(shop, line)
    assert status.compare(shop, line).is_well


# --- The shelf ------------------------------------------------------------------------------------
def test_a_copy_has_tabs_of_its_own(shop, line):
    key = new_menu(shop, DEFAULT_PACK[1], name="Gold")
    upkeep.keep(shop, line)
    assert key == "gold"
    switches = [
        area["action"]["richMenuAliasId"]
        for body in line.menu_bodies.values()
        if body["name"].startswith(f"{publish.MARK}gold/card/th")
        for area in body["areas"]
        if area["action"]["type"] == "richmenuswitch"
    ]
    assert switches == ["gold-rewards", "gold-shop"]


def test_names_never_collide_with_each_other_or_with_addresses(shop):
    made = [new_menu(shop, name=name, publish_it=False) for name in ("Line", "Line", "ชา", "!")]
    assert made == ["line2", "line3", "menu", "menu2"]


def test_the_order_is_the_order_of_asking(shop):
    with shop.transaction() as session:
        shelf.move(session, menu(session, "member"), up=True)
    with shop.database.read() as session:
        order = select(Menu.key).order_by(Menu.priority)
        assert list(session.scalars(order)) == ["member", "vip", "guest"]
        assert upkeep.is_sweeping(session)


@pytest.mark.parametrize(
    "act, code",
    [
        (lambda s: shelf.archive(s, menu(s, "guest"), NOW, NOW), "menus.default_stays"),
        (lambda s: shelf.set_audience(s, menu(s, "guest"), {}), "menus.default_is_for_all"),
    ],
)
def test_the_default_stays_for_everybody_else(shop, act, code):
    with pytest.raises(Refused) as refusal, shop.transaction() as session:
        act(session)
    assert refusal.value.code == code


def test_a_tiers_own_menu_is_not_put_away(shop):
    from models.tiers import Tier

    with shop.transaction() as session:
        session.add(
            Tier(
                key="gold",
                name_th="ทอง",
                name_en="Gold",
                threshold=1,
                benefits={"menu": "vip"},
                created_at=NOW,
            )
        )
    with pytest.raises(Refused) as refusal, shop.transaction() as session:
        shelf.archive(session, menu(session, "vip"), NOW, NOW)
    assert refusal.value.code == "menus.tier_has_it"


def test_nobody_is_linked_while_nothing_changed(shop, line):
    with shop.database.read() as session:
        assert session.scalar(select(func.count()).select_from(MenuLink)) == 0
    assert timedelta(minutes=5) == upkeep.HELD
