"""The shop's menus as a collection: made from a template, ordered, put away, and for whom."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import NotFound, Refused
from loyalty import shop
from models.menus import Menu, MenuPlan, PlanState
from models.tiers import Tier
from rich_menus import assign, audiences, publish, upkeep
from rich_menus.definitions import DEFAULT_PACK, MenuDefinition, Tab, Words, blank, in_colour

MOST = 40
#: Words that stand in addresses beside the menus' own.
RESERVED = frozenset({"line", "publish"})
#: What a new menu may begin as, besides a copy of one that is there.
BLANK = "blank"
TEMPLATES: Mapping[str, MenuDefinition] = {
    BLANK: blank(),
    **{f"pack.{one.key}": one for one in DEFAULT_PACK},
}


def template_of(session: Session, name: str) -> MenuDefinition | None:
    """What a template, or a copy of `menu.<key>`, holds; None for an unknown one."""
    if name in TEMPLATES:
        return TEMPLATES[name]
    menu = session.scalar(select(Menu).where(Menu.key == name.removeprefix("menu.")))
    if menu is None or not name.startswith("menu."):
        return None
    return publish.definition_of(publish.latest_version(session, menu.id))


def create(
    session: Session, template: MenuDefinition, name: Words, *, made_by: str, now: datetime
) -> Menu:
    """Make a menu that nobody sees yet. Refuses more than a person can keep in mind."""
    keys = set(session.scalars(select(Menu.key)))
    if len(keys) >= MOST:
        raise Refused("menus.too_many", most=MOST, status=422)
    key = _free_key(name, keys)
    lowest = session.scalar(select(func.min(Menu.priority))) or 100
    menu = Menu(
        key=key,
        name_th=name.th,
        name_en=name.en,
        # For whom it was drawn, and for whoever staff choose.
        audience={name: state for name, state in template.audience.items() if name == "state"}
        | {"override": key},
        priority=lowest - 10,
        is_default=False,
    )
    session.add(menu)
    session.flush()  # the version needs its menu's id
    dressed = in_colour(renamed(template, key, name), shop.get(session, "shop.colour"))
    publish.save_version(session, menu, dressed, made_by=made_by, now=now)
    return menu


def _free_key(name: Words, taken: set[str]) -> str:
    """A short word out of the English name; aliases at LINE are made of it."""
    stem = re.sub(r"[^a-z0-9]+", "", name.en.lower())[:8] or "menu"
    number, key = 1, stem
    while key in taken | RESERVED:
        number += 1
        key = f"{stem}{number}"
    return key


def renamed(template: MenuDefinition, key: str, name: Words) -> MenuDefinition:
    """The same menu under another key: its tabs get aliases of their own."""
    aliases = {tab.alias: f"{key}-{tab.key}" for tab in template.tabs}

    def moved(tab: Tab) -> Tab:
        areas = tuple(
            replace(area, action=replace(area.action, value=aliases[area.action.value]))
            if area.action.type == "richmenuswitch" and area.action.value in aliases
            else area
            for area in tab.areas
        )
        return replace(tab, alias=aliases[tab.alias], areas=areas)

    return replace(
        template,
        key=key,
        name=name,
        audience={},
        is_default=False,
        tabs=tuple(moved(tab) for tab in template.tabs),
    )


def follow_colour(
    session: Session, before: str, after: str, *, made_by: str, now: datetime
) -> list[str]:
    """The shop has another colour: menus that wore the old one get a version in the new one.

    A draft like any other, so that customers see it when it is published. Menus with colours of
    their own keep them. Returns the keys of those that changed.
    """
    changed = []
    for menu in session.scalars(select(Menu).where(Menu.archived_at.is_(None)).order_by(Menu.id)):
        worn = publish.definition_of(publish.latest_version(session, menu.id))
        dressed = in_colour(worn, after, before)
        if dressed != worn:
            publish.save_version(session, menu, dressed, made_by=made_by, now=now)
            changed.append(menu.key)
    return changed


def set_audience(session: Session, menu: Menu, rule: Mapping[str, Any]) -> None:
    """Say who sees a menu; everybody is looked at again. The default is for all others."""
    if menu.is_default:
        raise Refused("menus.default_is_for_all", status=422)
    menu.audience = audiences.checked(rule)
    assign.ask_sweep(session)


def move(session: Session, menu: Menu, *, up: bool) -> None:
    """Ask this menu before its neighbour, or after; places are numbered anew."""
    rows = list(
        session.scalars(
            select(Menu)
            .where(Menu.archived_at.is_(None))
            .order_by(Menu.priority, Menu.id)
            .with_for_update()
        )
    )
    place = next((number for number, row in enumerate(rows) if row.id == menu.id), None)
    if place is None:  # put away since the page was opened
        raise NotFound
    other = place - 1 if up else place + 1
    if not 0 <= other < len(rows):
        return
    rows[place], rows[other] = rows[other], rows[place]
    for number, row in enumerate(rows):
        row.priority = (number + 1) * 10
    assign.ask_sweep(session)


def archive(session: Session, menu: Menu, now: datetime, real_now: datetime) -> None:
    """Put a menu away: its people see another at once, LINE's copies go after them.

    Refuses the default, and one that a tier has for its own.
    """
    if menu.is_default:
        raise Refused("menus.default_stays")
    for tier in session.scalars(select(Tier).where(Tier.is_on)):
        if tier.benefits.get("menu") == menu.key:
            raise Refused("menus.tier_has_it", tier=tier.name_th)
    menu.archived_at, menu.published_version, menu.living = now, None, None
    plans = select(MenuPlan).where(
        MenuPlan.menu_id == menu.id, MenuPlan.state.in_(publish.OPEN_PLANS)
    )
    for plan in session.scalars(plans):
        plan.state = PlanState.CANCELLED
    assign.ask_sweep(session)
    upkeep.ask(session, real_now)


def bring_back(menu: Menu) -> None:
    """Take a menu out of the archive; nobody sees it until it is published."""
    menu.archived_at = None
