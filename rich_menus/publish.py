"""Puts saved menus live at LINE: idempotent, and safe to stop between any two calls.

Every menu made carries our mark in its name, so that one whose id was never recorded (a stop
between LINE's answer and our commit) is found and removed. The old version stays until every tab
of the new one has its picture; aliases are re-pointed, never deleted and made again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bot.gateway import Line
from core.runtime import Runtime
from models.menus import (
    Menu,
    MenuLink,
    MenuPicture,
    MenuPublication,
    MenuVersion,
    PublicationState,
)
from rich_menus import assign, images
from rich_menus.definitions import (
    DEFAULT_PACK,
    LOCALES,
    MenuDefinition,
    Tab,
    line_object,
    localized_alias,
)

MARK = "taem/"


@dataclass(frozen=True)
class Wanted:
    """One tab in one language as it should be at LINE."""

    menu_id: int
    version_id: int
    definition: MenuDefinition
    tab: Tab
    locale: str

    @property
    def alias(self) -> str:
        return localized_alias(self.tab.alias, self.locale)

    @cached_property
    def content_hash(self) -> str:
        """Changes when LINE's object or the drawing would."""
        content = {
            "object": line_object(self.definition, self.tab, self.locale),
            "drawn": [self.definition.to_dict(), self.tab.key, self.locale, images.VERSION],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def line_object(self) -> dict[str, Any]:
        """LINE's object, its name carrying our mark."""
        made = line_object(self.definition, self.tab, self.locale)
        return {**made, "name": f"{MARK}{made['name']}/{self.content_hash[:12]}"}


@dataclass
class Report:
    """What publishing did, or with `dry_run` would do."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Status:
    """One alias against LINE: `problem` is None when all is well."""

    alias: str
    version: int | None
    line_menu_id: str | None
    problem: str | None


def ensure_menus(session: Session, now: datetime) -> int:
    """Make the rows of the default pack that are not there yet. Returns how many were new."""
    known = set(session.scalars(select(Menu.key)))
    made = [one for one in DEFAULT_PACK if one.key not in known]
    for definition in made:
        menu = Menu(
            key=definition.key,
            name_th=definition.name.th,
            name_en=definition.name.en,
            audience=dict(definition.audience),
            priority=definition.priority,
            is_default=definition.is_default,
        )
        session.add(menu)
        session.flush()  # the version needs its menu's id
        session.add(
            MenuVersion(
                menu_id=menu.id,
                version=1,
                definition=definition.to_dict(),
                made_by="seed",
                made_at=now,
            )
        )
    return len(made)


def save_version(
    session: Session, menu: Menu, definition: MenuDefinition, *, made_by: str, now: datetime
) -> MenuVersion:
    """Keep an edited definition as the menu's next version (a draft until published)."""
    latest = session.scalar(
        select(func.max(MenuVersion.version)).where(MenuVersion.menu_id == menu.id)
    )
    version = MenuVersion(
        menu_id=menu.id,
        version=(latest or 0) + 1,
        definition=definition.to_dict(),
        made_by=made_by,
        made_at=now,
    )
    session.add(version)
    return version


def latest_version(session: Session, menu_id: int) -> MenuVersion:
    """The newest saved version of a menu."""
    return session.scalars(
        select(MenuVersion)
        .where(MenuVersion.menu_id == menu_id)
        .order_by(MenuVersion.version.desc())
        .limit(1)
    ).one()


def wanted(session: Session) -> list[Wanted]:
    """Every tab in every language of the newest version of every menu, in publishing order."""
    found = []
    for menu in session.scalars(select(Menu).order_by(Menu.priority.desc())):
        version = latest_version(session, menu.id)
        definition = MenuDefinition.from_dict(version.definition)
        found += [
            Wanted(menu.id, version.id, definition, tab, locale)
            for locale in LOCALES
            for tab in definition.tabs
        ]
    return found


def publish(runtime: Runtime, line: Line, *, dry_run: bool = False) -> Report:
    """Bring LINE to what the newest versions say. Raises the gateway's errors; run it again."""
    report = Report()
    with runtime.database.read() as session:
        targets = wanted(session)
    at_line = {str(menu["richMenuId"]): menu for menu in line.menus()}
    fresh: dict[int, list[tuple[Wanted, str]]] = {}
    for target in targets:
        live_id = _live_id(runtime, target, set(at_line))
        if live_id is not None:
            report.kept.append(target.alias)
            continue
        report.made.append(target.alias)
        if not dry_run:
            line_id = _make(runtime, line, target, set(at_line))
            fresh.setdefault(target.menu_id, []).append((target, line_id))
    if dry_run:
        return report
    for made in fresh.values():
        for target, line_id in made:
            line.set_alias(target.alias, line_id)
            _go_live(runtime, target, line_id)
        _relink(runtime, made[0][0])
    _point_aliases(runtime, line, targets)
    _set_default(runtime, line)
    report.removed = clean_up(runtime, line)
    return report


def _live_id(runtime: Runtime, target: Wanted, at_line: set[str]) -> str | None:
    with runtime.database.read() as session:
        row = session.scalar(
            select(MenuPublication).where(
                MenuPublication.alias == target.alias,
                MenuPublication.state == PublicationState.LIVE,
                MenuPublication.content_hash == target.content_hash,
            )
        )
    return row.line_menu_id if row and row.line_menu_id in at_line else None


def _make(runtime: Runtime, line: Line, target: Wanted, at_line: set[str]) -> str:
    """Menu object, then picture; only then is it `ready`. A ready one of an earlier try is used."""
    with runtime.database.write() as session:
        ready = session.scalar(
            select(MenuPublication).where(
                MenuPublication.alias == target.alias,
                MenuPublication.state == PublicationState.READY,
                MenuPublication.content_hash == target.content_hash,
            )
        )
        if ready is not None and ready.line_menu_id in at_line:
            return str(ready.line_menu_id)
        row = MenuPublication(
            menu_id=target.menu_id,
            version_id=target.version_id,
            tab=target.tab.key,
            alias=target.alias,
            locale=target.locale,
            content_hash=target.content_hash,
            state=PublicationState.MAKING,
            made_at=runtime.clock.real_now(),
        )
        session.add(row)
        session.flush()  # the id is needed to record LINE's answers
        row_id = row.id
    line_id = line.create_menu(target.line_object())
    _update(runtime, row_id, line_menu_id=line_id)
    line.upload_menu_image(line_id, picture(runtime, target))
    _update(runtime, row_id, state=PublicationState.READY)
    return line_id


def picture(runtime: Runtime, target: Wanted) -> bytes:
    """The drawn PNG of a tab, kept by content."""
    with runtime.database.read() as session:
        kept = session.get(MenuPicture, target.content_hash)
    if kept is not None:
        return kept.png
    png = images.draw_menu(target.definition, target.tab, target.locale)
    with runtime.database.write() as session:
        session.merge(
            MenuPicture(content_hash=target.content_hash, png=png, made_at=runtime.clock.real_now())
        )
    return png


def _update(runtime: Runtime, row_id: int, **values: Any) -> None:
    with runtime.database.write() as session:
        row = session.get_one(MenuPublication, row_id)
        for name, value in values.items():
            setattr(row, name, value)


def _go_live(runtime: Runtime, target: Wanted, line_id: str) -> None:
    now = runtime.clock.real_now()
    with runtime.database.write() as session:
        for old in session.scalars(
            select(MenuPublication).where(
                MenuPublication.alias == target.alias,
                MenuPublication.state == PublicationState.LIVE,
                MenuPublication.line_menu_id != line_id,
            )
        ):
            old.state = PublicationState.RETIRED
        session.flush()  # one live row an alias: the old one steps down first
        new = session.scalars(
            select(MenuPublication).where(MenuPublication.line_menu_id == line_id)
        ).one()
        new.state, new.live_at = PublicationState.LIVE, now
        session.get_one(MenuVersion, target.version_id).published_at = now


def _relink(runtime: Runtime, target: Wanted) -> None:
    with runtime.database.write() as session:
        assign.relink(session, target.definition.key, runtime.clock.real_now())


def _point_aliases(runtime: Runtime, line: Line, targets: list[Wanted]) -> None:
    """Aliases that a stop, or a hand, left pointing elsewhere."""
    pointing = line.aliases()
    with runtime.database.read() as session:
        rows = session.scalars(
            select(MenuPublication).where(MenuPublication.state == PublicationState.LIVE)
        )
        live = {row.alias: row.line_menu_id for row in rows}
    for target in targets:
        line_id = live.get(target.alias)
        if line_id and pointing.get(target.alias) != line_id:
            line.set_alias(target.alias, line_id)


def _set_default(runtime: Runtime, line: Line) -> None:
    with runtime.database.read() as session:
        key = session.scalar(select(Menu.key).where(Menu.is_default))
        menu_id = assign.live_menus(session).get(f"{key}:{runtime.settings.shop_locale}")
    if menu_id is not None and line.default_menu() != menu_id:
        line.set_default_menu(menu_id)


def clean_up(runtime: Runtime, line: Line) -> list[str]:
    """Remove orphans of ours and retired menus that nobody is linked to any more."""
    at_line = {str(menu["richMenuId"]): str(menu.get("name", "")) for menu in line.menus()}
    with runtime.database.read() as session:
        rows = session.scalars(
            select(MenuPublication).where(MenuPublication.line_menu_id.is_not(None))
        ).all()
        in_use = set(
            session.scalars(
                select(MenuLink.linked_line_menu_id).where(
                    MenuLink.linked_line_menu_id.is_not(None)
                )
            )
        )
    standing = {
        row.line_menu_id
        for row in rows
        if row.state in (PublicationState.READY, PublicationState.LIVE)
        or (row.state == PublicationState.RETIRED and row.line_menu_id in in_use)
    }
    removed = []
    for line_id, name in at_line.items():
        if name.startswith(MARK) and line_id not in standing:
            line.delete_menu(line_id)
            removed.append(line_id)
    gone = {row.id for row in rows if row.line_menu_id not in standing}
    for row in rows:
        if row.id in gone and row.state != PublicationState.REMOVED:
            _update(runtime, row.id, state=PublicationState.REMOVED)
    return removed


def status(runtime: Runtime, line: Line) -> list[Status]:
    """Every wanted alias compared with LINE."""
    at_line = {str(menu["richMenuId"]) for menu in line.menus()}
    pointing = line.aliases()
    found = []
    with runtime.database.read() as session:
        for target in wanted(session):
            row = session.scalar(
                select(MenuPublication).where(
                    MenuPublication.alias == target.alias,
                    MenuPublication.state == PublicationState.LIVE,
                )
            )
            version = session.get(MenuVersion, row.version_id) if row else None
            problem = None
            if row is None:
                problem = "menus.not_published"
            elif row.line_menu_id not in at_line:
                problem = "menus.missing_at_line"
            elif pointing.get(target.alias) != row.line_menu_id:
                problem = "menus.alias_elsewhere"
            elif row.content_hash != target.content_hash:
                problem = "menus.newer_version"
            found.append(
                Status(
                    target.alias,
                    version.version if version else None,
                    row.line_menu_id if row else None,
                    problem,
                )
            )
    return found
