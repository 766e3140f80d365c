"""Publishing while LINE fails half-way: never a half-linked menu, never an orphan (FL17)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image
from sqlalchemy import func, select

from bot.gateway import LineUnavailable, SdkLine
from bot.tokens import TokenSource
from core.clock import FixedClock
from core.crypto import Vault
from core.db import Database
from core.runtime import Runtime
from models.menus import Menu, MenuPublication, PublicationState
from rich_menus import images, publish, upkeep
from rich_menus.definitions import MenuDefinition, Tab
from tests.factories import DATA_KEY, INDEX_KEY, make_settings
from tests.line import SimulatedLine, running_line
from tests.moments import BANGKOK, NOW


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedLine]:
    with running_line(tmp_path_factory.mktemp("line"), SIM_HOURLY_FACTOR="1000") as line:
        yield line


@pytest.fixture(autouse=True)
def plain_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing has tests of its own; the stand-in LINE looks at format and size."""

    def draw(_definition: MenuDefinition, tab: Tab, *_more: object) -> bytes:
        written = io.BytesIO()
        Image.new("P", (tab.width, tab.height), 3).save(written, "PNG", compress_level=1)
        return written.getvalue()

    monkeypatch.setattr(images, "draw_menu", draw)


@pytest.fixture
def held(database: Database, simulated: SimulatedLine) -> Runtime:
    simulated.post("/sim/reset")
    settings = make_settings(
        database.url, line_api_url=simulated.url, line_api_data_url=simulated.url
    )
    held = Runtime(settings, database, FixedClock(NOW, BANGKOK), Vault((DATA_KEY,), (INDEX_KEY,)))
    with held.transaction() as session:
        publish.ensure_menus(session, NOW)
    return held


@pytest.fixture
def line(held: Runtime) -> SdkLine:
    return SdkLine(held.settings, TokenSource(held.settings, env_file=None))


def edit(held: Runtime) -> None:
    """The owner changes the words of every menu's bar."""
    with held.transaction() as session:
        for menu in session.scalars(select(Menu)):
            version = publish.latest_version(session, menu.id)
            definition = MenuDefinition.from_dict(version.definition)
            area = definition.tabs[0].areas[0]
            words = replace(area.label, th="ใหม่", en="New")
            tab = replace(
                definition.tabs[0],
                areas=(replace(area, label=words), *definition.tabs[0].areas[1:]),
            )
            publish.save_version(
                session,
                menu,
                replace(definition, tabs=(tab, *definition.tabs[1:])),
                made_by="seed",
                now=NOW,
            )


def live_count(held: Runtime) -> int:
    with held.database.read() as session:
        return session.scalar(
            select(func.count())
            .select_from(MenuPublication)
            .where(MenuPublication.state == PublicationState.LIVE)
        )


def test_FL17_a_failed_picture_leaves_the_old_menu_and_no_orphan(
    held: Runtime, line: SdkLine, simulated: SimulatedLine
):
    upkeep.publish_newest(held, line)
    shown, aliases = line.default_menu(), line.aliases()
    assert shown is not None
    edit(held)
    simulated.switch(richmenu_image_fail={"after": 1, "count": 1})
    with pytest.raises(LineUnavailable):
        upkeep.publish_newest(held, line)
    assert line.default_menu() == shown
    assert line.aliases() == aliases
    simulated.clear_faults()
    upkeep.publish_newest(held, line)
    assert line.default_menu() != shown
    assert sorted(line.aliases()) == sorted(aliases)
    at_line = {menu["richMenuId"] for menu in line.menus()}
    assert set(line.aliases().values()) == at_line
    assert len(at_line) == live_count(held)
