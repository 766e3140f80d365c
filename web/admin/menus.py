"""Rich menus: labels, actions, colours and icons, seen in a phone frame, then published."""

from __future__ import annotations

import re
from copy import deepcopy
from typing import Any

from flask import Response, abort, g, make_response, render_template, request
from sqlalchemy import select

from bot.gateway import SdkLine
from core.errors import OutsideFault, Refused
from core.i18n import LOCALES, t
from core.text import parse_whole
from models.menus import Menu, MenuVersion
from rich_menus import icons, images, layouts, publish
from rich_menus.definitions import ACTION_TYPES, AREAS, MenuColours, MenuDefinition, problems
from web.admin.ground import back, blueprint, noted
from web.auth import staff_only
from web.ground import db, locale, outside, runtime

COLOURS = tuple(MenuColours.__dataclass_fields__)
LABEL_LETTERS = 80
VALUE_LETTERS = 1000
HISTORY = 10
SIDES = ("x", "y", "width", "height")
_AREA_KEY = re.compile(r"area[0-9]{1,3}")


@blueprint.get("/menus")
@staff_only("menus.read")
def menus() -> str:
    """Every menu with its newest version and whether it is live."""
    rows = [
        (menu, publish.latest_version(db(), menu.id))
        for menu in db().scalars(select(Menu).order_by(Menu.priority))
    ]
    return render_template("admin/menus.html", menus=rows)


@blueprint.get("/menus/<string:key>")
@staff_only("menus.read")
def menu(key: str) -> str:
    """The editor of one menu."""
    row = _menu(key)
    version = publish.latest_version(db(), row.id)
    return _page(row, version, version.definition, [])


@blueprint.post("/menus/<string:key>")
@staff_only("menus.edit")
def menu_save(key: str) -> Any:
    """Keep the form as the next version, unless LINE would refuse it."""
    row = _menu(key)
    version = publish.latest_version(db(), row.id)
    draft = _read(version.definition)
    if _lay_out(draft):
        return _page(row, version, draft, [], is_draft=True)
    definition = MenuDefinition.from_dict(draft)
    found = problems(definition, icons.NAMES)
    if found:
        return make_response(_page(row, version, draft, found), 422)
    saved = publish.save_version(
        db(), row, definition, made_by=f"staff:{g.staff.id}", now=runtime().clock.real_now()
    )
    noted("menus.changed", menu=key, version=saved.version)
    return back("admin.menu", note="console.saved", key=key)


@blueprint.post("/menus/<string:key>/versions/<int:number>")
@staff_only("menus.edit")
def menu_roll_back(key: str, number: int) -> Any:
    """Make an earlier version the newest again; what came after it stays in the history."""
    row = _menu(key)
    earlier = db().scalar(
        select(MenuVersion).where(MenuVersion.menu_id == row.id, MenuVersion.version == number)
    )
    if earlier is None:
        abort(404)
    saved = publish.save_version(
        db(),
        row,
        MenuDefinition.from_dict(earlier.definition),
        made_by=f"staff:{g.staff.id}",
        now=runtime().clock.real_now(),
    )
    noted("menus.rolled_back", menu=key, to=number, version=saved.version)
    return back("admin.menu", note="console.saved", key=key)


@blueprint.post("/menus/publish")
@staff_only("menus.publish")
@outside
def menus_publish() -> Response:
    """Bring LINE to the newest versions; safe to press again after any fault."""
    held = runtime()
    try:
        publish.publish(held, SdkLine(held.settings))
    except OutsideFault as error:
        raise Refused("menus.line_failed", status=502) from error
    with held.transaction() as session:
        g.session = session
        noted("menus.published")
        g.pop("session")
    return back("admin.menus", note="console.published")


@blueprint.get("/menus/<string:key>/<string:tab>/<string:language>.png")
@staff_only("menus.read")
@outside
def menu_picture(key: str, tab: str, language: str) -> Response:
    """The drawn picture of one tab of the newest version."""
    if language not in LOCALES:
        abort(404)
    held = runtime()
    with held.database.read() as session:
        targets = publish.wanted(session)
    for target in targets:
        if (target.definition.key, target.tab.key, target.locale) == (key, tab, language):
            response = Response(publish.picture(held, target), mimetype="image/png")
            response.headers["Cache-Control"] = "private, max-age=31536000"
            response.set_etag(target.content_hash)
            return response
    return abort(404)


def _menu(key: str) -> Menu:
    row = db().scalar(select(Menu).where(Menu.key == key))
    if row is None:
        abort(404)
    return row


