"""Menus published at a moment: once, late rather than never, called off, and taken back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select

from core.errors import Refused
from models.campaigns import Campaign, CampaignState
from models.menus import Menu, MenuPlan, PlanState
from rich_menus import plans, publish, upkeep
from rich_menus.definitions import MenuDefinition
from scheduler import runner
from tests import factories
from tests.moments import NOW

SOON, LATER = NOW + timedelta(hours=2), NOW + timedelta(days=3)


@pytest.fixture
def shop(runtime):
    """Version 1 of the guests' menu is chosen; version 2 waits as a draft."""
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
        publish.choose_newest(session)
        menu = guest(session)
        before = publish.latest_version(session, menu.id).definition
        colours = {**before["colours"], "accent": "#112233"}
        changed = MenuDefinition.from_dict({**before, "colours": colours})
        publish.save_version(session, menu, changed, made_by="staff:1", now=NOW)
    return runtime


def guest(session):
    return session.scalars(select(Menu).where(Menu.key == "guest")).one()


def plan(runtime, publish_at=SOON, ends_at=None):
    with runtime.transaction() as session:
        menu = guest(session)
        plans.make(
            session, menu, publish.latest_version(session, menu.id), publish_at=publish_at,
            ends_at=ends_at, made_by="staff:1", now=NOW,
        )  # fmt: skip


def stands(runtime):
    """(version to be shown, state of the plan, whether LINE is to be brought in line)."""
    with runtime.database.read() as session:
        state = session.scalar(select(MenuPlan.state))
        return guest(session).published_version, state, upkeep.is_due(session, NOW)


def test_is_published_at_its_moment_and_not_before(shop):
    plan(shop)
    runner.tick(shop, SOON - timedelta(seconds=1), jobs=())
    before = stands(shop)
    runner.tick(shop, SOON, jobs=())
    assert (before, stands(shop)) == ((1, PlanState.WAITING, False), (2, PlanState.DONE, True))


def test_is_carried_out_late_when_nothing_ran_in_time(shop):
    plan(shop)
    runner.tick(shop, SOON + timedelta(days=9), jobs=())
    assert stands(shop)[:2] == (2, PlanState.DONE)


def test_is_missed_when_its_end_is_over(shop):
    plan(shop, ends_at=LATER)
    runner.tick(shop, LATER, jobs=())
    assert stands(shop) == (1, PlanState.MISSED, False)


def test_one_that_has_become_too_many_pictures_is_missed_and_holds_up_no_other(shop):
    with shop.transaction() as session:
        program = factories.make_stamp_program(session, size=4)
        given = publish.latest_version(session, guest(session).id).definition
        given["tabs"][0]["areas"][0]["shows"] = "stamps:coffee"
        definition = MenuDefinition.from_dict(given)
        publish.save_version(session, guest(session), definition, made_by="staff:1", now=NOW)
        session.flush()
        vip = session.scalars(select(Menu).where(Menu.key == "vip")).one()
        version = publish.latest_version(session, vip.id)
        plans.make(session, vip, version, publish_at=SOON, ends_at=None, made_by="staff:1", now=NOW)
    plan(shop)
    with shop.transaction() as session:
        session.merge(program).size = 50
    runner.tick(shop, SOON, jobs=())
    with shop.database.read() as session:
        asked = select(Menu.key, MenuPlan.state).join_from(MenuPlan, Menu)
        states = {row.key: row.state for row in session.execute(asked)}
    assert states == {"guest": PlanState.MISSED, "vip": PlanState.DONE}


def test_goes_back_at_its_end(shop):
    plan(shop, ends_at=LATER)
    runner.tick(shop, SOON, jobs=())
    during = stands(shop)[:2]
    runner.tick(shop, LATER, jobs=())
    assert (during, stands(shop)[:2]) == ((2, PlanState.SHOWING), (1, PlanState.DONE))


def test_does_not_go_back_over_what_was_published_since(shop):
    plan(shop, ends_at=LATER)
    runner.tick(shop, SOON, jobs=())
    with shop.transaction() as session:
        menu = guest(session)
        newest = publish.latest_version(session, menu.id)
        third = publish.save_version(
            session, menu, publish.definition_of(newest), made_by="staff:1", now=NOW
        )
        session.flush()
        publish.choose(session, menu, third)
    runner.tick(shop, LATER, jobs=())
    assert stands(shop)[:2] == (3, PlanState.DONE)


@pytest.mark.parametrize("is_showing", [False, True])
def test_can_be_called_off_before_and_while_it_shows(shop, is_showing):
    plan(shop, ends_at=LATER)
    if is_showing:
        runner.tick(shop, SOON, jobs=())
    with shop.transaction() as session:
        plans.cancel(session, guest(session), NOW)
    runner.tick(shop, LATER, jobs=())
    assert stands(shop)[:2] == (1, PlanState.CANCELLED)


def test_publishing_everything_leaves_what_has_its_moment(shop):
    plan(shop)
    with shop.transaction() as session:
        publish.choose_newest(session)
    assert stands(shop)[0] == 1


@pytest.mark.parametrize(
    "publish_at, ends_at, code",
    [
        (NOW, None, "menus.plan_not_ahead"),
        (NOW + timedelta(days=400), None, "menus.plan_not_ahead"),
        (SOON, SOON, "menus.plan_ends_early"),
    ],
)
def test_refuses_moments_that_make_no_sense(shop, publish_at, ends_at, code):
    with pytest.raises(Refused) as refusal:
        plan(shop, publish_at, ends_at)
    assert refusal.value.code == code


def test_a_menu_has_one_open_plan(shop):
    plan(shop)
    with pytest.raises(Refused) as refusal:
        plan(shop, LATER)
    assert refusal.value.code == "menus.plan_open"


def test_a_campaign_that_fails_does_not_hold_it_up(shop):
    plan(shop)
    with shop.transaction() as session:
        broken = Campaign(
            name="x", variants={}, test={}, estimate={}, created_at=NOW, made_by="seed",
            state=CampaignState.FREEZING, started_at=NOW,
        )  # fmt: skip
        session.add(broken)
    runner.tick(shop, SOON, jobs=())
    assert stands(shop)[1] == PlanState.DONE


def test_two_schedulers_begin_it_once(shop):
    plan(shop)

    barrier = threading.Barrier(2)

    def act(_number):
        barrier.wait(10)
        with shop.transaction(SOON) as session:
            return plans.carry_out(session, SOON, NOW)

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(act, range(2))) == [0, 1]
    assert stands(shop)[:2] == (2, PlanState.DONE)
