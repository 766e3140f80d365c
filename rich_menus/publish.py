"""Puts saved menus live at LINE: idempotent, and safe to stop between any two calls.

Every menu made carries our mark in its name, so that one whose id was never recorded (a stop
between LINE's answer and our commit) is found and removed. The old version stays until every tab
of the new one has its picture; aliases are re-pointed, never deleted and made again.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from bot.gateway import Line
from core.bulk import is_one_of
from core.db import insert_into
from core.errors import Refused
from core.runtime import Runtime
from loyalty import shop
from models.menus import (
    Menu,
    MenuLink,
    MenuPicture,
    MenuPlan,
    MenuPublication,
    MenuVersion,
    PlanState,
    PublicationState,
)
from rich_menus import assign, images, living, trials, uploads
from rich_menus.definitions import (
    DEFAULT_PACK,
    LOCALES,
    PLAIN,
    MenuDefinition,
    Tab,
    Variant,
    in_colour,
    line_object,
    localized_alias,
)

MARK = "taem/"
OPEN_PLANS = (PlanState.WAITING, PlanState.SHOWING)


#: LINE keeps 1,000 menus; old ones stay until their successors are live, so half is ours to use.
MOST_MENUS = 450
#: LINE takes 100 new menus an hour: one menu is to be live within the hour it is published in.
MOST_OF_ONE = 90


@dataclass(frozen=True)
class Wanted:
    """One tab in one language as it should be at LINE."""

    menu_id: int
    version_id: int
    definition: MenuDefinition
    tab: Tab
    locale: str
    variant: Variant = PLAIN

    @property
    def alias(self) -> str:
        return localized_alias(self.tab.alias, self.locale, self.variant.key)

    @cached_property
    def content_hash(self) -> str:
        """Changes when LINE's object or the drawing would."""
        drawn = [self.definition.written, self.tab.key, self.locale, images.VERSION]
        if self.variant != PLAIN:
            drawn.append(asdict(self.variant))
        content = {"object": self._object, "drawn": drawn}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def line_object(self) -> dict[str, Any]:
        """LINE's object, its name carrying our mark."""
        made = self._object
        return {**made, "name": f"{MARK}{made['name']}/{self.content_hash[:12]}"}

    @cached_property
    def _object(self) -> dict[str, Any]:
        return line_object(self.definition, self.tab, self.locale, self.variant.key)


@dataclass
class Report:
    """What publishing did, or with `dry_run` would do."""

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    #: Replaced menus stay until the last person linked to them stands elsewhere.
    is_left_over: bool = False


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
                definition=in_colour(definition, shop.get(session, "shop.colour")).to_dict(),
                made_by="seed",
                made_at=now,
            )
        )
    return len(made)


def choose(session: Session, menu: Menu, version: MenuVersion) -> None:
    """Make this version the one that LINE is to show; LINE is brought in line after the commit."""
    definition = definition_of(version)
    check_count(session, menu, definition)
    menu.published_version, menu.living = version.version, definition.living
    assign.ask_sweep(session)


def choose_newest(session: Session) -> None:
    """Choose the newest version of every menu, but of those whose next version has its moment."""
    planned = set(session.scalars(select(MenuPlan.menu_id).where(MenuPlan.state.in_(OPEN_PLANS))))
    for menu in session.scalars(select(Menu).where(Menu.archived_at.is_(None))).all():
        newest = latest_version(session, menu.id)
        if menu.id not in planned and menu.published_version != newest.version:
            choose(session, menu, newest)


def check_count(session: Session, menu: Menu, definition: MenuDefinition) -> None:
    """Refuse more menus than LINE keeps, or than it takes in the hour of publishing."""
    own = len(_targets(session, menu, 0, definition))
    if own > MOST_OF_ONE:
        raise Refused("menus.too_many_pictures", count=own, most=MOST_OF_ONE, status=422)
    others = sum(one.menu_id != menu.id for one in wanted(session))
    if own + others > MOST_MENUS:
        raise Refused("menus.too_many_menus", count=own + others, most=MOST_MENUS, status=422)


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


def version_of(session: Session, menu_id: int, number: int) -> MenuVersion:
    """One saved version of a menu, by its number."""
    return session.scalars(
        select(MenuVersion).where(MenuVersion.menu_id == menu_id, MenuVersion.version == number)
    ).one()


