"""What LINE holds compared with what we believe: menus, aliases, the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from bot.gateway import Line
from core.runtime import Runtime
from models.menus import Menu, MenuLink, MenuPublication, MenuVersion, PublicationState
from rich_menus import assign, publish, trials


@dataclass(frozen=True)
class Status:
    """One alias against LINE: `problem` is None when all is well."""

    alias: str
    menu_key: str
    version: int | None
    line_menu_id: str | None
    problem: str | None


@dataclass(frozen=True)
class Comparison:
    """Everything that differs, and how full LINE is."""

    rows: Sequence[Status]
    #: None, `menus.default_missing` or `menus.default_elsewhere`.
    default_problem: str | None
    #: LINE's ids of menus that carry our mark but nobody needs.
    orphans: Sequence[str]
    #: Aliases of ours that no menu wants.
    stray_aliases: Sequence[str]
    #: Menus at LINE that somebody else made through the API.
    foreign: int
    at_line: int

    @property
    def is_well(self) -> bool:
        return not (self.default_problem or self.orphans or self.stray_aliases) and not any(
            row.problem for row in self.rows
        )


def compare(runtime: Runtime, line: Line) -> Comparison:
    """Ask LINE for its menus, aliases and default, and compare. Raises the gateway's errors."""
    names = {str(menu["richMenuId"]): str(menu.get("name", "")) for menu in line.menus()}
    real_now = runtime.clock.real_now()
    pointing, shown = line.aliases(), line.default_menu()
    with runtime.database.read() as session:
        targets = publish.wanted(session)
        chosen = {target.menu_id for target in targets}
        targets += [
            one for one in publish.wanted(session, is_newest=True) if one.menu_id not in chosen
        ]
        rows = session.scalars(select(MenuPublication)).all()
        live = {row.alias: row for row in rows if row.state == PublicationState.LIVE}
        numbers = session.execute(select(MenuVersion.id, MenuVersion.version))
        versions = {row.id: row.version for row in numbers}
        default = session.scalar(select(Menu.key).where(Menu.is_default))
        wanted = assign.live_menus(session).get(f"{default}:{runtime.settings.shop_locale}")
        in_use = set(session.scalars(select(MenuLink.linked_line_menu_id).distinct()))
    found = []
    for target in targets:
        row = live.get(target.alias)
        found.append(
            Status(
                target.alias,
                target.definition.key,
                versions.get(row.version_id) if row else None,
                row.line_menu_id if row else None,
                _problem(target, row, names, pointing),
            )
        )
    standing = {row.line_menu_id for row in rows if _stands(row, in_use)}
    aliases = {target.alias for target in targets}
    ours = {row.alias for row in rows}
    ours_standing = {row.alias for row in rows if row.line_menu_id in standing}
    default_problem = None
    if wanted is not None and shown != wanted:
        default_problem = "menus.default_elsewhere" if shown else "menus.default_missing"
    return Comparison(
        rows=found,
        default_problem=default_problem,
        orphans=sorted(
            key for key, name in names.items()
            if name.startswith(publish.MARK)
            and key not in standing
            and not trials.is_running(name, real_now)
        ),
        stray_aliases=sorted((set(pointing) & ours) - aliases - ours_standing),
        foreign=sum(not name.startswith(publish.MARK) for name in names.values()),
        at_line=len(names),
    )  # fmt: skip


def _problem(
    target: publish.Wanted,
    row: MenuPublication | None,
    at_line: dict[str, str],
    pointing: dict[str, str],
) -> str | None:
    if row is None:
        return "menus.not_published"
    if row.line_menu_id not in at_line:
        return "menus.missing_at_line"
    if pointing.get(target.alias) != row.line_menu_id:
        return "menus.alias_elsewhere"
    return "menus.newer_version" if row.content_hash != target.content_hash else None


def _stands(row: MenuPublication, in_use: set[str | None]) -> bool:
    return row.state in (PublicationState.READY, PublicationState.LIVE) or (
        row.state == PublicationState.RETIRED and row.line_menu_id in in_use
    )
