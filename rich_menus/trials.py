"""A draft on somebody's own telephone for half an hour: nobody else sees it, nothing is published.

The trial's menus carry the moment of their making in their names, so that upkeep removes them when
they are over; the testers' links are asked about then, and made right again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from bot.gateway import Line
from core.errors import Refused
from core.runtime import Runtime
from models.members import Member
from models.menus import MenuLink, MenuUpkeep
from rich_menus import assign, audiences, images, uploads
from rich_menus.definitions import MenuDefinition, Variant, line_object

LIFE = timedelta(minutes=30)
MOST_TESTERS = 20
MOST_GUESSED = 3
ALIAS = "try-"
_NAME = re.compile(r"^taem/try/([0-9]+)/")


def name_of(tab_key: str, real_now: datetime) -> str:
    """How LINE knows one tab of a trial; minutes since 1970 tell when it is over."""
    return f"taem/try/{int(real_now.timestamp()) // 60}/{tab_key}"


def is_running(name: str, real_now: datetime) -> bool:
    """Whether a menu at LINE belongs to a trial that is not over."""
    found = _NAME.match(name)
    if found is None:
        return False
    return datetime.fromtimestamp(int(found[1]) * 60, UTC) > real_now - LIFE


def testers(session: Session, *, is_demo: bool) -> list[Member]:
    """Those who have test sends go to them; in a demo without any, whom
    LINE has told us of last."""
    reached = select(Member).where(Member.line_user_id.is_not(None), Member.is_following.is_(True))
    found = session.scalars(reached.where(Member.is_test).limit(MOST_TESTERS)).all()
    if found or not is_demo:
        return list(found)
    last = reached.order_by(Member.profile_seen_at.desc().nulls_last(), Member.id)
    return list(session.scalars(last.limit(MOST_GUESSED)))


def show(
    runtime: Runtime,
    line: Line,
    definition: MenuDefinition,
    people: Sequence[Member],
    variant: Variant,
) -> int:
    """Link those of these people whom LINE knows to the draft, in the shop's language.

    Returns how many. Refuses when there is nobody; raises the gateway's errors.
    """
    people = [one for one in people if line.profile(str(one.line_user_id)) is not None]
    if not people:
        raise Refused("menus.no_testers", status=422)
    real, locale = runtime.clock.real_now(), runtime.settings.shop_locale
    renamed = replace(
        definition,
        tabs=tuple(replace(tab, alias=f"{ALIAS}{tab.key}") for tab in definition.tabs),
    )
    aliases = {tab.alias: f"{ALIAS}{tab.key}" for tab in definition.tabs}
    made = []
    for tab in renamed.tabs:
        body = line_object(renamed, tab, locale)
        for area in body["areas"]:
            target = area["action"].get("richMenuAliasId")
            if target in aliases:
                area["action"]["richMenuAliasId"] = aliases[target]
        menu_id = line.create_menu({**body, "name": name_of(tab.key, real)})
        with runtime.database.read() as session:
            upload = uploads.picture_of(session, tab, locale)
        picture = images.draw_menu(definition, tab, locale, variant, upload)
        line.upload_menu_image(menu_id, picture, images.type_of(picture))
        made.append((tab.alias, menu_id))
    for alias, menu_id in made:
        line.set_alias(alias, menu_id)
    _end_later(runtime, people, real + LIFE)
    for one in people:
        line.link_menu(str(one.line_user_id), made[0][1])
    return len(people)


def _end_later(runtime: Runtime, people: Sequence[Member], over_at: datetime) -> None:
    """Written before anybody is linked: a stop leaves nobody with a draft for good."""
    ids = [one.id for one in people]
    with runtime.database.write() as session:
        assign.want(session, audiences.sight(session), ids, over_at, is_forced=True)
        session.execute(update(MenuLink).where(MenuLink.member_id.in_(ids)).values(is_check=True))
        upkeep = session.get(MenuUpkeep, 1, with_for_update=True)
        if upkeep is None:
            session.add(MenuUpkeep(id=1, due_at=over_at))
        elif upkeep.due_at is None or upkeep.due_at > over_at:
            upkeep.due_at = over_at