def _read(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition with the form's words, actions, icons and colours in it."""
    draft = deepcopy(definition)
    form = request.form
    for name in COLOURS:
        if form.get(f"colour.{name}"):
            draft["colours"][name] = form[f"colour.{name}"][:7]
    for tab in draft["tabs"]:
        _words(tab["chat_bar_text"], f"{tab['key']}.chat_bar")
        if tab["key"] == form.get("tab") and form.getlist("areas"):
            _keep(tab, form.getlist("areas")[:AREAS])
        for area in tab["areas"]:
            name = f"{tab['key']}.{area['key']}"
            _words(area["label"], f"{name}.label")
            area["icon"] = form.get(f"{name}.icon", area["icon"])[:40]
            action = area["action"]
            kind = form.get(f"{name}.type", action["type"])
            if kind != action["type"]:  # words and fill-ins belong to the old kind
                action.update(type=kind, say=None, input_option=None, fill_in=None)
            action["value"] = form.get(f"{name}.value", action["value"])[:VALUE_LETTERS].strip()
            for side in SIDES:
                given = parse_whole(form.get(f"{name}.{side}", ""))
                area[side] = area[side] if given is None else given
            if f"{name}.x" in form:  # a box that is not ticked is not sent
                area["is_hero"] = form.get(f"{name}.hero") == "1"
    return draft


def _keep(tab: dict[str, Any], keys: list[str]) -> None:
    """The areas that the form knows, in its order; ones it has added begin as new ones."""
    known = {area["key"]: area for area in tab["areas"]}
    kept: list[dict[str, Any]] = []
    for key in dict.fromkeys(keys):
        if key in known:
            kept.append(known[key])
        elif _AREA_KEY.fullmatch(key):
            made = layouts.new_area(kept, (0, 0, layouts.NEW_WIDTH, layouts.NEW_HEIGHT))
            kept.append({**made, "key": key})
    tab["areas"] = kept or tab["areas"]


def _lay_out(draft: dict[str, Any]) -> bool:
    """Rearrange, add or drop areas of the open tab, as asked; True when the form is shown again."""
    form, has_strip = request.form, len(draft["tabs"]) > 1
    tab = next((one for one in draft["tabs"] if one["key"] == form.get("tab")), None)
    if tab is None:
        return False
    dropped = form.get("drop", "")
    if dropped in {area["key"] for area in tab["areas"]} and len(tab["areas"]) > 1:
        tab["areas"] = [area for area in tab["areas"] if area["key"] != dropped]
        return True
    if form.get("layout") in layouts.LAYOUTS and form.get("arrange"):
        layouts.arrange(tab, form["layout"], has_strip=has_strip)
        return True
    return bool(form.get("add")) and layouts.add(tab, has_strip=has_strip)


def _words(words: dict[str, str], name: str) -> None:
    for language in LOCALES:
        given = request.form.get(f"{name}.{language}")
        if given is not None:
            words[language] = " ".join(given[:LABEL_LETTERS].split())


def _page(
    row: Menu,
    version: MenuVersion,
    definition: dict[str, Any],
    found: list[str],
    *,
    is_draft: bool = False,
) -> str:
    tab_key = request.args.get("tab", "") or request.form.get("tab", "")
    tabs = definition["tabs"]
    chosen = next((tab for tab in tabs if tab["key"] == tab_key), tabs[0])
    shown = request.args.get("shown", locale())
    return render_template(
        "admin/menu.html",
        menu=row,
        version=version,
        definition=definition,
        chosen=chosen,
        shown=shown if shown in LOCALES else "th",
        colours=COLOURS,
        icons=icons.NAMES,
        action_types=ACTION_TYPES,
        version_hash=f"{version.id}-{images.VERSION}",
        problems=[t(locale(), key) for key in found],
        layouts=layouts.LAYOUTS,
        snap=layouts.SNAP,
        is_draft=is_draft,
        history=_history(row),
    )


def _history(row: Menu) -> list[dict[str, Any]]:
    """The newest versions, each with what it changed."""
    versions = db().scalars(
        select(MenuVersion)
        .where(MenuVersion.menu_id == row.id)
        .order_by(MenuVersion.version.desc())
        .limit(HISTORY + 1)
    )
    rows = versions.all()
    shown = []
    for number, one in enumerate(rows[:HISTORY]):
        before = rows[number + 1].definition if number + 1 < len(rows) else None
        found = layouts.changes(before, one.definition) if before else []
        shown.append({"version": one, "changes": found, "is_newest": number == 0})
    return shown