def definition_of(version: MenuVersion) -> MenuDefinition:
    """What a saved version says."""
    return MenuDefinition.from_dict(version.definition)


def wanted(session: Session, *, is_newest: bool = False) -> list[Wanted]:
    """Every tab in every language and variant of the chosen version of every menu, in publishing
    order; of the newest versions where nothing is to be chosen first."""
    found = []
    shown = select(Menu).where(Menu.archived_at.is_(None)).order_by(Menu.priority.desc(), Menu.id)
    for menu in session.scalars(shown):
        if is_newest:
            version = latest_version(session, menu.id)
        elif menu.published_version is not None:
            version = version_of(session, menu.id, menu.published_version)
        else:
            continue
        definition = definition_of(version)
        found += _targets(session, menu, version.id, definition)
    return found


def _targets(
    session: Session, menu: Menu, version_id: int, definition: MenuDefinition
) -> list[Wanted]:
    return [
        Wanted(menu.id, version_id, definition, tab, locale, variant)
        for locale in LOCALES
        for variant in living.variants(session, definition.living)
        for tab in definition.tabs
    ]


def bring(
    runtime: Runtime,
    line: Line,
    *,
    dry_run: bool = False,
    told: Callable[[int, int], None] = lambda _done, _all: None,
) -> Report:
    """Bring LINE to the chosen versions, one menu after the other: all its pictures first, then
    its aliases, then its people; `told` of each picture. Whoever may run beside others goes
    through `upkeep.bring`."""
    report = Report()
    with runtime.database.read() as session:
        targets = wanted(session, is_newest=dry_run)
        finished = _finished(session)
    at_line = {str(menu["richMenuId"]) for menu in line.menus()}
    live, ready = (
        {key: line_id for key, line_id in finished[state].items() if line_id in at_line}
        for state in (PublicationState.LIVE, PublicationState.READY)
    )
    by_menu: dict[int, list[Wanted]] = defaultdict(list)
    for target in targets:
        if (target.alias, target.content_hash) in live:
            report.kept.append(target.alias)
        else:
            report.made.append(target.alias)
            by_menu[target.menu_id].append(target)
    if dry_run:
        return report
    done = 0
    for missing in by_menu.values():
        made = []
        for target in missing:
            told(done, len(report.made))
            # What an earlier try left ready is used.
            left = ready.get((target.alias, target.content_hash))
            made.append((target, left or _make(runtime, line, target)))
            done += 1
        for target, line_id in made:
            line.set_alias(target.alias, line_id)
        _go_live(runtime, made)
    if done:
        told(done, done)
    _point_aliases(runtime, line, targets)
    _set_default(runtime, line)
    _retire(runtime, targets)
    report.removed, report.is_left_over = clean_up(runtime, line)
    return report


def _finished(session: Session) -> dict[PublicationState, dict[tuple[str, str], str]]:
    """Menus that have their picture, by state: LINE's ids by alias and content."""
    found: dict[PublicationState, dict[tuple[str, str], str]] = {
        PublicationState.LIVE: {},
        PublicationState.READY: {},
    }
    rows = session.execute(
        select(
            MenuPublication.state,
            MenuPublication.alias,
            MenuPublication.content_hash,
            MenuPublication.line_menu_id,
        )
        .where(MenuPublication.state.in_(found))
        .order_by(MenuPublication.id)
    )
    for row in rows:
        found[row.state][row.alias, row.content_hash] = str(row.line_menu_id)
    return found


def _make(runtime: Runtime, line: Line, target: Wanted) -> str:
    """Menu object, then picture; only then is it `ready`."""
    shown = picture(runtime, target)
    with runtime.database.write() as session:
        row = MenuPublication(
            menu_id=target.menu_id,
            version_id=target.version_id,
            tab=target.tab.key,
            alias=target.alias,
            locale=target.locale,
            variant=target.variant.key,
            content_hash=target.content_hash,
            state=PublicationState.MAKING,
            made_at=runtime.clock.real_now(),
        )
        session.add(row)
        session.flush()  # the id is needed to record LINE's answers
        row_id = row.id
    line_id = line.create_menu(target.line_object())
    line.upload_menu_image(line_id, shown, images.type_of(shown))
    with runtime.database.write() as session:
        session.execute(
            update(MenuPublication)
            .where(MenuPublication.id == row_id)
            .values(line_menu_id=line_id, state=PublicationState.READY)
        )
    return line_id


