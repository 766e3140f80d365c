"""Publishing menus: idempotent, and one live set whatever stops it in between (N4, FL17)."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from bot.gateway import LineUnavailable
from models.menus import Menu, MenuPublication, MenuVersion, PublicationState
from rich_menus import images, publish, status, upkeep
from rich_menus.definitions import MenuDefinition
from tests.conftest import SOAK
from tests.fakes import FakeLine
from tests.moments import NOW


class StoppingLine(FakeLine):
    """Fails at one call: before it takes effect, or after, when nobody heard the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.is_heard = False

    def stop_at(self, call: int, *, is_heard: bool) -> None:
        self.left, self.is_heard = call, is_heard

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CALLS:
            return found

        def call(*arguments: Any, **more: Any) -> Any:
            if self.left is None:
                return found(*arguments, **more)
            self.left -= 1
            if self.left == 0 and not self.is_heard:
                self.left = None
                raise LineUnavailable("HTTP 500", 500)
            answer = found(*arguments, **more)
            if self.left == 0:
                self.left = None
                raise LineUnavailable("no answer")
            return answer

        return call


CALLS = frozenset(
    {
        "create_menu", "upload_menu_image", "menus", "delete_menu", "set_default_menu",
        "default_menu", "aliases", "set_alias", "delete_alias",
    }
)  # fmt: skip
#: Three menus; the member's and the VIP's have three tabs; two languages.
TABS = 14


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    """Drawing has tests of its own; here any bytes will do."""
    monkeypatch.setattr(images, "draw_menu", lambda *_: b"png")


@pytest.fixture
def line() -> StoppingLine:
    return StoppingLine()


@pytest.fixture
def shop(runtime):
    with runtime.transaction() as session:
        publish.ensure_menus(session, NOW)
    return runtime


def edit(runtime, key: str = "guest", colour: str = "#112233") -> None:
    """Save another version of a menu."""
    with runtime.transaction() as session:
        menu = session.scalars(select(Menu).where(Menu.key == key)).one()
        definition = publish.latest_version(session, menu.id).definition
        colours = {**definition["colours"], "accent": colour}
        changed = MenuDefinition.from_dict({**definition, "colours": colours})
        publish.save_version(session, menu, changed, made_by="staff:1", now=NOW)


def live(runtime) -> dict[str, str]:
    with runtime.database.read() as session:
        rows = session.scalars(
            select(MenuPublication).where(MenuPublication.state == PublicationState.LIVE)
        )
        return {row.alias: row.line_menu_id for row in rows}


def assert_one_live_set(runtime, line) -> None:
    wanted = live(runtime)
    assert line.alias_targets == wanted
    assert set(line.menu_bodies) == set(wanted.values())
    assert set(line.pictures) == set(wanted.values())
    assert line.shown_by_default == wanted[default_alias(runtime)]
    assert {row.problem for row in status.compare(runtime, line).rows} == {None}


def default_alias(runtime) -> str:
    with runtime.database.read() as session:
        targets = publish.wanted(session)
        key = session.scalar(select(Menu.key).where(Menu.is_default))
    return next(one.alias for one in targets if one.definition.key == key and one.locale == "th")


def test_publishes_every_tab_in_both_languages(shop, line):
    report = upkeep.publish_newest(shop, line)
    assert len(report.made) == len(line.menu_bodies) == TABS
    assert_one_live_set(shop, line)


def test_publishing_again_makes_nothing(shop, line):
    upkeep.publish_newest(shop, line)
    before = len([name for name, _ in line.asked if name == "create_menu"])
    report = upkeep.publish_newest(shop, line)
    assert (report.made, len(report.kept), report.removed) == ([], TABS, [])
    assert len([name for name, _ in line.asked if name == "create_menu"]) == before


def test_dry_run_touches_nothing(shop, line):
    report = upkeep.publish_newest(shop, line, dry_run=True)
    assert len(report.made) == TABS
    assert line.menu_bodies == {}


def test_edited_menu_replaces_only_its_own_tabs(shop, line):
    upkeep.publish_newest(shop, line)
    before = live(shop)
    edit(shop)
    report = upkeep.publish_newest(shop, line)
    changed = {alias for alias, menu in live(shop).items() if before[alias] != menu}
    assert changed == set(report.made)
    assert all(alias.startswith(("guest", "taem-guest")) or "guest" in alias for alias in changed)
    assert_one_live_set(shop, line)


def test_version_notes_when_it_was_published(shop, line):
    upkeep.publish_newest(shop, line)
    with shop.database.read() as session:
        assert {row.published_at for row in session.scalars(select(MenuVersion))} == {NOW}


def test_menus_of_others_are_left_alone(shop, line):
    theirs = line.create_menu({"name": "promotion", "chatBarText": "x", "areas": []})
    upkeep.publish_newest(shop, line)
    assert theirs in line.menu_bodies


def test_alias_moved_by_hand_is_put_right(shop, line):
    upkeep.publish_newest(shop, line)
    alias, other = next(iter(live(shop))), list(live(shop).values())[-1]
    line.alias_targets[alias] = other
    assert {row.problem for row in status.compare(shop, line).rows} == {
        None,
        "menus.alias_elsewhere",
    }
    upkeep.publish_newest(shop, line)
    assert_one_live_set(shop, line)


def test_menu_deleted_by_hand_is_made_again(shop, line):
    upkeep.publish_newest(shop, line)
    line.delete_menu(next(iter(live(shop).values())))
    assert "menus.missing_at_line" in {row.problem for row in status.compare(shop, line).rows}
    upkeep.publish_newest(shop, line)
    assert_one_live_set(shop, line)


def test_status_says_what_was_never_published_or_is_old(shop, line):
    assert {row.problem for row in status.compare(shop, line).rows} == {"menus.not_published"}
    upkeep.publish_newest(shop, line)
    edit(shop)
    assert {row.problem for row in status.compare(shop, line).rows} == {None}  # a draft is no fault
    with shop.transaction() as session:
        publish.choose_newest(session)
    assert "menus.newer_version" in {row.problem for row in status.compare(shop, line).rows}


def count_calls(runtime, line) -> int:
    before = len(line.asked)
    upkeep.publish_newest(runtime, line)
    return len(line.asked) - before


@pytest.mark.parametrize("is_heard", [False, True], ids=["refused", "unheard"])
def test_FL17_stop_at_any_call_of_a_replacement_leaves_one_live_set(shop, line, is_heard):
    upkeep.publish_newest(shop, line)
    edit(shop, colour="#000001")
    calls = count_calls(shop, line)
    broken = []
    step = 1 if SOAK else 2
    for number in range(1 + is_heard * (step - 1), calls + 1, step):
        edit(shop, colour=f"#{number:06x}A0"[:7])
        before = live(shop)
        line.stop_at(number, is_heard=is_heard)
        with pytest.raises(LineUnavailable):
            upkeep.publish_newest(shop, line)
        # While stopped, every alias still leads to a menu with a picture.
        broken += [alias for alias in before if line.alias_targets[alias] not in line.pictures]
        upkeep.publish_newest(shop, line)
        assert_one_live_set(shop, line)
    assert calls > 8
    assert broken == []


@pytest.mark.parametrize("is_heard", [False, True], ids=["refused", "unheard"])
def test_FL17_first_publishing_survives_stops(shop, line, is_heard):
    for number in (1, 2, 3, 4, 2 * TABS - 2, 8):
        line.stop_at(number, is_heard=is_heard)
        with pytest.raises(LineUnavailable):
            upkeep.publish_newest(shop, line)
    line.left = None
    upkeep.publish_newest(shop, line)
    assert_one_live_set(shop, line)


def test_picture_is_drawn_once(shop, line, monkeypatch):
    drawn = []
    monkeypatch.setattr(images, "draw_menu", lambda *args: drawn.append(args) or b"png")
    upkeep.publish_newest(shop, line)
    line.menu_bodies.clear()
    upkeep.publish_newest(shop, line)
    assert len(drawn) == TABS


def test_default_pack_is_seeded_once(shop):
    with shop.transaction() as session:
        assert publish.ensure_menus(session, NOW) == 0
        assert {menu.key for menu in session.scalars(select(Menu))} == {"guest", "member", "vip"}