def picture(runtime: Runtime, target: Wanted) -> bytes:
    """The finished picture of a tab, kept by content."""
    with runtime.database.read() as session:
        kept = session.get(MenuPicture, target.content_hash)
        if kept is not None:
            return kept.png
        upload = uploads.picture_of(session, target.tab, target.locale)
    png = images.draw_menu(target.definition, target.tab, target.locale, target.variant, upload)
    with runtime.database.write() as session:
        session.execute(
            insert_into(session, MenuPicture)
            .values(content_hash=target.content_hash, png=png, made_at=runtime.clock.real_now())
            .on_conflict_do_nothing()
        )
    return png


def _go_live(runtime: Runtime, made: list[tuple[Wanted, str]]) -> None:
    """One menu's new tabs take the places of the old ones, and its people are to be linked again."""
    now = runtime.clock.real_now()
    line_ids = [line_id for _, line_id in made]
    with runtime.database.write() as session:
        # One live row an alias: the old ones step down first.
        session.execute(
            update(MenuPublication)
            .where(
                MenuPublication.alias.in_([target.alias for target, _ in made]),
                MenuPublication.state == PublicationState.LIVE,
                MenuPublication.line_menu_id.not_in(line_ids),
            )
            .values(state=PublicationState.RETIRED)
        )
        session.execute(
            update(MenuPublication)
            .where(MenuPublication.line_menu_id.in_(line_ids))
            .values(state=PublicationState.LIVE, live_at=now)
        )
        target = made[0][0]
        session.execute(
            update(MenuVersion).where(MenuVersion.id == target.version_id).values(published_at=now)
        )
        assign.ask_sweep(session)


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


def _retire(runtime: Runtime, targets: list[Wanted]) -> None:
    """Let what is live but wanted no more step down: archived menus, tabs and pictures taken out."""
    aliases = {target.alias for target in targets}
    with runtime.database.write() as session:
        session.execute(
            update(MenuPublication)
            .where(
                MenuPublication.state == PublicationState.LIVE,
                MenuPublication.alias.not_in(sorted(aliases)),
            )
            .values(state=PublicationState.RETIRED)
        )


def clean_up(runtime: Runtime, line: Line) -> tuple[list[str], bool]:
    """Remove orphans of ours, and retired menus that nobody is linked to any more.

    Returns LINE's ids of what was removed, and whether retired ones are still in use.
    """
    at_line = {str(menu["richMenuId"]): str(menu.get("name", "")) for menu in line.menus()}
    with runtime.database.read() as session:
        rows = session.scalars(
            select(MenuPublication).where(MenuPublication.line_menu_id.is_not(None))
        ).all()
        in_use = set(
            session.scalars(
                select(MenuLink.linked_line_menu_id)
                .where(MenuLink.linked_line_menu_id.is_not(None))
                .distinct()  # a few menus, millions of people
            )
        )
    standing = {
        row.line_menu_id
        for row in rows
        if row.state in (PublicationState.READY, PublicationState.LIVE)
        or (row.state == PublicationState.RETIRED and row.line_menu_id in in_use)
    }
    live = {row.alias for row in rows if row.state == PublicationState.LIVE}
    over = {row.alias for row in rows if row.line_menu_id not in standing} - live
    kept = {row.alias for row in rows if row.line_menu_id in standing}
    now = runtime.clock.real_now()
    tried = {line_id for line_id, name in at_line.items() if trials.is_running(name, now)}
    for alias, line_id in sorted(line.aliases().items()):
        is_over = alias.startswith(trials.ALIAS) and line_id not in tried
        if is_over or alias in over - kept:
            line.delete_alias(alias)
    removed = []
    for line_id, name in at_line.items():
        if name.startswith(MARK) and line_id not in standing | tried:
            line.delete_menu(line_id)
            removed.append(line_id)
    gone = [
        row.id
        for row in rows
        if row.line_menu_id not in standing and row.state != PublicationState.REMOVED
    ]
    if gone:
        with runtime.database.write() as session:
            session.execute(
                update(MenuPublication)
                .where(is_one_of(session, MenuPublication.id, gone))
                .values(state=PublicationState.REMOVED),
                execution_options={"synchronize_session": False},
            )
    is_left_over = bool(tried) or any(
        row.state == PublicationState.RETIRED and row.line_menu_id in standing for row in rows
    )
    return removed, is_left_over
